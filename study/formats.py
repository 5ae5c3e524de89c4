"""A student as a file: ONNX, torch's pt2 or safetensors; written, read back, and with 8 bits."""

import copy
import importlib
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data import ImageSet
from models.checkpoint import METADATA
from storage.errors import PlainError
from study.evaluation import BATCH_SIZE

CALIBRATION_IMAGES = 512
CALIBRATION_BATCH = 32

Predict = Callable[[Tensor], Tensor]
"""Float32 logits of shape (batch, classes) of uint8 images of shape (batch, channels, height, width)."""


class ExportError(PlainError):
    """A student that cannot be exported; the message is one line."""


class FromPixels(nn.Module):
    """A network with its normalisation before it.

    Args:
        network: takes normalised images.
        mean, deviation: of each channel, float32 of shape (channels,), on the scale 0 to 1.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean.view(-1, 1, 1).clone())
        self.register_buffer("deviation", deviation.view(-1, 1, 1).clone())

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float32 of shape (batch, classes), of uint8 images of shape (batch, channels, height, width)."""
        logits: Tensor = self.network(images.float().div(255).sub(self.mean).div(self.deviation))
        return logits


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        packages: that it needs beside torch.
        write: the file's content, of a network, two images of the shape it takes, and the metadata.
        read: what a file predicts, and its metadata; the network lends its code where the file has none.
    """

    packages: tuple[str, ...]
    write: Callable[[FromPixels, Tensor, dict[str, str]], bytes]
    read: Callable[[Path, FromPixels], tuple[Predict, dict[str, str]]]


def require_packages(packages: Sequence[str], name: str) -> None:
    """Raise ``ExportError`` where a package that the form of that name needs is missing or does not work."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ExportError(f"--format {name}: {error}; run: pip install -c constraints.txt -e '.[export]'") from None


def quantized(content: bytes, images: Tensor) -> bytes:
    """An ONNX file with weights and activations of 8 bits, whose ranges are those that training images give.

    Args:
        images: uint8 of shape (images, channels, height, width), of which 512 are shown.
    """
    import onnx
    from onnxruntime.quantization import quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        prepared, file = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(onnx.load_from_string(content), str(prepared))
        quantize_static(str(prepared), str(file), Calibration(images), per_channel=True)
        return file.read_bytes()


class Calibration:
    """Training images as onnxruntime asks for them.

    Args:
        images: uint8 of shape (images, channels, height, width); 512 of them are given, in batches.
    """

    def __init__(self, images: Tensor) -> None:
        self._batches = iter(spread(images, CALIBRATION_IMAGES).split(CALIBRATION_BATCH))

    def get_next(self) -> dict[str, Any] | None:
        """The next batch by the name of the file's input; None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch.numpy()}


def onnx_accuracy(content: bytes, images: ImageSet) -> float:
    """The share of test images that an ONNX file classifies correctly, 0 to 1."""
    predict = _predict_of(_session(content))
    predicted = torch.cat([predict(batch).argmax(1) for batch in images.test_images.split(BATCH_SIZE)])
    return (predicted == images.test_labels).double().mean().item()


def spread(images: Tensor, wanted: int) -> Tensor:
    """So many images, or all, at equal distances: sets are sorted by class, so that every class has its share."""
    return images[torch.linspace(0, len(images) - 1, min(wanted, len(images))).round().long()]


def _write_onnx(student: FromPixels, images: Tensor, metadata: dict[str, str]) -> bytes:
    program: Any = torch.onnx.export(
        student,
        (images,),
        dynamo=True,
        verbose=False,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
    )
    model = program.model_proto
    # Beside what they are, nodes carry where in which file of this machine they came from.
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
    return with_metadata(model.SerializeToString(), metadata)


def with_metadata(content: bytes, metadata: dict[str, str]) -> bytes:
    """An ONNX file with other metadata."""
    import onnx

    model: Any = onnx.load_from_string(content)
    onnx.helper.set_model_props(model, metadata)
    return bytes(model.SerializeToString())


def _read_onnx(file: Path, _student: FromPixels) -> tuple[Predict, dict[str, str]]:
    session = _session(str(file))
    return _predict_of(session), dict(session.get_modelmeta().custom_metadata_map)


def _session(file: str | bytes) -> Any:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])


def _predict_of(session: Any) -> Predict:
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def _write_pt2(student: FromPixels, images: Tensor, metadata: dict[str, str]) -> bytes:
    program = torch.export.export(
        student,
        (images,),
        dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
    )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # has the paths of this machine
    content = io.BytesIO()
    torch.export.save(program, content, extra_files=dict(metadata))
    return content.getvalue()


def _read_pt2(file: Path, _student: FromPixels) -> tuple[Predict, dict[str, str]]:
    metadata = dict.fromkeys(METADATA, "")
    program = torch.export.load(file, extra_files=metadata)
    return program.module(), metadata


def _write_safetensors(student: FromPixels, _images: Tensor, metadata: dict[str, str]) -> bytes:
    from safetensors.torch import save

    # Layers may share weights, and what is saved may not.
    return bytes(save({name: tensor.clone().contiguous() for name, tensor in student.state_dict().items()}, metadata))


def _read_safetensors(file: Path, student: FromPixels) -> tuple[Predict, dict[str, str]]:
    from safetensors import safe_open
    from safetensors.torch import load_file

    network = copy.deepcopy(student)
    network.load_state_dict(load_file(file))
    with safe_open(file, "pt") as opened:
        return network, dict(opened.metadata())


FORMATS = {
    "onnx": Format(("onnx", "onnxscript", "onnxruntime"), _write_onnx, _read_onnx),
    "pt2": Format((), _write_pt2, _read_pt2),
    "safetensors": Format(("safetensors",), _write_safetensors, _read_safetensors),
}
