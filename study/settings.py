"""The file of a study: its settings in TOML, read with every mistake named, and printed to start from.

What a file leaves out is as in the full protocol, ``presets/full.toml``; learning-rate steps that it does not name move
in proportion to its epochs.
"""

import dataclasses
import json
import math
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.configuration import PRECISIONS, Configuration, ConfigurationError, Recipe, refuse_unless
from study.recipes import TEACHER_RECIPES

PRESET_FILES = {name: Path(__file__).parent / "presets" / f"{name}.toml" for name in ("full", "quick", "demo")}
NETWORKS = 'StudentCNN, resnet8, resnet20, resnet32x4, ... or "module:callable" of your own'

Tables = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Settings:
    """What a file says.

    Attributes:
        configuration: what the study is.
        folder: its images where they are one's own; where they lie is not part of what a study is, their hash is.
        weights: of the teacher, None for one that is stored or trained.
    """

    configuration: Configuration
    folder: Path | None = None
    weights: Path | None = None


@dataclass(frozen=True)
class Key:
    """One key: what it means, what may be given, and whether a value fits."""

    meaning: str
    allowed: str
    fits: Callable[[Any], bool]


def _text(meaning: str) -> Key:
    return Key(meaning, "a text in quotes", lambda value: isinstance(value, str) and value != "")


def _one_of(meaning: str, *choices: str) -> Key:
    return Key(meaning, " or ".join(json.dumps(choice) for choice in choices), lambda value: value in choices)


def _whole(meaning: str) -> Key:
    return Key(meaning, "a whole number", lambda value: type(value) is int)


def _switch(meaning: str) -> Key:
    return Key(meaning, "true or false", lambda value: type(value) is bool)


def _number(meaning: str) -> Key:
    return Key(meaning, "a number", _is_number)


def _list(meaning: str, of: Callable[[Any], bool], allowed: str) -> Key:
    return Key(meaning, allowed, lambda value: isinstance(value, list) and all(map(of, value)))


