"""The statistics say what scipy and worked examples say, and hold what they promise."""

import copy
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from reports import original
from reports.calibration import calibration_error, calibration_floor, pool_bins
from reports.class_gains import Gain, changed_beyond_chance, gains_by_lead, gains_by_name
from reports.evidence import (
    Estimate,
    Paired,
    arm_at,
    difference_error,
    epochs_of,
    estimate,
    estimate_of,
    gain_image_error,
    hits_of,
    luck_constant,
    paired,
    range_constant,
    replications_confirmed,
    reproduced,
    sample_deviation,
    seed_deviation,
    told_apart,
    variance_shares,
    win_shares,
)
from reports.results import Results
from tests import simulations
from tests.reports.made_up import made_up_results


def arm(seeds: list[int], accuracy: list[float]) -> Any:
    arm = {"alpha": 0.0, "temperature": 1.0, "learning_rate": 0.1, "control": None}
    return {**arm, "seeds": seeds, "test_accuracy": accuracy}


def test_paired_interval_is_that_of_scipy() -> None:
    first, second = [0.561, 0.568, 0.559, 0.566, 0.570], [0.535, 0.541, 0.532, 0.544, 0.536]
    pairs = paired(arm([1, 2, 3, 4, 5], first), arm([1, 2, 3, 4, 5], second))
    assert pairs.estimate is not None
    assert pairs.estimate.interval == pytest.approx(tuple(stats.ttest_rel(first, second).confidence_interval(0.95)))
    assert (pairs.wins, pairs.ties) == (5, 0)
    assert pairs.smallest_sign_flip_p == 0.0625


def test_paired_interval_of_a_worked_example() -> None:
    # Differences 1, 2, 3, 4, 5: mean 3, SD sqrt(2.5), t(0.975, 4) = 2.7764, half width 2.7764 * sqrt(2.5 / 5).
    known = estimate_of([1.0, 2.0, 3.0, 4.0, 5.0])
    assert known is not None
    assert known.half_width == pytest.approx(1.96324, abs=1e-4)


def test_pairs_are_made_of_the_seeds_that_both_arms_finished() -> None:
    pairs = paired(arm([5, 1, 2], [0.6, 0.5, 0.4]), arm([2, 3, 5], [0.3, 0.9, 0.7]))
    assert pairs.seeds == [2, 5]
    assert pairs.differences == pytest.approx([0.1, -0.1])
    assert pairs.wins == 1


def test_one_seed_has_no_interval_and_no_deviation() -> None:
    assert sample_deviation([0.5]) is None
    assert estimate_of([0.5]) is None
    assert estimate_of([]) is None


def test_welch_interval_is_that_of_scipy() -> None:
    first, second = [0.561, 0.568, 0.559, 0.566, 0.570], [0.535, 0.549, 0.52]
    ours, theirs = estimate_of(first), estimate_of(second)
    assert ours is not None
    assert theirs is not None
    expected = stats.ttest_ind(first, second, equal_var=False)
    assert (ours - theirs).interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert (ours - theirs).degrees_of_freedom == pytest.approx(expected.df)


def test_the_original_gain_has_the_degrees_of_freedom_of_welch() -> None:
    # By hand: SE^2 = (0.46^2 + 0.50^2) / 5 = 0.09232; df = 4 (0.2116 + 0.25)^2 / (0.2116^2 + 0.25^2) = 7.9449.
    distilled, baseline = (estimate(s.mean, s.deviation, s.count) for s in (original.DISTILLED, original.BASELINE))
    assert distilled is not None
    assert baseline is not None
    gain = distilled - baseline
    assert gain.mean == pytest.approx(0.0267)
    assert gain.standard_error == pytest.approx(math.sqrt(0.09232) / 100)
    assert gain.degrees_of_freedom == pytest.approx(7.9449, abs=1e-3)


