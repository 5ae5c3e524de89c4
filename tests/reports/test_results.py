"""Results have the keys that their types promise, and old ones are brought to them when they are read."""

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import TrialState, create_trial

from reports.build import PUBLISHED
from reports.markdown import render
from reports.results import FORMAT, ResultsError, read_results
from storage.description import Description
from storage.open_study import read_study
from storage.study_storage import sqlite_url
from study.options import request_of
from study.run import report
from tests.reports.made_up import made_up_results, with_controls
from tests.reports.stored import collect, export

OF_ITS_TRAINER = ".teacher.hurried"
"""What only the card of a teacher says that no recipe trained; a study keeps what its teacher's card says."""

FREE = ("versions", "arms")
"""Where keys are names that are not fixed: of packages, of arms."""


def keys_of(value: Any, path: str = "") -> Iterator[str]:
    """Every key, with those above it; the entries of a list count as one."""
    if isinstance(value, dict):
        for key, inner in value.items():
            name = f"{path}.*" if path.endswith(FREE) else f"{path}.{key}"
            yield name
            yield from keys_of(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_of(inner, f"{path}[]")


def test_made_up_results_have_the_keys_of_a_collected_study_and_no_other(studied: Path) -> None:
    collected, made_up = collect(sqlite_url(studied / "study.db"), "demo"), made_up_results("demo")
    assert set(keys_of(made_up)) == set(keys_of(json.loads(json.dumps(collected))))


@pytest.mark.parametrize("published", sorted(PUBLISHED.glob("*/")), ids=lambda path: path.name)
def test_published_results_are_read_with_the_keys_of_today(published: Path) -> None:
    results = read_results(published / "results.json")
    made_up = made_up_results(tpe_trials=len(results["tpe"]))
    known, today = set(keys_of(results)), set(keys_of(with_controls(made_up) if results["rates"] else made_up))
    assert {key for key in known if not key.startswith(OF_ITS_TRAINER)} <= today
    if results["best"] is None:
        return  # without a search and a teacher much has no key
    assert {key for key in today - known if not any(part in key for part in UNKNOWN_THEN)} == set()


# Some had their teacher trained before weights were rounded, and know nothing of where a trial ran or of single images.
UNKNOWN_THEN = (
    ".normalisation",
    ".data.copies",
    ".teacher.channels",
    ".teacher.recipe.batches",
    ".teacher.image_size",
    ".teacher.source",
    ".teacher.weights",
    ".teacher.before_rounding",
    ".hardware.convolutions",
    ".made_by.",
    ".made_by[].",
    ".divergence.",
    ".divergence[].",
)


def test_old_results_get_the_keys_that_they_had_not(tmp_path: Path) -> None:
    stored: Any = made_up_results()
    stored["configuration"]["pruner"] = "none"
    del stored["search"]["tpe_trials"]
    for trial in stored["grid"]:
        del trial["pruner"]
    (tmp_path / "results.json").write_text(json.dumps(stored))
    results = read_results(tmp_path / "results.json")
    assert results["search"]["tpe_trials"] == 0
    assert {trial["pruner"] for trial in results["grid"] if trial["repeats"] is None} == {"none"}
    assert {trial["pruner"] for trial in results["grid"] if trial["repeats"] is not None} == {None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "holds no results"),
        ("{", "holds no results"),
        ("{}", "holds no results"),
        (json.dumps({"format": FORMAT + 1}), f"of format {FORMAT + 1}, this version reads up to {FORMAT}: update it"),
    ],
)
def test_what_are_no_results_of_this_version_is_refused_in_one_line(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(ResultsError, match=message) as refused:
        read_results(tmp_path / "results.json")
    assert "\n" not in str(refused.value)


def test_a_calibration_error_that_was_not_stored_is_that_of_the_bins(tmp_path: Path) -> None:
    stored: Any = made_up_results()
    expected = stored["arms"]["best"]["calibration_error"]
    for arm in stored["arms"].values():
        del arm["calibration_error"], arm["hits"], arm["agreement"], arm["divergence"]
    (tmp_path / "results.json").write_text(json.dumps(stored))
    arm = read_results(tmp_path / "results.json")["arms"]["best"]
    assert arm["calibration_error"] == expected
    assert [arm["hits"], arm["agreement"], arm["divergence"]] == [[None] * 5] * 3


def test_a_winner_that_may_still_change_is_no_arm(studied: Path, tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "study.db")
    export(sqlite_url(studied / "study.db"), "demo", tmp_path / "study.db")
    before = collect(url, "demo")
    best = before["best"]
    assert before["arms"].keys() == {"baseline", "best"}
    assert best is not None
    search = optuna.load_study(study_name="demo", storage=url)
    known = Description.of(search)
    assert known is not None
    dataclasses.replace(known, configuration={**known.configuration, "alphas": [0.0, 0.5, 0.75]}).store(search)
    after = collect(url, "demo")
    assert after["best"] == best
    pair = {f"{best['alpha']:g},{best['temperature']:g}"} if best["alpha"] else set()
    assert after["arms"].keys() == {"baseline"} | pair, "its runs are there, under what they are"
    assert "The unfinished grid's best point" in render(after)


def test_a_finalist_that_fails_is_named_and_ends_the_command_with_3(
    studied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER_PATH", "/nowhere")  # no PNG figures
    url = sqlite_url(tmp_path / "study.db")
    export(sqlite_url(studied / "study.db"), "demo", tmp_path / "study.db")
    request = request_of(["--preset", "demo", "--runs-dir", str(tmp_path)], None)
    search = optuna.load_study(study_name="demo", storage=url)
    distilled = next(trial for trial in search.trials if trial.params["alpha"] and trial.value is not None)
    point = {**distilled.params, "seed": 10002}
    seeded = {**distilled.distributions, "seed": IntDistribution(0, 2**32 - 1)}
    reason = {"reason": "the loss became nan in epoch 1"}
    failed = create_trial(params=point, distributions=seeded, user_attrs=reason, state=TrialState.FAIL)
    search.add_trial(failed)
    with read_study(url, "demo") as opened, pytest.raises(SystemExit) as stopped:
        report(request, opened)
    assert stopped.value.code == 3
    assert "1 of its trainings failed" in capsys.readouterr().out
    (named,) = collect(url, "demo")["failed_finalists"]
    assert named == {
        "number": 4,
        "alpha": point["alpha"],
        "temperature": point["temperature"],
        "seed": 10002,
        **reason,
    }
    line = r"- trial 4 at .*, a finalist with seed 10002: the loss became nan in epoch 1"
    assert re.search(line, (tmp_path / "demo" / "report.md").read_text())
    search.add_trial(create_trial(params=point, distributions=seeded, value=0.5))
    with read_study(url, "demo") as opened:
        report(request, opened)
    assert "failed_finalists" not in collect(url, "demo"), "it was tried again"


def test_the_search_took_the_time_of_finalists_too_and_not_their_epochs(studied: Path, tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "study.db")
    export(sqlite_url(studied / "study.db"), "demo", tmp_path / "study.db")
    before = collect(url, "demo")
    search = optuna.load_study(study_name="demo", storage=url)
    trial = search.best_trial
    seeded = {**trial.distributions, "seed": IntDistribution(0, 2**32 - 1)}
    attributes = {**trial.user_attrs, "seconds": 7.0}
    search.add_trial(
        create_trial(
            params={**trial.params, "seed": 10002},
            distributions=seeded,
            value=0.5,
            user_attrs=attributes,
            intermediate_values=trial.intermediate_values,
        )
    )
    after = collect(url, "demo")
    point = {"alpha": trial.params["alpha"], "temperature": trial.params["temperature"]}
    assert after["finalists"] == [{**point, "seeds": [1, 10002], "values": [trial.value, 0.5]}], "the search has seed 1"
    assert after["search"]["seconds"] == pytest.approx(before["search"]["seconds"] + 7)
    assert after["search"]["epochs_trained"] == before["search"]["epochs_trained"]
