"""Claims among the processes of many machines: advisory locks of a PostgreSQL server."""

import hashlib
import os
import time

import psycopg

from storage.claims import ClaimLostError

SECONDS_BETWEEN_TRIES = 0.05


class PostgresClaims:
    """Claims that belong to one session of the server, and end with it.

    The session ends with its process, by whatever signal, and with the server. A machine that vanishes without a
    word is noticed by the server after a minute and a half. A restarted server knows no claims while the processes
    that held them live on: they learn of it from ``check_held``, and begin again with none.

    The session must be the server's own: a proxy that pools transactions would give each query another one, and is
    refused.

    Args:
        address: of the server, as libpq takes it.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._connection: psycopg.Connection | None = None
        self._held: set[str] = set()
        # A forked child shares the socket, and the server would see the session live on after kill -9 of the parent.
        os.register_at_fork(after_in_child=self._leave_to_parent)

    def try_claim(self, name: str) -> bool:
        if name in self._held:
            self.check_held(name)
        elif self._ask("SELECT pg_try_advisory_lock(%s)", name):
            self._held.add(name)
        return name in self._held

    def wait_for(self, name: str) -> None:
        while not self.try_claim(name):
            time.sleep(SECONDS_BETWEEN_TRIES)

    def release(self, name: str) -> None:
        if name in self._held:
            self._held.remove(name)
            try:
                self._ask("SELECT pg_advisory_unlock(%s)", name)
            except ClaimLostError:
                return  # with the session, so it is released

    def check_held(self, name: str) -> None:
        if name in self._held:
            self._ask("SELECT %s IS NOT NULL", name)
        if name not in self._held:
            raise ClaimLostError(name)

    def close(self) -> None:
        self._held.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, query: str, name: str) -> bool:
        """Ask the server; every claim is lost where it does not answer."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            answer = self._connection.execute(query, (_key(name),)).fetchone()
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self._connection = None
            self._held.clear()
            raise ClaimLostError(name) from error
        assert answer is not None
        return bool(answer[0])

    def _connect(self) -> psycopg.Connection:
        connection = psycopg.connect(
            self.address,
            autocommit=True,
            connect_timeout=10,
            options="-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=20 -c tcp_keepalives_count=3",
        )
        session = connection.execute("SELECT pg_backend_pid()").fetchone()
        if session != (connection.info.backend_pid,):
            connection.close()
            raise psycopg.OperationalError("a pooling proxy answers: claims need the server's own address")
        return connection

    def _leave_to_parent(self) -> None:
        if self._connection is not None:
            # Not ``close``, which would end the parent's session.
            os.close(self._connection.fileno())
            self._connection = None
        self._held = set()


def _key(name: str) -> int:
    """64 bits for a name; advisory locks are known by number, and those of a database are shared by its users."""
    return int.from_bytes(hashlib.sha256(f"kd-study {name}".encode()).digest()[:8], "big", signed=True)
