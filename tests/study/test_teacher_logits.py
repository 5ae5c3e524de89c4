"""Teacher logits on disk are what the teacher says, whoever asked, however often a process was killed."""

import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from tqdm import tqdm

import study.teacher_logits
from data import VIEWS, ImageBank
from models import build
from storage.claims import FileClaims
from storage.rows import Rows, count_rows
from study.teacher_logits import TeacherLogits, TeacherLogitsError, as_asked, batch_size, logits_folder
from tests.storage.test_rows import largest_file

CLASSES = 8
IMAGES = 12
ROWS = IMAGES * VIEWS
BATCH = batch_size(torch.device("cpu"))
KILLED_AFTER = 30 * BATCH
PROCESSES = multiprocessing.get_context("spawn")


def bank() -> ImageBank:
    images = torch.randint(256, (IMAGES, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    statistics = (torch.full((3,), 0.5), torch.full((3,), 0.25))
    return ImageBank(images, torch.zeros(IMAGES, dtype=torch.int64), *statistics, torch.device("cpu"))


def teacher() -> nn.Module:
    """Random weights, but as sure of what it says as a trained teacher."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = build("resnet8", CLASSES).eval()
    network.fc.weight.data.mul_(20)
    return network


class FeelsItsBatch(nn.Module):
    """As if the last bits of the arithmetic, which may depend on the size of the batch, were large."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(1, 2, 3))[:, None] + torch.full((CLASSES,), float(len(images)))


def no_teacher() -> nn.Module:
    raise AssertionError("the teacher was asked again")


def quiet(total: int) -> "tqdm[Any]":
    return tqdm(total=total, disable=True)


def random_rows(count: int, seed: int) -> tuple[Tensor, Tensor]:
    rows = torch.randint(ROWS, (count,), generator=torch.Generator().manual_seed(seed))
    return rows // VIEWS, rows % VIEWS


def all_rows() -> tuple[Tensor, Tensor]:
    return torch.arange(IMAGES).repeat_interleave(VIEWS), torch.arange(VIEWS).repeat(IMAGES)


def open_logits(
    folder: Path,
    make_teacher: Callable[[], nn.Module] = teacher,
    progress: Callable[[int], "tqdm[Any]"] = quiet,
    precision: str = "float32",
) -> TeacherLogits:
    return TeacherLogits(folder, bank(), make_teacher, CLASSES, progress, FileClaims(folder), precision)


def filled_rows(folder: Path) -> list[int]:
    every = torch.arange(ROWS)
    rows = Rows(folder, ROWS, CLASSES, torch.device("cpu"), print)
    rows.read()
    assert len(rows) == count_rows(folder)
    return every[~torch.isin(every, rows.lacking(every))].tolist()


def assert_said_by_the_live_teacher(logits: Tensor, indices: Tensor, views: Tensor) -> None:
    with torch.inference_mode():
        live = teacher()(bank().crop(indices, views))
    assert logits.dtype == torch.float16
    # Rounding to float16, and the last bits of float32, in which Winograd's algorithm and the size of the batch are.
    torch.testing.assert_close(logits.float(), live, rtol=2**-11, atol=2e-5)


def test_the_cache_says_what_the_live_teacher_says(tmp_path: Path) -> None:
    logits = open_logits(tmp_path)
    for seed, count in enumerate((1, 7, 500, 731)):
        indices, views = random_rows(count, seed)
        assert_said_by_the_live_teacher(logits.of(indices, views), indices, views)


def test_processes_that_take_turns_have_the_same_rows(tmp_path: Path) -> None:
    one, other = open_logits(tmp_path), open_logits(tmp_path)
    for seed, count in enumerate((1, 300, 300, 731)):
        # Each asks first for every other set of rows, so some were filled by the one and some by the other.
        indices, views = random_rows(count, seed)
        first, second = (one, other) if seed % 2 else (other, one)
        said = first.of(indices, views)
        assert torch.equal(said, second.of(indices, views))
        assert_said_by_the_live_teacher(said, indices, views)


def test_only_what_was_asked_for_is_filled_and_once(tmp_path: Path) -> None:
    asked: list[int] = []

    def counting(total: int) -> "tqdm[Any]":
        asked.append(total)
        return quiet(total)

    logits = open_logits(tmp_path, teacher, counting)
    indices, views = torch.tensor([3, 3, 0]), torch.tensor([161, 161, 5])
    logits.of(indices, views)
    assert filled_rows(tmp_path) == [5, 3 * VIEWS + 161]
    logits.of(indices[:1], views[:1])
    logits.of(torch.tensor([3, 1]), torch.tensor([161, 0]))
    assert filled_rows(tmp_path) == [5, VIEWS, 3 * VIEWS + 161]
    assert asked == [2, 1]


def test_rows_survive_reopening_and_the_teacher_is_not_asked_again(tmp_path: Path) -> None:
    indices, views = random_rows(300, seed=1)
    first = open_logits(tmp_path).of(indices, views)
    reopened = open_logits(tmp_path, no_teacher)
    assert torch.equal(reopened.of(indices, views), first)
    empty = filled_rows(tmp_path)[-1] + 1
    with pytest.raises(AssertionError, match="asked again"):
        reopened.of(torch.tensor([empty // VIEWS]), torch.tensor([empty % VIEWS]))


@pytest.mark.parametrize("make_teacher", [teacher, FeelsItsBatch])
def test_a_value_does_not_depend_on_what_was_asked_together(
    make_teacher: Callable[[], nn.Module], tmp_path: Path
) -> None:
    indices, views = random_rows(700, seed=2)
    together = open_logits(tmp_path / "together", make_teacher).of(indices, views)
    apart = open_logits(tmp_path / "apart", make_teacher)
    for chosen in ([699], [3], [698, 0, 2], list(range(400, 460))):
        assert torch.equal(apart.of(indices[chosen], views[chosen]), together[chosen])


def fill(folder: Path, seed: int) -> None:
    logits = open_logits(folder)
    for part in range(2):
        indices, views = random_rows(300, 10 * part + seed)
        assert_said_by_the_live_teacher(logits.of(indices, views), indices, views)


def test_processes_that_fill_at_once_agree(tmp_path: Path) -> None:
    workers = [PROCESSES.Process(target=fill, args=(tmp_path, seed)) for seed in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    asked = [random_rows(300, 10 * part + seed) for part in range(2) for seed in (0, 1)]
    logits = open_logits(tmp_path, no_teacher)
    for indices, views in asked:
        assert_said_by_the_live_teacher(logits.of(indices, views), indices, views)
    assert set(filled_rows(tmp_path)) == {row for indices, views in asked for row in (indices * VIEWS + views).tolist()}


def test_what_another_process_asks_is_waited_for_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.teacher_logits.IMAGES_A_PART", IMAGES // 4)
    logits, others = open_logits(tmp_path), FileClaims(tmp_path)
    assert others.try_claim(f"{logits._claim}-0")  # another process is at the first of four parts
    waiting = threading.Thread(target=lambda: logits.of(*all_rows()), daemon=True)
    waiting.start()
    deadline = time.monotonic() + 120
    while count_rows(tmp_path) < 3 * ROWS // 4:
        assert time.monotonic() < deadline, "what nobody is at is not asked"
        time.sleep(0.01)
    waiting.join(0.5)
    assert waiting.is_alive(), "what another is at is not asked too"
    indices, views = all_rows()
    first = indices % 4 == 0
    open_logits(tmp_path / "elsewhere").of(indices[first], views[first])
    for file in (tmp_path / "elsewhere").glob("*.rows"):
        file.rename(tmp_path / file.name)
    monkeypatch.setattr(TeacherLogits, "_ask", lambda *_: no_teacher())
    others.release(f"{logits._claim}-0")
    waiting.join(120)
    assert not waiting.is_alive()
    assert_said_by_the_live_teacher(logits.of(indices, views), indices, views)
    assert len(filled_rows(tmp_path)) == ROWS


class KilledAfter(tqdm):  # type: ignore[type-arg]
    """Ends its process, as kill -9 does, once so many rows are computed."""

    rows = 0

    def update(self, n: float | None = 1) -> bool | None:
        self.rows += int(n or 0)
        if self.rows == KILLED_AFTER:
            os.kill(os.getpid(), signal.SIGKILL)
        return None


def fill_until_killed(folder: Path) -> None:
    study.teacher_logits.SECONDS_BETWEEN_WRITES = 0.0
    open_logits(folder, teacher, lambda total: KilledAfter(disable=True)).of(*all_rows())


def assert_whole_after_a_kill(folder: Path) -> int:
    logits = open_logits(folder)
    marked = torch.tensor(filled_rows(folder))
    before = logits.of(marked // VIEWS, marked % VIEWS)
    assert_said_by_the_live_teacher(before, marked // VIEWS, marked % VIEWS)
    assert_said_by_the_live_teacher(logits.of(*all_rows()), *all_rows())
    assert len(filled_rows(folder)) == ROWS
    return len(marked)


def test_what_was_computed_but_not_written_before_a_kill_is_computed_again(tmp_path: Path) -> None:
    worker = PROCESSES.Process(target=fill_until_killed, args=(tmp_path,))
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    assert assert_whole_after_a_kill(tmp_path) == KILLED_AFTER - BATCH


def test_a_disk_without_room_is_refused_with_numbers(tmp_path: Path) -> None:
    logits = open_logits(tmp_path)
    logits.require_room(ROWS)
    with pytest.raises(
        OSError, match=rf"^{re.escape(str(tmp_path))}: .* 16000000\.00 GB .* \d+\.\d\d GB are free"
    ) as refusal:
        logits.require_room(10**15)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("damage", ["missing", "short", "zeroed", "flipped"])
def test_a_damaged_file_is_noticed_before_its_rows_are_used_and_asked_again(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    indices, views = random_rows(300, seed=1)
    whole = open_logits(tmp_path).of(indices, views)
    (chunk,) = tmp_path.glob("*.rows")
    content = bytearray(chunk.read_bytes())
    if damage == "missing":
        chunk.unlink()
    else:
        content[-1] ^= 1
        damaged = {"short": bytes(content[:-100]), "zeroed": bytes(len(content)), "flipped": bytes(content)}
        chunk.write_bytes(damaged[damage])
    asked: list[int] = []

    def counting(total: int) -> "tqdm[Any]":
        asked.append(total)
        return quiet(total)

    assert torch.equal(open_logits(tmp_path, progress=counting).of(indices, views), whole)
    assert asked == [len((indices * VIEWS + views).unique())]
    assert ("damaged" in capsys.readouterr().out) == (damage != "missing")
    assert torch.equal(open_logits(tmp_path, no_teacher).of(indices, views), whole)


class Overflows(nn.Module):
    """Says of every image what float16 cannot hold, after a first batch that is fine."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value, self.asked = value, 0

    def forward(self, images: Tensor) -> Tensor:
        self.asked += 1
        logits = torch.zeros(len(images), CLASSES)
        logits[0, 0] = 1.0 if self.asked == 1 else self.value
        return logits


@pytest.mark.parametrize("value", [65_520.0, -1e30, float("nan"), float("inf")])
def test_a_teacher_beyond_float16_is_refused_in_one_line(value: float, tmp_path: Path) -> None:
    with pytest.raises(TeacherLogitsError, match="beyond float16") as refusal:
        open_logits(tmp_path, lambda: Overflows(value)).of(*all_rows())
    assert "\n" not in str(refusal.value)
    assert filled_rows(tmp_path) == list(range(BATCH))


def test_the_largest_logits_of_float16_are_taken(tmp_path: Path) -> None:
    said = open_logits(tmp_path, lambda: Overflows(65_504.0)).of(*all_rows())
    assert said.max() == 65_504


def test_a_disk_that_fills_keeps_what_was_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study.teacher_logits, "SECONDS_BETWEEN_WRITES", 0.0)
    logits = open_logits(tmp_path)
    indices, views = random_rows(300, seed=1)
    whole = logits.of(indices, views)
    with largest_file(1000), pytest.raises(OSError, match="File too large"):
        logits.of(*all_rows())
    assert len(filled_rows(tmp_path)) == len((indices * VIEWS + views).unique())
    assert torch.equal(open_logits(tmp_path, no_teacher).of(indices, views), whole)
    assert_said_by_the_live_teacher(logits.of(*all_rows()), *all_rows())
    assert len(filled_rows(tmp_path)) == ROWS


@pytest.mark.parametrize("has_winograd", [True, False])
def test_each_arithmetic_has_a_folder_of_its_own(has_winograd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.device.has_winograd", lambda: has_winograd)
    folders = {
        logits_folder(Path("cache"), "data", "teacher", source, torch.device(device), precision)
        for source in ("", "own")
        for device in ("cpu", "cuda")
        for precision in ("float32", "bfloat16")
    }
    assert len(folders) == 8, "and so has each source of a network of one's own"
    # As studies begun with an earlier version have it.
    assert (Path("cache/logits/data-teacher-cpu") in folders) != has_winograd
    assert Path("cache/logits/data-teacher-cpu-bfloat16") in folders
    assert (Path("cache/logits/data-teacher-cpu-winograd") in folders) == has_winograd


def test_a_teacher_is_asked_by_winograds_algorithm_in_float32_alone() -> None:
    cpu = torch.device("cpu")
    named = {precision: str(as_asked(teacher(), cpu, precision)) for precision in ("float32", "bfloat16")}
    assert "FrozenWinogradConv2d(64, 64" in named["float32"]
    assert "Winograd" not in named["bfloat16"]
    assert "BatchNorm" not in named["float32"]


def test_logits_of_other_convolutions_are_left_alone_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "of-cpu").mkdir()
    indices, views = random_rows(3, seed=1)
    open_logits(tmp_path / "of-cpu-winograd").of(indices, views)
    assert f"{tmp_path / 'of-cpu'}: left alone" in capsys.readouterr().out
    open_logits(tmp_path / "of-cpu").of(indices, views)
    assert f"{tmp_path / 'of-cpu-winograd'}: left alone" in capsys.readouterr().out
    open_logits(tmp_path / "of-cpu-bfloat16").of(indices, views)
    assert capsys.readouterr().out == ""


def test_in_bfloat16_the_teacher_runs_under_autocast(tmp_path: Path) -> None:
    indices, views = random_rows(60, seed=3)
    said = open_logits(tmp_path, precision="bfloat16").of(indices, views)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        live = teacher()(bank().crop(indices, views))
    assert live.dtype == torch.bfloat16
    torch.testing.assert_close(said.float(), live.float(), rtol=2**-6, atol=0.05)
    assert (said.float() - open_logits(tmp_path / "float32").of(indices, views).float()).abs().max() > 1e-3


def test_files_of_an_earlier_version_are_left_alone_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("logits", "filled"):
        (tmp_path / name).write_bytes(b"\1" * 100)
    indices, views = random_rows(3, seed=1)
    assert_said_by_the_live_teacher(open_logits(tmp_path).of(indices, views), indices, views)
    assert "earlier version" in capsys.readouterr().out
    assert (tmp_path / "filled").read_bytes() == b"\1" * 100
