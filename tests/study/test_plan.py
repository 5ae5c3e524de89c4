"""The plan counts what is left point by point, and promises no more help than there is."""

import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import torch
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from models import Architecture, CheckpointError, build, save_checkpoint
from models.resnet import ResNet
from models.student import StudentCNN
from storage.configuration import ConfigurationError, Point
from storage.open_study import open_study, read_study
from storage.study_storage import sqlite_url
from storage.trials import DIVERGED
from study.begin import going_on, refuse_another
from study.estimate import at_once, print_plan
from study.options import request_of
from study.plan import Images, Plan, make_plan
from study.probe import Probe, teacher_seconds
from study.recipes import TEACHER_RECIPES
from study.record import made_by
from study.settings import PRESETS, Settings, as_toml
from study.teacher import main as teacher_command
from tests.conftest import SMALL as STUDIED

CPU = torch.device("cpu")
SMALL = ["--preset", "demo", "--alphas", "0,0.5", "--temperatures", "1,4"]


def planned(folder: Path, *options: str, **settings: Any) -> Plan:
    """What is left; settings are those of the study that are not given by options, as when it goes on."""
    request = request_of([*options, "--runs-dir", str(folder)], None)
    request = dataclasses.replace(request, configuration=dataclasses.replace(request.configuration, **settings))
    with read_study(request.url, request.name) as opened:
        return make_plan(request, opened, CPU)


def end(study: optuna.Study, points: Iterable[Point], state: TrialState = TrialState.COMPLETE) -> None:
    for number, point in enumerate(points):
        study.enqueue_trial(point)
        trial = study.ask()
        trial.suggest_float("alpha", 0.0, 1.0)
        trial.suggest_float("temperature", 1.0, 16.0, log=True)
        if "seed" in point:
            trial.suggest_int("seed", 0, 2**31 - 1)
        study.tell(trial, 0.1 + 0.01 * number if state == TrialState.COMPLETE else None, state)


def points(*pairs: tuple[float, float], seeds: Iterable[int] = ()) -> list[Point]:
    of_pairs = [{"alpha": alpha, "temperature": temperature} for alpha, temperature in pairs]
    return [{**point, "seed": seed} for seed in seeds for point in of_pairs] or of_pairs


@pytest.fixture
def searched(tmp_path: Path) -> Path:
    """A study whose grid has ended, its best being (0.5, 4), and whose comparison has runs of four arms."""
    with open_study(sqlite_url(tmp_path / "study.db"), "demo") as opened:
        search, comparison = opened.create()
        end(search, points((0, 1), (0, 4), (0.5, 1), (0.5, 4)))
        end(comparison, points((0, 1), (0.5, 4), (0.25, 4), (0.75, 4), seeds=(1, 2)))
    return tmp_path


def test_a_new_study_has_everything_before_it(tmp_path: Path) -> None:
    left = planned(tmp_path, *SMALL)
    assert (left.trials, left.trainings, left.runs) == (4, 3, 10)
    assert left.train_teacher
    assert not left.is_done
    assert list(tmp_path.iterdir()) == []


def test_runs_are_subtracted_by_what_they_are_and_not_by_how_many(searched: Path) -> None:
    assert planned(searched, *SMALL, "--seeds", "2").is_done
    more_seeds = planned(searched, *SMALL, "--seeds", "4")
    assert (more_seeds.trials, more_seeds.runs) == (0, 4)
    assert planned(searched, *SMALL, "--seeds", "2", "--arm", "0.25,4").is_done
    assert planned(searched, *SMALL, "--seeds", "2", "--arm", "0.9,4").runs == 2


def test_without_a_search_there_are_the_baseline_and_the_arms_alone(tmp_path: Path) -> None:
    baseline = planned(tmp_path, "--preset", "demo", "--sampler", "none")
    assert (baseline.trials, baseline.runs, baseline.train_teacher, baseline.logits_to_ask) == (0, 5, False, 0)
    arms = planned(tmp_path, "--preset", "demo", "--sampler", "none", "--arm", "0.25,4", "--arm", "0.75,4")
    assert (arms.trials, arms.runs, arms.train_teacher) == (0, 15, True)


