"""What every network reaches on test, in one table, before anything is said of it."""

from reports import original
from reports.results import distinct
from reports.sections.document import Document
from reports.sections.words import arm_label, difference_cells, filled_table, mean_and_deviation, percent

NAMES = {
    "best": "the grid's best point on validation",
    "tpe": "TPE's best point on validation",
    "gp": "the Gaussian process's best point on validation",
    "rate": "the baseline at its best of four learning rates",
    "best-rate": "the best pair at its best of four learning rates",
}
"""What arms are that are named by how they were found."""


def scoreboard(document: Document) -> list[str]:
    """Teacher and students, beside the original's where the images are its own, and what each student gains."""
    teacher, originals = document.teacher, document.originals
    header = ["Network", "Original, table 2", "Test accuracy", "Runs", "Gain, points", "95 % t interval"]
    there = percent(original.TEACHER_ACCURACY) if document.original else "-"
    runs = "-" if teacher["test_accuracy"] is None else "1"
    rows = [[f"Teacher (`{teacher['name']}`)", there, percent(teacher["test_accuracy"]), runs, "-", "-"]]
    shown = _shown(document)
    for name in shown:
        arm, known = document.arms[name], originals.get(name)
        gain = document.paired_with_baseline(name)
        rows.append(
            [
                f"Student, {arm_label(name, arm)}",
                "-" if known is None else f"{percent(known.mean)} ± {100 * known.deviation:.2f} %",
                mean_and_deviation(arm["test_accuracy"]),
                str(len(arm["seeds"])),
                *(("-", "-") if gain is None else difference_cells(gain)[:2]),
            ]
        )
    return [filled_table(header, rows), _legend(document, shown, has_gains=any(row[4] != "-" for row in rows))]


def _shown(document: Document) -> list[str]:
    """The arms that have runs of their own; of the controls those that are tuned, beside which gains are smaller."""
    own = distinct(document.arms)
    return [name for name in (*document.plain, "rate", "best-rate") if name in own and own[name]["seeds"]]


def _legend(document: Document, shown: list[str], has_gains: bool) -> str:
    words = [
        f"The teacher has {document.teacher['parameters']:,} parameters, the student {document.student['parameters']:,}"
    ]
    if shown:
        gains = "; gains are over the baseline, paired by seed" if has_gains else ""
        words.append(f"Test accuracy is after the last epoch, mean ± sample standard deviation over seeds{gains}")
    distilled = next((document.arms[name] for name in shown if document.arms[name]["alpha"]), None)
    if distilled is not None:
        alpha, temperature = f"{distilled['alpha']:.3g}", f"{distilled['temperature']:.3g}"
        words.append(f"({alpha}, {temperature}) is alpha = {alpha}, T = {temperature}")
    words += [f"*{name}* is {what}" for name, what in NAMES.items() if name in shown]
    if former := document.former_winners:
        labels = ", ".join(arm_label(name, document.arms[name]) for name in former)
        words.append(f"{labels} had been chosen before the search went on")
    if len(document.originals.keys() & {*shown} - {"baseline"}) > 1:
        words.append("The original has one distilled student, which stands beside each that is held against it")
    return f"{'. '.join(words)}."
