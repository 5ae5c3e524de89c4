"""The original's claims, one by one, each with its number and ours."""

from collections.abc import Sequence

from reports import original
from reports.evidence import (
    TOLERANCE,
    arm_at,
    estimate_of,
    paired,
    replications_confirmed,
    reproduced,
)
from reports.sections.cost import costs
from reports.sections.document import Document
from reports.sections.words import filled_table, interval, mean_and_deviation, percent, points, state_words
from reports.standing import are_apart


def claims(document: Document) -> list[str]:
    """The table of claims and the two readings of the best point; nothing of a study of other images."""
    if not document.original:
        return []
    rows = [
        _teacher_claim(document),
        _arm_claim(document, "Student without distillation, test accuracy", "baseline", original.BASELINE),
        *(_distilled_claim(document, name, where) for name, where in document.held_against_original.items()),
        *(_gain_claim(document, name, where) for name, where in document.held_against_original.items()),
        *_point_claims(document),
        _teacher_parameters_claim(document),
        _student_parameters_claim(document),
        _cost_claim(document),
    ]
    return [
        "## The original's claims, one by one",
        filled_table(["Claim", "Original", "Here", "Reproduced?", "Difference in points, 95 % interval"], rows),
        *_rule(document),
        *([] if document.departures else [_unsaid(document)]),
        *_readings(document),
    ]


def _unsaid(document: Document) -> str:
    rests = document.left_over
    left_over = "none are left over" if rests is None else f"a last step takes them, {rests[1]} in the comparison"
    return original.UNSAID.format(left_over=left_over)


def _rule(document: Document) -> list[str]:
    """How means are judged, and how strictly; nothing where none is."""
    if document.departures:
        single = " For the teacher's accuracy, a single number without spread, *yes* means within 1 point."
        judged_here = original.is_original_teacher(document.results) and _is_own_teacher(document)
        judged = single if judged_here and document.teacher["test_accuracy"] is not None else ""
        return [f"What students reach under another protocol is not judged.{judged}"]
    best_point = (
        " A best point is *yes* where it is ours and every other ran to its end and can be told apart from it, *no* "
        "where it can be told apart from ours, else *cannot tell*."
    )
    return [
        "The rule for means: *yes* where the 95 % Welch interval of ours minus the original's lies within 1 point "
        "of zero, *no* where it lies wholly outside, *cannot tell* otherwise. The original's standard deviations "
        "are taken as those of five independent runs; its two arms are not paired. For a single number without "
        f"spread, *yes* means within 1 point.{best_point if document.is_searched else ''}",
        _power(document),
    ]


def _power(document: Document) -> str:
    """How often the rule says yes where it should."""
    trained = len(document.arms["baseline"]["seeds"]) if "baseline" in document.arms else 0
    runs = trained if trained > 1 else len(document.configuration["final_seeds"])
    if runs < 2:
        return "One run of an arm has no interval, so the rule cannot say *yes* of it."
    arms = original.BASELINE, original.DISTILLED
    before, after = (replications_confirmed((arm.deviation,), arm.count, runs) for arm in arms)
    gain = replications_confirmed(tuple(arm.deviation for arm in arms), original.BASELINE.count, runs)
    there = "" if trained == runs else ", once they are there"
    return (
        f"The rule is strict: over {runs} runs{there}, with the original's standard deviations, an exact replication "
        f"gets *yes* in about {100 * before:.0f} % of cases for the student without distillation, {100 * after:.0f} % "
        f"for the one with it and {100 * gain:.0f} % for the gain; else it mostly gets *cannot tell*, which is no "
        "evidence against."
    )


def _judged(document: Document, verdict: str) -> str:
    """A verdict that needs the original's protocol."""
    return verdict if not document.departures else "-"


def _judged_of_teacher(document: Document, verdict: str) -> str:
    """A verdict that needs the original's teacher."""
    return verdict if original.is_original_teacher(document.results) else "another teacher"


