"""The split of the official training images into training and validation images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from data.image_set import DataError

SPLIT_SEED = 20250610
VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class Split:
    """Indices into the official training images, int64 of shape (images,), ascending and disjoint."""

    train: Tensor
    validation: Tensor


def split(labels: Tensor, train_images: int | None = None, validation_images: int | None = None) -> Split:
    """Take validation images of every class and ``train_images`` of the rest, as even over classes as can be.

    Both are a pure function of the labels: a smaller training set is part of every larger one, and the validation
    images never change.

    Args:
        labels: int64 of shape (images,).
        train_images: how many to train on; all that are left where None.
        validation_images: how many to keep apart, each class in proportion; a tenth of each class where None.

    Raises:
        DataError: where there are not that many images.
    """
    held_out_by_class = _held_out(labels.bincount().tolist(), validation_images)
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    train_parts, rank_parts, validation_parts = [], [], []
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        held_out = held_out_by_class[label]
        validation_parts.append(members[:held_out])
        train_parts.append(members[held_out:])
        rank_parts.append(torch.arange(len(members) - held_out))
    candidates = torch.cat(train_parts)[torch.cat(rank_parts).argsort(stable=True)]
    wanted = len(candidates) if train_images is None else train_images
    if not 0 < wanted <= len(candidates):
        raise DataError(
            f"--train-images {wanted} (train_images in a file of settings): the data set has 1 to {len(candidates)} "
            "images to train on"
        )
    return Split(
        train=candidates[:wanted].sort().values,
        validation=torch.cat(validation_parts).sort().values,
    )


def _held_out(images: list[int], wanted: int | None) -> list[int]:
    """How many images of each class are for validation; those with the largest rests are rounded up."""
    if wanted is None:
        held_out = [round(count * VALIDATION_SHARE) for count in images]
        if sum(held_out) == 0:
            raise DataError("a tenth of each class for validation is no image: give validation_images")
        return held_out
    every = sum(images)
    shares = [divmod(wanted * count, every) for count in images]
    held_out = [whole for whole, _ in shares]
    by_rest = sorted(range(len(images)), key=lambda label: -shares[label][1])
    for label in by_rest[: wanted - sum(held_out)]:
        held_out[label] += 1
    if wanted < 1 or any(0 < count <= kept for kept, count in zip(held_out, images, strict=True)):
        raise DataError(f"validation_images {wanted}: give 1 or more, and leave each class an image to train on")
    return held_out
