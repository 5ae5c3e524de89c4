"""A study whose network is a toy; storage, claims, search, checkpoints and processes are the real ones."""

import contextlib
import dataclasses
import io
import multiprocessing
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
import torch
from optuna.trial import FrozenTrial
from torch import nn

import study.training
import study.worker
from data import ImageBank
from storage.artifacts import artifact_store
from storage.claims import Claims, hold
from storage.configuration import ALPHAS, TEMPERATURES, Point, Recipe
from storage.exactly_once import point_of
from storage.folders import RunsFolder
from storage.study_storage import open_claims, open_storage
from storage.trials import Beyond, MadeBy
from study.evaluation import HeldOut, Scores, score
from study.record import made_by
from study.search import Search
from study.settings import PRESETS
from study.step import TrainingStep
from study.training import DivergedError, Epoch, Training
from study.worker import Worker

# Forked from a process that has imported everything but has no thread, connection or claim.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    ["tests.storage.toy", "alembic.command", "alembic.migration", "sqlalchemy.dialects.postgresql.psycopg"]
)

# What this process has opened; closed after every test.
opened = contextlib.ExitStack()


@dataclass(frozen=True)
class Toy:
    """What is to be run.

    Attributes:
        url: of the storage.
        folder: of checkpoints, artifacts and ``epochs``, the list of all epochs trained.
        alphas, temperatures: the grid.
        diverges: the (alpha, T) whose loss is not finite.
        diverges_beyond: whether the loss of every point after the grid is not finite.
        exhausts: the (alpha, T) for which memory is not enough, and how many times.
        commit: of the code; what diverged under one is tried again under another.
    """

    url: str
    folder: Path
    name: str = "toy"
    epochs: int = 4
    epoch_seconds: float = 0.002
    pruner: Literal["median", "none"] = "median"
    tpe_trials: int = 0
    beyond: Beyond = "tpe"
    finalists: int = 0
    alphas: tuple[float, ...] = ALPHAS
    temperatures: tuple[float, ...] = TEMPERATURES
    diverges: tuple[float, float] | None = None
    exhausts: tuple[float, float] | None = None
    times_exhausted: int = 0
    diverges_beyond: bool = False
    commit: str = "toy"

    def search(self) -> Search:
        """The search in this process."""
        torch.set_num_threads(1)
        study.training.SECONDS_BETWEEN_CHECKPOINTS = 0.0
        study.worker.SECONDS_BETWEEN_LOOKS = 0.02
        study.worker.PAUSES = (0.1,) * 300
        claims = opened.enter_context(open_claims(self.url))
        configuration = dataclasses.replace(
            PRESETS["demo"],
            recipe=Recipe(epochs=self.epochs, batch_size=1, learning_rate=1.0),
            alphas=self.alphas,
            temperatures=self.temperatures,
            pruner=self.pruner,
            finalists=self.finalists,
        )
        here: MadeBy = {**made_by(torch.device("cpu"), "float32"), "commit": self.commit}
        held_out = ToyHeldOut(_bank(), torch.arange(1), "float32", None)
        worker = Worker(configuration, claims, artifact_store(RunsFolder(self.folder).artifacts), here)
        return Search(worker, self.study(claims), self.training, held_out, self.beyond)

    def study(self, claims: Claims | None = None) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        claims = claims or opened.enter_context(open_claims(self.url))
        storage = open_storage(self.url, claims)
        opened.callback(storage.engine.dispose)
        with hold(claims, f"{self.name}-create"):
            return optuna.create_study(storage=storage, study_name=self.name, direction="maximize", load_if_exists=True)

    def training(self, point: Point, name: str) -> Training:
        return ToyTraining(self, point["alpha"], point["temperature"], int(point["seed"]), name)

    def run(self) -> None:
        """What one worker does, to the end."""
        with contextlib.redirect_stdout(io.StringIO()):
            search = self.search()
            search.run_grid()
            search.run_beyond(self.tpe_trials)
            search.run_finalists()

    def start(self) -> Any:
        """A process of its own that does it."""
        process = processes.Process(target=self.run, daemon=True)
        process.start()
        return process

    def epochs_trained(self) -> list[tuple[float, float, int]]:
        """(alpha, T, epoch) of every epoch that any process has trained to its end."""
        lines = (self.folder / "epochs").read_text().splitlines()
        return [(float(a), float(t), int(e)) for name, a, t, e in map(str.split, lines) if name == self.name]

    def table(self) -> list[tuple[Any, ...]]:
        """All that a trial is, but for clocks, by number."""
        return [row_of(trial) for trial in self.study().get_trials()]


def row_of(trial: FrozenTrial) -> tuple[Any, ...]:
    attributes = {key: trial.user_attrs.get(key) for key in ("repeats", "reason", "curve", "sampler")}
    return (trial.number, trial.state.name, trial.value, point_of(trial), trial.intermediate_values, attributes)


def _bank() -> ImageBank:
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    return ImageBank(images, torch.zeros(1, dtype=torch.int64), torch.zeros(3), torch.ones(3), torch.device("cpu"))


class ToyHeldOut(HeldOut):
    """Right about its one image, whatever the network: a toy cannot be shown an image."""

    def score(self, network: nn.Module) -> Scores:
        return score(torch.zeros(1, 1), self.bank.labels)


class ToyTraining(Training):
    """The real loop with its checkpoints, around a network of one weight that takes one step an epoch.

    The weight follows a chaotic map, so that an epoch left out, repeated or begun from another one's checkpoint shows
    in every later value.
    """

    def __init__(self, toy: Toy, alpha: float, temperature: float, seed: int, name: str) -> None:
        self.toy, self.alpha, self.temperature, self.name = toy, alpha, temperature, name
        self.seed, self.logits, self.draws, self.train, self.validation = seed, None, None, torch.arange(1), None
        self.checkpoint = RunsFolder(toy.folder).checkpoint(toy.name, alpha, temperature, seed)
        recipe = Recipe(epochs=toy.epochs, batch_size=1, learning_rate=1.0)
        self.step = TrainingStep(lambda: nn.Linear(1, 1, bias=False).double(), recipe, _bank(), 1)
        (self.weight,) = self.step.network.parameters()
        nn.init.constant_(self.weight, 0.3 + 0.1 * alpha + 0.01 * temperature * bool(alpha) + seed / 10**6)
        self.rate_factor, self.source, self.data_hash, self.bit_for_bit = 1.0, "", "", True
        self.curve = []
        self._resume()

    def _train_epoch(self, epoch: int) -> Epoch:
        time.sleep(self.toy.epoch_seconds)
        pair = (self.alpha, self.temperature)
        is_beyond = self.alpha not in self.toy.alphas
        if pair == self.toy.diverges or (self.toy.diverges_beyond and is_beyond):
            raise DivergedError(f"the loss became nan in epoch {epoch + 1}")
        if pair == self.toy.exhausts:
            tries = self.toy.folder / "tries"
            with tries.open("a") as file:
                file.write(".")
            if len(tries.read_text()) <= self.toy.times_exhausted:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
        weight = self.weight.item()
        nn.init.constant_(self.weight, 3.9 * weight * (1 - weight))
        line = f"{self.toy.name} {self.alpha!r} {self.temperature!r} {epoch}\n".encode()
        file_descriptor = os.open(self.toy.folder / "epochs", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file_descriptor, line)
        os.close(file_descriptor)
        accuracy = (epoch + 1) / (self.toy.epochs + 1) * (0.5 + 0.5 * self.weight.item())
        return Epoch(train_loss=weight, validation_loss=weight, validation_accuracy=accuracy, seconds=0.0)
