"""What a person can mend ends as one line and an exit code; what is a bug keeps its traceback."""

import errno
import os
import re
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SECONDS_TO_STOP = 25  # schedulers send SIGKILL 30 seconds after SIGTERM
OUTPUT_CLOSED = 128 + signal.SIGPIPE
NO_MEMORY = re.compile(r"can't allocate memory|out of memory|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED")


class PlainError(Exception):
    """Something that a person can mend; the message is one line that says what is wrong and what to do."""

    exit_code = 1


def in_one_line(error: BaseException) -> str:
    """An error as a message may name it: its type, and the first line of what it says."""
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether the device or the machine had no memory left."""
    if error is None:
        return False
    # On a CPU and on MPS torch raises a bare RuntimeError, and on CUDA what a library of NVIDIA's says. Its own error
    # is known by name: not every command has loaded torch.
    says_so = isinstance(error, RuntimeError) and NO_MEMORY.search(str(error)) is not None
    if says_so or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    # The recording of a CUDA graph that ran out of memory ends with an error of its own, raised over the first.
    return is_out_of_memory(error.__cause__ or error.__context__)


class Stopped(KeyboardInterrupt):
    """A signal stopped this process.

    Attributes:
        number: of the signal.
        exit_code: 128 and that number, as a shell has it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.strsignal(number))
        self.number = number
        self.exit_code = 128 + number


def end_silently_while_loading() -> None:
    """Let Ctrl-C end a command that still loads its libraries at once, as SIGTERM does, and not in a traceback.

    That takes seconds, and nothing has begun that could be lost. Only where Python runs a module by ``-m``: whoever
    imports a package of ours keeps what he has set.
    """
    if sys.argv[:1] == ["-m"]:  # until the module is found, later its path
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise ``Stopped`` in the block on Ctrl-C, SIGTERM and SIGHUP, also where it was started with ``&``.

    A shell lets what it starts with ``&`` ignore Ctrl-C, and a scheduler may send just that. Only nohup's wish, that
    SIGHUP be ignored, is respected. Nothing outside of the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOPPING}
    handled = [number for number in STOPPING if number != signal.SIGHUP or before[number] != signal.SIG_IGN]
    for number in handled:
        signal.signal(number, _stop)
    unraisable = sys.unraisablehook
    sys.unraisablehook = _raise_again
    stopped = False
    try:
        yield
    except Stopped:
        stopped = True  # nothing else may stop the process from ending
        raise
    finally:
        if not stopped:
            signal.alarm(0)
            sys.unraisablehook = unraisable
            for number in handled:
                signal.signal(number, before[number])


def _stop(number: int, _frame: FrameType | None) -> None:
    # What follows while the process ends is of no more use, but for the same again, from one who has no time. What is
    # stored is whole whenever a process dies, so one that cannot end by itself is ended.
    for other in STOPPING:
        if signal.getsignal(other) is _stop:
            signal.signal(other, signal.SIG_IGN)
    signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS_TO_STOP)
    raise Stopped(number)


def _raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Let no callback of the garbage collector swallow a stop: Python drops what is raised there."""
    stopped = unraisable.exc_value
    if not isinstance(stopped, Stopped):
        sys.__unraisablehook__(unraisable)
        return

    def again(_number: int, _frame: FrameType | None) -> None:
        _stop(stopped.number, None)

    # Not from here, which is still within that callback.
    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, 0.01)


@contextmanager
def one_line_errors(goes_on: str | None = None, says_stopped: bool = True) -> Iterator[None]:
    """Turn what a person can mend into one line on stderr and a non-zero exit.

    Args:
        goes_on: the command that goes on where it is stopped, as a person types it; None where it begins anew.
        says_stopped: not in a worker, whose parent says it.
    """
    _open_closed_streams()
    try:
        with stop_on_signals():
            yield
    except KeyboardInterrupt as error:
        exit_code = error.exit_code if isinstance(error, Stopped) else 128 + signal.SIGINT
        _end(exit_code, _stopped("stopped", goes_on) if says_stopped else None)
    except BrokenPipeError:
        line = _stopped("stopped: nothing reads what it prints any more", goes_on)
        _end(OUTPUT_CLOSED, line if says_stopped else None)
    except PlainError as error:
        _end(error.exit_code, f"error: {error}")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _end(1, f"error: the disk is full ({error.filename or 'while writing'}); make room and start again")
        _end(1, f"error: {error}")
    except Exception as error:
        # Imported here, since a command that fails early has not waited for it.
        from storage.study_storage import STORAGE_ERRORS, reason_of

        if is_out_of_memory(error):
            then = (
                "" if goes_on is None else "; give a smaller batch_size in a file, --config FILE, or another --device"
            )
            _end(1, f"error: out of memory ({in_one_line(error)}){then}")
        if not isinstance(error, STORAGE_ERRORS):
            raise
        if is_disk_full(error):
            _end(1, f"error: the disk of the storage is full ({reason_of(error)}); make room and start again")
        then = "try again" if goes_on is None else "the same command goes on from here"
        _end(1, f"error: the storage does not answer ({reason_of(error)}); {then}")


def is_disk_full(error: BaseException | None) -> bool:
    """Whether a database could not write for want of room, here or on its server."""
    while error is not None:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or getattr(error, "sqlstate", "") == "53100":
            return True
        error = error.__cause__
    return False


def _stopped(how: str, goes_on: str | None) -> str:
    # Behind the ^C that a terminal shows.
    start = "\n" if sys.stderr.isatty() else ""
    return f"{start}{how}" + (f"; the same command goes on from here ({goes_on})" if goes_on else "")


def _end(exit_code: int, line: str | None) -> NoReturn:
    """Exit with one line, or silently where stderr is gone with the terminal or the reader."""
    with suppress(OSError):
        if line is not None:
            print(line, file=sys.stderr, flush=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # Python flushes again at its end, and would say that it cannot.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(exit_code)


def _open_closed_streams() -> None:
    """Let what was started with ``>&-`` print into nothing, and no file of ours be opened as its output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # opened under the lowest free number, so this
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
