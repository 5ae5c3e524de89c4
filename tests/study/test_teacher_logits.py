"""Teacher logits on disk are what the teacher says, whoever asked, however often a process was killed."""

import multiprocessing
import os
import re
import signal
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
from study.teacher_logits import TeacherLogits

CLASSES = 8
IMAGES = 12
ROWS = IMAGES * VIEWS
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


def filled_rows(folder: Path) -> list[int]:
    return [row for row, mark in enumerate((folder / "filled").read_bytes()) if mark]


def assert_said_by_the_live_teacher(logits: Tensor, indices: Tensor, views: Tensor) -> None:
    with torch.inference_mode():
        live = teacher()(bank().crop(indices, views))
    assert logits.dtype == torch.float16
    # Rounding to float16, and the last bits of float32 that depend on the size of the batch.
    torch.testing.assert_close(logits.float(), live, rtol=2**-11, atol=2e-6)


def test_the_cache_says_what_the_live_teacher_says(tmp_path: Path) -> None:
    logits = TeacherLogits(tmp_path, bank(), teacher, CLASSES, quiet)
    for seed, count in enumerate((1, 7, 500, 731)):
        indices, views = random_rows(count, seed)
        assert_said_by_the_live_teacher(logits.of(indices, views), indices, views)


def test_rows_kept_on_the_device_are_those_of_the_disk_whoever_filled_them(tmp_path: Path) -> None:
    on_device = TeacherLogits(tmp_path, bank(), teacher, CLASSES, quiet)
    on_device.keep_on_device()
    on_disk = TeacherLogits(tmp_path, bank(), teacher, CLASSES, quiet)
    for seed, count in enumerate((1, 300, 300, 731)):
        # The second asks first for every other set of rows, so some were filled by the first and some were not.
        indices, views = random_rows(count, seed)
        expected = on_disk.of(indices, views) if seed % 2 else None
        said = on_device.of(indices, views)
        assert torch.equal(said, on_disk.of(indices, views) if expected is None else expected)
        assert_said_by_the_live_teacher(said, indices, views)


def test_only_what_was_asked_for_is_filled_and_once(tmp_path: Path) -> None:
    asked: list[int] = []

    def counting(total: int) -> "tqdm[Any]":
        asked.append(total)
        return quiet(total)

    logits = TeacherLogits(tmp_path, bank(), teacher, CLASSES, counting)
    indices, views = torch.tensor([3, 3, 0]), torch.tensor([161, 161, 5])
    logits.of(indices, views)
    assert filled_rows(tmp_path) == [5, 3 * VIEWS + 161]
    logits.of(indices[:1], views[:1])
    logits.of(torch.tensor([3, 1]), torch.tensor([161, 0]))
    assert filled_rows(tmp_path) == [5, VIEWS, 3 * VIEWS + 161]
    assert asked == [2, 1]


def test_rows_survive_reopening_and_the_teacher_is_not_asked_again(tmp_path: Path) -> None:
    indices, views = random_rows(300, seed=1)
    first = TeacherLogits(tmp_path, bank(), teacher, CLASSES, quiet).of(indices, views)
    reopened = TeacherLogits(tmp_path, bank(), no_teacher, CLASSES, quiet)
    assert torch.equal(reopened.of(indices, views), first)
    empty = filled_rows(tmp_path)[-1] + 1
    with pytest.raises(AssertionError, match="asked again"):
        reopened.of(torch.tensor([empty // VIEWS]), torch.tensor([empty % VIEWS]))


@pytest.mark.parametrize("make_teacher", [teacher, FeelsItsBatch])
def test_a_value_does_not_depend_on_what_was_asked_together(
    make_teacher: Callable[[], nn.Module], tmp_path: Path
) -> None:
    indices, views = random_rows(700, seed=2)
    together = TeacherLogits(tmp_path / "together", bank(), make_teacher, CLASSES, quiet).of(indices, views)
    apart = TeacherLogits(tmp_path / "apart", bank(), make_teacher, CLASSES, quiet)
    for chosen in ([699], [3], [698, 0, 2], list(range(400, 460))):
        assert torch.equal(apart.of(indices[chosen], views[chosen]), together[chosen])


def fill(folder: Path, seed: int) -> None:
    logits = TeacherLogits(folder, bank(), teacher, CLASSES, quiet)
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
    logits = TeacherLogits(tmp_path, bank(), no_teacher, CLASSES, quiet)
    for indices, views in asked:
        assert_said_by_the_live_teacher(logits.of(indices, views), indices, views)
    assert set(filled_rows(tmp_path)) == {row for indices, views in asked for row in (indices * VIEWS + views).tolist()}


class KilledAfter(tqdm):  # type: ignore[type-arg]
    """Ends its process, as kill -9 does, once so many rows are written."""

    rows = 0

    def update(self, n: float | None = 1) -> bool | None:
        self.rows += int(n or 0)
        if self.rows == 1500:
            os.kill(os.getpid(), signal.SIGKILL)
        return None


def fill_until_killed(folder: Path) -> None:
    study.teacher_logits.SECONDS_BETWEEN_FLUSHES = 0.0
    TeacherLogits(folder, bank(), teacher, CLASSES, lambda total: KilledAfter(disable=True)).of(*all_rows())


def fill_slowly(folder: Path) -> None:
    study.teacher_logits.SECONDS_BETWEEN_FLUSHES = 0.0
    TeacherLogits(folder, bank(), teacher, CLASSES, quiet).of(*all_rows())


def assert_whole_after_a_kill(folder: Path) -> int:
    logits = TeacherLogits(folder, bank(), teacher, CLASSES, quiet)
    marked = torch.tensor(filled_rows(folder))
    before = logits.of(marked // VIEWS, marked % VIEWS)
    assert_said_by_the_live_teacher(before, marked // VIEWS, marked % VIEWS)
    assert_said_by_the_live_teacher(logits.of(*all_rows()), *all_rows())
    assert len(filled_rows(folder)) == ROWS
    return len(marked)


def test_what_was_written_but_not_marked_before_a_kill_is_computed_again(tmp_path: Path) -> None:
    worker = PROCESSES.Process(target=fill_until_killed, args=(tmp_path,))
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    assert assert_whole_after_a_kill(tmp_path) == 1000


def test_a_process_killed_while_filling_leaves_no_torn_row(tmp_path: Path) -> None:
    worker = PROCESSES.Process(target=fill_slowly, args=(tmp_path,))
    worker.start()
    marks = tmp_path / "filled"
    while worker.is_alive() and not (marks.exists() and any(marks.read_bytes())):
        time.sleep(0.001)
    worker.kill()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    assert 0 < assert_whole_after_a_kill(tmp_path) < ROWS


def test_a_disk_without_room_is_refused_with_numbers(tmp_path: Path) -> None:
    logits = TeacherLogits(tmp_path, bank(), teacher, CLASSES, quiet)
    logits.require_room(ROWS)
    with pytest.raises(
        OSError, match=rf"^{re.escape(str(tmp_path))}: .* 16000000\.00 GB .* \d+\.\d\d GB are free"
    ) as refusal:
        logits.require_room(10**15)
    assert "\n" not in str(refusal.value)
