"""What the study's rules do where the truth is known, since it is drawn by a program: nothing is trained.

    python -m tests.simulations marks        how often equally good points are called worse than the best
    python -m tests.simulations samplers     what a finer grid, TPE and a Gaussian process find, after the grid
    python -m tests.simulations finalists    what more seeds of the best points of a grid buy

Every table is the same each time: all draws come from one seed. The last two draw around a surface that is fitted to
the trials of a published study.
"""

import argparse
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import optuna
from scipy import special, stats

from reports.build import PUBLISHED
from reports.evidence import CONFIDENCE, difference_error, hits_of, scored, seed_deviation, told_apart
from reports.results import Results, Trial, read_results
from storage.configuration import ALPHAS, TEMPERATURES
from storage.trials import Beyond, run_pair
from study.sampler import GridFirst, suggest

IMAGES, TEST_IMAGES = 5_000, 10_000
ACCURACY = 0.5
DISAGREEMENT = 0.26
"""Share of the images that one of two equally good trainings has right and the other wrong."""
SEED_DEVIATION = 0.004
"""Of a training's true accuracy, from seed to seed."""
IMAGE_NOISE = 0.0011
"""What ``IMAGES`` validation images bring to a point's accuracy beside another's, however many seeds it has: of the
difference of (0.75, 4) and (0.25, 4) over the five seeds of reports/published/ten-epochs-float32, the part of the
variance between images that is not of single seeds, for so many images and one of the two points."""
ARMS, RUNS = 2, 5
"""Of a comparison, from which the spread between seeds is known."""

GRID = {"alpha": list(ALPHAS), "temperature": list(TEMPERATURES)}
FIRST = list(itertools.product(ALPHAS, TEMPERATURES))
FINER = [
    point
    for point in itertools.product((0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0), (1.0, 2.0, 2.8, 4.0, 5.7, 8.0))
    if point not in FIRST
]
"""Cells between and beyond those of the grid."""
BEYOND: dict[str, Beyond | None] = {"a finer grid": None, "TPE": "tpe", "Gaussian process": "gp"}


@dataclass(frozen=True)
class Grid:
    """Points of one search, each trained once and scored on the same images.

    Attributes:
        between_seeds: the spread of the runs of its comparison.
    """

    trials: list[Trial]
    between_seeds: float

    @property
    def best(self) -> Trial:
        """That with the highest accuracy."""
        return max(self.trials, key=lambda trial: trial["value"] or 0.0)


def draw_grid(accuracies: Sequence[float], chance: np.random.Generator) -> Grid:
    """A grid whose points have these true accuracies.

    Whether a training has an image right depends on how hard the image is for all, and on chance; how much on each
    follows from ``DISAGREEMENT``: of two normal values with correlation r, the signs differ in arccos(r) / pi.
    """
    common = math.cos(math.pi * DISAGREEMENT)
    hard = math.sqrt(common) * chance.standard_normal(IMAGES)
    trials = []
    for accuracy in accuracies:
        level = accuracy + SEED_DEVIATION * chance.standard_normal()
        hits = hard + math.sqrt(1 - common) * chance.standard_normal(IMAGES) < special.ndtri(level)
        trials.append(as_trial(hits))
    of_run = math.sqrt(SEED_DEVIATION**2 + DISAGREEMENT / 2 / TEST_IMAGES)
    known = ARMS * (RUNS - 1)
    return Grid(trials, of_run * math.sqrt(chance.chisquare(known) / known))


def as_trial(hits: npt.NDArray[np.bool_]) -> Trial:
    """As much of a trial as the rules ask for."""
    trial: Any = {"value": float(hits.mean()), "hits": np.packbits(hits).tobytes().hex()}
    return trial  # type: ignore[no-any-return]


def without_hits(trial: Trial) -> Trial:
    """The same trial, of which only the accuracy is stored."""
    stored: Any = {"value": trial["value"]}
    return stored  # type: ignore[no-any-return]


def by_pairwise_errors(grid: Grid) -> list[bool]:
    """1.96 standard errors of two accuracies on images of their own."""
    best = without_hits(grid.best)
    return [told_apart(without_hits(trial), best, IMAGES, None, among=2) for trial in grid.trials]


