"""What a training leaves: its curve, also as a CSV file to download, its weights, and where it was made."""

import csv
import dataclasses
import os
import platform
import tempfile
from pathlib import Path

import torch
from optuna.artifacts import FileSystemArtifactStore
from optuna.trial import FrozenTrial, Trial

from models import save_checkpoint
from storage.artifacts import WEIGHTS, offer
from storage.controls import words_of
from storage.files import naming
from storage.trials import MadeBy, TrialRecord, TrialView, convolutions_of
from study.device import convolutions
from study.manifest import commit, versions
from study.training import Epoch, Training


def made_by(device: torch.device, precision: str) -> MadeBy:
    """This process, as each trial that it trains stores it."""
    return {
        "commit": commit(),
        "versions": versions(),
        "device": str(device),
        "host": platform.node(),
        "process": os.getpid(),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "convolutions": convolutions(device, precision),
    }


def is_worth_trying_again(failed: FrozenTrial, here: MadeBy) -> bool:
    """Whether a trial that failed may end otherwise: a training that diverged is a function of what it was made by."""
    view = TrialView(failed)
    if view.made_by is None or not view.has_diverged:
        return True
    then, now = (
        [convolutions_of(made_by), *map(made_by.get, ("commit", "versions", "device", "precision", "threads"))]
        for made_by in (view.made_by, here)
    )
    return then != now


def store_training(
    trial: Trial,
    record: TrialRecord,
    training: Training,
    curve: list[Epoch],
    artifacts: FileSystemArtifactStore,
    accuracy: float | None,
) -> None:
    """Store what a training gave with its trial.

    Args:
        curve: the epochs that count, from the first.
        accuracy: of the trained weights, as a share 0 to 1; None where they are of no use, and then not kept.

    Raises:
        ClaimLostError: where another process may have gone on with the trial.
        OSError: where the artifact folder cannot be written or the disk is full.
    """
    epochs = [dataclasses.asdict(epoch) for epoch in curve]
    record.trained(epochs, round(sum(epoch.seconds for epoch in curve), 3))
    name = f"alpha{training.alpha:.4g}-T{training.temperature:.4g}-seed{training.seed}"
    name += f"-{words}" if (words := words_of(trial.params)) else ""
    with tempfile.TemporaryDirectory() as folder, naming(Path(folder)):
        table, weights = Path(folder) / f"curve-{name}.csv", Path(folder) / f"{WEIGHTS}{name}.pth"
        with table.open("w", newline="") as file:
            rows = csv.DictWriter(file, ["epoch", *epochs[0]], lineterminator="\n")
            rows.writeheader()
            rows.writerows({"epoch": number, **epoch} for number, epoch in enumerate(epochs, start=1))
        offer(trial, artifacts, table)
        if accuracy is not None:
            save_checkpoint(training.network, weights, accuracy, len(curve))
            offer(trial, artifacts, weights)