def test_an_arm_of_an_earlier_search_and_a_run_that_was_left_need_the_teacher(searched: Path, tmp_path: Path) -> None:
    alone = ("--preset", "demo", "--sampler", "none")
    more_seeds = planned(searched, *alone, "--seeds", "3", alphas=(0.0, 0.5), temperatures=(1.0, 4.0))
    assert (more_seeds.runs, more_seeds.needs_teacher) == (2, True)
    with open_study(sqlite_url(tmp_path / "other" / "study.db"), "demo") as opened:
        _, comparison = opened.create()
        end(comparison, points((0, 1), seeds=(1, 2)))
        before = planned(tmp_path / "other", *alone, "--seeds", "3")
        assert (before.runs, before.needs_teacher) == (1, False)
        comparison.enqueue_trial({"alpha": 0.5, "temperature": 4.0, "seed": 1})
        left = planned(tmp_path / "other", *alone, "--seeds", "3")
        assert (left.runs, left.needs_teacher) == (2, True)
        assert planned(tmp_path / "other", *alone, "--seeds", "3", "--arm", "0.5,4").runs == 4
        assert planned(tmp_path / "other", *alone, "--seeds", "2").is_done


def test_a_trial_that_was_left_needs_the_teacher_where_it_is_gone_on_with(tmp_path: Path) -> None:
    small = [*SMALL, "--alphas", "0,0.5", "--temperatures", "1", "--seeds", "2"]
    with open_study(sqlite_url(tmp_path / "study.db"), "demo") as opened:
        search, comparison = opened.create()
        end(search, points((0.5, 1), (0, 1)))  # the last is the best
        end(comparison, points((0, 1), seeds=(1,)))
        assert not planned(tmp_path, *small).needs_teacher
        search.enqueue_trial({"alpha": 0.4, "temperature": 3.0})
        search.ask()
    assert planned(tmp_path, *small).needs_teacher
    alone = ("--preset", "demo", "--sampler", "none", "--seeds", "2")
    assert not planned(tmp_path, *alone, alphas=(0.0, 0.5), temperatures=(1.0,)).needs_teacher


def test_where_the_search_chose_no_teacher_what_is_left_needs_none(tmp_path: Path) -> None:
    small = [*SMALL, "--alphas", "0,0.5", "--temperatures", "1"]
    with open_study(sqlite_url(tmp_path / "study.db"), "demo") as opened:
        search, _ = opened.create()
        end(search, points((0.5, 1), (0, 1)))  # the last is the best
    left = planned(tmp_path, *small)
    assert (left.trials, left.runs, left.needs_teacher, left.logits_to_ask) == (0, 5, False, 0)
    assert planned(tmp_path, *small, "--sampler", "tpe").needs_teacher
    assert planned(tmp_path, *small, "--arm", "0.5,1").needs_teacher


def test_a_whole_study_asks_the_teacher_for_what_one_run_sees(tmp_path: Path) -> None:
    one, many = planned(tmp_path, *SMALL, "--seeds", "1"), planned(tmp_path, *SMALL, "--seeds", "9")
    assert one.logits_to_ask == many.logits_to_ask < 5 * 2000


def test_of_images_that_are_not_mirrored_there_are_half_as_many_views(tmp_path: Path) -> None:
    both = planned(tmp_path, *SMALL)
    recipe = dataclasses.replace(PRESETS["demo"].recipe, flip=False, epochs=2000)
    upright = planned(tmp_path, *SMALL, recipe=recipe)
    assert upright.logits_to_ask == 81 * (both.images.train + both.images.validation)


def test_a_batch_of_any_size_can_be_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = request_of(["--preset", "demo", "--runs-dir", str(tmp_path)], None)
    configuration = request.configuration
    recipe = dataclasses.replace(configuration.recipe, batch_size=1024)
    large = dataclasses.replace(request, configuration=dataclasses.replace(configuration, recipe=recipe))
    print_plan(large, planned(tmp_path, "--preset", "demo"), CPU)
    assert "on cpu a student's step takes" in capsys.readouterr().out


