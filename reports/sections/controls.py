"""Is it the teacher? The best pair beside arms from which what the teacher knows is taken away."""

from collections.abc import Collection
from dataclasses import dataclass

import plotly.graph_objects as go

from reports.drawing import BLUE, GREY, PURPLE, Figure, blank
from reports.evidence import Paired, difference_of_values, paired, range_constant, seed_deviation
from reports.results import Results, distinct
from reports.sections.document import Document
from reports.sections.words import arm_label, difference_cells, interval, mean, percent, plain, points, seed_rows, table
from reports.standing import STATE_WORDS
from storage.controls import CONTROLS, OF_RATES, best_rate


@dataclass(frozen=True)
class Control:
    """Two arms, the second of which is the first with something taken away.

    Attributes:
        words: what the second is, in the verdict.
        taken: what is taken away, in the table.
    """

    first: str
    second: str
    words: str
    taken: str


TAKEN_AWAY = (
    Control("best", "shuffled", "the teacher's logits shuffled within each class", "knowledge of the single image"),
    Control("best", "smoothing", "a virtual teacher that knows the label alone", "the teacher"),
    Control("best-rate", "rate", "the baseline, each at its best learning rate", "an untuned learning rate"),
)


def controls(document: Document) -> list[str]:
    """The controls beside the arms, and how like the teacher each is; nothing of a baseline alone."""
    arms = document.arms
    has_controls = any(name in arms for name in CONTROLS)
    if arms.keys() <= {"baseline"}:
        return []
    blocks = ["## Is it the teacher?"]
    if has_controls:
        blocks += [_explanation(document), *_gains(document), *document.figure(GAINS)]
        blocks += [*_left(document), *_runs(document), *_rates(document)]
    elif any(arm["control"] is not None for arm in arms.values()):
        blocks.append("The controls that were trained are of another pair; `--controls` adds those of the best one.")
    elif document.results["rates"]:
        blocks.append("Controls were asked for; none of their runs has begun.")
    elif document.undistilled:
        blocks.append("No controls were run; `--controls` adds the baseline at its own best learning rate.")
    elif document.best is not None:
        blocks.append("No controls were run; `--controls` adds them, over the same seeds at the best pair.")
    elif not document.is_searched:
        rescaled = document.configuration["recipe"].get("optimizer", "sgd") == "sgd"  # AdamW takes the size away
        of_step = " So a step of another size, which alpha and T bring with them, may be part of a gain."
        blocks.append(
            f"No controls were run: they stand beside the best pair of a search.{of_step if rescaled else ''}"
        )
    else:
        blocks.append("No controls were run: the search has no best pair that they could stand beside.")
    return [*blocks, *_likeness(document)]


def verdict_on_controls(document: Document) -> str | None:
    """How far the best pair is above the controls, in a sentence, or that none were asked for; None without a gain."""
    found = [(control.words, pairs) for control, pairs in _pairs(document)]
    if document.undistilled:
        return None
    if not found:
        asked = document.results["rates"] or any(arm["control"] is not None for arm in document.arms.values())
        gains = any(gain.mean > 0 for gain in document.gains.values())
        return (
            "No controls were run, so that a gain is the teacher's doing is not shown." if gains and not asked else None
        )
    left = []
    for words, pairs in found:
        known = pairs.estimate
        left.append(f"{points(pairs.mean)} over {words}" + ("" if known is None else f" ({interval(known)})"))
    verdict = f"Against the controls the gain is {_listed(left)}; {_conclusion(found)}."
    return " ".join([verdict, *_harmful(document)])


def is_above_all_controls(document: Document) -> bool:
    """Whether the best pair is surely better than each control that can tell; also where there is none."""
    return all(pairs.estimate is None or pairs.estimate.interval[0] > 0 for _, pairs in _pairs(document))


