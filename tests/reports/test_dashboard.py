"""The dashboard: what it is given to show, and the page itself on a real study in a real browser."""

import io
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit
from wsgiref.util import setup_testing_defaults

import optuna
import optuna_dashboard
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from optuna_dashboard import get_note, save_note
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from playwright.sync_api import FloatRect, Page, sync_playwright

from models import StudentCNN, load_checkpoint
from reports.dashboard import KEPT, _address, _artifacts, _leaving_work_alone, is_own_name, main
from reports.live import kept_current
from reports.notes import comparison_note, rates_note, study_note, trial_note
from storage.folders import RunsFolder
from storage.open_study import open_study
from storage.study_storage import open_claims, open_storage, sqlite_url
from study.sampler import suggest
from tests.reports.made_up import drop_run, made_up_arm, made_up_results, with_controls
from tests.reports.stored import refresh
from tests.reports.test_page import BROWSER

ROOT = Path(__file__).parents[2]


@pytest.fixture
def url(studied: Path, tmp_path: Path) -> str:
    """The storage of a copy of that study."""
    with sqlite3.connect(studied / "study.db") as source, sqlite3.connect(tmp_path / "study.db") as copy:
        source.backup(copy)
    return sqlite_url(tmp_path / "study.db")


def load(url: str, name: str = "demo") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=open_storage(url, open_claims(url)))


def begin_trial(study: optuna.Study) -> optuna.Trial:
    trial = study.ask()
    suggest(trial)
    return trial


def stored_rows(study: optuna.Study) -> dict[str, Any]:
    return study._storage.get_study_system_attrs(study._study_id)


# What the notes say.


def single_spaced(text: str) -> str:
    return re.sub(" +", " ", text)


def test_the_note_tells_what_is_done_what_failed_and_how_sure_the_best_is() -> None:
    results = made_up_results()
    results["grid"][14]["value"] = 0.45
    note = study_note(results, [], [])
    assert "| grid | 13 complete, 2 pruned, 1 failed | 0 | 0 |" in note
    assert "| comparison | 10 runs | 0 | 0 |" in note
    assert "- trial 11 (alpha 0.5, T 8): the loss became nan in epoch 6" in note
    assert "**45.00 %** on the validation images: trial 14, alpha 0.75, T 4." in note
    assert "standard error of 0.70 points" in note
    assert "Hyperparameter Importance" in note


def test_the_note_tells_how_many_tpe_trials_are_left() -> None:
    results = made_up_results(tpe_trials=5)
    results["search"]["tpe_trials"] = 32
    results["tpe"][4]["state"] = "RUNNING"
    assert "| TPE | 3 complete, 1 pruned | 1 | 27 |" in study_note(results, [], [])
    assert "| TPE |" not in study_note(made_up_results(), [], [])


def test_the_note_of_a_study_that_has_just_begun(url: str) -> None:
    results = made_up_results() | {"best": None, "arms": {}}
    for cell in results["grid"]:
        cell |= {"state": "MISSING", "value": None, "number": None, "repeats": None}
    study = load(url)
    begin_trial(study).report(0.1, 1)
    note = study_note(results, study.get_trials(states=(TrialState.RUNNING,)), [])
    assert "| grid | 0 | 1 | 15 |" in note
    assert re.search(r"- trial \d+ \(alpha [\d.]+, T [\d.]+\), since [-\d]+ [:\d]+, 1 epochs done", note)
    assert "No trial is complete." in note
    assert "begins when the search has ended" in note


