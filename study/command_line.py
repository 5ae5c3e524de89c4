"""What the commands share: where their settings come from, and the options about machine and folders."""

import argparse
from pathlib import Path

from storage.configuration import refuse_unless
from study.device import DEVICES
from study.settings import PRESETS, Settings, read_settings


def add_settings_options(parser: argparse.ArgumentParser) -> None:
    """Add --preset and --config."""
    parser.add_argument("--preset", choices=PRESETS, help="named settings (default: full)")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="your settings in TOML; --print-config of study.run shows one"
    )


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings that the command line names.

    Raises:
        ConfigurationError: where the file cannot be used.
    """
    if options.config is None:
        return Settings(PRESETS[options.preset or "full"])
    refuse_unless(options.preset is None, f"--preset {options.preset}: --config {options.config} is another, give one")
    return read_settings(options.config)


def add_machine_options(parser: argparse.ArgumentParser) -> None:
    """Add --data-dir, --runs-dir and --device."""
    group = parser.add_argument_group("machine and folders")
    group.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="images as train/<class>/* and test/<class>/*, or CIFAR-100 as torchvision's archive (default: the "
        "folder that --config names, where a command has it, or a download of CIFAR-100)",
    )
    group.add_argument(
        "--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="where everything is written (default: runs)"
    )
    group.add_argument(
        "--device", default="auto", metavar="NAME", help=f"{', '.join(DEVICES)}, or cuda:0, cuda:1, ... (default: auto)"
    )
