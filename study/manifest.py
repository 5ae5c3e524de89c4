"""What a result needs to be repeated: versions, hardware, the commit."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from models.architecture import ROOMS
from study.device import computes_by_winograd

ROOT = Path(__file__).parents[1]
PACKAGES = ("torch", "torchvision", "optuna", "pandas", "plotly", "scipy")


def versions() -> dict[str, str]:
    """Version by package name, Python's too."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def hardware(device: torch.device, precision: str | None) -> dict[str, str | int]:
    """The device, its name, the number of threads, and how it computes in float32 if not the usual way.

    Args:
        precision: of what is trained, if anything is.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    float32: dict[str, str | int] = _float32_of_cuda() if device.type == "cuda" else {}
    if precision is not None and computes_by_winograd(device, precision):
        float32["convolutions"] = "Winograd"
    return {
        "device": str(device),
        "name": name,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        **float32,
    }


def commit(root: Path = ROOT) -> str:
    """The commit of the code, with ``+changes`` where files that it tracks, or Python files of the rooms, differ.

    ``unknown`` outside a checkout of this repository, such as where the package is installed in a folder of another.

    Args:
        root: the folder of the rooms.
    """
    try:
        _git(root, "ls-files", "--error-unmatch", "study/manifest.py")
        described = _git(root, "describe", "--always", "--abbrev=12", "--dirty=+changes", "--exclude=*")
        new = _git(root, "ls-files", "--others", "--exclude-standard", *(f"{room}/*.py" for room in ROOMS))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{described}+changes" if new and not described.endswith("+changes") else described


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def _float32_of_cuda() -> dict[str, str | int]:
    allowed = {
        "convolutions": torch.backends.cudnn.allow_tf32,
        "matrix products": torch.backends.cuda.matmul.allow_tf32,
    }
    has_tf32 = torch.cuda.is_tf32_supported()
    return {name: "TF32" if has_tf32 and allows else "IEEE float32" for name, allows in allowed.items()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
