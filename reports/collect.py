"""From the storage to one dict, the content of ``results.json``: nothing is trained or measured here."""

import math
from itertools import accumulate
from typing import Any, cast

import optuna
from optuna.trial import TrialState

from reports.calibration import calibration_error
from reports.evidence import epochs_of
from reports.results import FORMAT, UNKNOWN, Arm, Rate, Results, Trial
from storage.arms import Arms, arms_to_train, values_by_seed, winner
from storage.configuration import Configuration, Point
from storage.controls import (
    control_arms,
    control_of,
    name_of_point,
    point_of_pair,
    rate_pairs,
    rates_of,
    tried_rates,
)
from storage.description import Description
from storage.open_study import OpenStudy
from storage.trials import ScoreFacts, TrialView, exports, views


def collect(opened: OpenStudy) -> Results:
    """Everything a report needs of one study.

    Returns:
        A dict that JSON can hold; accuracies are shares 0 to 1, losses nats, times seconds. Values of trials that did
        not complete are None.

    Raises:
        StorageError: where the storage or the study is not there.
    """
    description, search, comparison = opened.begun()
    settings = description.settings
    trials = views(search, len(settings.points))
    grid = [_cell(point, trials) for point in settings.points]
    tpe = [_trial(trial) for trial in trials if trial.is_beyond_grid and {"alpha", "temperature"} <= trial.point.keys()]
    best = winner(trials, "grid")
    plain = arms_to_train(search, settings, description.tpe_trials)
    named = {name: point_of_pair(pair) for name, pair in plain.items()}
    named |= control_arms(plain, search, opened.rates, settings)
    arms = _arms(named, views(comparison), settings.recipe.learning_rate)
    best_accuracies = arms["best"]["test_accuracy"] if "best" in arms else []
    results = {
        "format": FORMAT,
        "study": opened.name,
        "configuration": _configuration(description),
        "data": description.data,
        "teacher": description.teacher,
        "student": {
            **description.student,
            "test_accuracy": sum(best_accuracies) / len(best_accuracies) if best_accuracies else None,
        },
        "grid": grid,
        "tpe": tpe,
        "finalists": _finalists(trials, settings),
        "best": best and {**best.trial.params, "number": best.number, "value": best.value, "sampler": "grid"},
        "arms": arms,
        "rates": [] if opened.rates is None else _rates(plain, search, opened.rates, settings),
        "search": {
            "tpe_trials": description.tpe_trials,
            **_effort([*grid, *tpe], trials, settings.recipe.epochs),
        },
        "manifest": _manifest(description),
    }
    if failed := _failed_finalists(trials):
        results["failed_finalists"] = failed
    if exported := exports(comparison):
        results["exports"] = exported
    return cast(Results, results)


def _configuration(description: Description) -> dict[str, Any]:
    """The settings as they were stored, with those that were not known then and what follows from them."""
    settings = description.settings
    return {
        **description.configuration,
        "recipe": {**description.configuration["recipe"], "batches": settings.recipe.batches},
        "draws": settings.draws,
        "finalists": settings.finalists,
        "finalist_seeds": settings.finalist_seeds,
        "epochs": settings.recipe.epochs,
        "train_images": description.data["train_images"],
        "final_seeds": list(settings.final_seeds),
    }


def _manifest(description: Description) -> dict[str, Any]:
    settings = description.settings
    return {
        "data_hash": description.data["hash"],
        "teacher_hash": description.teacher["hash"],
        "search_seed": settings.seed,
        "final_seeds": list(settings.final_seeds),
        "starts": description.starts,
    }


def _cell(point: Point, trials: list[TrialView]) -> Trial:
    """The last trial of a grid point: one that failed may have been tried again."""
    of_point = [trial for trial in trials if trial.point == point]
    if not of_point:
        missing: dict[str, Any] = {
            **point, "sampler": "grid", "number": None, "state": "MISSING", "value": None, "epochs": 0,
            "repeats": None, "seconds": 0.0, "reason": None, "pruner": None, "curve": [],
            "made_by": None, **UNKNOWN,
        }  # fmt: skip
        return cast(Trial, missing)
    return _trial(of_point[-1])


def _trial(trial: TrialView) -> Trial:
    collected = {
        **trial.point,
        "sampler": trial.sampler,
        "number": trial.number,
        "state": trial.state.name,
        "value": trial.value,
        "epochs": trial.last_epoch,
        "repeats": trial.repeats,
        "seconds": trial.seconds,
        "reason": trial.reason,
        "pruner": trial.pruner,
        "curve": trial.curve,
        "made_by": None if trial.repeats is not None else trial.made_by,
        **_of_images(trial.validation),
    }
    return cast(Trial, collected)


def _of_images(scores: ScoreFacts | None) -> dict[str, Any]:
    """Which images were hits, and how far the student is like its teacher, where that is stored."""
    return {key: None if scores is None else scores.get(key) for key in UNKNOWN}


def _finalists(trials: list[TrialView], settings: Configuration) -> list[dict[str, Any]]:
    """The points that have more than the search seed, whatever the last command asked for."""
    known, complete = [], [trial for trial in trials if trial.value is not None]
    for pair in dict.fromkeys(trial.pair for trial in complete if trial.sampler == "finalist"):
        values = values_by_seed(pair, trials)
        known.append(
            {
                "alpha": pair[0],
                "temperature": pair[1],
                "seeds": [settings.seed if seed is None else seed for seed in values],
                "values": list(values.values()),
            }
        )
    return known


