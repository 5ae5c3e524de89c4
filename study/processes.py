"""Several workers on one machine: the same command, once for each, on its own device or its share of the cores."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import torch

from storage.configuration import ConfigurationError
from storage.study_storage import STORAGE_ERRORS
from study.progress import bar, say

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_NOTICE = 2.0
SECONDS_TO_STOP = 30.0


def run_workers(
    count: int, arguments: Sequence[str], device: torch.device, total: int, ended: Callable[[], int]
) -> None:
    """Start ``count`` workers and wait until all are done; Ctrl-C stops them all.

    A worker that is killed is not missed: the others go on with its trial.

    Args:
        arguments: of the command line, given to each worker.
        total, ended: how many trials and runs there are to be, and a call that says how many have ended.

    Raises:
        ConfigurationError: where a worker ended with an error, or all were killed.
    """
    # A scheduler that ends a job sends SIGTERM: the same as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    workers = [_start(number, count, arguments, device) for number in range(count)]
    for worker in workers:
        threading.Thread(target=_relay, args=(worker,), daemon=True).start()
    try:
        with bar(total, f"{count} workers", "training", initial=ended()) as progress:
            while any(worker.poll() is None for worker in workers):
                time.sleep(SECONDS_BETWEEN_LOOKS)
                with suppress(*STORAGE_ERRORS):
                    progress.update(ended() - progress.n)
    finally:
        _stop(workers)
    codes = [worker.returncode for worker in workers]
    if max(codes) > 0 or all(code < 0 for code in codes):
        raise ConfigurationError("workers ended early, see above; the same command goes on from here")


def _start(number: int, count: int, arguments: Sequence[str], device: torch.device) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TQDM_DISABLE": "1"}
    if device.type == "cuda":
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count()))))
        devices = visible.split(",")
        environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    else:
        environment["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // count))
    return subprocess.Popen(
        [sys.executable, "-m", "study.run", *arguments, "--worker"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _relay(worker: "subprocess.Popen[str]") -> None:
    assert worker.stdout is not None
    for line in worker.stdout:
        say(line.rstrip())


def _stop(workers: "list[subprocess.Popen[str]]") -> None:
    # Ctrl-C in a terminal has reached them too: one that is about to end is not interrupted again.
    _wait(workers, SECONDS_TO_NOTICE)
    for worker in workers:
        if worker.poll() is None:
            worker.send_signal(signal.SIGINT)
    _wait(workers, SECONDS_TO_STOP)
    for worker in workers:
        worker.kill()
        worker.wait()


def _wait(workers: "list[subprocess.Popen[str]]", seconds: float) -> None:
    deadline = time.monotonic() + seconds
    with suppress(subprocess.TimeoutExpired):
        for worker in workers:
            worker.wait(max(0.0, deadline - time.monotonic()))
