"""The Optuna storage: where it is, how it is opened, and the claims that go with it."""

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, make_url

from storage.claims import ClaimLostError, Claims, FileClaims, hold
from storage.errors import PlainError
from storage.optuna_internals import make_missing_indexes

KNOWN = "sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"

# How long a connection to PostgreSQL waits for a server that is silent, as libpq has it: one that vanished without a
# word is given up after a minute and a half.
PATIENCE = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "20",
    "keepalives_count": "3",
    "tcp_user_timeout": "90000",
}

# What is raised where the database does not answer, or did not for a while.
STORAGE_ERRORS = (ClaimLostError, optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError)


class StorageError(PlainError):
    """A storage that cannot be opened or used; the message is one line."""


def sqlite_url(file: Path) -> str:
    """The address of a SQLite file; made by SQLAlchemy, since ``?``, ``%`` and ``#`` mean something in an address."""
    return URL.create("sqlite", database=str(file)).render_as_string()


def shown(url: str) -> str:
    """An address as it may be printed and stored: without a password, in whichever form it was given."""
    # Not by parsing: an address that cannot be parsed is printed too.
    without = re.sub(r"(://[^\s:/@]*):.*@", r"\1:***@", url)
    return re.sub(r"([?&][^=&]*pass[^=&]*=)[^&\s]*", r"\1***", without, flags=re.IGNORECASE)


def command_of(module: str, arguments: Sequence[str]) -> str:
    """A command of ours as it may be printed and stored."""
    words = shlex.join(without_password(arguments))
    # Of a path that is no UTF-8 its bytes, as they may be printed: https://peps.python.org/pep-0383
    printable = words.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return f"python -m {module} {printable}".rstrip()


def without_password(arguments: Sequence[str]) -> list[str]:
    """A command line as it may be stored and published: the value of ``--storage`` as ``shown``."""
    kept: list[str] = []
    for argument in arguments:
        option, sign, value = argument.partition("=")
        if kept and kept[-1] == "--storage":
            kept.append(shown(argument))
        elif sign and option == "--storage":
            kept.append(f"{option}={shown(value)}")
        else:
            kept.append(argument)
    return kept


def is_there(url: str) -> bool:
    """Whether there is a storage to read: a SQLite file, or Optuna's tables on a server.

    Raises:
        StorageError: where the server cannot be reached.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return Path(str(parsed.database)).exists()
    with _one_line_error(parsed):
        engine = sqlalchemy.create_engine(_of_server(parsed, "postgresql+psycopg"), poolclass=sqlalchemy.NullPool)
        return sqlalchemy.inspect(engine).has_table("studies")


def open_claims(url: str) -> Claims:
    """The claims that go with a storage: beside the file of SQLite, in the database of PostgreSQL.

    Raises:
        StorageError: for a storage without a safe claim, or where PostgreSQL's driver is not installed.
    """
    try:
        parsed = make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):  # the port is no number, as after a password with a colon
        raise StorageError(f"--storage: no storage address; give {KNOWN}") from None
    is_file = parsed.database not in (None, "", ":memory:") and not str(parsed.database).startswith("file:")
    if parsed.drivername in ("sqlite", "sqlite+pysqlite") and is_file:
        return FileClaims.beside(Path(str(parsed.database)))
    if parsed.drivername in ("postgresql", "postgresql+psycopg"):
        try:
            from psycopg.conninfo import make_conninfo

            from storage.postgres_claims import PostgresClaims
        except ImportError as error:
            raise StorageError(f"--storage {shown(url)}: {error}; run: pip install 'psycopg[binary]'") from None
        # As SQLAlchemy reads it: in an address, it and libpq do not write a space alike.
        address = _of_server(parsed, "postgresql+psycopg")
        _, options = address.get_dialect()().create_connect_args(address)
        return PostgresClaims(make_conninfo(**options))
    raise StorageError(f"--storage {shown(url)}: no way to claim a trial there safely; give {KNOWN}")


def open_storage(url: str, claims: Claims) -> RDBStorage:
    """Open an Optuna storage, created by one process where it is missing.

    SQLite is set to WAL, with a busy timeout of a minute, so that several processes may write; and to synchronous FULL:
    what was told is on the disk before the checkpoint that it came from is removed.

    Raises:
        StorageError: where it cannot be reached or is no Optuna storage.
    """
    parsed = make_url(url)
    with _one_line_error(parsed):
        if parsed.get_backend_name() == "sqlite":
            Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
        with hold(claims, "storage"):
            storage = _connect(parsed)
            make_missing_indexes(storage)
            if parsed.get_backend_name() == "sqlite":
                sqlalchemy.event.listen(storage.engine, "connect", _tune_sqlite)
                storage.engine.dispose()
            storage.get_all_studies()
    return storage


def read_storage(url: str) -> RDBStorage:
    """Open an Optuna storage that is there, to read it.

    Nothing is created, claimed or set in it: an export may lie in a read-only folder.

    Raises:
        StorageError: where it cannot be reached or is no Optuna storage.
    """
    parsed = make_url(url)
    with _one_line_error(parsed):
        return _connect(parsed, skip_table_creation=True)


def _connect(url: URL, skip_table_creation: bool = False) -> RDBStorage:
    engine_kwargs: dict[str, Any] = {"connect_args": {"timeout": 60}}
    if url.get_backend_name() != "sqlite":
        # Pinged before use: a connection that a restarted server dropped is replaced without an error.
        engine_kwargs = {"pool_pre_ping": True}
        url = _of_server(url, "postgresql+psycopg")
    address = url.render_as_string(hide_password=False)
    open_it = partial(RDBStorage, address, engine_kwargs=engine_kwargs, skip_table_creation=skip_table_creation)
    try:
        return open_it()
    except sqlalchemy.exc.IntegrityError:
        # Optuna stamps a storage with its version, also one that is opened to be read while another process makes it.
        return open_it()


def _of_server(url: URL, drivername: str) -> URL:
    """The address of a PostgreSQL server for a driver, with ``PATIENCE`` where it says nothing of it."""
    return url.set(drivername=drivername, query={**PATIENCE, **url.query})


@contextmanager
def _one_line_error(url: URL) -> Iterator[None]:
    try:
        yield
    except (*STORAGE_ERRORS, RuntimeError) as error:
        address = shown(url.render_as_string(hide_password=False))
        raise StorageError(f"--storage {address}: cannot be opened ({reason_of(error)})") from None


def reason_of(error: BaseException) -> str:
    """What the database said, in one line: Optuna and SQLAlchemy wrap it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().split("\n")[0]


def _tune_sqlite(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
