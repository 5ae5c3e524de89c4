"""What a report does with a stored study, each time with a connection of its own, as a command has it."""

from pathlib import Path

from reports.collect import collect as collect_opened
from reports.dashboard import refresh as refresh_opened
from reports.export import export as export_opened
from reports.results import Results
from storage.open_study import open_study, read_study


def collect(url: str, name: str = "demo") -> Results:
    """The results of a stored study."""
    with read_study(url, name) as opened:
        return collect_opened(opened)


def refresh(url: str, name: str = "demo") -> None:
    """Notes and figures of a stored study, made current."""
    with open_study(url, name) as opened:
        refresh_opened(opened)


def export(url: str, name: str, file: Path) -> None:
    """A stored study, exported."""
    with read_study(url, name) as opened:
        export_opened(opened, file)
