"""What is left of a study, counted without training or writing anything."""

from dataclasses import dataclass
from pathlib import Path

import optuna
import torch
from optuna.trial import TrialState

from data import CROPS, VIEWS, ImageSet, load_images, split
from data.cifar100 import CIFAR100_DEVIATION, CIFAR100_HASH, CIFAR100_MEAN
from models import Architecture, Normalisation, OtherNetworkError, Teacher, load_checkpoint, weights_hash
from storage.arms import BASELINE, Arms, arms_to_train, choose_arms, finalist_points, name_of_pair
from storage.configuration import Point, refuse_unless
from storage.controls import CONTROLS, OF_RATES, RATE_FACTORS, control_arms, rate_pairs, unanswered_rates
from storage.open_study import OpenStudy
from storage.rows import count_rows
from storage.trials import MadeBy, TrialView, run_pair, views
from study.comparison import points_of
from study.options import Request
from study.processes import threads_each
from study.progress import bar
from study.recipes import teacher_recipe
from study.record import is_worth_trying_again, made_by
from study.teacher import teacher_at_hand, training_checkpoint
from study.teacher_logits import logits_folder
from study.training import epochs_done


@dataclass(frozen=True)
class Images:
    """What a plan needs to know of the images.

    Attributes:
        every: that the teacher is trained on.
        train, validation: of the search.
        classes: how many there are.
        size: height and width in pixels.
        normalisation: None of a study that was begun before networks were told.
        not_validated: classes of which no image is for validation.
    """

    hash: str
    every: int
    train: int
    validation: int
    classes: int
    channels: int
    size: int
    normalisation: Normalisation | None = None
    not_validated: int = 0

    def architecture(self, network: str) -> Architecture:
        """The network of that name, for these images."""
        return Architecture(network, self.classes, self.channels, self.size, self.normalisation)


