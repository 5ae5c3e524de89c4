"""3 x 3 convolutions on a CPU by Winograd's algorithm, for inference in float32.

Lavin and Gray 2015 (https://arxiv.org/abs/1509.09308), F(4 x 4, 3 x 3): a quarter of the multiplications. torch has it
for no CPU of today. It rounds about ten times as coarsely as the usual way, and still far finer than float16 does.
"""

import ctypes
import functools
import os
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

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


class WinogradConv2d(nn.Conv2d):
    """A convolution of another's weights as they are now, of which ``is_fit`` says that it can be computed so.

    Args:
        usual: it stays as it is.
        library: of ``winograd.c``.
    """

    def __init__(self, usual: nn.Conv2d, library: ctypes.CDLL) -> None:
        super().__init__(usual.in_channels, usual.out_channels, 3, padding=1, bias=usual.bias is not None)
        self.weight, self.bias = usual.weight, usual.bias
        self._library, together = library, 2 * lanes_of(library)
        weights = torch.einsum("ih,fchw,jw->ijcf", G, usual.weight.detach().double(), G)
        # (6 x 6, filters / together, channels, together), as winograd.c has them.
        self._transformed = weights.flatten(0, 1).unflatten(2, (-1, together)).transpose(1, 2).float().contiguous()
        self._bias = torch.zeros(self.out_channels) if usual.bias is None else usual.bias.detach().contiguous()

    def forward(self, input: Tensor) -> Tensor:
        """As of ``nn.Conv2d``, but not differentiable.

        Args:
            input: float32 of shape (images, channels, height, width); another type or shape, autocast and gradients are
                left to the usual way.

        Returns:
            float32 of shape (images, filters, height, width), in ``channels_last``.

        Raises:
            MemoryError: where there is none for what goes between the steps.
        """
        is_usual = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu")
        if is_usual or input.dtype != torch.float32 or input.dim() != 4:
            return super().forward(input)
        images, channels, height, width = input.shape
        input = input.contiguous(memory_format=torch.channels_last)
        output = torch.empty(images, self.out_channels, height, width, memory_format=torch.channels_last)
        pointers = [ctypes.c_void_p(one.data_ptr()) for one in (input, self._transformed, self._bias, output)]
        sizes = (images, height, width, channels, self.out_channels)
        if self._library.winograd_convolve(*pointers, *sizes, torch.get_num_threads()) != 0:
            raise MemoryError(f"no memory for a convolution of {images} x {channels} x {height} x {width}")
        return output


def has_winograd() -> bool:
    """Whether a C compiler is here, ``CC`` or cc, that takes ``winograd.c``: half a second when it is first asked."""
    return _compiled() is not None


def with_winograd(network: nn.Module) -> nn.Module:
    """The network, in which those of its convolutions that can be are computed so from now on, by these weights.

    Args:
        network: on the CPU, for inference alone; it is changed.

    Raises:
        RuntimeError: where there is no ``has_winograd``.
    """
    library = _compiled()
    if library is None:
        raise RuntimeError("no C compiler here takes winograd.c")
    for name, module in list(network.named_modules(remove_duplicate=False)):
        if is_fit(module, lanes_of(library)):
            network.set_submodule(name, WinogradConv2d(module, library))
    return network


def is_fit(module: nn.Module, lanes: int) -> bool:
    """Whether a module is nothing but a 3 x 3 convolution of stride 1 that pads by one zero, of whole vectors.

    One with hooks may be given other weights whenever it is called.
    """
    return (
        type(module) is nn.Conv2d
        and (module.kernel_size, module.stride, module.dilation) == ((3, 3), (1, 1), (1, 1))
        and module.padding in ((1, 1), "same")
        and module.padding_mode == "zeros"
        and module.groups == 1
        and module.in_channels % lanes == 0
        and module.out_channels % (2 * lanes) == 0
        and module.weight.dtype == torch.float32
        and not (module._forward_pre_hooks or module._forward_hooks)
    )


def lanes_of(library: ctypes.CDLL) -> int:
    """How many numbers are a vector."""
    return ctypes.c_int.in_dll(library, "winograd_lanes").value


@functools.cache
def _compiled() -> ctypes.CDLL | None:
    """``winograd.c`` for the processor at hand; its threads are torch's, from the libgomp that torch has loaded."""
    with tempfile.TemporaryDirectory() as folder:  # not kept: another host that shares a cache has another processor
        library = Path(folder) / "winograd.so"
        options = ["-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-o", str(library)]
        try:
            subprocess.run([os.environ.get("CC", "cc"), *options, str(SOURCE)], check=True, capture_output=True)
            return ctypes.CDLL(str(library))
        except (OSError, subprocess.CalledProcessError):
            return None
