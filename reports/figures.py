"""Every figure of the report, drawn by plotly from the results alone.

One quiet template in three schemes: ``kd_study`` (light), ``kd_study_dark``, and ``kd_study_clear`` for a page that may
be either and does not say which, with the grey that both leave readable. Traces keep to colours that reach a
contrast of 3 to 1 on both, told apart by the colour-blind, and no figure tells things apart by colour alone. Figures
have no width of their own: they fit a code host's page (800 pixels) and a phone.
"""

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
import plotly.io
from plotly.subplots import make_subplots

from reports import Results
from reports.evidence import Paired, gains, is_measured, not_told_apart, pool_bins

GREY, BLUE, ORANGE, PURPLE, GREEN = "#808790", "#1a7fc9", "#d07a08", "#a35fb5", "#2b9c78"
TEMPERATURE_COLOURS = (GREEN, ORANGE, PURPLE, BLUE)
DASHES = ("solid", "dash", "dot", "dashdot")
STATE_WORDS = {"PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting", "MISSING": "not yet"}
STATE_PATTERNS = {"PRUNED": "/", "FAIL": "x", "RUNNING": ".", "WAITING": "", "MISSING": ""}
FEWEST_IMAGES_A_BIN = 30


def _template(text: str, paper: str, lines: str) -> go.layout.Template:
    axis = {
        "automargin": True,
        "gridcolor": lines,
        "linecolor": lines,
        "zeroline": False,
        "showline": True,
        "ticks": "",
        "title": {"standoff": 8, "font": {"size": 13}},
    }
    return go.layout.Template(
        layout={
            "font": {"family": "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif", "size": 13},
            "font_color": text,
            "paper_bgcolor": paper,
            "plot_bgcolor": paper,
            "xaxis": axis,
            "yaxis": axis,
            "margin": {"l": 12, "r": 12, "t": 12, "b": 12},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
            "hoverlabel": {"font_size": 13},
            "colorscale": {"sequential": "Cividis"},
        }
    )


plotly.io.templates["kd_study"] = _template(text="#24292f", paper="#ffffff", lines="#e3e6ea")
plotly.io.templates["kd_study_dark"] = _template(text="#d8dee6", paper="#0d1117", lines="#2b323b")
plotly.io.templates["kd_study_clear"] = _template(text="#7a8089", paper="rgba(0,0,0,0)", lines="rgba(128,135,144,0.3)")


