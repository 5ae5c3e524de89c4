"""Keep what optuna-dashboard shows of a study current while the study runs."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from storage.open_study import OpenStudy, open_study

SECONDS_BETWEEN = 30.0
LARGEST_SHARE_OF_TIME = 0.01
SECONDS_TO_END = 10.0


@contextmanager
def kept_current(url: str, study_name: str) -> Iterator[None]:
    """Refresh now and then while the block runs, in a thread with its own connection, and once more at its end.

    It takes a hundredth of the time at most. No error of it reaches the block: a study goes on without its notes.

    Args:
        url: of the Optuna storage.
        study_name: the study of the search.
    """
    ended = threading.Event()
    thread = threading.Thread(target=_refresh_until, args=(ended, url, study_name), daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        # Where the process ends while the thread is within compiled code, such as an import, Python before 3.14 aborts:
        # https://github.com/python/cpython/issues/87135.
        ended.set()
        thread.join(SECONDS_TO_END)
        raise
    ended.set()
    thread.join()


def _refresh_until(ended: threading.Event, url: str, study_name: str) -> None:
    # Imported in the thread: the first step of a training need not wait for plotly and pandas.
    with suppress(ImportError):
        import reports.dashboard  # noqa: F401
    said, is_last = "", False
    while not is_last:
        try:
            # Opened once for as long as it holds: on PostgreSQL each opening is two sessions of the server.
            with open_study(url, study_name) as opened:
                while not is_last:
                    is_last = ended.wait(_refresh(opened))
                _refresh(opened)
        # Whatever goes wrong, a bug included, is about notes and figures alone: no reason to stop a training.
        except Exception as error:
            message = f"notes of the dashboard are not current: {type(error).__name__}: {error}"
            if message != said:
                print(message, file=sys.stderr)
            said, is_last = message, is_last or ended.wait(SECONDS_BETWEEN)


def _refresh(opened: OpenStudy) -> float:
    """Refresh; the seconds to wait for the next time."""
    from reports.dashboard import refresh

    start = time.perf_counter()
    if opened.description is not None:
        refresh(opened)
    return max(SECONDS_BETWEEN, (time.perf_counter() - start) / LARGEST_SHARE_OF_TIME)
