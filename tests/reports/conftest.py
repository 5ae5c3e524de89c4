"""What the tests of the report share."""

import plotly.graph_objects as go
import pytest

from reports.figures import figures
from tests.reports.made_up import odd_cases

DrawnCases = dict[str, dict[str, go.Figure]]


@pytest.fixture(scope="session")
def drawn_cases() -> DrawnCases:
    """The figures of every odd case, drawn once."""
    return {case: figures(results) for case, results in odd_cases().items()}