def test_the_t_interval_of_five_covers_95_percent_and_the_percentile_bootstrap_does_not() -> None:
    generator = np.random.default_rng(0)
    samples = generator.normal(0.02, 0.005, size=(4000, 5))
    intervals = [known.interval for sample in samples if (known := estimate_of(sample.tolist()))]
    covered = np.mean([low <= 0.02 <= high for low, high in intervals])
    assert covered == pytest.approx(0.95, abs=0.012)  # 3.5 standard errors of 4,000

    drawn = samples[:1000, generator.integers(0, 5, size=(400, 5))].mean(axis=2)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=1)
    assert np.mean((low <= 0.02) & (high >= 0.02)) < 0.9


@pytest.mark.parametrize(
    ("difference", "standard_error", "verdict"),
    [
        (0.0, 0.002, "yes"),
        (0.003, 0.002, "yes"),
        (0.0, 0.01, "cannot tell"),
        (0.012, 0.004, "cannot tell"),
        (-0.012, 0.004, "cannot tell"),
        (0.03, 0.002, "no"),
        (-0.03, 0.002, "no"),
    ],
)
def test_reproduced_follows_the_rule(difference: float, standard_error: float, verdict: str) -> None:
    theirs = Estimate(0.5, standard_error, 4)
    assert reproduced(Estimate(0.5 + difference, standard_error, 4), theirs) == verdict


def test_one_run_can_neither_reproduce_nor_refute() -> None:
    assert reproduced(None, Estimate(0.5, 0.002, 4)) == "cannot tell"


def test_equal_runs_give_an_interval_of_no_width() -> None:
    known = estimate_of([0.5, 0.5, 0.5])
    assert known is not None
    assert (known - known).interval == (0.0, 0.0)


def cell(value: float, hits: Any = None) -> Any:
    stored = {} if hits is None else {"hits": np.packbits(hits).tobytes().hex()}
    return {"value": value, **stored}


def test_hits_are_read_image_by_image() -> None:
    hits = np.arange(4999) % 3 == 0  # not a whole number of bytes
    assert np.array_equal(hits_of(cell(0.3, hits), 4999), hits)  # type: ignore[arg-type]
    assert hits_of(cell(0.3), 4999) is None


def test_two_named_accuracies_are_held_apart_as_by_mcnemar() -> None:
    chance = np.random.default_rng(0)
    for shift in (0.01, 0.02, 0.03):
        hard = chance.uniform(size=5000)
        first, second = hard + chance.normal(0, 0.1, 5000) < 0.5, hard + chance.normal(0, 0.1, 5000) < 0.5 - shift
        trials = cell(float(first.mean()), first), cell(float(second.mean()), second)
        better, worse = int((first & ~second).sum()), int((second & ~first).sum())
        p = stats.binomtest(better, better + worse).pvalue
        statistic = abs(first.mean() - second.mean()) / difference_error(*trials, 5000, 0.0)
        assert 2 * stats.norm.sf(statistic) == pytest.approx(p, rel=0.15, abs=1e-3)
        assert told_apart(*trials, 5000, 0.0, among=2) == (p <= 0.05)


def test_without_hits_each_trial_has_images_of_its_own_which_is_more_careful() -> None:
    # Two standard errors of 0.0070 and 0.0070: 1.96 times 0.0099 is 0.0195.
    assert not told_apart(cell(0.5416), cell(0.5610), 5000, None, among=2)
    assert told_apart(cell(0.5412), cell(0.5610), 5000, None, among=2)
    assert not told_apart(cell(0.5412), cell(0.5610), 5000, 0.004, among=2), "and the spread of seeds beside them"
    same = np.arange(5000) < 2708
    assert difference_error(cell(0.5416, same), cell(0.5416, same), 5000, 0.0) == 0
    assert difference_error(cell(0.5416, same), cell(0.5416, same), 5000, None) == pytest.approx(0.00997, abs=1e-5), (
        "which makes up for a spread between seeds that is not known"
    )
    assert difference_error(cell(0.5416), cell(0.5416, same), 5000, None) == pytest.approx(0.00997, abs=1e-5)


