"""What a study is: frozen, validated, and stored with it."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Literal

ALPHAS = (0.0, 0.25, 0.5, 0.75)
TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
PRECISIONS = ("float32", "bfloat16")


class ConfigurationError(Exception):
    """A setting that makes no sense; the message is one line that says which and what to give instead."""


@dataclass(frozen=True)
class Recipe:
    """How one network is trained: stochastic gradient descent on randomly cropped and flipped images.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step.
        learning_rate: at the start (``steps``) or at the top (``one-cycle``).
        schedule: ``steps`` multiplies the learning rate by ``step_factor`` at each epoch in ``step_epochs``;
            ``one-cycle`` rises linearly over the first quarter of all steps and falls to zero as a cosine.
        precision: of the forward pass; weights stay float32.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 5e-4
    schedule: Literal["steps", "one-cycle"] = "steps"
    step_epochs: tuple[int, ...] = ()
    step_factor: float = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        require(self.epochs >= 1, f"--epochs {self.epochs}: give 1 or more")
        require(self.batch_size >= 1, f"batch size {self.batch_size}: give 1 or more")
        require(self.learning_rate > 0, f"learning rate {self.learning_rate}: give more than 0")

    def learning_rate_at(self, epoch: int, share_of_epoch: float) -> float:
        """The learning rate after ``epoch`` whole epochs and a share (0 to 1) of the next."""
        if self.schedule == "steps":
            steps_taken = sum(epoch >= step_epoch for step_epoch in self.step_epochs)
            return float(self.learning_rate * self.step_factor**steps_taken)
        done = (epoch + share_of_epoch) / self.epochs
        rise = 0.25
        if done < rise:
            return self.learning_rate * done / rise
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (done - rise) / (1 - rise)))

    def with_epochs(self, epochs: int) -> "Recipe":
        """The same recipe with its steps moved in proportion to another number of epochs."""
        require(epochs >= 1, f"--epochs {epochs}: give 1 or more")
        moved = tuple(max(1, round(step_epoch * epochs / self.epochs)) for step_epoch in self.step_epochs)
        return dataclasses.replace(self, epochs=epochs, step_epochs=moved)


def require(condition: bool, message: str) -> None:
    """Raise ``ConfigurationError(message)`` where ``condition`` does not hold."""
    if not condition:
        raise ConfigurationError(message)


TEACHER_RECIPES = {
    # https://github.com/DefangChen/SimKD, train_teacher.py: the published teachers.
    "simkd": Recipe(
        epochs=240,
        batch_size=64,
        learning_rate=0.05,
        momentum=0.9,
        step_epochs=(150, 180, 210),
        step_factor=0.1,
    ),
    # For an accelerator: SimKD's learning rate, scaled with the batch (Goyal et al. 2017, https://arxiv.org/abs/1706.02677).
    # No label smoothing: it makes a better network and a worse teacher (Mueller et al. 2019, https://arxiv.org/abs/1906.02629).
    "large-batch": Recipe(
        epochs=100,
        batch_size=512,
        learning_rate=0.4,
        momentum=0.9,
        nesterov=True,
        schedule="one-cycle",
        precision="bfloat16",
    ),
    # A fifteenth of the epochs, for a machine without GPU; one-cycle after Smith and Topin 2017, https://arxiv.org/abs/1708.07120.
    "short": Recipe(epochs=16, batch_size=128, learning_rate=0.3, momentum=0.9, nesterov=True, schedule="one-cycle"),
    "demo": Recipe(epochs=8, batch_size=64, learning_rate=0.2, momentum=0.9, nesterov=True, schedule="one-cycle"),
}


@dataclass(frozen=True)
class Configuration:
    """One study. Everything that changes a number is here, and is stored with the study.

    Attributes:
        preset: the named settings that it began from.
        dataset: ``cifar100`` or ``synthetic``.
        train_images: images the search trains on; all but the validation images where None.
        teacher_network, teacher_recipe: the teacher that is trained where none is stored.
        recipe: how the student is trained, in search and comparison alike.
        alphas, temperatures: the grid.
        seed: of the search: of its trials and samplers.
        seeds: how many runs each arm of the comparison has.
        pruner: of the grid, ``median`` or ``none``.
    """

    preset: str
    dataset: Literal["cifar100", "synthetic"]
    teacher_network: str
    teacher_recipe: str
    recipe: Recipe
    train_images: int | None = None
    alphas: tuple[float, ...] = ALPHAS
    temperatures: tuple[float, ...] = TEMPERATURES
    seed: int = 0
    seeds: int = 5
    pruner: Literal["median", "none"] = "median"

    def __post_init__(self) -> None:
        require(self.seed >= 0, f"--seed {self.seed}: give 0 or more")
        require(self.seeds >= 1, f"--seeds {self.seeds}: give 1 or more")
        for alpha in self.alphas:
            require(0 <= alpha <= 1, f"alpha = {alpha:g}: it weighs the teacher, give 0 to 1")
        for temperature in self.temperatures:
            require(1 <= temperature <= 16, f"T = {temperature:g}: give 1 to 16")

    @property
    def final_seeds(self) -> tuple[int, ...]:
        """The seeds of the comparison: 1, 2, 3, ... without the search seed."""
        return tuple(seed for seed in range(1, self.seeds + 2) if seed != self.seed)[: self.seeds]

    @classmethod
    def from_json(cls, settings: dict[str, Any]) -> "Configuration":
        """The configuration whose ``as_json`` this is."""
        recipe = Recipe(**_with_tuples(settings["recipe"]))
        return cls(**{**_with_tuples(settings), "recipe": recipe})

    def as_json(self) -> dict[str, Any]:
        """All settings as JSON gives them back: lists for tuples."""
        settings: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return settings


def _with_tuples(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}


STUDENT_RECIPE = Recipe(epochs=100, batch_size=128, learning_rate=0.1, step_epochs=(30, 60, 90), step_factor=0.2)

PRESETS = {
    "full": Configuration(
        preset="full",
        dataset="cifar100",
        teacher_network="resnet32x4",
        teacher_recipe="simkd",
        recipe=STUDENT_RECIPE,
    ),
    "quick": Configuration(
        preset="quick",
        dataset="cifar100",
        teacher_network="resnet20",
        teacher_recipe="short",
        recipe=dataclasses.replace(STUDENT_RECIPE.with_epochs(10), batch_size=64),
        train_images=12_000,
    ),
    "demo": Configuration(
        preset="demo",
        dataset="synthetic",
        teacher_network="resnet8",
        teacher_recipe="demo",
        # Small batches for enough steps in few epochs; at the learning rate of 0.1 they diverge at T = 4 and 8.
        recipe=dataclasses.replace(STUDENT_RECIPE, epochs=5, batch_size=16, learning_rate=0.03, step_epochs=(4,)),
    ),
}
