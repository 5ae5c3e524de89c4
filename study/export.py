"""A trained student as one file to take away: uint8 images in, logits out, with what it is in its metadata.

    python -m study.export --study full --format onnx --output student.onnx
    python -m study.export --study full --format onnx --quantize int8 --output student-int8.onnx
    python -m study.export --study full --arm baseline --seed 2 --format pt2 --output baseline.pt2

The file is read back and compared with the network on test images; one that says something else is not kept. The run is
named by arm and seed, never chosen by its test score.
"""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from torch import Tensor, nn

from data import split
from models import load_checkpoint, weights_hash
from models.checkpoint import METADATA
from storage.arms import arms_to_train, name_of_pair
from storage.artifacts import weights_of
from storage.configuration import ConfigurationError, refuse_unless
from storage.controls import control_of
from storage.description import Description
from storage.errors import in_one_line, one_line_errors
from storage.files import write_whole
from storage.folders import RunsFolder
from storage.open_study import OpenStudy, open_study, read_study
from storage.study_storage import STORAGE_ERRORS, StorageError, reason_of
from storage.trials import ExportFacts, TrialView, store_export, views
from study.device import keep_freed_memory, torch_threads
from study.formats import (
    FORMATS,
    ExportError,
    Format,
    FromPixels,
    Predict,
    onnx_accuracy,
    quantized,
    require_packages,
    spread,
    with_metadata,
)
from study.manifest import commit, versions
from study.materials import images_of
from study.networks import student_of

COMPARED_IMAGES = 256
LATENCY_REPEATS = 51
COLOURS = {1: "grey", 3: "red green blue"}
# Of the network's largest logit: how far those of a file may be from the network's. Float32 summed in another order is
# near 1e-6; 8 bits of every weight and activation differ by some per cent.
TOLERANCE = {None: 1e-3, "int8": 0.3}


