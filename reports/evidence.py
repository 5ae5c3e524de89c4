"""What a few repeats and one grid can show. Accuracies are shares 0 to 1 throughout."""

import functools
import math
import operator
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from scipy import special

from reports.results import Arm, Finalist, Results, Trial, all_trials
from storage.trials import run_pair

CONFIDENCE = 0.95
TOLERANCE = 0.01
REPLICATIONS = 4000
SAME = 1e-9
"""Accuracies, shares 0 to 1, that differ by less differ by rounding alone."""
LEAST_FREE = 4
"""Degrees of freedom from which on the spread between seeds is known well enough to judge by."""
Verdict = Literal["yes", "no", "cannot tell"]
Measure = Literal["test_accuracy", "test_loss", "calibration_error"]
"""What each run has on test, by its key in the results."""


@dataclass(frozen=True)
class Estimate:
    """A mean that is known up to a standard error.

    Attributes:
        degrees_of_freedom: of the t distribution that the interval uses.
    """

    mean: float
    standard_error: float
    degrees_of_freedom: float

    @property
    def half_width(self) -> float:
        """Half of the 95% t interval."""
        return float(special.stdtrit(self.degrees_of_freedom, (1 + CONFIDENCE) / 2)) * self.standard_error

    @property
    def detectable(self) -> float:
        """The true difference from zero that the interval would lie above in 80 % of repeats.

        By the noncentral t distribution, the power of the t test (Johnson and Welch 1940).
        """
        free = self.degrees_of_freedom
        return float(special.nctdtrinc(free, 0.2, special.stdtrit(free, (1 + CONFIDENCE) / 2))) * self.standard_error

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% t interval."""
        return self.mean - self.half_width, self.mean + self.half_width

    def __sub__(self, other: "Estimate") -> "Estimate":
        """The difference of two independent means, with the degrees of freedom of Welch (1947) and Satterthwaite."""
        variances = self.standard_error**2, other.standard_error**2
        total = sum(variances)
        weights = variances[0] ** 2 / self.degrees_of_freedom + variances[1] ** 2 / other.degrees_of_freedom
        return Estimate(
            mean=self.mean - other.mean,
            standard_error=math.sqrt(total),
            degrees_of_freedom=total**2 / weights if weights else math.inf,
        )


def sample_deviation(values: Sequence[float]) -> float | None:
    """The standard deviation with n - 1 below the line; None for fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def estimate(mean: float, deviation: float | None, count: int) -> Estimate | None:
    """The mean of ``count`` values with a sample standard deviation; None where there are fewer than two."""
    if count < 2 or deviation is None:
        return None
    return Estimate(mean, deviation / math.sqrt(count), count - 1)


def estimate_of(values: Sequence[float]) -> Estimate | None:
    """As ``estimate``, from the values themselves."""
    return estimate(statistics.fmean(values), sample_deviation(values), len(values)) if values else None


def reproduced(ours: Estimate | None, theirs: Estimate) -> Verdict:
    """Whether ours is theirs within one point.

    ``yes`` where the 95% Welch interval of the difference lies within one point of zero, ``no`` where it lies wholly
    outside, ``cannot tell`` otherwise and where one repeat leaves no interval.
    """
    if ours is None:
        return "cannot tell"
    low, high = (ours - theirs).interval
    if low >= -TOLERANCE and high <= TOLERANCE:
        return "yes"
    return "no" if low > TOLERANCE or high < -TOLERANCE else "cannot tell"


@functools.cache
def replications_confirmed(deviations: tuple[float, ...], count: int, runs: int) -> float:
    """How often ``reproduced`` says *yes* where ours is an exact replication of theirs.

    Args:
        deviations: standard deviation of an arm; of two arms where it is their difference, ours paired by seed.
        count: their runs of each arm.
        runs: ours.
    """
    chance = np.random.default_rng(0)

    def drawn(deviation: float, number: int) -> list[Estimate | None]:
        values = deviation * chance.standard_normal((REPLICATIONS, number))
        return [estimate(values.mean(), values.std(ddof=1), number) for values in values]

    def drawn_means(deviation: float) -> list[Estimate | None]:
        means = deviation / math.sqrt(count) * chance.standard_normal(REPLICATIONS)
        return [estimate(value, deviation, count) for value in means]

    ours = drawn(math.hypot(*deviations), runs)
    # What they printed as their standard deviations stays.
    theirs = zip(*map(drawn_means, deviations), strict=True)
    # Both are normal around the same truth, zero.
    differences = (functools.reduce(operator.sub, arms) for arms in theirs)
    return sum(reproduced(one, other) == "yes" for one, other in zip(ours, differences, strict=True)) / REPLICATIONS


