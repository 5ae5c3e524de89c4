"""What a trial of the search may end as: when its pruner is asked, whom it repeats, and who has to wait."""

import contextlib
import dataclasses
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, Trial, TrialState

from storage.arms import finalists, values_by_seed
from storage.exactly_once import TrialClaims, point_of
from storage.study_storage import open_claims
from storage.trials import TrialView
from study.sampler import suggest
from study.settings import PRESETS
from study.worker import OUT_OF_MEMORY_TRIES
from tests.storage.toy import Toy, opened


class PruneAt(BasePruner):
    """Prunes what has reported a certain epoch last, if anything; may be interrupted in its first decision."""

    def __init__(self, epoch: int, is_interrupted: bool = False) -> None:
        self.epoch, self.is_interrupted = epoch, is_interrupted

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        if trial.last_step != self.epoch:
            return False
        if self.is_interrupted:
            raise KeyboardInterrupt
        return True


def one_point(tmp_path: Path) -> Toy:
    return Toy(f"sqlite:///{tmp_path / 'study.db'}", tmp_path, alphas=(0.5,), temperatures=(2.0,))


def test_what_was_trained_to_its_end_is_not_pruned(tmp_path: Path) -> None:
    toy = one_point(tmp_path)
    search = toy.search()
    search.study.pruner = PruneAt(toy.epochs)
    search.run_grid()
    assert [trial.state for trial in toy.study().get_trials()] == [TrialState.COMPLETE]


def test_who_dies_between_report_and_decision_leaves_the_decision_to_the_next(tmp_path: Path) -> None:
    toy = one_point(tmp_path)
    for is_interrupted in (True, False):
        search = toy.search()
        search.study.pruner = PruneAt(3, is_interrupted)
        if is_interrupted:
            with pytest.raises(KeyboardInterrupt):
                search.run_grid()
            opened.close()
    search.run_grid()
    (trial,) = toy.study().get_trials()
    assert trial.state == TrialState.PRUNED
    assert trial.last_step == len(TrialView(trial).curve) == 3


def test_more_seeds_of_a_finalist_are_not_pruned(tmp_path: Path) -> None:
    toy = dataclasses.replace(one_point(tmp_path), finalists=1)
    search = toy.search()
    search.run_grid()
    search.study.pruner = PruneAt(1)
    search.run_finalists()
    assert [trial.state for trial in toy.study().get_trials()] == [TrialState.COMPLETE] * 3


def without_teacher(toy: Toy) -> list[FrozenTrial]:
    return [trial for trial in toy.study().get_trials() if trial.params["alpha"] == 0]


@pytest.fixture
def toys(tmp_path: Path) -> tuple[Toy, Toy, tuple[float, float]]:
    """A grid with alpha = 0 that ended well, the same one not begun, and the first point without a teacher."""
    folders = [tmp_path / name for name in ("well", "failing")]
    for folder in folders:
        folder.mkdir()
    toy = Toy("", folders[0], alphas=(0.0, 0.5), temperatures=(1.0, 2.0, 4.0), pruner="none")
    well, failing = (dataclasses.replace(toy, url=f"sqlite:///{each / 'study.db'}", folder=each) for each in folders)
    well.run()
    first, *copies = without_teacher(well)
    assert [TrialView(copy).repeats for copy in copies] == [first.number] * 2
    return well, failing, (0.0, first.params["temperature"])


def test_what_failed_and_may_end_otherwise_is_not_repeated_but_trained(
    toys: tuple[Toy, Toy, tuple[float, float]],
) -> None:
    _, failing, first = toys
    dataclasses.replace(failing, exhausts=first, times_exhausted=OUT_OF_MEMORY_TRIES).run()
    failed, trained, copy = without_teacher(failing)
    assert [trial.state for trial in (failed, trained, copy)] == [TrialState.FAIL, *[TrialState.COMPLETE] * 2]
    assert (TrialView(trained).repeats, TrialView(copy).repeats) == (None, trained.number)
    assert trained.value == copy.value


