"""Every claim about storage is tested on SQLite and on a real PostgreSQL server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import study.worker
from tests.storage.postgres import Server
from tests.storage.toy import opened


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty storage."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'study.db'}"
    started: Server = request.getfixturevalue("server")
    return started.new_database()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study.worker, "PAUSES", (0.05,) * 200)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    with opened:
        yield
