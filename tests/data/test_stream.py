"""The stream is a pure function of (seed, epoch)."""

from itertools import combinations

import pytest
import torch

from data import CROPS, VIEWS, Draws, stream

PAIRS = [(0, 0), (0, 1), (1, 0), (1, 1), (12, 3), (1, 23), (0, 99), (2**31 - 1, 0)]
STREAM_BEGINS = "[[48437, 37682, 1410, 8221, 7538, 44380], [6, 51, 76, 151, 131, 112]]"


@pytest.mark.parametrize(("seed", "epoch"), PAIRS)
def test_an_epoch_shows_every_image_once(seed: int, epoch: int) -> None:
    order, views = stream(torch.arange(1000), seed, epoch)
    assert torch.equal(order.sort().values, torch.arange(1000))
    assert views.shape == (1000,)
    assert views.min() >= 0
    assert views.max() < VIEWS


@pytest.mark.parametrize(("first", "second"), list(combinations(PAIRS, 2)))
def test_epochs_and_seeds_differ(first: tuple[int, int], second: tuple[int, int]) -> None:
    for one, other in zip(stream(torch.arange(1000), *first), stream(torch.arange(1000), *second), strict=True):
        assert (one == other).sum() < 100


def test_only_the_given_images_are_shown() -> None:
    images = torch.arange(7, 1007, 10)
    shown, views = stream(images, 1, 2)
    assert torch.equal(shown.sort().values, images)
    positions, same_views = stream(torch.arange(100), 1, 2)
    assert torch.equal(shown, images[positions])
    assert torch.equal(views, same_views)


def test_shared_draws_change_the_views_and_not_the_order() -> None:
    images, draws = torch.arange(7, 1007, 10), Draws(images=1007, epochs=5)
    alone, shared = stream(images, 1, 2), stream(images, 1, 2, draws)
    assert torch.equal(shared[0], alone[0])
    assert torch.equal(shared[1], draws.views(shared[0], 1, 2))
    assert not torch.equal(shared[1], alone[1])


def test_does_not_depend_on_the_global_generator_and_leaves_it_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    order, views = stream(torch.arange(100), 3, 4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(stream(torch.arange(100), 3, 4)[0], order)
    assert torch.equal(stream(torch.arange(100), 3, 4)[1], views)


def test_is_the_same_as_ever() -> None:
    assert str([part[:6].tolist() for part in stream(torch.arange(50_000), 1, 2)]) == STREAM_BEGINS


@pytest.mark.parametrize("draws", [None, Draws(100, 3)])
def test_without_mirrored_views_the_crops_are_the_same(draws: Draws | None) -> None:
    images = torch.arange(100)
    order, views = stream(images, 1, 2, draws)
    same_order, crops = stream(images, 1, 2, draws, flip=False)
    assert torch.equal(same_order, order)
    assert torch.equal(crops, views % CROPS)
    assert views.max() >= CROPS > crops.max()


def test_views_are_uniform() -> None:
    counts = (
        torch.cat([stream(torch.arange(5_000), 7, epoch)[1] for epoch in range(30)]).bincount(minlength=VIEWS).double()
    )
    expected = counts.sum() / VIEWS
    # 161 degrees of freedom: mean 161, standard deviation 18.
    assert 161 - 5 * 18 < ((counts - expected) ** 2 / expected).sum() < 161 + 5 * 18


def test_the_view_of_an_image_changes_from_epoch_to_epoch() -> None:
    seen = torch.zeros(100, VIEWS)
    for epoch in range(100):
        order, views = stream(torch.arange(100), 5, epoch)
        seen[order, views] = 1
    # 100 draws of 162 show 162 (1 - (161 / 162)^100) = 74.8 different ones on average.
    assert 73 < seen.sum(dim=1).mean() < 77