def test_what_diverged_without_a_teacher_diverged_at_every_temperature(
    toys: tuple[Toy, Toy, tuple[float, float]],
) -> None:
    well, failing, first = toys
    for _ in range(2):  # started again, it is tried no more
        dataclasses.replace(failing, diverges=first).run()
        diverged, *copies = map(TrialView, without_teacher(failing))
        assert [trial.state for trial in (diverged, *copies)] == [TrialState.FAIL] * 3
        assert [trial.repeats for trial in (diverged, *copies)] == [None, *[diverged.number] * 2]
        assert {trial.reason for trial in copies} == {diverged.reason}
        assert not any(trial.curve for trial in copies)
    dataclasses.replace(failing, commit="another").run()
    trained, *others = map(TrialView, without_teacher(failing)[3:])
    assert [trial.state for trial in (trained, *others)] == [TrialState.COMPLETE] * 3
    assert [trial.repeats for trial in (trained, *others)] == [None, *[trained.number] * 2]
    assert trained.value == without_teacher(well)[0].value


def test_a_copy_whose_worker_died_before_it_was_told_stays_one(toys: tuple[Toy, Toy, tuple[float, float]]) -> None:
    _, failing, first = toys
    tell = TrialClaims.tell

    def die_before_a_copy(trials: TrialClaims, trial: Trial, *result: Any, **state: Any) -> None:
        if "repeats" in trial.user_attrs:
            raise KeyboardInterrupt
        tell(trials, trial, *result, **state)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TrialClaims, "tell", die_before_a_copy)
        with pytest.raises(KeyboardInterrupt):
            dataclasses.replace(failing, diverges=first).run()
    opened.close()
    dataclasses.replace(failing, commit="another").run()  # by which it may end otherwise
    diverged, copy, *_ = map(TrialView, without_teacher(failing))
    assert (copy.repeats, copy.state) == (diverged.number, TrialState.FAIL)
    trained = [trial for trial in map(TrialView, without_teacher(failing)) if trial.value is not None]
    assert [trial.repeats for trial in trained].count(None) == 1


def test_copies_of_alpha_0_are_one_finalist_and_one_training(tmp_path: Path) -> None:
    toy = Toy(f"sqlite:///{tmp_path / 'study.db'}", tmp_path, alphas=(0.0, 0.5), temperatures=(1.0, 4.0), pruner="none")
    toy.run()
    trials = [TrialView(trial, 4) for trial in toy.study().get_trials()]
    chosen = finalists(trials, dataclasses.replace(PRESETS["demo"], finalists=4))
    assert Counter(chosen) == Counter({(0.0, 1.0): 1, (0.5, 1.0): 1, (0.5, 4.0): 1})
    assert len(values_by_seed((0.0, 1.0), trials)) == 1


def test_a_trial_that_cannot_be_worked_on_now_is_left_to_whoever_can(url: str, tmp_path: Path) -> None:
    study = Toy(url, tmp_path).study()
    with open_claims(url) as own, open_claims(url) as other:
        trials = TrialClaims(study, own)
        asks: list[Callable[[], Trial | None]] = [study.ask, lambda: None]
        assert trials.claim_next(lambda: asks.pop(0)(), suggest, ready=lambda trial: False) is None
        (asked,) = study.get_trials()
        assert point_of(asked).keys() == {"alpha", "temperature"}
        assert other.try_claim("toy-0"), "it was asked for"
        study.ask()  # whose owner died before it had parameters
        assert trials.claim_next(lambda: None, suggest, ready=lambda trial: False) is None
        assert other.try_claim("toy-1"), "it was left"


def test_who_reads_a_study_does_not_hold_up_who_writes_it(tmp_path: Path) -> None:
    toy = one_point(tmp_path)
    study = toy.study()
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM trials").fetchone() == (0,)
        study.ask()
        assert reader.execute("SELECT count(*) FROM trials").fetchone() == (0,)
    assert len(study.trials) == 1


def test_a_trial_that_its_owner_tells_while_others_look_for_work_is_no_work(url: str, tmp_path: Path) -> None:
    study = Toy(url, tmp_path).study()
    suggest(study.ask())

    def tell_then_claim(name: str) -> bool:
        if name == "toy-0":
            study.tell(0, 0.5)
        return try_claim(name)

    with open_claims(url) as claims:
        trials, try_claim = TrialClaims(study, claims), claims.try_claim
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(claims, "try_claim", tell_then_claim)
            assert trials.claim_next(lambda: None, suggest) is None
        with open_claims(url) as other:
            assert other.try_claim("toy-0")