def _teacher_claim(document: Document) -> Sequence[str]:
    ours, difference, verdict = document.teacher["test_accuracy"], "-", "no teacher yet"
    if ours is not None and not _is_own_teacher(document):
        verdict = "not judged: imported" if document.imported_teacher else "not judged: trained towards it"
    elif ours is not None and original.is_original_teacher(document.results):
        gap = ours - original.TEACHER_ACCURACY
        difference, verdict = f"{100 * gap:+.2f} (one run each)", "yes" if abs(gap) <= TOLERANCE else "no"
    here = f"{percent(ours)} (`{document.teacher['name']}`)"
    claim = "Teacher, test accuracy"
    return claim, percent(original.TEACHER_ACCURACY), here, _judged_of_teacher(document, verdict), difference


def _is_own_teacher(document: Document) -> bool:
    """Whether the teacher's accuracy on test is an outcome: it was trained here, without looks at the test images."""
    return not document.imported_teacher and document.teacher.get("hurried") is None


def _distilled_claim(document: Document, name: str, where: str) -> Sequence[str]:
    claim = f"Student with distillation{where}, test accuracy"
    claimed = _arm_claim(document, claim, name, original.DISTILLED)
    if name == "best" and document.undistilled:
        here = "the search's best is alpha = 0, so none"
        return *claimed[:2], here, _judged(document, "cannot tell"), "-"
    return claimed


def _arm_claim(document: Document, claim: str, name: str, published: original.Summary) -> Sequence[str]:
    there = f"{percent(published.mean)} ± {100 * published.deviation:.2f} %"
    values = document.arms[name]["test_accuracy"] if name in document.arms else []
    theirs, ours = published.estimate, estimate_of(values)
    difference = "-"
    if ours is not None and not document.departures:
        difference = f"{100 * (ours - theirs).mean:+.2f} ({interval(ours - theirs)})"
    return claim, there, mean_and_deviation(values), _judged(document, reproduced(ours, theirs)), difference


def _gain_claim(document: Document, name: str, where: str) -> Sequence[str]:
    theirs, gain = original.gain(), document.gains.get(name)
    known = None if gain is None else gain.estimate
    here, difference = "-", "-"
    if gain is not None:
        here = points(gain.mean) + (f" ({interval(known)})" if known is not None else f" ({gain.why_no_interval})")
    if known is not None and not document.departures:
        difference = f"{100 * (known - theirs).mean:+.2f} ({interval(known - theirs)})"
    return f"Gain{where}", points(theirs.mean), here, _judged(document, reproduced(known, theirs)), difference


def _point_claims(document: Document) -> list[Sequence[str]]:
    if not document.is_searched:
        return []
    return [
        _point_claim(document, original.BEST_POINT_SECTION_2, "2.4"),
        _point_claim(document, original.BEST_POINT_SECTION_3, "3.2"),
    ]


def _point_claim(document: Document, where: tuple[float, float], section: str) -> Sequence[str]:
    cell = document.cell(where)
    here, verdict = "not in this grid", "cannot tell"
    if cell is not None:
        here = percent(cell.value) + " on validation" if cell.value is not None else state_words(cell)
        if cell.standing == "best":
            trained = [other.standing for other in document.grid if other.repeats is None]
            near, stopped = trained.count("near best"), trained.count("pruned") + trained.count("failed")
            verdict = "cannot tell" if document.search_is_open or near or stopped else "yes"
            here += ", the best so far" if document.search_is_open else ", the best"
            here += f", but {near} cannot be told apart from it" if near else ""
            here += f"; {stopped} did not run to the end" if stopped else ""
        elif document.best is not None and cell.value is not None:
            here += f"; best is ({document.best['alpha']:.3g}, {document.best['temperature']:.3g})"
            verdict = "cannot tell" if cell.standing == "near best" else "no"
    there = f"({where[0]:g}, {where[1]:g}), its section {section}"
    return "Best alpha and T", there, here, _judged(document, verdict), "-"


