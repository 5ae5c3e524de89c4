"""Keep what optuna-dashboard shows of a study current while the study runs."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SECONDS_BETWEEN = 30.0
LARGEST_SHARE_OF_TIME = 0.01


@contextmanager
def kept_current(url: str, study_name: str) -> Iterator[None]:
    """Refresh now and then while the block runs, in a thread with its own connection, and once more at its end.

    It takes a hundredth of the time at most. No error of it reaches the block: a study goes on without its notes.

    Args:
        url: of the Optuna storage.
        study_name: the study of the search.
    """
    ended = threading.Event()

    def refresh_often() -> None:
        # Imported in the thread: the first step of a training need not wait for plotly and pandas.
        with suppress(ImportError):
            import reports.dashboard  # noqa: F401
        pause = 0.0
        while not ended.wait(pause):
            start = time.perf_counter()
            _try_refresh(url, study_name)
            pause = max(SECONDS_BETWEEN, (time.perf_counter() - start) / LARGEST_SHARE_OF_TIME)

    thread = threading.Thread(target=refresh_often, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
    thread.join()
    _try_refresh(url, study_name)


def _try_refresh(url: str, study_name: str) -> None:
    # Whatever goes wrong, a bug included, is about notes and figures alone: no reason to stop a training.
    try:
        from reports.dashboard import refresh

        refresh(url, study_name)
    except Exception as error:
        print(f"notes of the dashboard are not current: {type(error).__name__}: {error}", file=sys.stderr)
