"""The search: the grid of alpha and T, as a table and as a heatmap."""

from dataclasses import dataclass

import plotly.graph_objects as go

from reports.drawing import CLEAR, GREY, ORANGE, Figure, blank
from reports.evidence import hits_of, range_constant, seed_deviation
from reports.results import Results, is_searched
from reports.sections.border import look_beyond
from reports.sections.controls import rates_are_rough
from reports.sections.document import Document
from reports.sections.words import count, duration, percent, state_words, table
from reports.standing import UNFINISHED, Cell, grid_cells

PATTERNS = {"pruned": "/", "failed": "x", "running": "."}


def grid(document: Document) -> list[str]:
    """What the search did, the grid's accuracies, and which of them one seed can tell apart."""
    return [
        "## The search",
        _summary(document),
        _table(document),
        _rule(document),
        *document.figure(HEATMAP),
        *look_beyond(document),
    ]


def _summary(document: Document) -> str:
    cells = document.grid
    states = {
        "complete": sum(cell.value is not None for cell in cells),
        "pruned": sum(cell.standing == "pruned" for cell in cells),
        "failed": sum(cell.standing == "failed" for cell in cells),
        "not finished": sum(cell.standing in UNFINISHED for cell in cells),
    }
    words = ", ".join(f"{number} {state}" for state, number in states.items() if number or state == "complete")
    repeats = sum(cell.repeats is not None for cell in cells)
    summary = f"The grid has {count(len(cells), 'point')}: {words}."
    if repeats:
        summary += (
            f" Of these, {repeats} {'repeats' if repeats == 1 else 'repeat'} the one that was trained at alpha = 0, "
            "where the temperature has no effect."
        )
    search = document.results["search"]
    summary += (
        f" Each trial trains on {document.configuration['train_images']:,} images for up to "
        f"{document.configuration['epochs']} epochs with seed {document.configuration['seed']}, the same images in the "
        f"same views for all. Training took {duration(search['seconds'])} in all."
    )
    return summary


def _rule(document: Document) -> str:
    """How points are held against the best, from what is stored of them."""
    cells = [cell.trial for cell in document.grid if cell.value is not None and cell.repeats is None]
    images, by_image = document.validation_images, [hits_of(cell, document.validation_images) for cell in cells]
    if len(cells) < 2:
        return "A pruned or failed point has no result."
    among, spread = len(cells), seed_deviation(document.results)
    notes = (
        f"≈ marks a point that cannot be told apart from the best: lower by less than {range_constant(among):.2f} "
        f"standard errors of the difference. In 95 % of searches the best of {among} equally good points lies no "
        "further above the worst of them. "
    )
    if any(hits is None for hits in by_image):
        notes += (
            "Which images a point had right is not stored, so the error of the images is an upper bound, as if each "
            f"point had {images:,} of its own; that of the seeds is "
            + ("not known, and not in it." if spread is None else f"{100 * spread:.2f} points, from the comparison.")
        )
    elif spread is None:
        notes += (
            "The spread between training seeds is not known well before the comparison has more runs. To make up for "
            f"it, the error is computed as if each point had {images:,} images of its own, though all share them."
        )
    else:
        notes += (
            f"The error is that of the {images:,} validation images, image by image (McNemar's), and of training "
            f"seeds, {100 * spread:.2f} points from the runs of the comparison."
        )
    if document.results["finalists"]:
        notes += " The best is chosen by its mean over more seeds, so that in this one seed another may be higher."
    if rates_are_rough(document):
        notes += " The learning rates tried below scatter more than this error allows, so ≈ may mark too few."
    return notes + " A pruned or failed point has no result."


def _table(document: Document) -> str:
    temperatures = document.configuration["temperatures"]
    rows = []
    for alpha in document.configuration["alphas"]:
        row = [f"**{alpha:g}**"]
        for temperature in temperatures:
            cell = document.cell((alpha, temperature))
            row.append("not yet" if cell is None else _cell_words(cell))
        rows.append(row)
    return table(["alpha \\ T", *(f"{temperature:g}" for temperature in temperatures)], rows)


def _cell_words(cell: Cell) -> str:
    if cell.value is None:
        return state_words(cell)
    words = percent(cell.value)
    if cell.repeats is not None:
        words += f" (repeats trial {cell.repeats})"
    if cell.is_winner:
        return f"**{words}** best"
    return f"{words} ≈" if cell.standing == "near best" else words


@dataclass(frozen=True)
class DrawnCell:
    """What the heatmap writes into one cell; only a COMPLETE cell has a value."""

    row: int
    column: int
    value: float | None
    lines: tuple[str, ...]
    pattern: str
    hover: str

    @property
    def text(self) -> str:
        """Its lines as plotly writes them."""
        return "<br>".join(filter(None, self.lines))


