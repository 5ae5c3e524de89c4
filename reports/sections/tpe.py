"""What TPE, or a Gaussian process, found beyond the grid."""

import plotly.graph_objects as go

from reports.drawing import GREY, Figure, blank
from reports.evidence import begun, paired, range_constant, scored
from reports.results import Results, Trial, all_trials
from reports.sections.document import Document
from reports.sections.words import (
    SAMPLERS,
    capitalised,
    count,
    interval,
    percent,
    point,
    points,
    proposers,
    table,
    trial_label,
)
from reports.standing import STATE_WORDS, are_apart, count_compared
from storage.trials import run_pair

MOST_NAMED = 5
"""Trials in the figure, so that their names do not cover each other."""


def tpe(document: Document) -> list[str]:
    """The best of what came after the grid beside the grid's, on validation and on test."""
    trials = document.results["tpe"]
    if not trials:
        return ["### Beyond the grid: TPE", "No TPE trials were run."]
    who = proposers(trials)
    title = f"### Beyond the grid: {who}"
    ranked = sorted(scored(begun(trials)), key=lambda pair: -pair[0])
    asked, begun_now = document.results["search"]["tpe_trials"], len(trials)
    begun_of = f"{begun_now} of {count(asked, 'trial')}" if begun_now < asked else count(begun_now, "trial")
    words = f"{capitalised(who)} went on from the grid for {begun_of}, {len(ranked)} complete."
    if not ranked:
        return [title, words, *document.figure(PATH)]
    rows = [
        (cell["number"], f"{cell['alpha']:.3f}", f"{cell['temperature']:.2f}", percent(value))
        for value, cell in ranked[:5]
    ]
    words += _on_validation(document, *ranked[0]) + on_test(document, ranked[0][1])
    if len(ranked) > len(rows):
        words += f" The best {len(rows)} are:"
    return [title, words, table(["Trial", "alpha", "T", "Validation accuracy"], rows), *document.figure(PATH)]


def _on_validation(document: Document, value: float, top: Trial) -> str:
    words = f" {_whose(document)} best is {point(top['alpha'], top['temperature'])} with {percent(value)} on validation"
    results = document.results
    best = results["best"]
    grid_best = next((trial for trial in results["grid"] if best and trial["number"] == best["number"]), None)
    if best is None or grid_best is None:
        return f"{words}. No grid point is complete to hold it against."
    among = count_compared(all_trials(results))
    apart = are_apart(top, grid_best, results, among)
    return (
        f"{words}, {points(value - best['value'])} from the grid's best; "
        f"{'the two can be told apart' if apart else 'the two cannot be told apart'} by the rule above, which allows "
        f"{range_constant(max(2, among)):.2f} standard errors to the best of {among}. The best of more trials tends to "
        "be higher, by luck alone."
    )


def _whose(document: Document) -> str:
    return "Its" if len({trial["sampler"] for trial in document.results["tpe"]}) == 1 else "Their"


def on_test(document: Document, top: Trial) -> str:
    """Where their points end on test beside the grid's best, in sentences; nothing where that is not known.

    Args:
        top: the best of them by one seed, which was spoken of; where there are finalists, an arm may be another's.
    """
    words = ""
    for sampler, name in SAMPLERS.items():
        if sampler not in document.arms or "best" not in document.arms:
            continue
        arm = document.arms[sampler]
        is_top = run_pair(arm["alpha"], arm["temperature"]) == run_pair(top["alpha"], top["temperature"])
        which = "" if is_top or sampler != top["sampler"] else f" ({point(arm['alpha'], arm['temperature'])})"
        pairs = paired(arm, document.arms["best"])
        known = pairs.estimate
        if known is not None:
            words += (
                f" On test, {name}'s point{which} minus the grid's best is {points(known.mean)} (95 % interval "
                f"{interval(known)}, {len(pairs.seeds)} seeds)."
            )
    return words


def path(results: Results) -> go.Figure | None:
    """Where TPE went over the plane of the grid, with what it found there."""
    trials = begun(results["tpe"])
    if not trials:
        return None
    figure = blank(height=440)
    _add_scored(figure, results["grid"], trials)
    unscored = [cell for cell in results["grid"] + trials if cell["state"] in ("PRUNED", "FAIL")]
    figure.add_scatter(
        **_places(unscored),
        mode="markers",
        name="pruned or failed",
        marker={"symbol": "x-thin", "size": 9, "line": {"color": GREY, "width": 2}},
        customdata=[f"{trial_label(cell)}<br>{STATE_WORDS[cell['state']]}" for cell in unscored],
        hovertemplate="%{customdata}<extra></extra>",
    )
    figure.update_xaxes(
        title_text="temperature T", type="log", tickvals=[1, 2, 4, 8, 16], ticktext=["1", "2", "4", "8", "16"]
    )
    figure.update_yaxes(title_text="alpha, the teacher's weight", range=[-0.06, 1.06])
    return figure


def _places(cells: list[Trial]) -> dict[str, list[float]]:
    return {"x": [cell["temperature"] for cell in cells], "y": [cell["alpha"] for cell in cells]}


def _add_scored(figure: go.Figure, grid: list[Trial], trials: list[Trial]) -> None:
    """The cells and trials that have a value, on one scale of colours."""
    measured = [100 * value for value, _ in scored(grid + trials)]
    named = [cell for _, cell in sorted(scored(trials), key=lambda pair: -pair[0])[:MOST_NAMED]]
    limits = {"cmin": min(measured, default=0), "cmax": max(measured, default=1)}
    for name, cells, symbol in (("grid", grid, "square"), (proposers(trials), trials, "circle")):
        shown = scored(cells)
        figure.add_scatter(
            **_places([cell for _, cell in shown]),
            mode="markers+text",
            name=name,
            text=[f"{cell['number']}: {100 * value:.2f}" if cell in named else "" for value, cell in shown],
            textposition="top center",
            marker={"symbol": symbol, "size": 15, "color": [100 * value for value, _ in shown],
                    "colorscale": "Cividis", **limits,
                    "line": {"color": GREY, "width": 1}, "showscale": cells is trials,
                    "colorbar": {"title": {"text": "%", "side": "top"}, "thickness": 12, "outlinewidth": 0}},
            customdata=[trial_label(cell) for _, cell in shown],
            hovertemplate="%{customdata}<br>%{marker.color:.2f} %<extra></extra>",
        )  # fmt: skip


PATH = Figure(
    name="tpe",
    caption="Where the trials after the grid went, over the plane of the grid; the best with number and accuracy in %.",
    draw=path,
    panel="Where the trials after the grid went",
)
