"""The command line of ``study.run``, and the one frozen request that it becomes."""

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from storage.configuration import (
    ALPHA_BOUNDS,
    PRECISIONS,
    TEMPERATURE_BOUNDS,
    Configuration,
    ConfigurationError,
    is_within,
    refuse_unless,
)
from storage.folders import RunsFolder, check_study_name
from storage.study_storage import command_of
from storage.trials import Beyond
from study.command_line import add_machine_options, add_settings_options, settings_of
from study.settings import as_toml, with_epochs

SAMPLERS = ("grid", *get_args(Beyond), "none")
TRIALS_BEYOND = 32
WORKER = "--worker"  # given to each of several that a command starts


@dataclass(frozen=True)
class Request:
    """What a person asked for.

    Attributes:
        arguments: as they were typed, for workers of this machine.
        command: as it is printed and stored, without passwords.
        name: of the study.
        url: of the storage.
        device: its name as it was typed.
        searches: whether the grid is searched; only the arms that were asked for are compared where not.
        beyond: who proposes points after the grid; None where nobody does.
        trials_beyond: how many trials of that sampler the study is to have.
        added_arms: (alpha, T) of arms beside the baseline and the winners.
        controls: whether the comparison has arms from which the teacher's knowledge is taken away.
        teacher: a checkpoint to import, None for a stored or trained one.
        teacher_is_setting: whether a file of settings names it, for all commands, and not the command line.
        workers: how many processes this one starts where more than one; each of them starts none.
    """

    arguments: tuple[str, ...]
    command: str
    configuration: Configuration
    name: str
    url: str
    runs: RunsFolder
    data_dir: Path | None
    device: str
    searches: bool
    beyond: Beyond | None
    trials_beyond: int
    added_arms: tuple[tuple[float, float], ...]
    controls: bool
    teacher: Path | None
    teacher_is_setting: bool
    workers: int
    dry_run: bool


def request_of(arguments: Sequence[str], description: str | None) -> Request:
    """Read the command line.

    Args:
        arguments: without the program.
        description: shown by ``--help``.

    Raises:
        ConfigurationError: for a setting that makes no sense, or that has no effect beside the others.
        SystemExit: for an option that argparse does not know, and after ``--help``.
    """
    options = _parser(description).parse_args(arguments)
    typed = [argument for argument in arguments if argument != WORKER]
    settings = settings_of(options)
    configuration = _configuration(settings.configuration, options)
    _refuse_what_has_no_effect(options, configuration)
    if options.print_config:
        no_settings = {
            "arm": [],
            "controls": False,
            "teacher": None,
            "sampler": "grid",
            "n_trials": None,
            "workers": 1,
            "data_dir": None,
            "runs_dir": Path("runs"),
            "storage": None,
            "device": "auto",
            "dry_run": False,
        }
        where = {
            "teacher": "write it there as weights of [teacher]",
            "data_dir": "write images of your own there as folder of [data], or give it with the study",
        }
        for option, default in no_settings.items():
            refuse_unless(
                getattr(options, option) == default,
                f"--{option.replace('_', '-')}: is no setting of a file, {where.get(option, 'give it with the study')}",
            )
        named = dataclasses.replace(configuration, preset=_study_name(options, configuration))
        print(as_toml(dataclasses.replace(settings, configuration=named)), end="")
        raise SystemExit(0)
    runs = RunsFolder(options.runs_dir)
    beyond = options.sampler if options.sampler in get_args(Beyond) else None
    return Request(
        arguments=tuple(typed),
        command=command_of("study.run", typed),
        configuration=configuration,
        name=_study_name(options, configuration),
        url=options.storage or runs.url,
        runs=runs,
        data_dir=options.data_dir or settings.folder,
        device=options.device,
        searches=options.sampler != "none",
        beyond=beyond,
        trials_beyond=0 if beyond is None else options.n_trials or TRIALS_BEYOND,
        added_arms=tuple(map(_pair, options.arm)),
        controls=options.controls,
        teacher=options.teacher or settings.weights,
        teacher_is_setting=options.teacher is None and settings.weights is not None,
        workers=1 if options.worker else options.workers,
        dry_run=options.dry_run,
    )


def _study_name(options: argparse.Namespace, configuration: Configuration) -> str:
    if options.study is None and options.config is not None:
        return check_study_name(configuration.preset, f"{options.config}: name")
    return check_study_name(configuration.preset if options.study is None else options.study)


def _configuration(configuration: Configuration, options: argparse.Namespace) -> Configuration:
    """The configuration with the single settings given on the command line."""
    if options.epochs is not None:
        recipe = with_epochs(configuration.recipe, options.epochs)
        configuration = dataclasses.replace(configuration, recipe=recipe)
    if options.precision is not None:
        recipe = dataclasses.replace(configuration.recipe, precision=options.precision)
        configuration = dataclasses.replace(configuration, recipe=recipe)
    given: dict[str, Any] = {
        setting: getattr(options, setting)
        for setting in ("train_images", "seed", "seeds", "pruner", "finalists", "finalist_seeds")
        if getattr(options, setting) is not None
    }
    given |= {
        setting: numbers(getattr(options, setting), f"--{setting}")
        for setting in ("alphas", "temperatures")
        if getattr(options, setting) is not None
    }
    return dataclasses.replace(configuration, **given)