def _harmful(document: Document) -> list[str]:
    """Controls that are surely worse than the baseline, in a sentence: against them any gain looks large."""
    names = [
        name
        for name in ("shuffled", "smoothing", "rate")
        if (pairs := document.paired_with_baseline(name)) is not None
        and pairs.estimate is not None
        and pairs.estimate.interval[1] < 0
    ]
    if not names:
        return []
    do, what = ("does", "that") if len(names) == 1 else ("do", "those")
    return [
        f"But {_listed([f'*{name}*' for name in names])} {do} worse than the baseline, so a difference to {what} "
        f"overstates what the teacher brings{_strictest(document, names)}."
    ]


def _strictest(document: Document, harmful: Collection[str]) -> str:
    """The smallest difference to what does not do worse than the baseline, in words; nothing where none is known."""
    left = [] if document.gain is None else [(document.gain.mean, "the baseline", "baseline")]
    left += [(pairs.mean, one.words, one.second) for one, pairs in _pairs(document) if one.second not in harmful]
    if not left:
        return ""
    smallest, words, second = min(left, key=lambda one: one[0])
    chosen = ""
    if second == "rate":
        at_end = [f"that of *{who}* is the {end} tried" for who, end in _at_the_end(document).items()]
        beyond = f"; {' and '.join(at_end)}, so a better may lie beyond" if at_end else ""
        chosen = f", the best of four by one seed{beyond}"
    return f"; the smallest difference is {points(smallest)} over {words}{chosen}"


def _conclusion(found: list[tuple[str, Paired]]) -> str:
    without = [(words, pairs.why_no_interval) for words, pairs in found if pairs.estimate is None]
    intervals = {words: pairs.estimate.interval for words, pairs in found if pairs.estimate is not None}
    worse = [words for words, (_, high) in intervals.items() if high < 0]
    unclear = [words for words, (low, high) in intervals.items() if low <= 0 <= high]
    clear = [words for words, (low, _) in intervals.items() if low > 0]
    if len(clear) == len(found):
        return "each is clear of zero" if len(found) > 1 else "that is clear of zero"
    if not intervals:
        return " and ".join(dict.fromkeys(why for _, why in without))
    parts = [f"the best pair does worse than {_listed(worse)}"] if worse else []
    parts += [f"the data do not tell the gain over {_listed(unclear)} from zero"] if unclear else []
    parts += [f"that over {_listed(clear)} is clear of zero"] if clear and without else []
    return "; ".join([" and ".join(parts), *(f"over {words} {why}" for words, why in without)])


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _pairs(document: Document) -> list[tuple[Control, Paired]]:
    """``TAKEN_AWAY`` with its paired differences, where a seed is shared."""
    arms = document.arms
    there = [control for control in TAKEN_AWAY if {control.first, control.second} <= arms.keys()]
    pairs = [(control, paired(arms[control.first], arms[control.second])) for control in there]
    return [(control, found) for control, found in pairs if found.seeds]


def _explanation(document: Document) -> str:
    arms = document.arms
    words = {
        "shuffled": "*shuffled*: each image gets the teacher's logits of another image of its class, the same one in "
        "every epoch, in the view in which that one is shown then: what the teacher knows of the class stays, what it "
        "knows of the image goes",
        "smoothing": "*smoothing*: in the teacher's place one that knows the label alone and finds all other classes "
        f"equally likely (a virtual teacher, Yuan et al. 2020, arXiv 1909.11723){_sureness(document)}",
        "rate": (
            "*rate* and *best-rate*: the baseline and the best pair, each with its own best of four learning rates"
            if "best-rate" in arms
            else "*rate*: the baseline with its own best of four learning rates"
        )
        + ", chosen on validation images with the search seed",
    }
    shown = [text for name, text in words.items() if name in arms or (name == "rate" and "best-rate" in arms)]
    same = ""
    if "best" in arms and "best-rate" in arms and arms["best-rate"]["learning_rate"] == arms["best"]["learning_rate"]:
        same = " That of the best pair is the protocol's, so *best-rate* has the runs of *best*."
    return f"Controls over the same seeds. {'; '.join(shown)}.{same}"


