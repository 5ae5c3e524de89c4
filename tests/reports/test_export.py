"""An export rebuilds the report of its study byte for byte, and is one file that nothing is written beside."""

import json
import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from reports.build import differences, write_report
from reports.build import main as build_main
from reports.export import main
from storage.study_storage import StorageError, open_claims, open_storage, sqlite_url
from study.run import main as study_main
from study.sampler import suggest
from study.teacher import main as teacher_main
from tests.reports.stored import collect, export
from tests.storage.postgres import Server

SMALL = ["--preset", "demo", "--epochs", "1", "--train-images", "320", "--seeds", "1"]
SMALL += ["--alphas", "0,0.5", "--temperatures", "4"]


@pytest.fixture(autouse=True)
def _no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROWSER_PATH", "/nowhere")


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real study that is going on: beside what ended, a trial runs and one waits."""
    folder = tmp_path_factory.mktemp("export") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BROWSER_PATH", "/nowhere")
        teacher_main(["--preset", "demo", "--epochs", "1", "--runs-dir", str(folder)])
        study_main([*SMALL, "--runs-dir", str(folder)])
    url = sqlite_url(folder / "study.db")
    study = optuna.load_study(study_name="demo", storage=open_storage(url, open_claims(url)))
    running, pruned, failed = (study.ask() for _ in range(3))
    for trial in (running, pruned, failed):
        suggest(trial)
        trial.report(0.1 + 0.2, 1)
    study.tell(pruned, state=TrialState.PRUNED)
    failed.set_user_attr("reason", "the loss became nan in epoch 2")
    study.tell(failed, state=TrialState.FAIL)
    study.enqueue_trial({"alpha": 0.25, "temperature": 3.0})
    return folder


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, runs_dir: Path) -> str:
    """The storage of that study, as it ran or copied to a PostgreSQL server."""
    ran = sqlite_url(runs_dir / "study.db")
    if request.param == "sqlite":
        return ran
    server: Server = request.getfixturevalue("server")
    address = server.new_database()
    for name in ("demo", "demo-comparison"):
        optuna.copy_study(from_study_name=name, from_storage=ran, to_storage=address)
    return address


@pytest.fixture
def exported(runs_dir: Path, tmp_path: Path) -> Path:
    """The export, in a folder of its own that is read-only, but to a superuser."""
    file = tmp_path / "exported" / "study.db"
    export(sqlite_url(runs_dir / "study.db"), "demo", file)
    file.chmod(0o444)
    file.parent.chmod(0o555)
    return file


def studies(url: str) -> tuple[optuna.Study, optuna.Study]:
    """Search and comparison, as Optuna itself loads them."""
    search, comparison = (
        optuna.load_study(study_name=name, storage=open_storage(url, open_claims(url)))
        for name in ("demo", "demo-comparison")
    )
    return search, comparison


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fields(trial: FrozenTrial) -> dict[str, Any]:
    """All that a trial is, but for its key in the storage."""
    return {name: value for name, value in vars(trial).items() if name != "_trial_id"}


def test_an_export_rebuilds_the_report_byte_for_byte(url: str, tmp_path: Path) -> None:
    main(["--study", "demo", "--storage", url, "--output", str(tmp_path / "study.db")])
    for name, storage in (("original", url), ("rebuilt", f"sqlite:///{tmp_path / 'study.db'}")):
        build_main(["--storage", storage, "--study", "demo", "--output", str(tmp_path / name)])
    assert {"results.json", "trials.csv", "report.md", "report.html"} == content(tmp_path / "original").keys()
    assert content(tmp_path / "rebuilt") == content(tmp_path / "original")


def test_an_export_keeps_every_trial_as_it_is(url: str, tmp_path: Path) -> None:
    export(url, "demo", tmp_path / "study.db")
    originals, copies = studies(url), studies(sqlite_url(tmp_path / "study.db"))
    states = {trial.state for trial in copies[0].trials}
    assert states == set(TrialState)
    for original, copy in zip(originals, copies, strict=True):
        assert [fields(trial) for trial in copy.trials] == [fields(trial) for trial in original.trials]
        assert copy.user_attrs == original.user_attrs
        assert copy.metric_names == original.metric_names


def test_an_export_is_one_file_the_same_every_time_and_without_the_dashboard(runs_dir: Path, tmp_path: Path) -> None:
    for name in ("one.db", "two.db"):
        export(sqlite_url(runs_dir / "study.db"), "demo", tmp_path / name)
    assert content(tmp_path).keys() == {"one.db", "two.db"}
    one, two = content(tmp_path).values()
    assert one == two
    original, _ = studies(sqlite_url(runs_dir / "study.db"))
    assert any(key.startswith("dashboard:") for key in original._storage.get_study_system_attrs(original._study_id))
    assert b"dashboard:" not in one


def test_an_export_is_read_without_a_trace(exported: Path, tmp_path: Path) -> None:
    before = content(exported.parent)
    build_main(["--storage", f"sqlite:///{exported}", "--study", "demo", "--output", str(tmp_path / "report")])
    build_main(["--storage", f"sqlite:///{exported}", "--runs-dir", str(tmp_path / "all")])
    assert (tmp_path / "all" / "demo" / "report.md").exists()
    assert content(exported.parent) == before
    assert before.keys() == {"study.db"}


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(list(options))
    assert stopped.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    message = err.removesuffix("\n")
    assert message.startswith("error: ")
    assert "\n" not in message
    return message


def test_what_cannot_be_exported_gets_one_line(
    runs_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, new = tmp_path / "there.db", tmp_path / "new.db"
    there.write_bytes(b"mine")
    from_runs = ("--runs-dir", str(runs_dir))
    assert f"{there}: is there already" in refused(capsys, *from_runs, "--study", "demo", "--output", str(there))
    assert "no study 'other'" in refused(capsys, *from_runs, "--study", "other", "--output", str(new))
    assert "was not made by" in refused(capsys, *from_runs, "--study", "demo-comparison", "--output", str(new))
    nowhere = f"sqlite:///{tmp_path / 'nowhere.db'}"
    assert "nowhere.db: not there" in refused(capsys, "--storage", nowhere, "--study", "demo", "--output", str(new))
    unwritable = there / "new.db"
    assert "there.db" in refused(capsys, *from_runs, "--study", "demo", "--output", str(unwritable))
    assert content(tmp_path) == {"there.db": b"mine"}


@pytest.mark.parametrize("foreign", [b"", b"no database, but a text that is long enough to be read as one's header"])
def test_a_file_that_is_no_storage_is_refused_and_stays_as_it_is(foreign: bytes, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(foreign)
    with pytest.raises(StorageError, match=r"cannot be opened \(.+\)$"):
        collect(sqlite_url(tmp_path / "study.db"))
    assert content(tmp_path) == {"study.db": foreign}


def test_check_rebuilds_the_results_from_an_export_beside_them(exported: Path, tmp_path: Path) -> None:
    results = collect(f"sqlite:///{exported}", "demo")
    write_report(results, tmp_path / "report")
    database = Path(shutil.copy(exported, tmp_path / "report" / "study.db"))
    assert differences(tmp_path / "report") == []
    results["grid"][0]["seconds"] += 1
    write_report(results, tmp_path / "report")
    assert differences(tmp_path / "report") == [f"{tmp_path / 'report' / 'results.json'}: not what study.db gives"]
    results["study"] = "other"
    (tmp_path / "report" / "results.json").write_text(json.dumps(results))
    assert any(line.startswith(f"{database}: no study 'other'") for line in differences(tmp_path / "report"))
