"""What a study is: frozen, validated, and stored with it."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Literal

from storage.errors import PlainError

ALPHAS = (0.0, 0.25, 0.5, 0.75)
TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
ALPHA_BOUNDS, TEMPERATURE_BOUNDS = (0.0, 1.0), (1.0, 16.0)  # of what is searched
PRECISIONS = ("float32", "bfloat16")
RECIPE_STORED_WHERE_OTHER: dict[str, Any] = {
    "image_sizes": (),
    "batches": "remainder",
    "flip": True,
    "optimizer": "sgd",
}
"""Settings of a recipe as they were before they were ones: what was stored then is still the same recipe."""

LARGEST_SEED = 2**32 - 1  # of numpy, which Optuna's samplers seed
SMALLEST_IMAGE, LARGEST_IMAGE = 28, 96
MOST_SEEDS = 10_000  # of an arm; those of finalists come after

Point = dict[str, float]


class ConfigurationError(PlainError):
    """A setting that makes no sense; the message is one line that says which and what to give instead."""


def refuse_unless(condition: bool, message: str) -> None:
    """Raise ``ConfigurationError(message)`` where ``condition`` does not hold."""
    if not condition:
        raise ConfigurationError(message)


def is_within(value: float, bounds: tuple[float, float]) -> bool:
    """Whether a value lies between two bounds, or on one."""
    return bounds[0] <= value <= bounds[1]


def _span(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:g} to {bounds[1]:g}"


@dataclass(frozen=True)
class Recipe:
    """How one network is trained: gradient descent by batches of images that are cropped, and mirrored, at random.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step, at most.
        learning_rate: at the start (``steps``) or at the top (``one-cycle``).
        schedule: ``steps`` multiplies the learning rate by ``step_factor`` at each epoch in ``step_epochs``;
            ``one-cycle`` rises linearly over the first quarter of all steps and falls to zero as a cosine.
        precision: of the forward pass; weights stay float32.
        image_sizes: (epoch, size) pairs, ascending: from that epoch on, augmented images are resized to size x size
            pixels; before the first they stay as they are.
        batches: ``even`` where the sizes of an epoch's batches differ by one image at most; ``remainder`` where its
            last takes what is left over, as in studies begun before there were even ones.
        flip: whether every second view is mirrored, left for right.
        optimizer: ``sgd``, or ``adamw`` (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101) with torch's
            defaults: means of gradients over about 10 steps, of their squares over about 1000.
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
    image_sizes: tuple[tuple[int, int], ...] = ()
    batches: Literal["even", "remainder"] = "even"
    flip: bool = True
    optimizer: Literal["sgd", "adamw"] = "sgd"

    def __post_init__(self) -> None:
        refuse_unless(self.epochs >= 1, f"--epochs {self.epochs}: give 1 or more")
        refuse_unless(self.batch_size >= 1, f"batch size {self.batch_size}: give 1 or more")
        refuse_unless(self.learning_rate > 0, f"learning rate {self.learning_rate}: give more than 0")
        refuse_unless(0 <= self.momentum < 1, f"momentum {self.momentum}: give 0 or more, less than 1")
        refuse_unless(
            self.momentum == 0 or self.optimizer == "sgd",
            f"momentum {self.momentum}: is of sgd, {self.optimizer} has none",
        )
        refuse_unless(self.momentum > 0 or not self.nesterov, "nesterov: has no effect without momentum, give false")
        refuse_unless(self.weight_decay >= 0, f"weight decay {self.weight_decay}: give 0 or more")
        refuse_unless(self.step_factor > 0, f"step factor {self.step_factor}: give more than 0")

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

    def batch_sizes(self, images: int) -> list[int]:
        """The sizes of the batches of an epoch of so many images, in order."""
        number = math.ceil(images / self.batch_size)
        if self.batches == "remainder":
            return [self.batch_size] * (number - 1) + [images - self.batch_size * (number - 1)]
        size, larger = divmod(images, number)
        return [size + 1] * larger + [size] * (number - larger)

    def image_size_at(self, epoch: int) -> int | None:
        """The size to which the images of an epoch are resized; None where they stay as they are."""
        sizes = [size for first, size in self.image_sizes if first <= epoch]
        return sizes[-1] if sizes else None

    def work_by_epoch(self) -> list[float]:
        """What each epoch costs as a share of one at full size: as many pixels, as much work."""
        full = self.image_sizes[-1][1] if self.image_sizes else 1
        return [((self.image_size_at(epoch) or full) / full) ** 2 for epoch in range(self.epochs)]

    def with_epochs(self, epochs: int) -> "Recipe":
        """The same recipe with its steps and sizes moved in proportion to another number of epochs."""
        moved = tuple(max(1, round(step_epoch * epochs / self.epochs)) for step_epoch in self.step_epochs)
        # The last size, which is the images' own, has an epoch however few there are.
        sizes = tuple((min(epochs - 1, round(first * epochs / self.epochs)), size) for first, size in self.image_sizes)
        return dataclasses.replace(self, epochs=epochs, step_epochs=moved, image_sizes=sizes)

    @classmethod
    def from_json(cls, settings: dict[str, Any]) -> "Recipe":
        """The recipe whose ``as_json`` this is; what an older version did not know is as it was then.

        Raises:
            ConfigurationError: where a newer version stored it.
        """
        return cls(**{"batches": "remainder", **_stored_settings(cls, settings)})

    def as_json(self) -> dict[str, Any]:
        """All settings as JSON gives them back: lists for tuples."""
        settings: dict[str, Any] = json.loads(json.dumps(self._settings()))
        return settings

    def __repr__(self) -> str:
        # Part of what a checkpoint and the file of a teacher's training are known by.
        return f"Recipe({', '.join(f'{name}={value!r}' for name, value in self._settings().items())})"

    def _settings(self) -> dict[str, Any]:
        before = RECIPE_STORED_WHERE_OTHER
        every = dataclasses.asdict(self).items()
        return {key: value for key, value in every if key not in before or value != before[key]}


