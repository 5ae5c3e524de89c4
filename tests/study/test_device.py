"""What picking a device sets up."""

import platform
import subprocess
import sys

import pytest

GIVEN_BACK = """
import resource, sys
from pathlib import Path
import torch
from study.device import pick_device

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

if sys.argv[1] == "picked":
    pick_device("cpu")
tensors = [torch.ones(7_000_000) for _ in range(3)]  # 28 MB each
before = resident()
del tensors
print(before - resident())
"""


def given_back(what: str) -> int:
    """Bytes that a process gives back to the kernel when it frees 84 MB."""
    command = [sys.executable, "-c", GIVEN_BACK, what]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_a_process_that_computes_on_the_cpu_keeps_what_a_step_frees() -> None:
    assert given_back("picked") < 1e6
    assert given_back("not picked") > 80e6