def _failed_finalists(trials: list[TrialView]) -> list[dict[str, Any]]:
    """The trainings of finalists that failed, without those that were tried again."""
    last = {(trial.pair, trial.point["seed"]): trial for trial in trials if trial.sampler == "finalist"}
    return [
        {
            "number": trial.number,
            "alpha": trial.pair[0],
            "temperature": trial.pair[1],
            "seed": int(trial.point["seed"]),
            "reason": trial.reason,
        }
        for trial in last.values()
        if trial.state == TrialState.FAIL
    ]


def _arms(named: dict[str, Point], runs: list[TrialView], learning_rate: float) -> dict[str, Arm]:
    """The arms by name. Runs are stored by what they are, so an arm is a way to read them.

    Args:
        named: what the runs of an arm have in common, by its name.
        learning_rate: of runs that have none of their own.
    """
    runs = [run for run in runs if run.point]
    settings: list[Point] = []
    for run in runs:
        if run.setting not in settings:
            settings.append(run.setting)
    names = {name: setting for name, setting in named.items() if setting in settings}
    names |= {name_of_point(setting): setting for setting in settings if setting not in named.values()}
    return {name: _runs_of(setting, runs, learning_rate) for name, setting in names.items()}


def _runs_of(setting: Point, runs: list[TrialView], learning_rate: float) -> Arm:
    of_arm = sorted((run for run in runs if run.setting == setting), key=lambda run: run.point["seed"])
    done = [run for run in of_arm if run.state == TrialState.COMPLETE]
    last = {run.point["seed"]: run for run in of_arm}  # one that failed may have been tried again, or is now
    done_seeds = {run.point["seed"] for run in done}
    tests = [run.test for run in done if run.test is not None]
    arm = {
        "alpha": setting["alpha"],
        "temperature": setting["temperature"],
        "learning_rate": setting.get("learning_rate", learning_rate),
        "control": control_of(setting),
        "smoothing": next((run.smoothing for run in done if run.smoothing is not None), None),
        "seeds": [run.point["seed"] for run in done],
        "test_accuracy": [run.value for run in done],
        "test_loss": [test["loss"] for test in tests],
        "correct_by_class": [test["correct_by_class"] for test in tests],
        "images_by_class": tests[0]["images_by_class"] if tests else [],
        "calibration": [test["calibration"] for test in tests],
        "calibration_error": [calibration_error(test["calibration"]) for test in tests],
        **{key: [test.get(key) for test in tests] for key in UNKNOWN},
        "seconds": [run.seconds for run in done],
        "curves": [run.curve for run in done],
        "made_by": [run.made_by for run in done],
        "failed": [
            {"seed": run.point["seed"], "reason": run.reason}
            for run in last.values()
            if run.state == TrialState.FAIL and run.point["seed"] not in done_seeds
        ],
    }
    return cast(Arm, arm)


def _rates(arms: Arms, search: optuna.Study, rates: optuna.Study, configuration: Configuration) -> list[Rate]:
    """Every learning rate that is to be tried for a control, and what came of it."""
    found = []
    by_point = [(trial.point, trial) for trial in views(rates)]
    for control, pair in rate_pairs(arms).items():
        tried = tried_rates(pair, search, rates, configuration)
        for rate in sorted(rates_of(configuration)):
            point = {**point_of_pair(pair), "learning_rate": rate, "seed": configuration.seed}
            trial = next((trial for other, trial in reversed(by_point) if other == point), None)
            missing = "COMPLETE" if rate in tried else "MISSING"
            found.append({
                "control": control, **point_of_pair(pair), "learning_rate": rate,
                "state": missing if trial is None else trial.state.name,
                "value": tried.get(rate), "reason": None if trial is None else trial.reason,
            })  # fmt: skip
    return cast(list[Rate], found)


def _effort(entries: list[Trial], trials: list[TrialView], epochs: int) -> dict[str, Any]:
    trained, full = epochs_of(entries, epochs)
    started = [trial.trial.datetime_start for trial in trials if trial.trial.datetime_start]
    finished = [trial.trial.datetime_complete for trial in trials if trial.trial.datetime_complete]
    return {
        "epochs_trained": trained,
        "epochs_full": full,
        "seconds": math.fsum(trial.seconds for trial in trials),
        "started": min(started).isoformat(timespec="seconds") if started else None,
        "finished": max(finished).isoformat(timespec="seconds") if finished else None,
        "workers": _at_once(trials),
    }


def _at_once(trials: list[TrialView]) -> int:
    """How many trials ran at the same time at most, which is how many workers shared the search."""
    changes = []
    for trial in trials:
        began, ended = trial.trial.datetime_start, trial.trial.datetime_complete
        if began is not None and trial.repeats is None:
            changes += [(began, 1)] + ([(ended, -1)] if ended is not None else [])
    # One that ends at the moment at which another begins did not run beside it.
    return max(accumulate((step for _, step in sorted(changes)), initial=0))
