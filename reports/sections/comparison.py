"""The final comparison: every arm over the same seeds, on the test images."""

import statistics

import plotly.graph_objects as go

from reports.drawing import GREY, Figure, arm_colours, blank
from reports.evidence import Paired, by_seed, deviation_limits, gain_image_error
from reports.results import Arm, Results, distinct
from reports.sections.document import Document, plain_arms
from reports.sections.words import (
    arm_label,
    capitalised,
    count,
    difference_cells,
    duration,
    mean_and_deviation,
    percent,
    plain,
    seed_rows,
    table,
)


def comparison(document: Document) -> list[str]:
    """The arms run by run, and their paired differences."""
    blocks = [
        "## The comparison",
        "Training and validation images are trained on together, and each student meets the test images once, after "
        "its last epoch.",
        *_over_classes(document),
    ]
    if not document.arms:
        return [*blocks, "The final comparison has not started."]
    return [*blocks, *_runs(document), *document.figure(RUNS), *_differences(document)]


def _over_classes(document: Document) -> list[str]:
    """Where classes are of unlike sizes, what each arm has right of a class on average: accuracy hides the small."""
    sizes = document.test_images_by_class
    present = [size for size in sizes if size]
    if len(set(present)) < 2:
        return []
    means = []
    for name, arm in document.plain.items():
        shares = [
            statistics.fmean(right / size for right, size in zip(correct, sizes, strict=True) if size)
            for correct in arm["correct_by_class"]
        ]
        means.append(f"{arm_label(name, arm)} {mean_and_deviation(shares)}")
    return [
        f"The test set has from {min(present):,} to {max(present):,} images of a class: who always names the largest "
        f"class is right in {percent(max(present) / sum(present))}. The mean over classes of the share that is right: "
        f"{'; '.join(means)}."
    ]


def _runs(document: Document) -> list[str]:
    rows = seed_rows(document.plain)
    header = ["Seed", *(arm_label(name, arm) for name, arm in document.plain.items())]
    if document.gain is not None:
        gains = dict(zip(document.gain.seeds, document.gain.differences, strict=True))
        for row in rows:
            row.append(f"{100 * gains[int(row[0])]:+.2f}" if int(row[0]) in gains else "-")
        header.append("best - baseline")
    blocks = ["Run by run:", table(header, rows)] if rows else []
    seconds = sum(sum(arm["seconds"]) for arm in distinct(document.plain).values())
    if rows:
        asked = ", with what the teacher was asked on the way" if _asked_a_teacher(document) else ""
        blocks.append(f"Their training took {duration(seconds)} in all{asked}.")
    failed = [
        f"- {name}, seed {failure['seed']}: {plain(failure['reason'] or 'no reason stored')}"
        for name, arm in distinct(document.arms).items()
        for failure in arm["failed"]
    ]
    if failed:
        blocks += ["Runs that failed, left out of every number here:", "\n".join(failed)]
    return blocks


def _asked_a_teacher(document: Document) -> bool:
    return any(arm["alpha"] and arm["seeds"] for arm in document.plain.values())


def _differences(document: Document) -> list[str]:
    rows = []
    for name, arm in document.plain.items():
        pairs = document.paired_with_baseline(name)
        if pairs is None:
            continue
        known = pairs.estimate
        rows.append(
            (
                f"{arm_label(name, arm)} - baseline",
                *difference_cells(pairs),
                _share_of_gap(document, pairs),
                "-" if known is None else f"{100 * known.detectable:.2f}",
                _image_error(document, arm, pairs),
            )
        )
    if not rows:
        one = "There is one arm"
        if len(document.plain) > 1:
            one = "No seed has finished in the baseline and another arm yet"
        return [f"{one}, so there is no paired difference."]
    return [
        table(
            [
                "Paired difference",
                "Mean, points",
                "95 % t interval",
                "Better in",
                "Of the way to the teacher",
                "Found in 80 % of repeats",
                "Error of the images",
            ],
            rows,
        ),
        *_what_it_can_show(document),
    ]


def _share_of_gap(document: Document, gain: Paired) -> str:
    """How far towards the teacher an arm comes; ``-`` where it or the teacher is not above the baseline."""
    teacher = document.teacher["test_accuracy"]
    baseline = by_seed(document.arms["baseline"])
    gap = (teacher or 0.0) - statistics.fmean(baseline[seed] for seed in gain.seeds)
    return f"{100 * gain.mean / gap:.0f} %" if gap > 0 and gain.mean > 0 else "-"


