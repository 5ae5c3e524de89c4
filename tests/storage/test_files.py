"""A file is there whole or not at all, whoever else writes it and whenever a writer dies."""

import os
import time
from pathlib import Path

import pytest

from storage.files import SECONDS_UNTIL_LEFT, naming, write_whole
from tests.storage.toy import processes

WRITES = 60


def write_often(path: Path, letter: bytes) -> None:
    os.getpid = lambda: 7  # as in a container
    for _ in range(WRITES):
        write_whole(letter * 100_000, path)


def test_processes_of_the_same_number_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(b"a" * 100_000, path)
    writers = [processes.Process(target=write_often, args=(path, letter)) for letter in (b"a", b"b")]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        content = path.read_bytes()
        assert content in (b"a" * 100_000, b"b" * 100_000)
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(b"", tmp_path / "file")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_what_killed_writers_left_is_removed_and_what_others_write_is_not(tmp_path: Path) -> None:
    left, in_use, of_another = (tmp_path / name for name in (".[a].12.partial", ".[a].0f3.partial", ".a.12.partial"))
    for path in (left, in_use, of_another):
        path.touch()
    day_before = time.time() - SECONDS_UNTIL_LEFT - 60
    for path in (left, of_another):
        os.utime(path, (day_before, day_before))
    write_whole(b"", tmp_path / "[a]")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "[a]", in_use, of_another])


def test_a_full_disk_has_a_name() -> None:
    # A device that is always full, in place of one that a test would have to mount.
    device = Path("/dev/full")
    if not device.exists():
        pytest.skip("no /dev/full")
    with (
        pytest.raises(OSError, match=r"No space left on device: '/dev/full'"),
        naming(device),
        device.open("wb") as file,
    ):
        file.write(b"a")
