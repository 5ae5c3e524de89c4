"""Workers end with what started them, however it ends, and the same command goes on."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from optuna.trial import TrialState

from storage.open_study import read_study
from storage.study_storage import STORAGE_ERRORS, StorageError, sqlite_url
from storage.trials import TrialView, views
from study.processes import visible_devices
from tests.test_run import ROOT, command, environment

LONG = ("--train-images", "64", "--epochs", "60")  # so that it still trains when a test looks
SECONDS = 180  # which only a failure needs, or a machine that does much else

pytestmark = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="no /proc to look for orphans in")


def start(runs_dir: Path, shell: str) -> "subprocess.Popen[str]":
    """A shell that runs a line in which ``"$@"`` is the study with two workers."""
    return subprocess.Popen(
        ["sh", "-c", shell, "sh", *command(runs_dir, "--workers", "2", *LONG)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_of(runs_dir: Path) -> list[int]:
    """The processes of a study, but for shells."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = file.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(runs_dir).encode() in arguments and arguments[0] != b"sh":
            found.append(int(file.parent.name))
    return found


def are_suspended(runs_dir: Path) -> set[bool]:
    """Of the processes of a study, which kinds there are: suspended, and not."""
    return {
        Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        for number in processes_of(runs_dir)
    }


def trained(runs_dir: Path) -> list[TrialView]:
    """The trials and runs that a living worker trains."""
    try:
        with read_study(sqlite_url(runs_dir / "study.db"), "demo") as opened:
            trials = [trial for part in (opened.search, opened.comparison) if part is not None for trial in views(part)]
    except (StorageError, *STORAGE_ERRORS):  # it is being made
        return []
    alive = processes_of(runs_dir)
    running = [trial for trial in trials if trial.state == TrialState.RUNNING and trial.made_by is not None]
    return [trial for trial in running if trial.made_by is not None and trial.made_by["process"] in alive]


def trains(runs_dir: Path) -> bool:
    """Whether a worker trains."""
    return bool(trained(runs_dir))


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)  # a look at the storage costs the workers time
    return True


def test_workers_end_with_what_started_them_and_the_same_command_goes_on(runs_dir: Path) -> None:
    # Started with & by a script: Ctrl-C is ignored there.
    in_background = start(runs_dir, '"$@" & echo $!; wait $!; exit $?')
    assert in_background.stdout is not None
    started = int(in_background.stdout.readline())
    assert wait_until(lambda: len(trained(runs_dir)) == 2, SECONDS)
    left = {trial.number for trial in trained(runs_dir)}
    # Ctrl-Z reaches what was started alone.
    os.kill(started, signal.SIGTSTP)
    assert wait_until(lambda: are_suspended(runs_dir) == {True}, SECONDS)
    os.kill(started, signal.SIGCONT)
    assert wait_until(lambda: are_suspended(runs_dir) == {False}, SECONDS)
    # Ended as it sleeps, by kill or by a terminal that is closed: the workers end by themselves too.
    os.kill(started, signal.SIGTSTP)
    assert wait_until(lambda: are_suspended(runs_dir) == {True}, SECONDS)
    os.kill(started, signal.SIGTERM)
    os.kill(started, signal.SIGCONT)
    _, err = in_background.communicate(timeout=SECONDS)
    assert in_background.returncode == 128 + signal.SIGTERM
    assert [line for line in err.splitlines() if "Warning" not in line] == [err.strip()]
    assert "the same command goes on from here" in err
    assert processes_of(runs_dir) == []
    with read_study(sqlite_url(runs_dir / "study.db"), "demo") as opened:
        assert opened.search is not None
        starts = [trial.user_attrs["starts"]["without_epoch"] for trial in opened.search.get_trials()]
        assert set(starts) <= {0}, "none was killed"

    # Nobody tells a parent of kill -9.
    killed = start(runs_dir, 'exec "$@"')
    assert wait_until(lambda: trains(runs_dir), SECONDS)
    assert {trial.number for trial in trained(runs_dir)} <= left, "they go on with what was left"
    killed.kill()
    assert wait_until(lambda: processes_of(runs_dir) == [], SECONDS)
    killed.communicate(timeout=SECONDS)

    # Nothing reads what it prints: neither the plan nor what the workers say.
    unread = start(runs_dir, 'exec "$@"')
    assert unread.stdout is not None
    assert wait_until(lambda: trains(runs_dir), SECONDS)
    unread.stdout.close()
    assert unread.wait(SECONDS) == 128 + signal.SIGPIPE
    assert processes_of(runs_dir) == []


@pytest.mark.parametrize("closed", [">&-", "| head -1"])
def test_a_command_whose_output_is_closed_ends_without_a_traceback(tmp_path: Path, closed: str) -> None:
    process = start(tmp_path / "runs", f'"$@" --dry-run {closed}')
    out, err = process.communicate(timeout=SECONDS)
    assert out.count("\n") <= 1
    assert err in ("", "stopped: nothing reads what it prints any more\n")
    assert process.returncode == 0


@pytest.mark.parametrize("listed", ["2,3", "2,3,1", "2,3,", "2,3,-1"])
def test_no_worker_is_given_a_gpu_that_is_not_there(listed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert visible_devices() == ["2", "3"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_devices() == ["0", "1"]
