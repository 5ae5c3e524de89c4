"""The controls: arms at the best pair from which what the teacher knows is taken away, or whose step is tuned.

A control is a point of the comparison as any other: the parameters of a run without its seed.
"""

import math
from collections.abc import Mapping

import optuna
from optuna.trial import FrozenTrial

from storage.arms import BASELINE, Arms, name_of_pair
from storage.configuration import Configuration, Point
from storage.trials import TrialView, run_pair, views

KNOWLEDGE = ("shuffled", "smoothing")
"""Parameters of a run that say, as 1, by what the teacher's logits are replaced."""

OF_RATES = {"rate": "baseline", "best-rate": "best"}
"""Controls whose learning rate is tuned, and the arm whose pair they have."""

CONTROLS = (*KNOWLEDGE, *OF_RATES)
"""Arms that stand beside the best pair and the baseline, from which something is taken away."""

RATE_FACTORS = (1.0, 0.5, 2.0, 4.0)


def rate_pairs(arms: Arms) -> Arms:
    """The pairs whose learning rate is tuned, by the name of the control."""
    best = arms.get("best", BASELINE)
    return {"rate": arms["baseline"]} | ({"best-rate": best} if best[0] != 0 else {})


def rate_points(arms: Arms, search: optuna.Study, configuration: Configuration) -> list[Point]:
    """What has to be trained to choose the learning rates: what the search has not tried already."""
    points = []
    for alpha, temperature in rate_pairs(arms).values():
        known = _of_search((alpha, temperature), search, configuration)
        points += [
            {"alpha": alpha, "temperature": temperature, "learning_rate": rate, "seed": configuration.seed}
            for rate in rates_of(configuration)
            if rate not in known
        ]
    return points


def unanswered_rates(
    arms: Arms, search: optuna.Study, rates: optuna.Study | None, configuration: Configuration
) -> list[Point]:
    """What has to be tried and has no answer yet: that the loss diverges is one, another failure is none."""
    tried = [] if rates is None else views(rates)
    answered = [trial.point for trial in tried if trial.has_ended or trial.has_diverged]
    return [point for point in rate_points(arms, search, configuration) if point not in answered]


def is_no_answer(failed: FrozenTrial) -> bool:
    """Whether a learning rate that failed is tried again: that the loss diverges there is an answer."""
    return not TrialView(failed).has_diverged


def tried_rates(
    pair: tuple[float, float], search: optuna.Study, rates: optuna.Study, configuration: Configuration
) -> dict[float, float]:
    """Validation accuracy of a pair by learning rate, as a share 0 to 1; without those that failed or still run."""
    found = _of_search(pair, search, configuration)
    for trial in views(rates):
        if trial.value is not None and trial.pair == pair:
            found[trial.point["learning_rate"]] = trial.value
    return found


def best_rate(tried: Mapping[float, float], protocol: float) -> float | None:
    """The learning rate with the highest accuracy; of equals the one nearest to the protocol's; None without one."""
    return max(tried, key=lambda rate: (tried[rate], -abs(math.log(rate / protocol))), default=None)


def control_arms(
    arms: Arms, search: optuna.Study, rates: optuna.Study | None, configuration: Configuration
) -> dict[str, Point]:
    """The controls by name, each as its runs' parameters without the seed.

    A pair whose own best learning rate is the protocol's has the runs of its arm. It is left out as long as that is not
    known.
    """
    found: dict[str, Point] = {}
    if "best-rate" in rate_pairs(arms):
        found = {control: {**point_of_pair(arms["best"]), control: 1} for control in KNOWLEDGE}
    if rates is None or not rates_are_known(arms, search, rates, configuration):
        return found
    protocol = configuration.recipe.learning_rate
    for name, pair in rate_pairs(arms).items():
        rate = best_rate(tried_rates(pair, search, rates, configuration), protocol)
        if rate is not None:
            found[name] = point_of_pair(pair) | ({} if rate == protocol else {"learning_rate": rate})
    return found


def rates_are_known(arms: Arms, search: optuna.Study, rates: optuna.Study, configuration: Configuration) -> bool:
    """Whether every learning rate that the controls have to try has ended or failed."""
    ended = [trial.point for trial in views(rates) if trial.state.is_finished()]
    return all(point in ended for point in rate_points(arms, search, configuration))


def point_of_pair(pair: tuple[float, float]) -> Point:
    """The parameters of a plain arm's runs, without the seed."""
    alpha, temperature = run_pair(*pair)
    return {"alpha": alpha, "temperature": temperature}


def control_of(point: Point) -> str | None:
    """By what a run differs from a plain one: ``shuffled``, ``smoothing`` or ``rate``; None where it does not."""
    if "learning_rate" in point:
        return "rate"
    return next((control for control in KNOWLEDGE if control in point), None)


def name_of_point(point: Point) -> str:
    """What an arm that no study names is called."""
    return " ".join(filter(None, [name_of_pair((point["alpha"], point["temperature"])), words_of(point)]))


def words_of(point: Point) -> str:
    """By what a run differs from a plain one of its pair and seed: ``shuffled``, ``rate0.2``; empty where it is one."""
    control = control_of(point) or ""
    return f"{control}{point['learning_rate']!r}" if control == "rate" else control


def rates_of(configuration: Configuration) -> list[float]:
    """The learning rates that are tried, that of the protocol first."""
    return [factor * configuration.recipe.learning_rate for factor in RATE_FACTORS]


def _of_search(pair: tuple[float, float], search: optuna.Study, configuration: Configuration) -> dict[float, float]:
    """What the search's own trial of a pair says of the protocol's learning rate, with the search seed."""
    values = [
        trial.value
        for trial in views(search)
        if trial.value is not None and set(trial.point) == {"alpha", "temperature"} and trial.pair == pair
    ]
    return {configuration.recipe.learning_rate: values[0]} if values else {}
