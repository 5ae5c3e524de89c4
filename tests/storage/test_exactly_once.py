"""Sixteen points, each exactly once, whatever dies and however many workers run."""

import dataclasses
import functools
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
import torch
from optuna.trial import Trial, TrialState
from torch import nn

from storage.claims import ClaimLostError, FileClaims, hold
from storage.configuration import Point
from storage.errors import one_line_errors
from storage.exactly_once import TrialClaims, point_of
from storage.study_storage import open_claims, sqlite_url
from storage.trials import TrialRecord, TrialView
from study.comparison import Comparison
from study.evaluation import Scores
from study.sampler import suggest
from study.search import Search
from study.settings import PRESETS
from study.step import CompilerError
from study.training import DivergedError, Epoch, Training
from study.worker import STARTS_WITHOUT_EPOCH
from tests.reports.made_up import MADE_BY
from tests.storage.postgres import Server
from tests.storage.test_claims import CLAIM_SESSIONS, wait_until
from tests.storage.toy import Toy, ToyHeldOut, ToyTraining, processes

POINTS = PRESETS["demo"].points


def assert_every_point_once(toy: Toy) -> None:
    trials = toy.study().get_trials()
    assert sorted(map(str, map(point_of, trials))) == sorted(map(str, POINTS))
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)


@functools.cache
def undisturbed(tpe_trials: int = 0) -> list[tuple[Any, ...]]:
    """The table of the same study run by one worker that nothing disturbs, in a storage of its own."""
    with tempfile.TemporaryDirectory() as folder:
        toy = Toy(f"sqlite:///{folder}/study.db", Path(folder), tpe_trials=tpe_trials)
        toy.run()
        return toy.table()


def test_one_worker(url: str, tmp_path: Path) -> None:
    toy = Toy(url, tmp_path)
    toy.run()
    assert_every_point_once(toy)
    trials = toy.study().get_trials()
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED and "repeats" not in trial.user_attrs]
    assert pruned, "or this says nothing of pruning"
    assert all(2 * len(trial.user_attrs["curve"]) >= toy.epochs for trial in pruned)
    assert not list((tmp_path / "checkpoints").rglob("*.pt"))

    # GridSampler is what chooses, and what a reader of the storage sees.
    assert [trial.system_attrs["grid_id"] for trial in trials] == list(range(16))
    assert all(set(trial.system_attrs["search_space"]) == {"alpha", "temperature"} for trial in trials)

    # alpha = 0 is trained once; the others take state and value and carry no curve.
    first, *others = [trial for trial in trials if trial.params["alpha"] == 0]
    assert "repeats" not in first.user_attrs
    assert len(first.user_attrs["curve"]) == len(first.intermediate_values) > 0
    assert len(others) == 3
    for trial in others:
        assert trial.user_attrs["repeats"] == first.number
        assert (trial.state, trial.value) == (first.state, first.value)
        assert "curve" not in trial.user_attrs
        assert trial.intermediate_values == {}

    # The same command again has nothing to do.
    toy.run()
    assert toy.table() == undisturbed()


def test_four_workers_share_the_points(url: str, tmp_path: Path) -> None:
    toy = Toy(url, tmp_path, tpe_trials=4)
    workers = [toy.start() for _ in range(4)]
    for worker in workers:
        worker.join(300)
    assert [worker.exitcode for worker in workers] == [0] * 4
    trials = toy.study().get_trials()
    assert len(trials) == 16 + 4, "--n-trials is counted over all workers"
    assert sorted(str(point_of(trial)) for trial in trials[:16]) == sorted(map(str, POINTS))
    assert max(Counter(toy.epochs_trained()).values()) == 1
    assert len({pair[:2] for pair in toy.epochs_trained() if pair[0] == 0}) == 1, "alpha = 0 is trained once"


