"""Whether a network can be studied: asked of one's own before anything is trained, by training tiny steps."""

import copy
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from models.architecture import Architecture, NetworkError
from models.checkpoint import load_checkpoint, save_checkpoint, weights_hash
from models.winograd import has_winograd, with_winograd
from storage.errors import in_one_line

STEP = 0.01
ROUNDING = 1e-4  # of the largest logit; float32 summed in another order is near 1e-6
SUMS_TO_1 = 1e-3
STEPS = 20
"""After so many, what had no gradient is taken to have none ever; a layer may be left out of a step by chance."""


def check_network(architecture: Architecture, precision: Literal["float32", "bfloat16"] = "float32") -> None:
    """Check what every network must hold, on the CPU.

    It gives finite logits of shape (batch, classes) for the images' shape, in evaluation mode the same each time and
    whatever other images are in the batch, or none; its first weights come from torch's seed alone; two of it share
    nothing; and what is stored of it gives it back.

    Args:
        precision: in which it is asked too.

    Raises:
        NetworkError: with the first of these that it does not hold.
    """
    if not architecture.is_own:
        architecture.build()  # or says that there is none of that name; the tests have asked the product's own
        return
    _ = architecture.source  # imported before the seed is set, whatever the file draws
    with torch.random.fork_rng(devices=[]):
        first, second = _made(architecture, seed=0), _made(architecture, seed=0)
        _check_apart(architecture, first, second)
        _check_stored(architecture, first, _made(architecture, seed=1))
        images = _images(architecture, 4)
        with torch.inference_mode():
            said, again = (_logits(architecture, first.eval(), images) for _ in range(2))
            fewer = torch.cat([_logits(architecture, first, part) for part in images.split([1, 3])])
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                _logits(architecture, first, images)
        _refuse(not torch.equal(said, again), architecture, "gives other logits for the same images in evaluation mode")
        apart = bool((said - fewer).abs().max() > ROUNDING * said.abs().max())
        wrong = "what it says of an image depends on the others of the batch in evaluation mode"
        _refuse(apart, architecture, f"{wrong}: give its batch norms track_running_stats=True")


def has_fixed_weights(architecture: Architecture) -> bool:
    """Whether its first weights are the same whatever torch's seed: from a file, or from a seed of its own."""
    with torch.random.fork_rng(devices=[]):
        return weights_hash(_made(architecture, seed=0)) == weights_hash(_made(architecture, seed=1))


def check_training(
    architecture: Architecture, precision: Literal["float32", "bfloat16"], batches: Iterable[int], size: int
) -> None:
    """Check that it trains, and that a stopped training goes on as if it had not been stopped, on the CPU.

    Args:
        precision: of the forward pass.
        batches: how many images a step may have.
        size: height and width of the images that it is trained on, in pixels.

    Raises:
        NetworkError: as ``check_network``.
    """
    with torch.random.fork_rng(devices=[]):
        for batch in sorted({min(batch, 2) for batch in batches}):
            images = _images(architecture, batch, size)
            network, resumed = _made(architecture, seed=0), _made(architecture, seed=1)
            if precision == "float32" and has_winograd():  # as it will be trained
                network, resumed = with_winograd(network, frozen=False), with_winograd(resumed, frozen=False)
            _step(architecture, network, images, precision, seed=0)
            untrained = _without_gradient(network)
            state = copy.deepcopy(network.state_dict())
            loss = _step(architecture, network, images, precision, seed=1)
            resumed.load_state_dict(state)
            again = _step(architecture, resumed, images, precision, seed=1)
            wrong = (
                "does not go on from a checkpoint as if it had not been stopped: it keeps state beside its state_dict"
            )
            _refuse(not torch.equal(loss, again), architecture, f"{wrong}, or draws from other than torch's generator")
            for seed in range(1, STEPS):
                if untrained:
                    _step(architecture, network, images, precision, seed)
                    untrained = [key for key in untrained if key in _without_gradient(network)]
            for key in untrained:
                advice = "leave it out, make it a buffer, or freeze it with requires_grad_(False)"
                raise _error(architecture, f"parameter {key!r} gets no gradient: {advice}")


