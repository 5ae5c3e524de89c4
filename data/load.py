"""The images of a study by the name of their data set."""

from pathlib import Path

from data.cifar100 import load_cifar100
from data.image_set import ImageSet
from data.synthetic import load_synthetic
from storage.claims import Claims


def load_images(dataset: str, cache: Path, data_dir: Path | None, claims: Claims) -> ImageSet:
    """The images of ``cifar100`` or ``synthetic``.

    Args:
        cache: the folder that keeps them as one tensor.
        data_dir, claims: as ``load_cifar100``.

    Raises:
        DataError: where they are not there or not what they should be.
    """
    return load_synthetic() if dataset == "synthetic" else load_cifar100(cache, data_dir, claims)
