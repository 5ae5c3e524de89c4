"""Begin a study: describe it in the storage, or refuse another one of its name."""

import dataclasses
import json
from contextlib import suppress
from datetime import datetime
from typing import Any, cast

import optuna
import torch
from optuna.study import StudyDirection
from torch import nn

from data import ImageBank, ImageSet, Split, count_copies
from data.cifar100 import refuse_other_folder
from data.samples import samples
from models import Architecture, Teacher, check_network, fold_batch_norm, has_fixed_weights
from models.cost import measure_cost
from storage.arms import grid_has_ended
from storage.claims import hold
from storage.configuration import Configuration, ConfigurationError, refuse_unless
from storage.description import FORMAT, Copies, CostFacts, Description, Start, TeacherFacts
from storage.open_study import COMPARISON_METRIC, SEARCH_METRIC, OpenStudy
from storage.study_storage import StorageError
from storage.trials import views
from study.evaluation import precision_effect
from study.manifest import commit, hardware, versions
from study.materials import Materials
from study.networks import check_trainable, known_by, refuse_other_networks
from study.options import Request
from study.plan import Plan, asked_beyond, images_at_hand
from study.progress import say
from study.recipes import teacher_recipe

OF_THE_GRID = ("pruner", "alphas", "temperatures")
"""Settings that may be other ones before the first trial."""
ANOTHER_STUDY = ", or give --study NAME to begin another; python -m reports.build makes the report of what is stored"


def going_on(request: Request, opened: OpenStudy) -> Request:
    """The request as the study that it names goes on: with its draws and batches, and its search where none is asked.

    Raises:
        ConfigurationError: where the study was begun with another configuration or other networks, or by others.
    """
    refuse_foreign(opened)
    known, search = opened.description, opened.search
    if known is None or search is None:
        return request
    recipe = dataclasses.replace(request.configuration.recipe, batches=known.settings.recipe.batches)
    # The preset is where the settings come from: the same ones may come from a file by now.
    settings = known.settings
    configuration = dataclasses.replace(
        request.configuration, preset=settings.preset, draws=settings.draws, recipe=recipe
    )
    if known.teacher["hash"] is not None or request.teacher is not None:  # then none is trained
        configuration = dataclasses.replace(configuration, teacher_recipe=settings.teacher_recipe)
    if not request.searches:  # then what the search was begun with is no matter
        of_search = ("alphas", "temperatures", "pruner", "finalists", "finalist_seeds")
        kept = {setting: getattr(known.settings, setting) for setting in of_search}
        configuration = dataclasses.replace(configuration, **kept)
    refuse_another(known, configuration, search)
    refuse_other_networks(known, ANOTHER_STUDY)
    return dataclasses.replace(request, configuration=configuration)


def refuse_unusable(request: Request, opened: OpenStudy, plan: Plan) -> None:
    """Refuse networks of one's own that cannot be studied, and other images than those a study was begun with.

    Whoever trains looks at the images anyway. Where nothing is left to train, they need not be there.

    Raises:
        NetworkError, ConfigurationError, DataError: in one line that says why.
    """
    folder = request.data_dir if request.configuration.dataset == "folder" else None
    looks = folder is not None and (folder.is_dir() if plan.is_done else request.dry_run)
    if looks and opened.description is not None:
        plan.refuse_other_images(request.name, images_at_hand(request, opened).hash)
    if plan.is_done:
        return
    images, configuration = plan.images, request.configuration
    if configuration.dataset == "cifar100" and request.data_dir is not None:
        refuse_other_folder(request.data_dir, request.runs.cache)
    for architecture in (plan.student, plan.teacher):
        check_network(architecture, configuration.recipe.precision)
    check_trainable(plan.student, configuration.recipe, [images.train, images.train + images.validation])
    if plan.train_teacher:
        check_trainable(plan.teacher, teacher_recipe(configuration), [images.every])


