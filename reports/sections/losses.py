"""The losses of the arms, by epoch and at the end."""

import plotly.graph_objects as go

from reports.drawing import ORANGE, Figure, arm_colours, blank, by_epoch
from reports.evidence import trial_of
from reports.results import Results, distinct
from reports.sections.document import Document, distilled_arm
from reports.sections.words import arm_label, count, filled_table, mean, trial_label


def losses(document: Document) -> list[str]:
    """Training and test loss of each arm."""
    if not document.arms:
        return []
    rows: list[list[str]] = []
    for name, arm in distinct(document.arms).items():
        if not arm["seeds"]:
            continue
        last = [curve[-1]["train_loss"] for curve in arm["curves"] if curve]
        rows.append(
            [arm_label(name, arm), mean(last, "{:.4f}"), mean(arm["test_loss"], "{:.4f}"), _beside(document, name)]
        )
    if not rows:
        return []
    header = ["Arm", "Training loss, last epoch", "Test cross-entropy", "Minus the baseline's, 95 % t interval"]
    paired_by_seed = ", differences paired by seed" if any(row[3] != "-" for row in rows) else ""
    distilled = ""
    if any(arm["alpha"] and arm["seeds"] for arm in document.arms.values()):
        distilled = (
            " The training loss of a distilled arm is the weighted sum that it trains on and does not compare with the "
            "baseline's."
        )
    return [
        "### Losses",
        filled_table(header, rows),
        f"Means over seeds, in nats{paired_by_seed}.{distilled}"
        + (" The original shows its training losses in its figures 2 and 3." if document.original else ""),
        *document.figure(WITHOUT_DISTILLATION),
        *document.figure(WITH_DISTILLATION),
    ]


def _beside(document: Document, name: str) -> str:
    """An arm's test cross-entropy minus the baseline's, with its interval in nats."""
    pairs = document.paired_with_baseline(name, "test_loss")
    if pairs is None:
        return "-"
    known = pairs.estimate
    if known is None:
        return f"{pairs.mean:+.4f} ({pairs.why_no_interval})"
    return f"{known.mean:+.4f} ({known.interval[0]:+.4f} to {known.interval[1]:+.4f})"


def without_distillation(results: Results) -> go.Figure | None:
    """Training loss of the baseline, one line a final seed, with the validation loss of its search trial."""
    return _drawn(results, "baseline")


def with_distillation(results: Results) -> go.Figure | None:
    """Training loss of the distilled arm that is shown, likewise."""
    name = distilled_arm(results)
    return None if name is None else _drawn(results, name)


def _drawn(results: Results, name: str) -> go.Figure | None:
    arm = results["arms"].get(name)
    if arm is None or not any(arm["curves"]):
        return None
    figure = blank(height=360)
    of_arm = "" if name in ("baseline", "best") else f" of {arm_label(name, arm)}"
    for index, (seed, curve) in enumerate(zip(arm["seeds"], arm["curves"], strict=True)):
        figure.add_scatter(
            x=list(range(1, len(curve) + 1)),
            y=[epoch["train_loss"] for epoch in curve],
            name=f"training, {count(len(arm['seeds']), 'final seed')}{of_arm}",
            legendgroup="training",
            showlegend=index == 0,
            mode="lines",
            line={"color": arm_colours([name])[name], "width": 1.5},
            opacity=0.8,
            hovertemplate=f"seed {seed}, epoch %{{x}}: %{{y:.4f}}<extra></extra>",
        )
    trial = trial_of(results, arm)
    if trial is not None:
        figure.add_scatter(
            x=list(range(1, len(trial["curve"]) + 1)),
            y=[epoch["validation_loss"] for epoch in trial["curve"]],
            name="validation cross-entropy, search trial",
            mode="lines",
            line={"color": ORANGE, "width": 2, "dash": "dash"},
            hovertemplate=f"{trial_label(trial)}<br>epoch %{{x}}: %{{y:.4f}}<extra></extra>",
        )
    figure.update_xaxes(title_text="epoch")
    by_epoch(figure, results["configuration"]["epochs"])
    figure.update_yaxes(title_text="loss, nats")
    return figure


WITHOUT_DISTILLATION = Figure(
    name="loss_without_distillation",
    caption="Training loss without distillation. A validation loss, where there is one, "
    "is that of the search trial at the same point, which trained on fewer images and with another seed.",
    draw=without_distillation,
)
WITH_DISTILLATION = Figure(
    name="loss_with_distillation",
    caption="Training loss with distillation. The training loss is the "
    "weighted sum that is trained on, a validation loss plain cross-entropy: their levels do not compare.",
    draw=with_distillation,
)
