"""The best points get more seeds, each once, before the winner is named by its mean."""

import dataclasses
import itertools
import statistics
import tempfile
import time
from pathlib import Path

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from storage.arms import arms_to_train, finalist_points, finalists, values_by_seed, winner
from storage.configuration import ConfigurationError
from storage.pruner import make_pruner
from storage.trials import TrialView, views
from study.options import request_of
from study.settings import PRESETS
from tests.storage.toy import Toy


def test_finalists_get_more_seeds_once_and_name_the_winner(url: str, tmp_path: Path) -> None:
    toy = Toy(url, tmp_path, alphas=(0.0, 0.5, 0.75), temperatures=(4.0,), epochs=2, pruner="none", finalists=2)
    dataclasses.replace(toy, finalists=0).run()
    searched = toy.table()
    worker = toy.start()
    while worker.is_alive() and len(toy.epochs_trained()) < 3 * toy.epochs + 3:
        time.sleep(0.001)
    worker.kill()
    worker.join()
    toy.run()
    toy.run()
    trials = [TrialView(trial, 3) for trial in toy.study().get_trials()]
    more = trials[3:]
    assert toy.table()[:3] == searched
    configuration = toy.search().worker.configuration
    chosen = finalists(trials[:3], configuration)
    assert chosen == finalists(trials, configuration), "their own seeds do not make finalists"
    assert [trial.point for trial in more] == finalist_points(trials, configuration)
    assert sorted((trial.point["seed"], trial.pair) for trial in more) == sorted(
        itertools.product((10002, 10003), chosen)
    )
    assert all(trial.state == TrialState.COMPLETE and trial.sampler == "finalist" for trial in more)
    assert all(len(trial.curve) == toy.epochs for trial in more)
    assert all(trial.trial.user_attrs["configuration"]["seed"] == trial.point["seed"] for trial in more)
    with tempfile.TemporaryDirectory() as folder:
        other = dataclasses.replace(toy, url=f"sqlite:///{folder}/study.db", folder=Path(folder))
        other.run()
        assert other.table() == toy.table()
    means = {pair: statistics.fmean(values_by_seed(pair, trials).values()) for pair in chosen}
    best = winner(trials, "grid")
    assert best is not None and best.pair == max(means, key=lambda pair: means[pair])  # noqa: PT018


def test_a_winner_that_may_still_change_is_not_trained() -> None:
    configuration = dataclasses.replace(PRESETS["demo"], alphas=(0.0, 0.5), temperatures=(4.0,))
    space: dict[str, BaseDistribution] = {"alpha": FloatDistribution(0, 1), "temperature": FloatDistribution(1, 16)}
    study = optuna.create_study(direction="maximize")

    def end(alpha: float, value: float, sampler: str = "grid") -> None:
        point = {"alpha": alpha, "temperature": 4.0}
        study.add_trial(create_trial(params=point, distributions=space, value=value, user_attrs={"sampler": sampler}))

    def arms(beyond: int, finalists: int = 0) -> list[str]:
        return list(
            arms_to_train(study, dataclasses.replace(configuration, finalists=finalists), beyond, [(0.25, 4.0)])
        )

    end(0.0, 0.3)
    assert arms(0) == ["baseline", "0.25,4"], "the grid has not ended"
    end(0.5, 0.4)
    assert arms(0) == ["baseline", "best", "0.25,4"]
    assert arms(0, finalists=1) == ["baseline", "0.25,4"], "more seeds may name another"
    end(0.7, 0.5, "tpe")
    assert arms(2) == ["baseline", "best", "0.25,4"], "one more trial of TPE may win"
    assert arms(1) == ["baseline", "best", "tpe", "0.25,4"]


def test_of_equal_points_the_first_wins() -> None:
    study = optuna.create_study(direction="maximize")
    space: dict[str, BaseDistribution] = {"alpha": FloatDistribution(0, 1), "temperature": FloatDistribution(1, 16)}
    for alpha in (0.25, 0.5, 0.75):
        point = {"alpha": alpha, "temperature": 4.0}
        study.add_trial(create_trial(params=point, distributions=space, value=0.4))
    trials = views(study, 3)
    assert winner(trials, "grid") is trials[0]
    assert winner(trials[::-1], "grid") is trials[0]
    assert finalists(trials[::-1], dataclasses.replace(PRESETS["demo"], finalists=2)) == [(0.25, 4.0), (0.5, 4.0)]


