"""A stored teacher: weights in SimKD's form, and beside them a card in JSON that says what they are."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import torch
from torch import nn

from models.architecture import Architecture, Normalisation, file_name, source_of
from models.checkpoint import CheckpointError, load_checkpoint, weights_hash

SHIPPED = Path(__file__).parent / "teachers"


class BeforeRounding(TypedDict):
    """What the weights were as they came out of the training, in float32."""

    hash: str
    test_accuracy: float
    test_loss: float


class Origin(TypedDict):
    """Where weights come from; ``origin`` is always there, ``flip`` where no recipe says whether images were mirrored.

    The others are there where they were trained here.
    """

    origin: str
    weights: NotRequired[str]
    before_rounding: NotRequired[BeforeRounding]
    recipe: NotRequired[dict[str, Any]]
    flip: NotRequired[bool]
    seed: NotRequired[int]
    epochs: NotRequired[int]
    training_seconds: NotRequired[float]
    train_loss: NotRequired[list[float]]


class TeacherCard(Origin):
    """What is known of a teacher; ``test_loss`` in nats, the others as ``study.evaluation.Scores`` has them.

    ``channels`` and ``image_size`` are of the images, 3 and 32 where absent; ``normalisation`` and ``source`` are those
    of ``Architecture``, None and empty where absent.
    """

    network: str
    parameters: int
    hash: str
    data: str
    data_hash: str
    classes: int
    test_accuracy: float
    test_loss: float
    calibration: list[tuple[int, float, int]]
    correct_by_class: list[int]
    versions: dict[str, str]
    hardware: dict[str, str | int]
    date: str
    channels: NotRequired[int]
    image_size: NotRequired[int]
    normalisation: NotRequired[Sequence[Sequence[float]] | None]
    source: NotRequired[str]


# What is used, beside being shown; a card without one of them is damaged.
USED = {"network": str, "hash": str, "data_hash": str, "classes": int, "test_accuracy": float, "origin": str}


@dataclass(frozen=True)
class Teacher:
    """A stored teacher: weights at ``path``, ``card`` beside it in JSON."""

    path: Path
    card: TeacherCard

    @property
    def network(self) -> str:
        return self.card["network"]

    @property
    def hash(self) -> str:
        return self.card["hash"]

    @property
    def test_accuracy(self) -> float:
        return self.card["test_accuracy"]

    @property
    def architecture(self) -> Architecture:
        """The network without its weights."""
        card = self.card
        normalisation = Normalisation.of(card.get("normalisation"))
        size = card.get("image_size", 32)
        return Architecture(self.network, card["classes"], card.get("channels", 3), size, normalisation)

    @property
    def flip(self) -> bool | None:
        """Whether it was trained on mirrored images too; None where that is not known."""
        if "recipe" in self.card:
            return bool(self.card["recipe"].get("flip", True))
        return self.card.get("flip")

    @property
    def origin(self) -> str:
        """Where it comes from, in words."""
        epochs = self.card.get("epochs")
        return self.card["origin"] + ("" if epochs is None else f", {epochs} epochs")

    def load(self, device: torch.device) -> nn.Module:
        """The network in evaluation mode.

        Raises:
            CheckpointError: where the weights are not those of the card.
        """
        network = self.architecture.build()
        if not self.path.exists():
            raise CheckpointError(f"{self.path}: not there, only its card is; bring it back or {self._how_to_mend}")
        try:
            load_checkpoint(network, self.path, self.network)
        except CheckpointError as error:
            raise CheckpointError(f"{error}; {self._how_to_mend}") from None
        if weights_hash(network) != self.hash:
            raise CheckpointError(f"{self.path}: not the weights that its card describes; {self._how_to_mend}")
        return network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    @property
    def _how_to_mend(self) -> str:
        return how_to_mend(self.path.with_suffix(".json"))


def stored_teachers(cache: Path, data_hash: str, network: str) -> list[Teacher]:
    """All stored teachers of that network and data, those of the cache before those of the repository.

    Those of a network of one's own whose source is another one now are not among them.

    Raises:
        CheckpointError: where a card is damaged.
        NetworkError: where a network of one's own cannot be imported.
    """
    source = source_of(network)
    return [
        teacher for teacher in _of_any_source(cache, data_hash, network) if teacher.card.get("source", "") == source
    ]


def teachers_of_other_sources(cache: Path, data_hash: str, network: str) -> list[Teacher]:
    """The stored teachers that ``stored_teachers`` leaves out since the file of their network has changed.

    Raises:
        CheckpointError, NetworkError: as there.
    """
    source = source_of(network)
    return [
        teacher for teacher in _of_any_source(cache, data_hash, network) if teacher.card.get("source", "") != source
    ]


def _of_any_source(cache: Path, data_hash: str, network: str) -> list[Teacher]:
    folders = (teachers_folder(cache, data_hash), SHIPPED)
    cards = [card for folder in folders for card in sorted(folder.glob(f"{file_name(network)}-*.json"))]
    teachers = [Teacher(card.with_suffix(".pth"), read_card(card)) for card in cards]
    return [teacher for teacher in teachers if (teacher.card["data_hash"], teacher.network) == (data_hash, network)]


def find_teachers(cache: Path, data_hash: str, network: str, flip: bool) -> list[Teacher]:
    """The teachers that a new study may take: those of the repository only where the cache has none.

    Args:
        flip: whether the study mirrors images; a teacher that is known to have been trained otherwise is none for it.

    Raises:
        CheckpointError: where a card is damaged.
    """
    stored = [teacher for teacher in stored_teachers(cache, data_hash, network) if teacher.flip in (None, flip)]
    cached = [teacher for teacher in stored if teacher.path.parent != SHIPPED]
    return cached or stored


def find_teacher(cache: Path, data_hash: str, network: str, digest: str) -> Teacher | None:
    """The stored teacher with these weights, from cache or repository; None where it is not stored.

    Raises:
        CheckpointError: where a card is damaged.
    """
    return next((t for t in stored_teachers(cache, data_hash, network) if t.hash == digest), None)


def teachers_folder(cache: Path, data_hash: str) -> Path:
    """Where the teachers of one data set are kept."""
    return cache / "teachers" / data_hash[:12]


def read_card(path: Path) -> TeacherCard:
    """Read a card.

    Raises:
        CheckpointError: where it is no card; the message says what to do.
    """
    try:
        card = json.loads(path.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{path}: a damaged teacher card ({error}); {how_to_mend(path)}") from None
    for key, kind in USED.items():
        if not isinstance(card, dict) or not isinstance(card.get(key), kind):
            raise CheckpointError(f"{path}: no teacher card, it has no {key!r}; {how_to_mend(path)}")
    return cast(TeacherCard, card)


def how_to_mend(card: Path) -> str:
    """What to do where a card or its weights are not what they should be."""
    if card.parent == SHIPPED:
        return "bring both back from the repository"
    return (
        f"delete {card.name} and {card.with_suffix('.pth').name}, then give the teacher again with --teacher, or train "
        "it again: python -m study.teacher with the --preset or --config that it had"
    )
