"""A data set as one tensor of images in a canonical order, with a hash that says what it is."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from storage.errors import PlainError


class DataError(PlainError):
    """The images asked for are not there or are not what they should be; the message has a line for each reason."""


@dataclass(frozen=True)
class ImageSet:
    """Training and test images of one data set, on the CPU.

    Attributes:
        name: what reports call the data set.
        train_images, test_images: uint8 of shape (images, channels, size, size); three channels are red, green, blue.
        train_labels, test_labels: int64 of shape (images,), an index into ``classes``.
        classes: class names by label.
        groups: name of the group of alike classes, by label.
        synthetic: True where the images were drawn by a program.
        dropped_bits: how many of the lowest bits of grey values with more than 8 were left out.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    synthetic: bool = False
    dropped_bits: int = 0

    @cached_property
    def hash(self) -> str:
        """sha256 over classes, labels and pixels, in hexadecimal."""
        digest = hashlib.sha256("\n".join(self.classes).encode())
        for tensor in (self.train_labels, self.train_images, self.test_labels, self.test_images):
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    @cached_property
    def channel_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel over all training images.

        Both float32 of shape (channels,), on the scale 0 to 1.
        """
        values = torch.arange(256, dtype=torch.float64) / 255
        channels = self.train_images.shape[1]
        mean, deviation = torch.empty(channels), torch.empty(channels)
        for channel in range(channels):
            counts = self.train_images[:, channel].flatten().bincount(minlength=256).double()
            share = counts / counts.sum()
            centre = (share * values).sum()
            mean[channel] = centre
            deviation[channel] = (share * (values - centre) ** 2).sum().sqrt()
        return mean, deviation


def count_copies(images: Tensor, among: Tensor) -> int:
    """How many images are also among others, pixel by pixel; both uint8 of shape (images, channels, size, size)."""
    known = {hashlib.sha256(image.tobytes()).digest() for image in among.numpy()}
    return sum(hashlib.sha256(image.tobytes()).digest() in known for image in images.numpy())


def in_canonical_order(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Sort by label, then by pixel bytes, so that the order depends on the content alone.

    The official archive is shuffled and class folders are sorted by file name: after this both are the same tensor.
    """
    order: list[int] = []
    for label in labels.unique().tolist():  # class by class: the bytes of all would be a copy of all
        of_class = (labels == label).nonzero().flatten()
        keys = [image.tobytes() for image in images[of_class].numpy()]
        order += of_class[sorted(range(len(keys)), key=keys.__getitem__)].tolist()
    return images[order].contiguous(), labels[order].contiguous()
