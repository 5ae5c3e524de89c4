"""Whether the networks are as sure as they are right."""

from collections.abc import Iterator

import plotly.graph_objects as go

from reports.calibration import calibration_error, calibration_floor, overconfidence, pool_bins
from reports.drawing import DASHES, GREEN, GREY, Figure, arm_colours, blank
from reports.results import Results, distinct
from reports.sections.document import Document, plain_arms
from reports.sections.words import arm_label, mean, table

FEWEST_IMAGES_A_BIN = 30
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x", "star")


def calibration(document: Document) -> list[str]:
    """The calibration error of each arm and of the teacher."""
    if not document.arms:
        return []
    kept = {arm_label(name, arm): arm["calibration"] for name, arm in distinct(document.arms).items() if arm["seeds"]}
    if document.teacher["hash"] is not None:
        kept["teacher"] = [document.teacher["calibration"]]
    if not kept:
        return []
    rows = [
        (
            name,
            mean([100 * calibration_error(bins) for bins in networks], "{:.2f} %"),
            mean([100 * calibration_floor(bins) for bins in networks], "{:.2f} %"),
            mean([100 * overconfidence(bins) for bins in networks], "{:+.2f} points"),
        )
        for name, networks in kept.items()
    ]
    return [
        "### Calibration",
        table(["Network", "Expected calibration error", "By chance alone", "Confidence - accuracy"], rows),
        "The mean gap between confidence and accuracy on the test images, over 15 equal bins of confidence; what it "
        "would be by chance, in so many images, of a network that is exactly as often right as it says; and the gap "
        "without bins and with its sign: above zero a network is surer than it is right. Means over seeds.",
        *document.figure(DIAGRAM),
    ]


def lines(results: Results) -> Iterator[tuple[str, str, list[tuple[float, float, float]]]]:
    """Name, colour and bins of each curve of the calibration diagram; bins of all seeds of an arm added up."""
    arms = plain_arms(results)
    colours = arm_colours(arms)
    for name, arm in arms.items():
        if arm["calibration"]:
            label = name if name in ("baseline", "best") else arm_label(name, arm)
            yield label, colours[name], pool_bins(arm["calibration"])
    if results["teacher"]["hash"] is not None:
        yield "teacher", GREEN, pool_bins([results["teacher"]["calibration"]])


def diagram(results: Results) -> go.Figure | None:
    """Accuracy against confidence on the test images; on the diagonal a network is as often right as it says."""
    shown = list(lines(results))
    if all(name == "teacher" for name, _, _ in shown):
        return None
    figure = blank(height=420)
    figure.add_scatter(
        x=[0, 100], y=[0, 100], mode="lines", name="perfect", line={"color": GREY, "width": 1, "dash": "dot"}
    )
    for index, (name, colour, bins) in enumerate(shown):
        filled = [(c, s, k) for c, s, k in bins if c >= FEWEST_IMAGES_A_BIN]
        figure.add_scatter(
            x=[100 * confidence / images for images, confidence, _ in filled],
            y=[100 * correct / images for images, _, correct in filled],
            mode="lines+markers",
            name=name,
            line={"color": colour, "width": 2, "dash": DASHES[index % len(DASHES)]},
            marker={"size": 7, "symbol": SYMBOLS[index % len(SYMBOLS)]},
            hovertemplate=f"{name}: confidence %{{x:.1f}} %, accuracy %{{y:.1f}} %<extra></extra>",
        )
    figure.update_xaxes(title_text="mean confidence, %", range=[0, 101])
    figure.update_yaxes(title_text="accuracy, %", range=[0, 101])
    return figure


DIAGRAM = Figure(
    name="calibration",
    caption="Accuracy against confidence on the test images, all seeds of an arm together; bins of fewer than "
    f"{FEWEST_IMAGES_A_BIN} images are left out.",
    draw=diagram,
)