def _teacher_parameters_claim(document: Document) -> Sequence[str]:
    ours, theirs = document.teacher["parameters"], original.TEACHER_PARAMETERS
    judged = _judged_of_teacher(document, "yes" if ours == theirs else "no")
    return "Teacher's parameters", f"{theirs:,}", f"{ours:,}", judged, "-"


def _student_parameters_claim(document: Document) -> Sequence[str]:
    ours, theirs = document.student["parameters"], original.STUDENT_PARAMETERS
    return "Student's parameters", f"{theirs:,}", f"{ours:,}", "yes" if ours == theirs else "no", "-"


def _cost_claim(document: Document) -> Sequence[str]:
    # What else ran there is in a latency.
    ratios = [ratio for name, _, ratio in costs(document) if ratio is not None and not name.startswith("Latency")]
    smaller = sum(ratio > 1 for ratio in ratios)
    here = f"smaller in {smaller} of {len(ratios)} measures below; times are not judged"
    verdict = "smaller: " + ("yes" if smaller == len(ratios) else "no" if smaller == 0 else "in part")
    return "Student is smaller and faster", "yes, without numbers", here, _judged_of_teacher(document, verdict), "-"


def _readings(document: Document) -> list[str]:
    """Which of both points the data support; nothing where the protocol is another and neither was trained."""
    trained = any(arm_at(document.results, *where) is not None for where in original.BEST_POINTS)
    if document.departures and not document.is_searched and not trained:
        return []
    explained = (
        "The original names KL weight 0.25 in its section 2.4 and alpha = 0.75 in its section 3.2, both with T = "
        "4. Here alpha weighs the teacher. Both sections describe one run if the original's alpha weighs the "
        "cross-entropy, and that run is (0.25, 4) here. "
    )
    if document.departures:
        explained += "Under this protocol the points compare as follows. "
    answer = _readings_on_test(document) or _readings_on_validation(document)
    return ["### Which best point: (0.25, 4) or (0.75, 4)?", explained + answer]


def _readings_on_test(document: Document) -> str | None:
    """What the comparison says of both points; None where it has no interval of their difference."""
    low, high = (arm_at(document.results, *where) for where in original.BEST_POINTS)
    if low is None or high is None:
        return None
    pairs = paired(document.arms[high], document.arms[low])
    known = pairs.estimate
    if known is None:
        return None
    low_end, high_end = known.interval
    answer = (
        "The data support (0.75, 4)"
        if low_end > 0
        else "The data support (0.25, 4)"
        if high_end < 0
        else "The data support neither"
    )
    few = document.on_few_images((high, low))
    return (
        f"{answer} as the better point{few}: on test, (0.75, 4) minus (0.25, 4) is {points(known.mean)} (95 % interval "
        f"{interval(known)}, paired over {len(pairs.seeds)} seeds, (0.75, 4) better in {pairs.wins} of "
        f"{len(pairs.seeds)}). The data do not say which of the two the original ran."
    )


def _readings_on_validation(document: Document) -> str:
    if not document.is_searched:
        return "Without an interval of their difference on test, the data support neither over the other."
    cells = [cell for where in original.BEST_POINTS if (cell := document.cell(where)) is not None]
    if len(cells) < 2:
        return "The grid of this study does not hold both points."
    words = [
        f"({cell.point[0]:g}, {cell.point[1]:g}) "
        + (percent(cell.value) if cell.value is not None else state_words(cell))
        for cell in cells
    ]
    shown = f"On validation, one seed each: {words[0]}, {words[1]}."
    values = [cell.value for cell in cells if cell.value is not None]
    if len(values) < 2:
        return f"{shown} Without both values the data support neither over the other."
    if not are_apart(cells[0].trial, cells[1].trial, document.results, among=2):
        return f"{shown} One seed cannot tell them apart: the data support neither over the other."
    better = original.BEST_POINTS[0 if values[0] > values[1] else 1]
    return (
        f"{shown} By one seed the data support ({better[0]:g}, {better[1]:g}): both were named beforehand, so they are "
        "told apart by 1.96 standard errors of their difference, and not by those of a best of many. Seeds of the "
        "final comparison at both points would say it more firmly."
    )
