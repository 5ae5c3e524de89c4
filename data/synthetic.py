"""The embedded data set: 16 classes of 32 x 32 pixels in 4 groups that look alike, drawn by a program.

Each group is one pattern and each class of it one number: 3, 4, 5 or 6 petals. To tell the groups apart takes a glance,
to tell the classes apart takes counting, at any position, angle, size and colour and under patches and noise.

The hash of an image set is over its bytes, so they must be the same on every machine: random values are integers, and
the arithmetic is elementwise +, -, *, /, square root and floor, which IEEE 754 rounds in one way only. Sine,
exponential and sums over an axis are left out, since those differ in their last bit from one CPU to another.
"""

import functools
from collections.abc import Callable

import numpy as np
import torch
from numpy.random import PCG64, Generator
from numpy.typing import NDArray
from torch import Tensor

from data.image_set import ImageSet, in_canonical_order

SIZE = 32
DRAWING_SEED = 20250610
TRAIN_IMAGES_A_CLASS = 125
TEST_IMAGES_A_CLASS = 60

# What tells nothing about the class: each is drawn evenly from minus to plus this much.
SHIFT = 3  # pixels
SIZE_JITTER = 0.15  # share of the size
PATCHES = 30  # levels of 255, one value for 8 x 8 pixels and channel
NOISE = 20  # levels of 255, one value a pixel and channel

# A pattern takes the coordinates x and y of every pixel, counted from the centre, and gives how deep inside the pattern
# each pixel lies, negative outside: all in pixels, float64 of shape (images, 32, 32).
Field = NDArray[np.float64]
Pattern = Callable[[Field, Field, int], Field]


def petals(x: Field, y: Field, number: int) -> Field:
    """A flower."""
    radius = np.sqrt(x * x + y * y) + 1e-9
    # Chebyshev's recurrence takes the cosine of the angle to the cosine of ``number`` times the angle.
    once = x / radius
    previous, cosine = np.ones_like(once), once
    for _ in range(number - 1):
        previous, cosine = cosine, 2 * once * cosine - previous
    depth: Field = 10 + 3.5 * cosine - radius
    return depth


def rings(x: Field, y: Field, number: int) -> Field:
    """Rings around one centre."""
    radius = np.sqrt(x * x + y * y)
    width = 14 / number
    depth: Field = np.minimum(_wave(radius / width - 0.5) * width / 4, 14 - radius)
    return depth


def stripes(x: Field, y: Field, number: int) -> Field:
    """Parallel stripes, ``number`` of them over the width of an image."""
    width = SIZE / number
    return _wave(y / width) * width / 4


def checks(x: Field, y: Field, number: int) -> Field:
    """A chessboard, ``number`` fields of each colour over the width of an image."""
    width = SIZE / number
    depth: Field = _wave(x / width) * _wave(y / width) * width / 2
    return depth


PATTERNS = {
    petals: (3, 4, 5, 6),
    rings: (2, 3, 4, 5),
    stripes: (3, 4, 5, 6),
    checks: (2, 3, 4, 5),
}
CLASSES = tuple(f"{number} {pattern.__name__}" for pattern, numbers in PATTERNS.items() for number in numbers)
GROUPS = tuple(pattern.__name__ for pattern, numbers in PATTERNS.items() for _ in numbers)


@functools.cache
def load_synthetic() -> ImageSet:
    """Draw the embedded data set: the same images every time, 125 a class to train on and 60 a class to test on."""
    generator = Generator(PCG64(DRAWING_SEED))
    images_a_class = TRAIN_IMAGES_A_CLASS + TEST_IMAGES_A_CLASS
    kinds = [(pattern, number) for pattern, numbers in PATTERNS.items() for number in numbers]
    drawn = np.stack([_draw(generator, pattern, number, images_a_class) for pattern, number in kinds])
    train_images, train_labels = _labelled(drawn[:, :TRAIN_IMAGES_A_CLASS])
    test_images, test_labels = _labelled(drawn[:, TRAIN_IMAGES_A_CLASS:])
    return ImageSet(
        name="Synthetic groups (drawn by a program, not photographs)",
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        classes=CLASSES,
        groups=GROUPS,
        synthetic=True,
    )


def _draw(generator: Generator, pattern: Pattern, number: int, images: int) -> NDArray[np.uint8]:
    """Images of one class, uint8 of shape (images, 3, 32, 32)."""

    def uniform(low: float, high: float, *shape: int) -> Field:
        return low + (high - low) * (generator.integers(4096, size=(images, *shape)) / 4096)

    pixel = np.arange(SIZE) - (SIZE - 1) / 2
    across = pixel[None, None, :] - uniform(-SHIFT, SHIFT, 1, 1)
    down = pixel[None, :, None] - uniform(-SHIFT, SHIFT, 1, 1)
    scale = 1 + uniform(-SIZE_JITTER, SIZE_JITTER, 1, 1)
    # Angles within half a turn are all there are: every pattern looks the same after half a turn or less.
    cosine = uniform(-1, 1, 1, 1)
    sine = np.sqrt(1 - cosine * cosine)
    depth = pattern((cosine * across + sine * down) * scale, (cosine * down - sine * across) * scale, number)
    inside = np.clip(depth + 0.5, 0, 1)[:, None]
    dark, light = uniform(0, 90, 3, 1, 1), uniform(165, 255, 3, 1, 1)
    pixels = (light - dark) * inside
    pixels += dark
    pixels += uniform(-PATCHES, PATCHES, 3, 4, 4).repeat(8, axis=2).repeat(8, axis=3)
    pixels += uniform(-NOISE, NOISE, 3, SIZE, SIZE)
    return np.clip(pixels, 0, 255, out=pixels).astype(np.uint8)


def _labelled(drawn: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Images and labels in canonical order, of a stack of shape (classes, images of each, 3, 32, 32)."""
    labels = np.arange(drawn.shape[0]).repeat(drawn.shape[1])
    return in_canonical_order(torch.from_numpy(drawn.reshape(-1, *drawn.shape[2:])), torch.from_numpy(labels))


def _wave(position: Field) -> Field:
    """A triangle wave of period 1 between -1 and 1, highest at whole positions."""
    return 4 * np.abs(position - np.floor(position) - 0.5) - 1
