"""What stops a command ends it in one line, with the exit code that says what it was."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from optuna.storages._rdb.storage import _VersionManager
from sqlalchemy.exc import IntegrityError

from storage.claims import FileClaims
from storage.errors import in_one_line
from storage.study_storage import open_storage, sqlite_url

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, time
import storage.errors
with storage.errors.one_line_errors({command}):
    print("ready", flush=True)
    {body}
"""
SLEEP = "time.sleep(60)"
STUBBORN = "try:\n        print(flush=True); time.sleep(60)\n    finally:\n        time.sleep({})"
STOPPED = "stopped; the same command goes on from here (the command)"


def shell(line: str, body: str = SLEEP, command: str = "'the command'") -> "subprocess.Popen[str]":
    """A shell that runs a line in which ``$RUN`` is a program that says "ready" and then does what ``body`` says."""
    environment = {
        **os.environ,
        "PROGRAM": PROGRAM.format(body=body, command=command),
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen(
        ["sh", "-c", line.replace("$RUN", '"$PYTHON" -c "$PROGRAM"')],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # The tests may themselves have been started with nohup.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_in_one_line(number: signal.Signals) -> None:
    process = shell("exec $RUN")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.communicate(timeout=180) == ("", f"{STOPPED}\n")
    assert process.returncode == 128 + number


def test_a_command_that_begins_anew_does_not_say_that_it_goes_on() -> None:
    process = shell("exec $RUN", command="")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=180) == ("", "stopped\n")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc to see what is loaded")
@pytest.mark.parametrize("module", ["study.run", "reports.build"])
def test_ctrl_c_while_the_libraries_load_is_no_traceback(module: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    maps = Path(f"/proc/{process.pid}/maps")
    while process.poll() is None and not re.search(r"/(torch|optuna|numpy|sqlalchemy)/", maps.read_text()):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=180) == ("", "")
    assert process.returncode == -signal.SIGINT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_in_the_background_of_a_script(number: signal.Signals, tmp_path: Path) -> None:
    said = tmp_path / "said"
    process = shell(f"$RUN >{said} & until [ -s {said} ]; do :; done; kill -{int(number)} $!; wait $!; exit $?")
    assert process.communicate(timeout=180) == ("", f"{STOPPED}\n")
    assert process.returncode == 128 + number


def test_nohup_keeps_a_command_from_the_end_of_its_terminal_and_from_nothing_else() -> None:
    process = shell("exec nohup $RUN")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=180)[1].splitlines()[-1] == STOPPED
    assert process.returncode == 128 + signal.SIGTERM


def test_a_second_signal_does_not_end_in_a_traceback() -> None:
    process = shell(
        "exec $RUN", "try:\n        print(flush=True); time.sleep(60)\n    finally:\n        time.sleep(0.5)"
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["ready\n", "\n"]
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=180) == ("", f"{STOPPED}\n")
    assert process.returncode == 128 + signal.SIGINT


@pytest.mark.parametrize("error", ["RuntimeError('CUDA out of memory. Tried to allocate 2 GiB')", "MemoryError()"])
def test_memory_that_is_out_before_anything_trains_is_said_in_one_line(error: str) -> None:
    process = shell("exec $RUN", f"raise {error}")
    said = process.communicate(timeout=180)[1]
    assert said.startswith("error: out of memory (")
    assert said.count("\n") == 1
    assert "smaller batch_size" in said
    assert process.returncode == 1


def test_a_signal_that_comes_while_an_object_is_thrown_away_is_not_lost() -> None:
    thrown_away = (
        "class Loud:\n        def __del__(self): print(flush=True); time.sleep(2); print('swallowed', flush=True)\n"
        f"    Loud()\n    {SLEEP}"
    )
    process = shell("exec $RUN", thrown_away)
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["ready\n", "\n"]
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20) == ("", f"{STOPPED}\n")
    assert process.returncode == 128 + signal.SIGTERM


def test_a_command_that_cannot_end_by_itself_is_ended() -> None:
    process = shell("exec $RUN", f"storage.errors.SECONDS_TO_STOP = 1\n    {STUBBORN.format(60)}")
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["ready\n", "\n"]
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=180) == ("", "")
    assert process.returncode == -signal.SIGALRM


def test_a_signal_that_the_command_itself_answers_leaves_everything_as_it_was() -> None:
    answered = (
        "import os, signal\n"
        "    try: os.kill(os.getpid(), signal.SIGTERM)\n"
        "    except KeyboardInterrupt: pass\n"
        "print(signal.alarm(0), signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)"
    )
    process = shell("exec $RUN", answered)
    assert process.communicate(timeout=180) == ("ready\n0 True\n", "")
    assert process.returncode == 0


MANY_LINES = "while True: print('line' * 1000)"


@pytest.mark.parametrize(
    ("line", "out", "err", "exit_code"),
    [
        ("$RUN >&-", "", "", 0),
        ("$RUN 2>&-", "ready\nready\n", "", 0),
        ("$RUN <&- >&- 2>&-", "", "", 0),
        ("{ $RUN; echo $? >&2; } | head -1", "ready\n", "stopped: nothing reads what it prints any more", 0),
        ("{ $RUN 2>&1; } | head -1", "ready\n", "", 0),
    ],
)
def test_a_closed_output_is_no_traceback(line: str, out: str, err: str, exit_code: int) -> None:
    process = shell(line, MANY_LINES if "head" in line else "print('ready')")
    printed, said = process.communicate(timeout=180)
    assert printed == out
    assert said.splitlines()[:1] == ([f"{err}; the same command goes on from here (the command)"] if err else [])
    if "echo" in line:
        assert said.splitlines()[1:] == [str(128 + signal.SIGPIPE)]
    assert process.returncode == exit_code


def test_a_file_is_never_opened_as_the_closed_output(tmp_path: Path) -> None:
    file = tmp_path / "file"
    process = shell(f"$RUN >&-; cat {file}", f"import os; file = open({str(file)!r}, 'w'); os.system('echo printed')")
    assert process.communicate(timeout=180) == ("", "")


def test_an_error_that_says_nothing_has_its_type_as_its_line() -> None:
    assert in_one_line(MemoryError()) == "MemoryError"
    assert in_one_line(ValueError("first\nsecond")) == "ValueError: first"


def test_a_storage_that_a_reader_stamps_while_it_is_made_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = _VersionManager._set_alembic_revision

    def after_another(manager: _VersionManager, revision: str) -> None:
        monkeypatch.setattr(_VersionManager, "_set_alembic_revision", stamp)
        stamp(manager, revision)
        raise IntegrityError("INSERT", {}, Exception("UNIQUE constraint failed: alembic_version.version_num"))

    monkeypatch.setattr(_VersionManager, "_set_alembic_revision", after_another)
    url = sqlite_url(tmp_path / "study.db")
    assert open_storage(url, FileClaims(tmp_path)).get_all_studies() == []
