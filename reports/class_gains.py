"""What each class gains by distillation, and whether that is more than luck. Accuracies are shares 0 to 1."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special

from reports.evidence import Estimate, Paired
from reports.results import Arm, Results

FALSE_DISCOVERIES = 0.05


@dataclass(frozen=True)
class Gain:
    """What one class, or one group of classes, gains from the baseline to an arm.

    Attributes:
        before, after: mean accuracy over the shared seeds.
        paired: the differences by seed.
    """

    name: str
    before: float
    after: float
    paired: Paired


def gains_by_name(results: Results, names: Sequence[str], arm: str) -> list[Gain]:
    """Gains of an arm over the baseline by name, in order of the mean gain, the largest first.

    Args:
        names: what each label counts for, one a class: the class itself, or its group.

    Returns:
        Empty where an arm has no run, or no seed is shared.
    """
    if not all(name in results["arms"] and results["arms"][name]["seeds"] for name in (arm, "baseline")):
        return []
    after, before = (_accuracy_by_name(results["arms"][name], names) for name in (arm, "baseline"))
    seeds = sorted(after.keys() & before.keys())
    if not seeds:
        return []
    found = [
        Gain(
            name,
            statistics.fmean(before[seed][name] for seed in seeds),
            statistics.fmean(after[seed][name] for seed in seeds),
            Paired(seeds, [after[seed][name] - before[seed][name] for seed in seeds]),
        )
        for name in dict.fromkeys(names)
    ]
    return sorted(found, key=lambda gain: (-gain.paired.mean, gain.name))


def gains_by_lead(results: Results, arm: str) -> list[Estimate] | None:
    """Mean gain of each quarter of the classes, from those in which the teacher is least ahead of the baseline.

    The lead is of other seeds than the gain, and both ways are averaged: the baseline's luck in a class would make
    both larger.

    Returns:
        Four of them, each with its standard error over classes; None with fewer than 20 classes or two shared seeds,
        or without the teacher's word on each class.
    """
    classes, correct = results["data"]["classes"], results["teacher"]["correct_by_class"]
    if len(classes) < 20 or len(correct) != len(classes):
        return None
    after, before = (_accuracy_by_name(results["arms"][name], classes) for name in (arm, "baseline"))
    seeds = sorted(after.keys() & before.keys())
    if len(seeds) < 2:
        return None
    images = results["arms"][arm]["images_by_class"]
    teacher = {name: right / count for name, right, count in zip(classes, correct, images, strict=True)}
    ways: list[list[list[float]]] = []
    halves = seeds[::2], seeds[1::2]
    for of_lead, of_gain in (halves, halves[::-1]):
        ways.append([[], [], [], []])
        lead = {name: teacher[name] - statistics.fmean(before[seed][name] for seed in of_lead) for name in classes}
        for rank, name in enumerate(sorted(classes, key=lambda one: (lead[one], one))):
            gain = statistics.fmean(after[seed][name] - before[seed][name] for seed in of_gain)
            ways[-1][4 * rank // len(classes)].append(gain)
    quarters = []
    for one, other in zip(*ways, strict=True):
        # The ways share most classes of a quarter, so they are not two samples of it.
        error = statistics.fmean(statistics.stdev(gains) / math.sqrt(len(gains)) for gains in (one, other))
        quarters.append(Estimate(statistics.fmean(one + other), error, len(one) - 1))
    return quarters


def changed_beyond_chance(gains: Sequence[Gain]) -> list[Gain] | None:
    """Those of which the seeds say that they are not zero, where at most one in twenty is expected to be false.

    By t tests of the paired differences and the procedure of Benjamini and Hochberg (1995,
    https://doi.org/10.1111/j.2517-6161.1995.tb02031.x). Differences that are all the same count as none.

    Returns:
        None with fewer than three seeds.
    """
    if not gains or len(gains[0].paired.seeds) < 3:
        return None
    ranked = sorted((_p_of(gain.paired), number) for number, gain in enumerate(gains))
    passing = [rank for rank, (p, _) in enumerate(ranked, start=1) if p <= FALSE_DISCOVERIES * rank / len(ranked)]
    changed = {number for _, number in ranked[: max(passing, default=0)]}
    return [gain for number, gain in enumerate(gains) if number in changed]


def _p_of(pairs: Paired) -> float:
    """Of the two-sided t test that the differences have the mean zero; 1 where they are all the same."""
    known = pairs.estimate
    if known is None or known.standard_error == 0:
        return 1.0
    return 2 * float(special.stdtr(len(pairs.seeds) - 1, -abs(known.mean) / known.standard_error))


def _accuracy_by_name(arm: Arm, names: Sequence[str]) -> dict[int, dict[str, float]]:
    images = dict.fromkeys(names, 0)
    for name, count in zip(names, arm["images_by_class"], strict=True):
        images[name] += count
    accuracy = {}
    for seed, correct_by_class in zip(arm["seeds"], arm["correct_by_class"], strict=True):
        correct = dict.fromkeys(names, 0)
        for name, count in zip(names, correct_by_class, strict=True):
            correct[name] += count
        accuracy[seed] = {name: correct[name] / images[name] for name in correct}
    return accuracy
