"""Every claim about storage is tested on SQLite and on a real PostgreSQL server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import study.workers
from tests.storage.postgres import Server, running_server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    try:
        running = running_server()
        started = running.__enter__()
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"no PostgreSQL server could be started: {error!r}")
    yield started
    running.__exit__(None, None, None)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty storage."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'study.db'}"
    started: Server = request.getfixturevalue("server")
    return started.new_database()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study.workers, "PAUSES", (0.05,) * 200)