def test_a_worker_that_comes_later_shares_the_trials_of_tpe(url: str, tmp_path: Path) -> None:
    dataclasses.replace(Toy(url, tmp_path), tpe_trials=0).run()
    toy = Toy(url, tmp_path, tpe_trials=3)
    search = toy.search()
    ours = search.trials.claim_next(lambda: search._ask_beyond(3), suggest)
    assert ours is not None
    other = toy.start()

    def others_have_ended() -> bool:
        states = [trial.state for trial in search.study.get_trials()[16:]]
        return len(states) == 3 and states.count(TrialState.RUNNING) == 1

    assert wait_until(others_have_ended, 180)
    other.join(0.5)
    assert other.is_alive(), "the comparison begins when the whole search has ended"
    assert toy.study().get_trials()[ours.number].state == TrialState.RUNNING
    finish(search, ours)
    other.join(60)
    assert other.exitcode == 0


def finish(search: Search, trial: Trial) -> None:
    search._run(trial)
    search.trials.give_back(trial)


def with_a_failed_point(toy: Toy) -> Toy:
    """The same study, whose grid has ended but for a point that failed under another commit."""
    dataclasses.replace(toy, tpe_trials=0, diverges=(0.5, 2.0), commit="before", epoch_seconds=0.002).run()
    return toy


def test_nobody_leaves_the_search_while_a_failed_point_is_tried_again(url: str, tmp_path: Path) -> None:
    toy = with_a_failed_point(Toy(url, tmp_path, tpe_trials=1, epoch_seconds=0.3, pruner="none"))
    other = dataclasses.replace(toy, diverges=(0.5, 2.0)).start()
    # It has tried the point once more, in vain, and is at TPE's trial.
    stored = toy.study()
    assert wait_until(lambda: len(stored.get_trials()) == 18, 180)
    search = dataclasses.replace(toy, commit="after").search()
    ours = search.trials.claim_next(search._ask_grid, suggest)
    assert ours is not None
    assert point_of(toy.study().get_trials()[ours.number]) == {"alpha": 0.5, "temperature": 2.0}
    assert wait_until(lambda: stored.get_trials()[17].state == TrialState.COMPLETE, 180)
    other.join(0.5)
    assert other.is_alive()
    finish(search, ours)
    other.join(60)
    assert other.exitcode == 0


def only_tpe(toy: Toy) -> None:
    toy.search().run_beyond(toy.tpe_trials)


def test_a_point_that_waits_to_be_tried_again_is_run_even_when_only_tpe_is_left(url: str, tmp_path: Path) -> None:
    toy = with_a_failed_point(Toy(url, tmp_path))
    for what in (die_after_enqueue, only_tpe):
        worker = processes.Process(target=what, args=(toy,))
        worker.start()
        worker.join(60)
    assert worker.exitcode == 0
    assert not toy.study().get_trials(states=(TrialState.WAITING, TrialState.RUNNING))


def test_a_trial_of_tpe_without_parameters_does_not_make_a_later_worker_skip_a_failed_point(
    url: str, tmp_path: Path
) -> None:
    toy = with_a_failed_point(Toy(url, tmp_path, tpe_trials=1))
    search = toy.search()
    with hold(search.worker.claims, "toy-ask"):
        ours = search.study.ask()
        assert search.worker.claims.try_claim(f"toy-{ours.number}")
    other = toy.start()
    other.join(1.5)
    assert other.is_alive()
    suggest(ours)
    finish(search, ours)
    other.join(60)
    assert other.exitcode == 0
    ended = toy.study().get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    assert {str(point_of(trial)) for trial in ended} >= set(map(str, POINTS))


def test_a_point_is_not_asked_for_again_while_its_trial_has_one_parameter_of_two(url: str, tmp_path: Path) -> None:
    toy = Toy(url, tmp_path, alphas=(0.5,), temperatures=(2.0,))
    search = toy.search()
    ours = search.study.ask()
    assert search.worker.claims.try_claim(f"toy-{ours.number}")
    ours.suggest_float("alpha", 0.0, 1.0)
    assert toy.search().trials.claim_next(search._ask_grid, suggest) is None
    suggest(ours)
    (trial,) = search.study.get_trials()
    assert trial.params == {"alpha": 0.5, "temperature": 2.0}


