"""The draws: one view for each image and epoch, drawn once, which the runs of a study share."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from data.views import VIEWS


@dataclass(frozen=True)
class Draws:
    """Which view of an image a run shows in which epoch, where all runs show the same draws at other times.

    A run by itself sees uniform views, drawn independently for each image and epoch. Over its epochs it sees every draw
    of an image once, so the teacher is asked for what one run sees, however many runs there are. Nothing but the number
    of images and of epochs decides the draws: studies of the same images share them, and those of a shorter study are
    among those of a longer one.

    Args:
        images: how many images there are, whatever part of them a run is trained on.
        epochs: of each run.
    """

    images: int
    epochs: int

    def views(self, indices: Tensor, seed: int, epoch: int) -> Tensor:
        """The views that a run shows in an epoch: draw (epoch + offset) mod epochs, offset from (seed, image).

        Args:
            indices: of the images, int64 of shape (n,), on the CPU.
            seed: of the run.
            epoch: 0 for the first.

        Returns:
            int64 of shape (n,), on the CPU.
        """
        offsets = torch.randint(self.epochs, (self.images,), generator=generator_of(f"offsets {seed}"))
        return self._drawn[indices, (epoch + offsets[indices]) % self.epochs].long()

    @cached_property
    def _drawn(self) -> Tensor:
        """uint8 of shape (images, epochs)."""
        columns = [
            torch.randint(VIEWS, (self.images,), generator=generator_of(f"draws {epoch}"), dtype=torch.uint8)
            for epoch in range(self.epochs)
        ]
        return torch.stack(columns, dim=1)


def generator_of(purpose: str) -> torch.Generator:
    """A generator for one purpose alone.

    A hash keeps purposes apart: seed + epoch would give seed 1 the epochs of seed 0, one late.
    """
    digest = hashlib.sha256(purpose.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
