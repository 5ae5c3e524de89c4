"""3 x 3 convolutions on a CPU in float32 by Winograd's algorithm.

Lavin and Gray 2015 (https://arxiv.org/abs/1509.09308), F(4 x 4, 3 x 3): a quarter of the multiplications. torch uses
it on no CPU by default. It rounds about ten times as coarsely as the usual way, and still far finer than float16 does.
"""

import ctypes
import functools
import hashlib
import importlib.util
import os
import shlex
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from storage.files import write_whole

SOURCE = Path(__file__).with_suffix(".c")
G = torch.tensor(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    dtype=torch.float64,
)
"""The paper's, for this size."""
OF_KERNEL = torch.einsum("ih,jw->ijhw", G, G).reshape(36, 9)
"""G g G^T of a kernel g, both with their rows one after the other."""
OPTIONS = ["-O3", "-march=native", "-fopenmp", "-shared", "-fPIC"]
OF_THE_PROCESSOR = ("model name", "flags", "CPU part", "Features")
"""Lines of ``/proc/cpuinfo`` that say for what ``-march=native`` compiles: two of x86, two of ARM."""


class WinogradConv2d(nn.Conv2d):
    """A convolution that ``with_winograd`` has made one, of those that ``is_fit`` names; its parameters stay.

    By Winograd's algorithm where it is trained; where it is not, in evaluation or without gradients, and under
    autocast, in the usual way.
    """

    def forward(self, input: Tensor) -> Tensor:
        """As of ``nn.Conv2d``.

        Raises:
            MemoryError: where there is none for what goes between the steps.
        """
        if not (self.training and torch.is_grad_enabled() and self.can_take(input)):
            return super().forward(input)
        output: Tensor = _Convolution.apply(input, self.weight, self.bias)
        return output

    def can_take(self, input: Tensor) -> bool:
        """Whether it is some float32 images on the CPU, of as many channels as there have to be, and no autocast."""
        is_images = input.dim() == 4 and input.shape[1] == self.in_channels and input.numel() > 0
        are_float32 = input.dtype == self.weight.dtype == torch.float32 and input.device.type == "cpu"
        return is_images and are_float32 and not torch.is_autocast_enabled("cpu")


class FrozenWinogradConv2d(WinogradConv2d):
    """One whose weights do not change any more, for inference alone: by Winograd's algorithm without gradients."""

    _frozen: tuple[Tensor, Tensor]  # the weights, and what they are transformed; in a tuple they are no others

    def freeze(self) -> None:
        """Transform the weights, once."""
        self._frozen = self.weight, _transform(self.weight.detach().double().permute(2, 3, 1, 0)).float()

    def forward(self, input: Tensor) -> Tensor:
        """As of ``nn.Conv2d``.

        Raises:
            MemoryError: where there is none for what goes between the steps.
        """
        weight, transformed = self._frozen
        if torch.is_grad_enabled() or self.weight is not weight or not self.can_take(input):
            return nn.Conv2d.forward(self, input)
        return _convolve(input, transformed, self.bias)