def test_the_spread_between_seeds_widens_the_error() -> None:
    same = np.arange(5000) < 2500
    assert difference_error(cell(0.5, same), cell(0.5, same), 5000, 0.003) == pytest.approx(0.003 * math.sqrt(2))
    results: Any = made_up_results()
    results["arms"] = {
        "baseline": arm([1, 2, 3], [0.50, 0.51, 0.52]) | {"alpha": 0.0, "temperature": 1.0},
        "best": arm([1, 2, 3], [0.54, 0.56, 0.55]) | {"alpha": 0.5, "temperature": 4.0},
        "tpe": arm([1, 2, 3], [0.54, 0.56, 0.55]) | {"alpha": 0.5, "temperature": 4.0},
        "0.25,4": arm([1], [0.3]) | {"alpha": 0.25, "temperature": 4.0},
    }
    # Variances 0.0001 with 2 degrees of freedom each, each pair counted once.
    assert seed_deviation(results) == pytest.approx(0.01)
    results["arms"]["shuffled"] = {**results["arms"]["best"], "control": "shuffled", "test_accuracy": [0.1, 0.9]}
    results["arms"]["rate"] = {**results["arms"]["baseline"], "control": "rate", "test_accuracy": [0.1, 0.2, 0.9]}
    assert seed_deviation(results) == pytest.approx(0.01), "controls are other trainings"
    del results["arms"]["best"], results["arms"]["tpe"]
    assert seed_deviation(results) is None


@pytest.mark.parametrize("count", [2, 3, 13, 45])
def test_the_constant_of_the_best_of_many_is_that_of_scipy(count: int) -> None:
    assert range_constant(count) == pytest.approx(stats.studentized_range.ppf(0.95, count, np.inf) / math.sqrt(2))


@pytest.mark.parametrize("count", [1, 2, 12])
def test_luck_brings_the_best_of_many_no_further_above_another_in_most_cases(count: int) -> None:
    # Differences to the same value have a correlation of one half.
    differences = stats.multivariate_normal(cov=(np.eye(count) + 1) / 2)
    share = differences.cdf(np.full(count, luck_constant(count)))
    assert share == pytest.approx(0.975, abs=1e-4)
    assert luck_constant(count) <= range_constant(count + 1) + 1e-6


def test_equally_good_cells_are_seldom_called_worse_than_the_best() -> None:
    names = (
        "1.96 errors, images drawn anew",
        "hits, as if seeds did not spread",
        "the rule before the spread is known",
        "the rule, with hits and spread",
    )
    often, blind, before, now = (rule.wrong for rule in simulations.compare_rules(120, names))
    assert often == pytest.approx(0.62, abs=0.15)
    assert blind == pytest.approx(0.27, abs=0.12)
    assert before <= 0.06
    assert now <= 0.05


@pytest.mark.parametrize("runs", [2, 3, 5])
def test_the_smallest_difference_found_in_80_percent_of_repeats_is_found_in_so_many(runs: int) -> None:
    chance = np.random.default_rng(0)
    truth = Estimate(0.0, 0.01 / math.sqrt(runs), runs - 1).detectable
    repeats = chance.normal(truth, 0.01, (20_000, runs))
    errors = repeats.std(axis=1, ddof=1) / math.sqrt(runs)
    above = repeats.mean(axis=1) > stats.t.ppf(0.975, runs - 1) * errors
    assert above.mean() == pytest.approx(0.8, abs=0.01)


def test_differences_that_are_the_same_by_chance_give_no_interval() -> None:
    assert Paired([1, 2], [0.01, 0.01 + 1e-12]).estimate is None
    assert Paired([1, 2], [0.0, 0.0]).estimate is None
    assert Paired([1, 2], [0.0, 0.0], are_shared=True).estimate is not None
    runs: Any = arm([1, 2], [0.3, 0.4])
    assert paired(runs, runs).are_shared
    assert not paired(runs, runs | {"alpha": 0.25}).are_shared
    assert not paired(runs, runs | {"control": "shuffled"}).are_shared
    assert Paired([1, 2], [0.01, 0.0101]).estimate is not None
    assert Paired([1], [0.01]).estimate is None


