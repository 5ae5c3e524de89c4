"""The study from one command: teacher, search, final comparison, report.

    python -m study.run --preset demo                 embedded images, minutes
    python -m study.run --preset quick                CIFAR-100 on a machine without GPU, about an hour
    python -m study.run --sampler grid                the full protocol
    python -m study.run --sampler tpe --n-trials 32   goes on from the grid in the same study

The same command again goes on where it was stopped, or rebuilds the report where all is done.
"""

import argparse
import dataclasses
import platform
import re
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import optuna
import torch

from data import ImageBank, split
from models import StudentCNN, fold_batch_norm
from reports.live import kept_current
from storage.artifacts import artifact_store
from storage.configuration import PRECISIONS, Configuration, require
from storage.errors import one_line_errors
from storage.study_storage import default_url, open_claims, open_storage
from study.command_line import add_machine_options, cache_folder, load_images
from study.comparison import Comparison, choose_arms
from study.device import pick_device
from study.plan import plan, print_plan
from study.presets import PRESETS
from study.processes import run_workers
from study.progress import bar
from study.record import checkpoint_file, comparison_name, count_ended, open_studies
from study.search import Search
from study.step import TrainingStep
from study.teacher import choose_teacher
from study.teacher_logits import TeacherLogits, logits_folder
from study.training import Training
from study.work import patiently


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study that the command line describes, from where it is to the end."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parse(given)
    typed = [argument for argument in given if argument != "--worker"]
    command = without_password("python -m study.run " + shlex.join(typed))
    with one_line_errors(command):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        configuration = configure(options)
        device = pick_device(options.device)
        if options.workers > 1:
            require(device.index is None, f"--device {device}: --workers takes all devices, leave the number out")
        name = options.study or configuration.preset
        require(re.fullmatch(r"[\w.-]+", name) is not None, f"--study {name!r}: give letters, digits, '.', '_' and '-'")
        cache = cache_folder(options.runs_dir)
        url = options.storage or default_url(options.runs_dir)
        claims = open_claims(url)
        tpe_trials = options.n_trials if options.sampler == "tpe" else 0
        work = plan(name, configuration, cache, url, options.arm, tpe_trials, options.teacher is not None, device)
        if not options.worker:
            print_plan(configuration, work, device, options.workers)
        if options.dry_run:
            return

        # What is trained on, and who teaches.
        images = load_images(configuration.dataset, options.runs_dir, options.data_dir, claims)
        parts = split(images.train_labels, configuration.train_images)
        bank = ImageBank.of_training_images(images, device)
        teacher = choose_teacher(configuration, images, cache, claims, device, options.teacher, work.begun_with)
        logits = TeacherLogits(
            # One memory map for several hosts may show a row as filled before it is there: each host fills its own.
            logits_folder(
                cache if url.startswith("sqlite") else cache / platform.node(), images.hash, teacher.hash, device
            ),
            bank,
            make_teacher=lambda: fold_batch_norm(teacher.load(device)),
            classes=len(images.classes),
            progress=lambda views: bar(views, "teacher logits", "view"),
        )
        logits.require_room(work.views)

        # What the study is; refused where a study of that name is something else.
        storage = open_storage(url, claims)
        study, compared = open_studies(name, configuration, images, parts, teacher, storage, claims, device, command)
        if tpe_trials:
            study.set_user_attr("tpe_trials", tpe_trials)

        # One network and its step, reset for every training.
        classes = len(images.classes)
        step = TrainingStep(lambda: StudentCNN(classes), configuration.recipe, bank, classes)

        # The search: each trial trains on the training images and is scored on the validation images.
        def train_trial(alpha: float, temperature: float, label: str) -> Training:
            return Training(
                step,
                seed=configuration.seed,
                train=parts.train,
                validation=parts.validation,
                logits=logits,
                alpha=alpha,
                temperature=temperature,
                checkpoint=checkpoint_file(options.runs_dir, name, alpha, temperature, configuration.seed),
                name=label,
            )

        artifacts = artifact_store(options.runs_dir)
        search = Search(study, configuration, claims, train_trial, configuration.pruner, artifacts)

        # The comparison: each run trains on both and is tested once, after its last epoch.
        def train_run(alpha: float, temperature: float, seed: int, label: str) -> Training:
            return Training(
                step,
                seed=seed,
                train=torch.cat([parts.train, parts.validation]).sort().values,
                logits=logits,
                alpha=alpha,
                temperature=temperature,
                checkpoint=checkpoint_file(options.runs_dir, comparison_name(name), alpha, temperature, seed),
                name=label,
            )

        test = ImageBank.of_test_images(images, device)
        comparison = Comparison(compared, claims, configuration.final_seeds, train_run, test, artifacts)

        # All of it, together with every other process that runs the same command.
        if options.worker:
            work_on(search, comparison, tpe_trials, options.arm)
            return
        with kept_current(url, name):
            if options.workers > 1:
                total = count_ended(study) + count_ended(compared) + work.trials + work.runs
                run_workers(options.workers, given, device, total, lambda: count_ended(study) + count_ended(compared))
            else:
                work_on(search, comparison, tpe_trials, options.arm)

        # The report, from what is stored. Imported here, since plotly takes a while and a worker draws nothing; where
        # that fails, python -m reports.build makes the report.
        from reports.build import write_report
        from reports.collect import collect

        folder = options.runs_dir / name
        write_report(collect(url, name), folder)
        print(f"all done: {folder / 'report.md'}")