def begin(
    opened: OpenStudy, request: Request, plan: Plan, materials: Materials, device: torch.device
) -> tuple[optuna.Study, optuna.Study]:
    """The studies of search and comparison, described where they are new, with a note of this start.

    Nobody can delete them as long as this process has them open.

    Raises:
        ConfigurationError: where the study was begun with another configuration, data set or teacher, or by others.
        ClaimLostError: where another process may be describing it meanwhile.
    """
    with hold(opened.claims, opened.claim_to_create):
        if _changes_the_grid(opened, request.configuration):
            opened.refuse_company()  # it may be about to ask for a point of the grid that it described
        opened.keep()
        refuse_foreign(opened)
        known = opened.description
        if known is None:
            # Before it is made, since it takes seconds: whoever stops them leaves no study that nothing is known of.
            known = _describe(request.configuration, materials, plan, device)
            opened.claims.check_held(opened.claim_to_create)
            search, comparison = opened.create()
            search.set_metric_names(SEARCH_METRIC)
            comparison.set_metric_names(COMPARISON_METRIC)
        else:
            search, comparison = opened.create()
            refuse_another(known, request.configuration, search)
            _refuse_other_hashes(request.name, known, materials)
            if "copies" not in known.data:  # begun before they were counted
                copies = _copies(materials.images, materials.parts)
                known = dataclasses.replace(known, data={**known.data, "copies": copies})
            if known.teacher["hash"] is None and materials.teacher is not None:
                taught = _teacher(materials.teacher, request.configuration, materials.on_test.bank)
                # Measured beside the student's, maybe on another machine than this one.
                taught["latency_seconds"] = known.teacher["latency_seconds"]
                taught["peak_memory_bytes"] = known.teacher["peak_memory_bytes"]
                known = dataclasses.replace(known, teacher=taught)
        opened.claims.check_held(opened.claim_to_create)  # what came before may take seconds
        machine = hardware(device, request.configuration.recipe.precision)
        known = dataclasses.replace(known, starts=_with_start(known.starts, request.command, machine))
        _as_asked(known, request, opened).store(search)
    return search, comparison


def _as_asked(known: Description, request: Request, opened: OpenStudy) -> Description:
    """The description with what this request asks for; settings that are the same stay as they are stored."""
    known = dataclasses.replace(known, tpe_trials=asked_beyond(request, opened))
    if known.settings == request.configuration:
        return known
    return dataclasses.replace(known, configuration=request.configuration.as_json(), format=FORMAT)


def keep_what_is_asked(opened: OpenStudy, request: Request) -> None:
    """Store how many trials, finalists and seeds there are to be, where a study has them all: its report is of those.

    An earlier start may have asked for more and been stopped. Where a living process works on it, what that one asked
    for stays.

    Raises:
        ClaimLostError: where another process may be describing it meanwhile.
    """
    with suppress(StorageError), opened.alone():
        known, search = opened.description, opened.search
        if known is None or search is None:
            return
        if (asked := _as_asked(known, request, opened)) != known:
            refuse_another(known, request.configuration, search)
            asked.store(search)


def begin_rates(opened: OpenStudy) -> optuna.Study:
    """The study in which the controls try learning rates, of one that was begun."""
    with hold(opened.claims, opened.claim_to_create):
        rates = opened.create_rates()
        rates.set_metric_names(SEARCH_METRIC)
    return rates


def refuse_foreign(opened: OpenStudy) -> None:
    """Refuse a study that has trials and is not described: nothing is written into one of others, or half deleted.

    Raises:
        ConfigurationError: where there is one of that name.
    """
    search = opened.search
    for part in filter(None, (search, opened.comparison, opened.rates)):
        refuse_unless(
            part.directions == [StudyDirection.MAXIMIZE],
            f"study {part.study_name!r} does not maximize, so it was not made by study.run: give --study NAME to begin "
            "another",
        )
    if search is not None and Description.of(search) is not None:
        return
    refuse_unless(
        search is None or ("configuration" not in search.user_attrs and not search.get_trials(deepcopy=False)),
        f"study {opened.name!r} was not made by study.run: give --study NAME to begin another",
    )
    for left in (opened.comparison, opened.rates):
        runs = 0 if left is None else len(left.get_trials(deepcopy=False))
        refuse_unless(
            left is None or runs == 0,
            f"study {opened.name!r} was deleted, but {runs} of its trainings are left, which are none of a new one: "
            f"python -m study.list --delete {opened.name}, with --storage and --runs-dir as here, removes them",
        )


def _changes_the_grid(opened: OpenStudy, wanted: Configuration) -> bool:
    """Whether another grid, or another pruner, is asked for than a study has that no trial has begun of."""
    known, search = opened.description, opened.search
    if known is None or search is None or search.get_trials(deepcopy=False):
        return False
    return any(getattr(known.settings, key) != getattr(wanted, key) for key in OF_THE_GRID)


def refuse_another(known: Description, wanted: Configuration, search: optuna.Study) -> None:
    """Refuse a configuration that differs from the one the study was begun with, naming the first setting that does.

    Seeds and finalists can be added any time; TPE may prune after a grid that did not; before the first trial, the grid
    and its pruner may be other ones.

    Raises:
        ConfigurationError: with that setting.
    """
    may_change, trials = {"seeds", "finalists", "finalist_seeds"}, views(search)
    if grid_has_ended(trials, wanted):  # a point that failed will not be pruned either
        may_change |= {"pruner"}
    if not trials:
        may_change |= {*OF_THE_GRID}
    old, new = known.settings.every_setting(), wanted.every_setting()
    for key in new:
        if key not in may_change and old[key] != new[key]:
            option = f"--{key.replace('_', '-')} {old[key]}" if key in ("pruner", "precision") else None
            _refuse(search.study_name, key, old[key], new[key], option)