def grid(values: list[list[float]]) -> Any:
    return [
        {"alpha": float(row), "temperature": float(column), "state": "COMPLETE", "value": value}
        for row, line in enumerate(values)
        for column, value in enumerate(line)
    ]


def test_variance_shares_of_a_worked_example() -> None:
    # Rows 0.1 and 0.2 with columns +0, +0.3: row effect 0.05^2 * 4, column effect 0.15^2 * 4, nothing left.
    shares = variance_shares(grid([[0.1, 0.4], [0.2, 0.5]]), 5000)
    assert shares is not None
    assert (shares.alpha, shares.temperature, shares.rest) == pytest.approx((0.1, 0.9, 0.0))


def test_variance_shares_of_noise_alone_are_what_noise_would_make() -> None:
    generator, images = np.random.default_rng(1), 5000
    found = [
        variance_shares(grid((generator.binomial(images, 0.5, size=(4, 4)) / images).tolist()), images)
        for _ in range(300)
    ]
    noise = [shares.noise for shares in found if shares is not None]
    assert 1 / np.mean([1 / value for value in noise]) == pytest.approx(1, abs=0.1)


def test_variance_shares_need_every_cell() -> None:
    cells = grid([[0.1, 0.4], [0.2, 0.5]])
    cells[2] |= {"state": "PRUNED", "value": None}
    assert variance_shares(cells, 5000) is None
    assert variance_shares(grid([[0.1, 0.4]]), 5000) is None
    assert variance_shares(grid([[0.1, 0.1], [0.1, 0.1]]), 5000) is None


def test_calibration_error_of_a_worked_example() -> None:
    # 60 images at 0.9 of which 48 correct, 40 at 0.5 of which 22: gaps 0.1 and 0.05, weighted 0.06 + 0.02.
    bins = [(40, 20.0, 22), (0, 0.0, 0), (60, 54.0, 48)]
    assert calibration_error(bins) == pytest.approx(0.08)
    assert pool_bins([bins, bins]) == [(80, 40, 44), (0, 0, 0), (120, 108, 96)]
    assert math.isnan(calibration_error([]))


def test_who_is_as_often_right_as_it_says_has_a_calibration_error_by_chance() -> None:
    chance = np.random.default_rng(0)
    sizes, confidences = (30, 400, 70), (0.1, 0.5, 0.95)
    found = []
    for _ in range(4000):
        correct = [chance.binomial(count, confidence) for count, confidence in zip(sizes, confidences, strict=True)]
        bins = [(n, n * c, right) for n, c, right in zip(sizes, confidences, correct, strict=True)]
        found.append(calibration_error(bins))
    assert calibration_floor([*bins, (0, 0.0, 0)]) == pytest.approx(np.mean(found), rel=0.03)
    assert math.isnan(calibration_floor([]))


@pytest.mark.parametrize("stored", [True, False])
def test_what_the_test_images_bring_to_a_gain_is_how_it_varies_over_draws_of_them(stored: bool) -> None:
    chance, images, seeds = np.random.default_rng(0), 2000, (1, 2, 3)
    hard = chance.uniform(size=images)
    runs = {
        name: [hard + chance.normal(0, 0.2, images) < level for _ in seeds] for name, level in (("a", 0.6), ("b", 0.5))
    }
    arms = made_up_results(seeds=seeds)["arms"]
    for arm, hits in zip((arms["best"], arms["baseline"]), runs.values(), strict=True):
        arm["test_accuracy"] = [float(one.mean()) for one in hits]
        arm["hits"] = [np.packbits(one).tobytes().hex() if stored else None for one in hits]
    by_image = np.mean(runs["a"], axis=0) - np.mean(runs["b"], axis=0)
    drawn = [by_image[chance.integers(images, size=images)].mean() for _ in range(2000)]
    error = gain_image_error(arms["best"], arms["baseline"], seeds, images)
    if stored:
        assert error == pytest.approx(np.std(drawn), rel=0.05)
    else:
        assert error > np.std(drawn), "images of its own for each arm are careful"