@pytest.mark.parametrize(
    ("trial", "expected"),
    [
        ({"state": "PRUNED", "epochs": 5}, "Pruned after epoch 5 of 10"),
        ({"state": "COMPLETE", "repeats": 3}, "Repeats trial 3** and has the same value"),
        ({"state": "PRUNED", "repeats": 3}, "Repeats trial 3** and was pruned too"),
        ({"state": "FAIL", "repeats": 3}, "Repeats trial 3** and failed too"),
        (
            {"state": "FAIL", "reason": "the loss became nan"},
            "Failed**: the loss became nan. The same command, started",
        ),
        ({"state": "FAIL", "reason": "nan", "sampler": "tpe"}, "again, does not try it again."),
        ({"state": "RUNNING", "repeats": 3}, None),
        ({"state": "COMPLETE"}, None),
        ({"state": "RUNNING"}, None),
    ],
)
def test_a_trial_that_is_not_what_it_seems_says_so(trial: dict[str, Any], expected: str | None) -> None:
    described: Any = {"repeats": None, "reason": None, "epochs": 10, "sampler": "grid", **trial}
    note = trial_note(described, epochs=10)
    assert note is None if expected is None else expected in str(note)


def test_the_note_of_the_comparison_lists_arms_and_failures() -> None:
    results = made_up_results()
    results["arms"]["best"]["failed"] = [{"seed": 9, "reason": "out of memory"}]
    note = single_spaced(comparison_note(results, []))
    assert "| baseline | 0 | none | 5 of 5 |" in note
    assert "| best | 0.75 | 4 | 5 of 5 |" in note
    assert "- best, seed 9: out of memory" in note


def test_the_note_tells_how_many_seeds_of_finalists_are_left(url: str) -> None:
    results = made_up_results()
    assert "| finalists |" not in study_note(results, [], [])
    results["configuration"] |= {"finalists": 2, "finalist_seeds": 3}
    results["finalists"] = [{"alpha": 0.75, "temperature": 4.0, "seeds": [0, 10002], "values": [0.47, 0.46]}]
    study = load(url)
    study.enqueue_trial({"alpha": 0.75, "temperature": 4.0, "seed": 10003})
    begin_trial(study).suggest_int("seed", 0, 20000)
    note = study_note(results, study.get_trials(states=(TrialState.RUNNING,)), [])
    assert "| finalists | 1 complete | 1 | 2 |" in note
    assert "| grid | 13 complete, 2 pruned, 1 failed | 0 | 0 |" in note


def test_the_note_of_the_learning_rates_lists_them_and_what_failed() -> None:
    results = made_up_results()
    assert "None was tried yet." in rates_note(results, [])
    for value, state in ((0.4321, "COMPLETE"), (None, "FAIL")):
        rate: Any = {"control": "rate", "alpha": 0.0, "temperature": 1.0, "learning_rate": 0.2, "value": value}
        rate |= {"state": state, "reason": None if value else "the loss became nan"}
        results["rates"].append(rate)
    note = single_spaced(rates_note(results, []))
    assert "| rate | 0.2 | 43.21 |" in note
    assert "| rate | 0.2 | the loss became nan |" in note
    for state, words in (("RUNNING", "running"), ("MISSING", "not yet")):
        last: Any = results["rates"][-1]
        last.update({"state": state, "value": None, "reason": None})
        assert f"| rate | 0.2 | {words} |" in single_spaced(rates_note(results, []))


def test_the_note_counts_runs_that_arms_share_once() -> None:
    assert "| comparison | 5 runs | 0 | 0 |" in study_note(made_up_results("full", best=(0.0, 1.0)), [], [])
    assert "| comparison | 25 runs | 0 | 0 |" in study_note(with_controls(made_up_results("full")), [], [])


def test_the_note_counts_runs_that_failed_as_ended() -> None:
    results = made_up_results("full")
    drop_run(results["arms"]["best"], 2)
    assert "| comparison | 9 runs, 1 failed | 0 | 0 |" in study_note(results, [], [])


def test_the_note_counts_arms_that_commands_named_and_the_winner_of_each_sampler() -> None:
    results = made_up_results("full", tpe_trials=4)
    del results["arms"]["best"]
    for trial, sampler in zip(results["tpe"], ("tpe", "tpe", "gp", "gp"), strict=True):
        cast(Any, trial).update({"sampler": sampler, "state": "COMPLETE", "value": 0.3})
    assert "| comparison | 5 runs | 0 | 15 |" in study_note(results, [], []), "best, tpe and gp are left"
    (start,) = results["manifest"]["starts"]
    start["command"] += " --arm 0.3,2"
    assert "| comparison | 5 runs | 0 | 20 |" in study_note(results, [], [])


