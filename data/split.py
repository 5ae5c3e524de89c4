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
    classes: int


def split(labels: Tensor, train_images: int | None = None) -> Split:
    """Take a tenth of every class for validation and ``train_images`` of the rest, as even over classes as can be.

    Both are a pure function of the labels: a smaller training set is part of every larger one, and the validation
    images never change.

    Args:
        labels: int64 of shape (images,).
        train_images: how many to train on; all that are left where None.

    Raises:
        DataError: where there are not that many training images.
    """
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    train_parts, rank_parts, validation_parts = [], [], []
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        held_out = round(len(members) * VALIDATION_SHARE)
        validation_parts.append(members[:held_out])
        train_parts.append(members[held_out:])
        rank_parts.append(torch.arange(len(members) - held_out))
    candidates = torch.cat(train_parts)[torch.cat(rank_parts).argsort(stable=True)]
    wanted = len(candidates) if train_images is None else train_images
    if not 0 < wanted <= len(candidates):
        raise DataError(f"--train-images {wanted}: the data set has 1 to {len(candidates)} images to train on")
    return Split(
        train=candidates[:wanted].sort().values,
        validation=torch.cat(validation_parts).sort().values,
        classes=len(validation_parts),
    )