@dataclass(frozen=True)
class Plan:
    """What is left of a study.

    Attributes:
        trials: of the search.
        trainings: of those, in full length; alpha = 0 once.
        rates: learning rates that the controls have to try.
        runs: of the comparison.
        ended: trials, learning rates and runs that have ended.
        logits_to_ask: (image, view) pairs that the teacher is expected to be asked for the first time.
        images: that are trained on.
        student, teacher: the networks, for these images.
        needs_teacher: whether anything of the study is distilled: the baseline alone can be trained before there is a
            teacher.
        train_teacher: whether the teacher has to be trained before.
        stored_teacher: what is taken instead, where none was given.
        teacher_epochs_done: how many of its epochs an earlier start has trained.
        teacher_file: the checkpoint that was given for it; also where it is only held against the study's.
        begun_with: hash of the teacher with which the study was begun; None where it was not begun.
    """

    trials: int
    trainings: int
    rates: int
    runs: int
    ended: int
    logits_to_ask: int
    images: Images
    student: Architecture
    teacher: Architecture
    needs_teacher: bool = True
    train_teacher: bool = False
    stored_teacher: Teacher | None = None
    teacher_epochs_done: int = 0
    teacher_file: Path | None = None
    begun_with: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to train."""
        return self.trials + self.rates + self.runs == 0

    def refuse_other_images(self, name: str, found: str) -> None:
        """Refuse images of another hash than those with which the study of that name was begun.

        Raises:
            ConfigurationError: with both hashes.
        """
        refuse_unless(
            found == self.images.hash,
            f"study {name!r} was begun with data {self.images.hash[:12]}, not {found[:12]}: the images changed, "
            "or an earlier version read them otherwise; give --study NAME to begin another",
        )


def make_plan(request: Request, opened: OpenStudy, device: torch.device) -> Plan:
    """What is left to run, found without CIFAR-100 at hand.

    Raises:
        DataError: where images of one's own cannot be used, or there are not as many as were asked for.
        CheckpointError, ConfigurationError: as ``teacher_at_hand``, where a teacher has work to do.
    """
    configuration, description = request.configuration, opened.description
    images = _images(request, opened)
    begun_with = None if description is None else description.teacher["hash"]
    precision = configuration.recipe.precision
    here: MadeBy = {**made_by(device, precision), "threads": threads_each(request.workers, device)}
    trials, trainings = _trials_left(request, opened, here)
    rates = _rates_left(request, opened, trials)
    runs = _runs_left(request, opened, trials, rates, here)
    needs_teacher = _needs_teacher(request, opened, trials)
    asks, digest, found = needs_teacher and trials + rates + runs > 0, begun_with, None
    teacher_file = _teacher_file(request, needs_teacher, begun_with, asks)
    if asks and teacher_file is not None:
        digest = _hash_of(teacher_file, images.architecture(configuration.teacher_network))
    elif asks:
        found = teacher_at_hand(request.runs.cache, images.hash, configuration, begun_with)
        digest = None if found is None else found.hash
    train_teacher = asks and digest is None
    filled = 0
    if digest is not None:
        source = images.architecture(configuration.teacher_network).source if asks else ""
        filled = count_rows(logits_folder(request.runs.cache, images.hash, digest, source, device, precision))
    return Plan(
        trials=trials,
        trainings=trainings,
        rates=rates,
        runs=runs,
        ended=count_ended(opened),
        logits_to_ask=max(0, _logits_in_all(request, images) - filled) if asks else 0,
        images=images,
        student=images.architecture(configuration.student_network),
        teacher=images.architecture(configuration.teacher_network),
        needs_teacher=needs_teacher,
        train_teacher=train_teacher,
        stored_teacher=found,
        teacher_epochs_done=_teacher_epochs_done(request, images) if train_teacher else 0,
        teacher_file=teacher_file,
        begun_with=begun_with,
    )


def expected_views(images: int, draws: int, flip: bool = True) -> int:
    """How many different (image, view) pairs are expected when every image is drawn ``draws`` times."""
    views = VIEWS if flip else CROPS
    return round(images * views * (1 - (1 - 1 / views) ** draws))


def images_at_hand(request: Request, opened: OpenStudy) -> ImageSet:
    """The images that a request names; nothing is written for a dry run.

    Raises:
        DataError: where they cannot be used.
    """
    cache = None if request.dry_run else request.runs.cache
    return load_images(request.configuration, cache, request.data_dir, opened.claims, bar)


def _images(request: Request, opened: OpenStudy) -> Images:
    """From what is stored of a study that was begun, else from the images themselves, unless they are known."""
    configuration, description = request.configuration, opened.description
    if description is not None:
        data = description.data
        return Images(
            hash=data["hash"],
            every=data["official_train_images"],
            train=data["train_images"],
            validation=data["validation_images"],
            classes=len(data["classes"]),
            channels=data["channels"],
            size=data["image_size"],
            normalisation=Normalisation.of(data.get("normalisation")),
            not_validated=data.get("not_validated", 0),
        )
    if configuration.dataset == "cifar100":
        labels, data_hash, channels = torch.arange(100).repeat_interleave(500), CIFAR100_HASH, 3
        normalisation = Normalisation.of((CIFAR100_MEAN, CIFAR100_DEVIATION))
    else:
        loaded = images_at_hand(request, opened)
        labels, data_hash, channels = loaded.train_labels, loaded.hash, loaded.train_images.shape[1]
        normalisation = Normalisation.of(loaded.channel_statistics)
    parts = split(labels, configuration.train_images, configuration.validation_images)
    return Images(
        hash=data_hash,
        every=len(labels),
        train=len(parts.train),
        validation=len(parts.validation),
        classes=len(labels.unique()),
        channels=channels,
        size=configuration.image_size,
        normalisation=normalisation,
        not_validated=len(labels.unique()) - len(labels[parts.validation].unique()),
    )


def _is_settled(trial: TrialView, here: MadeBy) -> bool:
    """Whether a trial has ended, or failed in a way in which it would fail again."""
    failed = trial.state == TrialState.FAIL and not is_worth_trying_again(trial.trial, here)
    return trial.has_ended or failed


def _trials_left(request: Request, opened: OpenStudy, here: MadeBy) -> tuple[int, int]:
    """Trials of the search, and how many of them are trained."""
    if not request.searches:
        return 0, 0
    points, search = request.configuration.points, opened.search
    trials = [] if search is None else views(search, len(points))
    done = [trial.point for trial in trials if _is_settled(trial, here)]
    left = [point for point in points if point not in done]
    trained = {run_pair(point["alpha"], point["temperature"]) for point in left}
    trained -= {run_pair(point["alpha"], point["temperature"]) for point in done}
    of_sampler = sum(trial.sampler == request.beyond and trial.state.is_finished() for trial in trials)
    beyond = max(0, request.trials_beyond - of_sampler)
    configuration = request.configuration
    if left or beyond:
        distinct = {run_pair(point["alpha"], point["temperature"]) for point in points}
        others = sum(trial.is_beyond_grid for trial in trials) + beyond
        more = min(configuration.finalists, len(distinct) + others) * (configuration.finalist_seeds - 1)
    else:
        more = sum(point not in done for point in finalist_points(trials, configuration))
    return len(left) + beyond + more, len(trained) + beyond + more


def _rates_left(request: Request, opened: OpenStudy, trials_left: int) -> int:
    """Learning rates that the controls have to try; those of a winner that is not known yet are its own."""
    configuration, search, rates = request.configuration, opened.search, opened.rates
    if not request.controls:
        return 0
    if trials_left or search is None:
        return len(OF_RATES) * (len(RATE_FACTORS) - 1)
    arms = choose_arms(search, configuration, request.added_arms)
    return len(unanswered_rates(arms, search, rates, configuration))


def wanted_arms(request: Request, opened: OpenStudy, search: optuna.Study) -> Arms:
    """The arms of the comparison, as far as the search says by now which they are."""
    return arms_to_train(search, request.configuration, asked_beyond(request, opened), request.added_arms)


def _runs_left(request: Request, opened: OpenStudy, trials_left: int, rates_left: int, here: MadeBy) -> int:
    """Runs of the comparison; a winner or a learning rate that is not known yet is counted as an arm of its own."""
    configuration, search, comparison = request.configuration, opened.search, opened.comparison
    seeds, unknown = configuration.final_seeds, 0
    arms: Arms = {"baseline": BASELINE} | {name_of_pair(pair): pair for pair in request.added_arms}
    controls: dict[str, Point] = {}
    if trials_left:
        known = {} if search is None else arms_to_train(search, configuration, asked_beyond(request, opened))
        winners = {"best", request.beyond or "best"}
        arms |= {name: pair for name, pair in known.items() if name in winners}
        unknown = len(seeds) * (len(winners - known.keys()) + (len(CONTROLS) if request.controls else 0))
    elif search is not None:
        arms = wanted_arms(request, opened, search)
        if request.controls:
            controls = control_arms(arms, search, opened.rates, configuration)
            unknown = len(seeds) * len(rate_pairs(arms)) if rates_left else 0
    runs = [] if comparison is None else views(comparison)
    wanted, done = points_of(arms, seeds, controls), [run.point for run in runs if _is_settled(run, here)]
    left = sum(point not in done for point in wanted) + unknown
    # Where there is work, what another start left of other arms is gone on with first.
    others = sum(not run.state.is_finished() and run.point not in wanted for run in runs)
    return left + others if left or trials_left or rates_left else 0


def _needs_teacher(request: Request, opened: OpenStudy, trials_left: int) -> bool:
    """Whether anything is distilled: an arm, also of an earlier search, or what another start left of any study."""
    arms: Arms = {name_of_pair(pair): pair for pair in request.added_arms}
    if opened.search is not None:
        arms = wanted_arms(request, opened, opened.search)
    taken_up = [
        opened.comparison,
        opened.search if request.searches else None,
        opened.rates if request.controls else None,
    ]
    largest = 1.0 if request.beyond is not None else max(request.configuration.alphas)
    left = [
        trial.point.get("alpha", largest)  # what has none yet may get that
        for study in filter(None, taken_up)
        for trial in views(study)
        if not trial.state.is_finished()
    ]
    if trials_left and (request.beyond is not None or any(request.configuration.alphas)):
        return True
    return any(alpha != 0 for alpha in [*left, *(alpha for alpha, _ in arms.values())])


def _teacher_file(request: Request, needs_teacher: bool, begun_with: str | None, asks: bool) -> Path | None:
    """The checkpoint that was given, which has to be of use; what a file of settings names may be of none now.

    Nor need it be there any more where the study was begun with what it held, which is stored.
    """
    file, has_teacher = request.teacher, needs_teacher or begun_with is not None
    if file is None or (request.teacher_is_setting and not asks):
        return None
    if request.teacher_is_setting and begun_with is not None and not file.exists():
        return None
    refuse_unless(has_teacher, f"--teacher {file}: the baseline alone is trained, which has no teacher; leave it out")
    refuse_unless(
        file.is_file(), f"{file}: no such file; give the path of a {request.configuration.teacher_network} checkpoint"
    )
    return file


def _hash_of(file: Path, architecture: Architecture) -> str:
    network = architecture.build()
    try:
        load_checkpoint(network, file, architecture.name)
    except OtherNetworkError as error:
        raise OtherNetworkError(
            f"{error}; network of [teacher] in a file, --config FILE, gives the study another, which may choose the "
            "study's classes among more"
        ) from None
    return weights_hash(network)


def _teacher_epochs_done(request: Request, images: Images) -> int:
    """How far an earlier start came with the teacher that this one would train."""
    configuration = request.configuration
    network, recipe = configuration.teacher_network, teacher_recipe(configuration)
    checkpoint = training_checkpoint(request.runs.cache, images.hash, images.architecture(network), recipe, 0)
    # Where that is another's, the own one lies beside it and was written later.
    found = sorted(checkpoint.parent.glob(f"*{checkpoint.name}"), key=lambda file: file.stat().st_mtime)
    return epochs_done(found[-1]) if found else 0


def asked_beyond(request: Request, opened: OpenStudy) -> int:
    """How many trials after the grid there are to be: those asked for, with those that another sampler made before."""
    if not request.trials_beyond:
        return 0 if opened.description is None else opened.description.tpe_trials
    trials = [] if opened.search is None else views(opened.search, len(request.configuration.points))
    return request.trials_beyond + sum(trial.sampler not in ("grid", "finalist", request.beyond) for trial in trials)


def _logits_in_all(request: Request, images: Images) -> int:
    """(image, view) pairs of the whole study: what one run sees, or all of its runs where their draws are apart."""
    configuration = request.configuration
    epochs, seeds, flip = configuration.recipe.epochs, configuration.seeds, configuration.recipe.flip
    train, validation = images.train, images.validation
    if configuration.draws == "shared":
        return expected_views(train + validation, epochs, flip)
    searches = 1 if request.searches else 0
    of_train = expected_views(train, epochs * (searches + seeds), flip)
    return of_train + expected_views(validation, epochs * seeds, flip)


def count_ended(opened: OpenStudy) -> int:
    """How many trials, learning rates and runs of a study have ended."""
    studies = [study for study in (opened.search, opened.comparison, opened.rates) if study is not None]
    return sum(trial.has_ended for study in studies for trial in views(study))