def test_the_note_of_arms_without_a_search_has_no_grid() -> None:
    results = made_up_results("full")
    for cell in results["grid"]:
        cell |= {"state": "MISSING", "value": None, "number": None, "repeats": None}
    results |= {"best": None, "arms": {"baseline": results["arms"]["baseline"]}}
    (start,) = results["manifest"]["starts"]
    assert "| grid | 0 | 0 | 16 |" in study_note(results, [], [])
    start["command"] += " --sampler none --arm 0.25,4"
    note = study_note(results, [], [])
    assert "| grid |" not in note
    assert "| comparison | 5 runs | 0 | 5 |" in note
    results["arms"] = {}
    assert "| comparison | 0 runs | 0 | 10 |" in study_note(results, [], [])


def test_the_note_waits_for_no_run_that_nothing_asks_for() -> None:
    results = made_up_results("full")
    results["arms"]["0.25,4"] = made_up_arm(0.25, 4.0, (1, 2, 3), 0.57, 100)
    assert "| comparison | 13 runs | 0 | 0 |" in study_note(results, [], [])
    (start,) = results["manifest"]["starts"]
    start["command"] += " --arm 0.25,4"
    assert "| comparison | 13 runs | 0 | 2 |" in study_note(results, [], [])
    # Runs beyond the planned seeds do not stand for those that others lack.
    results["configuration"] |= {"seeds": 4, "final_seeds": [1, 2, 3, 4]}
    assert "| comparison | 13 runs | 0 | 1 |" in study_note(results, [], [])
    assert "| best | 0.75 | 4 | 4 of 4 |" in single_spaced(comparison_note(results, []))


def test_the_note_waits_for_the_points_that_are_finalists_now() -> None:
    results = made_up_results("full", tpe_trials=2)
    pairs = [(cell["alpha"], cell["temperature"]) for cell in results["grid"] if cell["value"] is not None]
    results["configuration"] |= {"finalists": 1, "finalist_seeds": 3}
    former = next(pair for pair in pairs if pair[0] != 0 and pair != (0.75, 4.0))
    results["finalists"] = [
        {"alpha": former[0], "temperature": former[1], "seeds": [0, 10002, 10003], "values": [0.4, 0.4, 0.4]}
    ]
    note = study_note(results, [], [])
    assert "| finalists | 2 complete | 0 | 2 |" in note
    assert f"**40.00 %** on the validation images: alpha {former[0]:g}, T {former[1]:g}, the mean over 3 seeds" in note


def test_the_note_names_what_failed_once_and_not_its_copies() -> None:
    without = tuple((0.0, temperature) for temperature in (1.0, 2.0, 4.0, 8.0))
    note = study_note(made_up_results(pruned=(), failed=without), [], [])
    assert note.count("the loss became nan in epoch 6") == 1


# How they are stored.


def test_a_second_refresh_writes_nothing(url: str) -> None:
    refresh(url, "demo")
    before = {name: stored_rows(load(url, name)) for name in ("demo", "demo-comparison")}
    refresh(url, "demo")
    assert {name: stored_rows(load(url, name)) for name in before} == before
    assert get_plotly_graph_objects(before["demo"]).keys() == {"grid", "curves"}
    assert get_plotly_graph_objects(before["demo-comparison"]).keys() == {"comparison"}


def test_what_changed_replaces_what_was_and_what_a_person_wrote_stays(url: str) -> None:
    study = load(url)
    repeat = next(trial for trial in study.trials if "repeats" in trial.user_attrs)
    save_note(study, get_note(study) + "\n" + "My own. " * 600)
    save_note(optuna.Trial(study, repeat._trial_id), "mine")
    begin_trial(study)
    refresh(url, "demo")
    note = get_note(study)
    assert note.count("## Study `demo`") == 1
    assert "### Runs now" in note
    assert note.endswith(f"{KEPT}\n" + "My own. " * 600)
    assert get_note(optuna.Trial(study, repeat._trial_id)) == "mine"