def figures(results: Results) -> dict[str, go.Figure]:
    """All figures that the results have something for, by file name without extension, in the report's order."""
    drawers: dict[str, Callable[[Results], go.Figure | None]] = {
        "grid": grid_heatmap,
        "trials": trial_curves,
        "pruning": pruning_savings,
        "tpe": tpe_path,
        "comparison": comparison,
        "loss_without_distillation": loss_without_distillation,
        "loss_with_distillation": loss_with_distillation,
        "groups": group_gains,
        "classes": class_gains,
        "calibration": calibration,
        "samples": sample_images,
    }
    drawn = {name: draw(results) for name, draw in drawers.items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _figure(height: int) -> go.Figure:
    return go.Figure(layout={"template": "kd_study", "height": height})


# The grid.


@dataclass(frozen=True)
class _Cell:
    row: int
    column: int
    value: float | None
    lines: tuple[str, ...]
    pattern: str
    hover: str


def grid_cells(results: Results) -> list[_Cell]:
    """What the heatmap writes into each cell of the grid; only a COMPLETE cell has a value."""
    configuration, best = results["configuration"], results["best"]
    images = results["data"]["validation_images"]
    cells = []
    for cell in results["grid"]:
        point = f"alpha {cell['alpha']:g}, T {cell['temperature']:g}"
        row = configuration["alphas"].index(cell["alpha"])
        column = configuration["temperatures"].index(cell["temperature"])
        if not is_measured(cell):
            words = STATE_WORDS[cell["state"]]
            stopped = f"epoch {cell['epochs']}" if cell["epochs"] else ""
            hover = f"{point}<br>{words} {stopped}".strip()
            pattern = STATE_PATTERNS[cell["state"]]
            cells.append(_Cell(row, column, None, (words, stopped), pattern, hover))
            continue
        number = f"{100 * cell['value']:.2f}"
        if cell["repeats"] is not None:
            note, hover = (
                "repeat",
                f"{point}<br>{number} %<br>repeats trial {cell['repeats']}: at alpha 0, T is no matter",
            )
        else:
            note, hover = "", f"{point}<br>{number} %<br>trial {cell['number']}"
        if best is not None:
            if (cell["alpha"], cell["temperature"]) == (best["alpha"], best["temperature"]):
                note, number = "best", f"<b>{number}</b>"
            elif not cell["alpha"] == best["alpha"] == 0 and not_told_apart(cell["value"], best["value"], images):
                note = f"{note} ≈".strip()
                hover += "<br>cannot be told apart from the best"
        pattern = "\\" if cell["repeats"] is not None else ""
        cells.append(_Cell(row, column, cell["value"], (number, note), pattern, hover))
    return cells


def grid_heatmap(results: Results) -> go.Figure | None:
    """Validation accuracy over alpha and T; pruned, failed, running and repeated cells told apart by text and pattern.

    Axes are positions with the values as labels: alpha 0 has a row of its own, and rows are evenly high.
    """
    cells = grid_cells(results)
    if not cells:
        return None
    alphas, temperatures = results["configuration"]["alphas"], results["configuration"]["temperatures"]
    values: list[list[float | None]] = [[None] * len(temperatures) for _ in alphas]
    text, hover = [[""] * len(temperatures) for _ in alphas], [[""] * len(temperatures) for _ in alphas]
    for cell in cells:
        values[cell.row][cell.column] = None if cell.value is None else 100 * cell.value
        text[cell.row][cell.column] = "<br>".join(filter(None, cell.lines)) if cell.value is not None else ""
        hover[cell.row][cell.column] = cell.hover
    figure = _figure(height=400)
    figure.add_heatmap(
        z=values,
        text=text,
        texttemplate="%{text}",
        customdata=hover,
        hovertemplate="%{customdata}<extra></extra>",
        hoverongaps=False,
        xgap=2,
        ygap=2,
        colorscale="Cividis",
        showscale=False,
        textfont={"size": 13},
    )
    marked = [cell for cell in cells if cell.value is None or cell.pattern]
    figure.add_bar(
        x=[cell.column for cell in marked],
        y=[0.98] * len(marked),
        base=[cell.row - 0.49 for cell in marked],
        width=0.98,
        customdata=[cell.hover for cell in marked],
        hovertemplate="%{customdata}<extra></extra>",
        marker={
            "color": "rgba(0,0,0,0)",
            "line": {"color": GREY, "width": [1 if cell.value is None else 0 for cell in marked]},
            "pattern": {
                "shape": [cell.pattern for cell in marked],
                "fgcolor": [
                    "rgba(128,135,144,0.35)" if cell.value is None else "rgba(255,255,255,0.3)" for cell in marked
                ],
                "bgcolor": "rgba(0,0,0,0)",
                "size": 12,
                "solidity": 0.12,
            },
        },
        showlegend=False,
    )
    for cell in cells:
        if cell.value is None:
            figure.add_annotation(
                x=cell.column, y=cell.row, text="<br>".join(filter(None, cell.lines)), showarrow=False
            )
        if "best" in cell.lines:
            figure.add_shape(
                type="rect",
                x0=cell.column - 0.49,
                x1=cell.column + 0.49,
                y0=cell.row - 0.49,
                y1=cell.row + 0.49,
                line={"color": ORANGE, "width": 3},
            )
    axis = {"showgrid": False, "showline": False, "fixedrange": True}
    figure.update_xaxes(
        title_text="temperature T",
        tickvals=list(range(len(temperatures))),
        ticktext=[f"{t:g}" for t in temperatures],
        **axis,
    )
    figure.update_yaxes(
        title_text="alpha, the teacher's weight",
        tickvals=list(range(len(alphas))),
        ticktext=[f"{a:g}" for a in alphas],
        **axis,
    )
    return figure


# The trials.


def trial_curves(results: Results) -> go.Figure | None:
    """Validation accuracy by epoch, one panel an alpha, one more for TPE; a pruned or failed trial ends in a cross."""
    alphas, temperatures = results["configuration"]["alphas"], results["configuration"]["temperatures"]
    panels = [[cell for cell in results["grid"] if cell["alpha"] == alpha and cell["curve"]] for alpha in alphas]
    titles = [f"alpha {alpha:g}" for alpha in alphas]
    if any(cell["curve"] for cell in results["tpe"]):
        panels.append([cell for cell in results["tpe"] if cell["curve"]])
        titles.append("TPE, any alpha and T")
    if not any(panels):
        return None
    rows = (len(panels) + 1) // 2
    figure = make_subplots(
        rows, 2, shared_xaxes="all", shared_yaxes="all", subplot_titles=titles, horizontal_spacing=0.03,
        vertical_spacing=0.24 / rows,
    )  # fmt: skip
    figure.update_layout(template="kd_study", height=80 + 210 * rows)
    figure.update_annotations(font_size=13)
    styles = {
        temperature: (f"T {temperature:g}", TEMPERATURE_COLOURS[index % 4], DASHES[index % 4])
        for index, temperature in enumerate(temperatures)
    }
    ranks = {"no teacher": 1} | {name: 2 + index for index, (name, _, _) in enumerate(styles.values())}
    named = set()
    for index, cells in enumerate(panels):
        place = {"row": index // 2 + 1, "col": index % 2 + 1}
        for cell in cells:
            name, colour, dash = styles.get(cell["temperature"], ("TPE", GREY, "solid"))
            if index >= len(alphas):
                name, colour, dash = "TPE", GREY, "solid"
            elif cell["alpha"] == 0:
                name, colour, dash = "no teacher", GREY, "solid"
            accuracy = [100 * epoch["validation_accuracy"] for epoch in cell["curve"]]
            stopped = cell["state"] in ("PRUNED", "FAIL")
            figure.add_scatter(
                **place,
                x=list(range(1, len(accuracy) + 1)),
                y=accuracy,
                name=name,
                legendgroup=name,
                legendrank=ranks.get(name, 2 + len(styles)),
                showlegend=name not in named,
                mode="lines",
                line={"color": colour, "dash": dash, "width": 2 if index < len(alphas) else 1.2},
                opacity=0.65 if stopped else 1,
                hovertemplate=f"{_label(cell)}<br>epoch %{{x}}: %{{y:.2f}} %<extra></extra>",
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
                    hovertemplate=f"{_label(cell)}<br>{ending} after epoch %{{x}}<extra></extra>",
                )  # fmt: skip
                named.add(ending)
    figure.update_xaxes(showticklabels=True)
    figure.update_xaxes(title_text="epoch", row=rows)
    figure.update_yaxes(title_text="accuracy, %", col=1)
    figure.update_layout(legend_y=1 + 30 / (80 + 210 * rows))
    return figure


def _label(cell: dict[str, Any]) -> str:
    return f"trial {cell['number']}: alpha {cell['alpha']:.3g}, T {cell['temperature']:.3g}"


def pruning_savings(results: Results) -> go.Figure | None:
    """Epochs trained and epochs saved, one bar a trial; nothing where no trial was pruned."""
    trials = [cell for cell in results["grid"] + results["tpe"] if cell["epochs"] and cell["repeats"] is None]
    trials = [cell for cell in trials if cell["state"] in ("COMPLETE", "PRUNED")]
    if not any(cell["state"] == "PRUNED" for cell in trials):
        return None
    trials.sort(key=lambda cell: cell["number"])
    full = results["configuration"]["epochs"]
    figure = _figure(height=320)
    numbers = [cell["number"] for cell in trials]
    hover = [f"{_label(cell)}<br>{cell['state'].lower()} after {cell['epochs']} epochs" for cell in trials]
    bars = {"x": list(range(len(trials))), "customdata": hover, "hovertemplate": "%{customdata}<extra></extra>"}
    figure.add_bar(**bars, y=[cell["epochs"] for cell in trials], name="trained", marker_color=BLUE)
    figure.add_bar(
        **bars,
        y=[full - cell["epochs"] for cell in trials],
        name="saved by pruning",
        marker={"color": "rgba(0,0,0,0)", "line": {"color": GREY, "width": 1},
                "pattern": {"shape": "/", "fgcolor": GREY, "bgcolor": "rgba(0,0,0,0)", "solidity": 0.15}},
    )  # fmt: skip
    figure.update_layout(barmode="stack", bargap=0.25, legend_traceorder="normal")
    every = 1 + len(trials) // 16
    figure.update_xaxes(
        title_text="trial, in the order of their start",
        tickvals=list(range(0, len(trials), every)),
        ticktext=[str(number) for number in numbers[::every]],
        showgrid=False,
    )
    figure.update_yaxes(title_text="epochs")
    return figure


def tpe_path(results: Results) -> go.Figure | None:
    """Where TPE went over the plane of the grid, in order, with what it found there."""
    trials = sorted((cell for cell in results["tpe"] if cell["number"] is not None), key=lambda cell: cell["number"])
    if not trials:
        return None
    measured = [cell for cell in results["grid"] + trials if is_measured(cell)]
    limits = {
        "cmin": min((100 * cell["value"] for cell in measured), default=0),
        "cmax": max((100 * cell["value"] for cell in measured), default=1),
    }
    figure = _figure(height=440)
    figure.add_scatter(
        x=[cell["temperature"] for cell in trials],
        y=[cell["alpha"] for cell in trials],
        mode="lines",
        name="order",
        line={"color": GREY, "width": 1, "dash": "dot"},
        opacity=0.6,
        hoverinfo="skip",
    )
    scale = {"colorscale": "Cividis", **limits}
    for name, cells, symbol in (("grid", results["grid"], "square"), ("TPE", trials, "circle")):
        scored = [cell for cell in cells if is_measured(cell)]
        figure.add_scatter(
            x=[cell["temperature"] for cell in scored],
            y=[cell["alpha"] for cell in scored],
            mode="markers",
            name=name,
            marker={"symbol": symbol, "size": 15, "color": [100 * cell["value"] for cell in scored], **scale,
                    "line": {"color": GREY, "width": 1}, "showscale": name == "TPE",
                    "colorbar": {"title": {"text": "%", "side": "top"}, "thickness": 12, "outlinewidth": 0}},
            customdata=[_label(cell) for cell in scored],
            hovertemplate="%{customdata}<br>%{marker.color:.2f} %<extra></extra>",
        )  # fmt: skip
    unscored = [cell for cell in results["grid"] + trials if cell["state"] in ("PRUNED", "FAIL")]
    figure.add_scatter(
        x=[cell["temperature"] for cell in unscored],
        y=[cell["alpha"] for cell in unscored],
        mode="markers",
        name="pruned or failed",
        marker={"symbol": "x-thin", "size": 9, "line": {"color": GREY, "width": 2}},
        customdata=[f"{_label(cell)}<br>{STATE_WORDS[cell['state']]}" for cell in unscored],
        hovertemplate="%{customdata}<extra></extra>",
    )
    figure.update_xaxes(
        title_text="temperature T", type="log", tickvals=[1, 2, 4, 8, 16], ticktext=["1", "2", "4", "8", "16"]
    )
    figure.update_yaxes(title_text="alpha, the teacher's weight", range=[-0.06, 1.06])
    return figure


# The comparison.


def arm_colours(names: Iterable[str]) -> dict[str, str]:
    """One colour an arm: grey without distillation, blue for the best, others for the rest."""
    colours = {"baseline": GREY, "best": BLUE}
    rest = [name for name in names if name not in colours]
    return colours | {name: (ORANGE, PURPLE, GREEN)[index % 3] for index, name in enumerate(rest)}


def arm_label(name: str, arm: dict[str, Any]) -> str:
    """An arm in words."""
    if arm["alpha"] == 0:
        return f"{name} (no teacher)"
    point = f"({arm['alpha']:.3g}, {arm['temperature']:.3g})"
    return name if name.replace(" ", "") == point[1:-1].replace(" ", "") else f"{name} {point}"


def comparison(results: Results) -> go.Figure | None:
    """Test accuracy of each arm: a line joins the points of one seed, a bar is the mean."""
    arms = {name: arm for name, arm in results["arms"].items() if arm["test_accuracy"]}
    if not arms:
        return None
    figure = _figure(height=400)
    positions = {name: position for position, name in enumerate(arms)}
    for seed in sorted({seed for arm in arms.values() for seed in arm["seeds"]}):
        points = [
            (positions[name], 100 * arm["test_accuracy"][arm["seeds"].index(seed)])
            for name, arm in arms.items()
            if seed in arm["seeds"]
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
    for name, arm in arms.items():
        accuracy = [100 * value for value in arm["test_accuracy"]]
        mean = statistics.fmean(accuracy)
        figure.add_scatter(
            x=[positions[name]] * len(accuracy),
            y=accuracy,
            mode="markers",
            marker={"size": 10, "color": colours[name]},
            customdata=arm["seeds"],
            hovertemplate="seed %{customdata}: %{y:.2f} %<extra></extra>",
        )
        figure.add_shape(
            type="line",
            x0=positions[name] - 0.16,
            x1=positions[name] + 0.16,
            y0=mean,
            y1=mean,
            line={"color": colours[name], "width": 3},
        )
        figure.add_annotation(
            x=positions[name] + 0.18, y=mean, text=f"<b>{mean:.2f}</b>", showarrow=False, xanchor="left"
        )
    figure.update_xaxes(
        tickvals=list(positions.values()),
        ticktext=[arm_label(name, arm).replace(" (", "<br>(") for name, arm in arms.items()],
        range=[-0.5, len(arms) - 0.3],
        showgrid=False,
    )
    figure.update_yaxes(title_text="test accuracy, %")
    figure.update_layout(showlegend=False)
    return figure


def loss_without_distillation(results: Results) -> go.Figure | None:
    """Training loss of the baseline, one line a final seed, with the validation loss of its search trial."""
    return _losses(results, "baseline")


def loss_with_distillation(results: Results) -> go.Figure | None:
    """Training loss of the best arm, likewise; nothing where the best arm is not distilled."""
    best = results["arms"].get("best")
    return _losses(results, "best") if best is not None and best["alpha"] != 0 else None


def _losses(results: Results, name: str) -> go.Figure | None:
    arm = results["arms"].get(name)
    if arm is None or not any(arm["curves"]):
        return None
    figure = _figure(height=360)
    for index, (seed, curve) in enumerate(zip(arm["seeds"], arm["curves"], strict=True)):
        figure.add_scatter(
            x=list(range(1, len(curve) + 1)),
            y=[epoch["train_loss"] for epoch in curve],
            name=f"training, {len(arm['seeds'])} final seeds",
            legendgroup="training",
            showlegend=index == 0,
            mode="lines",
            line={"color": arm_colours([name])[name], "width": 1.5},
            opacity=0.8,
            hovertemplate=f"seed {seed}, epoch %{{x}}: %{{y:.4f}}<extra></extra>",
        )
    trial = _trial_of(results, arm)
    if trial is not None:
        figure.add_scatter(
            x=list(range(1, len(trial["curve"]) + 1)),
            y=[epoch["validation_loss"] for epoch in trial["curve"]],
            name="validation cross-entropy, search trial",
            mode="lines",
            line={"color": ORANGE, "width": 2, "dash": "dash"},
            hovertemplate=f"{_label(trial)}<br>epoch %{{x}}: %{{y:.4f}}<extra></extra>",
        )
    figure.update_xaxes(title_text="epoch")
    figure.update_yaxes(title_text="loss, nats")
    return figure


def _trial_of(results: Results, arm: dict[str, Any]) -> dict[str, Any] | None:
    def same(cell: dict[str, Any]) -> bool:
        return bool(cell["alpha"] == arm["alpha"] and (arm["alpha"] == 0 or cell["temperature"] == arm["temperature"]))

    return next((cell for cell in results["grid"] + results["tpe"] if cell["curve"] and same(cell)), None)


@dataclass(frozen=True)
class GainBar:
    """One bar of a gain figure, in points; the interval is None with fewer than two seeds."""

    name: str
    gain: float
    half_width: float | None

    @classmethod
    def of(cls, name: str, differences: Paired) -> "GainBar":
        """From the paired differences of one class or group."""
        estimate = differences.estimate
        return cls(name, 100 * differences.mean, None if estimate is None else 100 * estimate.half_width)


def group_gains(results: Results) -> go.Figure | None:
    """Gain in test accuracy of each group of classes, with the 95% t interval of its paired differences."""
    bars = [GainBar.of(gain.name, gain.paired) for gain in gains(results, results["data"]["groups"])]
    if not bars or results["arms"]["best"]["alpha"] == 0:
        return None
    bars.reverse()
    figure = _figure(height=70 + 24 * len(bars))
    figure.add_scatter(
        x=[bar.gain for bar in bars],
        y=[bar.name for bar in bars],
        mode="markers",
        marker={"color": [BLUE if bar.gain >= 0 else ORANGE for bar in bars], "size": 9,
                "symbol": ["circle" if bar.gain >= 0 else "diamond" for bar in bars]},
        error_x={"array": [bar.half_width or 0 for bar in bars], "color": GREY, "thickness": 1.2, "width": 3},
        hovertemplate="%{y}: %{x:+.2f} points<extra></extra>",
    )  # fmt: skip
    figure.add_vline(x=0, line={"color": GREY, "width": 1})
    figure.update_xaxes(title_text="gain, points")
    figure.update_yaxes(type="category", tickfont_size=11, dtick=1)
    return figure


def class_gains(results: Results) -> go.Figure | None:
    """Gain in test accuracy of each class, sorted; the names in the hover, the outermost written out."""
    bars = [GainBar.of(gain.name, gain.paired) for gain in gains(results, results["data"]["classes"])]
    if not bars or results["arms"]["best"]["alpha"] == 0:
        return None
    figure = _figure(height=360)
    figure.add_bar(
        x=list(range(1, len(bars) + 1)),
        y=[bar.gain for bar in bars],
        marker_color=[BLUE if bar.gain >= 0 else ORANGE for bar in bars],
        customdata=[bar.name for bar in bars],
        hovertemplate="%{customdata}: %{y:+.2f} points<extra></extra>",
    )
    outermost = min(3, len(bars) // 2)
    first = "<br>".join(f"{bar.name} {bar.gain:+.1f}" for bar in bars[:outermost])
    last = "<br>".join(f"{bar.name} {bar.gain:+.1f}" for bar in bars[-outermost:])
    corner = {"xref": "paper", "yref": "paper", "showarrow": False, "font_size": 12}
    figure.add_annotation(
        **corner, x=0.98, y=1, xanchor="right", yanchor="top", align="right", text=f"most:<br>{first}"
    )
    figure.add_annotation(
        **corner, x=0.02, y=0, xanchor="left", yanchor="bottom", align="left", text=f"least:<br>{last}"
    )
    figure.update_xaxes(title_text="classes, sorted by gain", showgrid=False)
    figure.update_yaxes(title_text="gain, points")
    figure.update_layout(bargap=0.1)
    return figure


def calibration_lines(results: Results) -> Iterator[tuple[str, str, list[tuple[float, float, float]]]]:
    """Name, colour and bins of each curve of the calibration diagram; bins of all seeds of an arm added up."""
    arms = results["arms"]
    colours = arm_colours(arms)
    for name in ("baseline", "best"):
        if name in arms and arms[name].get("calibration"):
            yield name, colours[name], pool_bins(arms[name]["calibration"])
    if results["teacher"].get("calibration"):
        yield "teacher", GREEN, pool_bins([results["teacher"]["calibration"]])


def calibration(results: Results) -> go.Figure | None:
    """Accuracy against confidence on the test images; on the diagonal a network is as often right as it says."""
    lines = list(calibration_lines(results))
    if all(name == "teacher" for name, _, _ in lines):
        return None
    figure = _figure(height=420)
    figure.add_scatter(
        x=[0, 100], y=[0, 100], mode="lines", name="perfect", line={"color": GREY, "width": 1, "dash": "dot"}
    )
    for index, (name, colour, bins) in enumerate(lines):
        filled = [(c, s, k) for c, s, k in bins if c >= FEWEST_IMAGES_A_BIN]
        figure.add_scatter(
            x=[100 * confidence / images for images, confidence, _ in filled],
            y=[100 * correct / images for images, _, correct in filled],
            mode="lines+markers",
            name=name,
            line={"color": colour, "width": 2, "dash": DASHES[index]},
            marker={"size": 7, "symbol": ("circle", "square", "diamond")[index]},
            hovertemplate=f"{name}: confidence %{{x:.1f}} %, accuracy %{{y:.1f}} %<extra></extra>",
        )
    figure.update_xaxes(title_text="mean confidence, %", range=[0, 101])
    figure.update_yaxes(title_text="accuracy, %", range=[0, 101])
    return figure


# The data.


def sample_images(results: Results) -> go.Figure | None:
    """Sample images with their classes, five in a row."""
    samples: Sequence[dict[str, str]] = results["data"].get("samples") or []
    if not samples:
        return None
    columns = min(5, len(samples))
    rows = -(-len(samples) // columns)
    figure = _figure(height=120 * rows + 10)
    for index, sample in enumerate(samples):
        x, y = index % columns, rows - 1 - index // columns
        figure.add_layout_image(
            source=f"data:image/png;base64,{sample['png']}",
            x=x,
            y=y + 0.08,
            sizex=0.72,
            sizey=0.72,
            xref="x",
            yref="y",
            xanchor="center",
            yanchor="middle",
        )
        figure.add_annotation(x=x, y=y - 0.42, text=sample["class"].replace("_", " "), showarrow=False, font_size=11)
    hidden = {"visible": False, "fixedrange": True}
    figure.update_xaxes(range=[-0.5, columns - 0.5], **hidden)
    figure.update_yaxes(range=[-0.55, rows - 0.45], **hidden)
    figure.add_scatter(x=[0], y=[0], mode="markers", marker={"opacity": 0}, hoverinfo="skip")
    return figure
