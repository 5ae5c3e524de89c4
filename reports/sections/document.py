"""What every section asks of the results."""

from collections.abc import Collection
from typing import Any

from reports import Results, original
from reports.evidence import Paired, is_measured, not_told_apart, paired
from reports.figures import FEWEST_IMAGES_A_BIN

UNFINISHED = ("RUNNING", "WAITING", "MISSING")

CAPTIONS = {
    "grid": "Validation accuracy in % over alpha and T, one seed a cell. Framed: the best. ≈: cannot be told apart "
    "from the best. Hatched: pruned, failed, or a repeat of the one trial of alpha = 0.",
    "trials": "Validation accuracy by epoch of every trial. A cross ends a pruned trial, a triangle a failed one.",
    "pruning": "Epochs that each trial trained and that pruning saved.",
    "tpe": "Where TPE went, in order along the dotted line, over the plane of the grid.",
    "comparison": "Test accuracy after the last epoch. A line joins the runs of one seed, a bar is the mean.",
    "loss_without_distillation": "Training loss without distillation (figure 2 of the original). The validation loss "
    "is that of the search trial at the same point, which trained on fewer images and with another seed.",
    "loss_with_distillation": "Training loss with distillation (figure 3 of the original). The training loss is the "
    "weighted sum that is trained on, the validation loss plain cross-entropy: their levels do not compare.",
    "groups": "Gain in test accuracy of each group of classes, with 95 % t intervals of the paired differences.",
    "classes": "Gain in test accuracy of each class, sorted.",
    "calibration": "Accuracy against confidence on the test images, all seeds of an arm together; bins of fewer than "
    f"{FEWEST_IMAGES_A_BIN} images are left out.",
    "samples": "Sample images with their classes.",
}


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

    def figure(self, name: str) -> list[str]:
        """A figure with its caption; nothing where it is not there."""
        if name not in self.figure_names:
            return []
        return [f"![figure: {name.replace('_', ' ')}](figures/{name}.png)", f"*{CAPTIONS[name]}*"]

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
