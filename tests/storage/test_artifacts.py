"""What a trial offers for download: once, whole, and only what it is worth."""

import csv
import dataclasses
import functools
import os
import signal
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from optuna.trial import FrozenTrial, TrialState

from tests.storage.toy import Toy, processes


def artifacts_of(toy: Toy) -> list[tuple[FrozenTrial, dict[str, Path]]]:
    """Each trial with its files by the first word of their names; fails where two have the same name."""
    study, found = toy.study(), []
    for trial in study.get_trials():
        listed = get_all_artifact_meta(trial, storage=study._storage)
        assert len({meta.filename for meta in listed}) == len(listed), "the same file twice"
        files = {meta.filename.split("-")[0]: toy.folder / "artifacts" / meta.artifact_id for meta in listed}
        found.append((trial, files))
    return found


def assert_every_trial_offers_what_it_is_worth(toy: Toy) -> None:
    stored = 0
    for trial, files in artifacts_of(toy):
        stored += len(files)
        if "repeats" in trial.user_attrs:
            assert files == {}
            continue
        assert files.keys() == ({"curve", "student"} if trial.state == TrialState.COMPLETE else {"curve"})
        with files["curve"].open() as file:
            epochs = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        assert [epoch.pop("epoch") for epoch in epochs] == sorted(trial.intermediate_values)
        assert epochs == trial.user_attrs["curve"]
        if trial.value is not None and trial.state == TrialState.COMPLETE:
            checkpoint = torch.load(files["student"], weights_only=True)
            assert trial.value == 4 / 5 * (0.5 + 0.5 * checkpoint["model"]["weight"].item())
            assert checkpoint["best_acc"] == pytest.approx(100 * trial.value, abs=1e-4)
            assert checkpoint["epoch"] == 4
    assert len(list((toy.folder / "artifacts").iterdir())) == stored


def test_a_trial_offers_its_curve_and_a_complete_one_its_weights(url: str, tmp_path: Path) -> None:
    toy = Toy(url, tmp_path, tpe_trials=2)
    toy.run()
    assert TrialState.PRUNED in {trial.state for trial in toy.study().get_trials()}, "or this says nothing of pruning"
    assert_every_trial_offers_what_it_is_worth(toy)


def test_what_is_offered_is_on_the_disk_before_the_trial_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Toy(f"sqlite:///{tmp_path / 'study.db'}", tmp_path, alphas=(0.25,), temperatures=(4.0,))
    search, fsync, on_disk, told = toy.search(), os.fsync, set(), []

    def noted(file: int) -> None:
        fsync(file)
        on_disk.add(os.fstat(file).st_ino)

    tell = search.study.tell

    def look(*arguments: Any) -> FrozenTrial:
        told.append({path.stat().st_ino for path in (tmp_path / "artifacts").iterdir()} - on_disk)
        return tell(*arguments)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(search.study, "tell", look)
    search.run_grid()
    assert told == [set()]
    assert len(list((tmp_path / "artifacts").iterdir())) == 2


class DeadlyStore(FileSystemArtifactStore):
    """The real store, in which the process dies while it writes the n-th file, after so many of its bytes."""

    def __init__(self, folder: Path, file: int, after_bytes: int) -> None:
        super().__init__(folder)
        self.files_left, self.after_bytes = file, after_bytes

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self.files_left -= 1
        if self.files_left:
            super().write(artifact_id, content_body)
            return
        if self.after_bytes:
            (Path(self._base_path) / artifact_id).write_bytes(content_body.read(self.after_bytes))
        os.kill(os.getpid(), signal.SIGKILL)


def die_while_writing(toy: Toy, file: int, after_bytes: int) -> None:
    search = toy.search()
    deadly = DeadlyStore(toy.folder / "artifacts", file, after_bytes)
    search.worker = dataclasses.replace(search.worker, artifacts=deadly)
    search.run_grid()


def die_before_tell(toy: Toy) -> None:
    search = toy.search()
    search.study.tell = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
    search.run_grid()


@pytest.mark.parametrize(
    "death",
    [
        functools.partial(die_while_writing, file=1, after_bytes=0),
        functools.partial(die_while_writing, file=2, after_bytes=100),
        die_before_tell,
    ],
    ids=["curve listed", "weights half written", "all offered, not told"],
)
def test_a_worker_that_dies_while_it_offers_leaves_no_file_twice_and_none_broken(
    url: str, tmp_path: Path, death: functools.partial[None]
) -> None:
    toy = Toy(url, tmp_path, alphas=(0.25,), temperatures=(4.0,))
    worker = processes.Process(target=death, args=(toy,))
    worker.start()
    worker.join(120)
    assert worker.exitcode == -signal.SIGKILL
    ((left, listed),) = artifacts_of(toy)
    assert left.state == TrialState.RUNNING
    assert listed, "or the worker died too early"
    toy.run()
    assert [trial.state for trial, _ in artifacts_of(toy)] == [TrialState.COMPLETE]
    assert_every_trial_offers_what_it_is_worth(toy)
