"""The study from one command: teacher, search, final comparison, report.

    python -m study.run --preset demo                 embedded images, minutes
    python -m study.run --preset quick                CIFAR-100 on a machine without GPU, about an hour
    python -m study.run --sampler grid                the full protocol
    python -m study.run --sampler tpe --n-trials 32   goes on from the grid in the same study

The same command again goes on where it was stopped, or rebuilds the report where all is done.
"""

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import optuna
import torch
from reports.build import write_report

from data import ImageBank, split
from models import StudentCNN
from reports.collect import collect
from storage.logits import TeacherLogits
from storage.study_storage import artifact_store, default_url, open_claims, open_storage
from study.command_line import add_machine_options, cache_folder, load_images, one_line_errors
from study.comparison import Arms, Comparison, run_pair
from study.configuration import PRESETS, Configuration, require
from study.device import pick_device
from study.plan import dry_run, print_plan, work_left
from study.record import checkpoints_folder, open_studies
from study.search import Search, winner
from study.space import grid_points
from study.teacher import choose_teacher
from study.training import Training


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study that the command line describes, from where it is to the end."""
    options = parse(arguments)
    command = "python -m study.run " + shlex.join(sys.argv[1:] if arguments is None else arguments)
    with one_line_errors(command):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        configuration = configure(options)
        device = pick_device(options.device)
        name = options.study or configuration.preset
        cache = cache_folder(options.runs_dir)
        url = options.storage or default_url(options.runs_dir)
        claims = open_claims(url)
        if options.dry_run:
            work = dry_run(name, configuration, options.runs_dir, url, count_arms(options), tpe_trials(options))
            print_plan(configuration, work, 100, device)
            return

        # What is trained on, and by whom it is taught.
        images = load_images(configuration.dataset, options.runs_dir, options.data_dir)
        parts = split(images.train_labels, configuration.train_images)
        train_and_validation = torch.cat([parts.train, parts.validation]).sort().values
        classes = len(images.classes)
        teacher = choose_teacher(configuration, images, cache, device, options.teacher)
        bank = ImageBank.of_training_images(images, device)
        logits = TeacherLogits(
            cache / "logits" / f"{images.hash[:12]}-{teacher.hash[:12]}", bank, lambda: teacher.load(device), classes
        )

        # What the study is; refused where a study of that name is something else.
        storage = open_storage(url, claims)
        study, compared = open_studies(name, configuration, images, parts, teacher, storage, claims, device, command)
        work = work_left(
            configuration, study.get_trials(), compared.get_trials(), len(parts.train), len(parts.validation),
            arms=count_arms(options), tpe_trials=tpe_trials(options), views_filled=logits.filled,
        )  # fmt: skip
        print_plan(configuration, work, classes, device)
        logits.require_room(work.views)

        def training(alpha: float, temperature: float, seed: int, label: str, final: bool) -> Training:
            kind = f"final-seed{seed}" if final else "search"
            return Training(
                build=lambda: StudentCNN(classes),
                recipe=configuration.recipe,
                seed=seed,
                bank=bank,
                train=train_and_validation if final else parts.train,
                validation=None if final else parts.validation,
                logits=logits,
                alpha=alpha,
                temperature=temperature,
                checkpoint=checkpoints_folder(options.runs_dir, name) / f"{kind}-alpha{alpha!r}-T{temperature!r}.pt",
                name=label,
            )

        # The search.
        search = Search(
            study, configuration, claims,
            make_training=lambda alpha, temperature, label: training(
                alpha, temperature, configuration.seed, label, final=False
            ),
            pruner=configuration.pruner,
        )  # fmt: skip
        search.run_grid()
        search.run_tpe(tpe_trials(options))

        # The comparison.
        arms = choose_arms(study, configuration, options.arm)
        Comparison(
            compared, claims, arms, configuration.final_seeds,
            make_training=lambda alpha, temperature, seed, label: training(alpha, temperature, seed, label, final=True),
            test=ImageBank.of_test_images(images, device),
            artifacts=artifact_store(options.runs_dir),
        ).run()  # fmt: skip

        # The report, from what is stored.
        folder = options.runs_dir / name
        write_report(collect(url, name), folder)
        print(f"all done: {folder / 'report.md'}")


def choose_arms(study: optuna.Study, configuration: Configuration, added: list[tuple[float, float]]) -> Arms:
    """The arms of the comparison: no distillation, the grid's winner, TPE's winner if any, and those asked for."""
    arms: Arms = {"baseline": (0.0, 1.0)}
    for name, sampler in (("best", "grid"), ("tpe", "tpe")):
        trial = winner(study, len(grid_points(configuration)), sampler)
        if trial is not None:
            arms[name] = run_pair(trial.params["alpha"], trial.params["temperature"])
    for alpha, temperature in added:
        arms[f"{alpha:g},{temperature:g}"] = run_pair(alpha, temperature)
    return arms


def count_arms(options: argparse.Namespace) -> int:
    """How many arms the comparison will have, if no two are the same pair."""
    return 2 + len(options.arm) + int(options.sampler == "tpe")


def tpe_trials(options: argparse.Namespace) -> int:
    """How many TPE trials the study is to have."""
    return int(options.n_trials) if options.sampler == "tpe" else 0


def configure(options: argparse.Namespace) -> Configuration:
    """The preset with the single settings given on the command line.

    Raises:
        ConfigurationError: for a setting that makes no sense.
    """
    require(options.n_trials >= 1, f"--n-trials {options.n_trials}: give 1 or more")
    configuration = PRESETS[options.preset]
    if options.epochs is not None:
        recipe = configuration.recipe.with_epochs(options.epochs)
        configuration = dataclasses.replace(configuration, recipe=recipe)
    given = {
        setting: getattr(options, setting)
        for setting in ("train_images", "seed", "seeds", "pruner", "alphas", "temperatures")
        if getattr(options, setting) is not None
    }
    return dataclasses.replace(configuration, **given)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m study.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=PRESETS, default="full", help="named settings (default: full)")

    group = parser.add_argument_group("search and comparison")
    group.add_argument("--sampler", choices=("grid", "tpe"), default="grid", help="tpe runs after the grid, from it")
    group.add_argument("--n-trials", type=int, default=32, metavar="N", help="TPE trials in all (default: 32)")
    group.add_argument("--pruner", choices=("median", "none"), help="default: median")
    group.add_argument("--arm", type=pair, action="append", default=[], metavar="ALPHA,T", help="one more arm")
    group.add_argument("--teacher", type=Path, metavar="FILE", help="a checkpoint of the preset's network")

    group = parser.add_argument_group("single settings, instead of the preset's")
    group.add_argument("--epochs", type=int, metavar="N", help="learning-rate steps move in proportion")
    group.add_argument("--train-images", type=int, metavar="N", help="images that the search trains on")
    group.add_argument("--seeds", type=int, metavar="N", help="runs of each arm of the comparison")
    group.add_argument("--seed", type=int, metavar="N", help="of the search")
    group.add_argument("--alphas", type=numbers, metavar="A,A,...", help="of the grid")
    group.add_argument("--temperatures", type=numbers, metavar="T,T,...", help="of the grid")

    add_machine_options(parser)
    group = parser.add_argument_group("study")
    group.add_argument("--study", metavar="NAME", help="default: the preset's name")
    group.add_argument("--storage", metavar="URL", help="default: sqlite:///RUNS_DIR/study.db")
    group.add_argument("--dry-run", action="store_true", help="say what would run and how long it should take here")
    return parser.parse_args(arguments)


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between, as a tuple."""
    return tuple(float(number) for number in text.split(","))


def pair(text: str) -> tuple[float, float]:
    """``ALPHA,T`` as two numbers in the range of the search."""
    alpha, temperature = numbers(text)
    if not (0 <= alpha <= 1 and 1 <= temperature <= 16):
        raise argparse.ArgumentTypeError(f"{text}: alpha weighs the teacher, give 0 to 1, and T from 1 to 16")
    return alpha, temperature


if __name__ == "__main__":
    main()
