"""The report as markdown: what the results say, in the order in which a reviewer asks."""

from collections.abc import Collection

from reports.results import Results
from reports.sections.calibration import calibration
from reports.sections.claims import claims
from reports.sections.comparison import comparison
from reports.sections.controls import controls
from reports.sections.cost import cost
from reports.sections.document import Document
from reports.sections.effects import effects
from reports.sections.finalists import finalists
from reports.sections.gains import gains
from reports.sections.grid import grid
from reports.sections.images import images
from reports.sections.losses import losses
from reports.sections.opening import method, opening
from reports.sections.pruning import pruning
from reports.sections.tpe import tpe
from reports.sections.transfer import transfer
from reports.sections.trials import trials
from reports.sections.trust import trust
from reports.sections.verdict import verdict

OF_SEARCH = (grid, trials, pruning, effects, tpe, finalists)
OF_COMPARISON = (comparison, transfer, losses, gains, calibration, controls)


def render(results: Results, figure_names: Collection[str] = ()) -> str:
    """The whole report.

    Args:
        figure_names: the figures that lie beside it as ``figures/NAME.png``; the text is whole without them.
    """
    document = Document(results, figure_names)
    of_search = OF_SEARCH if document.is_searched else ()
    sections = (opening, verdict, method, claims, cost, *of_search, *OF_COMPARISON, images, trust)
    return "\n\n".join(block for section in sections for block in section(document)) + "\n"