def test_a_pruned_trial_never_wins_however_high_it_was() -> None:
    study = optuna.create_study(direction="maximize")
    space: dict[str, BaseDistribution] = {"alpha": FloatDistribution(0, 1), "temperature": FloatDistribution(1, 16)}
    study.add_trial(create_trial(params={"alpha": 0.25, "temperature": 4.0}, distributions=space, value=0.4))
    study.add_trial(
        create_trial(
            state=TrialState.PRUNED,
            params={"alpha": 0.5, "temperature": 4.0},
            distributions=space,
            value=0.9,
            intermediate_values={1: 0.9},
        )
    )
    complete, pruned = views(study, 2)
    assert pruned.trial.value == 0.9, "Optuna gives it what it reported last"
    assert pruned.value is None
    assert winner([complete, pruned], "grid") is complete


def test_the_mean_of_a_finalist_overrules_one_better_score() -> None:
    study = optuna.create_study(direction="maximize")
    space: dict[str, BaseDistribution] = {"alpha": FloatDistribution(0, 1), "temperature": FloatDistribution(1, 16)}
    seeded: dict[str, BaseDistribution] = {**space, "seed": IntDistribution(0, 2**32 - 1)}
    lucky, steady, third = ({"alpha": alpha, "temperature": 4.0} for alpha in (0.25, 0.5, 0.75))
    for point, value in ((lucky, 0.5), (steady, 0.48), (third, 0.47)):
        study.add_trial(create_trial(params=point, distributions=space, value=value))
    trials = views(study, 3)
    assert winner(trials, "grid") is trials[0]
    study.ask()  # runs, and has no parameters yet
    for seed, of_lucky, of_steady in ((10002, 0.44, 0.47), (10003, 0.45, 0.48)):
        study.add_trial(create_trial(params={**lucky, "seed": seed}, distributions=seeded, value=of_lucky))
        study.add_trial(create_trial(params={**steady, "seed": seed}, distributions=seeded, value=of_steady))
    trials = views(study, 3)
    assert winner(trials, "grid") == trials[1]
    study.add_trial(create_trial(params={**lucky, "seed": 10004}, distributions=seeded, value=0.44))
    assert winner(views(study, 3), "grid") == trials[1], "the mean counts, not how many seeds it is of"
    assert values_by_seed((0.5, 4.0), trials) == {None: 0.48, 10002: 0.47, 10003: 0.48}


def test_more_curves_of_a_finalist_do_not_raise_the_median_that_a_trial_is_held_against() -> None:
    study = optuna.create_study(direction="maximize", pruner=make_pruner("median", 4))
    reached: dict[tuple[float, int | None], float] = {
        (0.25, None): 0.1,
        (0.5, None): 0.2,
        (0.6, None): 0.4,
        (0.75, None): 0.5,
    }
    reached |= {(0.75, seed): 0.5 for seed in (10_001, 10_002)}
    for (alpha, seed), accuracy in reached.items():
        study.enqueue_trial({"alpha": alpha} | ({} if seed is None else {"seed": seed}))
        trial = study.ask()
        trial.suggest_float("alpha", 0, 1)
        if seed is not None:
            trial.suggest_int("seed", 0, 20_000)
        for epoch in range(1, 5):
            trial.report(accuracy, epoch)
        study.tell(trial, accuracy)
    trial = study.ask()
    trial.report(0.35, 2)
    assert not trial.should_prune(), "above 0.3, the median of four points"
    trial.report(0.25, 3)
    assert not trial.should_prune(), "its best counts"
    other = study.ask()
    other.report(0.29, 2)
    assert other.should_prune()


def test_finalists_without_a_search_are_refused() -> None:
    assert request_of(["--finalists", "2"], None).configuration.finalists == 2
    with pytest.raises(ConfigurationError, match="--finalists"):
        request_of(["--finalists", "2", "--sampler", "none"], None)


def test_no_seed_of_a_finalist_is_one_of_the_search_or_of_the_comparison() -> None:
    most = dataclasses.replace(PRESETS["demo"], seed=10_002, seeds=10_000, finalist_seeds=3)
    assert most.more_search_seeds == (10_003, 10_004)
    assert not {*most.more_search_seeds} & {*most.final_seeds, most.seed}
    with pytest.raises(ConfigurationError, match="--seeds 10001"):
        dataclasses.replace(most, seeds=10_001)