def _refuse_what_has_no_effect(options: argparse.Namespace, configuration: Configuration) -> None:
    refuse_unless(options.workers >= 1, f"--workers {options.workers}: give 1 or more")
    refuse_unless(
        options.workers == 1 or ":" not in options.device,
        f"--device {options.device}: --workers takes all devices, leave the number out",
    )
    refuse_unless(options.n_trials is None or options.n_trials >= 1, f"--n-trials {options.n_trials}: give 1 or more")
    refuse_unless(
        options.n_trials is None or options.sampler in get_args(Beyond),
        f"--n-trials {options.n_trials}: counts trials after the grid, give --sampler tpe with it or leave it out",
    )
    if options.sampler == "none":
        refuse_unless(
            not options.controls,
            "--controls: stand beside the best pair of a search, which --sampler none does not make",
        )
        for option in ("alphas", "temperatures", "pruner", "finalists", "finalist-seeds"):
            refuse_unless(
                getattr(options, option.replace("-", "_")) is None,
                f"--{option}: has no effect with --sampler none, leave it out",
            )
    refuse_unless(
        options.finalist_seeds is None or configuration.finalists > 0,
        f"--finalist-seeds {options.finalist_seeds}: give --finalists 3 with it, or leave it out",
    )
    refuse_unless(
        options.data_dir is None or configuration.dataset != "synthetic",
        f"--data-dir {options.data_dir}: the preset {configuration.preset} draws its images itself, leave it out",
    )


def _parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m study.run",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # the reports look for options in the commands that a study was started by
    )
    add_settings_options(parser)
    _add_search_and_comparison(parser)
    _add_single_settings(parser)
    add_machine_options(parser)
    parser.add_argument(WORKER, action="store_true", help=argparse.SUPPRESS)
    group = parser.add_argument_group("study")
    group.add_argument("--study", metavar="NAME", help="default: the name in preset or file")
    group.add_argument("--storage", metavar="URL", help="default: sqlite:///RUNS_DIR/study.db")
    group.add_argument("--workers", type=int, default=1, metavar="N", help="processes that share the work")
    group.add_argument("--print-config", action="store_true", help="print the settings as a file for --config")
    group.add_argument("--dry-run", action="store_true", help="say what would run and how long it should take here")
    return parser


def _add_search_and_comparison(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("search and comparison")
    group.add_argument(
        "--sampler",
        choices=SAMPLERS,
        default="grid",
        help="tpe and gp (a Gaussian process) run after the grid, from it; none compares the baseline and each --arm, "
        "without a search",
    )
    group.add_argument("--n-trials", type=int, metavar="N", help=f"of tpe or gp in all (default: {TRIALS_BEYOND})")
    group.add_argument("--pruner", choices=("median", "none"), help="default: median, or the file's")
    group.add_argument(
        "--finalists", type=int, metavar="K", help="best points that get more search seeds (default: 0, or the file's)"
    )
    group.add_argument(
        "--finalist-seeds", type=int, metavar="S", help="search seeds of each in all (default: 3, or the file's)"
    )
    group.add_argument("--arm", action="append", default=[], metavar="ALPHA,T", help="one more arm")
    group.add_argument(
        "--controls",
        action="store_true",
        help="arms without the teacher's knowledge, and with learning rates of their own",
    )
    group.add_argument("--teacher", type=Path, metavar="FILE", help="a checkpoint of the teacher's network")


def _add_single_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("single settings, instead of those of preset or file")
    group.add_argument("--epochs", type=int, metavar="N", help="learning-rate steps move in proportion")
    group.add_argument("--precision", choices=PRECISIONS, help="of every forward pass; weights stay float32")
    group.add_argument("--train-images", type=int, metavar="N", help="images that the search trains on")
    group.add_argument("--seeds", type=int, metavar="N", help="runs of each arm of the comparison")
    group.add_argument("--seed", type=int, metavar="N", help="of the search")
    group.add_argument("--alphas", metavar="A,A,...", help="of the grid")
    group.add_argument("--temperatures", metavar="T,T,...", help="of the grid")


def numbers(text: str, option: str, example: str = "0,0.5") -> tuple[float, ...]:
    """Numbers with commas between.

    Raises:
        ConfigurationError: for anything else.
    """
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise ConfigurationError(f"{option} {text!r}: give numbers with commas between, such as {example}") from None


def _pair(text: str) -> tuple[float, float]:
    values = numbers(text, "--arm", example="0.75,4")
    refuse_unless(len(values) == 2, f"--arm {text}: give ALPHA,T, such as 0.75,4")
    alpha, temperature = values
    refuse_unless(
        is_within(alpha, ALPHA_BOUNDS) and is_within(temperature, TEMPERATURE_BOUNDS),
        f"--arm {text}: alpha weighs the teacher, give 0 to 1, and T from 1 to 16",
    )
    refuse_unless(alpha != 0, f"--arm {text}: without a teacher it is the baseline, which is compared anyway")
    return alpha, temperature
