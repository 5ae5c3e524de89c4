"""How figures look, and how a section declares one; plotly draws them from the results alone.

One quiet template in three schemes: ``kd_study`` (light), ``kd_study_dark``, and ``kd_study_clear`` for a page that may
be either and does not say which, with the grey that both leave readable. Traces keep to colours that reach a
contrast of 3 to 1 on both, told apart by the colour-blind, and no figure tells things apart by colour alone. Figures
have no width of their own: they fit a code host's page (800 pixels) and a phone.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import plotly.graph_objects as go
import plotly.io

from reports.results import Results

GREY, BLUE, ORANGE, PURPLE, GREEN = "#808790", "#1a7fc9", "#d07a08", "#a35fb5", "#2b9c78"
DASHES = ("solid", "dash", "dot", "dashdot")
CLEAR = "rgba(0,0,0,0)"


@dataclass(frozen=True)
class Figure:
    """A figure of the report, declared by the section that shows it.

    Attributes:
        name: of its file, without extension.
        draw: gives the figure; None where the results have nothing for it.
        panel: its title in the dashboard, None where the dashboard does not show it.
    """

    name: str
    caption: str
    draw: Callable[[Results], go.Figure | None]
    panel: str | None = None


def blank(height: int) -> go.Figure:
    """An empty figure in the light scheme; ``height`` in pixels."""
    return go.Figure(layout={"template": "kd_study", "height": height})


def by_epoch(figure: go.Figure, epochs: int) -> None:
    """Have no ticks between two epochs on the x axes of a figure that shows so many."""
    if epochs <= 10:
        figure.update_xaxes(dtick=1)


def arm_colours(names: Iterable[str]) -> dict[str, str]:
    """One colour an arm: grey without distillation, blue for the best, others for the rest."""
    colours = {"baseline": GREY, "best": BLUE}
    rest = [name for name in names if name not in colours]
    return colours | {name: (ORANGE, PURPLE)[index % 2] for index, name in enumerate(rest)}


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
            "annotationdefaults": {"bgcolor": paper},
            "colorscale": {"sequential": "Cividis"},
        }
    )


plotly.io.templates["kd_study"] = _template(text="#24292f", paper="#ffffff", lines="#e3e6ea")
plotly.io.templates["kd_study_dark"] = _template(text="#d8dee6", paper="#0d1117", lines="#2b323b")
plotly.io.templates["kd_study_clear"] = _template(text="#7a8089", paper=CLEAR, lines="rgba(128,135,144,0.3)")
