"""Files that a trial offers for download in the dashboard."""

import os
from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.trial import FrozenTrial, Trial

from storage.files import naming
from storage.optuna_internals import folder_of, storage_of

WEIGHTS = "student-"
"""How the name of a trained student begins."""


def artifact_store(folder: Path) -> FileSystemArtifactStore:
    """The store in the artifact folder of a runs folder, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    return FileSystemArtifactStore(str(folder))


def weights_of(study: optuna.Study, trial: FrozenTrial, folder: Path) -> Path | None:
    """The trained student that a trial left in the artifact folder; None where it is not there."""
    listed = get_all_artifact_meta(trial, storage=storage_of(study))
    files = (folder / meta.artifact_id for meta in listed if meta.filename.startswith(WEIGHTS))
    return next((file for file in files if file.exists()), None)


def offer(trial: Trial, store: FileSystemArtifactStore, file: Path) -> None:
    """Let a running trial offer a file under its name, once, however often a worker that dies begins to.

    Optuna lists an artifact before it writes its file, so a name that is listed may have no file, or half of one: it
    is written again, in its place. It is on the disk when this returns: the checkpoint it came from is removed then.

    Raises:
        OSError: where the folder cannot be written or the disk is full.
    """
    listed = {meta.filename: meta.artifact_id for meta in get_all_artifact_meta(trial)}
    with naming(folder_of(store)):
        if file.name in listed:
            with file.open("rb") as content:
                store.write(listed[file.name], content)
        else:
            listed[file.name] = upload_artifact(artifact_store=store, file_path=str(file), study_or_trial=trial)
        with (folder_of(store) / listed[file.name]).open("rb") as written:
            os.fsync(written.fileno())
