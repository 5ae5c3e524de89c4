"""The split is stratified, disjoint and a function of the labels alone."""

from itertools import pairwise

import pytest
import torch

from data import DataError, split

LABELS = torch.arange(100).repeat_interleave(500)
SIZES = (1, 99, 100, 101, 12_000, 44_999, 45_000)


@pytest.mark.parametrize("train_images", [*SIZES, None])
def test_validation_is_50_images_a_class_whatever_is_trained_on(train_images: int | None) -> None:
    parts = split(LABELS, train_images)
    assert LABELS[parts.validation].bincount().tolist() == [50] * 100
    assert torch.equal(parts.validation, split(LABELS).validation)


@pytest.mark.parametrize("train_images", [*SIZES, None])
def test_training_images_are_as_many_as_asked_for_and_never_validated_on(train_images: int | None) -> None:
    parts = split(LABELS, train_images)
    chosen = set(parts.train.tolist())
    assert len(chosen) == len(parts.train) == (train_images or 45_000)
    assert chosen.isdisjoint(parts.validation.tolist())
    assert chosen <= set(range(50_000))


@pytest.mark.parametrize("train_images", SIZES)
def test_classes_differ_by_one_image_at_most(train_images: int) -> None:
    counts = LABELS[split(LABELS, train_images).train].bincount(minlength=100)
    assert counts.max() - counts.min() <= 1


def test_classes_of_which_there_are_more_and_less_are_as_even_as_can_be() -> None:
    labels = torch.tensor([0] * 100 + [1] * 50 + [2] * 10)
    assert labels[split(labels, 60).train].bincount().tolist() == [26, 25, 9], "and not 38, 19 and 3"


def test_smaller_training_sets_are_part_of_larger_ones() -> None:
    nested = [set(split(LABELS, size).train.tolist()) for size in SIZES]
    assert all(smaller < larger for smaller, larger in pairwise(nested))


def test_does_not_depend_on_the_global_generator() -> None:
    torch.manual_seed(1)
    first = split(LABELS, 1000)
    torch.manual_seed(2)
    second = split(LABELS, 1000)
    assert torch.equal(first.train, second.train)
    assert torch.equal(first.validation, second.validation)


def test_is_the_same_as_ever() -> None:
    parts = split(LABELS, 200)
    assert parts.validation[:6].tolist() == [7, 21, 33, 37, 45, 48]
    assert parts.train[:6].tolist() == [75, 287, 699, 979, 1199, 1280]


def test_indices_ascend() -> None:
    parts = split(LABELS, 1000)
    for indices in (parts.train, parts.validation):
        assert torch.equal(indices, indices.sort().values)


@pytest.mark.parametrize("train_images", [0, -1, 45_001])
def test_refuses_more_or_fewer_images_than_there_are(train_images: int) -> None:
    with pytest.raises(DataError, match=rf"^--train-images {train_images} .*1 to 45000") as refusal:
        split(LABELS, train_images)
    assert "\n" not in str(refusal.value)
