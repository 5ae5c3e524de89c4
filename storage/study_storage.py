"""The Optuna storage: where it is, how it is opened, and the claims that go with it."""

from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import RDBStorage
from sqlalchemy.engine import make_url

from storage.claims import Claims, FileClaims, hold


class StorageError(Exception):
    """A storage that cannot be opened or used; the message is one line."""


def default_url(runs_dir: Path) -> str:
    """The SQLite storage of a runs folder."""
    return f"sqlite:///{runs_dir / 'study.db'}"


def open_claims(url: str) -> Claims:
    """The claims that go with a storage: beside the file of an SQLite storage.

    Raises:
        StorageError: for a storage without a safe claim.
    """
    try:
        parsed = make_url(url)
    except sqlalchemy.exc.ArgumentError:
        raise StorageError(f"--storage {url}: no storage address; give sqlite:///FILE") from None
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        raise StorageError(
            f"--storage {parsed.render_as_string()}: no way to claim a trial there safely; give sqlite:///FILE"
        )
    return FileClaims(Path(f"{parsed.database}.claims"))


def open_storage(url: str, claims: Claims) -> RDBStorage:
    """Open an Optuna storage, created by one process where it is missing.

    SQLite is set to WAL and synchronous NORMAL, with a busy timeout of a minute: a report takes 2.6 ms instead of
    19 ms and several processes may write. A killed process loses nothing by that.

    Raises:
        StorageError: where it cannot be reached or is no Optuna storage.
    """
    parsed = make_url(url)
    try:
        Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
        with hold(claims, "storage"):
            storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
            sqlalchemy.event.listen(storage.engine, "connect", _tune_sqlite)
            storage.engine.dispose()
            storage.get_all_studies()
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, RuntimeError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
        raise StorageError(f"--storage {parsed.render_as_string()}: cannot be opened ({reason})") from None
    return storage


def _tune_sqlite(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def artifact_store(runs_dir: Path) -> FileSystemArtifactStore:
    """The artifact folder of a runs folder, which optuna-dashboard shows with ``--artifact-dir``."""
    folder = runs_dir / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    return FileSystemArtifactStore(str(folder))