@dataclass(frozen=True)
class Agreement:
    """A file that was read back, beside the network it was made of.

    Attributes:
        difference: the largest of any logit.
        largest_logit: of the network, in magnitude.
        same: images of which both predict the same class.
        images: that were compared.
        file_seconds, network_seconds: shortest time of one prediction of one image, on one thread.
    """

    difference: float
    largest_logit: float
    same: int
    images: int
    file_seconds: float
    network_seconds: float

    def __str__(self) -> str:
        return (
            f"largest difference {self.difference:.2g} of logits up to {self.largest_logit:.3g}, same prediction for "
            f"{self.same} of {self.images} test images; batch 1 on one thread: file {1e3 * self.file_seconds:.2f} ms, "
            f"network {1e3 * self.network_seconds:.2f} ms"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    options = _parser().parse_args(arguments)
    with one_line_errors():
        keep_freed_memory()  # or a prediction takes as long as the kernel needs to find it pages
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        for line in export(options):
            print(line)


def export(options: argparse.Namespace) -> list[str]:
    """Write the file that the command line describes, and say in lines what it is.

    Raises:
        ConfigurationError: for an option without effect, an arm or a seed that is not there, or a file that is.
        StorageError, DataError, CheckpointError: where study, images or weights are not there.
        ExportError: where packages are missing, or the file does not say what the network says.
    """
    kind, output, runs = FORMATS[options.format], options.output, RunsFolder(options.runs_dir)
    url = options.storage or runs.url
    refuse_unless(
        options.quantize is None or options.format == "onnx",
        f"--quantize {options.quantize}: is for --format onnx, not {options.format}; leave it out",
    )
    refuse_unless(not output.exists(), f"{output}: is there already; remove it or give another --output")
    refuse_unless(
        options.format != "pt2" or output.suffix == ".pt2", f"{output}: torch reads it where its name ends in .pt2"
    )
    require_packages(kind.packages, options.format)
    with read_study(url, options.study) as opened:
        description, _, comparison = opened.begun()
        run = find_run(opened, options.arm, options.seed)
        network = student_of(description).build()
        weights = weights_of(comparison, run.trial, runs.artifacts)
        if weights is None:
            raise ExportError(
                f"{runs.artifacts}: has no weights of run {run.number} of study {opened.name!r}; "
                "give the --runs-dir that the study ran with"
            )
        load_checkpoint(network, weights, description.student["name"])
        images = images_of(opened, description, runs.cache, options.data_dir)
    student = FromPixels(network, *images.channel_statistics).eval()
    manifest = manifest_of(opened.name, options.arm, description, run, network, kind.packages, images.dropped_bits)
    with one_line_of(options.format):
        two = images.test_images.new_zeros(2, *images.test_images.shape[1:])
        content = kind.write(student, two, _metadata(manifest))
    if options.quantize is not None:
        settings = description.settings
        trained_on = split(images.train_labels, settings.train_images, settings.validation_images).train
        with one_line_of(f"{options.format} --quantize {options.quantize}"):
            exact, content = content, quantized(content, images.train_images[trained_on])
            manifest |= {
                "quantized": options.quantize,
                "exact_test_accuracy": onnx_accuracy(exact, images),
                "quantized_test_accuracy": onnx_accuracy(content, images),
                "exact_bytes": len(exact),
            }
        content = with_metadata(content, _metadata(manifest))
    agreement = write_checked(
        content, _metadata(manifest), output, kind, student, images.test_images, manifest["quantized"]
    )
    noted = _noted(url, opened.name, facts_of(manifest, options.format, len(content), agreement))
    return [*_lines(manifest), f"{output}: {len(content):,} bytes; {agreement}", *noted]


@contextmanager
def one_line_of(form: str) -> Iterator[None]:
    """Say in one line that a form of file does not take a network.

    Raises:
        ExportError: instead of whatever writing it raises.
    """
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever torch, onnx or safetensors do not take
        first: BaseException = error
        while first.__cause__ is not None:  # torch's own says which of its steps failed, and not why
            first = first.__cause__
        raise ExportError(f"--format {form} does not take this network ({in_one_line(first)}); give another") from None


def facts_of(manifest: dict[str, Any], form: str, size: int, agreement: Agreement) -> ExportFacts:
    """What the report says of an exported file of so many bytes."""
    return {
        "alpha": manifest["alpha"],
        "temperature": manifest["temperature"],
        "seed": manifest["seed"],
        "kind": form if manifest["quantized"] is None else f"{form}, {manifest['quantized']}",
        "bytes": size,
        "latency_seconds": agreement.file_seconds,
        "network_latency_seconds": agreement.network_seconds,
        "same": agreement.same,
        "images": agreement.images,
        "test_accuracy": manifest.get("quantized_test_accuracy"),
        "exact_test_accuracy": manifest.get("exact_test_accuracy"),
    }


def write_checked(
    content: bytes,
    metadata: dict[str, str],
    output: Path,
    kind: Format,
    student: FromPixels,
    test_images: Tensor,
    quantize: str | None = None,
) -> Agreement:
    """Write a file, read it back and compare it with the network; its name is given to it once they agree.

    Raises:
        ExportError: where it cannot be read, or its logits or its metadata are not what was to be written.
        OSError: where it cannot be written.
    """
    # Some formats are known by their suffix. The same name each time: what a killed process left is written over.
    unchecked = output.with_name(f".{output.stem}.unchecked{output.suffix}")
    try:
        write_whole(content, unchecked)
        try:
            predict, found = kind.read(unchecked, student)
            agreement = compare(predict, student, spread(test_images, COMPARED_IMAGES))
        except Exception as error:  # each format has its own
            raise ExportError(
                f"{output}: not kept, since it cannot be read back or run ({in_one_line(error)})"
            ) from error
        allowed = TOLERANCE[quantize] * agreement.largest_logit
        # Not "difference > allowed", which a NaN is not.
        if not agreement.difference <= allowed:
            raise ExportError(f"{output}: not kept, since it does not say what the network says: {agreement}")
        if found != metadata:
            raise ExportError(f"{output}: not kept, since its metadata cannot be read back")
        unchecked.replace(output)
    finally:
        unchecked.unlink(missing_ok=True)
    return agreement


def compare(predict: Predict, student: FromPixels, images: Tensor) -> Agreement:
    """A file's predictions beside the network's, all at once and one by one.

    Args:
        images: uint8 of shape (images, channels, height, width).
    """
    file_times, network_times = [], []
    with torch.inference_mode():
        expected, found = student(images), predict(images)
        with torch_threads(1):  # as onnxruntime does here: threads of both wait for one another's cores
            # The shortest counts: a busy machine interrupted nearly every one of a file, and none of the network.
            for _ in range(LATENCY_REPEATS):
                file_times.append(_seconds(predict, images[:1]))
                network_times.append(_seconds(student, images[:1]))
        alone = torch.cat([predict(image[None]) for image in images[:8]])
    both, again = torch.cat([found, alone]), torch.cat([expected, expected[: len(alone)]])
    return Agreement(
        difference=(both - again).abs().max().item(),
        largest_logit=expected.abs().max().item(),
        same=int((found.argmax(1) == expected.argmax(1)).sum()),
        images=len(images),
        file_seconds=min(file_times),
        network_seconds=min(network_times),
    )


def _seconds(predict: Predict, images: Tensor) -> float:
    start = time.perf_counter()
    predict(images)
    return time.perf_counter() - start


def find_run(opened: OpenStudy, arm: str, seed: int | None) -> TrialView:
    """The run of an arm with a seed, the first final seed where None.

    Raises:
        ConfigurationError: where there is none, or it has not ended; what is there is named.
    """
    description, search, comparison = opened.begun()
    settings = description.settings
    # A control has the pair and the seeds of its arm, and is another training.
    runs = [run for run in views(comparison) if run.point and control_of(run.point) is None]
    named = arms_to_train(search, settings, description.tpe_trials)
    named |= {name_of_pair(run.pair): run.pair for run in runs}
    if arm not in named:
        raise ConfigurationError(f"study {opened.name!r} has no arm {arm!r}: give --arm with one of {', '.join(named)}")
    ended = {int(run.point["seed"]): run for run in runs if run.pair == named[arm] and run.value is not None}
    wanted = settings.final_seeds[0] if seed is None else seed
    if wanted not in ended:
        there = ", ".join(map(str, sorted(ended))) or "none; python -m study.run goes on"
        raise ConfigurationError(f"--seed {wanted}: no run of arm {arm} has ended with it; there: {there}")
    return ended[wanted]


def manifest_of(
    study: str,
    arm: str,
    description: Description,
    run: TrialView,
    network: nn.Module,
    packages: Sequence[str],
    dropped_bits: int,
) -> dict[str, Any]:
    """What a file was made of and by: what repeats the run, how it scored, and what it takes.

    Args:
        dropped_bits: as ``ImageSet`` has it.
    """
    deep = f"; values of 16 bits as value >> {dropped_bits}, at most 255" if dropped_bits else ""
    made_by = run.made_by or description.starts[0]  # the run's own, which studies of format 1 did not store
    alpha, temperature = run.pair
    return {
        "study": study,
        "arm": arm,
        "seed": int(run.point["seed"]),
        "alpha": alpha,
        "temperature": temperature,
        "test_accuracy": run.value,
        "precision": description.settings.recipe.precision,
        "quantized": None,
        "network": description.student["name"],
        "weights_hash": weights_hash(network),
        "classes": description.data["classes"],
        "data": description.data["name"],
        "data_hash": description.data["hash"],
        "teacher_hash": description.teacher["hash"] if alpha else None,
        "commit": made_by["commit"],
        "versions": made_by["versions"],
        "exported_by": {"commit": commit(), "versions": versions() | {name: _version_of(name) for name in packages}},
        "input": f"images: uint8 (batch, channel, height, width), {COLOURS[description.data['channels']]}"
        f"{deep}; normalised inside",
        "output": "logits: float32 (batch, class)",
    }


def _version_of(package: str) -> str:
    """As it says itself: what is imported as ``onnxruntime`` may be installed as onnxruntime-gpu."""
    return str(importlib.import_module(package).__version__)


def _noted(url: str, study: str, facts: ExportFacts) -> list[str]:
    """Store what was measured, for the report; a line where that cannot be, since the file is good all the same."""
    try:
        with open_study(url, study) as opened:
            _, _, comparison = opened.begun()
            store_export(comparison, facts)
    except (StorageError, OSError, *STORAGE_ERRORS) as error:
        return [f"the report of study {study!r} will not have it: {reason_of(error)}"]
    return []


def _lines(manifest: dict[str, Any]) -> list[str]:
    """The run, and what quantization did to it, in lines."""
    point = f"alpha {manifest['alpha']:g}, T {manifest['temperature']:g}"
    run = f"{manifest['arm']} ({point}), seed {manifest['seed']}: {100 * manifest['test_accuracy']:.2f} % on test"
    if manifest["quantized"] is None:
        return [run]
    before, after = (100 * manifest[f"{which}_test_accuracy"] for which in ("exact", "quantized"))
    return [
        run,
        f"{manifest['quantized']}: {before:.2f} % on test before, {after:.2f} % after; "
        f"{manifest['exact_bytes']:,} bytes before",
    ]


def _metadata(manifest: dict[str, Any]) -> dict[str, str]:
    """The class names by themselves, which is what a program that predicts needs, and the rest."""
    rest = {key: value for key, value in manifest.items() if key != "classes"}
    return dict(zip(METADATA, map(json.dumps, (manifest["classes"], rest)), strict=True))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m study.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--study", required=True, metavar="NAME")
    parser.add_argument(
        "--arm", default="best", metavar="NAME", help="baseline, best, tpe, gp or ALPHA,T (default: best)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of the run (default: the first of the comparison)")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="a new file")
    parser.add_argument("--quantize", choices=("int8",), help="weights and activations of 8 bits, for --format onnx")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="the study's images, as study.run takes them")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="(default: runs)")
    parser.add_argument("--storage", metavar="URL", help="Optuna storage (default: sqlite:///RUNS_DIR/study.db)")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
