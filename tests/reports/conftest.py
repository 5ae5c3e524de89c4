"""What the tests of the report share."""

from pathlib import Path

import plotly.graph_objects as go
import pytest

from reports.figures import figures
from storage.study_storage import sqlite_url
from study.run import main as study_main
from study.teacher import main as teacher_main
from tests.reports.made_up import odd_cases
from tests.reports.stored import refresh

DrawnCases = dict[str, dict[str, go.Figure]]
SMALL = ["--preset", "demo", "--epochs", "2", "--train-images", "320", "--seeds", "1"]
SMALL += ["--alphas", "0,0.5", "--temperatures", "1,4"]


@pytest.fixture(scope="session")
def drawn_cases() -> DrawnCases:
    """The figures of every odd case, drawn once."""
    return {case: figures(results) for case, results in odd_cases().items()}


@pytest.fixture(scope="session")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of a small real study, with what the dashboard shows of it; not to be changed."""
    folder = tmp_path_factory.mktemp("studied") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BROWSER_PATH", "/nowhere")  # no PNG figures
        teacher_main(["--preset", "demo", "--epochs", "1", "--runs-dir", str(folder)])
        study_main([*SMALL, "--runs-dir", str(folder)])
    refresh(sqlite_url(folder / "study.db"), "demo")
    return folder