def _is_number(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


SECTIONS: dict[str, dict[str, Key]] = {
    "data": {
        "dataset": _one_of("or folder = a folder of your own images", "cifar100", "synthetic"),
        "folder": _text("holds train/<class>/* and test/<class>/*; like all paths, from the working folder"),
        "image_size": _whole("pixels; images of another size are resized and centre-cropped"),
        "validation_images": _whole("kept apart of train; left out: a tenth of each class"),
        "train_images": _whole(
            "that the search trains on, as even over classes as can be, unlike the comparison; left out: all others"
        ),
    },
    "student": {"network": _text(NETWORKS)},
    "teacher": {
        "network": _text(NETWORKS),
        "recipe": _one_of(f"how it is trained: {', '.join(TEACHER_RECIPES)}", *TEACHER_RECIPES),
        "weights": _text("a state dict, then nothing is trained: SimKD's form, a plain one, or safetensors"),
    },
    "training": {
        "epochs": _whole("passes over the training images"),
        "batch_size": _whole("images a step"),
        "optimizer": _one_of("sgd or adamw, which wants a learning rate and a weight decay of its own", "sgd", "adamw"),
        "learning_rate": _number("at the start (steps) or at the top (one-cycle)"),
        "momentum": _number("of sgd"),
        "nesterov": _switch("momentum as Nesterov has it"),
        "weight_decay": _number("of all weights"),
        "schedule": _one_of("steps or one-cycle", "steps", "one-cycle"),
        "step_epochs": _list(
            "at which the learning rate is multiplied; left out: at 30, 60 and 90 % of the epochs",
            lambda v: type(v) is int,
            "whole numbers in []",
        ),
        "step_factor": _number("by which it is"),
        "flip": _switch("mirror images at random, left for right; the teacher's too"),
        "precision": _one_of("of every forward pass: float32 or bfloat16", *PRECISIONS),
    },
    "search": {
        "alphas": _list("weights of the teacher, 0 to 1", _is_number, "numbers in []"),
        "temperatures": _list("1 to 16", _is_number, "numbers in []"),
        "pruner": _one_of("median or none", "median", "none"),
        "seed": _whole("of the search"),
        "seeds": _whole("runs of each arm of the comparison"),
        "finalists": _whole("best points that get more search seeds; left out: none"),
        "finalist_seeds": _whole("search seeds of each in all; left out: 3"),
    },
}


def read_settings(file: Path) -> Settings:
    """Read a file of settings.

    Raises:
        ConfigurationError: in one line, where it is not there, is no TOML, or has a key or value that it may not have.
    """
    tables = _tables(file)
    protocol = tables if file == PRESET_FILES["full"] else _tables(PRESET_FILES["full"])
    try:
        return _settings(tables, protocol)
    except ConfigurationError as error:
        # Settings are refused by the names of their options.
        named = re.sub(r"^--([a-z-]+)", lambda option: option[1].replace("-", "_"), str(error))
        raise ConfigurationError(f"{file}: {named}") from None


def _tables(file: Path) -> Tables:
    """The checked tables of a file; the name stands in a table of its own, which has no name."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"--config {file}: no such file; python -m study.run --preset quick --print-config prints one to start from"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"--config {file}: cannot be read ({error.strerror}); give a file of settings"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: no TOML ({error})") from None
    tables: Tables = {"": {"name": content.pop("name", None)}}
    for section, table in content.items():
        refuse_unless(section in SECTIONS, f"{file}: no {section!r} there; give name and [{'], ['.join(SECTIONS)}]")
        refuse_unless(isinstance(table, dict), f"{file}: {section}: give a section, [{section}]")
        for key, value in table.items():
            keys = SECTIONS[section]
            refuse_unless(key in keys, f"{file}: [{section}] {key}: no such key; give {', '.join(keys)}")
            refuse_unless(keys[key].fits(value), f"{file}: [{section}] {key} = {value!r}: give {keys[key].allowed}")
        tables[section] = table
    name = tables[""]["name"]
    refuse_unless(isinstance(name, str), f'{file}: name = {name!r}: give the study a name, such as name = "mine"')
    return tables


def _settings(tables: Tables, protocol: Tables) -> Settings:
    data, teacher, search = (tables.get(section, {}) for section in ("data", "teacher", "search"))
    refuse_unless("folder" not in data or "dataset" not in data, "[data] folder and dataset: give one of them")
    teaches, searches = ({**protocol[name], **table} for name, table in (("teacher", teacher), ("search", search)))
    student = {**protocol["student"], **tables.get("student", {})}
    folder, weights = data.get("folder"), teacher.get("weights")
    refuse_unless(
        "finalist_seeds" not in search or search.get("finalists", 0) != 0,
        "[search] finalist_seeds: has no effect without finalists, leave it out",
    )
    refuse_unless(
        weights is None or "recipe" not in teacher, "[teacher] recipe: has no effect beside weights, leave it out"
    )
    configuration = Configuration(
        preset=tables[""]["name"],
        dataset={**protocol["data"], **data}["dataset"] if folder is None else "folder",
        teacher_network=teaches["network"],
        teacher_recipe=teaches["recipe"],
        recipe=_recipe(tables.get("training", {}), protocol["training"]),
        train_images=data.get("train_images"),
        alphas=tuple(map(float, searches["alphas"])),
        temperatures=tuple(map(float, searches["temperatures"])),
        seed=searches["seed"],
        seeds=searches["seeds"],
        finalists=searches.get("finalists", 0),
        finalist_seeds=searches.get("finalist_seeds", Configuration.finalist_seeds),
        pruner=searches["pruner"],
        student_network=student["network"],
        image_size=data.get("image_size", 32),
        validation_images=data.get("validation_images"),
    )
    return Settings(configuration, *(None if path is None else _path(path) for path in (folder, weights)))


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~ of nobody
        return Path(text)


def _recipe(given: dict[str, Any], protocol: dict[str, Any]) -> Recipe:
    training = {**protocol, **given}
    for key in ("learning_rate", "momentum", "weight_decay", "step_factor"):
        training[key] = float(training[key])
    if training.get("optimizer") == "adamw":
        for key in ("momentum", "nesterov"):
            refuse_unless(key not in given, f'[training] {key}: has no effect with optimizer = "adamw", leave it out')
        refuse_unless(
            given.get("learning_rate", protocol["learning_rate"]) != protocol["learning_rate"],
            f'[training] optimizer = "adamw": give a learning_rate of its own, {protocol["learning_rate"]} is of sgd',
        )
        refuse_unless("weight_decay" in given, '[training] optimizer = "adamw": give weight_decay too')
    if training["schedule"] == "one-cycle":
        for key in ("step_epochs", "step_factor"):
            refuse_unless(
                key not in given, f'[training] {key}: has no effect with schedule = "one-cycle", leave it out'
            )
            del training[key]
        return Recipe(**training)
    training["step_epochs"] = tuple(training["step_epochs"])
    refuse_unless(
        training["step_epochs"] or "step_factor" not in given,
        "[training] step_factor: has no effect without step_epochs, leave it out",
    )
    if "step_epochs" in given:
        recipe = Recipe(**training)
        for epoch in recipe.step_epochs:
            refuse_unless(1 <= epoch <= recipe.epochs, f"[training] step_epochs: {epoch}: give 1 to {recipe.epochs}")
        return recipe
    return Recipe(**{**training, "epochs": protocol["epochs"]}).with_epochs(training["epochs"])


def with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """``Recipe.with_epochs``; steps at the protocol's shares of the epochs stay there and are not rounded twice."""
    moved = recipe.with_epochs(epochs)
    if not _has_steps_of_the_protocol(recipe):
        return moved
    return dataclasses.replace(moved, step_epochs=PRESETS["full"].recipe.with_epochs(epochs).step_epochs)


def _has_steps_of_the_protocol(recipe: Recipe) -> bool:
    return recipe.step_epochs == PRESETS["full"].recipe.with_epochs(recipe.epochs).step_epochs


def as_toml(settings: Settings) -> str:
    """The settings as a file that ``read_settings`` reads back, each with what it means."""
    configuration = settings.configuration
    recipe = dataclasses.asdict(configuration.recipe)
    if recipe["schedule"] != "steps":
        recipe |= {"step_epochs": None, "step_factor": None}
    elif _has_steps_of_the_protocol(configuration.recipe):
        recipe["step_epochs"] = None  # whoever changes the epochs of the file need not move them
    elif not recipe["step_epochs"]:
        recipe["step_factor"] = None
    if recipe["optimizer"] == "adamw":
        recipe |= {"momentum": None, "nesterov": None}
    own = configuration.dataset == "folder"
    values: Tables = {
        "data": {
            "dataset": None if own else configuration.dataset,
            "folder": str(settings.folder) if own else None,
            "image_size": configuration.image_size if own else None,
            "validation_images": configuration.validation_images,
            "train_images": configuration.train_images,
        },
        "student": {"network": configuration.student_network},
        "teacher": {
            "network": configuration.teacher_network,
            "recipe": configuration.teacher_recipe if settings.weights is None else None,
            "weights": None if settings.weights is None else str(settings.weights),
        },
        "training": {key: recipe[key] for key in SECTIONS["training"]},
        "search": {key: getattr(configuration, key) for key in SECTIONS["search"]},
    }
    if configuration.finalists == 0:
        values["search"] |= {"finalists": None, "finalist_seeds": None}
    lines = [f"name = {_json(configuration.preset)}"]
    for section, table in values.items():
        lines += ["", f"[{section}]"]
        lines += [_line(key, value, SECTIONS[section][key].meaning) for key, value in table.items()]
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any, meaning: str) -> str:
    # A value in JSON, which has no tuples, is one in TOML.
    return f"{f'# {key} =' if value is None else f'{key} = {_json(value)}':<40}  # {meaning}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


PRESETS = {name: read_settings(file).configuration for name, file in PRESET_FILES.items()}
"""The studies that start from a name."""
