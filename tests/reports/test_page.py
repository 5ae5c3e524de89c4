"""The page opened in a real browser: figures draw, nothing is fetched, the console stays quiet."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reports.figures import figures
from reports.markdown import render as markdown
from reports.page import render
from tests.reports.conftest import DrawnCases
from tests.reports.made_up import made_up_results, odd_cases

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")


@dataclass(frozen=True)
class Opened:
    """A page after its scripts have run."""

    document: str
    console: list[str]
    fetched: list[str]


def open_page(page: str, folder: Path) -> Opened:
    """Open a page in a fresh headless browser."""
    (folder / "page.html").write_text(page)
    ended = subprocess.run(
        [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={folder / 'profile'}", f"--log-net-log={folder / 'net.json'}",
            "--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom", (folder / "page.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    requests = [event.get("params", {}) for event in json.loads((folder / "net.json").read_text())["events"]]
    return Opened(
        document=ended.stdout,
        console=[line for line in ended.stderr.splitlines() if "CONSOLE" in line],
        fetched=sorted({request["url"] for request in requests if is_of_page(request)}),
    )


def is_of_page(request: dict[str, Any]) -> bool:
    """Whether a page asked for it: what the browser asks for by itself has no origin."""
    own = request.get("initiator", "not an origin") == "not an origin"
    return not own and str(request["url"]).startswith(("http", "ws"))


@needs_browser
def test_figures_draw_and_nothing_is_fetched(tmp_path: Path) -> None:
    results = made_up_results(tpe_trials=4)
    names = figures(results)
    opened = open_page(render(results, names), tmp_path)
    holders = re.findall(r'<div class="figure js-plotly-plot" id="(\w+)"', opened.document)
    assert holders == [*names]
    assert opened.document.count('class="main-svg"') >= len(names)
    assert opened.console == []
    assert opened.fetched == []


@needs_browser
def test_an_error_on_the_page_and_a_fetch_would_be_seen(tmp_path: Path) -> None:
    spoilt = "<script>not_there()</script><img src='http://127.0.0.1:9/image.png'>"
    opened = open_page(f"<!DOCTYPE html><body>{spoilt}</body>", tmp_path)
    assert any("not_there is not defined" in line for line in opened.console)
    assert opened.fetched == ["http://127.0.0.1:9/image.png"]


@needs_browser
def test_the_page_refuses_to_fetch(tmp_path: Path) -> None:
    results = made_up_results()
    page = render(results, {}).replace("</body>", "<img src='http://127.0.0.1:9/image.png'></body>")
    opened = open_page(page, tmp_path)
    assert opened.fetched == []
    assert any("Content Security Policy" in line for line in opened.console)


@pytest.mark.parametrize("case", odd_cases())
def test_the_page_has_the_text_and_every_figure_once(case: str, drawn_cases: DrawnCases) -> None:
    results = odd_cases()[case]
    page = render(results, drawn_cases[case])
    text = page.split("<script")[0]
    assert re.findall(r'<div class="figure" id="(\w+)"', text) == [*drawn_cases[case]]
    assert "<img" not in text
    assert text.count("<h2>") == len(re.findall("^## ", markdown(results), flags=re.MULTILINE))
    stored = json.loads(page.split('<script type="application/json" id="figures">')[1].split("</script>")[0])
    assert stored["figures"].keys() == drawn_cases[case].keys()


def test_text_from_outside_cannot_become_a_script() -> None:
    results = made_up_results()
    results["grid"][11]["reason"] = "<script>alert(1)</script>"
    results["data"]["samples"][0]["class"] = "</script><script>alert(2)</script>"
    page = render(results, figures(results))
    assert "alert(1)</script>" not in page
    assert "alert(2)</script>" not in page