def test_a_note_that_a_person_wrote_before_stays(url: str) -> None:
    study = load(url)
    save_note(study, "Ask Ann before you stop this.")
    refresh(url, "demo")
    assert get_note(study).endswith(f"{KEPT}\n\nAsk Ann before you stop this.")


def test_with_several_writers_whoever_reads_finds_whole_texts(url: str) -> None:
    study = load(url)
    code = f"from tests.reports.stored import refresh\nfor _ in range(12): refresh({url!r}, 'demo')"
    writers = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(2)]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        rows, note = stored_rows(study), get_note(study)
        assert note.startswith("*As of ")
        assert note.endswith(KEPT)
        assert note.count("## Study") == 1
        for figure in get_plotly_graph_objects(rows).values():
            assert json.loads(figure)["data"]
        if note not in seen:
            begin_trial(study)
        seen.add(note)
        time.sleep(0.01)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(seen) > 2


def test_a_study_goes_on_without_its_notes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.db").write_text("no database " * 999)
    with kept_current(sqlite_url(tmp_path / "study.db"), "demo"):
        pass
    assert capsys.readouterr().err.startswith("notes of the dashboard are not current: StorageError: ")


def test_notes_are_current_when_the_block_has_ended_and_its_error_passes(url: str) -> None:
    study = load(url)
    with kept_current(url, "demo"):
        begin_trial(study)
    assert "### Runs now" in get_note(study)
    with pytest.raises(KeyboardInterrupt), kept_current(url, "demo"):
        raise KeyboardInterrupt


# The command.


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(list(options))
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_without_a_study_the_command_says_what_makes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "--runs-dir", str(tmp_path))
    assert line.endswith("study.db: not there; python -m study.run makes it")
    line = refused(capsys, "--storage", f"sqlite:///{tmp_path / 'nowhere.db'}")
    assert line.endswith("nowhere.db: not there; python -m study.run makes it")
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_one_line(studied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(capsys, "--runs-dir", str(studied), "--port", str(port))
    assert line.startswith(f"error: 127.0.0.1:{port}: Address already in use")


def status(address: str, request: str, *headers: str) -> tuple[int, str]:
    """Status and body that a plain socket gets."""
    host, port = address.removeprefix("http://").split("/")[0].split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall("\r\n".join([f"{request} HTTP/1.1", *headers, "Connection: close", "", ""]).encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode(errors="replace")
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body


def test_the_dashboard_answers_to_its_own_names_alone(address: str) -> None:
    port = address.split(":")[2].split("/")[0]
    for name in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]"):
        assert status(address, "GET /api/studies", f"Host: {name}:{port}")[0] == 200
    others = [
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1",
        "localhost:1",
        f"127.0.0.1.evil.example:{port}",
        "[",
        "",
    ]
    for header in (*(f"Host: {name}" for name in others), "X-Host: none"):
        for request in ("GET /api/studies", "GET /dashboard/", "DELETE /api/studies/1"):
            code, body = status(address, request, header)
            assert (code, body.count("\n")) == (403, 1)
            assert f"http://127.0.0.1:{port}/" in body


@pytest.mark.parametrize(
    ("header", "host", "answers"),
    [
        ("box.lan:8080", "box.lan", True),
        ("box.lan:8080", "127.0.0.1", False),
        ("10.0.0.7:8080", "0.0.0.0", True),
        (f"{socket.gethostname()}:8080", "0.0.0.0", True),
        ("evil.example:8080", "0.0.0.0", False),
    ],
)
def test_who_listens_elsewhere_answers_to_that_name(header: str, host: str, answers: bool) -> None:
    assert is_own_name(header, host, 8080) is answers


@pytest.mark.parametrize("part", ["demo", "demo-comparison"])
def test_a_study_that_a_process_works_on_is_neither_deleted_nor_renamed(part: str, url: str) -> None:
    storage = RDBStorage(url)
    application = _leaving_work_alone(optuna_dashboard.wsgi(storage), storage, url)
    number = storage.get_study_id_from_name(part)

    def answered(method: str, path: str, body: bytes = b"{}") -> tuple[str, bytes]:
        path = path if path.startswith("/api") else f"/api/studies/{number}{path}"
        environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path}
        environ |= {
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
        }
        setup_testing_defaults(environ)
        status: list[str] = []
        content = b"".join(application(environ, lambda line, headers, *_: status.append(line)))  # type: ignore[arg-type]
        return status[0], content

    with open_study(url, "demo") as opened:
        opened.keep()
        for path in ("", "/"):
            line, said = answered("DELETE", path)
            assert line.startswith("409")
            assert b"a living process works on it" in said
        assert answered("GET", "")[0].startswith("200")
    # What parts it from its comparison, or a trial from who trains it, is not done at any time.
    line, said = answered("POST", "/rename", b'{"study_name": "other"}')
    assert line.startswith("409")
    assert b"go by its name" in said
    study = optuna.load_study(study_name=part, storage=storage)
    trial = study.ask()
    line, said = answered("POST", f"/api/trials/{trial._trial_id}/tell", b'{"state": "Fail"}')
    assert line.startswith("409")
    assert b"ends by itself" in said
    assert storage.get_trial(trial._trial_id).state == TrialState.RUNNING
    assert part in [study.study_name for study in storage.get_all_studies()]
    assert answered("DELETE", "")[0].startswith("204")
    assert part not in [study.study_name for study in storage.get_all_studies()]
    assert answered("DELETE", "")[0].startswith("404")
    storage.engine.dispose()