def _refuse_other_hashes(name: str, known: Description, materials: Materials) -> None:
    hashes = [("data", known.data["hash"], materials.images.hash)]
    if known.teacher["hash"] is not None and materials.teacher is not None:
        hashes.append(("teacher", known.teacher["hash"], materials.teacher.hash))
    for key, old, new in hashes:
        if old != new:
            _refuse(name, key, old[:12], new[:12])


def _refuse(name: str, key: str, old: Any, new: Any, option: str | None = None) -> None:
    """Refuse what differs.

    Args:
        option: with which the study goes on, where another start may have left that to a default.
    """
    goes_on = "" if option is None else f"{option} to go on with it, or "
    raise ConfigurationError(
        f"study {name!r} was begun with {key} {old}, not {new}: give {goes_on}--study NAME to begin another"
    )


def _describe(configuration: Configuration, materials: Materials, plan: Plan, device: torch.device) -> Description:
    images, parts = materials.images, materials.parts
    described: dict[str, Any] = {
        "configuration": configuration.as_json(),
        "data": {
            "name": images.name,
            "synthetic": images.synthetic,
            "hash": images.hash,
            "classes": images.classes,
            "groups": images.groups,
            "official_train_images": len(images.train_images),
            "test_images": len(images.test_images),
            "train_images": len(parts.train),
            "validation_images": len(parts.validation),
            "image_size": images.train_images.shape[-1],
            "channels": images.train_images.shape[1],
            "samples": samples(images),
            "normalisation": materials.student.normalisation,
            "copies": _copies(images, parts),
            **({"not_validated": plan.images.not_validated} if plan.images.not_validated else {}),
        },
        "teacher": _teacher(materials.teacher, configuration, materials.on_test.bank)
        if materials.teacher is not None
        else _no_teacher(plan.teacher, images, device),
        "student": _student(materials.student, device),
        "starts": [],
    }
    return Description(**json.loads(json.dumps(described)))


def _student(architecture: Architecture, device: torch.device) -> CostFacts:
    facts = _network(architecture, architecture.build(), device)
    if architecture.is_own and has_fixed_weights(architecture):
        facts["fixed_weights"] = True
        say(f"network {architecture.name!r}: its first weights are the same whatever the seed, which the report says")
    return facts


def _copies(images: ImageSet, parts: Split) -> Copies:
    """Counted, and said where there are any: what is scored on them is too good."""
    train = images.train_images
    found: Copies = {
        "test": count_copies(images.test_images, train),
        "validation": count_copies(train[parts.validation], train[parts.train]),
    }
    if found["test"] or found["validation"]:
        say(
            f"{images.name}: test images that are training images too, pixel by pixel: {found['test']:,} of "
            f"{len(images.test_images):,}; validation images that the search trains on: {found['validation']:,} of "
            f"{len(parts.validation):,}"
        )
    return found


def _teacher(teacher: Teacher, configuration: Configuration, test: ImageBank) -> TeacherFacts:
    card = {key: value for key, value in teacher.card.items() if key not in ("network", "train_loss")}
    network = teacher.load(test.device)
    described = {**card, **_network(teacher.architecture, network, test.device)}
    if configuration.recipe.precision == "bfloat16":
        described["precision_effect"] = precision_effect(fold_batch_norm(network), test)  # as it is asked
    return cast(TeacherFacts, described)


def _network(architecture: Architecture, network: nn.Module, device: torch.device) -> CostFacts:
    """What a network is and costs; of one's own, its source and shapes too, by which another is known."""
    cost = measure_cost(network.eval(), device, architecture.channels, architecture.image_size)
    facts = {"name": architecture.name, **dataclasses.asdict(cost), **known_by(architecture, network)}
    return cast(CostFacts, facts)


def _no_teacher(architecture: Architecture, images: ImageSet, device: torch.device) -> TeacherFacts:
    """The network that will teach, before there are weights: what it costs does not depend on them."""
    nothing: dict[str, Any] = {
        **_network(architecture, architecture.build(), device),
        "hash": None,
        "data": images.name,
        "data_hash": images.hash,
        "classes": architecture.classes,
        "test_accuracy": None,
        "test_loss": None,
        "calibration": [],
        "correct_by_class": [],
        "versions": {},
        "hardware": {},
        "date": "-",
        "origin": "none yet: the baseline has no teacher",
    }
    return cast(TeacherFacts, nothing)


def _with_start(starts: list[Start], command: str, machine: dict[str, str | int]) -> list[Start]:
    """The starts with this one, where none was like it."""
    now: Start = {
        "date": datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        "command": command,
        "commit": commit(),
        "versions": versions(),
        "hardware": machine,
    }
    if any({**earlier, "date": now["date"]} == now for earlier in starts):
        return starts
    return [*starts, now]
