"""Teacher logits: exact, one row for each (image, view), asked for when a view first appears and kept on disk."""

import math
import shutil
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from data.draws import generator_of
from data.views import VIEWS, ImageBank
from models import fold_batch_norm, with_winograd
from storage.claims import Claims, hold
from storage.errors import PlainError
from storage.rows import Rows
from study.device import computes_by_winograd
from study.progress import say

SECONDS_BETWEEN_WRITES = 5.0
MOST_PARTS, IMAGES_A_PART = 8, 2500
"""The images are in so many parts, of each of which one process at a time asks; few images are in fewer of them."""


class TeacherLogitsError(PlainError):
    """What the teacher says cannot be taught; the message is one line."""


def logits_folder(
    cache: Path, data_hash: str, teacher_hash: str, source: str, device: torch.device, precision: str
) -> Path:
    """Where the logits of one teacher on one data set are kept, by how they are computed.

    CUDA convolves in TF32 where a GPU has it, a CPU by Winograd's algorithm where it can; in batches of one size as
    ``batch_size`` has it.

    Args:
        source: of the teacher's network, as ``Architecture`` has it: the same weights in other code say other things.
    """
    arithmetic = "winograd" if computes_by_winograd(device, precision) else precision.replace("float32", "")
    if device.type == "cuda" and precision == "float32" and not torch.cuda.is_tf32_supported():
        arithmetic = "ieee"
    parts = [data_hash[:12], teacher_hash[:12], source[:12], device.type, arithmetic]
    return cache / "logits" / "-".join(filter(None, parts))


def as_asked(teacher: nn.Module, device: torch.device, precision: str) -> nn.Module:
    """A teacher as it is asked for its logits: the same function but for rounding, in less time.

    Args:
        teacher: in evaluation mode, on the device; it may be changed.
    """
    folded = fold_batch_norm(teacher)
    return with_winograd(folded, frozen=True) if computes_by_winograd(device, precision) else folded


def batch_size(device: torch.device) -> int:
    """How many views a teacher is asked for at once: of a CPU so many that its caches hold what goes between layers."""
    # 500 at once take a ResNet20 1.2 times as long: python -m tests.choices.
    return 50 if device.type == "cpu" else 500


class SoftTargets(Protocol):
    """What a training is taught of its images."""

    @property
    def identity(self) -> str:
        """What tells it apart from anything else that could be taught."""

    def of(self, indices: Tensor, views: Tensor) -> Tensor:
        """Logits of an epoch's images in their views, as ``TeacherLogits.of`` has them."""


class ShuffledLogits:
    """The teacher's logits of another image of the same class, in the view in which the epoch shows that one.

    What an image is like within its class is gone; what its class is like, and how sure the teacher is of its images,
    stays. The teacher is asked for nothing that it is not asked for anyway.

    Args:
        logits: of the teacher.
        images: that are trained on, int64 of shape (images,).
        labels: of every image of the bank, int64 of shape (bank,).
    """

    def __init__(self, logits: SoftTargets, images: Tensor, labels: Tensor) -> None:
        self._logits, self._partner = logits, partners(images.cpu(), labels.cpu())
        self.identity = f"{logits.identity} shuffled"

    def of(self, indices: Tensor, views: Tensor) -> Tensor:
        """As ``SoftTargets``, for a whole epoch at a time."""
        shown = torch.zeros_like(self._partner)
        shown[indices] = views
        others = self._partner[indices]
        return self._logits.of(others, shown[others])


def partners(images: Tensor, labels: Tensor) -> Tensor:
    """For each image of a bank another one of its class, the next in a fixed random order; itself where it is alone.

    Args:
        images: those that take part, int64 of shape (images,), on the CPU.
        labels: of the bank, int64 of shape (bank,), on the CPU.

    Returns:
        int64 of shape (bank,): a permutation; images that do not take part stay.
    """
    partner = torch.arange(len(labels))
    order = images.sort().values[torch.randperm(len(images), generator=generator_of("shuffled"))]
    for label in labels[order].unique():
        members = order[labels[order] == label]
        partner[members] = members.roll(-1)
    return partner


