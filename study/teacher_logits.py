"""Teacher logits on disk: exact, one row for each (image, view), filled as views first appear."""

import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from data.views import VIEWS, ImageBank
from storage.claims import FileClaims, hold

BATCH_SIZE = 500
SECONDS_BETWEEN_FLUSHES = 5.0


def logits_folder(cache: Path, data_hash: str, teacher_hash: str, device: torch.device) -> Path:
    """Where the logits of one teacher on one data set are kept, by kind of device: CUDA convolves in TF32."""
    return cache / "logits" / f"{data_hash[:12]}-{teacher_hash[:12]}-{device.type}"


def count_filled(folder: Path) -> int:
    """How many views the teacher has been asked for; 0 where there is no such folder."""
    try:
        return int(np.count_nonzero(np.memmap(folder / "filled", dtype=np.uint8, mode="r")))
    except FileNotFoundError:
        return 0


class TeacherLogits:
    """What a frozen teacher says of each (image, view) of one data set, before any temperature.

    Two files: ``logits`` holds float16 of shape (images, 162, classes), sparse until filled, and ``filled`` one byte
    for each (image, view). A row is marked filled only once it is on the disk, so a killed process leaves no torn
    row; what it had not marked is computed again, to the same values. Inference runs in batches of one fixed size,
    so that a value does not depend on what was asked together.

    Trials, studies and processes share the files; one process at a time fills them.

    Args:
        folder: one for each (data, teacher).
        bank: the images, on the device on which the teacher runs.
        make_teacher: gives the teacher in evaluation mode on the bank's device; called when first needed.
        classes: number of logits.
        progress: gives a bar for so many views.
    """

    def __init__(
        self,
        folder: Path,
        bank: ImageBank,
        make_teacher: Callable[[], nn.Module],
        classes: int,
        progress: Callable[[int], "tqdm[Any]"],
    ) -> None:
        self.folder, self.bank, self.classes = folder, bank, classes
        self._make_teacher, self._progress = make_teacher, progress
        self._teacher: nn.Module | None = None
        self._claims = FileClaims(folder)
        rows = len(bank) * VIEWS
        with hold(self._claims, "logits"):
            if not (folder / "filled").exists():
                # Written out, not sparse: marking a row through the memory map must never meet a full disk.
                (folder / "filled.partial").write_bytes(bytes(rows))
                (folder / "filled.partial").replace(folder / "filled")
        self._filled = torch.from_file(str(folder / "filled"), shared=True, size=rows, dtype=torch.uint8)
        values = rows * classes
        self._rows = torch.from_file(str(folder / "logits"), shared=True, size=values, dtype=torch.float16)
        self._rows = self._rows.view(rows, classes)
        self._device_rows: Tensor | None = None

    def keep_on_device(self) -> None:
        """Serve the rows from the bank's device from now on: 1.62 GB for CIFAR-100, of which all may be asked for."""
        self._device_rows = torch.zeros_like(self._rows, device=self.bank.device)
        self._is_on_device = torch.zeros_like(self._filled)

    def of(self, indices: Tensor, views: Tensor) -> Tensor:
        """Teacher logits of the given views; those that no one has asked for before are computed first.

        Args:
            indices, views: int64 of shape (n,), on the CPU.

        Returns:
            float16 of shape (n, classes), on the bank's device.

        Raises:
            OSError: where the disk is full; what was filled is kept.
        """
        rows = indices * VIEWS + views
        if self._device_rows is None and self._fits_on_device():
            self.keep_on_device()
        if not self._filled[rows].all():
            with hold(self._claims, "logits"):
                # Looked up again: another process may have filled them while this one waited.
                missing = rows[self._filled[rows] == 0].unique()
                if len(missing) > 0:
                    self._fill(missing)
        if self._device_rows is None:
            return self._rows[rows].to(self.bank.device)
        if not self._is_on_device[rows].all():
            absent = rows[self._is_on_device[rows] == 0].unique()
            self._device_rows[absent.to(self.bank.device)] = self._rows[absent].to(self.bank.device)
            self._is_on_device[absent] = 1
        return self._device_rows[rows.to(self.bank.device)]

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

    def _fits_on_device(self) -> bool:
        device = self.bank.device
        return device.type == "cuda" and self._rows.nbytes < torch.cuda.mem_get_info(device)[0] / 2

    def _fill(self, rows: Tensor) -> None:
        if self._teacher is None:
            self._teacher = self._make_teacher()
        file = os.open(self.folder / "logits", os.O_RDWR)
        try:
            with self._progress(len(rows)) as progress, torch.inference_mode():
                written, last_flush = 0, time.monotonic()
                for batch in rows.split(BATCH_SIZE):
                    # Not through the memory map: on a full disk that is a SIGBUS, here it is an OSError.
                    for row, logits in zip(batch.tolist(), self._ask(self._teacher, batch), strict=True):
                        if os.pwrite(file, logits, row * self.classes * 2) < len(logits):
                            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))
                    progress.update(len(batch))
                    written += len(batch)
                    if written == len(rows) or time.monotonic() - last_flush >= SECONDS_BETWEEN_FLUSHES:
                        os.fsync(file)
                        self._filled[rows[:written]] = 1
                        last_flush = time.monotonic()
        finally:
            os.close(file)

    def _ask(self, teacher: nn.Module, rows: Tensor) -> list[memoryview]:
        padded = torch.cat([rows, rows[-1:].expand(BATCH_SIZE - len(rows))]).to(self.bank.device)
        logits = teacher(self.bank.crop(padded // VIEWS, padded % VIEWS))[: len(rows)]
        return [memoryview(row) for row in logits.half().cpu().numpy()]
