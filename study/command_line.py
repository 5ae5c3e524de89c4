"""What the commands share: the options about machine and folders, and errors that are one line."""

import argparse
import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data import DataError, ImageSet, load_cifar100, load_synthetic
from models import CheckpointError
from storage.study_storage import STORAGE_ERRORS, StorageError, reason_of
from study.configuration import ConfigurationError
from study.device import DEVICES

INTERRUPTED = 130


def add_machine_options(parser: argparse.ArgumentParser) -> None:
    """Add --data-dir, --runs-dir and --device."""
    group = parser.add_argument_group("machine and folders")
    group.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="CIFAR-100 as train/<class>/*.png and test/<class>/*.png, or as torchvision's archive (default: download)",
    )
    group.add_argument(
        "--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="where everything is written (default: runs)"
    )
    group.add_argument("--device", default="auto", metavar="NAME", help=f"{', '.join(DEVICES)} (default: auto)")


def cache_folder(runs_dir: Path) -> Path:
    """Where data, teachers and logits live, shared by all studies of a runs folder."""
    return runs_dir / "cache"


def load_images(dataset: str, runs_dir: Path, data_dir: Path | None) -> ImageSet:
    """The images of a preset's data set: ``cifar100`` or ``synthetic``.

    Raises:
        DataError: where they are not there or not what they should be.
    """
    return load_synthetic() if dataset == "synthetic" else load_cifar100(cache_folder(runs_dir), data_dir)


@contextmanager
def one_line_errors(command: str) -> Iterator[None]:
    """Turn what a person can mend into one line on stderr and a non-zero exit; what is a bug keeps its traceback."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nstopped; the same command goes on from here ({command})", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (ConfigurationError, DataError, CheckpointError, StorageError) as error:
        sys.exit(f"error: {error}")
    except STORAGE_ERRORS as error:
        sys.exit(f"error: the storage does not answer ({reason_of(error)}); the same command goes on from here")
    except OSError as error:
        if error.errno == errno.ENOSPC:
            sys.exit(f"error: the disk is full ({error.filename or 'while writing'}); make room and start again")
        sys.exit(f"error: {error}")
