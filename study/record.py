"""What is stored with a study, so that it knows what it is and a report needs nothing else."""

import base64
import dataclasses
import io
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import BaseStorage
from optuna.trial import Trial, TrialState
from PIL import Image

from data import ImageSet, Split
from models import StudentCNN, save_checkpoint
from models.cost import measure_cost
from storage.artifacts import offer
from storage.claims import Claims, hold
from storage.configuration import Configuration, ConfigurationError
from storage.files import naming
from study.manifest import commit, hardware, versions
from study.space import grid_points
from study.teacher import Teacher
from study.training import Epoch, Training


def comparison_name(study_name: str) -> str:
    """The name of the Optuna study that holds the final comparison of another."""
    return f"{study_name}-comparison"


def open_studies(
    name: str,
    configuration: Configuration,
    image_set: ImageSet,
    split: Split,
    teacher: Teacher,
    storage: BaseStorage,
    claims: Claims,
    device: torch.device,
    command: str,
) -> tuple[optuna.Study, optuna.Study]:
    """Open the study of the search and that of the comparison; create them where they are missing.

    Raises:
        ConfigurationError: where the study was begun with another configuration, data set or teacher.
    """
    with hold(claims, f"{name}-create"):
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        compared = optuna.create_study(
            storage=storage, study_name=comparison_name(name), direction="maximize", load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(),
        )  # fmt: skip
        # The configuration is written last: a study that has none was only begun, by a process that died.
        if "configuration" not in study.user_attrs:
            study.set_metric_names(["validation accuracy"])
            compared.set_metric_names(["test accuracy"])
            for key, value in _describe(image_set, split, teacher, device).items():
                study.set_user_attr(key, value)
            study.set_user_attr("configuration", configuration.as_json())
        refuse_another(study, configuration, image_set.hash, teacher.hash)
        study.set_user_attr("configuration", configuration.as_json())
        start = {"command": command, "commit": commit(), "versions": versions(), "hardware": hardware(device)}
        starts = study.user_attrs.get("starts", [])
        if not any(start == {key: earlier[key] for key in start} for earlier in starts):
            starts = [*starts, {"date": time.strftime("%Y-%m-%d %H:%M"), **start}]
            study.set_user_attr("starts", starts)
    return study, compared


def refuse_another(study: optuna.Study, configuration: Configuration, data_hash: str, teacher_hash: str) -> None:
    """Raise ``ConfigurationError`` naming the first setting that differs from those the study was begun with.

    Seeds can be added any time, and TPE may prune after a grid that did not.
    """
    stored, wanted = study.user_attrs["configuration"], configuration.as_json()
    may_change = {"seeds", "pruner"} if _grid_ended(study, configuration) else {"seeds"}
    differences = [
        (key, stored.get(key), wanted[key])
        for key in wanted
        if key not in may_change and stored.get(key) != wanted[key]
    ]
    if differences and differences[0][0] == "recipe":
        _, old, new = differences[0]
        differences = [(key, old.get(key), new[key]) for key in new if old.get(key) != new[key]]
    differences += [
        (key, old[:12], new[:12])
        for key, old, new in (
            ("data", study.user_attrs["data"]["hash"], data_hash),
            ("teacher", study.user_attrs["teacher"]["hash"], teacher_hash),
        )
        if old != new
    ]
    if differences:
        key, old, new = differences[0]
        raise ConfigurationError(
            f"study {study.study_name!r} was begun with {key} {old}, not {new}: give --study NAME to begin another"
        )


def _grid_ended(study: optuna.Study, configuration: Configuration) -> bool:
    ended = [t.params for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))]
    return all(point in ended for point in grid_points(configuration))


def _describe(image_set: ImageSet, split: Split, teacher: Teacher, device: torch.device) -> dict[str, Any]:
    classes = len(image_set.classes)
    return {
        "data": {
            "name": image_set.name,
            "synthetic": image_set.synthetic,
            "hash": image_set.hash,
            "classes": image_set.classes,
            "groups": image_set.groups,
            "official_train_images": len(image_set.train_images),
            "test_images": len(image_set.test_images),
            "train_images": len(split.train),
            "validation_images": len(split.validation),
            "image_size": image_set.train_images.shape[-1],
            "channels": image_set.train_images.shape[1],
            "samples": _samples(image_set),
        },
        "teacher": {
            "name": teacher.network,
            **{key: value for key, value in teacher.card.items() if key not in ("network", "train_loss")},
            **dataclasses.asdict(measure_cost(teacher.load(device), device)),
        },
        "student": {"name": "StudentCNN", **dataclasses.asdict(measure_cost(StudentCNN(classes), device))},
    }


def _samples(image_set: ImageSet) -> list[dict[str, str]]:
    """One training image of the first class of each group, as base64 of a PNG."""
    samples = []
    for group in dict.fromkeys(image_set.groups):
        label = image_set.groups.index(group)
        image = image_set.train_images[(image_set.train_labels == label).nonzero()[0, 0]]
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "PNG")
        samples.append({"class": image_set.classes[label], "png": base64.b64encode(file.getvalue()).decode()})
    return samples


def checkpoint_file(runs_dir: Path, study_name: str, alpha: float, temperature: float, seed: int) -> Path:
    """Where a training keeps what it needs to go on."""
    return runs_dir / "checkpoints" / study_name / f"alpha{alpha!r}-T{temperature!r}-seed{seed}.pt"


def store_training(
    trial: Trial, training: Training, curve: list[Epoch], artifacts: FileSystemArtifactStore, accuracy: float | None
) -> None:
    """Store what a training gave with its trial: the curve, also as a CSV file to download, and its weights.

    Args:
        curve: the epochs that count, from the first.
        accuracy: of the trained weights, as a share 0 to 1; None where they are of no use, and then not kept.

    Raises:
        OSError: where the artifact folder cannot be written or the disk is full.
    """
    import pandas as pd  # Here, since the first step need not wait for it.

    epochs = [dataclasses.asdict(epoch) for epoch in curve]
    trial.set_user_attr("curve", epochs)
    trial.set_user_attr("seconds", round(sum(epoch.seconds for epoch in curve), 3))
    name = f"alpha{training.alpha:.4g}-T{training.temperature:.4g}-seed{training.seed}"
    with tempfile.TemporaryDirectory() as folder, naming(Path(folder)):
        table, weights = Path(folder) / f"curve-{name}.csv", Path(folder) / f"student-{name}.pth"
        pd.DataFrame(epochs, index=range(1, len(epochs) + 1)).to_csv(table, index_label="epoch", lineterminator="\n")
        offer(trial, artifacts, table)
        if accuracy is not None:
            save_checkpoint(training.network, weights, accuracy, len(curve))
            offer(trial, artifacts, weights)


def count_ended(study: optuna.Study) -> int:
    """How many trials of a study are complete or pruned."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))
