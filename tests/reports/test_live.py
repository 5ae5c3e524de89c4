"""Notes are kept current for as long as a study runs, at a constant number of connections."""

import threading
import time
from pathlib import Path

import optuna
import pytest

import reports.live
from reports.live import kept_current
from storage.open_study import OpenStudy
from storage.study_storage import sqlite_url
from tests.storage.postgres import Server
from tests.storage.test_claims import wait_until


def test_many_refreshes_open_no_more_sessions(
    server: Server, studied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.new_database()
    for name in ("demo", "demo-comparison"):
        optuna.copy_study(from_study_name=name, from_storage=sqlite_url(studied / "study.db"), to_storage=url)
    refreshes: list[float] = []
    refresh = reports.live._refresh

    def refresh_at_once(opened: OpenStudy) -> float:
        refreshes.append(refresh(opened))
        return 0.0

    monkeypatch.setattr(reports.live, "_refresh", refresh_at_once)
    before, seen = server.sessions(url), {}
    with kept_current(url, "demo"):
        deadline = time.monotonic() + 180
        while len(refreshes) < 12 and time.monotonic() < deadline:
            seen[len(refreshes)] = server.sessions(url)
            time.sleep(0.05)
    assert len(refreshes) >= 12, capsys.readouterr().err
    counts = [count for _, count in sorted(seen.items())]
    # One that is just opened or closed may be counted; one more a refresh would be eight more.
    assert max(counts[-3:]) <= max(counts[:4]) + 2, counts
    # The server takes a moment to notice; those of the copy may have ended meanwhile.
    assert wait_until(lambda: server.sessions(url) <= before, 180)


def test_a_process_that_ends_by_an_error_does_not_end_within_a_refresh(studied: Path) -> None:
    before = threading.enumerate()
    with pytest.raises(ValueError, match="wrong"), kept_current(sqlite_url(studied / "study.db"), "demo"):
        raise ValueError("wrong")
    assert threading.enumerate() == before