def test_a_study_of_others_is_renamed_and_its_trials_are_told(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "study.db")
    storage = RDBStorage(url)
    trial = optuna.create_study(study_name="theirs", storage=storage).ask()
    application = _leaving_work_alone(optuna_dashboard.wsgi(storage), storage, url)
    for path, body, status in (
        (f"/api/trials/{trial._trial_id}/tell", b'{"state": "Fail"}', "204"),
        ("/api/studies/1/rename", b'{"study_name": "other"}', "201"),
    ):
        environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": path, "CONTENT_TYPE": "application/json"}
        environ |= {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
        setup_testing_defaults(environ)
        lines: list[str] = []
        b"".join(application(environ, lambda line, headers, *_, lines=lines: lines.append(line)))
        assert lines[0].startswith(status), (path, lines)
    assert [study.study_name for study in storage.get_all_studies()] == ["other"]
    storage.engine.dispose()


def test_a_copy_is_shown_without_the_artifacts_of_its_original(tmp_path: Path) -> None:
    own, copy = RunsFolder(tmp_path).url, sqlite_url(tmp_path / "copy.db")
    assert _artifacts(own, tmp_path) is not None
    assert _artifacts(copy, None) is None
    assert _artifacts(copy, tmp_path) is not None


def test_an_address_of_ipv6_is_one_that_a_browser_takes() -> None:
    assert urlsplit(_address("::1", 8080)).hostname == "::1"
    assert _address("127.0.0.1", 8080) == "http://127.0.0.1:8080/"


def test_a_browser_leaves_out_the_port_80() -> None:
    assert is_own_name("localhost", "127.0.0.1", 80)
    assert not is_own_name("localhost", "127.0.0.1", 8080)


# The page.


@pytest.fixture(scope="module")
def address(studied: Path) -> Iterator[str]:
    """The dashboard's address, served by the command in a process of its own."""
    command = [sys.executable, "-m", "reports.dashboard", "--runs-dir", str(studied), "--port", "0"]
    # With this seed of Python's hashes the dashboard puts the curves before the grid.
    environment = {**os.environ, "PYTHONHASHSEED": "2"}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[0]
        process.terminate()


@pytest.fixture(scope="module")
def browsed(address: str) -> Iterator[tuple[Page, list[str]]]:
    """A page of a headless browser, and what its console said."""
    if BROWSER is None:
        pytest.skip("no Chromium or Chrome on this machine")
    console: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.on("console", lambda message: console.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: console.append(str(error)))
        yield page, console
        browser.close()


def test_a_study_opens_with_its_heatmap(browsed: tuple[Page, list[str]], address: str) -> None:
    page, console = browsed
    page.goto(f"{address}/studies/1")
    heatmap = page.locator("[id='user-defined-plot:grid']")
    heatmap.locator(".heatmaplayer image").wait_for()
    assert "Validation accuracy, %" in (heatmap.text_content() or "")
    assert heatmap.locator(".ytick").all_text_contents() == ["0", "0.5"]
    assert heatmap.locator(".xtick").all_text_contents() == ["1", "4"]
    assert "repeat" in (heatmap.text_content() or "")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1400
    assert console == []


def places_of_figures(page: Page) -> dict[str, FloatRect]:
    """Where each of our figures is, in pixels, by name."""
    figures = page.locator("[id^='user-defined-plot:']")
    figures.locator(".main-svg").first.wait_for()
    places = {str(found.get_attribute("id")).split(":")[1]: found.bounding_box() for found in figures.all()}
    return {name: place for name, place in places.items() if place is not None}


def test_figures_are_in_their_order_and_one_below_the_other_on_a_phone(
    browsed: tuple[Page, list[str]], address: str
) -> None:
    page, _ = browsed
    page.goto(f"{address}/studies/1")
    places = places_of_figures(page)
    assert places["grid"]["y"] == places["curves"]["y"]
    assert places["grid"]["x"] < places["curves"]["x"]
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{address}/studies/1")
    places = places_of_figures(page)
    page.set_viewport_size({"width": 1400, "height": 1000})
    assert places["grid"]["x"] == places["curves"]["x"]
    assert places["grid"]["y"] < places["curves"]["y"]
    assert places["grid"]["x"] + places["grid"]["width"] <= 390


def test_the_note_of_a_study_is_shown(browsed: tuple[Page, list[str]], address: str) -> None:
    page, console = browsed
    page.goto(f"{address}/studies/1/note")
    page.get_by_role("heading", name="Best so far").wait_for()
    assert page.get_by_role("cell", name="4 complete").or_(page.get_by_role("cell", name="1 pruned")).count() == 1
    assert console == []


def test_a_repeated_trial_says_so(browsed: tuple[Page, list[str]], address: str, studied: Path) -> None:
    page, console = browsed
    repeat = next(trial for trial in load(sqlite_url(studied / "study.db")).trials if "repeats" in trial.user_attrs)
    page.goto(f"{address}/studies/1/trials?numbers={repeat.number}")
    page.get_by_text(f"Repeats trial {repeat.user_attrs['repeats']}").wait_for()
    assert console == []


@pytest.mark.parametrize("study", [1, 2])
def test_curve_and_weights_can_be_downloaded(
    browsed: tuple[Page, list[str]], address: str, tmp_path: Path, study: int
) -> None:
    page, console = browsed
    page.goto(f"{address}/studies/{study}/trials?numbers=0")
    buttons = page.get_by_label("download artifact")
    buttons.nth(1).wait_for()
    for button in buttons.all():
        with page.expect_download() as download:
            button.click()
        download.value.save_as(tmp_path / download.value.suggested_filename)
    load_checkpoint(StudentCNN(16), next(tmp_path.glob("student-*.pth")), "student")
    header, *epochs = next(tmp_path.glob("curve-*.csv")).read_text().splitlines()
    assert header == "epoch,train_loss,validation_loss,validation_accuracy,seconds"
    assert len(epochs) == 2
    assert page.evaluate("document.documentElement.scrollWidth") <= 1400
    assert console == []