def die_after_ask(toy: Toy) -> None:
    search = toy.search()
    with hold(search.worker.claims, "toy-ask"):
        search.study.ask()
        os.kill(os.getpid(), signal.SIGKILL)


def die_between_suggestions(toy: Toy) -> None:
    search = toy.search()

    def suggest(trial: Trial) -> None:
        trial.suggest_float("alpha", 0.0, 1.0)
        os.kill(os.getpid(), signal.SIGKILL)

    search.trials.claim_next(search.study.ask, suggest)


def die_after_enqueue(toy: Toy) -> None:
    search = toy.search()
    failed = next(trial for trial in search.study.get_trials() if trial.state == TrialState.FAIL)
    search.study.enqueue_trial(failed.params)
    os.kill(os.getpid(), signal.SIGKILL)


RUN: Point = {"alpha": 0.5, "temperature": 4.0, "seed": 1}


def be_at(toy: Toy, run: Point) -> None:
    """Begin a run of a comparison and stay at it."""
    claims = open_claims(toy.url)
    trials = TrialClaims(toy.study(claims), claims)
    assert trials.claim_next(lambda: trials.ask_for([run]), suggest) is not None
    time.sleep(600)


def compare(toy: Toy, runs: list[Point]) -> None:
    """Work on runs of a comparison until they have ended."""
    search = toy.search()
    made: Any = None  # no run is trained here
    Comparison(search.worker, search.study, made, search.validation).run(runs)


@pytest.mark.parametrize(("runs", "leaves"), [([], True), ([RUN], False)])
def test_a_worker_waits_for_runs_of_others_only_where_they_are_its_own(
    runs: list[Point], leaves: bool, url: str, tmp_path: Path
) -> None:
    toy = Toy(url, tmp_path)
    other, worker = (processes.Process(target=do, args=(toy, what)) for do, what in ((be_at, RUN), (compare, runs)))
    other.start()
    try:
        assert wait_until(lambda: any(trial.state == TrialState.RUNNING for trial in toy.study().get_trials()))
        worker.start()
        worker.join(20 if leaves else 3)
        assert worker.exitcode == (0 if leaves else None)
    finally:
        for process in (other, worker):
            if process.is_alive():
                process.kill()
                process.join()


def be_without_point(toy: Toy) -> None:
    """Own a run of a comparison to which the storage did not take the parameters yet."""
    claims = open_claims(toy.url)
    study = toy.study(claims)
    with hold(claims, "toy-ask"):
        study.enqueue_trial(RUN)
        assert claims.try_claim(f"toy-{study.ask().number}")
    time.sleep(600)


def test_nobody_leaves_while_a_trial_that_lacks_its_point_keeps_everyone_from_asking(url: str, tmp_path: Path) -> None:
    toy = Toy(url, tmp_path)
    plain = {**RUN, "alpha": 0.0, "temperature": 1.0}
    other = processes.Process(target=be_without_point, args=(toy,))
    worker = processes.Process(target=compare, args=(toy, [plain]))
    other.start()
    try:
        assert wait_until(lambda: any(trial.state == TrialState.RUNNING for trial in toy.study().get_trials()))
        worker.start()
        worker.join(4)
        assert worker.exitcode is None
    finally:
        for process in (other, worker):
            if process.is_alive():
                process.kill()
                process.join()


def test_a_distilled_run_that_was_left_waits_for_one_who_has_a_teacher(url: str, tmp_path: Path) -> None:
    search = Toy(url, tmp_path).search()
    search.study.enqueue_trial(RUN)
    left = search.study.ask()
    for parameter in ("alpha", "temperature"):
        left.suggest_float(parameter, 0.0, 16.0)
    made: Any = None  # no run is trained here
    Comparison(search.worker, search.study, made, search.validation, has_teacher=False).run([])
    (trial,) = search.study.get_trials()
    assert trial.state == TrialState.RUNNING
    assert "starts" not in trial.user_attrs, "nobody was at it"


