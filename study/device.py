"""The device to train on."""

import ctypes
import platform
import re

import torch

from storage.configuration import refuse_unless

DEVICES = ("auto", "cpu", "cuda", "mps")

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 * 2**20


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
