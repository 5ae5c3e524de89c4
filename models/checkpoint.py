"""Checkpoints in SimKD's form: ``{'model': state_dict, 'best_acc': percent, 'epoch': epochs trained}``.

Parameters may be float16 in the file; a network that loads them computes in float32 with these values.
"""

import hashlib
import json
import pickle
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from storage.errors import PlainError, in_one_line
from storage.files import save_whole

DATA_PARALLEL = "module."
AVERAGED = "n_averaged"  # how often, of torch.optim.swa_utils.AveragedModel
BATCHES_SEEN = "num_batches_tracked"  # of batch norm
UNDER = ("model", "state_dict")
NORMALISATION = {"mean", "deviation"}  # what study.export keeps beside a network
METADATA = ("classes", "manifest")  # what it writes beside weights, each in JSON


class CheckpointError(PlainError):
    """A file that cannot be used as a checkpoint of the network asked for; the message is one line."""


class OtherNetworkError(CheckpointError):
    """A checkpoint of another network, or of another number of classes."""


def load_checkpoint(network: nn.Module, path: Path, name: str) -> None:
    """Load the weights of a SimKD checkpoint, a state dict, bare or within another, or a ``.safetensors`` file.

    Nothing in the file is executed: it is read with ``weights_only=True``. All names may have one prefix more than the
    network's, as ``module.`` of ``nn.DataParallel`` and ``_orig_mod.`` of ``torch.compile``, or one less, as those of a
    network that another keeps in ``self.model``. What ``study.export`` wrote as safetensors is one without its
    normalisation.

    Args:
        network: takes the weights; unchanged where an error is raised.
        path: the file.
        name: what the network is called in messages.

    Raises:
        OtherNetworkError: where it is of another network or class count; the first mismatch is named.
        CheckpointError: where the file is missing, no checkpoint or damaged.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's, of forms that are refused below
            content = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; give the path of a {name} checkpoint") from None
    except CheckpointError:
        raise
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path}: refused, it holds more than plain weights or is no checkpoint at all; "
            "torch.save(network.state_dict(), ...) writes one"
        ) from None
    except Exception as error:  # what torch raises depends on which bytes are wrong
        raise CheckpointError(f"{path}: cannot be read as a checkpoint ({in_one_line(error)})") from None
    weights = _weights_of(content)
    if weights is None:
        raise CheckpointError(
            f"{path}: no checkpoint: expected weights by parameter name, alone or under 'model' or 'state_dict'"
        )
    expected = {key: tensor.cpu() for key, tensor in network.state_dict().items()}
    if not any(str(key).endswith(BATCHES_SEEN) for key in weights):
        # Those of torch before 0.4.1 have no such counters, which evaluation does not use.
        expected = {key: tensor for key, tensor in expected.items() if not key.endswith(BATCHES_SEEN)}
    if AVERAGED in weights and AVERAGED not in expected:
        weights = {key: tensor for key, tensor in weights.items() if key != AVERAGED}
    # A network may have a part of that name itself.
    if weights.keys() != expected.keys() and all(str(key).startswith(DATA_PARALLEL) for key in weights):
        weights = {key.removeprefix(DATA_PARALLEL): tensor for key, tensor in weights.items()}
    if prefix := _prefix(weights, expected) or _prefix(weights.keys() - NORMALISATION, expected):
        weights = {key: weights[prefix + key] for key in expected}
    elif prefix := _prefix(expected, weights):
        weights = {prefix + key: tensor for key, tensor in weights.items()}
    misfit = _first_misfit(weights, expected, name)
    if misfit is not None:
        raise (OtherNetworkError if misfit.startswith("not ") else CheckpointError)(f"{path}: {misfit}")
    network.load_state_dict({**network.state_dict(), **weights})


def classes_of(path: Path) -> list[str] | None:
    """The classes, in the order of its logits, that ``study.export`` wrote beside weights; None where there are none.

    Args:
        path: a file that ``load_checkpoint`` has read.
    """
    if path.suffix != ".safetensors":
        return None
    from safetensors import safe_open  # an optional package

    with safe_open(path, "pt") as opened:
        metadata = opened.metadata() or {}
    return [str(name) for name in json.loads(metadata["classes"])] if metadata.keys() >= set(METADATA) else None


def _weights_of(content: Any) -> dict[str, Tensor] | None:
    """The weights of a file: all it holds, what has one of the usual names, or what alone is weights; None without."""
    if _are_weights(content) or not isinstance(content, dict):
        return content if isinstance(content, dict) else None
    parts = {key: part for key, part in content.items() if _holds_tensors(part)}
    usual = [parts[key] for key in UNDER if key in parts]
    found = usual[:1] or [part for part in parts.values() if _are_weights(part)]
    return found[0] if len(found) == 1 and _are_weights(found[0]) else None


def _are_weights(content: Any) -> bool:
    return _holds_tensors(content) and all(isinstance(part, Tensor) for part in content.values())


def _holds_tensors(content: Any) -> bool:
    return isinstance(content, dict) and any(isinstance(part, Tensor) for part in content.values())


def _pickled(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _safetensors(path: Path) -> Any:
    try:
        from safetensors.torch import load_file  # an optional package
    except ImportError:
        raise CheckpointError(
            f"{path}: the package safetensors reads it and is not there; pip install safetensors"
        ) from None
    return load_file(path)


def _prefix(names: Iterable[str], shorter: Iterable[str]) -> str:
    """What stands before all of ``shorter`` in ``names``, a part's name and a point; empty where they are others."""
    prefix = min(map(str, names), default="").removesuffix(min(map(str, shorter), default=""))
    return prefix if prefix.endswith(".") and {f"{prefix}{name}" for name in shorter} == set(names) else ""


