"""What kind of study it is, and what was done in it."""

from reports import original
from reports.sections.document import Document
from reports.sections.words import count, plain

SEARCHED = (
    "A search over alpha and T is scored on validation images. Then the baseline (alpha = 0) and the search's best are "
    "trained anew with other seeds and scored once on the test images."
)
UNSEARCHED = (
    "No search was run: the baseline (alpha = 0) and the pairs that were asked for are trained over the same seeds and "
    "scored once on the test images."
)
ALONE = (
    "No search was run: the baseline (alpha = 0) alone is trained, and each of its runs scored once on the test images."
)


def opening(document: Document) -> list[str]:
    """Title, and what kind of study it is."""
    if document.synthetic:
        what = "synthetic images (not CIFAR-100)"
    elif not document.original:
        what = plain(document.data["name"])
    elif document.departures:
        what = "CIFAR-100, shortened or changed protocol"
    else:
        what = "CIFAR-100"
    blocks = [f"# Knowledge distillation on {what}: study `{document.results['study']}`"]
    if document.synthetic:
        blocks.append(
            "**The images are synthetic.** They are drawn by a program to show that everything works. Nothing "
            "below says anything about CIFAR-100."
        )
    elif document.original:
        repeats = (
            'This study repeats the course project "DATASCI223 Final Project" by Faezeh Mirlohi, *the original* below.'
        )
        if document.departures:
            repeats += (
                f" **This is not the protocol of the original report**: {'; '.join(document.departures)}. The numbers "
                f"may stand beside the original's, but cannot confirm or refute them.{_on_short_trainings(document)}"
            )
        blocks.append(repeats)
    return blocks


def method(document: Document) -> list[str]:
    """What was done."""
    learns = "learns" if document.teacher["hash"] is not None else "is to learn"
    return [
        "## What was done",
        f"A student (`{document.student['name']}`, {document.student['parameters']:,} parameters) {learns} from "
        f"a teacher (`{document.teacher['name']}`, {document.teacher['parameters']:,} parameters) with the loss "
        "`(1 - alpha) * cross-entropy + alpha * T^2 * KL divergence`. Alpha weighs the teacher; at alpha = 0 there "
        f"is none. {SEARCHED if document.is_searched else UNSEARCHED if document.arms_asked_for else ALONE}",
    ]


def _on_short_trainings(document: Document) -> str:
    epochs = document.configuration["recipe"]["epochs"]
    if 2 * epochs > original.EPOCHS:
        return ""
    return (
        f" After {count(epochs, 'epoch')} instead of {original.EPOCHS} a gain may only mean that the student learns "
        "faster."
    )
