"""What a network costs: parameters, multiply-adds, bytes, time and memory of a prediction."""

import os
import time
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.autograd import profiler

LATENCY_BATCHES = (1, 128)
LATENCY_REPEATS, LATENCY_SECONDS = 3, 0.5


@dataclass(frozen=True)
class Cost:
    """Of predicting with one network on one device.

    Attributes:
        parameters: trained values; running statistics are not counted.
        multiply_adds: of one image, in convolutions and matrix products.
        bytes: of all weights and buffers in float32.
        latency_seconds: shortest time of one prediction, by batch size.
        peak_memory_bytes: most memory that a prediction holds beside weights and input, by batch size, as
            ``peak_memory`` has it.
    """

    parameters: int
    multiply_adds: int
    bytes: int
    latency_seconds: dict[str, float]
    peak_memory_bytes: dict[str, int | None]


def count_parameters(network: nn.Module) -> int:
    """Number of trained values; running statistics are not counted."""
    return sum(parameter.numel() for parameter in network.parameters())


def measure_cost(network: nn.Module, device: torch.device, channels: int = 3, image_size: int = 32) -> Cost:
    """Measure a network in evaluation mode on ``device``, in channels-last float32; takes seconds.

    Args:
        channels, image_size: of the images that it predicts.
    """
    network = network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = {
        batch: torch.zeros(batch, channels, image_size, image_size, device=device).to(memory_format=torch.channels_last)
        for batch in LATENCY_BATCHES
    }
    with torch.inference_mode():
        return Cost(
            parameters=count_parameters(network),
            multiply_adds=_multiply_adds(network, images[1]),
            bytes=sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values()),
            latency_seconds={str(size): _latency(network, batch) for size, batch in images.items()},
            peak_memory_bytes={str(size): peak_memory(network, batch) for size, batch in images.items()},
        )


def _multiply_adds(network: nn.Module, images: Tensor) -> int:
    # Imported here: it imports triton, which only a new study has to wait for.
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    fast = torch.backends.mha.get_fastpath_enabled()
    # Matrix products inside of fused attention are not seen.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            network(images)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    flops: int = counter.get_total_flops()
    return flops // 2


def peak_memory(network: nn.Module, images: Tensor) -> int | None:
    """Most bytes that torch's allocator holds for one prediction at any moment, beside weights and input.

    These are the activations that live at the same time and the working memory of convolutions. It is not the memory
    of the process: what a mathematics library takes past torch's allocator is not seen.

    Returns:
        The bytes; None where the device is neither CPU nor CUDA.
    """
    if images.device.type == "cuda":
        before = torch.cuda.memory_allocated(images.device)
        torch.cuda.reset_peak_memory_stats(images.device)
        network(images)
        return torch.cuda.max_memory_allocated(images.device) - before
    if images.device.type != "cpu":
        return None
    # The profiler would print when it starts, when it stops, and that there is no GPU.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with profiler.profile(profile_memory=True) as profile:
        network(images)
    changes = [event for event in profile.kineto_results.events() if event.name() == "[memory]"]
    held = accumulate(event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns()))
    return max(held, default=0)


def _latency(network: nn.Module, images: Tensor) -> float:
    network(images).cpu()
    times: list[float] = []
    # A few predictions of a small network would all fall into one pause that something else makes.
    while len(times) < LATENCY_REPEATS or sum(times) < LATENCY_SECONDS:
        start = time.perf_counter()
        network(images).cpu()
        times.append(time.perf_counter() - start)
    return min(times)  # what else runs here only adds
