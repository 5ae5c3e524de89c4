"""CIFAR-100 (Krizhevsky, 2009), from the official archive or from class folders, cached as tensors in one file."""

from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor

from data.cache import cached, tensors_of
from data.class_folders import PARTS, check_class_folders, image_files, not_in_colour, read_images
from data.image_set import DataError, ImageSet, in_canonical_order
from storage.claims import Claims

SIZE = 32
UNPACKED = "cifar-100-python"  # the folder in the official archive
CACHED = "cifar100.pt"
CIFAR100_HASH = "ae4bfa8952b7adfaf83417a4388035d4636cd8edf4e338056876c20a7e537aae"
# What channel_statistics gives of its training images, for a plan that is made without them.
CIFAR100_MEAN = (0.5070751309394836, 0.48654887080192566, 0.44091784954071045)
CIFAR100_DEVIATION = (0.2673342823982239, 0.2564384639263153, 0.2761504650115967)

# The 20 groups ("superclasses") of https://www.cs.toronto.edu/~kriz/cifar.html.
GROUPS = {
    "aquatic mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food containers": "bottle bowl can cup plate",
    "fruit and vegetables": "apple mushroom orange pear sweet_pepper",
    "household electrical devices": "clock keyboard lamp telephone television",
    "household furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large carnivores": "bear leopard lion tiger wolf",
    "large man-made outdoor things": "bridge castle house road skyscraper",
    "large natural outdoor scenes": "cloud forest mountain plain sea",
    "large omnivores and herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium-sized mammals": "fox porcupine possum raccoon skunk",
    "non-insect invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles 1": "bicycle bus motorcycle pickup_truck train",
    "vehicles 2": "lawn_mower rocket streetcar tank tractor",
}
GROUP_OF = {name: group for group, names in GROUPS.items() for name in names.split()}
CLASSES = tuple(sorted(GROUP_OF))


def load_cifar100(cache_dir: Path, data_dir: Path | None, claims: Claims) -> ImageSet:
    """Load CIFAR-100, from the cache where it is there and whole.

    Args:
        cache_dir: holds ``cifar100.pt``, written the first time, and the download.
        data_dir: holds ``train/<class>/*.png`` and ``test/<class>/*.png``, or the unpacked official archive as
            torchvision lays it out. The archive is downloaded to ``cache_dir`` where None.
        claims: of all processes that share the cache: one of them fills it.

    Returns:
        The same tensors in the same order, whichever source they came from.

    Raises:
        DataError: where the images are missing, truncated, or not those of CIFAR-100.
    """
    if data_dir is not None:
        refuse_other_folder(data_dir, cache_dir)
    # Named as the cache folder, which no study may be: the claims of trials begin with the name of their study.
    claim = "cache-cifar100"
    return cached(cache_dir / CACHED, claims, claim, lambda: tensors_of(_from_source(cache_dir, data_dir)), _checked)


def refuse_other_folder(data_dir: Path, cache_dir: Path) -> None:
    """Refuse a folder that is not there, or that holds no images or other classes, before anything is read.

    Images that were read before need not be there any more.

    Args:
        cache_dir: as ``load_cifar100`` has it.

    Raises:
        DataError: with what to give instead.
    """
    if not data_dir.is_dir():
        raise DataError(f"--data-dir {data_dir}: no such folder; leave it out to download CIFAR-100")
    if (data_dir / "train").is_dir():
        for part in PARTS:
            check_class_folders(data_dir / part, CLASSES)
    elif not (data_dir / UNPACKED).is_dir() and not (cache_dir / CACHED).exists():
        raise _neither(data_dir)


def _neither(root: Path) -> DataError:
    packed = root / f"{UNPACKED}.tar.gz"
    return DataError(
        f"{root}: neither train/ and test/ with class folders nor the whole unpacked archive, {UNPACKED}/; "
        + (f"unpack {packed} there, or " if packed.exists() else "")
        + "leave --data-dir out to download it"
    )


def _checked(tensors: dict[str, Tensor]) -> ImageSet:
    image_set = _assemble(tensors)
    if image_set.hash != CIFAR100_HASH:
        raise DataError("other images")
    return image_set


def _from_source(cache_dir: Path, data_dir: Path | None) -> ImageSet:
    source = data_dir or cache_dir
    folders = data_dir is not None and (data_dir / "train").is_dir()
    tensors = _from_folders(source) if folders else _from_archive(source, download=data_dir is None)
    image_set = _assemble(
        {
            f"{part}_{kind}": tensor
            for part, pair in tensors.items()
            for kind, tensor in zip(("images", "labels"), in_canonical_order(*pair), strict=True)
        }
    )
    if image_set.hash == CIFAR100_HASH:
        return image_set
    counts = f"{len(image_set.train_images)} training and {len(image_set.test_images)} test images"
    other = not_in_colour(path for part in PARTS for path, _ in image_files(source / part, CLASSES)) if folders else []
    suspects = f", {len(other)} of them not stored in colour, such as {other[0]}" if other else ""
    raise DataError(
        f"{source}: {counts} that are not those of CIFAR-100 (50000 and 10000){suspects}: "
        "fetch them again, or leave --data-dir out to download them"
    )


def _assemble(tensors: dict[str, Tensor]) -> ImageSet:
    groups = tuple(GROUP_OF[name] for name in CLASSES)
    return ImageSet(
        name="CIFAR-100",
        train_images=tensors["train_images"],
        train_labels=tensors["train_labels"],
        test_images=tensors["test_images"],
        test_labels=tensors["test_labels"],
        classes=CLASSES,
        groups=groups,
    )


def _from_folders(root: Path) -> dict[str, tuple[Tensor, Tensor]]:
    train, test = (image_files(root / part, CLASSES) for part in PARTS)
    images, labels = read_images([*train, *test], SIZE)
    return {
        "train": (images[: len(train)], labels[: len(train)]),
        "test": (images[len(train) :], labels[len(train) :]),
    }


def _from_archive(root: Path, download: bool) -> dict[str, tuple[Tensor, Tensor]]:
    # Imported where it is needed: torchvision takes two seconds, which a second start need not wait for.
    from torchvision.datasets import CIFAR100

    try:
        parts = {name: CIFAR100(str(root), train=name == "train", download=download) for name in ("train", "test")}
    except (OSError, HTTPException, RuntimeError) as error:
        if download:
            raise DataError(
                f"CIFAR-100 cannot be downloaded ({error}); "
                "give --data-dir with the unpacked official archive or with train/<class>/*.png and test/<class>/*.png"
            ) from None
        raise _neither(root) from None
    return {
        name: (torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets))
        for name, part in parts.items()
    }
