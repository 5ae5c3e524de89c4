"""What the commands share: the options about machine and folders."""

import argparse
from pathlib import Path

from data import ImageSet, load_cifar100, load_synthetic
from storage.claims import Claims
from study.device import DEVICES


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


def load_images(dataset: str, runs_dir: Path, data_dir: Path | None, claims: Claims) -> ImageSet:
    """The images of a preset's data set: ``cifar100`` or ``synthetic``.

    Raises:
        DataError: where they are not there or not what they should be.
    """
    return load_synthetic() if dataset == "synthetic" else load_cifar100(cache_folder(runs_dir), data_dir, claims)
