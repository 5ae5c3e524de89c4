"""The order of the images and the view of each: a pure function of (seed, epoch)."""

import hashlib

import torch
from torch import Tensor

from data.views import VIEWS


def stream(images: int, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
    """The order in which an epoch shows ``images`` images and the view of each.

    Args:
        images: how many images there are.
        seed: the seed of the run.
        epoch: 0 for the first.

    Returns:
        Positions, a permutation of 0 to ``images`` - 1, and the view shown at each step; both int64 of shape
        (images,).
    """
    # A hash keeps (seed, epoch) pairs apart: seed + epoch would give seed 1 the epochs of seed 0, one late.
    digest = hashlib.sha256(f"stream {seed} {epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
    order = torch.randperm(images, generator=generator)
    views = torch.randint(VIEWS, (images,), generator=generator)
    return order, views