def _image_error(document: Document, arm: Arm, pairs: Paired) -> str:
    """What the test images alone bring to a difference, in points; an upper bound where hits are not stored."""
    baseline = document.arms["baseline"]
    error = 100 * gain_image_error(arm, baseline, pairs.seeds, document.data["test_images"])
    return f"{error:.2f}" if None not in (*arm["hits"], *baseline["hits"]) else f"at most {error:.2f}"


def _what_it_can_show(document: Document) -> list[str]:
    blocks = []
    if document.undistilled and document.gain is not None:
        blocks.append("The best arm is the baseline's own configuration: its difference says nothing.")
    gains = [*document.gains.values()]
    if not gains:
        return blocks
    known = [gain for gain in gains if gain.estimate is not None]
    if known:
        gain = min(known, key=lambda one: len(one.seeds))
        runs = len(gain.seeds)
        low, high = deviation_limits(runs)
        blocks.append(
            f"What {count(runs, 'seed')} can and cannot show: a true difference as large as *Found in 80 % of repeats* "
            "(points) would be told from zero so often. The spread behind it is known roughly only, so it "
            f"may be {low:.2g} to {high:.2g} times as large. The interval takes the differences as roughly normal, "
            f"which {count(runs, 'value')} cannot check. {_no_other_test(gain)}".rstrip()
        )
    else:
        why = gains[0].why_no_interval
        blocks.append(f"{capitalised(why)}: how far the next seed would fall from it is not known.")
    blocks.append(
        "All of it holds for these test images and this teacher. *Error of the images* is the standard error that "
        "other test images would add; *at most* where it is not stored which images each run had right."
    )
    return blocks


def _no_other_test(gain: Paired) -> str:
    """Why not one without that assumption, where there is no use in it."""
    if gain.smallest_sign_flip_p <= 0.05:
        return ""
    return (
        f"A sign-flip test of {len(gain.seeds)} cannot give a p-value below {gain.smallest_sign_flip_p:.4g}, so it is "
        "not used; nor is a percentile bootstrap, which is too narrow for so few. "
    )


def runs_by_arm(results: Results) -> go.Figure | None:
    """Test accuracy of each arm: a line joins the points of one seed, a bar is the mean."""
    arms = {name: arm for name, arm in plain_arms(results).items() if arm["test_accuracy"]}
    if len(arms) < 2:
        return None
    figure = blank(height=400)
    for seed in sorted({seed for arm in arms.values() for seed in arm["seeds"]}):
        points = [
            (position, 100 * accuracy[seed])
            for position, accuracy in enumerate(map(by_seed, arms.values()))
            if seed in accuracy
        ]
        figure.add_scatter(
            x=[x for x, _ in points],
            y=[y for _, y in points],
            mode="lines",
            line={"color": GREY, "width": 1},
            opacity=0.6,
            hoverinfo="skip",
        )
    colours = arm_colours(arms)
    for position, (name, arm) in enumerate(arms.items()):
        _add_arm(figure, position, arm, colours[name])
    figure.update_xaxes(
        tickvals=list(range(len(arms))),
        ticktext=[arm_label(name, arm).replace(" (", "<br>(") for name, arm in arms.items()],
        range=[-0.5, len(arms) - 0.3],
        showgrid=False,
    )
    figure.update_yaxes(title_text="test accuracy, %")
    figure.update_layout(showlegend=False)
    return figure


def _add_arm(figure: go.Figure, position: int, arm: Arm, colour: str) -> None:
    accuracy = [100 * value for value in arm["test_accuracy"]]
    mean = statistics.fmean(accuracy)
    figure.add_scatter(
        x=[position] * len(accuracy),
        y=accuracy,
        mode="markers",
        marker={"size": 10, "color": colour},
        customdata=arm["seeds"],
        hovertemplate="seed %{customdata}: %{y:.2f} %<extra></extra>",
    )
    bar = {"x0": position - 0.16, "x1": position + 0.16, "y0": mean, "y1": mean}
    figure.add_shape(type="line", **bar, line={"color": colour, "width": 3})
    figure.add_annotation(x=position + 0.18, y=mean, text=f"<b>{mean:.2f}</b>", showarrow=False, xanchor="left")


RUNS = Figure(
    name="comparison",
    caption="Test accuracy after the last epoch. A line joins the runs of one seed, a bar is the mean.",
    draw=runs_by_arm,
    panel="Runs of each arm, joined by seed",
)
