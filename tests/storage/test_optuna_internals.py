"""Each private part of Optuna that the product uses does, in the installed version, what the product takes it for."""

import itertools
import os
import signal
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.artifacts import FileSystemArtifactStore
from optuna.trial import TrialState
from optuna_dashboard import get_note, save_note

from storage.open_study import open_study
from storage.optuna_internals import (
    as_stored,
    continued,
    enqueued_parameters,
    folder_of,
    set_system_attribute,
    storage_of,
    system_attributes,
    trial_id,
)
from storage.study_storage import open_claims, open_storage, sqlite_url
from tests.storage.toy import processes


def create_study(url: str, name: str = "study") -> optuna.Study:
    with open_claims(url) as claims:
        return optuna.create_study(storage=open_storage(url, claims), study_name=name)


def test_a_study_has_a_storage_that_knows_it(url: str) -> None:
    study = create_study(url)
    assert [stored.study_name for stored in storage_of(study).get_all_studies()] == ["study"]


def make_until(write: int, url: str) -> None:
    """Make a storage and a study in it, as a process that is killed before it writes for that time."""
    writes = itertools.count()

    def kill(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().startswith(("CREATE", "INSERT", "UPDATE")) and next(writes) == write:
            os.kill(os.getpid(), signal.SIGKILL)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", kill)
    create_study(url)


def killed_at(write: int, file: Path) -> bool:
    process = processes.Process(target=make_until, args=(write, sqlite_url(file)))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def test_a_storage_whose_maker_was_killed_anywhere_has_one_study_of_a_name(tmp_path: Path) -> None:
    files = (tmp_path / f"{write}.db" for write in itertools.count())
    killed = list(itertools.takewhile(lambda file: killed_at(int(file.stem), file), files))
    assert len(killed) > 15
    for file in killed:
        for _ in range(2):
            with open_study(sqlite_url(file), "study") as opened:
                opened.create()
        assert optuna.get_all_study_names(sqlite_url(file)) == ["study", "study-comparison"], file.name


def test_a_trial_has_a_number_in_its_storage_and_others_in_their_studies(url: str) -> None:
    trials = [create_study(url, name).ask() for name in ("one", "two")]
    assert [trial.number for trial in trials] == [0, 0]
    assert trial_id(trials[0]) != trial_id(trials[1])
    stored = optuna.load_study(study_name="two", storage=storage_of(trials[1].study)).get_trials()
    assert trial_id(stored[0]) == trial_id(trials[1])


def test_a_trial_as_stored_is_the_one_that_another_process_left(url: str) -> None:
    study, elsewhere = create_study(url), optuna.load_study(study_name="study", storage=url)
    trial = study.ask()
    (left,) = elsewhere.get_trials()
    elsewhere.tell(trial.number, 1.0)
    assert left.state == TrialState.RUNNING
    assert as_stored(study, left).state == as_stored(study, trial).state == TrialState.COMPLETE


def test_a_continued_trial_has_what_was_written_and_writes_to_the_same(url: str) -> None:
    study = create_study(url)
    begun = study.ask()
    assert begun.suggest_float("x", 0, 1) == begun.params["x"]
    begun.report(0.5, 1)
    begun.set_user_attr("seen", True)
    (left,) = study.get_trials()
    trial = continued(study, left)
    assert (trial.number, trial.params, trial.user_attrs) == (0, begun.params, {"seen": True})
    assert trial.suggest_float("x", 0, 1) == begun.params["x"]
    trial.report(0.25, 2)
    study.tell(trial, 0.25)
    (ended,) = study.get_trials()
    assert ended.intermediate_values == {1: 0.5, 2: 0.25}
    assert ended.state == TrialState.COMPLETE


def test_an_enqueued_trial_names_its_parameters_before_and_after_it_ran(url: str) -> None:
    study = create_study(url)
    study.enqueue_trial({"x": 0.25})
    assert [enqueued_parameters(trial) for trial in study.get_trials()] == [{"x": 0.25}]
    study.tell(study.ask({"x": optuna.distributions.FloatDistribution(0, 1)}), 1.0)
    study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    first, second = study.get_trials()
    assert (first.params, enqueued_parameters(first)) == ({"x": 0.25}, {"x": 0.25})
    assert enqueued_parameters(second) is None


def test_the_dashboard_reads_and_writes_the_system_attributes(url: str) -> None:
    study = create_study(url)
    save_note(study, "theirs")
    assert "theirs" in system_attributes(study).values()
    key = next(key for key, value in system_attributes(study).items() if value == "theirs")
    set_system_attribute(study, key, "ours")
    assert get_note(study) == "ours"
    trial = study.ask()
    save_note(trial, "of a trial")
    assert f"dashboard:{trial_id(trial)}:note_ver" in system_attributes(study)


def test_an_artifact_store_knows_its_folder(tmp_path: Path) -> None:
    assert folder_of(FileSystemArtifactStore(str(tmp_path))) == tmp_path