def test_gains_by_group_weigh_classes_by_images_and_pair_by_seed() -> None:
    results = made_up_results(seeds=(1, 2))
    results["arms"]["baseline"] |= {
        "seeds": [2, 1],
        "images_by_class": [10, 30],
        "correct_by_class": [[5, 15], [4, 12]],
    }
    results["arms"]["best"] |= {"seeds": [1, 2], "images_by_class": [10, 30], "correct_by_class": [[6, 18], [9, 15]]}
    (gain,) = gains_by_name(results, ["one", "one"], "best")
    assert gain.paired.seeds == [1, 2]
    assert gain.paired.differences == pytest.approx([8 / 40, 4 / 40])
    assert (gain.before, gain.after) == pytest.approx((18 / 40, 24 / 40))


def test_an_arm_without_runs_has_no_gains_and_is_found_at_no_point() -> None:
    results = copy.deepcopy(made_up_results())
    results["arms"]["best"] |= {"seeds": [], "test_accuracy": [], "correct_by_class": [], "images_by_class": []}
    assert gains_by_name(results, results["data"]["groups"], "best") == []
    assert arm_at(results, 0.75, 4.0) is None
    assert arm_at(results, 0.0, 8.0) == "baseline"


def test_only_pruning_saves_epochs() -> None:
    full, trial = 10, {"state": "COMPLETE", "epochs": 10, "repeats": None}
    trials: Any = [trial, trial | {"state": "PRUNED", "epochs": 4}]
    assert epochs_of(trials, full) == (14, 20)
    trials += [trial | {"state": "FAIL", "epochs": 3}, trial | {"state": "RUNNING", "epochs": 2}]
    assert epochs_of(trials, full) == (19, 25)
    trials += [trial | {"epochs": 0, "repeats": 0}, trial | {"state": "PRUNED", "epochs": 0, "repeats": 1}]
    assert epochs_of(trials, full) == (19, 25)
    assert epochs_of([], full) == (0, 0)


def test_shares_of_wins_are_those_of_trainings_drawn_anew() -> None:
    values = {"a": [0.470, 0.462, 0.466], "b": [0.468, 0.463], "c": [0.455, 0.452, 0.458]}
    known: Any = [{"values": one} for one in values.values()]
    shares = win_shares(known)
    assert sum(shares) == pytest.approx(1)
    pooled = np.sqrt(sum(np.var(one, ddof=1) * (len(one) - 1) for one in values.values()) / 5)
    chance = np.random.default_rng(0)
    drawn = [np.mean(one) + pooled / np.sqrt(len(one)) * chance.standard_normal(100_000) for one in values.values()]
    assert np.bincount(np.argmax(drawn, axis=0), minlength=3) / 100_000 == pytest.approx(shares, abs=0.006)


def test_finalists_whose_seeds_do_not_differ_share_the_win() -> None:
    known: Any = [{"values": [0.5, 0.5]}, {"values": [0.5, 0.5]}, {"values": [0.4, 0.4]}]
    assert win_shares(known) == [0.5, 0.5, 0.0]


def test_how_often_an_exact_replication_is_confirmed() -> None:
    # A known truth: with ever more runs on both sides the rule says yes, with a spread beyond a point it does not.
    assert replications_confirmed((0.005,), 5, 5) == pytest.approx(0.58, abs=0.03)
    assert replications_confirmed((0.005,), 100, 100) == 1
    assert replications_confirmed((0.05,), 5, 5) < 0.05
    assert replications_confirmed((0.005, 0.0046), 5, 5) < replications_confirmed((0.005, 0.0046), 5, 20)
    chance, confirmed = np.random.default_rng(1), 0
    for _ in range(1000):
        ours, theirs = chance.normal(0, 0.005, 5), chance.normal(0, 0.005, 5)
        # Their standard deviation is what they printed.
        theirs = theirs.mean() + (theirs - theirs.mean()) * 0.005 / theirs.std(ddof=1)
        low, high = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
        confirmed += low >= -0.01 and high <= 0.01
    assert confirmed / 1000 == pytest.approx(replications_confirmed((0.005,), 5, 5), abs=0.05)