def _sureness(document: Document) -> str:
    """How sure the virtual teacher is, softened and not: only softened it is label smoothing of that strength."""
    arm = document.arms.get("smoothing")
    strength = None if arm is None else arm["smoothing"]
    if arm is None or strength is None:
        return ""
    classes, temperature = len(document.data["classes"]), arm["temperature"]
    softened = 1 - strength + strength / classes
    odds = (softened * classes / strength) ** temperature
    return (
        f", at the same alpha = {arm['alpha']:.3g} and T = {temperature:.3g}: softened it gives the label "
        f"{softened:.3f}, as much as the softened teacher gives its likeliest class on average, and unsoftened "
        f"{odds / (odds + classes - 1):.3f}"
    )


def _gains(document: Document) -> list[str]:
    rows = [
        (arm_label(name, document.arms[name]), *difference_cells(pairs))
        for name in ("best", *CONTROLS)
        if name in distinct(document.arms) and (pairs := document.paired_with_baseline(name)) is not None
    ]
    return [table(["Arm", "Gain over the baseline, points", "95 % t interval", "Better in"], rows)] if rows else []


def _left(document: Document) -> list[str]:
    rows = [
        (control.taken, f"{control.first} - {control.second}", *difference_cells(pairs))
        for control, pairs in _pairs(document)
    ]
    if not rows:
        return []
    return [
        "How far the best pair is above each control:",
        table(["Control for", "Difference", "Points", "95 % t interval", "Better in"], rows),
        *_harmful(document),
    ]


def _runs(document: Document) -> list[str]:
    arms = {name: arm for name, arm in distinct(document.arms).items() if name in CONTROLS}
    rows = seed_rows(arms)
    header = ["Seed", *(arm_label(name, arm) for name, arm in arms.items())]
    return ["Test accuracy, run by run:", table(header, rows)] if rows else []


def _rates(document: Document) -> list[str]:
    tried = document.results["rates"]
    if not tried:
        return []
    rates = sorted({rate["learning_rate"] for rate in tried})
    rows, remarks = [], []
    for control in dict.fromkeys(rate["control"] for rate in tried):
        name, cells = OF_RATES[control], {rate["learning_rate"]: rate for rate in tried if rate["control"] == control}
        words = [
            "-" if (cell := cells.get(rate)) is None
            else percent(cell["value"]) if cell["value"] is not None
            else plain(cell["reason"] or STATE_WORDS.get(cell["state"]) or cell["state"].lower())
            for rate in rates
        ]  # fmt: skip
        rows.append([name, *words])
        values = _scores_by_rate(document, control)
        protocol = document.configuration["recipe"]["learning_rate"]
        best = best_rate(values, protocol)
        if best is not None and best != protocol and protocol in values:
            remarks.append(_told_apart(document, name, values, best, protocol))
        if (end := _at_the_end(document).get(name)) is not None:
            remarks.append(f"The best rate of {name}, {best:.3g}, is the {end} tried: a better may lie beyond.")
        if _is_rough(document, values):
            remarks.append(
                f"Rates of {name} between two better ones do worse than images and seeds of the comparison "
                "explain: accuracy is not smooth in the rate, so one seed may choose wrongly by several points, and in "
                "the grid ≈ may mark too few."
            )
    return [
        "Validation accuracy by learning rate, one seed:",
        table(["Arm", *(f"{rate:.3g}" for rate in rates)], rows),
        *remarks,
    ]


def _scores_by_rate(document: Document, control: str) -> dict[float, float]:
    tried = document.results["rates"]
    return {
        rate["learning_rate"]: rate["value"]
        for rate in tried
        if rate["control"] == control and rate["value"] is not None
    }


def _at_the_end(document: Document) -> dict[str, str]:
    """Whose best learning rate is the smallest or the largest of those tried, and which of both."""
    found = {}
    protocol = document.configuration["recipe"]["learning_rate"]
    tried = sorted(rate["learning_rate"] for rate in document.results["rates"])
    for control, name in OF_RATES.items():
        best = best_rate(_scores_by_rate(document, control), protocol)
        if best is not None and best in (tried[0], tried[-1]):
            found[name] = "smallest" if best == tried[0] else "largest"
    return found


def rates_are_rough(document: Document) -> bool:
    """Whether accuracy scatters over the learning rates by more than images and seeds explain."""
    return any(_is_rough(document, _scores_by_rate(document, control)) for control in OF_RATES)