def deviation_limits(runs: int) -> tuple[float, float]:
    """Between which multiples of a sample's standard deviation the true one lies in 95 % of samples of normal values.

    By the chi-squared distribution of (n - 1) s^2 / sigma^2.
    """
    free = runs - 1
    low, high = (math.sqrt(free / special.chdtri(free, tail)) for tail in (0.025, 0.975))
    return low, high


@dataclass(frozen=True)
class Paired:
    """The same seeds trained in two ways.

    Attributes:
        seeds: those that both arms finished.
        differences: first minus second, one a seed.
        are_shared: whether both are the same runs, so that there is no difference.
    """

    seeds: list[int]
    differences: list[float]
    are_shared: bool = False

    @property
    def mean(self) -> float:
        """Mean difference; not to be asked for where no seed is shared."""
        return statistics.fmean(self.differences)

    @property
    def estimate(self) -> Estimate | None:
        """Mean difference with its t interval; None where ``why_no_interval`` says why."""
        return None if self.why_no_interval else estimate_of(self.differences)

    @property
    def why_no_interval(self) -> str:
        """In words why there is none, nothing where there is one.

        Differences that are the same by chance, as on few test images, do not show that seeds do not spread.
        """
        if len(self.seeds) < 2:
            return "one seed gives no interval"
        has_spread = max(self.differences) - min(self.differences) >= SAME
        if not has_spread and not (self.are_shared and not any(self.differences)):
            return f"the same difference in all of {len(self.seeds)} seeds gives no interval"
        return ""

    @property
    def wins(self) -> int:
        """Seeds on which the first is better."""
        return sum(difference > 0 for difference in self.differences)

    @property
    def ties(self) -> int:
        """Seeds on which both are the same."""
        return sum(difference == 0 for difference in self.differences)

    @property
    def smallest_sign_flip_p(self) -> float:
        """The smallest two-sided p that flipping the signs of so many differences can give: 2 of 2**n."""
        return 2.0 ** (1 - len(self.seeds))


def by_seed(arm: Arm, of: Measure = "test_accuracy") -> dict[int, float]:
    """What each run of an arm has on test, by its seed."""
    return dict(zip(arm["seeds"], arm[of], strict=True))


def paired(first: Arm, second: Arm, of: Measure = "test_accuracy") -> Paired:
    """What one arm has on test minus what another has, over the seeds that both have."""
    ours, theirs = (by_seed(arm, of) for arm in (first, second))
    seeds = sorted(ours.keys() & theirs.keys())
    same = all(first[key] == second[key] for key in ("learning_rate", "control")) and (
        run_pair(first["alpha"], first["temperature"]) == run_pair(second["alpha"], second["temperature"])
    )
    return Paired(seeds, [ours[seed] - theirs[seed] for seed in seeds], are_shared=same)


def arm_at(results: Results, alpha: float, temperature: float) -> str | None:
    """The name of the arm that was trained at a point, with results; at alpha 0 any temperature is the same point."""
    for name, arm in results["arms"].items():
        same = run_pair(arm["alpha"], arm["temperature"]) == run_pair(alpha, temperature)
        if same and arm["control"] is None and arm["test_accuracy"]:
            return name
    return None


def trial_of(results: Results, arm: Arm) -> Trial | None:
    """The trial of the search that trained at an arm's pair; at alpha 0 any temperature is the same point."""

    pair, cells = run_pair(arm["alpha"], arm["temperature"]), all_trials(results)
    return next(
        (cell for cell in cells if cell["curve"] and run_pair(cell["alpha"], cell["temperature"]) == pair), None
    )


def accuracy_standard_error(accuracy: float, images: int) -> float:
    """Of an accuracy on so many images, were they drawn anew: sqrt(p (1 - p) / n), the binomial's."""
    return math.sqrt(accuracy * (1 - accuracy) / images)


def is_measured(trial: Trial) -> bool:
    """Whether a trial has a value that counts: it is COMPLETE. A pruned value is no result."""
    return trial["state"] == "COMPLETE" and trial["value"] is not None


def scored(trials: Iterable[Trial]) -> list[tuple[float, Trial]]:
    """The trials that have a value that counts, each with it."""
    return [(trial["value"], trial) for trial in trials if is_measured(trial) and trial["value"] is not None]


def begun(trials: Iterable[Trial]) -> list[Trial]:
    """The trials that were begun, in the order of their numbers."""
    return sorted((trial for trial in trials if trial["number"] is not None), key=lambda trial: trial["number"] or 0)


def epochs_of(trials: Iterable[Trial], full: int) -> tuple[int, int]:
    """Epochs that trials trained, and those that they would have trained without a pruner.

    What failed or runs was not stopped by a pruner: it counts as far as it came.

    Args:
        full: epochs of a whole training.
    """
    trained = [trial for trial in trials if trial["epochs"]]
    ended = [trial["state"] in ("COMPLETE", "PRUNED") for trial in trained]
    epochs = [trial["epochs"] for trial in trained]
    return sum(epochs), sum(full if whole else own for whole, own in zip(ended, epochs, strict=True))


