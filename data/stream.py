"""The order of the images and the view of each: a pure function of (seed, epoch) and the draws."""

import torch
from torch import Tensor

from data.draws import Draws, generator_of
from data.views import CROPS, VIEWS


def stream(
    images: Tensor, seed: int, epoch: int, draws: Draws | None = None, flip: bool = True
) -> tuple[Tensor, Tensor]:
    """The order in which an epoch shows images and the view of each.

    Args:
        images: indices into the bank, int64 of shape (images,), on the CPU.
        seed: the seed of the run.
        epoch: 0 for the first.
        draws: that the runs share; views drawn for this run alone where None.
        flip: whether views may be mirrored; the same crops as they are where not.

    Returns:
        The indices in the order in which they are shown, and the view of each; both int64 of shape (images,).
    """
    generator = generator_of(f"stream {seed} {epoch}")
    shown = images[torch.randperm(len(images), generator=generator)]
    if draws is None:
        views = torch.randint(VIEWS, (len(images),), generator=generator)
    else:
        views = draws.views(shown, seed, epoch)
    return shown, views if flip else views % CROPS
