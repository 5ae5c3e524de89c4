"""Export one study into a SQLite file of its own, from which its report can be rebuilt.

python -m reports.export --study quick --output study.db
python -m reports.build --storage sqlite:///study.db --study quick --output DIR
"""

import argparse
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import optuna
from optuna.storages import RDBStorage

from storage.configuration import refuse_unless
from storage.errors import one_line_errors
from storage.files import write_whole
from storage.folders import RunsFolder
from storage.open_study import OpenStudy, read_study
from storage.study_storage import StorageError, sqlite_url


def export(opened: OpenStudy, file: Path) -> None:
    """Copy the studies of search, comparison and learning rates into a new SQLite file, whole or not at all.

    Trials keep their number, state, times and attributes; a running one stays running. Trained weights are not in it.
    The same studies give the same bytes with the same versions of Optuna and SQLite.

    Args:
        opened: the study, in SQLite or PostgreSQL.
        file: must not be there.

    Raises:
        StorageError: where the storage or the study is not there, or ``file`` is.
        OSError: where ``file`` or a temporary one cannot be written.
    """
    if file.exists():
        raise StorageError(f"{file}: is there already; remove it or give another --output")
    _, search, comparison = opened.begun()
    assert opened.storage is not None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "study.db"
        storage = RDBStorage(sqlite_url(copy))
        for study in filter(None, (search, comparison, opened.rates)):
            optuna.copy_study(from_study_name=study.study_name, from_storage=opened.storage, to_storage=storage)
        storage.engine.dispose()
        with closing(sqlite3.connect(copy)) as connection, _as_os_error(copy):
            # The dashboard finds notes by the trial's key in the storage, which is another one in a copy.
            connection.execute("DELETE FROM study_system_attributes WHERE key LIKE 'dashboard:%'")
            connection.commit()
            connection.execute("VACUUM")
        write_whole(copy.read_bytes(), file)


@contextmanager
def _as_os_error(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(f"{file}: {error}") from error


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m reports.export",
        description="Export a study into a file from which its report can be rebuilt.",
        allow_abbrev=False,
    )
    parser.add_argument("--study", required=True, metavar="NAME")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="a new SQLite file")
    parser.add_argument("--runs-dir", type=Path, metavar="DIR", help="(default: runs)")
    parser.add_argument("--storage", metavar="URL", help="Optuna storage (default: sqlite:///RUNS_DIR/study.db)")
    options = parser.parse_args(arguments)
    with one_line_errors():
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        refuse_unless(
            options.storage is None or options.runs_dir is None,
            f"--runs-dir {options.runs_dir}: has no effect beside --storage, leave it out",
        )
        url = options.storage or RunsFolder(options.runs_dir or Path("runs")).url
        with read_study(url, options.study) as opened:
            export(opened, options.output)
        print(options.output)


if __name__ == "__main__":
    main()
