"""Images of one's own, from class folders: any number of classes and any size, cached as tensors in one file."""

import hashlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import BITSPERSAMPLE
from tqdm import tqdm

from data.cache import TENSORS, Content, cached, tensors_of
from data.class_folders import NAMES, PARTS, SUFFIXES, is_hidden, use_image
from data.image_set import DataError, ImageSet, in_canonical_order
from storage.claims import Claims

GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")  # Pillow's words for how a pixel is stored
READ_AS = 4
"""Another number where the same files are read as other pixels, or refused."""

Files = dict[str, list[tuple[Path, int]]]

Progress = Callable[[int, str, str], "tqdm[Any]"]
"""Gives a bar for so many of something, with a name and a unit."""


def load_own_images(root: Path, image_size: int, cache: Path | None, claims: Claims, progress: Progress) -> ImageSet:
    """Load ``root/train/<class>/*`` and ``root/test/<class>/*``, from the cache where nothing there has changed.

    Where all images are stored in grey, they have one channel; where one of them is in colour, all have three. Those of
    another size are resized so that the shorter side fits and cropped in the middle, upright as a camera says. What is
    transparent lies on white. Of grey images with more than 8 bits the 8 highest are kept that any of them uses.

    Args:
        image_size: height and width in pixels.
        cache: keeps them as one file below ``folders``, until they change; nothing is written where None.
        claims: of all processes that share the cache: one of them fills it.
        progress: gives the bars that are seen while the images are read.

    Raises:
        DataError: where classes or images cannot be used; all of them are named, a line for each.
    """
    classes, files, wrong = _listed(root)
    if cache is None or wrong:
        return _read(root, classes, files, image_size, wrong, progress)
    key, folder = _key(files, root, image_size), cache / "folders"
    place = hashlib.sha256(repr((root.resolve(), image_size)).encode()).hexdigest()[:8]

    def make() -> Content:
        image_set = _read(root, classes, files, image_size, wrong, progress)
        for former in folder.glob(f"{place}-*.pt"):
            former.unlink(missing_ok=True)
        facts = {"classes": list(classes), "hash": image_set.hash, "dropped_bits": image_set.dropped_bits}
        return {**tensors_of(image_set), **facts}

    return cached(folder / f"{place}-{key}.pt", claims, f"cache-folder-{key}", make, partial(_checked, root))


def _checked(root: Path, content: Content) -> ImageSet:
    image_set = _image_set(root, tuple(content["classes"]), content)
    if image_set.hash != content["hash"]:
        raise DataError("other images")
    return image_set


def _listed(root: Path) -> tuple[tuple[str, ...], Files, list[str]]:
    """The classes, the image files of both parts, each with its label, and what is wrong with the folders."""
    missing = [f"{root / part}: no such folder" for part in PARTS if not (root / part).is_dir()]
    _refuse(missing and [*missing, f"{root}: your images lie in train/<class>/* and test/<class>/*"])
    folders = {part: [path for path in (root / part).iterdir() if path.is_dir()] for part in PARTS}
    found = {part: {path.name for path in folders[part] if not is_hidden(path, root / part)} for part in PARTS}
    classes = tuple(sorted(found["train"] | found["test"]))
    # Such letters stand for bytes that are no UTF-8: https://peps.python.org/pep-0383
    foreign = [name for name in classes if any("\udc80" <= letter <= "\udcff" for letter in name)]
    _refuse([f"{root}: the name of the class folder {name!r} is not UTF-8: rename it" for name in foreign])
    wrong = [
        f"{root / part}: no folder {name!r}, which is in {root / other}"
        for part, other in (PARTS, PARTS[::-1])
        for name in sorted(found[other] - found[part])
    ]
    if len(classes) < 2:
        wrong.append(f"{root / 'train'}: {len(classes)} class folders; give two or more")
    files: Files = {part: [] for part in PARTS}
    others = []
    for part in PARTS:
        others += [path for path in sorted((root / part).iterdir()) if path.is_file()]
        for label, name in enumerate(classes):
            folder = root / part / name
            every = sorted(folder.rglob("*"))
            wrong += [
                f"{path}: may not be read by this user"
                for path in (folder, *every)
                if path.is_dir() and not os.access(path, os.R_OK | os.X_OK)
            ]
            shown = [path for path in every if not is_hidden(path, folder)]
            images = [path for path in shown if path.suffix.lower() in SUFFIXES]
            used = set(images)
            others += [path for path in every if path not in used and path.is_file()]
            others += [path for path in every if path.is_symlink() and path.is_dir()]
            if name in found[part] and not images:
                wrong.append(f"{root / part / name}: holds no image ({NAMES})")
            files[part] += [(path, label) for path in images]
    unused = sorted(
        path for path in root.iterdir() if path.is_dir() and path.name not in PARTS and not is_hidden(path, root)
    )
    for path in unused:
        _say_of(path, f"left out; validation images are some of {_printable(root / 'train')}")
    if others:
        example = _printable(others[0])
        _say_of(root, f"{len(others)} are left out that are no images by name or place, or linked folders: {example}")
    return classes, files, wrong


def _say_of(path: Path, what: str) -> None:
    print(f"{_printable(path)}: {what}")


def _printable(path: Path) -> str:
    return os.fsencode(path).decode(errors="backslashreplace")


