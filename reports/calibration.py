"""Whether a network is as sure as it is right, from counts by bins of its confidence."""

import math
from collections.abc import Iterable, Sequence

Bins = Sequence[Sequence[float]]
"""Calibration: for each bin of confidence the images, the sum of their confidence, and the images correct."""


def pool_bins(calibrations: Iterable[Bins]) -> list[tuple[float, float, float]]:
    """The bins of several networks added up."""
    return [
        (math.fsum(images), math.fsum(confidence), math.fsum(correct))
        for images, confidence, correct in (zip(*same_bin, strict=True) for same_bin in zip(*calibrations, strict=True))
    ]


def calibration_error(bins: Bins) -> float:
    """Expected calibration error (Naeini 2015, Guo 2017): mean gap of confidence and accuracy, weighted by images."""
    images = sum(count for count, _, _ in bins)
    return math.fsum(abs(confidence - correct) for _, confidence, correct in bins) / images if images else math.nan


def calibration_floor(bins: Bins) -> float:
    """The expected calibration error of a network that is exactly as often right as it says, from chance alone.

    Each bin of n images with mean confidence c is right binomially: its gap is sqrt(2 c (1 - c) / (pi n)) on average.
    """
    images = sum(count for count, _, _ in bins)
    shares = [(count, confidence / count) for count, confidence, _ in bins if count]
    by_chance = math.fsum(math.sqrt(2 / math.pi * count * max(0.0, share * (1 - share))) for count, share in shares)
    return by_chance / images if images else math.nan


def overconfidence(bins: Bins) -> float:
    """Mean confidence minus accuracy, as a share -1 to 1."""
    images = sum(count for count, _, _ in bins)
    return math.fsum(confidence - correct for _, confidence, correct in bins) / images if images else math.nan