def drawn_cells(results: Results) -> list[DrawnCell]:
    """The cells of the heatmap."""
    alphas, temperatures = results["configuration"]["alphas"], results["configuration"]["temperatures"]
    return [
        _drawn(cell, alphas.index(cell.point[0]), temperatures.index(cell.point[1])) for cell in grid_cells(results)
    ]


def _drawn(cell: Cell, row: int, column: int) -> DrawnCell:
    point, trial = f"alpha {cell.point[0]:g}, T {cell.point[1]:g}", cell.trial
    if cell.value is None:
        stopped = f"epoch {trial['epochs']}" if trial["epochs"] else ""
        hover = f"{point}<br>{cell.standing} {stopped}".strip()
        return DrawnCell(row, column, None, (cell.standing, stopped), PATTERNS.get(cell.standing, ""), hover)
    number = f"{100 * cell.value:.2f}"
    notes, hover, pattern = [], f"{point}<br>{number} %<br>trial {trial['number']}", ""
    if cell.repeats is not None:
        notes, pattern = ["repeat"], "\\"
        hover = f"{point}<br>{number} %<br>repeats trial {cell.repeats}: at alpha 0, T is no matter"
    if cell.is_winner:
        notes, number = ["best"], f"<b>{number}</b>"
    elif cell.standing == "near best":
        notes.append("≈")
        hover += "<br>cannot be told apart from the best"
    return DrawnCell(row, column, cell.value, (number, " ".join(notes)), pattern, hover)


def heatmap(results: Results) -> go.Figure | None:
    """Validation accuracy over alpha and T; pruned, failed, running and repeated cells told apart by text and pattern.

    Axes are positions with the values as labels: alpha 0 has a row of its own, and rows are evenly high.
    """
    cells = drawn_cells(results)
    if not is_searched(results):
        return None
    alphas, temperatures = results["configuration"]["alphas"], results["configuration"]["temperatures"]
    figure = blank(height=400)
    _add_values(figure, cells, len(alphas), len(temperatures))
    _add_patterns(figure, [cell for cell in cells if cell.value is None or cell.pattern])
    for cell in cells:
        if cell.value is None:
            figure.add_annotation(x=cell.column, y=cell.row, text=cell.text, showarrow=False)
        if "best" in cell.lines:
            frame = {"x0": cell.column - 0.49, "x1": cell.column + 0.49, "y0": cell.row - 0.49, "y1": cell.row + 0.49}
            figure.add_shape(type="rect", **frame, line={"color": ORANGE, "width": 3})
    for update, title, values in (
        (figure.update_xaxes, "temperature T", temperatures),
        (figure.update_yaxes, "alpha, the teacher's weight", alphas),
    ):
        labels = {"tickvals": list(range(len(values))), "ticktext": [f"{value:g}" for value in values]}
        update(title_text=title, **labels, showgrid=False, showline=False, fixedrange=True)
    return figure


def _add_values(figure: go.Figure, cells: list[DrawnCell], rows: int, columns: int) -> None:
    values: list[list[float | None]] = [[None] * columns for _ in range(rows)]
    text, hover = [[""] * columns for _ in range(rows)], [[""] * columns for _ in range(rows)]
    for cell in cells:
        values[cell.row][cell.column] = None if cell.value is None else 100 * cell.value
        text[cell.row][cell.column] = cell.text if cell.value is not None else ""
        hover[cell.row][cell.column] = cell.hover
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


def _add_patterns(figure: go.Figure, cells: list[DrawnCell]) -> None:
    figure.add_bar(
        x=[cell.column for cell in cells],
        y=[0.98] * len(cells),
        base=[cell.row - 0.49 for cell in cells],
        width=0.98,
        customdata=[cell.hover for cell in cells],
        hovertemplate="%{customdata}<extra></extra>",
        marker={
            "color": CLEAR,
            "line": {"color": GREY, "width": [1 if cell.value is None else 0 for cell in cells]},
            "pattern": {
                "shape": [cell.pattern for cell in cells],
                "fgcolor": [
                    "rgba(128,135,144,0.35)" if cell.value is None else "rgba(255,255,255,0.3)" for cell in cells
                ],
                "bgcolor": CLEAR,
                "size": 12,
                "solidity": 0.12,
            },
        },
        showlegend=False,
    )


HEATMAP = Figure(
    name="grid",
    caption="Validation accuracy in % over alpha and T, one seed a cell. Framed: the best. ≈: cannot be told apart "
    "from the best. Hatched: pruned, failed, or a repeat of the one trial of alpha = 0.",
    draw=heatmap,
    panel="Validation accuracy, %",
)
