"""What the commands share: the options about machine and folders."""

import argparse
from pathlib import Path

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