def test_a_search_that_no_image_of_a_class_validates_is_said_to_be_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = request_of([*SMALL, "--runs-dir", str(tmp_path)], None)
    print_plan(request, planned(tmp_path, *SMALL), CPU)
    assert "classes have none of its" not in capsys.readouterr().out
    print_plan(request, planned(tmp_path, *SMALL, validation_images=3), CPU)
    assert "13 of 16 classes have none of its 3 validation images" in capsys.readouterr().out


def test_what_interrupts_a_step_that_is_timed_is_not_part_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.probe.PROBE_STEPS", 3)
    pauses = [0.0, 0.1, 0.01, 0.05]  # the first is not timed
    probe = Probe(Architecture("StudentCNN", 10), CPU, 1)
    assert 0.01 <= probe._seconds(lambda: time.sleep(pauses.pop(0))) < 0.05
    assert pauses == []


@pytest.fixture
def forward_passes() -> Iterator[set[tuple[str, int, int, torch.dtype]]]:
    """Of every forward pass of a whole network: whose, how many images it got, their size, the type it gave."""
    seen: set[tuple[str, int, int, torch.dtype]] = set()

    def remember(network: torch.nn.Module, given: tuple[torch.Tensor], said: torch.Tensor) -> None:
        for name, kinds in (("student", StudentCNN), ("teacher", (ResNet, torch.fx.GraphModule))):
            if isinstance(network, kinds):
                seen.add((name, len(given[0]), given[0].shape[-1], said.dtype))

    handle = torch.nn.modules.module.register_module_forward_hook(remember)
    yield seen
    handle.remove()


def test_a_plan_measures_the_precision_that_will_be_trained_in(
    tmp_path: Path, forward_passes: set[tuple[str, int, int, torch.dtype]]
) -> None:
    options = ("--preset", "demo", "--precision", "bfloat16", "--runs-dir", str(tmp_path))
    request = request_of(options, None)
    print_plan(request, dataclasses.replace(planned(tmp_path, *options[:4]), train_teacher=False), CPU)
    assert {dtype for *_, dtype in forward_passes} == {torch.bfloat16}
    assert {name for name, *_ in forward_passes} == {"student", "teacher"}


def test_a_plan_measures_the_teacher_on_images_of_full_size(
    tmp_path: Path, forward_passes: set[tuple[str, int, int, torch.dtype]]
) -> None:
    recipe = TEACHER_RECIPES["two-cores"]
    assert teacher_seconds(planned(tmp_path, "--preset", "demo").teacher, recipe, CPU, images=1) > 0
    assert {(images, size) for _, images, size, _ in forward_passes} == {(16, 32)}


@pytest.mark.parametrize("macos", [False, True])
@pytest.mark.parametrize(("workers", "trainings", "expected"), [(1000, 40, 2), (2, 1, 1), (1, 40, 1), (2, 0, 1)])
def test_no_more_workers_help_than_there_are_cores_and_trainings(
    workers: int, trainings: int, expected: int, macos: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if macos:  # which does not say which cores are whose
        monkeypatch.delattr("os.sched_getaffinity")
        monkeypatch.setattr("os.cpu_count", lambda: 2)
    else:
        monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1})
    images = Images(hash="", every=110, train=100, validation=10, classes=4, channels=3, size=32)
    student, teacher = images.architecture("StudentCNN"), images.architecture("resnet8")
    left = Plan(trainings, trainings, 0, 0, 0, 0, images, student, teacher)
    assert at_once(workers, left, CPU) == expected


def test_without_a_search_what_the_search_was_begun_with_is_no_matter(studied: Path) -> None:
    # The study has a small grid and no pruner; neither can be given beside --sampler none.
    request = request_of(["--preset", "demo", "--epochs", "2", "--train-images", "320", "--sampler", "none",
                          "--seed", "1", "--runs-dir", str(studied)], None)  # fmt: skip
    with read_study(request.url, request.name) as opened:
        assert opened.description is not None
        stored = opened.description.settings
        assert stored.alphas != request.configuration.alphas
        configuration = going_on(request, opened).configuration
    assert (configuration.alphas, configuration.pruner) == (stored.alphas, stored.pruner)