def work_on(search: Search, comparison: Comparison, tpe_trials: int, added: list[tuple[float, float]]) -> None:
    """What one worker does: the grid, TPE from what it found, the comparison of what both found."""
    patiently(search.run_grid)
    patiently(lambda: search.run_tpe(tpe_trials))
    patiently(lambda: comparison.run(choose_arms(search.study, search.configuration, added)))


def configure(options: argparse.Namespace) -> Configuration:
    """The preset with the single settings given on the command line.

    Raises:
        ConfigurationError: for a setting that makes no sense.
    """
    require(options.workers >= 1, f"--workers {options.workers}: give 1 or more")
    require(options.n_trials >= 1, f"--n-trials {options.n_trials}: give 1 or more")
    configuration = PRESETS[options.preset]
    if options.epochs is not None:
        recipe = configuration.recipe.with_epochs(options.epochs)
        configuration = dataclasses.replace(configuration, recipe=recipe)
    if options.precision is not None:
        recipe = dataclasses.replace(configuration.recipe, precision=options.precision)
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
    group.add_argument("--precision", choices=PRECISIONS, help="of the student's forward pass; weights stay float32")
    group.add_argument("--train-images", type=int, metavar="N", help="images that the search trains on")
    group.add_argument("--seeds", type=int, metavar="N", help="runs of each arm of the comparison")
    group.add_argument("--seed", type=int, metavar="N", help="of the search")
    group.add_argument("--alphas", type=numbers, metavar="A,A,...", help="of the grid")
    group.add_argument("--temperatures", type=numbers, metavar="T,T,...", help="of the grid")

    add_machine_options(parser)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    group = parser.add_argument_group("study")
    group.add_argument("--study", metavar="NAME", help="default: the preset's name")
    group.add_argument("--storage", metavar="URL", help="default: sqlite:///RUNS_DIR/study.db")
    group.add_argument("--workers", type=int, default=1, metavar="N", help="processes that share the work")
    group.add_argument("--dry-run", action="store_true", help="say what would run and how long it should take here")
    return parser.parse_args(arguments)


def without_password(command: str) -> str:
    """The command with the password of a storage address starred: it is stored, and published with a report."""
    return re.sub(r"(://[^\s:/@]*):[^\s@]*@", r"\1:***@", command)


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