class SmoothLabels:
    """No teacher: label smoothing as logits, a virtual teacher (Yuan et al. 2020, https://arxiv.org/abs/1909.11723).

    At temperature T its softened output is 1 - strength on the label and strength / classes on every class, the label
    among them.

    Args:
        labels: of every image of the bank, int64 of shape (bank,).
        strength: from 0 to 1.
        device: of the result.
    """

    def __init__(self, labels: Tensor, classes: int, strength: float, temperature: float, device: torch.device) -> None:
        self._labels, self._classes, self.strength = labels.to(device), classes, strength
        others = strength / classes
        self._logit = temperature * math.log((1 - strength + others) / others)
        self.identity = f"smoothing {strength!r}"

    def of(self, indices: Tensor, views: Tensor) -> Tensor:
        """As ``SoftTargets``; all views of an image are the same."""
        labels = self._labels[indices.to(self._labels.device)]
        return (F.one_hot(labels, self._classes) * self._logit).half()


def matching_strength(logits: Tensor, temperature: float) -> float:
    """The strength of label smoothing that is as sure of its label as a teacher is, on average, at a temperature.

    Args:
        logits: of the teacher, of shape (images, classes).
    """
    classes = logits.shape[1]
    # MPS has no float64.
    confidence = (logits.cpu().float() / temperature).softmax(dim=1).amax(dim=1).double().mean().item()
    return max(round((1 - confidence) * classes / (classes - 1), 6), 1e-6)


class TeacherLogits:
    """What a frozen teacher says of each (image, view) of one data set, before any temperature.

    Rows that are on disk are verified when a process first reads them, and asked again where they are missing or
    damaged. A killed process loses the rows of a few seconds; they are computed again, to the same values. Inference
    runs in batches of one fixed size, so that a value does not depend on what was asked together.

    Trials, studies, processes and hosts share the folder; the processes of a storage share what there is to ask, each
    part of the images one of them at a time. Where those of two storages fill it at once, both are right, and the
    teacher was asked more often than needed.

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
        self._batch_size = batch_size(bank.device)
        self._teacher: nn.Module | None = None
        folder.mkdir(parents=True, exist_ok=True)
        # Hosts that share the folder see one inode; those that have each their own need not wait for one another.
        self._claim = f"logits-{folder.name}-{folder.stat().st_ino}"
        self._parts = max(1, min(MOST_PARTS, len(bank) // IMAGES_A_PART))

    @property
    def identity(self) -> str:
        """The data, the teacher and its arithmetic."""
        return self.folder.name

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
        lacking = self._rows.lacking(numbers)
        if len(lacking) > 0:
            self._fill(lacking)
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
        usual = self.folder.with_name(self.folder.name.removesuffix("-winograd"))
        other = usual if usual != self.folder else usual.with_name(f"{usual.name}-winograd")
        if other.exists():
            say(f"{other}: left alone, other convolutions gave them (with a C compiler here or without, or before)")
        return Rows(self.folder, numbers, self.classes, device if fits else torch.device("cpu"), say)

    def _fill(self, numbers: Tensor) -> None:
        """Fill first the parts that no other process is at, then what those that were have left."""
        part_of = numbers // VIEWS % self._parts
        claims = {f"{self._claim}-{part}": numbers[part_of == part] for part in part_of.unique().tolist()}
        with self._progress(len(numbers)) as progress:
            taken = [claim for claim, rows in claims.items() if not self._fill_unless_taken(claim, rows, progress)]
            for claim in taken:
                with hold(self._claims, claim):
                    self._fill_part(claims[claim], progress)

    def _fill_unless_taken(self, claim: str, numbers: Tensor, progress: "tqdm[Any]") -> bool:
        if not self._claims.try_claim(claim):
            return False
        with hold(self._claims, claim):
            self._fill_part(numbers, progress)
        return True

    def _fill_part(self, numbers: Tensor, progress: "tqdm[Any]") -> None:
        # Looked up again: another process may have filled them since.
        self._rows.read()
        lacking = self._rows.lacking(numbers)
        progress.update(len(numbers) - len(lacking))
        if len(lacking) == 0:
            return
        if self._teacher is None:
            self._teacher = as_asked(self._make_teacher(), self.bank.device, self.precision)
        last_write = time.monotonic()
        try:
            for batch in lacking.split(self._batch_size):
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
        padded = torch.cat([numbers, numbers[-1:].expand(self._batch_size - len(numbers))]).to(self.bank.device)
        with torch.autocast(self.bank.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            logits: Tensor = teacher(self.bank.crop(padded // VIEWS, padded % VIEWS))
        logits = logits[: len(numbers)].half()
        if not logits.isfinite().all():
            raise TeacherLogitsError(
                "the teacher's logits are beyond float16 (more than 65,504, or no number): give another with --teacher"
            )
        return logits