def _told_apart(document: Document, who: str, values: dict[float, float], best: float, protocol: float) -> str:
    """Whether the learning rate that was chosen is surely better than the protocol's."""
    between_seeds = seed_deviation(document.results)
    if not _is_apart(document, values[best], values[protocol], len(values)):
        return f"One seed does not tell {best:.3g}, the best of {who}, from the protocol's {protocol:.3g}."
    better = f"For {who}, {best:.3g} is better than the protocol's {protocol:.3g} beyond what "
    if between_seeds is None:
        return f"{better}the images leave open; how far seeds spread is not known."
    return f"{better}one seed leaves open."


def _is_apart(document: Document, higher: float, lower: float, among: int) -> bool:
    """Whether two accuracies of so many differ by more than the images and the comparison's seeds explain."""
    error = difference_of_values((higher, lower), document.validation_images, seed_deviation(document.results))
    return higher - lower > range_constant(among) * error


def _is_rough(document: Document, values: dict[float, float]) -> bool:
    """Whether a rate is worse than one below it and one above it."""
    in_order = [values[rate] for rate in sorted(values)]
    return any(
        _is_apart(document, min(max(in_order[:place]), max(in_order[place + 1 :])), value, len(in_order))
        for place, value in enumerate(in_order[1:-1], start=1)
    )


def _likeness(document: Document) -> list[str]:
    rows = []
    for name, arm in distinct(document.arms).items():
        agreement = [share for share in arm["agreement"] if share is not None]
        divergence = [by_temperature for by_temperature in arm["divergence"] if by_temperature is not None]
        if not agreement:
            continue
        rows.append(
            (
                arm_label(name, arm),
                mean([100 * share for share in agreement], "{:.2f} %"),
                mean([each["1"] for each in divergence], "{:.4f}"),
                mean([each["4"] for each in divergence], "{:.4f}"),
            )
        )
    if not rows:
        return []
    missing = ""
    if len(rows) < sum(bool(arm["test_accuracy"]) for arm in distinct(document.arms).values()):
        missing = (
            " Of the other arms it is not stored; where their weights are kept, `python -m study.rescore` adds it."
        )
    return [
        "How like the teacher each arm is on the test images:",
        table(["Arm", "Same class as the teacher", "KL at T = 1", "KL at T = 4"], rows),
        f"Means over seeds; KL(teacher, student) in nats, averaged over images.{missing}",
    ]


def gains_by_arm(results: Results) -> go.Figure | None:
    """Gain over the baseline of the best arm and of each control, with its 95% t interval."""
    arms = results["arms"]
    if not any(name in arms for name in CONTROLS) or "baseline" not in arms:
        return None
    shown = {name: paired(arms[name], arms["baseline"]) for name in reversed(("best", *CONTROLS)) if name in arms}
    shown = {name: pairs for name, pairs in shown.items() if pairs.seeds}
    if not shown:
        return None
    estimates = [pairs.estimate for pairs in shown.values()]
    figure = blank(height=110 + 40 * len(shown))
    figure.add_scatter(
        x=[100 * pairs.mean for pairs in shown.values()],
        y=[arm_label(name, arms[name]).replace(" (", "<br>(") for name in shown],
        mode="markers",
        marker={"color": [BLUE if name == "best" else PURPLE for name in shown], "size": 10},
        error_x={"array": [None if known is None else 100 * known.half_width for known in estimates],
                 "color": GREY, "thickness": 1.5, "width": 4},
        hovertemplate="%{y}: %{x:+.2f} points<extra></extra>",
    )  # fmt: skip
    figure.add_vline(x=0, line={"color": GREY, "width": 1})
    figure.update_xaxes(title_text="gain over the baseline, points")
    figure.update_yaxes(type="category", dtick=1)
    return figure


GAINS = Figure(
    name="controls",
    caption="Gain in test accuracy over the baseline, of the best pair and of the controls, with 95 % t intervals of "
    "the paired differences where there is one.",
    draw=gains_by_arm,
    panel="Gain of the best pair and of the controls",
)