@pytest.mark.parametrize("asked", [False, True])
def test_a_distilled_run_that_waits_is_left_by_one_who_has_no_teacher(asked: bool, url: str, tmp_path: Path) -> None:
    search = Toy(url, tmp_path).search()
    search.study.enqueue_trial(RUN)
    if asked:
        search.study.ask()  # by a process that was killed before it gave it parameters
    plain = {**RUN, "alpha": 0.0, "temperature": 1.0}

    def make_training(point: Point, name: str) -> Training:
        assert point == plain
        raise DivergedError("the loss became nan in epoch 1")

    Comparison(search.worker, search.study, make_training, search.validation, has_teacher=False).run([plain])
    distilled, baseline = search.study.get_trials()
    assert (point_of(distilled), distilled.state) == (RUN, TrialState.RUNNING)
    assert (point_of(baseline), baseline.state) == (plain, TrialState.FAIL)
    again = TrialClaims(search.study, search.worker.claims).claim_next(lambda: None, lambda trial: None)
    assert again is not None
    assert again.number == distilled.number, "one who has a teacher goes on with it"


def test_one_who_has_no_teacher_asks_for_nothing_distilled_and_waits_for_none(url: str, tmp_path: Path) -> None:
    search = Toy(url, tmp_path).search()
    plain = {**RUN, "alpha": 0.0, "temperature": 1.0}

    def make_training(point: Point, name: str) -> Training:
        raise DivergedError("the loss became nan in epoch 1")

    Comparison(search.worker, search.study, make_training, search.validation, has_teacher=False).run([plain, RUN])
    (trial,) = search.study.get_trials()
    assert point_of(trial) == plain


@pytest.mark.parametrize("has_point", [True, False])
def test_a_distilled_trial_that_was_left_waits_for_one_who_has_a_teacher(
    has_point: bool, url: str, tmp_path: Path
) -> None:
    toy = Toy(url, tmp_path, alphas=(0.0,), temperatures=(1.0,))
    toy.run()
    search = toy.search()
    left = search.study.ask()
    if has_point:
        search._suggest(left)
    alone = dataclasses.replace(toy.search(), has_teacher=False)
    for work in (alone.run_grid, lambda: alone.run_beyond(0), alone.run_finalists):
        work()
    trial = search.study.get_trials()[left.number]
    assert (trial.state, "starts" in trial.user_attrs) == (TrialState.RUNNING, False)
    toy.search().run_beyond(0)
    assert search.study.get_trials()[left.number].state.is_finished()


def test_a_trial_without_all_parameters_is_continued_as_the_same(url: str, tmp_path: Path) -> None:
    toy = Toy(url, tmp_path)
    for death in (die_after_ask, die_after_ask, die_between_suggestions):
        worker = processes.Process(target=death, args=(toy,))
        worker.start()
        worker.join(120)
        assert worker.exitcode == -signal.SIGKILL
    left = toy.study().get_trials()
    assert {trial.state for trial in left} == {TrialState.RUNNING}
    toy.run()
    assert_every_point_once(toy)
    assert toy.table() == undisturbed(toy.tpe_trials)


def test_a_killed_trial_goes_on_from_its_last_epoch_to_the_same_numbers(url: str, tmp_path: Path) -> None:
    toy = Toy(url, tmp_path, epoch_seconds=0.05)
    worker = toy.start()
    assert wait_until(functools.partial(_has_trained, toy, 6), 180)
    worker.kill()
    worker.join()
    left = [trial for trial in toy.study().get_trials() if trial.state == TrialState.RUNNING]
    assert len(left) == 1
    toy.run()
    continued = toy.study().get_trials()[left[0].number]
    assert continued._trial_id == left[0]._trial_id
    assert_every_point_once(toy)
    assert sum(Counter(toy.epochs_trained()).values()) - len(set(toy.epochs_trained())) <= 1
    assert toy.table() == undisturbed(toy.tpe_trials)


