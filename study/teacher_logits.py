"""Teacher logits: exact, one row for each (image, view), asked for when a view first appears and kept on disk."""

import shutil
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from data.views import VIEWS, ImageBank
from storage.claims import Claims, hold
from storage.errors import PlainError
from storage.rows import Rows, count_rows
from study.progress import say

BATCH_SIZE = 500
SECONDS_BETWEEN_WRITES = 5.0


class TeacherLogitsError(PlainError):
    """What the teacher says cannot be taught; the message is one line."""


def logits_folder(cache: Path, data_hash: str, teacher_hash: str, device: torch.device, precision: str) -> Path:
    """Where the logits of one teacher on one data set are kept, by how they are computed: CUDA convolves in TF32."""
    arithmetic = device.type if precision == "float32" else f"{device.type}-{precision}"
    return cache / "logits" / f"{data_hash[:12]}-{teacher_hash[:12]}-{arithmetic}"


def count_filled(folder: Path) -> int:
    """How many views the teacher has been asked for; 0 where there is no such folder."""
    return count_rows(folder)


class TeacherLogits:
    """What a frozen teacher says of each (image, view) of one data set, before any temperature.

    Rows that are on disk are verified when a process first reads them, and asked again where they are missing or
    damaged. A killed process loses the rows of a few seconds; they are computed again, to the same values. Inference
    runs in batches of one fixed size, so that a value does not depend on what was asked together.

    Trials, studies, processes and hosts share the folder; of the processes of a storage, one at a time fills it. Where
    those of two storages fill it at once, both are right, and the teacher was asked more often than needed.

    Args:
        folder: one for each (data, teacher, arithmetic).
        bank: the images, on the device on which the teacher runs.
        make_teacher: gives the teacher in evaluation mode on the bank's device; called when first needed.
        classes: number of logits.
        progress: gives a bar for so many views.
        claims: of the storage.
        precision: of the teacher's forward pass, ``float32`` or ``bfloat16``.
    """

    def __init__(
        self,
        folder: Path,
        bank: ImageBank,
        make_teacher: Callable[[], nn.Module],
        classes: int,
        progress: Callable[[int], "tqdm[Any]"],
        claims: Claims,
        precision: str = "float32",
    ) -> None:
        self.folder, self.bank, self.classes, self.precision = folder, bank, classes, precision
        self._make_teacher, self._progress, self._claims = make_teacher, progress, claims
        self._teacher: nn.Module | None = None
        folder.mkdir(parents=True, exist_ok=True)
        # Hosts that share the folder see one inode; those that have each their own need not wait for one another.
        self._claim = f"logits-{folder.name}-{folder.stat().st_ino}"

    def of(self, indices: Tensor, views: Tensor) -> Tensor:
        """Teacher logits of the given views; those that no one has asked for before are computed first.

        Args:
            indices, views: int64 of shape (n,), on the CPU.

        Returns:
            float16 of shape (n, classes), on the bank's device.

        Raises:
            OSError: where the disk is full; what was filled is kept.
            TeacherLogitsError: where the teacher says what float16 cannot hold.
        """
        numbers = indices * VIEWS + views
        if len(self._rows.lacking(numbers)) > 0:
            self._rows.read()
        if len(self._rows.lacking(numbers)) > 0:
            with hold(self._claims, self._claim):
                # Looked up again: another process may have filled them while this one waited.
                self._rows.read()
                self._fill(self._rows.lacking(numbers))
        return self._rows.of(numbers).to(self.bank.device)

    def require_room(self, rows: int) -> None:
        """Refuse to start where the disk cannot take that many more rows.

        Raises:
            OSError: one line that says how much is needed and how much is there.
        """
        needed, free = rows * self.classes * 2, shutil.disk_usage(self.folder).free
        if needed > free:
            raise OSError(
                f"{self.folder}: the teacher logits need {needed / 1e9:.2f} GB more and {free / 1e9:.2f} GB are free; "
                "make room or give --runs-dir on another disk"
            )

    @cached_property
    def _rows(self) -> Rows:
        """Made when first asked for: what a network needs of a device's memory is taken by then."""
        numbers, device = len(self.bank) * VIEWS, self.bank.device
        fits = device.type == "cuda" and 4 * numbers * self.classes < torch.cuda.mem_get_info(device)[0]
        if (self.folder / "filled").exists():
            say(f"{self.folder}: the files logits and filled are those of an earlier version, delete them to make room")
        return Rows(self.folder, numbers, self.classes, device if fits else torch.device("cpu"), say)

    def _fill(self, numbers: Tensor) -> None:
        if len(numbers) == 0:
            return
        if self._teacher is None:
            self._teacher = self._make_teacher()
        last_write = time.monotonic()
        try:
            with self._progress(len(numbers)) as progress:
                for batch in numbers.split(BATCH_SIZE):
                    self._rows.add(batch, self._ask(self._teacher, batch))
                    progress.update(len(batch))
                    if time.monotonic() - last_write >= SECONDS_BETWEEN_WRITES:
                        self._rows.write()
                        last_write = time.monotonic()
        finally:
            # Before the claim is given back: who waits for it looks for these rows.
            self._rows.write()

    @torch.inference_mode()
    def _ask(self, teacher: nn.Module, numbers: Tensor) -> Tensor:
        padded = torch.cat([numbers, numbers[-1:].expand(BATCH_SIZE - len(numbers))]).to(self.bank.device)
        with torch.autocast(self.bank.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            logits: Tensor = teacher(self.bank.crop(padded // VIEWS, padded % VIEWS))
        logits = logits[: len(numbers)].half()
        if not logits.isfinite().all():
            raise TeacherLogitsError(
                "the teacher's logits are beyond float16 (more than 65,504, or no number): give another with --teacher"
            )
        return logits
