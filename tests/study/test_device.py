"""What picking a device sets up."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from storage.configuration import ConfigurationError
from storage.study_storage import sqlite_url
from study.device import bfloat16_cost, faster_precision, main, pick_device, say_if_slow

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


@pytest.mark.parametrize(
    "name", ["cpu:x", "cpu:5", "cpu:0", "cuda:x", "cuda:", "cuda:-1", "mps:0", "gpu", "", "auto:0", "CPU", "cuda:٣"]
)
def test_a_device_that_there_cannot_be_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^--device .*: give one of auto, cpu, cuda, mps") as refusal:
        pick_device(name)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:99999999999"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_gpu_that_is_not_there_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^--device {name}: .* give --device cpu"):
        pick_device(name)


def test_auto_does_not_take_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("cpu")
    assert pick_device("mps") == torch.device("mps")


def test_a_precision_that_costs_time_is_named_before_it_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cpu = torch.device("cpu")
    for cost, precision in ((0.5, "bfloat16"), (10.0, "float32")):
        monkeypatch.setattr("study.device.bfloat16_cost", lambda device, cost=cost: cost)
        monkeypatch.setattr("study.device.has_winograd", lambda: True)
        say_if_slow(precision, cpu)
    assert capsys.readouterr().out == ""
    say_if_slow("bfloat16", cpu)
    assert "bfloat16 takes 10.0 times as long as float32 on this cpu: --precision float32" in capsys.readouterr().out
    monkeypatch.setattr("study.device.has_winograd", lambda: False)
    say_if_slow("float32", cpu)
    assert "winograd.c cannot be compiled here" in capsys.readouterr().out


def test_the_precision_is_the_one_that_is_clearly_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    for cost, precision in ((0.5, "bfloat16"), (0.95, "float32"), (10.0, "float32")):
        monkeypatch.setattr("study.device.bfloat16_cost", lambda device, cost=cost: cost)
        assert faster_precision(torch.device("cpu")) == precision


def test_to_measure_a_precision_leaves_the_threads_as_they_were() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert bfloat16_cost(torch.device("cpu")) > 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_precision_and_recipe_are_those_of_the_device_that_every_step_is_given(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[torch.device] = []

    def faster(device: torch.device) -> str:
        asked.append(device)
        return "bfloat16"

    monkeypatch.setattr("study.device.faster_precision", faster)
    monkeypatch.setattr("study.device.pick_device", lambda name: torch.device("cuda" if name == "auto" else name))
    main(["--data-dir", "images", "--device", "cpu", "--runs-dir", "elsewhere", "--study", "none of that name"])
    assert asked == [torch.device("cpu")]
    main(["--recipe", "--device", "cpu"])
    main(["--recipe", "--data-dir", "images"])
    assert capsys.readouterr().out.split() == ["bfloat16", "two-cores", "large-batch"]


def test_a_study_that_has_begun_goes_on_in_its_precision_whatever_is_faster_now(
    studied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.device.faster_precision", lambda device: "bfloat16")
    here = ["--device", "cpu", "--runs-dir", str(studied)]
    main([*here, "--study", "demo"])
    main(
        [
            "--device",
            "cpu",
            "--runs-dir",
            str(tmp_path),
            "--storage",
            sqlite_url(studied / "study.db"),
            "--study",
            "demo",
        ]
    )
    main([*here, "--study", "full"])
    main(["--device", "cpu", "--runs-dir", str(tmp_path), "--study", "demo"])
    main(here)
    assert capsys.readouterr().out.split() == ["float32", "float32", *["bfloat16"] * 3]
    assert not any(tmp_path.iterdir())
