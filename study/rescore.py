"""Say of a finished study which images its networks got right and how like their teacher they are, without training.

python -m study.rescore NAME                    from the weights that its trainings left in RUNS_DIR/artifacts
python -m reports.build --study NAME            its report again, with what was found

A study stores this by itself; those that were begun with an earlier version did not.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import optuna
import torch
from optuna.trial import TrialState
from torch import nn

from data import ImageBank, split
from models import CheckpointError, load_checkpoint
from storage.artifacts import weights_of
from storage.configuration import refuse_unless
from storage.errors import one_line_errors
from storage.folders import RunsFolder
from storage.open_study import OpenStudy, open_study, read_study
from storage.study_storage import command_of
from storage.trials import TrialView, store_later, views
from study.command_line import add_machine_options
from study.device import pick_device
from study.evaluation import HeldOut
from study.materials import held_out, images_of
from study.networks import refuse_other_networks, student_of
from study.progress import say
from study.teacher import choose_teacher


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m study.rescore",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("study", metavar="NAME")
    parser.add_argument("--storage", metavar="URL", help="Optuna storage (default: sqlite:///RUNS_DIR/study.db)")
    parser.add_argument("--teacher", type=Path, metavar="FILE", help="a checkpoint of the study's teacher")
    add_machine_options(parser)
    typed = list(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(typed)
    with one_line_errors(command_of("study.rescore", typed)):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        runs = RunsFolder(options.runs_dir)
        url = options.storage or runs.url
        with read_study(url, options.study) as opened:
            opened.begun()  # or says what is missing, before anything is opened to be written
        with open_study(url, options.study) as opened:
            rescore(opened, runs, pick_device(options.device), options.data_dir, options.teacher)


def rescore(
    opened: OpenStudy, runs: RunsFolder, device: torch.device, data_dir: Path | None, teacher_file: Path | None
) -> None:
    """Score the stored weights of every training of a study that has not said of single images what it got right.

    Raises:
        ConfigurationError: where images or networks are not those of the study, its teacher is not there, or no
            weights are.
        StorageError: where the study is not there, or is being deleted.
    """
    opened.keep()
    description, search, comparison = opened.begun()
    refuse_other_networks(description)
    wanted = [_unscored(study, description.teacher["hash"] is not None) for study in (search, comparison)]
    if not any(wanted):
        say(f"{opened.name}: every training has its scores")
        return
    configuration = description.settings
    teacher, digest = None, description.teacher["hash"]
    refuse_unless(
        digest is not None or teacher_file is None,
        f"--teacher {teacher_file}: study {opened.name!r} has trained its baseline alone, leave it out",
    )
    images = images_of(opened, description, runs.cache, data_dir)
    if digest is not None:
        teacher = choose_teacher(configuration, images, runs.cache, opened.claims, device, teacher_file, digest)
    network = student_of(description).build().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    done = 0
    parts = split(images.train_labels, configuration.train_images, configuration.validation_images)
    on = held_out(ImageBank.of_training_images(images, device), images, parts.validation, teacher, configuration)
    for study, trials, scored_on in zip((search, comparison), wanted, on, strict=True):
        done += sum(_rescore(study, trial, scored_on, network, runs) for trial in trials)
    trainings = sum(map(len, wanted))
    refuse_unless(done > 0, f"study {opened.name!r}: none of {trainings} trainings has its weights in {runs.artifacts}")
    say(
        f"{opened.name}: {done} of {trainings} trainings rescored; python -m reports.build --study {opened.name}, with "
        "--storage and --runs-dir as here, makes its report"
    )


def _unscored(study: optuna.Study, has_teacher: bool) -> list[TrialView]:
    """The trainings that ended and have not said how like their teacher they are, or what they got right."""
    missing = []
    for trial in views(study):
        scores = trial.validation or trial.test
        known = scores is not None and "hits" in scores and not (has_teacher and scores.get("agreement") is None)
        if trial.state == TrialState.COMPLETE and trial.repeats is None and not known:
            missing.append(trial)
    return missing


def _rescore(study: optuna.Study, trial: TrialView, scored_on: HeldOut, network: nn.Module, runs: RunsFolder) -> bool:
    """Score one training's weights; whether they are there and can be read."""
    weights = weights_of(study, trial.trial, runs.artifacts)
    if weights is None:
        return False
    try:
        load_checkpoint(network, weights, "student")
    except CheckpointError as error:
        say(f"trial {trial.number}: left as it is, {error}")
        return False
    scores = scored_on.score(network)
    store_later(study, trial.number, asdict(scores))
    if scores.accuracy != trial.value:
        say(f"trial {trial.number}: {100 * scores.accuracy:.2f} % here, {100 * (trial.value or 0):.2f} % was stored")
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
