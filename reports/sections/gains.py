"""Which groups and which classes gain."""

from collections.abc import Sequence

import plotly.graph_objects as go

from reports.class_gains import FALSE_DISCOVERIES, Gain, changed_beyond_chance, gains_by_lead, gains_by_name
from reports.drawing import BLUE, GREY, ORANGE, Figure, blank
from reports.results import Results
from reports.sections.document import Document, distilled_arm
from reports.sections.words import arm_label, count, interval, percent, plain, table

MOST_ROWS = 20


def gains(document: Document) -> list[str]:
    """The gain of the distilled arm that is shown over the baseline, by group and by class; nothing without one."""
    by_group, by_class = (_gains(document.results, document.data[key]) for key in ("groups", "classes"))
    if not by_class:
        return []
    results = document.results
    first = len(document.gains) > 1 and distilled_arm(results) != "best"
    return [
        f"### Which {'classes' if _ungrouped(results) else 'groups and classes'} gain",
        *([f"Shown of {_shown(results)}, the first of the distilled arms."] if first else []),
        *(_groups(document, by_group) if _shows_groups(results) else []),
        *(_classes(document, by_class) if _shows_classes(results) else []),
        *_by_lead(results),
    ]


def _by_lead(results: Results) -> list[str]:
    """Whether classes gain more in which the teacher knows more than the baseline."""
    name = distilled_arm(results)
    quarters = None if name is None else gains_by_lead(results, name)
    if quarters is None:
        return []
    *most, last = (f"{100 * gain.mean:+.2f} ± {100 * gain.standard_error:.2f}" for gain in quarters)
    return [
        "Classes by the teacher's lead over the baseline, in quarters from the smallest lead to the largest, gain on "
        f"average {', '.join(most)} and {last} points (± one standard error over the classes of a quarter). Lead and "
        "gain are of different seeds, so that bad luck of the baseline in a class is not counted twice."
    ]


def _ungrouped(results: Results) -> bool:
    """Whether each class is a group of its own: few classes are then shown as groups are, many as classes are."""
    return results["data"]["groups"] == results["data"]["classes"]


def _shows_groups(results: Results) -> bool:
    return not _ungrouped(results) or len(results["data"]["classes"]) <= MOST_ROWS


def _shows_classes(results: Results) -> bool:
    return not _ungrouped(results) or not _shows_groups(results)


def _gains(results: Results, names: Sequence[str]) -> list[Gain]:
    """As ``gains_by_name``, of the distilled arm that is shown; empty too without one."""
    name = distilled_arm(results)
    return [] if name is None else gains_by_name(results, names, name)


def _shown(results: Results) -> str:
    """The arm that gains, as the tables name it."""
    name = distilled_arm(results)
    assert name is not None, "something gains"
    return name if name == "best" else arm_label(name, results["arms"][name])


def _row(gain: Gain) -> list[str]:
    return [
        plain(gain.name.replace("_", " ")),
        percent(gain.before),
        percent(gain.after),
        f"{100 * gain.paired.mean:+.2f}",
        "-" if (known := gain.paired.estimate) is None else interval(known),
    ]


def _groups(document: Document, by_group: list[Gain]) -> list[str]:
    return [
        table(
            [
                "Class" if _ungrouped(document.results) else "Group",
                "baseline",
                _shown(document.results),
                "Gain, points",
                "95 % t interval",
            ],
            map(_row, by_group),
        ),
        *_by_chance(sum(gain.paired.estimate is not None for gain in by_group)),
        *document.figure(GROUPS),
    ]


def _by_chance(intervals: int) -> list[str]:
    if not intervals:
        return []
    return [
        f"Of {count(intervals, 'interval')} of 95 %, about {0.05 * intervals:.2g} would leave out zero by chance "
        "even if nothing had changed."
    ]


def _beyond_chance(by_class: list[Gain]) -> str:
    """How many classes change by more than the luck of the seeds, and that their images bring more of it."""
    changed = changed_beyond_chance(by_class)
    if changed is None:
        return "With few seeds and few test images a class, single classes move by chance."
    up = sum(gain.paired.mean > 0 for gain in changed)
    return (
        f"By paired t tests over the seeds, {up} of the gains and {len(changed) - up} of the losses differ from zero "
        f"on these images; at most {100 * FALSE_DISCOVERIES:.0f} % of such findings are expected to be false "
        "(Benjamini and Hochberg 1995). These tests say nothing of other images of a class."
    )


def _classes(document: Document, by_class: list[Gain]) -> list[str]:
    # Means of differences of a few hundredths, which may miss zero by a rounding.
    up = sum(gain.paired.mean > 1e-9 for gain in by_class)
    down = sum(gain.paired.mean < -1e-9 for gain in by_class)
    same = len(by_class) - up - down
    shown = by_class if len(by_class) <= 10 else by_class[:5] + by_class[-5:]
    return [
        f"Of {count(len(by_class), 'class', 'classes')}, {up} gain, {down} lose and {same} "
        f"{'stays' if same == 1 else 'stay'} the same on average. {_beyond_chance(by_class)} The ends of the list, "
        "where luck is largest:",
        table(["Class", "baseline", _shown(document.results), "Gain, points", "95 % t interval"], map(_row, shown)),
        *document.figure(CLASSES),
    ]


def _colour(gain: Gain) -> str:
    return BLUE if gain.paired.mean >= 0 else ORANGE


def group_gains(results: Results) -> go.Figure | None:
    """Gain in test accuracy of each group of classes, with the 95% t interval of its paired differences."""
    found = _gains(results, results["data"]["groups"])[::-1]
    if not found or not _shows_groups(results):
        return None
    estimates = [gain.paired.estimate for gain in found]
    figure = blank(height=70 + 24 * len(found))
    figure.add_scatter(
        x=[100 * gain.paired.mean for gain in found],
        y=[gain.name for gain in found],
        mode="markers",
        marker={"color": [_colour(gain) for gain in found], "size": 9,
                "symbol": ["circle" if gain.paired.mean >= 0 else "diamond" for gain in found]},
        error_x={"array": [None if known is None else 100 * known.half_width for known in estimates],
                 "color": GREY, "thickness": 1.2, "width": 3},
        hovertemplate="%{y}: %{x:+.2f} points<extra></extra>",
    )  # fmt: skip
    figure.add_vline(x=0, line={"color": GREY, "width": 1})
    figure.update_xaxes(title_text="gain, points")
    figure.update_yaxes(type="category", tickfont_size=11, dtick=1)
    return figure


def class_gains(results: Results) -> go.Figure | None:
    """Gain in test accuracy of each class, sorted; the names in the hover, those of the ends in the table above."""
    found = _gains(results, results["data"]["classes"])
    if not found or not _shows_classes(results):
        return None
    figure = blank(height=360)
    figure.add_bar(
        x=list(range(1, len(found) + 1)),
        y=[100 * gain.paired.mean for gain in found],
        marker_color=[_colour(gain) for gain in found],
        customdata=[gain.name for gain in found],
        hovertemplate="%{customdata}: %{y:+.2f} points<extra></extra>",
    )
    figure.update_xaxes(title_text="classes, sorted by gain", showgrid=False)
    figure.update_yaxes(title_text="gain, points")
    figure.update_layout(bargap=0.1)
    return figure


GROUPS = Figure(
    name="groups",
    caption="Gain in test accuracy of each group of classes, with 95 % t intervals of the paired differences.",
    draw=group_gains,
)
CLASSES = Figure(name="classes", caption="Gain in test accuracy of each class, sorted.", draw=class_gains)