@dataclass(frozen=True)
class Configuration:
    """One study. Everything that changes a number is here, and is stored with the study.

    Attributes:
        preset: the named settings that it began from.
        dataset: ``cifar100``, ``synthetic``, or ``folder``: images of one's own, which their hash identifies.
        train_images: images the search trains on; all but the validation images where None.
        teacher_network, teacher_recipe: the teacher that is trained where none is stored.
        recipe: how the student is trained, in search and comparison alike.
        alphas, temperatures: the grid; what is given twice is one value.
        seed: of the search: of its trials and samplers.
        seeds: how many runs each arm of the comparison has.
        pruner: of the grid, ``median`` or ``none``.
        finalists: how many of the best points are searched with more seeds before the winner is named.
        finalist_seeds: how many seeds each of them has in all, that of the search with them.
        draws: ``shared`` where all runs see the same draws of an image, at other times; ``independent`` in studies
            begun before there were any.
        student_network: a name that the product knows, or ``module:callable``, as ``teacher_network``.
        image_size: height and width in pixels.
        validation_images: kept apart of the training images, as even over classes as these; a tenth of each class
            where None.
    """

    preset: str
    dataset: Literal["cifar100", "synthetic", "folder"]
    teacher_network: str
    teacher_recipe: str
    recipe: Recipe
    train_images: int | None = None
    alphas: tuple[float, ...] = ALPHAS
    temperatures: tuple[float, ...] = TEMPERATURES
    seed: int = 0
    seeds: int = 5
    pruner: Literal["median", "none"] = "median"
    finalists: int = 0
    finalist_seeds: int = 3
    draws: Literal["shared", "independent"] = "shared"
    student_network: str = "StudentCNN"
    image_size: int = 32
    validation_images: int | None = None

    def __post_init__(self) -> None:
        refuse_unless(0 <= self.seed <= LARGEST_SEED, f"--seed {self.seed}: give 0 to {LARGEST_SEED}")
        refuse_unless(1 <= self.seeds <= MOST_SEEDS, f"--seeds {self.seeds}: give 1 to {MOST_SEEDS}")
        refuse_unless(self.finalists >= 0, f"--finalists {self.finalists}: give 0 or more")
        refuse_unless(self.finalist_seeds >= 2, f"--finalist-seeds {self.finalist_seeds}: give 2 or more")
        refuse_unless(self.alphas != (), f"--alphas: give at least one, from {_span(ALPHA_BOUNDS)}")
        refuse_unless(self.temperatures != (), f"--temperatures: give at least one, from {_span(TEMPERATURE_BOUNDS)}")
        refuse_unless(
            SMALLEST_IMAGE <= self.image_size <= LARGEST_IMAGE,
            f"image_size {self.image_size}: give {SMALLEST_IMAGE} to {LARGEST_IMAGE} pixels",
        )
        refuse_unless(
            self.image_size == 32 or self.dataset == "folder",
            f"image_size {self.image_size}: the images of {self.dataset} are 32 x 32, leave it out",
        )
        for alpha in self.alphas:
            refuse_unless(
                is_within(alpha, ALPHA_BOUNDS), f"alpha = {alpha:g}: it weighs the teacher, give {_span(ALPHA_BOUNDS)}"
            )
        for temperature in self.temperatures:
            refuse_unless(
                is_within(temperature, TEMPERATURE_BOUNDS), f"T = {temperature:g}: give {_span(TEMPERATURE_BOUNDS)}"
            )
        for name in ("alphas", "temperatures"):
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))

    @property
    def grid(self) -> dict[str, list[float]]:
        """The values of the grid by parameter, as ``GridSampler`` takes them."""
        return {"alpha": list(self.alphas), "temperature": list(self.temperatures)}

    @property
    def points(self) -> list[Point]:
        """All pairs of the grid."""
        return [
            {"alpha": alpha, "temperature": temperature} for alpha in self.alphas for temperature in self.temperatures
        ]

    @property
    def final_seeds(self) -> tuple[int, ...]:
        """The seeds of the comparison: 1, 2, 3, ... without the search seed."""
        return tuple(seed for seed in range(1, self.seeds + 2) if seed != self.seed)[: self.seeds]

    @property
    def more_search_seeds(self) -> tuple[int, ...]:
        """The seeds that finalists have beside that of the search; none is one of the comparison."""
        seeds = range(MOST_SEEDS + 2, MOST_SEEDS + 2 + self.finalist_seeds)
        return tuple(seed for seed in seeds if seed != self.seed)[: self.finalist_seeds - 1]

    @classmethod
    def from_json(cls, settings: dict[str, Any]) -> "Configuration":
        """The configuration whose ``as_json`` this is; what an older version did not know is as it was then.

        Raises:
            ConfigurationError: where a newer version stored it.
        """
        recipe = Recipe.from_json(settings["recipe"])
        return cls(**{"draws": "independent", **_stored_settings(cls, settings), "recipe": recipe})

    def as_json(self) -> dict[str, Any]:
        """All settings as JSON gives them back: lists for tuples."""
        settings: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        for name, default in STORED_WHERE_OTHER.items():
            # What was stored before there were these settings is still the same configuration.
            if settings[name] == default:
                del settings[name]
        return {**settings, "recipe": self.recipe.as_json()}

    def every_setting(self) -> dict[str, Any]:
        """All settings by name, those of the recipe among them, as ``as_json`` writes values."""
        settings: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        recipe = settings.pop("recipe")
        return {**settings, **recipe}


STORED_WHERE_OTHER = {
    field.name: field.default
    for field in dataclasses.fields(Configuration)
    if field.name in ("student_network", "image_size", "validation_images")
}


def _stored_settings(kind: type[Recipe] | type[Configuration], settings: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(settings.keys() - {field.name for field in dataclasses.fields(kind)})
    refuse_unless(not unknown, f"{', '.join(unknown)}: a newer version stored this setting, update kd-study")
    return {key: _as_tuple(value) for key, value in settings.items()}


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(part) for part in value) if isinstance(value, list) else value
