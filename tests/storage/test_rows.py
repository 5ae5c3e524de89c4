"""Rows on disk come back as they were written or not at all, whoever reads them and whatever happened to the files."""

import errno
import multiprocessing
import os
import resource
import signal
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from storage.rows import HEADER, Rows, count_rows

NUMBERS, WIDTH = 5000, 7
PROCESSES = multiprocessing.get_context("fork")


def values_of(numbers: Tensor) -> Tensor:
    return (numbers[:, None] * WIDTH + torch.arange(WIDTH)).half()


def open_rows(folder: Path, say: Callable[[str], None] = lambda line: pytest.fail(line), width: int = WIDTH) -> Rows:
    return Rows(folder, NUMBERS, width, torch.device("cpu"), say)


def fill(rows: Rows, numbers: Tensor) -> None:
    rows.add(numbers, values_of(numbers))
    rows.write()


def chunks(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.rows"))


def some(count: int, seed: int) -> Tensor:
    return torch.randperm(NUMBERS, generator=torch.Generator().manual_seed(seed))[:count]


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Tensor, Tensor]:
    """A folder of two chunks, and the numbers of each."""
    first, second = some(900, seed=0).split([500, 400])
    rows = open_rows(tmp_path)
    fill(rows, first)
    fill(rows, second)
    return tmp_path, first, second


def test_another_process_reads_what_one_wrote(written: tuple[Path, Tensor, Tensor]) -> None:
    folder, first, second = written
    rows = open_rows(folder)
    every = torch.cat([second, first])
    assert torch.equal(rows.lacking(every), every.sort().values)
    rows.read()
    assert len(rows.lacking(every)) == 0
    assert len(rows) == count_rows(folder) == 900
    again = every[torch.randint(900, (2000,), generator=torch.Generator().manual_seed(1))]
    assert torch.equal(rows.of(again), values_of(again))


def test_what_is_lacking_is_said_once_each_in_order(written: tuple[Path, Tensor, Tensor]) -> None:
    folder, first, _ = written
    rows = open_rows(folder)
    rows.read()
    absent = some(NUMBERS, seed=0)[900:910]
    assert torch.equal(rows.lacking(torch.cat([absent, first, absent])), absent.sort().values)


def test_what_is_added_is_known_at_once_and_to_others_once_it_is_written(tmp_path: Path) -> None:
    writer, reader = open_rows(tmp_path), open_rows(tmp_path)
    numbers = some(10, seed=2)
    for part in numbers.split(5):
        writer.add(part, values_of(part))
        assert torch.equal(writer.of(part), values_of(part))
    reader.read()
    assert len(reader) == 0
    writer.write()
    writer.write()
    reader.read()
    assert torch.equal(reader.of(numbers), values_of(numbers))
    assert len(chunks(tmp_path)) == 1


def test_rows_that_two_wrote_are_kept_once(tmp_path: Path) -> None:
    one, other = open_rows(tmp_path), open_rows(tmp_path)
    fill(one, torch.arange(0, 100))
    fill(other, torch.arange(50, 150))
    reader = open_rows(tmp_path)
    for rows in (one, other, reader):
        rows.read()
        assert len(rows) == 150
        assert torch.equal(rows.of(torch.arange(150)), values_of(torch.arange(150)))


def test_rows_take_memory_as_they_come_however_many_there_could_be(tmp_path: Path) -> None:
    rows = Rows(tmp_path, 10_000_000, 1_000_000, torch.device("cpu"), print)  # 20 TB, which no system grants
    numbers = torch.tensor([9_999_999, 0])
    rows.add(numbers, torch.tensor([[1.0], [2.0]]).half().expand(2, 1_000_000))
    assert rows.of(numbers.flip(0)).mean(dim=1).tolist() == [2.0, 1.0]


def test_rows_in_many_blocks_of_memory_are_as_they_were_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.rows.BLOCK_BYTES", 10 * 2 * WIDTH)
    rows, numbers = open_rows(tmp_path), some(150, seed=3)
    for part in numbers.split([3, 7, 10, 1, 45, 84]):
        rows.add(part, values_of(part))
    again = numbers[torch.randint(150, (500,), generator=torch.Generator().manual_seed(4))]
    assert torch.equal(rows.of(again), values_of(again))


def test_a_row_for_which_there_is_no_memory_is_not_known(tmp_path: Path) -> None:
    rows = Rows(tmp_path, 10, 2**47, torch.device("cpu"), print)  # 256 TB a row, more than a process can address
    with pytest.raises(RuntimeError, match="memory"):
        rows.add(torch.tensor([3]), torch.ones(1, 1, dtype=torch.float16).expand(1, 2**47))
    assert rows.lacking(torch.tensor([3])).tolist() == [3]
    assert len(rows) == 0