def by_holm_over_cells(grid: Grid) -> list[bool]:
    """McNemar's exact test of each point against the best, with Holm's correction over the points."""
    best = grid.best
    p_values = [1.0 if trial is best else _mcnemar(trial, best) for trial in grid.trials]
    order, worse = np.argsort(p_values), [False] * len(p_values)
    for place, index in enumerate(order):
        if p_values[index] * (len(p_values) - 1 - place) > 1 - CONFIDENCE or grid.trials[index] is best:
            break
        worse[index] = True
    return worse


def by_hsu(grid: Grid) -> list[bool]:
    """Hsu's multiple comparisons with the best, with McNemar's errors and the spread between seeds."""
    constant = _dunnett(len(grid.trials))
    best = grid.best
    return [
        (best["value"] or 0) - (trial["value"] or 0)
        > constant * difference_error(trial, best, IMAGES, grid.between_seeds)
        for trial in grid.trials
    ]


def by_the_rule(hits: bool, spread: Literal["known", "unknown", "none"]) -> Callable[[Grid], list[bool]]:
    """The rule of the report, with what is known; ``none`` as if seeds were known not to spread."""

    def judge(grid: Grid) -> list[bool]:
        seen = (lambda trial: trial) if hits else without_hits
        between_seeds = {"known": grid.between_seeds, "unknown": None, "none": 0.0}[spread]
        best, among = seen(grid.best), len(grid.trials)
        return [told_apart(seen(trial), best, IMAGES, between_seeds, among) for trial in grid.trials]

    return judge


RULES: dict[str, Callable[[Grid], list[bool]]] = {
    "1.96 errors, images drawn anew": by_pairwise_errors,
    "McNemar, Holm over the points": by_holm_over_cells,
    "Hsu's, with hits and spread": by_hsu,
    "the rule before the spread is known": by_the_rule(hits=True, spread="unknown"),
    "hits, as if seeds did not spread": by_the_rule(hits=True, spread="none"),
    "the rule, without hits": by_the_rule(hits=False, spread="known"),
    "the rule, with hits and spread": by_the_rule(hits=True, spread="known"),
}


@dataclass(frozen=True)
class Shown:
    """What a rule does.

    Attributes:
        wrong: share of the grids of equally good points in which at least one is called worse than the best.
        how_many: points called worse in such a grid, on average.
        found: share of the points called worse that are, by how many points of accuracy they are.
    """

    name: str
    wrong: float
    how_many: float
    found: dict[int, float]


def compare_rules(
    grids: int, names: Sequence[str] = tuple(RULES), points: int = 12, gaps: Sequence[int] = ()
) -> list[Shown]:
    """Rules on the same grids.

    Args:
        gaps: by how much all others are worse than the one best, in points of accuracy.
    """
    wrong, how_many = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    found = {name: dict.fromkeys(gaps, 0.0) for name in names}
    chance = np.random.default_rng(0)
    for _ in range(grids):
        grid = draw_grid([ACCURACY] * points, chance)
        for name in names:
            worse = sum(RULES[name](grid))
            wrong[name] += worse > 0
            how_many[name] += worse
        for gap in gaps:
            grid = draw_grid([ACCURACY, *[ACCURACY - gap / 100] * (points - 1)], chance)
            for name in names:
                found[name][gap] += sum(RULES[name](grid)[1:]) / (points - 1)
    return [
        Shown(name, wrong[name] / grids, how_many[name] / grids, {gap: found[name][gap] / grids for gap in gaps})
        for name in names
    ]


def _mcnemar(first: Trial, second: Trial) -> float:
    ours, theirs = hits_of(first, IMAGES), hits_of(second, IMAGES)
    assert ours is not None and theirs is not None, "both were drawn with hits"  # noqa: PT018
    better, worse = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    return float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0


def _dunnett(count: int) -> float:
    """The one-sided 95% constant of Dunnett (1955) for ``count - 1`` points against one, known variance."""
    nodes = np.linspace(-8.0, 8.0, 1601)
    density = stats.norm.pdf(nodes) * (nodes[1] - nodes[0])
    low, high = 0.0, 10.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        within = special.ndtr(nodes + math.sqrt(2) * middle) ** (count - 1)
        low, high = (middle, high) if density @ within < CONFIDENCE else (low, middle)
    return high


