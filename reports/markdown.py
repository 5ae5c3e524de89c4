"""The report as markdown: what the results say, in the order in which a reviewer asks."""

import re
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from reports import Results, seed
from reports.figures import FEWEST_IMAGES_A_BIN, STATE_WORDS, arm_label
from reports.statistics import (
    TOLERANCE,
    Estimate,
    accuracy_standard_error,
    arm_at,
    calibration_error,
    estimate,
    estimate_of,
    gains,
    is_measured,
    not_told_apart,
    paired,
    reproduced,
    sample_deviation,
    variance_shares,
)

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


def render(results: Results, figure_names: Collection[str] = ()) -> str:
    """The whole report.

    Args:
        figure_names: the figures that lie beside it as ``figures/NAME.png``; the text is whole without them.
    """
    document = _Document(results, figure_names)
    return "\n\n".join(document.blocks()) + "\n"


def percent(share: float | None) -> str:
    """A share as a percentage, ``-`` where there is none."""
    return "-" if share is None else f"{100 * share:.2f} %"


def points(difference: float) -> str:
    """A difference of two shares in percentage points."""
    return f"{100 * difference:+.2f} points"


def interval(known: Estimate) -> str:
    """A 95% interval in percentage points."""
    low, high = known.interval
    return f"{100 * low:+.2f} to {100 * high:+.2f}"


def mean_and_deviation(values: Sequence[float]) -> str:
    """Mean and sample standard deviation of shares, in %."""
    if not values:
        return "-"
    deviation = sample_deviation(values)
    spread = "(one run)" if deviation is None else f"± {100 * deviation:.2f} %"
    return f"{percent(statistics.fmean(values))} {spread}"


def point(alpha: float, temperature: float) -> str:
    """A point of the plane, in words."""
    return f"alpha = {alpha:.3g}" if alpha == 0 else f"alpha = {alpha:.3g}, T = {temperature:.3g}"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A markdown table, its columns aligned for a terminal."""
    cells = [[re.sub(r"\s+", " ", str(cell)).replace("|", "\\|") for cell in row] for row in rows]
    return pd.DataFrame(cells, columns=list(header)).to_markdown(index=False, tablefmt="github", disable_numparse=True)


def count(number: int, one: str, many: str | None = None) -> str:
    """``1 trial``, ``2 trials``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


