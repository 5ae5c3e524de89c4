"""The device to train on, and the precision in which it is faster.

python -m study.device                 prints that precision
python -m study.device --study full    prints that of the study where it has begun: make full takes it
python -m study.device --recipe        prints the recipe by which make full trains a teacher
"""

import argparse
import ctypes
import platform
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from models import has_winograd, with_winograd
from storage.configuration import refuse_unless
from storage.errors import one_line_errors
from storage.folders import RunsFolder
from storage.open_study import read_study
from study.progress import say

DEVICES = ("auto", "cpu", "cuda", "mps")

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 * 2**20

CLEARLY_FASTER = 0.9


def pick_device(name: str) -> torch.device:
    """The device called ``name``, set up for training; ``auto`` takes CUDA, or else the CPU.

    For a CPU the whole process keeps the memory that it frees, see ``keep_freed_memory``.

    Raises:
        ConfigurationError: where the device asked for is not there; there is no fallback.
    """
    known = re.fullmatch(r"(auto|cpu|mps|cuda)|cuda:([0-9]+)", name)
    refuse_unless(
        known is not None, f"--device {name}: give one of {', '.join(DEVICES)}, or cuda:0, cuda:1, ... of several"
    )
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        # Not MPS, which nobody has tested: only where it is asked for.
        name = "cuda" if available["cuda"] else "cpu"
    kind, _, number = name.partition(":")
    refuse_unless(
        available[kind], f"--device {name}: this machine or this torch has none; give --device cpu to use the CPU"
    )
    if kind == "cuda":
        devices = torch.cuda.device_count()
        refuse_unless(int(number or 0) < devices, f"--device {name}: there are {devices}, numbered from 0")
        if number:
            # A CUDA graph is recorded on the current device, wherever its tensors are. Not where none was named: it
            # takes memory of the device, and the parent of several workers computes nothing.
            torch.cuda.set_device(int(number))
    if kind == "cpu":
        keep_freed_memory()
    return torch.device(name)


def keep_freed_memory() -> None:
    """Have glibc keep the memory that a step frees: the next one would get it back page by page from the kernel.

    Whether it does depends on what lies where in the heap: where it does, a step has thousands of page faults. What is
    larger than 32 MiB, and a step has nothing that large, is given back as before. See mallopt(3). Does nothing with
    another C library.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Let torch compute on so many threads of the CPU while the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def wait_for(device: torch.device) -> None:
    """Return once the device has done what it was asked; a CPU does at once."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def computes_by_winograd(device: torch.device, precision: str) -> bool:
    """Whether 3 x 3 convolutions are computed by Winograd's algorithm: in float32 on a CPU that has a C compiler."""
    return device.type == "cpu" and precision == "float32" and has_winograd()


def convolutions(device: torch.device, precision: str) -> str:
    """Whose convolutions a training has: ``Winograd``, or ``torch``."""
    return "Winograd" if computes_by_winograd(device, precision) else "torch"


def bfloat16_cost(device: torch.device) -> float:
    """How many times as long as in float32 a convolution takes in bfloat16 on one thread of a CPU.

    About 0.5 where the processor has instructions for it, and 10 where a CPU has none and torch makes up for them;
    twice that where float32 has Winograd's algorithm.
    """
    layer = nn.Conv2d(64, 64, 3, padding=1).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(16, 64, 16, 16, device=device).contiguous(memory_format=torch.channels_last)
    with torch_threads(1):  # of several, one that waits for another is all that would be measured on a busy machine
        in_bfloat16 = _seconds(layer, images, bfloat16=True)
        if computes_by_winograd(device, "float32"):
            layer = with_winograd(layer, frozen=True)
        return in_bfloat16 / _seconds(layer, images, bfloat16=False)


def faster_precision(device: torch.device) -> str:
    """``bfloat16`` where that is clearly faster, else ``float32``; of a GPU what it has instructions for."""
    if device.type == "cuda":  # where one layer says little of a recorded step, and another start may measure otherwise
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if bfloat16_cost(device) < CLEARLY_FASTER else "float32"


def say_if_slow(precision: str, device: torch.device) -> None:
    """Say where bfloat16 costs time instead of saving it, and where a compiler would save some."""
    if precision == "float32" and device.type == "cpu" and sys.platform == "linux" and not has_winograd():
        say(
            "models/winograd.c cannot be compiled here (by CC, or cc): 3 x 3 convolutions take 1.5 to 2.5 times as long"
        )
    if precision == "bfloat16" and device.type == "cpu" and (cost := bfloat16_cost(device)) > 1:
        say(f"bfloat16 takes {cost:.1f} times as long as float32 on this {device.type}: --precision float32 is faster")


def _seconds(layer: nn.Module, images: torch.Tensor, bfloat16: bool) -> float:
    """The least that one of several calls took, after one to warm up."""
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        with torch.inference_mode(), torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16):
            layer(images).sum().item()  # read, so that a GPU has ended
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the precision, or the recipe for a teacher."""
    parser = argparse.ArgumentParser(
        prog="python -m study.device",
        description="Print the precision that is faster here: of a CPU it is measured.",
        allow_abbrev=False,
    )
    parser.add_argument("--device", default="auto", metavar="NAME", help=f"{', '.join(DEVICES)} (default: auto)")
    parser.add_argument("--study", metavar="NAME", help="the precision of this study instead, where it has begun")
    parser.add_argument("--recipe", action="store_true", help="the recipe for a teacher instead")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="(default: runs)")
    parser.add_argument("--storage", metavar="URL", help="Optuna storage (default: sqlite:///RUNS_DIR/study.db)")
    parser.add_argument("--data-dir", help=argparse.SUPPRESS)  # which make full gives to every step
    options = parser.parse_args(arguments)
    with one_line_errors():
        device = pick_device(options.device)
        if options.recipe:
            print("large-batch" if device.type == "cuda" else "two-cores")
            return
        # One that was begun goes on in its precision, whatever a later start would measure.
        begun = None if options.study is None else _precision_of(options.study, options.storage or options.runs_dir)
        print(begun or faster_precision(device))


def _precision_of(study: str, where: str | Path) -> str | None:
    """The precision that a study was begun in, of a storage or a runs folder; None where there is none yet."""
    with read_study(where if isinstance(where, str) else RunsFolder(where).url, study) as opened:
        return None if opened.description is None else opened.description.settings.recipe.precision


if __name__ == "__main__":
    main()