def _first_misfit(weights: dict[str, Tensor], expected: dict[str, Tensor], name: str) -> str | None:
    """What is wrong with the weights of a network; None where they fit."""
    for key, parameter in expected.items():
        if key not in weights:
            return f"not a {name}: it has no parameter {key!r}"
        found = weights[key]
        if not _is_plain(found):
            return f"{key!r} is no plain tensor ({found.layout}, {found.dtype}, {found.device}); save it as one"
        if (found.is_floating_point(), found.is_complex()) != (parameter.is_floating_point(), parameter.is_complex()):
            return f"not a {name}: {key!r} holds {found.dtype} where {parameter.dtype} is expected"
        if found.shape != parameter.shape:
            shapes = f"{tuple(found.shape)} where {tuple(parameter.shape)} is expected"
            return f"not this {name}: {key!r} has shape {shapes}"
    for key in weights:
        if key not in expected:
            return f"not a {name}: it has a parameter {key!r} that {name} does not have"
    for key, parameter in expected.items():
        # As the network will hold them: a float64 may be beyond float32. A mask of attention is infinite by itself.
        if not (weights[key].to(parameter.dtype).isfinite() | ~parameter.isfinite()).all():
            return f"damaged: {key!r} holds values that are not finite"
    return None


def _is_plain(tensor: Tensor) -> bool:
    nested = tensor.is_nested or tensor.is_quantized
    return tensor.layout == torch.strided and tensor.device.type == "cpu" and not nested


def round_to_half(network: nn.Module) -> None:
    """Round every parameter to the nearest float16 (11 significant bits), in place; its type stays float32.

    The statistics of batch norm are left as they are: they are few, and a variance may be anything that is positive.
    """
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half())


def save_checkpoint(network: nn.Module, path: Path, accuracy: float, epoch: int) -> None:
    """Write the weights in SimKD's form, whole or not at all; parameters as float16 where that changes none of them.

    Args:
        network: whose weights are written.
        path: the file; its folder is made.
        accuracy: share of images classified correctly, 0 to 1 (SimKD's ``best_acc`` is in percent).
        epoch: how many epochs it was trained for.
    """
    weights = {key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()}
    halves = {key: weights[key].half() for key, _ in network.named_parameters()}
    if all(torch.equal(half.to(weights[key].dtype), weights[key]) for key, half in halves.items()):
        weights |= halves
    save_whole({"epoch": epoch, "best_acc": round(100 * accuracy, 4), "model": weights}, path)


def weights_hash(network: nn.Module) -> str:
    """sha256 over the names and values of all weights and buffers, in hexadecimal; not over the file's form."""
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
        # As bytes, since numpy has no bfloat16; a clone, since a buffer may be every second value of another.
        plain = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        digest.update(plain.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
