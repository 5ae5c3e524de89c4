"""Several workers on one machine: the same command, once for each, on its own device or its share of the cores."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

import torch

from storage.configuration import ConfigurationError
from storage.study_storage import STORAGE_ERRORS, StorageError
from study.options import WORKER
from study.progress import bar, say

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_STOP = 15.0
SECONDS_TO_RELAY = 1.0


def run_workers(
    count: int, arguments: Sequence[str], device: torch.device, total: int, ended: Callable[[], int]
) -> None:
    """Start ``count`` workers and wait until all are done; what stops this process stops them all.

    A worker that is killed is not missed: the others go on with its trial.

    Args:
        arguments: of the command line, given to each worker.
        total, ended: how many trainings there are to be, and a call that says how many have ended.

    Raises:
        ConfigurationError: where a worker ended with an error, or all were killed.
        OSError: where nothing reads any more what is printed.
    """
    workers: list[subprocess.Popen[str]] = []
    relays: list[_Relay] = []
    try:
        for number in range(count):
            workers.append(_start(number, count, arguments, device))
            relays.append(_Relay(workers[-1]))
        with _suspended_with(workers), bar(total, f"{count} workers", "training", initial=ended()) as progress:
            while any(worker.poll() is None for worker in workers):
                time.sleep(SECONDS_BETWEEN_LOOKS)
                for relay in relays:
                    relay.check()
                with suppress(StorageError, *STORAGE_ERRORS):
                    progress.update(ended() - progress.n)
    finally:
        _stop(workers)
        for relay in relays:
            relay.join(SECONDS_TO_RELAY)
    codes = [worker.returncode for worker in workers]
    killed = [code < 0 or code > 128 for code in codes]
    if all(killed) or any(code != 0 for code, was_killed in zip(codes, killed, strict=True) if not was_killed):
        raise ConfigurationError("workers ended early, see above; the same command goes on from here")


def threads_each(workers: int, device: torch.device) -> int:
    """The threads of each of so many workers: its share of this process's; where GPUs compute, as many as here."""
    threads = torch.get_num_threads()
    return max(1, threads // workers) if device.type == "cpu" else threads


def end_with_parent() -> None:
    """In a worker: let the end of the process that started it, even by kill -9, stop this one as SIGTERM does."""
    # The parent holds the other end of stdin, and nobody else does.
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    # Not sys.stdin: its lock would still be held when the interpreter ends.
    while os.read(0, 1):
        pass
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGTERM)  # to the thread that may be asleep


def visible_devices() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    number = torch.cuda.device_count()
    # From the first listed one that is not there on CUDA leaves all out: a worker that had only such would use the CPU.
    return os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(number)))).split(",")[:number]


def _start(number: int, count: int, arguments: Sequence[str], device: torch.device) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TQDM_DISABLE": "1"}
    if device.type == "cuda":
        devices = visible_devices()
        environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    else:
        environment["OMP_NUM_THREADS"] = str(threads_each(count, device))
    return subprocess.Popen(
        [sys.executable, "-m", "study.run", *arguments, WORKER],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # Ctrl-C in a terminal reaches this process alone, which tells them: one that still loads its libraries would
        # answer with a traceback.
        process_group=0,
    )


@contextmanager
def _suspended_with(workers: "list[subprocess.Popen[str]]") -> Iterator[None]:
    """Let Ctrl-Z suspend the workers too, which a terminal does not reach, and what wakes this process wake them."""

    def suspend(_number: int, _frame: FrameType | None) -> None:
        for worker in workers:
            worker.send_signal(signal.SIGSTOP)
        try:
            os.kill(os.getpid(), signal.SIGSTOP)
        finally:  # also where it wakes to be ended: they are told so, and can end
            for worker in workers:
                worker.send_signal(signal.SIGCONT)

    before = signal.signal(signal.SIGTSTP, suspend)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)


class _Relay(threading.Thread):
    """Prints what a worker prints."""

    def __init__(self, worker: "subprocess.Popen[str]") -> None:
        super().__init__(daemon=True)
        assert worker.stdout is not None
        self.lines = worker.stdout
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            for line in self.lines:
                say(line.rstrip())
        except Exception as error:
            self.error = error

    def check(self) -> None:
        """Raise what ended the relay: a worker whose lines nobody takes would wait for ever."""
        if self.error is not None:
            raise self.error


def _stop(workers: "list[subprocess.Popen[str]]") -> None:
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + SECONDS_TO_STOP
    with suppress(subprocess.TimeoutExpired):
        for worker in workers:
            worker.wait(max(0.0, deadline - time.monotonic()))
    for worker in workers:
        worker.kill()
        worker.wait()
