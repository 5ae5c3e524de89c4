"""Which network: a name that the product knows, or a callable of one's own, imported as ``module:callable``."""

import functools
import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from torch import nn

from models.resnet import build
from models.student import StudentCNN
from storage.errors import PlainError, in_one_line

ROOMS = ("data", "models", "reports", "storage", "study")
"""The packages of kd-study, which hide what has the same name in the working folder."""


class NetworkError(PlainError):
    """A network that cannot be used; the message is one line that says why."""


class Normalisation(NamedTuple):
    """By what images are normalised: mean and standard deviation of each channel, on the scale 0 to 1."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def of(cls, statistics: Iterable[Iterable[Any]] | None) -> "Normalisation | None":
        """From both, tensors or what JSON gives back; None of None."""
        return None if statistics is None else cls(*(tuple(map(float, statistic)) for statistic in statistics))


@dataclass(frozen=True)
class Architecture:
    """A network without weights.

    Args:
        name: ``StudentCNN``, one of the family of ``models.resnet``, or ``module:callable`` from the working folder or
            an installed package. The callable takes ``num_classes``, and ``in_channels``, ``image_size``, ``mean`` and
            ``deviation`` where it has parameters of these names; it gives a module.
        classes: number of logits.
        channels: of the images, 1 where they are grey.
        image_size: height and width of the images in pixels.
        normalisation: of the images; None of a study or a teacher from before networks were told.
    """

    name: str
    classes: int
    channels: int = 3
    image_size: int = 32
    normalisation: Normalisation | None = None

    @property
    def is_own(self) -> bool:
        """Whether it is not one of the product's."""
        return is_own(self.name)

    @property
    def source(self) -> str:
        """Of one's own: sha256 of the file in which the callable stands, in hexadecimal; empty for the product's.

        The file as it was when this process imported it, since it is that code which is trained.

        Raises:
            NetworkError: where there is no such file.
        """
        return source_of(self.name)

    def build(self) -> nn.Module:
        """The network with fresh weights from torch's global generator.

        Raises:
            NetworkError: where the name is none, or the callable fails.
        """
        if self.name == "StudentCNN":
            return StudentCNN(self.classes, self.channels, self.image_size)
        if not self.is_own:
            try:
                return build(self.name, self.classes, self.channels)
            except ValueError as error:
                raise NetworkError(f'{error}, StudentCNN, or "module:callable" of your own') from None
        make = _imported(self.name)
        given: dict[str, Any] = {
            "num_classes": self.classes,
            "in_channels": self.channels,
            "image_size": self.image_size,
            **({} if self.normalisation is None else self.normalisation._asdict()),
        }
        try:
            parameters = inspect.signature(make).parameters
            network = make(**{key: value for key, value in given.items() if key == "num_classes" or key in parameters})
        except Exception as error:
            raise NetworkError(f"network {self.name!r} cannot be made: {in_one_line(error)}") from None
        if not isinstance(network, nn.Module):
            raise NetworkError(f"network {self.name!r}: gives {type(network).__name__}, not a torch.nn.Module")
        return network


def is_own(name: str) -> bool:
    """Whether a network of that name is not one of the product's."""
    return ":" in name


def file_name(name: str) -> str:
    """What a network is called in names of files."""
    return name.replace(":", "-")


def source_of(name: str) -> str:
    """``Architecture.source`` of that name."""
    if not is_own(name):
        return ""
    source = _source(_imported(name))
    if source is None:
        raise NetworkError(f"network {name!r}: no Python file defines it; give a class or a function of one")
    return source


def _source(found: Callable[..., Any]) -> str | None:
    """``Architecture.source`` of a callable; None where no file defines it."""
    found = inspect.unwrap(found)
    try:
        file = inspect.getsourcefile(found)
    except TypeError:
        file = None
    return None if file is None else _hash(file, inspect.getmodule(found))


@functools.cache
def _hash(file: str, module: ModuleType | None) -> str:
    """Of a file as it was when its module was imported."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _taken(error: BaseException) -> str:
    """That a package which a file means to be its own is one of ours; nothing where it is not."""
    package = str(error.name).partition(".")[0] if isinstance(error, ImportError) else ""
    return f"; {package} is a package of kd-study: give yours another name" if package in ROOMS else ""


def _imported(name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    if module_name.endswith(".py") or not all(part.isidentifier() for part in module_name.split(".")):
        raise NetworkError(f"network {name!r}: give module:callable as Python imports it, such as mynets:TinyNet")
    package = module_name.partition(".")[0]
    if package in ROOMS:
        raise NetworkError(f"network {name!r}: {package} is a package of kd-study: give your file another name")
    folder = str(Path.cwd())
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise NetworkError(f"network {name!r} cannot be imported: {in_one_line(error)}{_taken(error)}") from None
        raise NetworkError(
            f"network {name!r}: no module {module_name!r} in the working folder {folder} or among installed packages"
        ) from None
    except (Exception, SystemExit) as error:  # whatever the file does
        raise NetworkError(f"network {name!r} cannot be imported: {in_one_line(error)}{_taken(error)}") from None
    where = getattr(found, "__file__", None) or module_name
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise NetworkError(f"network {name!r}: {where} has no class or function {attribute!r}")
    _source(found)  # which is remembered, before somebody edits the file
    return found  # type: ignore[no-any-return]
