"""The studies of a storage at a glance, and one of them deleted with all that it left."""

import dataclasses
import shutil
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, cast

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from storage.arms import winner
from storage.claims import hold
from storage.configuration import ConfigurationError
from storage.description import FORMAT, Start
from storage.folders import RunsFolder
from storage.open_study import open_study, read_study
from storage.study_storage import sqlite_url
from storage.trials import DIVERGED, TrialView, views
from study.begin import refuse_foreign
from study.list import main
from study.rescore import main as rescore_main
from study.run import main as study_main
from study.sampler import suggest
from study.search import Search
from tests.conftest import SMALL
from tests.reports.stored import export

ROOT = Path(__file__).parents[2]


@pytest.fixture
def runs(studied: Path, tmp_path: Path) -> RunsFolder:
    """A copy of a small real study."""
    return RunsFolder(shutil.copytree(studied, tmp_path / "runs"))


def said(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    main(list(options))
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(list(options))
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_each_study_says_how_far_it_has_come(runs: RunsFolder, capsys: pytest.CaptureFixture[str]) -> None:
    row = next(line for line in said(capsys, "--runs-dir", str(runs.path)).splitlines() if line.startswith("demo"))
    assert row.split()[:8] == ["demo", "done", "4", "of", "4", "2", "of", "2"]
    with open_study(sqlite_url(runs.database), "demo") as opened:
        assert opened.search is not None
        trial = opened.search.ask()
        suggest(trial)
        trial.report(0.5, 3)
        assert opened.comparison is not None
        opened.comparison.enqueue_trial({"alpha": 0.0, "temperature": 1.0, "seed": 2})
        opened.comparison.ask()
    row = next(line for line in said(capsys, "--runs-dir", str(runs.path)).splitlines() if line.startswith("demo"))
    assert row.endswith("trial 4, epoch 3; run 2")


def test_arms_that_were_asked_for_are_planned_before_a_run_of_them_has_begun(
    runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_study(sqlite_url(runs.database), "demo") as opened:
        description, search, _ = opened.begun()
        (start,) = description.starts
        asks = {**start, "command": "python -m study.run --arm '0.25, 4' --arm=0.75,2 --arm 0,8 --sampler none"}
        dataclasses.replace(description, starts=[start, cast(Start, asks)]).store(search)
    row = next(line for line in said(capsys, "--runs-dir", str(runs.path)).splitlines() if line.startswith("demo"))
    assert row.split()[:8] == ["demo", "begun", "4", "of", "4", "2", "of", "4"]


def test_a_study_of_a_newer_version_hides_no_other(runs: RunsFolder, capsys: pytest.CaptureFixture[str]) -> None:
    with open_study(sqlite_url(runs.database), "newer") as opened:
        search, _ = opened.create()
        search.set_user_attr("format", FORMAT + 1)
        search.set_user_attr("configuration", {})
    rows = said(capsys, "--runs-dir", str(runs.path)).splitlines()
    assert [row.split()[:2] for row in rows[2:]] == [["demo", "done"], ["newer", "of"]]


def test_a_study_of_others_that_has_a_configuration_too_hides_no_other(
    runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_study(sqlite_url(runs.database), "theirs") as opened:
        search, _ = opened.create()
        search.set_user_attr("configuration", {"learning_rate": 0.1})
    rows = said(capsys, "--runs-dir", str(runs.path)).splitlines()
    assert [row.split()[:2] for row in rows[2:]] == [["demo", "done"], ["theirs", "not"]]


def test_a_runs_folder_that_nothing_is_read_from_is_refused(
    runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    said_why = refused(capsys, "--storage", sqlite_url(runs.database), "--runs-dir", str(runs.path))
    assert said_why.startswith("error: --runs-dir")


def test_a_study_of_which_less_is_asked_for_than_it_has_is_done(
    runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Finalists that were lowered, TPE trials too, one of them failed, and a run that diverged, as it would again."""
    with open_study(sqlite_url(runs.database), "demo") as opened:
        assert opened.search is not None
        assert opened.comparison is not None
        best = winner(views(opened.search, 4), "grid")
        assert best is not None
        opened.search.add_trial(trial_at({**best.point, "seed": 10_002}, value=best.value))
        opened.search.add_trial(trial_at({"alpha": 0.3, "temperature": 3.0}, state=TrialState.PRUNED))
        opened.search.add_trial(trial_at({"alpha": 0.4, "temperature": 3.0}, state=TrialState.FAIL))
        for _ in range(2):
            opened.comparison.add_trial(
                trial_at(
                    {"alpha": 0.25, "temperature": 2.0, "seed": 1},
                    state=TrialState.FAIL,
                    user_attrs={"reason": f"{DIVERGED} in epoch 1"},
                )
            )
    row = next(line for line in said(capsys, "--runs-dir", str(runs.path)).splitlines() if line.startswith("demo"))
    assert row.split()[:10] == ["demo", "done,", "2", "failed", "7", "of", "7", "3", "of", "3"]


def test_a_training_that_failed_and_was_tried_again_is_no_failed_one(
    runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    point = {"alpha": 0.25, "temperature": 2.0, "seed": 1}
    reason = {"reason": "out of memory"}
    with open_study(sqlite_url(runs.database), "demo") as opened:
        assert opened.comparison is not None
        opened.comparison.add_trial(trial_at(point, state=TrialState.FAIL, user_attrs=reason))
    assert "1 failed" in said(capsys, "--runs-dir", str(runs.path))
    with open_study(sqlite_url(runs.database), "demo") as opened:
        assert opened.comparison is not None
        opened.comparison.add_trial(trial_at(point, value=0.5))
    assert "failed" not in said(capsys, "--runs-dir", str(runs.path))


def test_a_study_whose_controls_still_try_learning_rates_has_begun(
    runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_study(sqlite_url(runs.database), "demo") as opened:
        opened.create_rates().ask()
    row = next(line for line in said(capsys, "--runs-dir", str(runs.path)).splitlines() if line.startswith("demo"))
    assert row.split()[1] == "begun"
    assert row.endswith("learning rate 0")


def trial_at(point: dict[str, float], **settings: Any) -> FrozenTrial:
    spaces: dict[str, BaseDistribution] = {"alpha": FloatDistribution(0, 1), "seed": IntDistribution(0, 20_000)}
    spaces["temperature"] = FloatDistribution(1, 16, log=True)
    return create_trial(params=point, distributions={name: spaces[name] for name in point}, **settings)


def test_a_deleted_study_leaves_nothing_but_its_report(runs: RunsFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(runs.artifacts.iterdir())
    (runs.checkpoints("demo")).mkdir(parents=True, exist_ok=True)
    assert "deleted demo" in said(capsys, "--runs-dir", str(runs.path), "--delete", "demo", "--yes")
    assert list(runs.artifacts.iterdir()) == []
    assert not runs.checkpoints("demo").exists()
    assert (runs.report("demo") / "report.md").exists()
    with read_study(sqlite_url(runs.database)) as opened:
        assert opened.names() == []


def test_a_deleted_copy_leaves_the_files_of_its_original(
    runs: RunsFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs.path.parent)
    export(sqlite_url(runs.database), "demo", Path("mine.db"))
    runs.checkpoints("demo").mkdir(parents=True, exist_ok=True)
    files = sorted(runs.path.rglob("*"))
    line = said(capsys, "--storage", "sqlite:///mine.db", "--delete", "demo", "--yes")
    assert line == (
        "deleted demo and demo-comparison; its artifacts and checkpoints stay, since no --runs-dir says where it ran\n"
    )
    assert sorted(runs.path.rglob("*")) == files
    assert said(capsys, "--storage", "sqlite:///mine.db") == "no study yet; python -m study.run begins one\n"
    said(capsys, "--storage", "sqlite:///runs/study.db", "--delete", "demo", "--yes")
    assert list(runs.artifacts.iterdir()) == [], "the folder's own storage needs no --runs-dir"
    assert not runs.checkpoints("demo").exists()


@pytest.mark.parametrize("given", [True, False])
def test_a_study_in_a_storage_of_its_own_goes_with_its_files_where_it_is_said_where_it_ran(
    given: bool, runs: RunsFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs.path.parent)
    url = sqlite_url(runs.database.rename(tmp_path / "mine.db"))
    main(["--storage", url, *(["--runs-dir", "runs"] if given else []), "--delete", "demo", "--yes"])
    assert bool(list(runs.artifacts.iterdir())) != given


def test_a_study_whose_comparison_was_deleted_is_one_all_the_same(
    runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    optuna.delete_study(study_name="demo-comparison", storage=sqlite_url(runs.database))
    assert "without its comparison" in said(capsys, "--runs-dir", str(runs.path))


def test_what_is_left_of_a_study_deleted_by_half_is_of_no_new_one_and_can_be_deleted(
    runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    url, where = sqlite_url(runs.database), ("--runs-dir", str(runs.path))
    optuna.delete_study(study_name="demo", storage=url)  # as the dashboard does
    line = "study 'demo' was deleted, but 2 of its trainings are left.* --delete demo.* removes them"
    with read_study(url, "demo") as opened, pytest.raises(ConfigurationError, match=line):
        refuse_foreign(opened)
    assert said(capsys, *where, "--delete", "demo", "--yes").startswith("deleted demo-comparison;")
    assert list(runs.artifacts.iterdir()) != [], "those of the search went with it, whoever deleted it"
    with read_study(url, "demo") as opened:
        refuse_foreign(opened)
    assert "no study 'demo'" in refused(capsys, *where, "--delete", "demo", "--yes")


def test_a_deletion_that_was_cut_short_goes_on(runs: RunsFolder, capsys: pytest.CaptureFixture[str]) -> None:
    optuna.delete_study(study_name="demo-comparison", storage=sqlite_url(runs.database))
    assert said(capsys, "--runs-dir", str(runs.path), "--delete", "demo", "--yes").startswith("deleted demo;")
    optuna.create_study(study_name="other-comparison", storage=sqlite_url(runs.database))
    said_no = refused(capsys, "--runs-dir", str(runs.path), "--delete", "other", "--yes")
    assert said_no.startswith("error: no study 'other'"), "that of somebody else stays"


def test_nothing_is_deleted_by_mistake(
    runs: RunsFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = ("--runs-dir", str(runs.path))
    monkeypatch.setattr("builtins.input", lambda question: "dem")
    assert refused(capsys, *where, "--delete", "demo") == "error: nothing was deleted"

    def nobody(question: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)
    assert refused(capsys, *where, "--delete", "demo") == "error: nothing was deleted"
    assert "no study 'other'" in refused(capsys, *where, "--delete", "other", "--yes")
    assert "--yes" in refused(capsys, *where, "--yes")
    with open_study(sqlite_url(runs.database), "demo") as opened, ExitStack() as held:
        search = opened.search
        assert search is not None

        def begun_meanwhile(question: str) -> str:
            search.ask()
            held.enter_context(hold(opened.claims, "demo-4"))
            return "demo"

        monkeypatch.setattr("builtins.input", begun_meanwhile)
        assert "a living process works on trial 4" in refused(capsys, *where, "--delete", "demo")
        assert "a living process works on trial 4" in refused(capsys, *where, "--delete", "demo", "--yes")
    assert "demo" in said(capsys, *where)


def test_no_study_is_deleted_under_a_process_that_has_none_of_its_trials(
    runs: RunsFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    where, lines = ("--runs-dir", str(runs.path)), []
    command = [sys.executable, "-m", "study.list", *where, "--delete", "demo", "--yes"]

    def delete_meanwhile(*_: object) -> list[TrialView]:
        lines.append(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stderr)
        return []

    monkeypatch.setenv("BROWSER_PATH", "/nowhere")
    monkeypatch.setattr(Search, "run_grid", delete_meanwhile)
    study_main([*SMALL, *where, "--seeds", "2"])
    monkeypatch.setattr("study.rescore._unscored", delete_meanwhile)
    rescore_main(["demo", *where])
    assert lines == ["error: study 'demo': a living process works on it; stop it first\n"] * 3
    assert said(capsys, *where, "--delete", "demo", "--yes").splitlines()[-1].startswith("deleted demo")


def test_a_study_that_the_storage_keeps_is_not_said_to_be_deleted(
    runs: RunsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(runs.database)) as connection:
        connection.execute("CREATE TRIGGER kept BEFORE DELETE ON studies BEGIN SELECT RAISE(ABORT, 'kept'); END")
    line = refused(capsys, "--runs-dir", str(runs.path), "--delete", "demo", "--yes")
    assert line.startswith("error: study 'demo-comparison' in ")
    assert line.endswith("the storage keeps it; try again")
