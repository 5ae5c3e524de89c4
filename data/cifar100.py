"""CIFAR-100 (Krizhevsky, 2009), from the official archive or from class folders, cached as tensors in one file."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.image_set import DataError, ImageSet, in_canonical_order
from storage.files import save_whole

CIFAR100_HASH = "ae4bfa8952b7adfaf83417a4388035d4636cd8edf4e338056876c20a7e537aae"

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


def load_cifar100(cache_dir: Path, data_dir: Path | None = None) -> ImageSet:
    """Load CIFAR-100, from the cache where it is there.

    Args:
        cache_dir: holds ``cifar100.pt``, written the first time, and the download.
        data_dir: holds ``train/<class>/*.png`` and ``test/<class>/*.png``, or the official archive as torchvision
            lays it out. The archive is downloaded to ``cache_dir`` where None.

    Returns:
        The same tensors in the same order, whichever source they came from.

    Raises:
        DataError: where the images are missing, truncated, or not those of CIFAR-100.
    """
    cached = cache_dir / "cifar100.pt"
    if data_dir is not None and not data_dir.is_dir():
        raise DataError(f"--data-dir {data_dir}: no such folder; leave it out to download CIFAR-100")
    if cached.exists():
        try:
            image_set = _assemble(torch.load(cached, weights_only=True))
        except Exception as error:
            reason = str(error).strip().split("\n")[0]
            raise DataError(f"{cached}: damaged ({reason}); delete it, it is made again from the images") from None
        if image_set.hash != CIFAR100_HASH:
            raise DataError(f"{cached}: damaged; delete it, it is made again from the images")
        return image_set
    if data_dir is not None and (data_dir / "train").is_dir():
        tensors = {part: _from_folders(data_dir / part) for part in ("train", "test")}
    else:
        tensors = _from_archive(data_dir or cache_dir, download=data_dir is None)
    image_set = _assemble(
        {
            f"{part}_{kind}": tensor
            for part, pair in tensors.items()
            for kind, tensor in zip(("images", "labels"), in_canonical_order(*pair), strict=True)
        }
    )
    if image_set.hash != CIFAR100_HASH:
        counts = f"{len(image_set.train_images)} training and {len(image_set.test_images)} test images"
        raise DataError(
            f"{data_dir or cache_dir}: {counts} that are not those of CIFAR-100 (50000 and 10000): "
            "fetch them again, or leave --data-dir out to download them"
        )
    save_whole(
        {key: getattr(image_set, key) for key in ("train_images", "train_labels", "test_images", "test_labels")}, cached
    )
    return image_set


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


def _from_folders(folder: Path) -> tuple[Tensor, Tensor]:
    # Imported where the cache is not there yet: torchvision takes two seconds, which a second start need not wait.
    from torchvision.datasets import ImageFolder

    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected train/<class>/*.png and test/<class>/*.png beside it")
    try:
        images = ImageFolder(str(folder))
    except FileNotFoundError as error:
        raise DataError(f"{folder}: {error}") from None
    if tuple(images.classes) != CLASSES:
        missing = sorted(set(CLASSES) - set(images.classes))
        reason = f"no folder {missing[0]!r}" if missing else f"{len(images.classes)} class folders instead of 100"
        raise DataError(f"{folder}: not CIFAR-100: {reason}")
    pixels = np.empty((len(images), 32, 32, 3), dtype=np.uint8)
    for index, (path, _) in enumerate(images.samples):
        try:
            image = np.asarray(images.loader(path))
        except OSError:
            raise DataError(f"{path}: damaged or no image; fetch the images again") from None
        if image.shape != (32, 32, 3):
            raise DataError(f"{path}: {image.shape[1]} x {image.shape[0]} pixels where CIFAR-100 has 32 x 32")
        pixels[index] = image
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.tensor(images.targets)


def _from_archive(root: Path, download: bool) -> dict[str, tuple[Tensor, Tensor]]:
    from torchvision.datasets import CIFAR100

    try:
        parts = {name: CIFAR100(str(root), train=name == "train", download=download) for name in ("train", "test")}
    except RuntimeError:
        raise DataError(
            f"{root}: neither train/ and test/ with class folders nor a whole CIFAR-100 archive; "
            "leave --data-dir out to download it"
        ) from None
    except OSError as error:
        raise DataError(
            f"CIFAR-100 cannot be downloaded ({error}); "
            "give --data-dir with the official archive or with train/<class>/*.png and test/<class>/*.png"
        ) from None
    return {
        name: (torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets))
        for name, part in parts.items()
    }
