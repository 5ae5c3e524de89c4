"""Every run of a study sees uniform independent views, and all runs together no more than one."""

import pytest
import torch
from torch import Tensor

from data import VIEWS, Draws

IMAGES, EPOCHS = 3000, 60
DRAWS = Draws(IMAGES, EPOCHS)
EVERY = torch.arange(IMAGES)
SEEDS = (0, 1, 2**31 - 1)
DRAWS_BEGIN = "[[12, 10, 66], [106, 22, 16]]"


def run(seed: int, draws: Draws = DRAWS) -> Tensor:
    """What a run shows, of shape (epochs, images)."""
    images = torch.arange(draws.images)
    return torch.stack([draws.views(images, seed, epoch) for epoch in range(draws.epochs)])


def assert_uniform(cells: Tensor, kinds: int) -> None:
    """Pearson's chi-square of counts, within 5 standard deviations of what uniform draws give."""
    counts = cells.flatten().bincount(minlength=kinds).double()
    assert len(counts) == kinds
    expected = counts.sum() / kinds
    assert expected > 5
    freedom = kinds - 1
    assert abs(((counts - expected) ** 2 / expected).sum() - freedom) < 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_the_views_of_a_run_are_uniform(seed: int) -> None:
    assert_uniform(run(seed), VIEWS)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_views_of_an_image_in_neighbouring_epochs_are_independent(seed: int) -> None:
    shown = run(seed)
    assert_uniform(shown[:-1] // 6 * (VIEWS // 6) + shown[1:] // 6, (VIEWS // 6) ** 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_views_of_neighbouring_images_in_an_epoch_are_independent(seed: int) -> None:
    shown = run(seed)
    assert_uniform(shown[:, :-1] // 6 * (VIEWS // 6) + shown[:, 1:] // 6, (VIEWS // 6) ** 2)


def test_over_its_epochs_a_run_sees_every_draw_of_an_image_once() -> None:
    runs = [run(seed).sort(dim=0).values for seed in SEEDS]
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2])
    seen = torch.zeros(IMAGES, VIEWS)
    seen[EVERY, run(5)] = 1
    # 60 draws of 162 show 162 (1 - (161 / 162)^60) = 50.3 different ones on average.
    assert abs(seen.sum(dim=1).mean() - VIEWS * (1 - (1 - 1 / VIEWS) ** EPOCHS)) < 0.5


def test_another_seed_sees_them_at_other_times_by_an_offset_that_is_uniform() -> None:
    first, second = (run(seed, Draws(IMAGES, 20)) for seed in (0, 1))
    # Two runs that are independent show the same view in one epoch of 162, of 20 draws the same draw in one of 20.
    assert (first == second).double().mean() == pytest.approx(1 / 20 + 19 / 20 / VIEWS, rel=0.15)
    offsets = [
        (torch.stack([first.roll(-shift, dims=0) for shift in range(20)]) == second).all(dim=1).int().argmax(dim=0)
    ]
    assert_uniform(torch.cat(offsets), 20)


def test_the_view_of_an_image_does_not_depend_on_which_others_are_shown() -> None:
    some = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(0))[:100]
    assert torch.equal(DRAWS.views(some, 3, 7), DRAWS.views(EVERY, 3, 7)[some])


def test_a_shorter_study_sees_some_of_the_draws_of_a_longer_one() -> None:
    short, long = run(0, Draws(50, 4)), run(0, Draws(50, 9))
    for image in range(50):
        assert set(short[:, image].tolist()) <= set(long[:, image].tolist())


def test_does_not_depend_on_the_global_generator_and_leaves_it_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    shown = Draws(50, 4).views(torch.arange(50), 3, 2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(Draws(50, 4).views(torch.arange(50), 3, 2), shown)


def test_is_the_same_as_ever() -> None:
    draws = Draws(50_000, 100)
    assert str([draws.views(torch.tensor([0, 1, 49_999]), seed, 99).tolist() for seed in (0, 1)]) == DRAWS_BEGIN