def _made(architecture: Architecture, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    network = architecture.build()
    lazy = any(is_lazy(value) for value in (*network.parameters(), *network.buffers()))
    _refuse(lazy, architecture, "has lazy modules, whose shapes are not known when it is made: give them")
    _refuse(next(network.parameters(), None) is None, architecture, "has no parameters")
    tensors = all(isinstance(value, Tensor) for value in network.state_dict().values())
    _refuse(not tensors, architecture, "keeps other things than tensors in its state_dict")
    for key, parameter in network.named_parameters():
        is_float = parameter.dtype == torch.float32
        _refuse(not is_float, architecture, f"parameter {key!r} is {parameter.dtype}: weights are torch.float32 here")
    for key, tensor in (*network.named_parameters(), *network.named_buffers()):
        # torch takes them for videos, and no order of their dimensions fits.
        _refuse(tensor.dim() == 5, architecture, f"{key!r} has 5 dimensions: give it another shape")
    return network.to(memory_format=torch.channels_last)


def _check_apart(architecture: Architecture, first: nn.Module, second: nn.Module) -> None:
    weights, others = first.state_dict(), second.state_dict()
    places = {tensor.untyped_storage().data_ptr(): key for key, tensor in weights.items() if tensor.numel()}
    for tensor in others.values():
        shared = places.get(tensor.untyped_storage().data_ptr()) if tensor.numel() else None
        _refuse(shared is not None, architecture, f"two of it share {shared!r}: make its layers when it is made")
    alike = weights.keys() == others.keys() and all(torch.equal(weights[key], others[key]) for key in weights)
    _refuse(not alike, architecture, "its first weights do not come from torch's seed alone")


def _check_stored(architecture: Architecture, network: nn.Module, other: nn.Module) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.pth"
        try:
            save_checkpoint(network, file, accuracy=0.0, epoch=0)
            load_checkpoint(other, file, architecture.name)
        except Exception as error:  # whatever the network does with its state_dict
            raise _error(architecture, f"cannot be stored and loaded again ({in_one_line(error)})") from None
    same = weights_hash(other) == weights_hash(network)
    _refuse(not same, architecture, "what is stored of it does not give it back")


def _without_gradient(network: nn.Module) -> list[str]:
    return [key for key, weight in network.named_parameters() if weight.requires_grad and weight.grad is None]


def _images(architecture: Architecture, batch: int, size: int | None = None) -> Tensor:
    size = architecture.image_size if size is None else size
    images = torch.randn(batch, architecture.channels, size, size, generator=torch.Generator().manual_seed(0))
    return images.to(memory_format=torch.channels_last)


def _logits(architecture: Architecture, network: nn.Module, images: Tensor) -> Tensor:
    shape = tuple(images.shape)
    try:
        logits = network(images)
    except Exception as error:  # whatever the network does
        advice = "where it wants another size of image, give image_size, or resize in its forward"
        if "view size" in str(error):
            advice = "images are channels_last here: reshape or flatten where it has view"
        elif "Inference tensors" in str(error):
            advice = "what it keeps for later was made in inference: make it a buffer, or clone it"
        elif len(images) == 1 and not network.training:
            advice = "one image may come alone: where it squeezes, name the dimensions"
        elif len(images) == 1:
            advice = "where it wants more than one image in a batch, give another batch_size"
        elif architecture.channels == 1 and "channels" in str(error):
            advice = "grey images have one channel: give it a parameter in_channels"
        raise _error(architecture, f"fails on images of shape {shape} ({in_one_line(error)}); {advice}") from None
    _refuse(
        not isinstance(logits, Tensor),
        architecture,
        f"gives {type(logits).__name__} where a tensor of logits is wanted",
    )
    wanted = (len(images), architecture.classes)
    _refuse(tuple(logits.shape) != wanted, architecture, f"gives logits of shape {tuple(logits.shape)}, not {wanted}")
    _refuse(not bool(logits.isfinite().all()), architecture, "gives logits that are not finite")
    said: Tensor = logits.float()
    sums = said.detach().sum(dim=1)
    are_probabilities = bool((said >= 0).all() and ((sums - 1).abs() < SUMS_TO_1).all())
    _refuse(are_probabilities, architecture, "gives probabilities, not logits: leave out its softmax")
    return said


def _step(architecture: Architecture, network: nn.Module, images: Tensor, precision: str, seed: int) -> Tensor:
    """The loss before the step."""
    torch.manual_seed(seed)
    network.train()
    labels = torch.arange(len(images)) % architecture.classes
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False):
        logits = _logits(architecture, network, images)
    loss = F.cross_entropy(logits, labels)
    network.zero_grad(set_to_none=True)
    try:
        loss.backward()
    except Exception as error:  # whatever the network does
        raise _error(architecture, f"cannot be trained in {precision} ({in_one_line(error)})") from None
    for parameter in network.parameters():
        if parameter.grad is not None:
            with torch.no_grad():
                parameter.sub_(parameter.grad, alpha=STEP)
    return loss.detach()


def _refuse(wrong: bool, architecture: Architecture, why: str) -> None:
    if wrong:
        raise _error(architecture, why)


def _error(architecture: Architecture, why: str) -> NetworkError:
    return NetworkError(f"network {architecture.name!r}: {why}")