class _Document:
    """The report's parts; each method gives blocks, which are set apart by empty lines."""

    def __init__(self, results: Results, figure_names: Collection[str]) -> None:
        self.results, self.figure_names = results, figure_names
        self.configuration, self.data, self.arms = results["configuration"], results["data"], results["arms"]
        self.teacher, self.student, self.best = results["teacher"], results["student"], results["best"]
        self.departures = seed.departures(results)
        self.synthetic = not seed.is_seed_data(results)
        self.validation_images = self.data["validation_images"]
        self.gain = self._paired_with_baseline("best")
        self.undistilled = "best" in self.arms and self.arms["best"]["alpha"] == 0

    def blocks(self) -> list[str]:
        return [
            *self.opening(),
            *self.verdict(),
            *self.claims(),
            *self.search(),
            *self.comparison(),
            *self.the_data(),
            *self.trust(),
        ]

    # Shared by the parts.

    def _figure(self, name: str) -> list[str]:
        if name not in self.figure_names:
            return []
        return [f"![figure: {name.replace('_', ' ')}](figures/{name}.png)", f"*{CAPTIONS[name]}*"]

    def _paired_with_baseline(self, name: str) -> Any:
        arms = self.arms
        if name not in arms or "baseline" not in arms:
            return None
        found = paired(arms[name], arms["baseline"])
        return found if found.seeds else None

    def _cell(self, where: tuple[float, float]) -> dict[str, Any] | None:
        cells = (cell for cell in self.results["grid"] if (cell["alpha"], cell["temperature"]) == where)
        return next(cells, None)

    def _is_best(self, cell: dict[str, Any]) -> bool:
        """Whether a cell is the best point; all of the row of alpha 0 is one point."""
        if self.best is None or cell["alpha"] != self.best["alpha"]:
            return False
        return bool(cell["alpha"] == 0 or cell["temperature"] == self.best["temperature"])

    def _near_best(self, cell: dict[str, Any]) -> bool:
        return (
            self.best is not None
            and is_measured(cell)
            and not self._is_best(cell)
            and not_told_apart(cell["value"], self.best["value"], self.validation_images)
        )

    def _trained_cells(self) -> list[dict[str, Any]]:
        return [cell for cell in self.results["grid"] if cell["repeats"] is None]

    # The parts, in order.

    def opening(self) -> list[str]:
        if self.synthetic:
            what = "synthetic images (not CIFAR-100)"
        elif self.departures:
            what = "CIFAR-100, shortened or changed protocol"
        else:
            what = "CIFAR-100"
        blocks = [f"# Knowledge distillation on {what}: study `{self.results['study']}`"]
        if self.synthetic:
            blocks.append(
                "**The images are synthetic.** They are drawn by a program to show that everything works. Nothing "
                "below says anything about CIFAR-100."
            )
        elif self.departures:
            blocks.append(
                f"**This is not the protocol of the original report**: {'; '.join(self.departures)}. The numbers may "
                "stand beside the original's, but cannot confirm or refute them."
            )
        blocks.append(
            f"A small network (`{self.student['name']}`, {self.student['parameters']:,} parameters) learns from a "
            f"teacher (`{self.teacher['name']}`, {self.teacher['parameters']:,} parameters) with the loss "
            "`(1 - alpha) * cross-entropy + alpha * T^2 * KL divergence`. Alpha weighs the teacher; at alpha = 0 there "
            "is none. A search over alpha and T is scored on validation images. Then the baseline (alpha = 0) and the "
            "search's best are trained anew with other seeds and scored once on the test images. *The original* below "
            'is the course project "DATASCI223 Final Project" by Faezeh Mirlohi, which this study repeats.'
        )
        return blocks

    def verdict(self) -> list[str]:
        return [
            "## Verdict",
            " ".join([self._verdict_on_gain(), self._verdict_on_point(), self._verdict_on_original()]),
        ]

    def _verdict_on_gain(self) -> str:
        where = "On these synthetic images, " if self.synthetic else ""
        if self.gain is None:
            sentence = "the final comparison has not finished one seed in both arms, so there is no verdict yet."
        elif self.undistilled:
            sentence = (
                "the search chose alpha = 0, which is training without the teacher, so no gain from distillation was "
                f"found: the baseline reaches {mean_and_deviation(self.arms['baseline']['test_accuracy'])} on test."
            )
        else:
            before, after = (self._mean_over_shared_seeds(name) for name in ("baseline", "best"))
            change = f"from {percent(before)} to {percent(after)}, {points(self.gain.mean)}"
            known = self.gain.estimate
            if known is None:
                sentence = (
                    f"test accuracy goes {change}, but in one seed only, which gives no interval: whether distillation "
                    "helps this student cannot be said."
                )
            else:
                low, high = known.interval
                answer = (
                    "distillation helps this student"
                    if low > 0
                    else "distillation harms this student"
                    if high < 0
                    else "the data cannot say whether distillation helps this student"
                )
                sentence = (
                    f"{answer}: mean test accuracy goes {change} (95 % interval {interval(known)}, paired over "
                    f"{len(self.gain.seeds)} seeds, better in {self.gain.wins} of {len(self.gain.seeds)})."
                )
        return where + sentence if where else sentence[0].upper() + sentence[1:]

    def _mean_over_shared_seeds(self, name: str) -> float:
        arm = self.arms[name]
        return statistics.fmean(arm["test_accuracy"][arm["seeds"].index(seed)] for seed in self.gain.seeds)

    def _verdict_on_point(self) -> str:
        if self.best is None:
            left = [cell for cell in self.results["grid"] if cell["state"] in UNFINISHED]
            reason = "is not done" if left else "ended without one complete trial"
            return f"The search {reason}, so it names no best alpha and T."
        others = [cell for cell in self._trained_cells() if is_measured(cell) and not self._is_best(cell)]
        near = sum(map(self._near_best, others))
        how_many = "none" if near == 0 else str(near)
        unfinished = any(cell["state"] in UNFINISHED for cell in self.results["grid"])
        return (
            f"The {'unfinished ' if unfinished else ''}search's best point is "
            f"{point(self.best['alpha'], self.best['temperature'])} with {percent(self.best['value'])} on "
            f"{self.validation_images:,} validation images, and {how_many} of the {len(others)} other complete points "
            "cannot be told apart from it by one seed."
        )

    def _verdict_on_original(self) -> str:
        original = points(seed.DISTILLED.mean - seed.BASELINE.mean)
        if self.synthetic:
            return (
                f"The original's gain of {original} on CIFAR-100 is neither confirmed nor refuted by synthetic images."
            )
        if self.departures:
            return f"The original's gain of {original} is neither confirmed nor refuted by this changed protocol."
        if self.undistilled:
            return f"The original's gain of {original} cannot be judged, as no distilled arm was trained."
        known = None if self.gain is None else self.gain.estimate
        if known is None:
            return f"The original's gain of {original} cannot be judged without two seeds in both arms."
        words = {"yes": "is reproduced", "no": "is not reproduced", "cannot tell": "is neither confirmed nor refuted"}
        difference = known - _original_gain()
        return (
            f"The original's gain of {original} {words[reproduced(known, _original_gain())]}: ours minus its gain is "
            f"{points(difference.mean)} (95 % Welch interval {interval(difference)})."
        )

    def claims(self) -> list[str]:
        rows = [
            self._teacher_claim(),
            self._arm_claim("Student without distillation, test accuracy", "baseline", seed.BASELINE),
            self._arm_claim("Student with distillation, test accuracy", "best", seed.DISTILLED),
            self._gain_claim(),
            self._point_claim(seed.BEST_POINT_SECTION_2, "2.4"),
            self._point_claim(seed.BEST_POINT_SECTION_3, "3.2"),
            self._teacher_parameters_claim(),
            self._student_parameters_claim(),
            self._cost_claim(),
        ]
        return [
            "## The original's claims, one by one",
            table(["Claim", "Original", "Here", "Reproduced?", "Difference in points, 95 % interval"], rows),
            "The rule for means: *yes* where the 95 % Welch interval of ours minus the original's lies within 1 point "
            "of zero, *no* where it lies wholly outside, *cannot tell* otherwise. The original's standard deviations "
            "are taken as those of five independent runs; its two arms are not paired. For a single number without "
            "spread, *yes* means within 1 point. A best point is *yes* where it is ours too, and *cannot tell* "
            "where it was not measured to the end or cannot be told apart from ours.",
            "### Which best point: (0.25, 4) or (0.75, 4)?",
            self._readings(),
            "### Smaller and faster",
            table(["Quantity", "Teacher", "Student", "Teacher / student"], self._cost_rows()),
            "Multiply-adds are those of convolutions and matrix products for one image. Latency and memory were "
            "measured on the machine named below and hold for it alone." + self._memory_words(),
        ]

    def _memory_words(self) -> str:
        peaks = [network.get("peak_memory_bytes") or {} for network in (self.teacher, self.student)]
        if not any(value for peak in peaks for value in peak.values()):
            return ""
        return (
            " Peak memory is the most that a prediction holds at any moment beside weights and input, as torch's "
            "allocator counts it."
        )

    def _judged(self, verdict: str) -> str:
        """A verdict that needs the original's protocol."""
        if self.synthetic:
            return "not comparable: synthetic"
        return verdict if not self.departures else "not the original's protocol"

    def _judged_of_teacher(self, verdict: str) -> str:
        """A verdict that needs the original's teacher."""
        if self.synthetic:
            return "not comparable: synthetic"
        return verdict if seed.is_seed_teacher(self.results) else "another teacher"

    def _teacher_claim(self) -> Sequence[str]:
        ours, difference, verdict = self.teacher.get("test_accuracy"), "-", "cannot tell"
        if ours is not None and seed.is_seed_teacher(self.results):
            gap = ours - seed.TEACHER_ACCURACY
            difference, verdict = f"{100 * gap:+.2f} (one run each)", "yes" if abs(gap) <= TOLERANCE else "no"
        here = f"{percent(ours)} (`{self.teacher['name']}`)"
        claim = "Teacher, test accuracy"
        return claim, percent(seed.TEACHER_ACCURACY), here, self._judged_of_teacher(verdict), difference

    def _arm_claim(self, claim: str, name: str, original: seed.Summary) -> Sequence[str]:
        there = f"{percent(original.mean)} ± {100 * original.deviation:.2f} %"
        if name == "best" and self.undistilled:
            return (
                claim,
                there,
                "no distilled arm was trained: the search chose alpha = 0",
                "-",
                self._judged("cannot tell"),
            )
        values = self.arms.get(name, {}).get("test_accuracy", [])
        theirs = estimate(original.mean, original.deviation, original.count)
        ours = estimate_of(values)
        assert theirs is not None, "the original has five runs"
        difference = "-"
        if ours is not None and not self.departures:
            difference = f"{100 * (ours - theirs).mean:+.2f} ({interval(ours - theirs)})"
        return claim, there, mean_and_deviation(values), self._judged(reproduced(ours, theirs)), difference

    def _gain_claim(self) -> Sequence[str]:
        theirs, known = _original_gain(), None if self.gain is None or self.undistilled else self.gain.estimate
        here, difference = "-", "-"
        if self.gain is not None and not self.undistilled:
            here = points(self.gain.mean) + (f" ({interval(known)})" if known is not None else " (one run)")
        if known is not None and not self.departures:
            difference = f"{100 * (known - theirs).mean:+.2f} ({interval(known - theirs)})"
        return "Gain", points(theirs.mean), here, self._judged(reproduced(known, theirs)), difference

    def _point_claim(self, where: tuple[float, float], section: str) -> Sequence[str]:
        cell = self._cell(where)
        here, verdict = "not in this grid", "cannot tell"
        if cell is not None:
            here = percent(cell["value"]) + " on validation" if is_measured(cell) else _state_words(cell)
            if self.best is not None and self._is_best(cell):
                verdict = "yes"
            elif self.best is not None and is_measured(cell):
                here += f"; best is ({self.best['alpha']:.3g}, {self.best['temperature']:.3g})"
                verdict = "cannot tell" if self._near_best(cell) else "no"
        original = f"({where[0]:g}, {where[1]:g}), its section {section}"
        return "Best alpha and T", original, here, self._judged(verdict), "-"

    def _teacher_parameters_claim(self) -> Sequence[str]:
        ours, original = self.teacher["parameters"], seed.TEACHER_PARAMETERS
        judged = self._judged_of_teacher("yes" if ours == original else "no")
        return "Teacher's parameters", f"{original:,}", f"{ours:,}", judged, "-"

    def _student_parameters_claim(self) -> Sequence[str]:
        ours, original = self.student["parameters"], seed.STUDENT_PARAMETERS
        verdict = "yes" if ours == original else "no"
        judged = "not comparable: synthetic" if self.synthetic else verdict
        return "Student's parameters", f"{original:,}", f"{ours:,}", judged, "-"

    def _cost_claim(self) -> Sequence[str]:
        ratios = [ratio for _, _, ratio in self._costs() if ratio is not None]
        smaller = sum(ratio > 1 for ratio in ratios)
        here = f"smaller in {smaller} of {len(ratios)} measures below"
        verdict = "yes" if smaller == len(ratios) else "no" if smaller == 0 else "in part"
        return "Student is smaller and faster", "yes, without numbers", here, self._judged_of_teacher(verdict), "-"

    def _costs(self) -> list[tuple[str, tuple[str, str], float | None]]:
        """Each quantity with teacher's and student's value in words, and their ratio."""
        found: list[tuple[str, tuple[str, str], float | None]] = []

        def add(name: str, values: Sequence[float | None], words: str, scale: float) -> None:
            teacher, student = values
            shown = ["-" if value is None else words.format(value * scale) for value in values]
            found.append((name, (shown[0], shown[1]), teacher / student if teacher and student else None))

        def both(key: str, batch: str | None = None) -> list[float | None]:
            kept = [network.get(key) for network in (self.teacher, self.student)]
            return kept if batch is None else [(value or {}).get(batch) for value in kept]

        add("Parameters", both("parameters"), "{:,.0f}", 1)
        add("Multiply-adds, one image", both("multiply_adds"), "{:,.1f} million", 1e-6)
        add("Size on disk, float32", both("bytes"), "{:,.2f} MB", 1e-6)
        for batch in ("1", "128"):
            add(f"Latency, batch {batch}", both("latency_seconds", batch), "{:,.2f} ms", 1e3)
        for batch in ("1", "128"):
            add(f"Peak memory, batch {batch}", both("peak_memory_bytes", batch), "{:,.1f} MB", 1e-6)
        return found

    def _cost_rows(self) -> list[Sequence[str]]:
        return [
            (name, teacher, student, "-" if ratio is None else f"{ratio:.2f}")
            for name, (teacher, student), ratio in self._costs()
        ]

    def _readings(self) -> str:
        low, high = seed.BEST_POINT_SECTION_2, seed.BEST_POINT_SECTION_3
        explained = (
            "The original names KL weight 0.25 in its section 2.4 and alpha = 0.75 in its section 3.2, both with T = "
            "4. Here alpha weighs the teacher. Both sections describe one run if the original's alpha weighs the "
            "cross-entropy, and that run is (0.25, 4) here. "
        )
        if self.synthetic:
            explained += "Synthetic images cannot say which is meant; the points compare here as follows. "
        elif self.departures:
            explained += "Under this protocol the points compare as follows. "
        names = arm_at(self.results, *high), arm_at(self.results, *low)
        if names[0] is not None and names[1] is not None:
            pairs = paired(self.arms[names[0]], self.arms[names[1]])
            known = pairs.estimate
            if known is not None:
                low_end, high_end = known.interval
                answer = (
                    "The data support (0.75, 4)"
                    if low_end > 0
                    else "The data support (0.25, 4)"
                    if high_end < 0
                    else "The data support neither over the other"
                )
                return (
                    f"{explained}{answer}: on test, (0.75, 4) minus (0.25, 4) is {points(known.mean)} (95 % interval "
                    f"{interval(known)}, paired over {len(pairs.seeds)} seeds, (0.75, 4) better in {pairs.wins})."
                )
        cells = self._cell(low), self._cell(high)
        if any(cell is None for cell in cells):
            return f"{explained}The grid of this study does not hold both points."
        words = [
            f"({cell['alpha']:g}, {cell['temperature']:g}) "
            + (percent(cell["value"]) if is_measured(cell) else _state_words(cell))
            for cell in cells
            if cell is not None
        ]
        shown = f"On validation, one seed each: {words[0]}, {words[1]}."
        values = [cell["value"] for cell in cells if cell is not None and is_measured(cell)]
        if len(values) < 2:
            return f"{explained}{shown} Without both values the data support neither over the other."
        if not_told_apart(min(values), max(values), self.validation_images):
            return f"{explained}{shown} One seed cannot tell them apart: the data support neither over the other."
        better = low if values[0] > values[1] else high
        return (
            f"{explained}{shown} By one seed the data support ({better[0]:g}, {better[1]:g}); seeds of the final "
            "comparison at both points would say it more firmly."
        )

    def search(self) -> list[str]:
        blocks = ["## The search", self._search_summary()]
        blocks.append(self._grid_table())
        notes = (
            "≈ marks a point that cannot be told apart from the best: lower by less than 1.96 standard errors of the "
            f"difference of two independent accuracies on {self.validation_images:,} images"
        )
        if self.best is not None:
            error = accuracy_standard_error(self.best["value"], self.validation_images)
            notes += f" (one such standard error, of the best alone, is {100 * error:.2f} points)"
        notes += (
            ". All points are in fact scored on the same images, which makes the rule too careful; it leaves out the "
            "spread between training seeds, which makes it not careful enough. Only accuracies are stored, so a test "
            "image by image is not possible. A pruned or failed point has no result."
        )
        blocks.append(notes)
        blocks += self._figure("grid")
        failed = [cell for cell in self.results["grid"] + self.results["tpe"] if cell["state"] == "FAIL"]
        if failed:
            blocks.append("Failed trials:")
            blocks.append(
                "\n".join(
                    f"- trial {cell['number']} at {point(cell['alpha'], cell['temperature'])}: "
                    f"{cell['reason'] or 'no reason stored'}"
                    for cell in failed
                )
            )
        blocks += self._figure("trials")
        blocks += ["### What pruning saved", self._pruning(), *self._figure("pruning")]
        blocks += ["### What alpha and T explain", *self._variance()]
        blocks += ["### Beyond the grid: TPE", *self._tpe()]
        return blocks

    def _search_summary(self) -> str:
        grid = self.results["grid"]
        states = {
            "complete": sum(map(is_measured, grid)),
            "pruned": sum(cell["state"] == "PRUNED" for cell in grid),
            "failed": sum(cell["state"] == "FAIL" for cell in grid),
            "not finished": sum(cell["state"] in UNFINISHED for cell in grid),
        }
        words = ", ".join(f"{number} {state}" for state, number in states.items() if number or state == "complete")
        repeats = sum(cell["repeats"] is not None for cell in grid)
        summary = f"The grid has {count(len(grid), 'point')}: {words}."
        if repeats:
            summary += (
                f" At alpha = 0 the temperature is no matter: {count(repeats, 'point repeats', 'points repeat')} the "
                "one that was trained."
            )
        search = self.results["search"]
        summary += (
            f" Each trial trains on {self.configuration['train_images']:,} images for up to "
            f"{self.configuration['epochs']} epochs with seed {self.configuration['seed']}, the same images in the "
            f"same views for all. Training took {duration(search['seconds'])} in all."
        )
        return summary

    def _grid_table(self) -> str:
        temperatures = self.configuration["temperatures"]
        rows = []
        for alpha in self.configuration["alphas"]:
            row = [f"**{alpha:g}**"]
            for temperature in temperatures:
                cell = self._cell((alpha, temperature))
                row.append("not yet" if cell is None else self._cell_words(cell))
            rows.append(row)
        return table(["alpha \\ T", *(f"{temperature:g}" for temperature in temperatures)], rows)

    def _cell_words(self, cell: dict[str, Any]) -> str:
        if not is_measured(cell):
            return _state_words(cell)
        words = percent(cell["value"])
        if cell["repeats"] is not None:
            words += f" (repeats trial {cell['repeats']})"
        if self._is_best(cell) and cell["repeats"] is None:
            return f"**{words}** best"
        return f"{words} ≈" if self._near_best(cell) else words

    def _pruning(self) -> str:
        search = self.results["search"]
        if self.configuration["pruner"] == "none":
            return "Pruning was switched off: every trial that did not fail trained to its last epoch."
        trials = [cell for cell in self._trained_cells() + self.results["tpe"] if cell["state"] == "PRUNED"]
        saved = search["epochs_full"] - search["epochs_trained"]
        share = saved / search["epochs_full"] if search["epochs_full"] else 0.0
        return (
            f"The median pruner stopped {count(len(trials), 'trial')}. The search trained {search['epochs_trained']:,} "
            f"of {search['epochs_full']:,} epochs, {100 * share:.0f} % fewer. A point that learns slowly at first can "
            "be pruned although it would have been good in the end."
        )

    def _variance(self) -> list[str]:
        grid = self.results["grid"]
        distilled = [cell for cell in grid if cell["alpha"] != 0]
        rows = []
        for name, cells in (("whole grid", grid), ("without alpha = 0", distilled)):
            shares = variance_shares(cells, self.validation_images)
            if shares is not None:
                shown = (shares.alpha, shares.temperature, shares.rest, shares.noise)
                rows.append([name, *(f"{share:.2f}" for share in shown)])
        if not rows:
            without = sum(not is_measured(cell) for cell in grid)
            if without:
                return [
                    f"Not computable: {without} of {count(len(grid), 'grid point')} have no value. Bad points are the "
                    "ones that are pruned, so shares from the rest would mislead. `--pruner none` gives a full grid."
                ]
            return ["Not computable: the grid has fewer than two rows or columns, or all its values are the same."]
        return [
            table(["Cells", "alpha", "T", "rest", "noise alone would make"], rows),
            "Shares of the sum of squares of the grid's accuracies: of the row means (alpha), of the column means (T), "
            "and what is left, which is their interplay and noise. The last column is what the sampling error of the "
            f"{self.validation_images:,} validation images alone would make if all points were equally good. At alpha "
            "= 0 all temperatures are one trial, which lowers the share of T in the whole grid.",
        ]

    def _tpe(self) -> list[str]:
        trials = self.results["tpe"]
        if not trials:
            return ["No TPE trials were run."]
        scored = [cell for cell in trials if is_measured(cell)]
        words = f"TPE went on from the grid for {count(len(trials), 'trial')}, {len(scored)} of them complete."
        if not scored:
            return [words, *self._figure("tpe")]
        top = max(scored, key=lambda cell: cell["value"])
        words += f" Its best is {point(top['alpha'], top['temperature'])} with {percent(top['value'])} on validation"
        on_grid = max(
            (cell["value"] for cell in self.results["grid"] if is_measured(cell)),
            default=None,
        )
        if on_grid is None:
            words += ". No grid point is complete to hold it against."
        else:
            apart = not_told_apart(min(top["value"], on_grid), max(top["value"], on_grid), self.validation_images)
            words += (
                f", {points(top['value'] - on_grid)} from the grid's best; "
                f"{'the two cannot be told apart' if apart else 'the two can be told apart'} by the rule above. The "
                "best of more trials is higher by luck alone."
            )
        if "tpe" in self.arms and "best" in self.arms:
            pairs = paired(self.arms["tpe"], self.arms["best"])
            known = pairs.estimate
            if known is not None:
                words += (
                    f" On test, TPE's point minus the best arm is {points(known.mean)} (95 % interval "
                    f"{interval(known)}, {len(pairs.seeds)} seeds)."
                )
        top_rows = [
            (cell["number"], f"{cell['alpha']:.3f}", f"{cell['temperature']:.2f}", percent(cell["value"]))
            for cell in sorted(scored, key=lambda cell: (-cell["value"], cell["number"]))[:5]
        ]
        return [words, table(["Trial", "alpha", "T", "Validation accuracy"], top_rows), *self._figure("tpe")]

    def comparison(self) -> list[str]:
        names = list(self.arms)
        rows: list[Sequence[str]] = [
            (
                f"Teacher (`{self.teacher['name']}`)",
                percent(seed.TEACHER_ACCURACY),
                percent(self.teacher.get("test_accuracy")),
                "1",
            )
        ]
        originals = {"baseline": seed.BASELINE, "best": seed.DISTILLED}
        for name in names:
            there = originals.get(name)
            rows.append(
                (
                    f"Student, {arm_label(name, self.arms[name])}",
                    "-" if there is None else f"{percent(there.mean)} ± {100 * there.deviation:.2f} %",
                    mean_and_deviation(self.arms[name]["test_accuracy"]),
                    str(len(self.arms[name]["seeds"])),
                )
            )
        beside = "Original, table 2" if not self.departures else "Original, table 2 (another protocol)"
        blocks = [
            "## The comparison",
            "Test accuracy after the last epoch, mean ± sample standard deviation over seeds. Training and validation "
            "images are trained on together, and each network meets the test images once.",
            table(["Model", beside, "Here", "Runs"], rows),
        ]
        if not names:
            return [*blocks, "The final comparison has not started."]
        blocks += [*self._runs(), *self._figure("comparison"), *self._differences()]
        return [*blocks, *self._losses(), *self._gains(), *self._calibration()]

    def _runs(self) -> list[str]:
        seeds = sorted({seed for arm in self.arms.values() for seed in arm["seeds"]})
        accuracy = {name: dict(zip(arm["seeds"], arm["test_accuracy"], strict=True)) for name, arm in self.arms.items()}
        rows = []
        for run_seed in seeds:
            values = [accuracy[name].get(run_seed) for name in self.arms]
            row = [str(run_seed), *map(percent, values)]
            if self.gain is not None:
                shared = run_seed in self.gain.seeds
                row.append(f"{100 * self.gain.differences[self.gain.seeds.index(run_seed)]:+.2f}" if shared else "-")
            rows.append(row)
        header = ["Seed", *(arm_label(name, arm) for name, arm in self.arms.items())]
        if self.gain is not None:
            header.append("best - baseline")
        blocks = ["Run by run:", table(header, rows)] if rows else []
        failed = [
            f"- {name}, seed {failure['seed']}: {failure['reason']}"
            for name, arm in self.arms.items()
            for failure in arm.get("failed", [])
        ]
        if failed:
            blocks += ["Runs that failed, left out of every number here:", "\n".join(failed)]
        return blocks

    def _differences(self) -> list[str]:
        rows = []
        for name in self.arms:
            pairs = self._paired_with_baseline(name) if name != "baseline" else None
            if pairs is None:
                continue
            known = pairs.estimate
            ties = f", {pairs.ties} equal" if pairs.ties else ""
            rows.append(
                (
                    f"{arm_label(name, self.arms[name])} - baseline",
                    f"{100 * pairs.mean:+.2f}",
                    "none from one seed" if known is None else interval(known),
                    f"{pairs.wins} of {len(pairs.seeds)}{ties}",
                )
            )
        if not rows:
            return ["No seed has finished in both arms yet, so there is no paired difference."]
        blocks = [table(["Paired difference", "Mean, points", "95 % t interval", "Better in"], rows)]
        if self.gain is None:
            return blocks
        if self.undistilled:
            return [*blocks, "The best arm is the baseline's own configuration: the difference says nothing."]
        runs, known = len(self.gain.seeds), self.gain.estimate
        if known is None:
            return [*blocks, "One seed gives no interval: how far the next seed would fall from it is not known."]
        blocks.append(
            f"What {count(runs, 'seed')} can and cannot show: a difference smaller than about "
            f"{100 * known.half_width:.2f} points would not be told from zero here. The interval takes the differences "
            f"as roughly normal, which {count(runs, 'value')} cannot check. A sign-flip test of {runs} cannot give a "
            f"p-value below {self.gain.smallest_sign_flip_p:.4g}, so it is not used; nor is a percentile bootstrap, "
            "which is too narrow for so few. The interval covers the spread of training seeds for these test images "
            "and this teacher, not that of other images or teachers."
        )
        return blocks

    def _losses(self) -> list[str]:
        rows = []
        for name, arm in self.arms.items():
            last = [curve[-1]["train_loss"] for curve in arm["curves"] if curve]
            rows.append((arm_label(name, arm), _mean(last, "{:.4f}"), _mean(arm["test_loss"], "{:.4f}")))
        return [
            "### Losses",
            table(["Arm", "Training loss, last epoch", "Test cross-entropy"], rows),
            "Means over seeds, in nats. The training loss of a distilled arm is the weighted sum that it trains on and "
            "does not compare with the baseline's.",
            *self._figure("loss_without_distillation"),
            *self._figure("loss_with_distillation"),
        ]

    def _calibration(self) -> list[str]:
        kept = {arm_label(name, arm): arm.get("calibration") or [] for name, arm in self.arms.items()}
        if self.teacher.get("calibration"):
            kept["teacher"] = [self.teacher["calibration"]]
        rows = [
            (name, _mean([100 * calibration_error(bins) for bins in networks], "{:.2f} %"))
            for name, networks in kept.items()
        ]
        return [
            "### Calibration",
            table(["Network", "Expected calibration error"], rows),
            "The mean gap between confidence and accuracy on the test images, over 15 equal bins of confidence; the "
            "mean over seeds.",
            *self._figure("calibration"),
        ]

    def _gains(self) -> list[str]:
        by_group = gains(self.results, self.data["groups"])
        by_class = gains(self.results, self.data["classes"])
        if not by_class or self.undistilled:
            return []
        rows = []
        for gain in by_group:
            known = gain.paired.estimate
            rows.append(
                (
                    gain.name,
                    percent(gain.before),
                    percent(gain.after),
                    f"{100 * gain.paired.mean:+.2f}",
                    "-" if known is None else interval(known),
                )
            )
        blocks = [
            "### Which groups and classes gain",
            table(["Group", "baseline", "best", "Gain, points", "95 % t interval"], rows),
            f"Of {len(rows)} intervals of 95 %, about {max(1, round(0.05 * len(rows)))} would leave out zero by chance "
            "even if nothing had changed.",
            *self._figure("groups"),
        ]
        up = sum(gain.paired.mean > 0 for gain in by_class)
        down = sum(gain.paired.mean < 0 for gain in by_class)
        blocks.append(
            f"Of {count(len(by_class), 'class', 'classes')}, {up} gain, {down} lose and {len(by_class) - up - down} "
            "stay the same on average. With few test images a class, single classes move by chance; the ends of the "
            "list:"
        )
        shown = by_class if len(by_class) <= 10 else by_class[:5] + by_class[-5:]
        blocks.append(
            table(
                ["Class", "baseline", "best", "Gain, points"],
                [
                    (
                        gain.name.replace("_", " "),
                        percent(gain.before),
                        percent(gain.after),
                        f"{100 * gain.paired.mean:+.2f}",
                    )
                    for gain in shown
                ],
            )
        )
        return [*blocks, *self._figure("classes")]

    def the_data(self) -> list[str]:
        data = self.data
        official = data["official_train_images"]
        size = data["image_size"]
        rows = [
            ("Data set", data["name"]),
            ("Images in all", f"{official + data['test_images']:,}"),
            ("Training set", f"{official:,}"),
            ("Test set", f"{data['test_images']:,}"),
            ("Images", f"{size} x {size} pixels, {count(data['channels'], 'channel')}"),
            ("Classes", len(data["classes"])),
            ("Groups of classes", len(set(data["groups"]))),
            ("Search trains on", f"{data['train_images']:,}"),
            ("Search is scored on", f"{data['validation_images']:,} of the training set, kept apart"),
            ("Comparison trains on", f"{data['train_images'] + data['validation_images']:,}"),
        ]
        return ["## The data", table(["Feature", "Value"], rows), *self._figure("samples")]

    def trust(self) -> list[str]:
        configuration = self.configuration
        pruned = sum(cell["state"] == "PRUNED" for cell in self.results["grid"])
        remarks = [
            "The teacher was trained on the whole training set, the validation images among them. What it says of them "
            "is surer than of new images; no student trains on them during the search."
        ]
        if self.best is not None:
            remark = (
                f"The winner's validation accuracy of {percent(self.best['value'])} is optimistic: it is the best of "
                "many, each with its own luck."
            )
            values = self.arms.get("best", {}).get("test_accuracy", [])
            if values:
                remark += (
                    f" On test the best arm reaches {mean_and_deviation(values)}, after training on more images and "
                    "with other seeds."
                )
            remarks.append(remark)
        if pruned:
            remarks.append(
                f"{count(pruned, 'grid point was', 'grid points were')} pruned; what "
                f"{'it' if pruned == 1 else 'they'} would have reached is not known, and a pruned point may be the "
                "true best."
            )
        remarks.append(
            f"The search has one seed ({configuration['seed']}); the comparison has others "
            f"({', '.join(map(str, configuration['final_seeds']))}), the same for every arm."
        )
        if self.results["search"].get("workers", 1) > 1 and configuration["pruner"] != "none":
            remarks.append(
                "Several workers shared the search. The numbers of a trial do not depend on that; which trials are "
                "pruned depends on the order in which they ended."
            )
        remarks.append(
            "The test images were looked at once a network, after its last epoch; no epoch was picked on them."
        )
        remarks.append("The same numbers, bit for bit, are to be expected on the same processor and versions only.")
        blocks = ["## How far to trust it", "\n".join(f"- {remark}" for remark in remarks)]
        return [*blocks, *self._repeat(), *self._manifest()]

    def _repeat(self) -> list[str]:
        manifest = self.results["manifest"]
        starts = manifest.get("starts") or [manifest]
        usual = f"python -m study.run --preset {self.configuration['preset']}"
        commands = [*dict.fromkeys(start.get("command", usual) for start in starts)]
        commits = [*dict.fromkeys(start.get("commit", "unknown") for start in starts)]
        commands.append(f"python -m reports.build --study {self.results['study']}")
        if commits[-1] != "unknown":
            commands.insert(0, f"git checkout {commits[-1].removesuffix('+changes')}")
        blocks = ["### To repeat it", "```sh\n" + "\n".join(commands) + "\n```"]
        if len(commits) > 1:
            blocks.append(f"The study went on over several commits ({', '.join(commits)}); the last is named above.")
        if any(commit.endswith("+changes") for commit in commits):
            blocks.append("The code had changes that are in no commit.")
        return blocks

    def _manifest(self) -> list[str]:
        described = {
            "student's training": self.configuration["recipe"],
            "teacher": {key: self.teacher.get(key) for key in ("name", "origin", "epochs", "hash")},
            "data hash": self.data["hash"],
            "search": {key: self.results["search"].get(key) for key in ("started", "finished")},
        }
        return ["### Manifest", table(["Key", "Value"], [*_flat({**described, **self.results["manifest"]})])]


def _original_gain() -> Estimate:
    """The original's gain: its two arms are independent as far as it says."""
    distilled, baseline = (
        estimate(summary.mean, summary.deviation, summary.count) for summary in (seed.DISTILLED, seed.BASELINE)
    )
    assert distilled is not None, "the original has five runs"
    assert baseline is not None, "the original has five runs"
    return distilled - baseline


def _mean(values: Sequence[float], words: str) -> str:
    return words.format(statistics.fmean(values)) if values else "-"


def _state_words(cell: dict[str, Any]) -> str:
    after = f" after epoch {cell['epochs']}" if cell["epochs"] else ""
    return STATE_WORDS[cell["state"]] + (after if cell["state"] in ("PRUNED", "FAIL") else "")


def _flat(nested: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, str]]:
    for key, value in nested.items():
        name = f"{above}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}: ")
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            for number, item in enumerate(value, start=1):
                yield from _flat(item, f"{name} {number}: ")
        elif isinstance(value, list | tuple):
            yield name, ", ".join(map(str, value))
        else:
            yield name, "-" if value is None else str(value)
