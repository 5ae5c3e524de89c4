"""What the product needs of Optuna and Optuna does not publish, in one place: a new version shows here first."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb.models import NOT_FOUND_MSG, BaseModel
from optuna.trial import FrozenTrial, Trial


def storage_of(study: optuna.Study) -> BaseStorage:
    """The storage of a study, behind Optuna's cache of trials that have ended."""
    return study._storage


def trial_id(trial: Trial | FrozenTrial) -> int:
    """The number of a trial in its storage, by which the dashboard's notes know it; unlike ``number``, of one study."""
    return trial._trial_id


def as_stored(study: optuna.Study, trial: Trial | FrozenTrial) -> FrozenTrial:
    """A picture of a trial as it is stored now."""
    return study._storage.get_trial(trial._trial_id)


def continued(study: optuna.Study, left: FrozenTrial) -> Trial:
    """A RUNNING trial that another process began, as the one that goes on with it has it."""
    return Trial(study, left._trial_id)


def showing(study: optuna.Study, keep: Callable[[FrozenTrial], bool]) -> optuna.Study:
    """The study as a sampler sees it that is to learn from some of its trials alone."""
    shown = copy.copy(study)

    def get_trials(*arguments: Any, **named: Any) -> list[FrozenTrial]:
        return [trial for trial in study._get_trials(*arguments, **named) if keep(trial)]

    shown._get_trials = get_trials  # type: ignore[method-assign]
    return shown


def set_user_attribute(study: optuna.Study, trial: FrozenTrial, key: str, value: Any) -> None:
    """Store a user attribute of a trial that a sampler has in hand."""
    study._storage.set_trial_user_attr(trial._trial_id, key, value)


def enqueued_parameters(trial: FrozenTrial) -> dict[str, Any] | None:
    """The parameters that a trial was enqueued with; None where a sampler chose them."""
    parameters: dict[str, Any] | None = trial.system_attrs.get("fixed_params")
    return parameters


def system_attributes(study: optuna.Study) -> dict[str, Any]:
    """What is stored with a study beside the attributes of its user: where the dashboard keeps notes and figures."""
    return study._storage.get_study_system_attrs(study._study_id)


def set_system_attribute(study: optuna.Study, key: str, value: str | int) -> None:
    """Store one of ``system_attributes``."""
    study._storage.set_study_system_attr(study._study_id, key, value)


def folder_of(store: FileSystemArtifactStore) -> Path:
    """Where an artifact store keeps its files."""
    return store._base_path


def is_deleted(error: KeyError) -> bool:
    """Whether a study or trial that was asked for is not in its storage any more."""
    return error.args == (NOT_FOUND_MSG,)


def make_missing_indexes(storage: RDBStorage) -> None:
    """Make what a process did not that was killed while it made the tables: with SQLite each is a step of its own.

    Without the unique index of their names, every ``create_study`` makes one more of the same name. Optuna makes the
    indexes of tables that are missing, not those of tables that are there.
    """
    for table in BaseModel.metadata.sorted_tables:
        for index in table.indexes:
            index.create(storage.engine, checkfirst=True)