def _read(
    root: Path, classes: tuple[str, ...], files: Files, size: int, wrong: list[str], progress: Progress
) -> ImageSet:
    """Read every image; what is wrong with any of them is said after ``wrong``."""
    paths = [path for part in PARTS for path, _ in files[part]]
    refused, looks = list(wrong), {}
    with progress(len(paths), "looking at images", "image") as seen:
        for path in paths:
            try:
                looks[path] = use_image(path, partial(_look, path=path))
            except DataError as error:
                refused.append(str(error))
            seen.update()
    grey = all(look.mode in GREY for look in looks.values())
    brightest = max(looks, key=lambda path: looks[path].largest, default=None)
    largest = 0 if brightest is None else looks[brightest].largest
    surplus = max(0, largest.bit_length() - 8)
    if transparent := sum(look.is_transparent for look in looks.values()):
        _say_of(root, f"images that are transparent in part, which now lie on white: {transparent}")
    if brightest is not None and largest:
        used = f"of the 16 bits of a value {8 + surplus} are used at most, of which the highest 8 are kept"
        _say_of(root, f"{used}: the largest value, {largest}, is in {_printable(brightest)}")
    coloured = [path for path, look in looks.items() if look.mode not in GREY]
    if coloured and len(coloured) < len(looks):
        example = _printable(coloured[0])
        _say_of(root, f"{len(coloured)} of {len(looks)} images are in colour, so all have three channels: {example}")
    if resized := sum(look.size != (size, size) for look in looks.values()):
        _say_of(root, f"{resized} of {len(looks)} images are resized and cropped to {size} x {size} (image_size)")
    pixels = np.zeros((len(paths), size, size, 1 if grey else 3), dtype=np.uint8)
    with progress(len(paths), "reading images", "image") as done:
        for index, path in enumerate(paths):
            try:
                if path in looks:
                    pixels[index] = use_image(path, partial(_fitted, size=size, grey=grey, surplus=surplus))
            except DataError as error:
                refused.append(str(error))
            done.update()
    _refuse(refused)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    count = len(files["train"])
    train, test = (
        in_canonical_order(part.contiguous(), torch.tensor([label for _, label in files[name]]))
        for name, part in (("train", images[:count]), ("test", images[count:]))
    )
    content: Content = {**dict(zip(TENSORS, (*train, *test), strict=True)), "dropped_bits": surplus}
    return _image_set(root, classes, content)


class _Look(NamedTuple):
    """How an image is stored: mode, width and height, the largest value of more than 8 bits, and transparency."""

    mode: str
    size: tuple[int, int]
    largest: int
    is_transparent: bool


def _look(image: Image.Image, path: Path) -> _Look:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a camera's JPEG, whose other frames are previews of the first
        raise DataError(f"{path}: {frames} pages or frames: save the one that is meant as a file of its own")
    has_16_bits = _has_16_bits(image)
    if has_16_bits and (image.mode[0] not in "IF" or image.has_transparency_data):
        raise DataError(f"{path}: 16 bits a channel in colour or with transparency: save it with 8 bits a channel")
    largest = 0
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0:
            raise DataError(f"{path}: negative values: save it with 8 or 16 bits a channel, black as 0")
        largest = int(values.max())
    if image.mode == "F" or (image.mode == "I" and not has_16_bits and not 256 <= largest < 65_536):
        raise DataError(f"{path}: pixels of 32 bits whose range no file says: save it with 8 or 16 bits a channel")
    is_transparent = image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255
    return _Look(image.mode, image.size, largest, bool(is_transparent))


def _has_16_bits(image: Image.Image) -> bool:
    """Whether an opened image has them: of colour Pillow takes half of each value, and says so nowhere else."""
    bits: tuple[int, ...] = getattr(image, "tag_v2", {}).get(BITSPERSAMPLE, ())
    is_colour = image.mode[0] not in "IF"
    return ";16" in str(getattr(image, "tile", ())) or (is_colour and max(bits, default=8) > 8)


def _fitted(image: Image.Image, size: int, grey: bool, surplus: int) -> NDArray[np.uint8]:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # Pillow would cut 16 bits off at 255 instead of scaling them
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> surplus).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("L" if grey else "RGB")
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(size, size, -1)


def _image_set(root: Path, classes: tuple[str, ...], tensors: Content) -> ImageSet:
    image_set = ImageSet(
        name=_printable(Path(root.resolve().name)),
        train_images=tensors["train_images"],
        train_labels=tensors["train_labels"],
        test_images=tensors["test_images"],
        test_labels=tensors["test_labels"],
        classes=classes,
        groups=classes,
        dropped_bits=tensors["dropped_bits"],
    )
    flat = bool((image_set.channel_statistics[1] == 0).any())
    why = "a colour channel is the same in all pixels of all images: save them in grey, or without that channel"
    _refuse([f"{root / 'train'}: {why}"] if flat else [])
    return image_set


def _key(files: Files, root: Path, size: int) -> str:
    """Other names, sizes, times of change or files are another key; the images themselves are not read for it."""
    stats = [(path.relative_to(root), path.stat()) for part in PARTS for path, _ in files[part] if path.exists()]
    # Folders that swap names swap files that may be as large and as old; times may be set, but not those of a change.
    listed = [(name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino) for name, stat in stats]
    return hashlib.sha256(repr([READ_AS, size, *listed]).encode()).hexdigest()[:16]


def _refuse(wrong: list[str]) -> None:
    if wrong:
        raise DataError("\n".join(wrong))