def test_a_checkpoint_older_than_the_last_report_gives_the_same_curve(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Checkpoints are written every few seconds, epochs reported at once: some are trained again.
    toy = Toy(url, tmp_path)
    saves = []

    def save_twice_then_die(training: Training) -> None:
        saves.append(training.name)
        if len(training.curve) > 2:
            raise KeyboardInterrupt
        real_save(training)

    real_save = Training._save
    monkeypatch.setattr(ToyTraining, "_save", save_twice_then_die)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            toy.run()
    monkeypatch.undo()
    toy.run()
    assert toy.table() == undisturbed(toy.tpe_trials)


def test_a_point_that_diverges_fails_at_once_and_is_tried_again_by_another_commit(url: str, tmp_path: Path) -> None:
    toy = Toy(url, tmp_path, alphas=(0.0, 0.5), temperatures=(2.0, 4.0), diverges=(0.5, 2.0))
    for start in (1, 2):
        toy = dataclasses.replace(toy, commit=f"commit {start}")
        for _again in range(2):
            toy.run()
        trials = toy.study().get_trials()
        assert len(trials) == 3 + start
        failed = [trial for trial in trials if trial.state == TrialState.FAIL]
        assert [point_of(trial) for trial in failed] == [{"alpha": 0.5, "temperature": 2.0}] * start
        assert all("nan" in trial.user_attrs["reason"] for trial in failed)
    worker = processes.Process(target=die_after_enqueue, args=(toy,))
    worker.start()
    worker.join(120)
    assert toy.study().get_trials()[-1].state == TrialState.WAITING
    mended = dataclasses.replace(toy, diverges=None)
    mended.run()
    trials = mended.study().get_trials()
    assert len(trials) == 6
    assert trials[-1].state in (TrialState.COMPLETE, TrialState.PRUNED)
    assert point_of(trials[-1]) == {"alpha": 0.5, "temperature": 2.0}
    assert TrialView(trials[-1], 4).sampler == "grid"


def test_a_run_whose_last_step_made_it_say_no_numbers_fails(tmp_path: Path) -> None:
    class Overflowing(ToyHeldOut):
        def score(self, network: nn.Module) -> Scores:
            return dataclasses.replace(super().score(network), loss=float("nan"))

    toy = Toy(sqlite_url(tmp_path / "study.db"), tmp_path)
    search = toy.search()
    held_out = Overflowing(search.validation.bank, torch.arange(1), "float32", None)
    Comparison(search.worker, search.study, toy.training, held_out).run([{**RUN, "alpha": 0.0, "temperature": 1.0}])
    (run,) = search.study.get_trials()
    assert (run.state, run.user_attrs["reason"]) == (TrialState.FAIL, "the loss became nan on test")
    assert not list(tmp_path.rglob("*.pt"))


@pytest.mark.parametrize(("times", "fails"), [(2, False), (3, True)])
def test_out_of_memory_is_tried_three_times(url: str, tmp_path: Path, times: int, fails: bool) -> None:
    toy = Toy(url, tmp_path, alphas=(0.25, 0.5), temperatures=(4.0,), exhausts=(0.25, 4.0), times_exhausted=times)
    toy.run()
    trial = next(trial for trial in toy.study().get_trials() if trial.params["alpha"] == 0.25)
    assert trial.user_attrs["out_of_memory"] == times
    assert (trial.state == TrialState.FAIL) == fails
    assert ("out of memory 3 times" in trial.user_attrs.get("reason", "")) == fails
    assert len(toy.study().get_trials()) == 2


def test_a_trial_beyond_the_grid_that_failed_is_not_tried_again(tmp_path: Path) -> None:
    toy = Toy(sqlite_url(tmp_path / "study.db"), tmp_path, alphas=(0.5,), temperatures=(2.0,), tpe_trials=1)
    dataclasses.replace(toy, tpe_trials=0).run()
    diverging = dataclasses.replace(toy, diverges_beyond=True, commit="before")
    diverging.run()
    toy.run()
    assert [trial.state.name for trial in toy.study().get_trials()] == ["COMPLETE", "FAIL"]


def test_a_point_of_a_grid_without_a_pruner_is_not_pruned_where_it_is_tried_again(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "study.db")
    # By median of those that ended before, (0.75, 8) would be pruned.
    toy = Toy(url, tmp_path, pruner="none", diverges=(0.75, 8.0), commit="before", epochs=8)
    toy.run()
    dataclasses.replace(toy, pruner="median", diverges=None, commit="after").run()
    trials = toy.study().get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    again = next(trial for trial in trials if point_of(trial) == {"alpha": 0.75, "temperature": 8.0})
    assert again.number == 16
    assert again.user_attrs["configuration"]["pruner"] == "none"
    assert all(trial.state == TrialState.COMPLETE for trial in trials)


def test_tpe_goes_on_from_the_grid_and_never_repeats_what_was_tried(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposals = []
    sample = optuna.samplers.TPESampler.sample_relative

    def sample_what_was_tried_first(*arguments: object, **named: object) -> dict[str, object]:
        proposed = sample(*arguments, **named)  # type: ignore[arg-type]
        if proposed:
            proposals.append(proposed)
            if len(proposals) == 1:
                return {"alpha": 0.0, "temperature": 3.0}
            if len(proposals) == 2:
                return {"alpha": 0.75, "temperature": 8.0}
        return proposed

    monkeypatch.setattr(optuna.samplers.TPESampler, "sample_relative", sample_what_was_tried_first)
    toy = Toy(url, tmp_path, tpe_trials=3)
    toy.run()
    trials = toy.study().get_trials()
    assert len(proposals) == 3 + 2, "two were thrown away, and drawn again from another seed"
    assert [trial.params for trial in trials[16:]] == proposals[2:]
    assert len({str(trial.params) for trial in trials}) == 19
    assert all(trial.user_attrs["sampler"] == "tpe" for trial in trials[16:])


def test_tpe_proposals_follow_from_seed_and_number(url: str, tmp_path: Path) -> None:
    toy = Toy(url, tmp_path, tpe_trials=4)
    for trials in (1, 3, 4):
        search = toy.search()
        search.run_grid()
        search.run_beyond(trials)
        worker = processes.Process(target=die_after_ask, args=(toy,))
        if trials in (1, 3):  # killed between ask and suggestion
            worker.start()
            worker.join(120)
    assert toy.table() == undisturbed(toy.tpe_trials)


def test_every_write_asks_for_the_claim(tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize")
    trials = TrialClaims(study, FileClaims(tmp_path))
    trial = trials.claim_next(study.ask, lambda trial: None, lambda trial: True)
    assert trial is not None
    record = TrialRecord(trial, trials)
    record.reached(0.1, 1)
    trials.give_back(trial)
    before = study.trials
    writes: list[Callable[[], object]] = [
        lambda: record.began({}, MADE_BY),
        lambda: record.reached(0.2, 2),
        lambda: record.trained([], 1.0),
        lambda: record.repeated(TrialView(before[0])),
        lambda: record.scored("validation", {}),
        lambda: record.started(1, 0),
        record.ran_out_of_memory,
        lambda: record.failed("it did"),
        lambda: trials.tell(trial, 0.2),
    ]
    for write in writes:
        with pytest.raises(ClaimLostError):
            write()
    assert study.trials == before


def test_nothing_is_written_once_the_claim_is_lost(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Toy(server.new_database(), tmp_path)
    search = toy.search()
    train_epoch, claim_next, written = ToyTraining._train_epoch, search.trials.claim_next, []

    def look() -> None:
        files = {path.name: path.read_bytes() for path in (tmp_path / "checkpoints").rglob("*.pt")}
        written.append((files, toy.table()))

    def lose_the_claim(training: ToyTraining, epoch: int) -> Epoch:
        if len(toy.epochs_trained()) == 9:
            look()
            server.execute(CLAIM_SESSIONS)
        return train_epoch(training, epoch)

    def claim_and_look(*arguments: Any) -> Trial | None:
        if len(written) == 1:
            look()
        return claim_next(*arguments)

    monkeypatch.setattr(ToyTraining, "_train_epoch", lose_the_claim)
    monkeypatch.setattr(search.trials, "claim_next", claim_and_look)
    (tmp_path / "epochs").touch()
    search.run_grid()
    before, after = written
    assert len(before[0]) == 1
    assert before[1][-1][1] == "RUNNING"
    assert before == after
    assert_every_point_once(toy)
    assert toy.table() == undisturbed(toy.tpe_trials)


def test_two_workers_survive_restarts_of_the_server(server: Server, tmp_path: Path) -> None:
    toy = Toy(server.new_database(), tmp_path, epoch_seconds=0.03)
    workers = [toy.start() for _ in range(2)]
    for epochs, outage in ((5, 0.0), (15, 1.0)):
        assert wait_until(functools.partial(_has_trained, toy, epochs), 180)
        server.stop()
        time.sleep(outage)
        server.start()
    for worker in workers:
        worker.join(300)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert_every_point_once(toy)
    again = Counter(toy.epochs_trained())
    assert max(again.values()) <= 3
    assert sum(again.values()) - len(again) <= 4, "at most one epoch an interruption of each worker"


def _has_trained(toy: Toy, epochs: int) -> bool:
    return (toy.folder / "epochs").exists() and len(toy.epochs_trained()) >= epochs


def test_a_failed_point_is_asked_for_again_only_where_every_failure_of_it_may_be(url: str, tmp_path: Path) -> None:
    study = with_a_failed_point(Toy(url, tmp_path)).study()
    with open_claims(url) as claims:
        trials = TrialClaims(study, claims)
        assert trials.ask_for(POINTS, retry=lambda failed: "nan" not in failed.user_attrs["reason"]) is None
        again = trials.ask_for(POINTS, retry=lambda failed: "nan" in failed.user_attrs["reason"])
        assert again is not None
        again.set_user_attr("reason", "another")
        study.tell(again, state=TrialState.FAIL)
        assert trials.ask_for(POINTS) is None, "it failed since"
        later = TrialClaims(study, claims)
        assert later.ask_for(POINTS, retry=lambda failed: failed.user_attrs["reason"] == "another") is None
        assert later.ask_for(POINTS) is not None


def die_in_one_point(toy: Toy) -> None:
    """A worker that one point kills in its third epoch, as a lack of memory that the kernel notices does."""
    train_epoch = ToyTraining._train_epoch

    def train_or_die(training: ToyTraining, epoch: int) -> Epoch:
        if (training.alpha, training.temperature, epoch) == (0.5, 2.0, 2):
            os.kill(os.getpid(), signal.SIGKILL)
        return train_epoch(training, epoch)

    ToyTraining._train_epoch = train_or_die  # type: ignore[assignment]
    toy.run()


def test_a_trial_that_kills_every_process_which_goes_on_with_it_fails(tmp_path: Path) -> None:
    toy = Toy(f"sqlite:///{tmp_path / 'study.db'}", tmp_path, alphas=(0.25, 0.5), temperatures=(2.0,), pruner="none")
    exits: list[int | None] = []
    while 0 not in exits and len(exits) < 20:
        worker = processes.Process(target=die_in_one_point, args=(toy,))
        worker.start()
        worker.join(60)
        exits.append(worker.exitcode)
    # Its first start trained two epochs; the other trial may have run before it.
    assert exits == [-signal.SIGKILL] * (STARTS_WITHOUT_EPOCH + 1) + [0]
    good, bad = sorted(toy.study().get_trials(), key=lambda trial: trial.params["alpha"])
    assert (good.state, bad.state) == (TrialState.COMPLETE, TrialState.FAIL)
    assert bad.user_attrs["reason"] == "5 processes in turn died in it, none of which trained an epoch more"


@pytest.mark.parametrize("stopped_by", [KeyboardInterrupt, CompilerError])
def test_who_stops_a_process_often_and_what_it_lacks_make_no_trial_fail(
    stopped_by: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Toy(f"sqlite:///{tmp_path / 'study.db'}", tmp_path, alphas=(0.5,), temperatures=(2.0,))

    def stop(training: ToyTraining, epoch: int) -> Epoch:
        raise stopped_by

    with monkeypatch.context() as patched:
        patched.setattr(ToyTraining, "_train_epoch", stop)
        for _ in range(STARTS_WITHOUT_EPOCH + 2):
            with pytest.raises(stopped_by):
                toy.run()
    toy.run()
    assert [trial.state for trial in toy.study().get_trials()] == [TrialState.COMPLETE]


def stop_in(toy: Toy, number: int) -> None:
    """Run it until that epoch, counted from 0, begins."""
    train_epoch = ToyTraining._train_epoch

    def train_or_stop(training: ToyTraining, epoch: int) -> Epoch:
        if epoch == number:
            raise KeyboardInterrupt
        return train_epoch(training, epoch)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ToyTraining, "_train_epoch", train_or_stop)
        with pytest.raises(KeyboardInterrupt):
            toy.run()


def test_a_stop_leaves_it_noted_that_epochs_were_trained(tmp_path: Path) -> None:
    toy = Toy(f"sqlite:///{tmp_path / 'study.db'}", tmp_path, alphas=(0.5,), temperatures=(2.0,))
    stop_in(toy, 0)
    study = toy.study()
    (trial,) = study.get_trials()
    study._storage.set_trial_user_attr(trial._trial_id, "starts", {"without_epoch": 4, "epoch": 0})  # killed 4 times
    stop_in(toy, 2)
    assert toy.study().get_trials()[0].user_attrs["starts"] == {"without_epoch": 0, "epoch": 1}


@pytest.mark.parametrize("elsewhere", [True, False])
def test_epochs_that_are_trained_again_are_progress_on_another_host_alone(elsewhere: bool, tmp_path: Path) -> None:
    toy = Toy(f"sqlite:///{tmp_path / 'study.db'}", tmp_path, alphas=(0.5,), temperatures=(2.0,))
    stop_in(toy, 3)
    study = toy.study()
    (trial,) = study.get_trials()
    killed = {"without_epoch": 4, "epoch": 3}
    study._storage.set_trial_user_attr(trial._trial_id, "starts", killed)
    if elsewhere:
        made_by = {**trial.user_attrs["made_by"], "host": "another"}
        study._storage.set_trial_user_attr(trial._trial_id, "made_by", made_by)
    shutil.rmtree(tmp_path / "checkpoints")
    stop_in(toy, 0)  # noted by a start that trained nothing
    stop_in(toy, 2)
    after = toy.study().get_trials()[0].user_attrs["starts"]
    # One who loses its checkpoint each time would else go on for ever.
    assert after == ({"without_epoch": 0, "epoch": 1} if elsewhere else killed)


def test_a_stop_just_after_a_repeat_was_told_stops_the_worker(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Toy(url, tmp_path, alphas=(0.0,), temperatures=(1.0, 4.0))

    def stopped_while_it_says_so(line: str) -> None:
        if "repeats" in line:
            raise KeyboardInterrupt

    monkeypatch.setattr("study.search.say", stopped_while_it_says_so)
    with pytest.raises(KeyboardInterrupt):
        toy.run()
    assert [trial.state for trial in toy.study().get_trials()] == [TrialState.COMPLETE] * 2


def test_a_trial_that_another_has_ended_counts_as_lost(url: str, tmp_path: Path) -> None:
    toy = Toy(url, tmp_path)
    search = toy.search()
    ours = search.trials.claim_next(search._ask_grid, suggest)
    assert ours is not None
    toy.study().tell(ours.number, 1.0)
    with pytest.raises(ClaimLostError):
        search.trials.tell(ours, 0.0)
    assert toy.study().get_trials()[0].value == 1.0


def test_a_full_disk_ends_a_worker_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy = Toy(f"sqlite:///{tmp_path / 'study.db'}", tmp_path)
    search = toy.search()
    engine = search.study._storage._backend.engine  # type: ignore[attr-defined]
    # The database may not grow: SQLite then says what it says on a full disk.
    sqlalchemy.event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count = 1"))
    engine.dispose()
    with pytest.raises(SystemExit) as end, one_line_errors("the command"):
        search.run_grid()
    assert end.value.code == 1
    said = capsys.readouterr()
    assert said.err.strip() == (
        "error: the disk of the storage is full (database or disk is full); make room and start again"
    )
    assert "trying again" not in said.out