def test_of_classes_that_change_by_chance_alone_few_are_counted_and_of_others_most() -> None:
    # A known truth, and scipy's own tests and procedure beside ours.
    chance = np.random.default_rng(3)
    moves = [*chance.normal(0.0, 0.02, (80, 5)), *chance.normal(0.1, 0.02, (20, 5)), np.full(5, 0.01)]
    gains = [Gain(str(n), 0.5, 0.5, Paired([1, 2, 3, 4, 5], list(map(float, each)))) for n, each in enumerate(moves)]
    found = {int(gain.name) for gain in changed_beyond_chance(gains) or []}
    assert len(found & set(range(80))) <= 4
    assert len(found & set(range(80, 100))) >= 18
    assert 100 not in found, "five equal differences are a rounding"
    tests = [*(stats.ttest_1samp(each, 0.0).pvalue for each in moves[:100]), 1.0]
    assert found == set(np.flatnonzero(stats.false_discovery_control(tests) <= 0.05))
    assert changed_beyond_chance([Gain("a", 0.5, 0.5, Paired([1, 2], [0.1, 0.1]))]) is None


def with_classes(
    results: Results, baseline: npt.NDArray[np.int64], best: npt.NDArray[np.int64], teacher: npt.NDArray[np.int64]
) -> Results:
    """The results with how many of 100 images of each class were right, of the arms by seed."""
    for name, correct in (("baseline", baseline), ("best", best)):
        results["arms"][name]["images_by_class"] = [100] * 100
        results["arms"][name]["correct_by_class"] = correct.tolist()
    results["teacher"]["correct_by_class"] = teacher.tolist()
    return results


def test_gains_by_the_lead_of_the_teacher_are_those_of_quarters_of_the_classes() -> None:
    chance, quarter = np.random.default_rng(0), np.arange(100) // 25
    baseline = 50 + chance.integers(-3, 4, (5, 100))
    results = with_classes(made_up_results("full"), baseline, baseline + quarter, 50 + 12 * quarter)
    found = gains_by_lead(results, "best")
    assert found is not None
    assert [quarter.mean for quarter in found] == pytest.approx([0.0, 0.01, 0.02, 0.03])
    assert [quarter.standard_error for quarter in found] == pytest.approx([0.0] * 4), "all of a quarter gain alike"
    results["teacher"]["correct_by_class"] = []
    assert gains_by_lead(results, "best") is None


def test_luck_of_the_baseline_is_no_lead_that_brings_a_gain() -> None:
    chance = np.random.default_rng(1)
    baseline, best = (50 + chance.integers(-15, 16, (4, 100)) for _ in range(2))
    found = gains_by_lead(
        with_classes(made_up_results("full", seeds=(1, 2, 3, 4)), baseline, best, np.full(100, 60)), "best"
    )
    assert found is not None
    assert abs(found[3].mean - found[0].mean) < 0.03
    # A class of 100 images, two seeds of it in each arm, 25 classes a quarter: sqrt(2 * 80 / 2) / 100 / sqrt(25).
    assert [quarter.standard_error for quarter in found] == pytest.approx([0.018] * 4, rel=0.3)
    order = np.argsort(baseline.mean(axis=0))
    naive = (best - baseline).mean(axis=0)[order]
    assert naive[:25].mean() - naive[-25:].mean() > 7, "or it shows nothing: where both are of the same seeds"


def test_runs_that_are_all_alike_do_not_show_that_seeds_do_not_spread() -> None:
    results: Any = made_up_results()
    for one in results["arms"].values():
        one["test_accuracy"] = [0.5] * 5
    assert seed_deviation(results) is None
