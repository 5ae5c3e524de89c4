"""The images of a study."""

from pathlib import Path

from data.cifar100 import load_cifar100
from data.image_set import DataError, ImageSet
from data.own_images import Progress, load_own_images
from data.synthetic import load_synthetic
from storage.claims import Claims
from storage.configuration import Configuration


def load_images(
    configuration: Configuration,
    cache: Path | None,
    data_dir: Path | None,
    claims: Claims,
    progress: Progress,
) -> ImageSet:
    """The images of the data set that a configuration names.

    Args:
        cache: the folder that keeps them as one tensor; None where nothing may be written, which CIFAR-100 needs.
        data_dir: the folder of one's own images; else as ``load_cifar100``.
        claims: as ``load_cifar100``.
        progress: as ``load_own_images``.

    Raises:
        DataError: where they are not there or not what they should be.
    """
    if configuration.dataset == "synthetic":
        return load_synthetic()
    if configuration.dataset == "folder":
        if data_dir is None:
            raise DataError("the study has images of its own: give their folder with --data-dir")
        return load_own_images(data_dir, configuration.image_size, cache, claims, progress)
    assert cache is not None, "CIFAR-100 is read from the cache"
    return load_cifar100(cache, data_dir, claims)
