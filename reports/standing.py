"""Where a trial stands against the best: decided here, once, for table, heatmap, claims, verdict and notes alike."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from reports.evidence import is_measured, seed_deviation, told_apart
from reports.results import Results, State, Trial, without_repeats
from storage.trials import run_pair

Standing = Literal["best", "near best", "measured", "pruned", "failed", "running", "waiting", "not yet"]
"""``near best`` cannot be told apart from the best, ``measured`` can, or there is no best."""

STATE_WORDS: dict[State, Standing] = {
    "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting", "MISSING": "not yet",
}  # fmt: skip
UNFINISHED = ("running", "waiting", "not yet")


@dataclass(frozen=True)
class Cell:
    """A trial, or a point of the grid without one, and where it stands.

    A cell that repeats another stands where that one does.
    """

    trial: Trial
    standing: Standing

    @property
    def point(self) -> tuple[float, float]:
        """alpha and T."""
        return self.trial["alpha"], self.trial["temperature"]

    @property
    def value(self) -> float | None:
        """Validation accuracy, a share 0 to 1; None where it is no result, as after pruning."""
        return self.trial["value"] if is_measured(self.trial) else None

    @property
    def repeats(self) -> int | None:
        """The number of the trial that it repeats."""
        return self.trial["repeats"]

    @property
    def is_winner(self) -> bool:
        """Whether it is the best itself and not a repeat of it."""
        return self.standing == "best" and self.repeats is None


def judge(trials: Sequence[Trial], best: int | None, results: Results) -> list[Cell]:
    """The trials in their order, each held against the best of them.

    Args:
        best: its number; None where nothing is complete.
        results: that the trials are of.
    """
    winner = next((trial for trial in trials if best is not None and trial["number"] == best), None)
    among = count_compared(trials)
    return [Cell(trial, _standing(trial, winner, results, among)) for trial in trials]


def grid_cells(results: Results) -> list[Cell]:
    """The grid, held against its best."""
    return judge(results["grid"], results["best"] and results["best"]["number"], results)


def count_compared(trials: Iterable[Trial]) -> int:
    """How many trainings have a value, so that the best is the best of so many."""
    return sum(map(is_measured, without_repeats(trials)))


def count_competed(trials: Iterable[Trial]) -> int:
    """How many trainings might have been the best: those with a value, and those that were pruned for being worse."""
    return sum(is_measured(trial) or trial["state"] == "PRUNED" for trial in without_repeats(trials))


def are_apart(first: Trial, second: Trial, results: Results, among: int) -> bool:
    """Whether one of two trials can be called better than the other.

    Args:
        among: how many the better one is the best of; 2 where both were named before they were looked at.
    """
    images = results["data"]["validation_images"]
    return told_apart(first, second, images, seed_deviation(results), among)


def _standing(trial: Trial, best: Trial | None, results: Results, among: int) -> Standing:
    if trial["value"] is None or not is_measured(trial):
        return STATE_WORDS[trial["state"]]
    if best is None or best["value"] is None:
        return "measured"
    if run_pair(trial["alpha"], trial["temperature"]) == run_pair(best["alpha"], best["temperature"]):
        return "best"
    return "measured" if trial["value"] < best["value"] and are_apart(trial, best, results, among) else "near best"