def hits_of(trial: Trial, images: int) -> npt.NDArray[np.bool_] | None:
    """Which of the validation images a trial classified correctly, in their order; None where that is not stored."""
    stored: str | None = cast(Mapping[str, Any], trial).get("hits")
    return None if stored is None else _bits(stored, images)


def _bits(stored: str, images: int) -> npt.NDArray[np.bool_]:
    return np.unpackbits(np.frombuffer(bytes.fromhex(stored), np.uint8), count=images).astype(bool)


def gain_image_error(first: Arm, second: Arm, seeds: Sequence[int], images: int) -> float:
    """The standard error that the test images alone bring to a mean difference of two arms, were they drawn anew.

    From the mean difference of each image where it is stored which of them each run had right; else as if each arm had
    images of its own, which is larger.

    Args:
        seeds: that both arms have.
    """
    hits = [[arm["hits"][arm["seeds"].index(seed)] for seed in seeds] for arm in (first, second)]
    stored = [[_bits(one, images) for one in arm if one is not None] for arm in hits]
    if all(len(arm) == len(seeds) for arm in stored):
        by_image = np.mean(stored[0], axis=0) - np.mean(stored[1], axis=0)
        return float(by_image.std(ddof=1)) / math.sqrt(images)
    means = [statistics.fmean(arm["test_accuracy"]) for arm in (first, second)]
    return math.hypot(*(accuracy_standard_error(mean, images) for mean in means))


def holds_beyond_the_images(known: Estimate, image_error: float) -> bool:
    """Whether a mean difference is told from zero also where the test images are drawn anew.

    Args:
        image_error: as ``gain_image_error`` has it; the spread of seeds is on the same images, so the two add up.
    """
    return abs(known.mean) > math.hypot(known.half_width, range_constant(2) * image_error)


def seed_deviation(results: Results) -> float | None:
    """The standard deviation between training seeds, pooled over the arms; None while the runs are too few to say.

    So they are where all of an arm are alike, as on few test images: that does not show that seeds do not spread.
    """
    # Two arms of one pair share their runs, but for controls, which are other trainings.
    plain = [arm for arm in results["arms"].values() if arm["control"] is None]
    runs = {(arm["alpha"], arm["temperature"]): arm["test_accuracy"] for arm in plain}
    several = [accuracy for accuracy in runs.values() if len(accuracy) > 1]
    free = sum(len(accuracy) - 1 for accuracy in several)
    if free < LEAST_FREE:
        return None
    squares = math.fsum(statistics.variance(accuracy) * (len(accuracy) - 1) for accuracy in several)
    return math.sqrt(squares / free) or None


def difference_error(first: Trial, second: Trial, images: int, between_seeds: float | None) -> float:
    """The standard error of the difference of two accuracies on the same images.

    Where hits are stored and the spread between seeds is known: of the images McNemar's, from those that one trial has
    right and the other wrong, and of the seeds what is known. Seeds that differ flip single images too, so part of that
    is counted twice, which makes up for how few runs it is known from. Else as if each trial had images of its own,
    which is larger and makes up for some of what is not known of seeds. ``python -m tests.simulations marks`` shows
    what that does.

    Args:
        between_seeds: standard deviation of one accuracy; None where it is not known.
    """
    hits = hits_of(first, images), hits_of(second, images)
    if hits[0] is not None and hits[1] is not None and between_seeds is not None:
        return math.hypot(math.sqrt(np.count_nonzero(hits[0] != hits[1])) / images, math.sqrt(2) * between_seeds)
    values = [trial["value"] for trial in (first, second)]
    return difference_of_values([value for value in values if value is not None], images, between_seeds)


def difference_of_values(accuracies: Sequence[float], images: int, between_seeds: float | None) -> float:
    """The standard error of the difference of two accuracies as if each had images of its own."""
    errors = [accuracy_standard_error(accuracy, images) for accuracy in accuracies]
    return math.hypot(*errors, math.sqrt(2) * (between_seeds or 0.0))


@functools.cache
def range_constant(count: int) -> float:
    """How many standard errors of a difference the best of so many equals may lie above the worst, in 95 % of cases.

    Tukey's: the 95% quantile of the range of ``count`` normal values, by the square root of two; 1.96 for two. Whoever
    is compared with the best is compared with the one that luck has chosen, so the range counts; the constants of
    Dunnett and Hsu promise less: that the truly best is not called worse.
    """
    nodes, density = _normal()

    def within(width: float) -> float:
        return float(count * density @ (special.ndtr(nodes) - special.ndtr(nodes - width)) ** (count - 1))

    return _quantile(within, CONFIDENCE) / math.sqrt(2)


