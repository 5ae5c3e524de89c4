"""What was studied, and the verdict in three sentences."""

import statistics
from collections.abc import Sequence

from reports import original
from reports.evidence import reproduced
from reports.results import Arm
from reports.sections.document import Document
from reports.sections.words import interval, mean_and_deviation, percent, plain, point, points
from reports.standing import UNFINISHED


def opening(document: Document) -> list[str]:
    """Title, what kind of study it is, and what was done in it."""
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
    elif document.departures:
        blocks.append(
            f"**This is not the protocol of the original report**: {'; '.join(document.departures)}. The numbers may "
            "stand beside the original's, but cannot confirm or refute them."
        )
    blocks.append(
        f"A small network (`{document.student['name']}`, {document.student['parameters']:,} parameters) learns from a "
        f"teacher (`{document.teacher['name']}`, {document.teacher['parameters']:,} parameters) with the loss "
        "`(1 - alpha) * cross-entropy + alpha * T^2 * KL divergence`. Alpha weighs the teacher; at alpha = 0 there "
        "is none. A search over alpha and T is scored on validation images. Then the baseline (alpha = 0) and the "
        "search's best are trained anew with other seeds and scored once on the test images."
    )
    if document.original:
        blocks[-1] += (
            ' *The original* below is the course project "DATASCI223 Final Project" by Faezeh Mirlohi, which this '
            "study repeats."
        )
    return blocks


def verdict(document: Document) -> list[str]:
    """Does distillation help, at which point, and does the original's gain hold."""
    sentences = [_verdict_on_gain(document), _verdict_on_point(document)]
    sentences += [_verdict_on_original(document)] if document.original else []
    return ["## Verdict", " ".join([*sentences, *filter(None, [document.missing_runs()])])]


def _verdict_on_gain(document: Document) -> str:
    where = "On these synthetic images, " if document.synthetic else ""
    if document.gain is None:
        sentence = "the final comparison has not finished one seed in both arms, so there is no verdict yet."
    elif document.undistilled:
        sentence = (
            "the search chose alpha = 0, which is training without the teacher, so no gain from distillation was "
            f"found: the baseline reaches {mean_and_deviation(document.arms['baseline']['test_accuracy'])} on test."
        )
    else:
        before, after = (_mean_over(document.gain.seeds, document.arms[name]) for name in ("baseline", "best"))
        change = f"from {percent(before)} to {percent(after)}, {points(document.gain.mean)}"
        known = document.gain.estimate
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
                f"{len(document.gain.seeds)} seeds, better in {document.gain.wins} of {len(document.gain.seeds)})."
            )
    return where + sentence if where else sentence[0].upper() + sentence[1:]


def _mean_over(seeds: Sequence[int], arm: Arm) -> float:
    return statistics.fmean(arm["test_accuracy"][arm["seeds"].index(shared)] for shared in seeds)


def _verdict_on_point(document: Document) -> str:
    unfinished = any(cell.standing in UNFINISHED for cell in document.grid)
    if document.best is None:
        reason = "is not done" if unfinished else "ended without one complete trial"
        return f"The search {reason}, so it names no best alpha and T."
    trained = [cell.standing for cell in document.grid if cell.repeats is None]
    near, others = trained.count("near best"), trained.count("near best") + trained.count("measured")
    return (
        f"The {'unfinished ' if unfinished else ''}search's best point is "
        f"{point(document.best['alpha'], document.best['temperature'])} with {percent(document.best['value'])} on "
        f"{document.validation_images:,} validation images, and {near or 'none'} of the {others} other complete points "
        "cannot be told apart from it by one seed."
    )


def _verdict_on_original(document: Document) -> str:
    theirs = points(original.DISTILLED.mean - original.BASELINE.mean)
    if document.departures:
        return f"The original's gain of {theirs} is neither confirmed nor refuted by this changed protocol."
    if document.undistilled:
        return f"The original's gain of {theirs} cannot be judged, as no distilled arm was trained."
    known = None if document.gain is None else document.gain.estimate
    if known is None:
        return f"The original's gain of {theirs} cannot be judged without two seeds in both arms."
    words = {"yes": "is reproduced", "no": "is not reproduced", "cannot tell": "is neither confirmed nor refuted"}
    difference = known - original.gain()
    return (
        f"The original's gain of {theirs} {words[reproduced(known, original.gain())]}: ours minus its gain is "
        f"{points(difference.mean)} (95 % Welch interval {interval(difference)})."
    )