def test_of_a_search_that_goes_on_only_the_winner_that_is_not_known_is_counted(searched: Path) -> None:
    after_the_grid = ("--sampler", "tpe", "--n-trials", "3", "--seeds", "2")
    assert planned(searched, *SMALL, *after_the_grid).runs == 2, "the grid's best has its runs"
    assert planned(searched, *SMALL, *after_the_grid, "--finalists", "2").runs == 4, "with more seeds another may win"


def test_of_a_teacher_that_was_begun_the_rest_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class StoppedError(Exception):
        pass

    def stop_after_one(line: str) -> None:
        if "epoch 1/8" in line:
            raise StoppedError

    monkeypatch.setattr("study.teacher.say", stop_after_one)
    monkeypatch.setattr("study.training.SECONDS_BETWEEN_CHECKPOINTS", 0)
    with pytest.raises(StoppedError):
        teacher_command(["--preset", "demo", "--device", "cpu", "--runs-dir", str(tmp_path)])
    request = request_of([*SMALL, "--runs-dir", str(tmp_path)], None)
    left = planned(tmp_path, *SMALL)
    assert (left.train_teacher, left.teacher_epochs_done) == (True, 1)
    print_plan(request, left, CPU)
    assert "resnet8, none is stored: 8 epochs on 2,000 images, 1 of them are done" in capsys.readouterr().out


def test_a_grid_without_distillation_asks_no_teacher(tmp_path: Path) -> None:
    alone = planned(tmp_path, "--preset", "demo", "--alphas", "0")
    assert (alone.needs_teacher, alone.train_teacher, alone.logits_to_ask) == (False, False, 0)
    assert planned(tmp_path, "--preset", "demo", "--alphas", "0", "--sampler", "tpe").train_teacher


def test_a_given_teacher_has_the_logits_that_it_was_asked_for_before(studied: Path) -> None:
    (file,) = (studied / "cache" / "teachers").glob("*/*.pth")
    options = ("--preset", "demo", "--epochs", "2", "--train-images", "320", "--study", "another")
    found = planned(studied, *options)
    assert found.logits_to_ask < planned(studied, *options, "--epochs", "4").logits_to_ask
    assert planned(studied, *options, "--teacher", str(file)).logits_to_ask == found.logits_to_ask


def test_a_finished_study_needs_no_teacher_of_its_file(studied: Path, tmp_path: Path) -> None:
    (weights,) = (studied / "cache" / "teachers").glob("*/*.pth")
    configuration = request_of([*STUDIED, "--runs-dir", str(studied)], None).configuration
    file = tmp_path / "mine.toml"
    file.write_text(as_toml(Settings(configuration, weights=weights)))
    finished = planned(studied, "--config", str(file))
    assert finished.is_done
    assert finished.teacher_file is None
    assert planned(studied, *STUDIED, "--teacher", str(weights)).teacher_file == weights
    file.write_text(as_toml(Settings(configuration, weights=tmp_path / "moved.pth")))
    more = planned(studied, "--config", str(file), "--seeds", "2", "--arm", "0.5,4")
    assert more.teacher_file is None
    assert more.stored_teacher is not None, "what it held is stored"
    assert more.stored_teacher.path == weights
    with pytest.raises(ConfigurationError, match=r"moved\.pth: no such file"):
        planned(tmp_path, "--config", str(file))


def test_a_teacher_of_another_network_is_refused_with_where_a_study_has_its_own(tmp_path: Path) -> None:
    save_checkpoint(build("resnet14", 16), tmp_path / "file.pth", 0.5, 1)
    with pytest.raises(CheckpointError, match=r"not a resnet8: .*; network of \[teacher\] in a file, --config FILE"):
        planned(tmp_path, *SMALL, "--teacher", str(tmp_path / "file.pth"))


