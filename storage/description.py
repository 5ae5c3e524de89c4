"""What is stored with a study, so that it knows what it is and a report needs nothing else: one type, two ways.

Every key is an attribute of the Optuna study of the search; that of the comparison has none of them.
"""

import json
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, NotRequired, TypedDict

import optuna

from storage.configuration import Configuration, refuse_unless

FORMAT = 4
"""1 had no number, nor "made_by" of trials, nor shared draws; 2 no even batches; 3 told networks no normalisation."""


Sample = TypedDict("Sample", {"class": str, "png": str})
"""One training image of a class, as base64 of a PNG."""


class Copies(TypedDict):
    """How many images are known to a network that is scored on them, pixel by pixel.

    Attributes:
        test: test images that are training or validation images too.
        validation: validation images that the search trains on too.
    """

    test: int
    validation: int


class DataFacts(TypedDict):
    """The images of a study.

    Attributes:
        classes, groups: the name of each class and of its group, by label.
        official_train_images: of the data set, before validation images are kept apart.
        image_size: height and width in pixels.
        samples: one a group.
        normalisation: mean and standard deviation of each channel, on the scale 0 to 1, as networks are told; absent of
            studies that were begun before they were.
        copies: absent of studies that were begun before they were counted.
        not_validated: classes without a validation image; absent where there is none, and of studies begun before that
            was counted.
    """

    name: str
    synthetic: bool
    hash: str
    classes: list[str]
    groups: list[str]
    official_train_images: int
    test_images: int
    train_images: int
    validation_images: int
    image_size: int
    channels: int
    samples: list[Sample]
    normalisation: NotRequired[Sequence[Sequence[float]]]
    copies: NotRequired[Copies]
    not_validated: NotRequired[int]


class CostFacts(TypedDict):
    """What a network is and costs, as ``models.cost.Cost`` has it; by batch size where it is a dict.

    Attributes:
        peak_memory_bytes: None where it could not be measured.
        source: sha256 of the file that a network of one's own comes from; absent of others.
        shapes: of such a network's state.
        fixed_weights: that the first weights of such a student are the same whatever the seed; absent where they are
            not, and of studies begun before that was looked at.
    """

    name: str
    parameters: int
    multiply_adds: int
    bytes: int
    latency_seconds: dict[str, float]
    peak_memory_bytes: dict[str, int | None]
    source: NotRequired[str]
    shapes: NotRequired[dict[str, list[int]]]
    fixed_weights: NotRequired[bool]


class PrecisionEffect(TypedDict):
    """What bfloat16 does to the teacher on the test images: accuracies, and mean KL at T = 4 in nats."""

    float32_accuracy: float
    bfloat16_accuracy: float
    divergence_at_4: float


class TeacherFacts(CostFacts):
    """The teacher: its cost, and what the card says that is stored beside its weights.

    Attributes:
        hash, test_accuracy, test_loss: None as long as the baseline alone was trained, which has no teacher.
        calibration: for each bin of confidence the images, the sum of their confidence, and the images correct.
        origin: how it came here, in words.
        recipe, seed, epochs, training_seconds: absent where it was imported without a card that has them.
        channels, image_size, normalisation: of the images it was made for; absent of older cards.
        weights, before_rounding: likewise, and where it was trained before weights were rounded.
        precision_effect: absent in float32.
    """

    hash: str | None
    data: str
    data_hash: str
    classes: int
    test_accuracy: float | None
    test_loss: float | None
    calibration: Sequence[Sequence[float]]
    correct_by_class: list[int]
    origin: str
    versions: dict[str, str]
    hardware: dict[str, str | int]
    date: str
    recipe: NotRequired[dict[str, Any]]
    seed: NotRequired[int]
    epochs: NotRequired[int]
    training_seconds: NotRequired[float]
    channels: NotRequired[int]
    image_size: NotRequired[int]
    normalisation: NotRequired[Sequence[Sequence[float]] | None]
    weights: NotRequired[str]
    before_rounding: NotRequired[dict[str, Any]]
    precision_effect: NotRequired[PrecisionEffect]


class Start(TypedDict):
    """One way in which the study was run: the first time it was, and all that may change a number."""

    date: str
    command: str
    commit: str
    versions: dict[str, str]
    hardware: dict[str, str | int]


@dataclass(frozen=True)
class Description:
    """What a study is.

    Attributes:
        configuration: as JSON, as it was stored.
        tpe_trials: how many trials the search is to have after the grid, of TPE or another sampler.
    """

    configuration: dict[str, Any]
    data: DataFacts
    teacher: TeacherFacts
    student: CostFacts
    starts: list[Start]
    tpe_trials: int = 0
    format: int = FORMAT

    @property
    def settings(self) -> Configuration:
        """The configuration."""
        return Configuration.from_json(self.configuration)

    @classmethod
    def of(cls, search: optuna.Study) -> "Description | None":
        """What is stored with a study; None where it was only begun, by a process that died, or is one of others.

        Raises:
            ConfigurationError: where a newer version stored it.
        """
        stored = search.user_attrs
        if "configuration" not in stored:
            return None
        written = stored.get("format", 1)
        refuse_unless(
            written <= FORMAT,
            f"study {search.study_name!r} was stored in format {written}, this version knows {FORMAT}: update kd-study",
        )
        if any(field.default is MISSING and field.name not in stored for field in fields(cls)):
            return None
        known = {field.name for field in fields(cls)}
        return cls(**{"format": written, **{key: value for key, value in stored.items() if key in known}})

    def store(self, search: optuna.Study) -> None:
        """Store what differs from what is there; the configuration last: with it, the study is begun."""
        stored = search.user_attrs
        ordered = sorted(fields(self), key=lambda field: field.name == "configuration")
        for name in (field.name for field in ordered):
            value = json.loads(json.dumps(getattr(self, name)))
            if stored.get(name) != value and not (name == "format" and value == 1):
                search.set_user_attr(name, value)
