"""What a person can mend ends as one line and an exit code; what is a bug keeps its traceback."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130


class PlainError(Exception):
    """Something that a person can mend; the message is one line that says what is wrong and what to do."""

    exit_code = 1


@contextmanager
def one_line_errors(command: str) -> Iterator[None]:
    """Turn what a person can mend into one line on stderr and a non-zero exit.

    Args:
        command: that goes on from here, as a person types it.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nstopped; the same command goes on from here ({command})", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except PlainError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            sys.exit(f"error: the disk is full ({error.filename or 'while writing'}); make room and start again")
        sys.exit(f"error: {error}")
    except Exception as error:
        # Imported here, since a command that fails early has not waited for it.
        from storage.study_storage import STORAGE_ERRORS, reason_of

        if not isinstance(error, STORAGE_ERRORS):
            raise
        sys.exit(f"error: the storage does not answer ({reason_of(error)}); the same command goes on from here")
