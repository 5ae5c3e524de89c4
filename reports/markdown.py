"""The report as markdown: what the results say, in the order in which a reviewer asks."""

from collections.abc import Collection

from reports import Results
from reports.sections.claims import claims
from reports.sections.comparison import comparison
from reports.sections.data import the_data
from reports.sections.document import Document
from reports.sections.opening import opening, verdict
from reports.sections.search import search
from reports.sections.trust import trust


def render(results: Results, figure_names: Collection[str] = ()) -> str:
    """The whole report.

    Args:
        figure_names: the figures that lie beside it as ``figures/NAME.png``; the text is whole without them.
    """
    document = Document(results, figure_names)
    sections = (opening, verdict, claims, search, comparison, the_data, trust)
    return "\n\n".join(block for section in sections for block in section(document)) + "\n"