@functools.cache
def luck_constant(count: int) -> float:
    """How many standard errors of a difference the best of so many equals may lie above one more, named beforehand.

    In 97.5 % of cases, as 1.96 for a single one: Dunnett's one-sided constant (1955, many against one) with known
    errors. The quantile of the largest of ``count`` normal values less another, by the square root of two.
    """
    nodes, density = _normal()

    def below(errors: float) -> float:
        return float(density @ special.ndtr(nodes + math.sqrt(2) * errors) ** count)

    return _quantile(below, (1 + CONFIDENCE) / 2)


def _quantile(distribution: Callable[[float], float], share: float) -> float:
    """Where a distribution function, of few standard deviations above zero, comes to a share."""
    low, high = 0.0, 10.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if distribution(middle) < share else (low, middle)
    return high


def win_shares(finalists: Sequence[Finalist]) -> list[float]:
    """How often each finalist would have the highest mean, were all trained anew with as many other seeds.

    Each mean is taken as normal around the one that was found, with the spread between seeds pooled over all finalists.
    """
    degrees = sum(len(finalist["values"]) - 1 for finalist in finalists)
    squares = math.fsum(statistics.variance(one["values"]) * (len(one["values"]) - 1) for one in finalists)
    errors = np.sqrt(squares / degrees / np.array([len(one["values"]) for one in finalists]))
    means = np.array([statistics.fmean(one["values"]) for one in finalists])
    if not errors.any():
        return [float(mean == means.max()) / np.count_nonzero(means == means.max()) for mean in means]
    nodes, density = _normal()
    # Of each finalist at each of its possible means, the chance that every other is below.
    at = means[:, None] + errors[:, None] * nodes
    below = special.ndtr((at[:, None, :] - means[None, :, None]) / errors[None, :, None])
    for one in range(len(finalists)):
        below[one, one] = 1.0
    return [float(share) for share in below.prod(axis=1) @ density]


def _normal() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points from -8 to 8, and what each weighs in a sum over the standard normal distribution."""
    nodes = np.linspace(-8.0, 8.0, 1601)
    return nodes, np.exp(-(nodes**2) / 2) / math.sqrt(2 * math.pi) * (nodes[1] - nodes[0])


def told_apart(first: Trial, second: Trial, images: int, between_seeds: float | None, among: int) -> bool:
    """Whether two accuracies lie so far apart that one can be called worse.

    Args:
        among: how many points the better one is the best of; 2 where both were named before they were looked at.
    """
    values = [trial["value"] for trial in (first, second) if trial["value"] is not None]
    error = difference_error(first, second, images, between_seeds)
    return max(values) - min(values) > range_constant(max(2, among)) * error


@dataclass(frozen=True)
class VarianceShares:
    """Main effects of a two-way table without repeats, as shares of its total sum of squares.

    Attributes:
        rest: what the two together do not add up to, and noise; one trial a cell cannot part them.
        noise: the share that the validation images alone would make if all cells were equally good, at most: as if
            they were drawn anew for each cell, and alpha = 0 trained anew for each T. May exceed 1.
    """

    alpha: float
    temperature: float
    rest: float
    noise: float


def variance_shares(cells: Sequence[Trial], images: int) -> VarianceShares | None:
    """How much of the variance of a full grid alpha and T explain.

    Sums of squares of the two-way layout (Fisher, 1925): of the row means and of the column means around the grand
    mean, over that of all cells.

    Args:
        cells: a grid, one entry a cell.
        images: on which each accuracy was measured.

    Returns:
        None where a cell has no value (main effects of the others would be biased: bad cells are the ones that are
        pruned), where there are fewer than two rows or columns, or where all values are the same.
    """
    alphas = sorted({cell["alpha"] for cell in cells})
    temperatures = sorted({cell["temperature"] for cell in cells})
    if min(len(alphas), len(temperatures)) < 2 or not all(map(is_measured, cells)):
        return None
    values = {(cell["alpha"], cell["temperature"]): value for value, cell in scored(cells)}
    if len(values) < len(alphas) * len(temperatures):
        return None
    grand = statistics.fmean(values.values())
    total = math.fsum((value - grand) ** 2 for value in values.values())
    if total == 0:
        return None
    rows = [statistics.fmean(values[alpha, temperature] for temperature in temperatures) for alpha in alphas]
    columns = [statistics.fmean(values[alpha, temperature] for alpha in alphas) for temperature in temperatures]
    alpha_share = len(temperatures) * math.fsum((mean - grand) ** 2 for mean in rows) / total
    temperature_share = len(alphas) * math.fsum((mean - grand) ** 2 for mean in columns) / total
    noise = (len(values) - 1) * accuracy_standard_error(grand, images) ** 2 / total
    return VarianceShares(alpha_share, temperature_share, 1 - alpha_share - temperature_share, noise)
