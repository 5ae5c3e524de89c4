"""From the storage to one dict, the content of ``results.json``: nothing is trained or measured here."""

from typing import Any, cast

import optuna
from optuna.trial import FrozenTrial, TrialState

from reports.results import Arm, Results, Trial
from storage.configuration import Configuration
from storage.exactly_once import Point, point_of
from storage.study_storage import StorageError, read_storage
from study.comparison import choose_arms
from study.record import comparison_name
from study.search import sampler_of, winner
from study.space import grid_points


def collect(url: str, study_name: str) -> Results:
    """Everything a report needs of one study.

    Args:
        url: of the Optuna storage.
        study_name: the study of the search.

    Returns:
        A dict that JSON can hold; accuracies are shares 0 to 1, losses nats, times seconds. Values of trials that did
        not complete are None.

    Raises:
        StorageError: where the storage or the study is not there.
    """
    study, compared = read_studies(url, study_name)
    stored = study.user_attrs
    configuration = Configuration.from_json(stored["configuration"])
    points = grid_points(configuration)
    trials = study.get_trials(deepcopy=False)
    grid = [_cell(point, trials) for point in points]
    tpe = [_trial(trial) for trial in trials if sampler_of(trial, len(points)) == "tpe" and point_of(trial)]
    best = winner(study, len(points), "grid")
    best_entry = best and {**best.params, "number": best.number, "value": best.value, "sampler": "grid"}
    arms = _arms(study, configuration, compared.get_trials(deepcopy=False))
    best_accuracies = arms["best"]["test_accuracy"] if "best" in arms else []
    results = {
        "study": study_name,
        "configuration": {
            **stored["configuration"],
            "epochs": configuration.recipe.epochs,
            "train_images": stored["data"]["train_images"],
            "final_seeds": list(configuration.final_seeds),
        },
        "data": stored["data"],
        "teacher": stored["teacher"],
        "student": {
            **stored["student"],
            "test_accuracy": sum(best_accuracies) / len(best_accuracies) if best_accuracies else None,
        },
        "grid": grid,
        "tpe": tpe,
        "best": best_entry,
        "arms": arms,
        "search": {
            "tpe_trials": stored.get("tpe_trials", 0),
            **_effort([*grid, *tpe], trials, configuration.recipe.epochs),
        },
        "manifest": {
            "data_hash": stored["data"]["hash"],
            "teacher_hash": stored["teacher"]["hash"],
            "search_seed": configuration.seed,
            "final_seeds": list(configuration.final_seeds),
            "starts": stored["starts"],
        },
    }
    return cast(Results, results)


def read_studies(url: str, study_name: str) -> tuple[optuna.Study, optuna.Study]:
    """The stored studies of search and comparison, to be read.

    Raises:
        StorageError: where the storage or the study is not there.
    """
    storage = read_storage(url)
    names = optuna.get_all_study_names(storage)
    if study_name not in names:
        known = ", ".join(sorted(name for name in names if not name.endswith("-comparison"))) or "none"
        raise StorageError(f"no study {study_name!r} in {url}; there: {known}")
    study = optuna.load_study(study_name=study_name, storage=storage)
    if "configuration" not in study.user_attrs:
        raise StorageError(f"study {study_name!r} in {url} was not made by study.run")
    if comparison_name(study_name) not in names:
        raise StorageError(f"{url} holds {study_name!r} without its comparison {comparison_name(study_name)!r}")
    return study, optuna.load_study(study_name=comparison_name(study_name), storage=storage)


def _cell(point: Point, trials: list[FrozenTrial]) -> Trial:
    """The last trial of a grid point: one that failed may have been tried again."""
    of_point = [trial for trial in trials if point_of(trial) == point]
    if not of_point:
        missing: dict[str, Any] = {
            **point, "number": None, "state": "MISSING", "value": None, "epochs": 0,
            "repeats": None, "seconds": 0.0, "reason": None, "pruner": None, "curve": [],
        }  # fmt: skip
        return cast(Trial, missing)
    return _trial(of_point[-1])


def _trial(trial: FrozenTrial) -> Trial:
    attributes = trial.user_attrs
    collected = {
        **point_of(trial),
        "number": trial.number,
        "state": trial.state.name,
        "value": trial.value if trial.state == TrialState.COMPLETE else None,
        "epochs": len(trial.intermediate_values),
        "repeats": attributes.get("repeats"),
        "seconds": attributes.get("seconds", 0.0),
        "reason": attributes.get("reason"),
        "pruner": attributes.get("configuration", {}).get("pruner"),
        "curve": attributes.get("curve", []),
    }
    return cast(Trial, collected)


def _arms(study: optuna.Study, configuration: Configuration, runs: list[FrozenTrial]) -> dict[str, Arm]:
    """The arms by name. Runs are stored by what they are, so an arm is a way to read them."""
    named = choose_arms(study, configuration, [])
    pairs = {pair: _runs_of(pair, runs) for pair in dict.fromkeys(map(_pair, runs))}
    arms = {name: pairs[pair] for name, pair in named.items() if pair in pairs}
    for pair, arm in pairs.items():
        if pair not in named.values():
            arms[f"{pair[0]:g},{pair[1]:g}"] = arm
    return arms


def _pair(run: FrozenTrial) -> tuple[float, float]:
    point = point_of(run)
    return point["alpha"], point["temperature"]


def _runs_of(pair: tuple[float, float], runs: list[FrozenTrial]) -> Arm:
    of_pair = sorted((run for run in runs if _pair(run) == pair), key=lambda run: point_of(run)["seed"])
    done = [run for run in of_pair if run.state == TrialState.COMPLETE]
    done_seeds = {run.params["seed"] for run in done}
    tests = [run.user_attrs["test"] for run in done]
    return {
        "alpha": pair[0],
        "temperature": pair[1],
        "seeds": [run.params["seed"] for run in done],
        "test_accuracy": [cast(float, run.value) for run in done],
        "test_loss": [test["loss"] for test in tests],
        "correct_by_class": [test["correct_by_class"] for test in tests],
        "images_by_class": tests[0]["images_by_class"] if tests else [],
        "calibration": [test["calibration"] for test in tests],
        "seconds": [run.user_attrs["seconds"] for run in done],
        "curves": [run.user_attrs["curve"] for run in done],
        "failed": [
            {"seed": run.params["seed"], "reason": run.user_attrs.get("reason")}
            for run in of_pair
            if run.state == TrialState.FAIL and run.params["seed"] not in done_seeds
        ],
    }


def _effort(entries: list[Trial], trials: list[FrozenTrial], epochs: int) -> dict[str, Any]:
    trained = [entry for entry in entries if entry["epochs"]]
    started = [trial.datetime_start for trial in trials if trial.datetime_start]
    finished = [trial.datetime_complete for trial in trials if trial.datetime_complete]
    return {
        "epochs_trained": sum(entry["epochs"] for entry in trained),
        "epochs_full": epochs * len(trained),
        "seconds": sum(entry["seconds"] for entry in entries),
        "started": min(started).isoformat(timespec="seconds") if started else None,
        "finished": max(finished).isoformat(timespec="seconds") if finished else None,
    }
