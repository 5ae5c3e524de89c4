"""What every section asks of the results."""

from collections.abc import Collection
from typing import Any

from reports import Results, original
from reports.drawing import Figure
from reports.evidence import Paired, is_measured, not_told_apart, paired

UNFINISHED = ("RUNNING", "WAITING", "MISSING")


class Document:
    """The results, what follows from them at once, and the figures that lie beside the report.

    A section is a function of it that gives blocks of markdown, which are set apart by empty lines.

    Attributes:
        departures: from the original's protocol, in words.
        synthetic: whether the images are not CIFAR-100.
        gain: best arm minus baseline, paired by seed; None where they share no seed.
        undistilled: whether the best arm is alpha = 0, so that no distilled one was trained.
    """

    def __init__(self, results: Results, figure_names: Collection[str]) -> None:
        self.results, self.figure_names = results, figure_names
        self.configuration, self.data, self.arms = results["configuration"], results["data"], results["arms"]
        self.teacher, self.student, self.best = results["teacher"], results["student"], results["best"]
        self.departures = original.departures(results)
        self.synthetic = not original.is_original_data(results)
        self.validation_images = self.data["validation_images"]
        self.gain = self.paired_with_baseline("best")
        self.undistilled = "best" in self.arms and self.arms["best"]["alpha"] == 0

    def figure(self, figure: Figure) -> list[str]:
        """A figure with its caption; nothing where it is not there."""
        if figure.name not in self.figure_names:
            return []
        return [f"![figure: {figure.name.replace('_', ' ')}](figures/{figure.name}.png)", f"*{figure.caption}*"]

    def paired_with_baseline(self, name: str) -> Paired | None:
        """An arm minus the baseline; None where they share no seed."""
        arms = self.arms
        if name not in arms or "baseline" not in arms:
            return None
        found = paired(arms[name], arms["baseline"])
        return found if found.seeds else None

    def cell(self, where: tuple[float, float]) -> dict[str, Any] | None:
        """The grid's cell at (alpha, T); None where the grid has no such point."""
        cells = (cell for cell in self.results["grid"] if (cell["alpha"], cell["temperature"]) == where)
        return next(cells, None)

    def is_best(self, cell: dict[str, Any]) -> bool:
        """Whether a cell is the best point; all of the row of alpha 0 is one point."""
        if self.best is None or cell["alpha"] != self.best["alpha"]:
            return False
        return bool(cell["alpha"] == 0 or cell["temperature"] == self.best["temperature"])

    def near_best(self, cell: dict[str, Any]) -> bool:
        """Whether a cell is not the best and cannot be told apart from it."""
        return (
            self.best is not None
            and is_measured(cell)
            and not self.is_best(cell)
            and not_told_apart(cell["value"], self.best["value"], self.validation_images)
        )

    def trained_cells(self) -> list[dict[str, Any]]:
        """The grid without the cells that repeat another."""
        return [cell for cell in self.results["grid"] if cell["repeats"] is None]