def show_marks(grids: int) -> None:
    """Print the table of the rules."""
    gaps = (2, 3, 4)
    print(
        f"{grids} grids of 12 points on {IMAGES:,} shared images, seeds {100 * SEED_DEVIATION:.1f} points apart, "
        f"two trainings differ on {100 * DISAGREEMENT:.0f} % of the images\n"
    )
    print("| rule | equally good: at least one called worse | called worse, mean |", end="")
    print("".join(f" {gap} points worse: called so |" for gap in gaps))
    print("|---|" + "--:|" * (2 + len(gaps)))
    for shown in compare_rules(grids, gaps=gaps):
        found = "".join(f" {100 * share:.0f} % |" for share in shown.found.values())
        print(f"| {shown.name} | {100 * shown.wrong:.1f} % | {shown.how_many:.2f} |{found}")


@dataclass(frozen=True)
class Surface:
    """Accuracy over the plane, and the spread of one training around it.

    Quadratic in alpha and in the logarithm of T, with T without a meaning at alpha = 0.
    """

    coefficients: npt.NDArray[np.float64]
    noise: float
    residual: float

    @classmethod
    def fitted(cls, results: Results) -> "Surface":
        """To the trials of a study by least squares; the noise is that of seeds and of single images they flip."""
        known = scored([trial for trial in results["grid"] + results["tpe"] if trial["repeats"] is None])
        terms = np.array([_terms(trial["alpha"], trial["temperature"]) for _, trial in known])
        values = np.array([value for value, _ in known])
        coefficients, *_ = np.linalg.lstsq(terms, values, rcond=None)
        left = values - terms @ coefficients
        residual = math.sqrt(left @ left / (len(values) - terms.shape[1]))
        spread = seed_deviation(results)
        assert spread is not None, "the study has a comparison"
        flips = DISAGREEMENT / 2 * (1 / results["data"]["validation_images"] - 1 / results["data"]["test_images"])
        return cls(coefficients, math.sqrt(spread**2 + flips), residual)

    def at(self, alpha: float, temperature: float) -> float:
        """The true accuracy, a share."""
        return float(_terms(alpha, temperature) @ self.coefficients)

    def best(self) -> tuple[float, float]:
        """The best point of the whole plane that a search can propose."""
        plane = [(alpha, 2**power) for alpha in np.linspace(0, 1, 101) for power in np.linspace(0, 4, 81)]
        return max(plane, key=lambda point: self.at(*point))


def _terms(alpha: float, temperature: float) -> npt.NDArray[np.float64]:
    power = math.log2(temperature)
    return np.array([1, alpha, alpha**2, alpha * power, alpha * power**2, alpha**2 * power])


def published() -> Results:
    """The study that the surface is fitted to."""
    return read_results(PUBLISHED / "cifar100-ten-epochs" / "results.json")


def found_beyond(surface: Surface, beyond: Beyond | None, counts: Sequence[int], seed: int) -> list[float]:
    """The true accuracy of the point with the highest score, after so many trials beyond the grid.

    Args:
        beyond: who proposes them; None for the cells of a finer grid, in a random order.
    """
    chance, sampler = np.random.default_rng(seed), GridFirst(GRID, seed, beyond or "tpe")
    study = optuna.create_study(direction="maximize", sampler=sampler)
    finer = iter(chance.permutation(FINER))
    seen, found, baseline = dict[tuple[float, float], float](), [], surface.at(0, 1) + surface.noise * chance.normal()
    for number in range(len(FIRST) + max(counts)):
        if number - len(FIRST) in counts:
            found.append(surface.at(*max(seen, key=lambda point: seen[point])))
        if beyond is None and number >= len(FIRST):
            point = tuple(map(float, next(finer)))
            seen[point[0], point[1]] = surface.at(*point) + surface.noise * chance.normal()
            continue
        trial = study.ask()
        point = suggest(trial)
        score = surface.at(*point) + surface.noise * chance.normal()
        if point[0] == 0:
            score = baseline
            if any(alpha == 0 for alpha, _ in seen):
                trial.set_user_attr("repeats", 0)
        seen[point] = score
        study.tell(trial, score)
    return [*found, surface.at(*max(seen, key=lambda point: seen[point]))]


