"""What pruning saved."""

import plotly.graph_objects as go

from reports.drawing import BLUE, CLEAR, GREY, Figure, blank
from reports.evidence import begun
from reports.results import Results, Trial, all_trials, without_repeats
from reports.sections.document import Document
from reports.sections.words import count, trial_label


def pruning(document: Document) -> list[str]:
    """How many trials were stopped and what that saved."""
    return ["### What pruning saved", _words(document), *document.figure(SAVINGS)]


def _words(document: Document) -> str:
    search = document.results["search"]
    trials = without_repeats(all_trials(document.results))
    if not any(trial["epochs"] for trial in trials):
        return "No trial has trained an epoch yet."
    if document.pruners == {"none"}:
        return "Pruning was switched off: no trial was stopped for its accuracy."
    pruned = count(sum(trial["state"] == "PRUNED" for trial in trials), "trial")
    spared = [trial for trial in trials if trial["pruner"] == "none"]
    saved = search["epochs_full"] - search["epochs_trained"]
    share = saved / search["epochs_full"]
    without = f"{count(len(spared), 'trial')} ran without a pruner. " if spared else ""
    finalists = "Finalists are never pruned and not counted here. " if document.results["finalists"] else ""
    return (
        f"The median pruner stopped {pruned}. {without}The search trained {search['epochs_trained']:,} of "
        f"{search['epochs_full']:,} epochs, {100 * share:.0f} % fewer. {finalists}A point that learns slowly at first "
        "can be pruned although it would have been good in the end."
    )


def _ended(results: Results) -> list[Trial]:
    """The trials that trained and ended, in the order of their start."""
    trained = begun(without_repeats(all_trials(results)))
    return [cell for cell in trained if cell["epochs"] and cell["state"] in ("COMPLETE", "PRUNED")]


def savings(results: Results) -> go.Figure | None:
    """Epochs trained and epochs saved, one bar a trial; nothing where no trial was pruned."""
    trials = _ended(results)
    if not any(cell["state"] == "PRUNED" for cell in trials):
        return None
    full = results["configuration"]["epochs"]
    figure = blank(height=320)
    hover = [f"{trial_label(cell)}<br>{cell['state'].lower()} after {cell['epochs']} epochs" for cell in trials]
    bars = {"x": list(range(len(trials))), "customdata": hover, "hovertemplate": "%{customdata}<extra></extra>"}
    figure.add_bar(**bars, y=[cell["epochs"] for cell in trials], name="trained", marker_color=BLUE)
    figure.add_bar(
        **bars,
        y=[full - cell["epochs"] for cell in trials],
        name="saved by pruning",
        marker={"color": CLEAR, "line": {"color": GREY, "width": 1},
                "pattern": {"shape": "/", "fgcolor": GREY, "bgcolor": CLEAR, "solidity": 0.15}},
    )  # fmt: skip
    figure.update_layout(barmode="stack", bargap=0.25, legend_traceorder="normal")
    every = 1 + len(trials) // 16
    figure.update_xaxes(
        title_text="trial, in the order of their start",
        tickvals=list(range(0, len(trials), every)),
        ticktext=[str(cell["number"]) for cell in trials[::every]],
        showgrid=False,
    )
    figure.update_yaxes(title_text="epochs")
    return figure


SAVINGS = Figure(
    name="pruning",
    caption="Epochs that each trial trained and that pruning saved.",
    draw=savings,
    panel="What pruning saved",
)
