"""What a result needs to be repeated: versions, hardware, the commit."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("torch", "torchvision", "optuna", "pandas", "plotly", "scipy")


def versions() -> dict[str, str]:
    """Version by package name, Python's too."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def hardware(device: torch.device) -> dict[str, str | int]:
    """The device, its name, the number of threads, and how CUDA convolves float32."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": str(device),
        "name": name,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        **({"convolutions": "TF32"} if device.type == "cuda" and torch.backends.cudnn.allow_tf32 else {}),
    }


def commit() -> str:
    """The commit of the code, with ``+ changes`` where the working tree differs; ``unknown`` outside a checkout."""
    folder = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+changes", "--exclude=*"],
            cwd=folder, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