def test_of_a_network_whose_file_changed_the_plan_names_the_teacher_that_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    networks = tmp_path / "networks_of_a_plan.py"
    networks.write_text(
        "from models.resnet import build\n\n\ndef net(num_classes):\n    return build('resnet8', num_classes)\n"
    )
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\n[data]\ndataset = "synthetic"\n[teacher]\nnetwork = "networks_of_a_plan:net"\n')
    options = ("--config", str(file), "--epochs", "1")
    of_then = planned(tmp_path, *options)
    folder = tmp_path / "cache" / "teachers" / of_then.images.hash[:12]
    folder.mkdir(parents=True)
    card = {"network": of_then.teacher.name, "hash": "a", "data_hash": of_then.images.hash, "classes": 16}
    card |= {"test_accuracy": 0.5, "origin": "trained", "source": of_then.teacher.source}
    (folder / "networks_of_a_plan-net-a.json").write_text(json.dumps(card))
    assert not planned(tmp_path, *options).train_teacher
    networks.write_text(networks.read_text() + "# changed\n")
    del sys.modules["networks_of_a_plan"]
    now = planned(tmp_path, *options)
    assert now.train_teacher
    print_plan(request_of([*options, "--runs-dir", str(tmp_path)], None), now, CPU)
    weights = folder / "networks_of_a_plan-net-a.pth"
    assert f"has changed since {weights} was trained: --teacher {weights} takes it" in capsys.readouterr().out


def test_a_teacher_that_a_file_names_may_be_of_no_use_to_a_command(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    teacher = '[teacher]\nnetwork = "resnet8"\nweights = "gone.pth"\n'
    file.write_text(f'name = "mine"\n[data]\ndataset = "synthetic"\n{teacher}')
    assert planned(tmp_path, "--config", str(file), "--sampler", "none").teacher_file is None
    with pytest.raises(ConfigurationError, match=r"gone\.pth: no such file; give the path of a resnet8 checkpoint"):
        planned(tmp_path, "--config", str(file))
    with pytest.raises(ConfigurationError, match="the baseline alone is trained, which has no teacher; leave it out"):
        planned(tmp_path, "--preset", "demo", "--sampler", "none", "--teacher", str(file))


def test_a_plan_settles_what_its_workers_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    with open_study(sqlite_url(tmp_path / "study.db"), "demo") as opened:
        search, _ = opened.create()
        end(search, points((0, 1)))
        there = made_by(CPU, "float32")
        spaces: dict[str, BaseDistribution] = {
            "alpha": FloatDistribution(0, 1),
            "temperature": FloatDistribution(1, 16, log=True),
        }
        attributes = {"reason": f"{DIVERGED} nan in epoch 1", "made_by": {**there, "threads": 2}}
        search.add_trial(
            create_trial(
                params={"alpha": 0.5, "temperature": 1.0},
                distributions=spaces,
                state=TrialState.FAIL,
                user_attrs=attributes,
            )
        )
    options = ("--preset", "demo", "--alphas", "0,0.5", "--temperatures", "1", "--seeds", "1")
    assert planned(tmp_path, *options, "--workers", "2").trials == 0
    assert planned(tmp_path, *options).trials == 1, "with four threads it may end otherwise"


def test_a_grid_of_which_a_point_failed_is_one_after_which_there_may_be_a_pruner() -> None:
    study = optuna.create_study()
    end(study, points((0, 1), (0, 4), (0.5, 1)))
    wanted = request_of([*SMALL, "--sampler", "tpe"], None).configuration
    known = SimpleNamespace(settings=dataclasses.replace(wanted, pruner="none"))
    with pytest.raises(ConfigurationError, match="begun with pruner none, not median: give --pruner none to go on"):
        refuse_another(known, wanted, study)  # type: ignore[arg-type]
    end(study, points((0.5, 4)), TrialState.FAIL)
    refuse_another(known, wanted, study)  # type: ignore[arg-type]
