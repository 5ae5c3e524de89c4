"""The embedded data set is the same on every machine, and its patterns show the number their class is named for."""

import random
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import ndimage

from data.image_set import ImageSet, in_canonical_order
from data.synthetic import PATTERNS, Field, Pattern, checks, load_synthetic, petals, stripes

HASH = "ea75345fff11073c28762d0f84bca65e12f35eefdce0aa3896a6626fdfa73681"


@pytest.fixture(scope="module")
def image_set() -> ImageSet:
    return load_synthetic()


def parts(image_set: ImageSet) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(image_set.train_images, image_set.train_labels), (image_set.test_images, image_set.test_labels)]


def test_does_not_depend_on_global_generators() -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    for _ in range(2):
        assert load_synthetic.__wrapped__().hash == HASH


def test_says_that_it_is_synthetic(image_set: ImageSet) -> None:
    assert image_set.synthetic
    assert image_set.name.startswith("Synthetic")


def test_images_and_labels(image_set: ImageSet) -> None:
    for images, labels in parts(image_set):
        assert images.shape == (len(labels), 3, 32, 32)
        assert images.dtype == torch.uint8
        assert images.is_contiguous()
        assert labels.dtype == torch.int64


def test_every_class_has_as_many_images(image_set: ImageSet) -> None:
    assert image_set.train_labels.bincount().tolist() == [125] * 16
    assert image_set.test_labels.bincount().tolist() == [60] * 16


def test_order_is_canonical(image_set: ImageSet) -> None:
    for images, labels in parts(image_set):
        sorted_images, sorted_labels = in_canonical_order(images, labels)
        assert torch.equal(images, sorted_images)
        assert torch.equal(labels, sorted_labels)


def test_no_image_is_there_twice(image_set: ImageSet) -> None:
    images = torch.cat([image_set.train_images, image_set.test_images])
    assert len({image.tobytes() for image in images.numpy()}) == len(images)


def test_classes_and_groups_are_named(image_set: ImageSet) -> None:
    assert len(set(image_set.classes)) == 16
    assert len(image_set.groups) == 16
    assert min(Counter(image_set.groups).values()) >= 2
    for name, group in zip(image_set.classes, image_set.groups, strict=True):
        number, pattern = name.split()
        assert number.isdecimal()
        assert pattern == group


KINDS = [(pattern, number) for pattern, numbers in PATTERNS.items() for number in numbers]


def fine_grid() -> tuple[Field, Field]:
    """Coordinates x and y a quarter of a pixel apart."""
    axis = np.arange(-16, 16, 0.25) + 0.125
    x, y = np.meshgrid(axis, axis)
    return x, y


@pytest.mark.parametrize(("pattern", "number"), KINDS)
def test_pattern_shows_its_number(pattern: Pattern, number: int) -> None:
    x, y = fine_grid()
    inside = pattern(x, y, number) > 0
    if pattern in (stripes, checks):
        # Each stripe or pair of fields from edge to edge is entered once and left once, but for those cut at an edge.
        line = inside[:, inside.shape[1] // 2]
        assert np.count_nonzero(line[1:] != line[:-1]) == pytest.approx(2 * number, abs=1)
    else:
        if pattern is petals:
            inside &= np.sqrt(x * x + y * y) > 10  # where petals are apart
        assert ndimage.label(inside)[1] == number


@pytest.mark.parametrize(("pattern", "number"), KINDS)
def test_pattern_is_its_own_mirror_image(pattern: Pattern, number: int) -> None:
    x, y = fine_grid()
    np.testing.assert_allclose(pattern(x, y, number), pattern(x, -y, number), atol=1e-6)