class _Convolution(torch.autograd.Function):
    """Of images (images, channels, height, width) and weights (filters, channels, 3, 3), all float32."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight)
        return _convolve(input, _transform(weight.permute(2, 3, 1, 0)), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        input, weight = ctx.saved_tensors
        by_input, by_weight, by_bias = ctx.needs_input_grad
        return (
            # The same convolution, with every kernel turned round.
            _convolve(gradient, _transform(weight.flip(2, 3).permute(2, 3, 0, 1)), None) if by_input else None,
            _gradient_by_weight(input, gradient) if by_weight else None,
            gradient.sum(dim=(0, 2, 3)) if by_bias else None,
        )


def with_winograd(network: nn.Module, frozen: bool) -> nn.Module:
    """The network, in which those of its convolutions that can be are computed so from now on.

    Args:
        network: on the CPU; it is changed, its parameters stay.
        frozen: whether they stay as they are, too; such a network is for inference alone, the other for training.

    Raises:
        RuntimeError: where there is no ``has_winograd``.
    """
    together = _together()
    for module in network.modules():
        if is_fit(module, together):
            # In place, as torch's parametrizations are: whoever refers to the module refers to this one.
            module.__class__ = FrozenWinogradConv2d if frozen else WinogradConv2d
        if isinstance(module, FrozenWinogradConv2d):
            module.freeze()
    return network


def is_fit(module: nn.Module, together: int) -> bool:
    """Whether a module is nothing but a 3 x 3 convolution of stride 1 that pads by one zero.

    Its channels and filters have to be multiples of ``together``. What hooks or a ``forward`` of its own do is not
    known.
    """
    return (
        type(module) is nn.Conv2d
        and "forward" not in vars(module)
        and isinstance(getattr(module, "weight", None), nn.Parameter)
        and (module.kernel_size, module.stride, module.dilation) == ((3, 3), (1, 1), (1, 1))
        and module.padding in ((1, 1), "same")
        and module.padding_mode == "zeros"
        and module.groups == 1
        and module.in_channels % together == 0
        and module.out_channels % together == 0
        and module.weight.dtype == torch.float32
        and not (module._forward_pre_hooks or module._forward_hooks)
    )


def has_winograd() -> bool:
    """Whether ``winograd.c`` can be compiled: under Linux by ``CC``, or cc; half a second the first time."""
    return _compiled() is not None


@functools.cache
def _compiled() -> ctypes.CDLL | None:
    """``winograd.c`` for the processor at hand; gcc's threads are torch's, from the libgomp that torch has loaded."""
    if sys.platform != "linux":  # elsewhere torch's threads are of another library, beside which there may be no second
        return None
    try:
        command = [*shlex.split(os.environ.get("CC") or "cc"), *OPTIONS]
        kept = _kept(command)
        if _is_whole(kept):
            with suppress(OSError):  # where no file may be run
                return ctypes.CDLL(str(kept))
        # NFS cannot remove a file that is in use.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            library = Path(folder) / "winograd.so"
            subprocess.run([*command, "-o", str(library), str(SOURCE)], check=True, capture_output=True)
            content = library.read_bytes()
            with suppress(OSError):  # where nobody may write, each process compiles
                write_whole(content + hashlib.sha256(content).digest(), kept)
            return ctypes.CDLL(str(library))
    except (OSError, ValueError, subprocess.CalledProcessError):  # the second is of quotes in CC
        return None


def _kept(command: list[str]) -> Path:
    """Where Python keeps what it compiles, under a name that tells compilers and processors apart."""
    version = subprocess.run([*command, "--version"], check=True, capture_output=True).stdout
    processor = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(OF_THE_PROCESSOR)]
    told = [SOURCE.read_bytes(), *map(str.encode, command), version, *sorted({line.encode() for line in processor})]
    name = hashlib.sha256(b"\0".join(told)).hexdigest()[:16]
    return Path(importlib.util.cache_from_source(str(SOURCE))).with_name(f"winograd-{name}.so")


def _is_whole(library: Path) -> bool:
    """Whether it is there and ends with the hash of what comes before: one that is not would end the process."""
    try:
        content = library.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-32]).digest() == content[-32:]


def _library() -> ctypes.CDLL:
    library = _compiled()
    if library is None:
        raise RuntimeError("no C compiler here takes winograd.c")
    return library


def _together() -> int:
    """How many filters are computed at once: two vectors."""
    return 2 * ctypes.c_int.in_dll(_library(), "winograd_lanes").value


def _transform(kernels: Tensor) -> Tensor:
    """Weights of shape (3, 3, channels, filters) as ``winograd_convolve`` has them, ``u``."""
    numbers: Tensor = (OF_KERNEL.to(kernels.dtype) @ kernels.reshape(9, -1)).view(36, *kernels.shape[2:])
    by_together: Tensor = numbers.unflatten(2, (-1, _together()))
    return by_together.transpose(1, 2).contiguous()


def _convolve(input: Tensor, transformed: Tensor, bias: Tensor | None) -> Tensor:
    images, channels, height, width = input.shape
    filters = transformed.shape[1] * transformed.shape[3]
    # No view, which nothing behind it could change in place.
    output = torch.empty(
        (images, filters, height, width), dtype=input.dtype, device=input.device, memory_format=torch.channels_last
    )
    input = input.contiguous(memory_format=torch.channels_last)
    _call("winograd_convolve", input, transformed, bias, output, images, height, width, channels, filters)
    return output


def _gradient_by_weight(input: Tensor, gradient: Tensor) -> Tensor:
    images, channels, height, width = input.shape
    filters = gradient.shape[1]
    of_numbers = input.new_zeros(36, channels, filters)
    input, gradient = (one.contiguous(memory_format=torch.channels_last) for one in (input, gradient))
    _call("winograd_gradient", input, gradient, of_numbers, images, height, width, channels, filters)
    of_kernels = OF_KERNEL.float().T @ of_numbers.flatten(1)
    by_weight: Tensor = of_kernels.view(3, 3, channels, filters).permute(3, 2, 0, 1)
    return by_weight


def _call(name: str, *arguments: Tensor | int | None) -> None:
    """Call a function of ``winograd.c``, whose last argument is the number of threads."""
    values = [ctypes.c_void_p(one.data_ptr()) if isinstance(one, Tensor) else one for one in arguments]
    if getattr(_library(), name)(*values, torch.get_num_threads()) != 0:
        raise MemoryError("no memory for a convolution by Winograd's algorithm")
