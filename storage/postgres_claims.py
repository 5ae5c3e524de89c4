"""Claims among the processes of many machines: advisory locks of a PostgreSQL server."""

import hashlib
import os
import time

import psycopg

from storage.claims import SECONDS_BETWEEN_TRIES, ClaimLostError, Claims

SHARE = "SELECT pg_try_advisory_lock_shared(%s)"

# What a claim needs of its session, whatever the server, the database or the role is set to. A session is silent for
# as long as an epoch lasts; one whose machine vanished ends after a minute and a half.
SESSION = {
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "20",
    "tcp_keepalives_count": "3",
}


class PostgresClaims(Claims):
    """Claims that belong to one session of the server, and end with it.

    The session ends with its process, by whatever signal, and with the server. A machine that vanishes without a
    word is noticed by the server after a minute and a half. A restarted server knows no claims while the processes
    that held them live on: they learn of it from ``check_held``, and begin again with none.

    The session begins with the first claim. It must be the server's own: a proxy that pools transactions would give
    each query another one, and is refused.

    Args:
        address: of the server, as libpq takes it.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._connection: psycopg.Connection | None = None
        self._held: set[str] = set()
        self._shared: set[str] = set()
        super().__init__()

    def try_claim(self, name: str) -> bool:
        if name in self._held:
            self.check_held(name)
        elif self._ask("SELECT pg_try_advisory_lock(%s)", name):
            self._held.add(name)
        return name in self._held

    def try_share(self, name: str) -> bool:
        if name not in self._shared and self._ask(SHARE, name):
            self._shared.add(name)
        return name in self._shared

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
        self._shared.clear()
        self._end_session()

    def _end_session(self) -> None:
        connection, self._connection = self._connection, None
        self._held.clear()
        if connection is not None:
            connection.close()

    def leave_to_parent(self) -> None:
        if self._connection is not None:
            # The server would see the session live on after kill -9 of the parent. Not ``close``, which would end it.
            os.close(self._connection.fileno())
            self._connection = None
        self._held.clear()
        self._shared.clear()

    def _ask(self, query: str, name: str) -> bool:
        """Ask the server; every claim is lost where it does not answer."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            answer = self._connection.execute(query, (_key(name),)).fetchone()
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self._end_session()
            raise ClaimLostError(name) from error
        assert answer is not None
        return bool(answer[0])

    def _connect(self) -> psycopg.Connection:
        connection = psycopg.connect(self.address, autocommit=True)
        session = connection.execute("SELECT pg_backend_pid()").fetchone()
        if session != (connection.info.backend_pid,):
            connection.close()
            raise psycopg.OperationalError("a pooling proxy answers: claims need the server's own address")
        # Not as options of the connection: a server that is too old for one of them would refuse it.
        set_where_known = "SELECT set_config(name, %s, false) FROM pg_settings WHERE name = %s"
        connection.cursor().executemany(set_where_known, [(value, name) for name, value in SESSION.items()])
        for name in self._shared:
            if connection.execute(SHARE, (_key(name),)).fetchone() != (True,):
                connection.close()
                raise psycopg.OperationalError(f"{name}: another process has it for itself meanwhile")
        return connection


def _key(name: str) -> int:
    """64 bits for a name; advisory locks are known by number, and those of a database are shared by its users."""
    return int.from_bytes(hashlib.sha256(f"kd-study {name}".encode()).digest()[:8], "big", signed=True)