def show_samplers(surface: Surface, repeats: int) -> None:
    """Print the table of the samplers."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    counts = (0, 8, 16, 32)
    alpha, temperature = surface.best()
    best = surface.at(alpha, temperature)
    print(
        f"{repeats} searches each; the surface is best at alpha {alpha:.2f}, T {temperature:.1f} with "
        f"{100 * best:.2f} %; one training lies {100 * surface.noise:.2f} points around it (residuals of the fit: "
        f"{100 * surface.residual:.2f})\n"
    )
    print("| after the grid's 16 | trials | accuracy of the point chosen, % | regret, points |")
    print("|---|--:|--:|--:|")
    for name, beyond in BEYOND.items():
        found = 100 * np.array([found_beyond(surface, beyond, counts, seed) for seed in range(repeats)])
        for index, count in enumerate(counts):
            if count or beyond is None:
                mean, error = found[:, index].mean(), found[:, index].std(ddof=1) / math.sqrt(repeats)
                shown = name if count else "nothing"
                print(f"| {shown} | {count} | {mean:.2f} | {100 * best - mean:.2f} ± {error:.2f} |", flush=True)


def show_finalists(surface: Surface, searches: int) -> None:
    """Print the table of what finalists buy."""
    points = sorted({run_pair(alpha, temperature) for alpha, temperature in FIRST})
    truth = 100 * np.array([surface.at(*point) for point in points])
    print(
        f"{searches} searches of the grid each; one training lies {100 * surface.noise:.2f} points around the surface; "
        f"its best three points are {', '.join(f'{value:.2f}' for value in sorted(truth)[:-4:-1])} %\n"
    )
    print("| finalists | seeds of each | trainings more | truly best chosen | accuracy, % | regret, points |")
    print("|--:|--:|--:|--:|--:|--:|")
    for finalists, seeds in ((0, 1), *itertools.product((2, 3, 4, 6), (2, 3, 5))):
        chance = np.random.default_rng(0)
        of_seeds = 100 * math.sqrt(max(surface.noise**2 - IMAGE_NOISE**2, 0.0))
        seen = truth + 100 * IMAGE_NOISE * chance.standard_normal((searches, len(points)))
        first = seen + of_seeds * chance.standard_normal(seen.shape)
        means = first.copy()
        if finalists:
            more = seen + of_seeds / math.sqrt(seeds - 1) * chance.standard_normal(seen.shape)
            stands = first >= np.sort(first)[:, [-finalists]]
            means = np.where(stands, (first + (seeds - 1) * more) / seeds, -np.inf)
        chosen = means.argmax(axis=1)
        regret = truth.max() - truth[chosen]
        print(
            f"| {finalists} | {seeds} | {finalists * (seeds - 1)} | {100 * (regret == 0).mean():.0f} % | "
            f"{truth[chosen].mean():.2f} | {regret.mean():.3f} ± {regret.std() / math.sqrt(searches):.3f} |"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulations", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="table", required=True)
    marks = commands.add_parser("marks")
    marks.add_argument("--grids", type=int, default=2000, metavar="N")
    samplers = commands.add_parser("samplers")
    samplers.add_argument("--repeats", type=int, default=20, metavar="N")
    finalists = commands.add_parser("finalists")
    finalists.add_argument("--searches", type=int, default=20_000, metavar="N")
    for table in (samplers, finalists):
        table.add_argument("--noise", type=float, metavar="POINTS", help="of one training (default: the study's)")
    options = parser.parse_args(arguments)
    if options.table == "marks":
        show_marks(options.grids)
        return
    surface = Surface.fitted(published())
    if options.noise is not None:
        surface = replace(surface, noise=options.noise / 100)
    if options.table == "samplers":
        show_samplers(surface, options.repeats)
    else:
        show_finalists(surface, options.searches)


if __name__ == "__main__":
    main()
