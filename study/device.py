"""The device to train on."""

import torch

from study.configuration import require

DEVICES = ("auto", "cpu", "cuda", "mps")


def pick_device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        ConfigurationError: where the device asked for is not there; there is no fallback.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if available[kind])
    kind = name.split(":")[0]
    require(kind in available, f"--device {name}: give one of {', '.join(DEVICES)}")
    require(available[kind], f"--device {name}: this machine or this torch has none; give --device cpu to use the CPU")
    device = torch.device(name)
    if kind == "cuda":
        devices = torch.cuda.device_count()
        require((device.index or 0) < devices, f"--device {name}: there are {devices}, numbered from 0")
        # A CUDA graph is recorded on the current device, wherever its tensors are.
        torch.cuda.set_device(device.index or 0)
    return device
