"""What is written, what --check finds, and a build where no browser is."""

import json
import re
import shutil
import sqlite3
from pathlib import Path

import optuna
import pandas as pd
import pytest
from PIL import Image

from reports import build
from reports.figures import figures
from reports.results import read_results
from storage.study_storage import command_of, sqlite_url
from tests.reports.made_up import made_up_results
from tests.reports.stored import collect


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with its PNG figures; skips where no browser can draw them."""
    folder = tmp_path_factory.mktemp("report")
    build.write_report(made_up_results(tpe_trials=4), folder)
    if not list(folder.glob("figures/*.png")):
        pytest.skip("kaleido or its browser is missing: PNG figures cannot be drawn")
    return folder


@pytest.fixture
def report(drawn: Path, tmp_path: Path) -> Path:
    """A copy of a drawn report, free to be spoilt."""
    return Path(shutil.copytree(drawn, tmp_path / "report"))


@pytest.fixture
def no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROWSER_PATH", "/no/browser/here")


def test_a_report_is_written_whole_and_matches_its_results(report: Path) -> None:
    names = {path.name for path in report.iterdir()}
    assert names == {"results.json", "trials.csv", "report.md", "report.html", "figures"}
    assert {path.stem for path in report.glob("figures/*.png")} == figures(made_up_results(tpe_trials=4)).keys()
    assert build.differences(report) == []
    with Image.open(report / "figures" / "grid.png") as image:
        assert image.width == build.WIDTH * build.SCALE


def test_check_finds_an_edited_text(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (report / "report.md").read_text()
    (report / "report.md").write_text(text.replace("37.", "38.", 1))
    with pytest.raises(SystemExit) as stopped:
        build.main(["--check", str(report)])
    assert stopped.value.code == f"{report / 'report.md'}: not what results.json gives"


def test_check_finds_every_kind_of_difference(report: Path) -> None:
    results = json.loads((report / "results.json").read_text())
    results["arms"]["best"]["test_accuracy"][0] += 0.01
    results["grid"][0]["seconds"] += 1
    (report / "results.json").write_text(json.dumps(results))
    (report / "figures" / "tpe.png").unlink()
    shutil.copy(report / "figures" / "grid.png", report / "figures" / "other.png")
    found = [line.removeprefix(str(report)) for line in build.differences(report)]
    assert found == [
        "/figures/comparison.png: drawn from other results",
        "/figures/other.png: not a figure of these results",
        "/figures/tpe.png: missing",
        "/report.md: not what results.json gives",
        "/trials.csv: not what results.json gives",
    ]


def test_check_finds_a_swapped_figure_and_a_damaged_one(report: Path) -> None:
    shutil.copy(report / "figures" / "tpe.png", report / "figures" / "grid.png")
    (report / "figures" / "groups.png").write_bytes(b"no image")
    assert [Path(line.split(":")[0]).stem for line in build.differences(report)] == ["grid", "groups"]


def test_check_says_so_where_there_are_no_results(tmp_path: Path) -> None:
    (line,) = build.differences(tmp_path)
    assert line.startswith(f"{tmp_path / 'results.json'}: cannot be read")


def test_published_reports_match_their_results() -> None:
    folders = [path for path in build.PUBLISHED.glob("*") if path.is_dir()]
    if not folders:
        pytest.skip("no report is published yet")
    assert [line for folder in folders for line in build.differences(folder)] == []


@pytest.mark.parametrize("published", sorted(build.PUBLISHED.glob("*/")), ids=lambda path: path.name)
@pytest.mark.usefixtures("no_browser")
def test_a_published_report_is_drawn_again_from_its_results(published: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(published, tmp_path / "copy"))
    (copy / "report.md").write_text("old")
    (copy / "trials.csv").unlink()
    before = {path.relative_to(copy): path.read_bytes() for path in copy.glob("figures/*.png")}
    build.main(["--render", str(copy)])
    for name in ("results.json", "trials.csv", "report.md"):
        assert (copy / name).read_bytes() == (published / name).read_bytes()
    assert {path.relative_to(copy): path.read_bytes() for path in copy.glob("figures/*.png")} == before
    names = re.findall(r"\]\(figures/(\w+)\.png\)", (copy / "report.md").read_text())
    assert {path.stem for path in before} == set(names)
    assert re.findall(r'<div class="figure" id="(\w+)"', (copy / "report.html").read_text()) == names


def foreign_image(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)
    return path.read_bytes()


@pytest.mark.usefixtures("no_browser")
def test_without_a_browser_the_report_is_whole_and_what_others_drew_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = foreign_image(tmp_path / "figures" / "my-own-plot.png")
    build.write_report(made_up_results(), tmp_path)
    assert [path.read_bytes() for path in tmp_path.glob("figures/*")] == [mine]
    assert "figures/" not in (tmp_path / "report.md").read_text()
    assert build.differences(tmp_path) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("no PNG figures, the page has them all the same: ")


def test_figures_of_other_results_go_and_what_others_drew_stays(report: Path) -> None:
    mine = foreign_image(report / "figures" / "my-own-plot.png")
    assert (report / "figures" / "tpe.png").exists()
    before = (report / "figures" / "calibration.png").stat().st_mtime_ns
    build.write_report(made_up_results(), report)
    assert (report / "figures" / "calibration.png").stat().st_mtime_ns == before, "the same is not drawn again"
    assert (report / "figures" / "my-own-plot.png").read_bytes() == mine
    assert {path.stem for path in report.glob("figures/*")} == {*figures(made_up_results()), "my-own-plot"}
    assert build.differences(report) == []


def test_a_figure_of_other_results_may_be_removed_by_another_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "figures" / "old.png"
    image = Path(next(build.PUBLISHED.glob("*/figures/grid.png")))
    file.parent.mkdir()
    shutil.copy(image, file)

    async def meanwhile_removed(_: object) -> dict[str, bytes]:
        file.unlink()
        raise build.NoBrowserError

    monkeypatch.setattr(build, "draw", meanwhile_removed)
    build.write_report(made_up_results(), tmp_path)
    assert build.differences(tmp_path) == []


@pytest.mark.usefixtures("no_browser")
def test_without_a_browser_a_figure_stays_only_where_it_shows_the_same(
    report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = made_up_results(tpe_trials=4)
    results["arms"]["best"]["test_accuracy"][0] += 0.01
    build.write_report(results, report)
    text = (report / "report.md").read_text()
    names = {path.stem for path in report.glob("figures/*.png")}
    assert set(re.findall(r"\]\(figures/(\w+)\.png\)", text)) == names
    assert names == figures(results).keys() - {"comparison"}
    assert f"no PNG figures, but for {len(names)} drawn before: " in capsys.readouterr().err


@pytest.mark.usefixtures("no_browser")
def test_a_file_with_the_name_of_a_figure_that_others_drew_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = foreign_image(tmp_path / "figures" / "grid.png")
    (tmp_path / "results.json").write_bytes(build.as_json(made_up_results()))
    with pytest.raises(SystemExit):
        build.main(["--render", str(tmp_path)])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'figures' / 'grid.png'}: is no figure of a report; move it away")
    with pytest.raises(build.ForeignFileError):
        build.write_report(made_up_results(), tmp_path)
    assert (tmp_path / "figures" / "grid.png").read_bytes() == mine
    assert {path.name for path in tmp_path.iterdir()} == {"figures", "results.json"}


@pytest.mark.usefixtures("no_browser")
def test_building_again_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        build.write_report(made_up_results(tpe_trials=2), tmp_path / name)
    for name in ("results.json", "trials.csv", "report.md", "report.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_table_of_trials_has_every_trial_and_no_value_of_a_pruned_one(tmp_path: Path) -> None:
    results = made_up_results(tpe_trials=4)
    (tmp_path / "trials.csv").write_text(build.trials_table(results))
    table = pd.read_csv(tmp_path / "trials.csv")
    assert len(table) == 20
    assert list(table["sampler"].value_counts()) == [16, 4]
    assert table.loc[table["state"] != "COMPLETE", "value"].isna().all()
    assert table.loc[table["state"] == "COMPLETE", "value"].notna().all()
    assert (table["repeats"].dropna() == 0).all()


@pytest.mark.usefixtures("no_browser")
def test_a_trial_that_was_killed_between_its_two_suggestions_is_in_no_report(studied: Path, tmp_path: Path) -> None:
    shutil.copy(studied / "study.db", tmp_path)
    url = sqlite_url(tmp_path / "study.db")
    before = collect(url)
    optuna.load_study(study_name="demo", storage=url).ask().suggest_float("alpha", 0.0, 1.0)
    build.write_report(collect(url), tmp_path)
    after = read_results(tmp_path / "results.json")
    assert [cell["number"] for cell in after["grid"]] == [cell["number"] for cell in before["grid"]]
    assert after["tpe"] == []


def test_a_fingerprint_changes_with_a_number_and_not_with_its_last_bits() -> None:
    results = made_up_results()
    before = build.fingerprint(figures(results)["comparison"])
    results["arms"]["best"]["test_accuracy"][0] *= 1 + 1e-14
    assert build.fingerprint(figures(results)["comparison"]) == before
    results["arms"]["best"]["test_accuracy"][0] += 1e-4
    assert build.fingerprint(figures(results)["comparison"]) != before


def test_a_missing_storage_is_one_line_with_the_next_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        build.main(["--runs-dir", str(tmp_path)])
    assert stopped.value.code == 1
    line = f"error: {tmp_path / 'study.db'}: not there; python -m study.run makes it\n"
    assert capsys.readouterr().err == line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["--check", "--render"])
@pytest.mark.parametrize("option", [["--study", "demo"], ["--runs-dir", "elsewhere"]])
def test_options_that_a_check_would_not_heed_are_refused(
    option: list[str], what: str, report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        build.main([*option, what, str(report)])
    assert stopped.value.code == 2
    assert "neither --study" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.usefixtures("no_browser")
def test_every_study_that_can_be_built_is_built_and_the_others_are_named(
    studied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlite3.connect(studied / "study.db") as source, sqlite3.connect(tmp_path / "study.db") as copy:
        source.backup(copy)
    for name in ("a foreign one", "zzz"):
        optuna.create_study(storage=sqlite_url(tmp_path / "study.db"), study_name=name)
    with pytest.raises(SystemExit) as stopped:
        build.main(["--runs-dir", str(tmp_path)])
    assert stopped.value.code == 1
    told = capsys.readouterr()
    assert told.out == f"{tmp_path / 'demo' / 'report.md'}\n"
    lines = [line for line in told.err.splitlines() if "study" in line]
    assert [re.findall(r"'(.*?)'", line)[0] for line in lines] == ["a foreign one", "zzz"]
    assert all(line.startswith("error: ") for line in lines)


def test_a_command_that_names_a_path_that_is_no_utf_8_is_shown_by_its_bytes(no_browser: None, tmp_path: Path) -> None:
    command = command_of("study.run", ["--data-dir", "b\udce9b\u00e9"])
    assert command == r"python -m study.run --data-dir 'b\xe9bé'"
    results = made_up_results()
    results["manifest"]["starts"][0]["command"] = "python -m study.run --data-dir b\udce9"  # as earlier versions did
    build.write_report(results, tmp_path)
    assert r"--data-dir b\udce9" in (tmp_path / "report.md").read_text()
    assert not [line for line in build.differences(tmp_path) if "report.md" in line]


def test_results_of_another_study_are_not_written_over(
    no_browser: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, again, other = made_up_results(), made_up_results(), made_up_results("full")
    build.write_report(results, tmp_path)
    build.write_report(results, tmp_path)
    assert "replaced" not in capsys.readouterr().out
    again["manifest"]["starts"][0]["date"] = "2026-01-01 10:00"
    again["data"]["hash"] = "of other images"
    build.write_report(again, tmp_path)
    assert "was of another study of that name, and is replaced" in capsys.readouterr().out
    with pytest.raises(build.ForeignFileError, match="of another study, 'quick'"):
        build.write_report(other, tmp_path)
    assert read_results(tmp_path / "results.json") == again


def test_a_browser_that_says_an_error_costs_the_figures_and_not_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kaleido = pytest.importorskip("kaleido")

    async def calc_fig(*_: object, **__: object) -> bytes:
        raise RuntimeError("Could not get targets")

    monkeypatch.setattr(kaleido.Kaleido, "calc_fig", calc_fig)
    build.write_report(made_up_results(), tmp_path)
    assert (tmp_path / "results.json").exists()
    assert not list(tmp_path.glob("figures/*.png"))
