"""The trials: which failed, and how each learned."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reports.drawing import BLUE, DASHES, GREEN, GREY, ORANGE, PURPLE, Figure, by_epoch
from reports.results import Results, Trial, failed_trials
from reports.sections.document import Document
from reports.sections.words import SAMPLERS, plain, point, proposers, trial_label
from reports.standing import STATE_WORDS

TEMPERATURE_COLOURS = (GREEN, ORANGE, PURPLE, BLUE)

Panel = tuple[str, list[Trial]]
Style = tuple[str, str, str, float]


def trials(document: Document) -> list[str]:
    """The trials that failed, with their reasons, and the curves of all."""
    failed = [
        f"- trial {cell['number']} at {point(cell['alpha'], cell['temperature'])}: "
        f"{plain(cell['reason'] or 'no reason stored')}"
        for cell in failed_trials(document.results)
    ]
    failed += [
        f"- trial {one['number']} at {point(one['alpha'], one['temperature'])}, a finalist with seed {one['seed']}: "
        f"{plain(one['reason'] or 'no reason stored')}"
        for one in document.results.get("failed_finalists", [])
    ]
    listed = ["Failed trials:", "\n".join(failed)] if failed else []
    return [*listed, *document.figure(CURVES)]


def panels(results: Results) -> list[Panel]:
    """Title and trials of each panel: one an alpha, one more for TPE where it has curves."""
    trained = [cell for cell in results["grid"] if cell["curve"]]
    found = [
        (f"alpha {alpha:g}", [cell for cell in trained if cell["alpha"] == alpha])
        for alpha in results["configuration"]["alphas"]
    ]
    of_tpe = [cell for cell in results["tpe"] if cell["curve"]]
    return [*found, (f"{proposers(of_tpe)}, any alpha and T", of_tpe)] if of_tpe else found


def curves(results: Results) -> go.Figure | None:
    """Validation accuracy by epoch, one panel an alpha, one more for TPE; a pruned or failed trial ends in a cross."""
    shown = panels(results)
    if not any(cells for _, cells in shown):
        return None
    rows = (len(shown) + 1) // 2
    figure = make_subplots(
        rows, 2, shared_xaxes="all", shared_yaxes="all", subplot_titles=[title for title, _ in shown],
        horizontal_spacing=0.03, vertical_spacing=0.24 / rows,
    )  # fmt: skip
    figure.update_layout(template="kd_study", height=80 + 210 * rows)
    figure.update_annotations(font_size=13)
    temperatures = results["configuration"]["temperatures"]
    names = ["no teacher", *map(_temperature_name, temperatures), *SAMPLERS.values()]
    ranks = {name: rank for rank, name in enumerate(names, 1)}
    grid_panels, named = len(results["configuration"]["alphas"]), set[str]()
    for index, (_, cells) in enumerate(shown):
        place = {"row": index // 2 + 1, "col": index % 2 + 1}
        for cell in cells:
            style = _style(cell, temperatures, of_tpe=index >= grid_panels)
            _add_curve(figure, place, cell, style, ranks[style[0]], named)
    figure.update_xaxes(showticklabels=True)
    by_epoch(figure, results["configuration"]["epochs"])
    figure.update_xaxes(title_text="epoch", row=rows)
    figure.update_yaxes(title_text="accuracy, %", col=1)
    figure.update_layout(legend_y=1 + 30 / (80 + 210 * rows))
    return figure


def _temperature_name(temperature: float) -> str:
    return f"T {temperature:g}"


def _style(cell: Trial, temperatures: list[float], of_tpe: bool) -> Style:
    """Name in the legend, colour, dash and width of a curve."""
    if of_tpe:
        return SAMPLERS[cell["sampler"]], GREY, "solid", 1.2
    if cell["alpha"] == 0:
        return "no teacher", GREY, "solid", 2
    rounds, index = divmod(temperatures.index(cell["temperature"]), 4)
    return _temperature_name(cell["temperature"]), TEMPERATURE_COLOURS[index], DASHES[(index + rounds) % 4], 2


def _add_curve(figure: go.Figure, place: dict[str, int], cell: Trial, style: Style, rank: int, named: set[str]) -> None:
    """Add a curve and its cross, with an entry in the legend for what is not ``named`` yet."""
    name, colour, dash, width = style
    accuracy = [100 * epoch["validation_accuracy"] for epoch in cell["curve"]]
    stopped = cell["state"] in ("PRUNED", "FAIL")
    figure.add_scatter(
        **place,
        x=list(range(1, len(accuracy) + 1)),
        y=accuracy,
        name=name,
        legendgroup=name,
        legendrank=rank,
        showlegend=name not in named,
        mode="lines",
        line={"color": colour, "dash": dash, "width": width},
        opacity=0.65 if stopped else 1,
        hovertemplate=f"{trial_label(cell)}<br>epoch %{{x}}: %{{y:.2f}} %<extra></extra>",
    )
    named.add(name)
    if stopped:
        ending = STATE_WORDS[cell["state"]]
        figure.add_scatter(
            **place,
            x=[len(accuracy)],
            y=accuracy[-1:],
            name=ending,
            legendgroup=ending,
            showlegend=ending not in named,
            mode="markers",
            marker={"symbol": "x-thin" if ending == "pruned" else "star-triangle-down", "size": 9,
                    "color": colour, "line": {"color": colour, "width": 2.5}},
            hovertemplate=f"{trial_label(cell)}<br>{ending} after epoch %{{x}}<extra></extra>",
        )  # fmt: skip
        named.add(ending)


CURVES = Figure(
    name="curves",
    caption="Validation accuracy by epoch of the trials that ended; a cross ends a pruned one.",
    draw=curves,
    panel="Trials that ended, by epoch",
)