def flip(position: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


DAMAGES = {
    "empty": lambda content: b"",
    "short": lambda content: content[:-1],
    "only its header": lambda content: content[: HEADER.size],
    "part of its header": lambda content: content[: HEADER.size - 1],
    "long": lambda content: content + b"\0",
    "zeroed": lambda content: bytes(len(content)),
    "end zeroed": lambda content: content[:-200] + bytes(200),
    "rows zeroed": lambda content: content[: HEADER.size] + bytes(len(content) - HEADER.size),
    "another magic": flip(0),
    "another checksum": flip(8),
    "another width": flip(12),
    "another count": flip(16),
    "another number": flip(HEADER.size),
    "another value": flip(HEADER.size + 500 * 4 + 333),
    "another last value": flip(-1 + HEADER.size + 500 * (4 + 2 * WIDTH)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_chunk_is_named_and_its_rows_are_written_again(
    damage: str, written: tuple[Path, Tensor, Tensor]
) -> None:
    folder, first, second = written
    chunk = chunks(folder)[0]
    chunk.write_bytes(DAMAGES[damage](chunk.read_bytes()))
    said: list[str] = []
    rows = open_rows(folder, said.append)
    rows.read()
    assert len(said) == 1
    assert said[0].startswith(f"{chunk}: damaged (")
    assert torch.equal(rows.lacking(torch.cat([first, second])), first.sort().values)
    assert torch.equal(rows.of(second), values_of(second))
    fill(rows, rows.lacking(first))
    reader = open_rows(folder)
    reader.read()
    assert torch.equal(reader.of(first), values_of(first))


def test_a_missing_chunk_is_not_known(written: tuple[Path, Tensor, Tensor]) -> None:
    folder, first, second = written
    chunks(folder)[1].unlink()
    rows = open_rows(folder)
    rows.read()
    assert torch.equal(rows.lacking(torch.cat([first, second])), second.sort().values)


def test_a_chunk_that_is_damaged_or_lost_once_it_is_read_does_not_matter(written: tuple[Path, Tensor, Tensor]) -> None:
    folder, first, second = written
    rows = open_rows(folder)
    rows.read()
    one, other = chunks(folder)
    os.truncate(one, 0)
    other.unlink()
    rows.read()
    assert torch.equal(rows.of(torch.cat([first, second])), values_of(torch.cat([first, second])))


def test_rows_that_there_cannot_be_are_not_taken(written: tuple[Path, Tensor, Tensor]) -> None:
    folder, *_ = written
    said: list[str] = []
    rows = Rows(folder, 100, WIDTH, torch.device("cpu"), said.append)
    rows.read()
    assert len(rows) == 0
    assert len(said) == 2


def test_rows_of_another_width_are_not_taken(written: tuple[Path, Tensor, Tensor]) -> None:
    folder, *_ = written
    said: list[str] = []
    rows = open_rows(folder, said.append, width=WIDTH + 1)
    rows.read()
    assert len(rows) == 0
    assert len(said) == 2


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_files_are_readable_by_others_as_the_umask_says(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        fill(open_rows(tmp_path / "rows"), torch.arange(3))
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in chunks(tmp_path / "rows")] == [0o666 & ~mask]
    assert stat.S_IMODE((tmp_path / "rows").stat().st_mode) == 0o777 & ~mask


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A file system that takes no larger file, which fails as a full one does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_what_the_disk_does_not_take_is_one_error_and_is_written_once_it_does(tmp_path: Path) -> None:
    rows = open_rows(tmp_path)
    fill(rows, torch.arange(10))
    with largest_file(1000):
        rows.add(torch.arange(10, 100), values_of(torch.arange(10, 100)))
        for _ in range(2):
            with pytest.raises(OSError, match=str(tmp_path)) as failure:
                rows.write()
            assert failure.value.errno == errno.EFBIG
            assert "\n" not in str(failure.value)
    reader = open_rows(tmp_path)
    reader.read()
    assert len(reader) == 10
    assert sorted(tmp_path.iterdir()) == chunks(tmp_path)
    fill(rows, torch.arange(100, 110))
    reader.read()
    assert torch.equal(reader.of(torch.arange(110)), values_of(torch.arange(110)))


def write_until_killed(folder: Path, part: int) -> None:
    rows = open_rows(folder)
    for numbers in torch.arange(part, NUMBERS, 2).split(10):
        fill(rows, numbers)


def test_writers_that_are_killed_leave_whole_chunks_to_readers_at_the_same_time(tmp_path: Path) -> None:
    writers = [PROCESSES.Process(target=write_until_killed, args=(tmp_path, part)) for part in (0, 1)]
    for writer in writers:
        writer.start()
    rows = open_rows(tmp_path)
    deadline = time.monotonic() + 180
    while len(rows) < 200 and time.monotonic() < deadline:
        rows.read()
        time.sleep(0.01)
    for writer in writers:
        writer.kill()
    for writer in writers:
        writer.join()
    rows.read()
    every = torch.arange(NUMBERS)
    known = every[~torch.isin(every, rows.lacking(every))]
    assert len(known) == len(rows) == count_rows(tmp_path) >= 200
    assert len(rows) % 10 == 0
    assert torch.equal(rows.of(known), values_of(known))


def test_the_disk_takes_little_more_than_the_rows(tmp_path: Path) -> None:
    rows = Rows(tmp_path, NUMBERS, 100, torch.device("cpu"), print)
    rows.add(torch.arange(NUMBERS), torch.zeros(NUMBERS, 100, dtype=torch.float16))
    rows.write()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1.03 * NUMBERS * 100 * 2


def test_what_a_killed_writer_left_is_removed_when_the_rows_are_opened(tmp_path: Path) -> None:
    left, in_use = tmp_path / ".000001-ab.rows.cd.partial", tmp_path / ".000002-ab.rows.cd.partial"
    for file in (left, in_use):
        file.write_bytes(b"a")
    os.utime(left, (0, 0))
    Rows(tmp_path, 4, 2, torch.device("cpu"), print)
    assert list(tmp_path.iterdir()) == [in_use]
