"""Images from class folders: every file is looked at, and all that cannot be used are named at once."""

import stat
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from data.image_set import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
NAMES = f"files named *{', *'.join(SUFFIXES)}"
PARTS = ("train", "test")
NAMED = 5
T = TypeVar("T")
# Pillow's words for how a pixel is stored, in ours.
MODES = {"1": "black and white", "L": "grey", "LA": "grey", "I;16": "grey", "P": "palette", "RGBA": "transparent"}


def check_class_folders(folder: Path, classes: tuple[str, ...]) -> None:
    """Refuse a folder whose class folders are not those of the classes.

    Raises:
        DataError: with the first that is missing.
    """
    others = "; images of your own are the folder of [data] in a file, --config FILE"
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected train/<class>/*.png and test/<class>/*.png beside it")
    found = {path.name for path in folder.iterdir() if path.is_dir() and not is_hidden(path, folder)}
    missing = sorted(set(classes) - found)
    if missing:
        raise DataError(f"{folder}: no folder {missing[0]!r}{others}")
    if len(found) > len(classes):
        raise DataError(f"{folder}: {len(found)} class folders instead of {len(classes)}{others}")


def image_files(folder: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    """The image files of ``folder/<class>/``, with the label of each, an index into ``classes``.

    Raises:
        DataError: where the folders are not those of the classes, or one of them is empty.
    """
    check_class_folders(folder, classes)
    files = []
    for label, name in enumerate(classes):
        shown = [path for path in (folder / name).rglob("*") if not is_hidden(path, folder / name)]
        of_class = sorted(path for path in shown if path.suffix.lower() in SUFFIXES)
        if not of_class:
            raise DataError(f"{folder / name}: holds no image ({NAMES})")
        files += [(path, label) for path in of_class]
    return files


def is_hidden(path: Path, folder: Path) -> bool:
    """Whether its name, or that of a folder between both, begins with a point: what systems and editors leave."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def read_images(files: list[tuple[Path, int]], size: int) -> tuple[Tensor, Tensor]:
    """Read images of ``size`` x ``size`` pixels.

    Returns:
        uint8 of shape (images, 3, size, size), red, green, blue; labels, int64 of shape (images,).

    Raises:
        DataError: where images cannot be used; the first few are named, each with its reason.
    """
    pixels = np.empty((len(files), size, size, 3), dtype=np.uint8)
    refused = []
    for index, (path, _) in enumerate(files):
        try:
            pixels[index] = _read(path, size)
        except DataError as error:
            refused.append(str(error))
    if refused:
        more = f"; and {len(refused) - NAMED} more" if len(refused) > NAMED else ""
        raise DataError(f"{'; '.join(refused[:NAMED])}{more}; fetch the images again")
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.tensor([label for _, label in files])


def not_in_colour(files: Iterable[Path]) -> list[str]:
    """The image files, all readable, that are not stored as red, green and blue, each with what it is."""
    found = []
    for path in files:
        with Image.open(path) as image:
            if image.mode != "RGB":
                found.append(f"{path} ({MODES.get(image.mode, image.mode)})")
    return found


def _read(path: Path, size: int) -> NDArray[np.uint8]:
    def pixels(image: Image.Image) -> NDArray[np.uint8]:
        # Its pixels are not read before: a header may promise 60000 x 60000 of them.
        if image.size != (size, size):
            width, height = image.size
            raise DataError(f"{path}: {width} x {height} pixels where {size} x {size} are expected")
        return np.asarray(image.convert("RGB"))

    return use_image(path, pixels)


def use_image(path: Path, use: Callable[[Image.Image], T]) -> T:
    """What ``use`` makes of an opened image file.

    Raises:
        DataError: where it cannot be read, with the reason.
    """
    try:
        # Opening a pipe would wait for whoever writes to it.
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: no regular file")
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            return use(image)
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(f"{path}: far too many pixels, make it smaller") from None
    except FileNotFoundError:
        raise DataError(f"{path}: a link to nowhere") from None
    except PermissionError:
        raise DataError(f"{path}: may not be read by this user") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: damaged or no image") from None
    except Exception as error:  # what Pillow raises depends on which bytes are wrong
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{path}: damaged ({reason})") from None
