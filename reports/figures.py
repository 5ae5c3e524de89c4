"""Every figure of the report, in its order; each is declared beside the text that it illustrates."""

import plotly.graph_objects as go

from reports.results import Results
from reports.sections import calibration, comparison, controls, gains, grid, images, losses, pruning, tpe, trials

OF_SEARCH = (grid.HEATMAP, trials.CURVES, pruning.SAVINGS, tpe.PATH)
OF_COMPARISON = (
    comparison.RUNS,
    losses.WITHOUT_DISTILLATION,
    losses.WITH_DISTILLATION,
    gains.GROUPS,
    gains.CLASSES,
    calibration.DIAGRAM,
    controls.GAINS,
)
FIGURES = (*OF_SEARCH, *OF_COMPARISON, images.SAMPLES)


def figures(results: Results) -> dict[str, go.Figure]:
    """All figures that the results have something for, by name."""
    drawn = {figure.name: figure.draw(results) for figure in FIGURES}
    return {name: figure for name, figure in drawn.items() if figure is not None}
