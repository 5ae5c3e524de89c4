"""Where a trial stands against the best: decided here, once, for table, heatmap, claims, verdict and notes alike."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from reports.evidence import is_measured, not_told_apart
from reports.results import Best, Results, State, Trial

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


def judge(trials: Iterable[Trial], best: Best | Trial | None, images: int) -> list[Cell]:
    """The trials in their order, each held against the best.

    Args:
        best: None where nothing is complete.
        images: on which each accuracy was measured.
    """
    return [Cell(trial, _standing(trial, best, images)) for trial in trials]


def grid_cells(results: Results) -> list[Cell]:
    """The grid, held against its best."""
    return judge(results["grid"], results["best"], results["data"]["validation_images"])


def _standing(trial: Trial, best: Best | Trial | None, images: int) -> Standing:
    if trial["value"] is None or not is_measured(trial):
        return STATE_WORDS[trial["state"]]
    if best is None or best["value"] is None:
        return "measured"
    # At alpha = 0 the temperature means nothing: all of that row is one point.
    if trial["alpha"] == best["alpha"] and (trial["alpha"] == 0 or trial["temperature"] == best["temperature"]):
        return "best"
    return "near best" if not_told_apart(trial["value"], best["value"], images) else "measured"
