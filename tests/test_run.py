"""Smoke trials: the real entry point on the embedded images, shrunk by its own options."""

import contextlib
import dataclasses
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

from reports.export import main as export_main
from storage.claims import FileClaims, hold
from storage.open_study import open_study, read_study
from storage.study_storage import STORAGE_ERRORS, StorageError, sqlite_url
from study.device import torch_threads
from study.list import main as list_main
from study.options import request_of
from study.plan import make_plan
from study.recipes import TEACHER_RECIPES
from study.rescore import main as rescore_main
from study.run import main as study_main
from study.run import report
from study.settings import PRESETS
from tests.conftest import built_once
from tests.reports.stored import collect, export

ROOT = Path(__file__).parent.parent
SMALL = ["--device", "cpu", "--preset", "demo", "--epochs", "2", "--train-images", "320", "--seeds", "2"]
SMALL += ["--alphas", "0,0.5", "--temperatures", "1,4"]


def command(runs_dir: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "study.run", *SMALL, "--runs-dir", str(runs_dir), *options]


def environment() -> dict[str, str]:
    # No browser: the PNG figures have tests of their own and take longer than the study.
    return {**os.environ, "OMP_NUM_THREADS": "1", "BROWSER_PATH": "/nowhere"}


def run(runs_dir: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return run_as_typed(*SMALL, "--runs-dir", str(runs_dir), *options)


def run_as_typed(*typed: str) -> "subprocess.CompletedProcess[str]":
    """As in a process of its own, which would load torch first."""
    said, complaint, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BROWSER_PATH", "/nowhere")
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complaint):
            try:
                study_main(typed)
            except SystemExit as ended:
                code = int(ended.code or 0)
    return subprocess.CompletedProcess(typed, code, said.getvalue(), complaint.getvalue())


def results(runs_dir: Path, study: str = "demo") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((runs_dir / study / "results.json").read_text())
    return content


def without_times(results: dict[str, Any]) -> Any:
    """What must be the same in every run: all numbers that are not times, nor say where it ran."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(item) for key, item in value.items() if "seconds" not in key and key != "made_by"}
        return [strip(item) for item in value] if isinstance(value, list) else value

    return strip({key: results[key] for key in ("configuration", "grid", "tpe", "best", "arms")})


@pytest.fixture(scope="session")
def undisturbed(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder in which the study was run once, by one worker, without a stop."""

    def build(folder: Path) -> None:
        shutil.copytree(cache, folder)
        process = run(folder)
        assert process.returncode == 0, process.stderr

    return built_once(tmp_path_factory, "undisturbed", build)


def test_the_study_ends_with_a_report_that_says_it_is_synthetic(undisturbed: Path) -> None:
    title, *_ = (undisturbed / "demo" / "report.md").read_text().splitlines()
    assert "synthetic" in title.lower()
    assert (undisturbed / "demo" / "report.html").stat().st_size > 1_000_000
    found = results(undisturbed)
    assert found["configuration"]["preset"] == "demo"
    assert found["configuration"]["epochs"] == 2
    assert found["configuration"]["train_images"] == 320
    assert found["student"]["name"] == "StudentCNN"
    assert found["teacher"]["test_accuracy"] > 2 / 16


def artifacts(runs_dir: Path, study: str) -> list[list[str]]:
    """What each trial of a study offers, as the first words of the file names; every file is there."""
    storage = optuna.storages.RDBStorage(sqlite_url(runs_dir / "study.db"))
    found = []
    for trial in optuna.load_study(study_name=study, storage=storage).get_trials(deepcopy=False):
        listed = optuna.artifacts.get_all_artifact_meta(trial, storage=storage)
        assert all((runs_dir / "artifacts" / meta.artifact_id).stat().st_size for meta in listed)
        found.append(sorted(meta.filename.split("-")[0] for meta in listed))
    return found


def test_every_training_offers_its_curve_and_its_weights(undisturbed: Path) -> None:
    expected = {"COMPLETE": ["curve", "student"], "PRUNED": ["curve"]}
    grid = sorted(results(undisturbed)["grid"], key=lambda cell: int(cell["number"]))
    assert artifacts(undisturbed, "demo") == [
        [] if cell["repeats"] is not None else expected[cell["state"]] for cell in grid
    ]
    assert artifacts(undisturbed, "demo-comparison") == [["curve", "student"]] * 4


def test_every_grid_point_ends_once_and_alpha_zero_is_trained_once(undisturbed: Path) -> None:
    grid = results(undisturbed)["grid"]
    assert [(cell["alpha"], cell["temperature"]) for cell in grid] == [(0, 1), (0, 4), (0.5, 1), (0.5, 4)]
    assert {cell["state"] for cell in grid} <= {"COMPLETE", "PRUNED"}
    assert sorted(cell["number"] for cell in grid) == [0, 1, 2, 3]
    first, second = sorted(grid[:2], key=lambda cell: cell["number"])
    assert (first["repeats"], second["repeats"]) == (None, first["number"])
    assert second["value"] == first["value"]
    assert second["curve"] == []
    assert len(first["curve"]) == 2


def test_arms_share_seeds_that_the_search_did_not_use(undisturbed: Path) -> None:
    found = results(undisturbed)
    assert set(found["arms"]) == {"baseline", "best"}
    for arm in found["arms"].values():
        assert arm["seeds"] == [1, 2]
        assert len(arm["test_accuracy"]) == 2
        assert sum(arm["correct_by_class"][0]) / sum(arm["images_by_class"]) == pytest.approx(arm["test_accuracy"][0])


def test_the_same_command_again_trains_nothing(undisturbed: Path) -> None:
    before = results(undisturbed)
    (undisturbed / "demo" / "report.md").unlink()
    process = run(undisturbed)
    assert process.returncode == 0, process.stderr
    assert "all is trained" in process.stdout
    assert (undisturbed / "demo" / "report.md").exists()
    after = results(undisturbed)
    assert without_times(after) == without_times(before)
    assert [cell["seconds"] for cell in after["grid"]] == [cell["seconds"] for cell in before["grid"]]


def interrupt(process: "subprocess.Popen[str]", ready: Callable[[], bool], how: int) -> bool:
    """Send a signal at a moment; whether it came before the process had ended by itself."""
    deadline = time.monotonic() + 300
    while not ready() and process.poll() is None:
        assert time.monotonic() < deadline, "the moment to stop it never came"
        time.sleep(0.02)
    process.send_signal(how)
    return process.wait() != 0


def count(runs_dir: Path, study: str, *states: optuna.trial.TrialState) -> int:
    """How many trials are in these states; read as a reader does, while another process may be making the tables."""
    try:
        with read_study(sqlite_url(runs_dir / "study.db"), study) as opened:
            return 0 if opened.search is None else len(opened.search.get_trials(deepcopy=False, states=states))
    except (StorageError, *STORAGE_ERRORS):
        return 0


def test_a_study_stopped_in_search_and_killed_in_comparison_ends_with_the_same_numbers(
    runs_dir: Path, undisturbed: Path
) -> None:
    complete = optuna.trial.TrialState.COMPLETE
    moments: list[tuple[Callable[[], bool], int]] = [
        (lambda: count(runs_dir, "demo", complete) >= 1, signal.SIGINT),
        (lambda: count(runs_dir, "demo-comparison", complete) >= 1, signal.SIGKILL),
    ]
    interrupted = 0
    for ready, how in moments:
        process = subprocess.Popen(
            command(runs_dir), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        if interrupt(process, ready, how):
            interrupted += 1
            said = process.communicate()[1]
            if process.returncode == 130:
                assert "goes on from here" in said
            else:  # killed, or told to stop while it still loaded or had ended
                assert process.returncode == -how
                assert "Traceback" not in said
    assert interrupted >= 2
    final = run(runs_dir)
    assert final.returncode == 0, final.stderr
    assert without_times(results(runs_dir)) == without_times(results(undisturbed))
    for study in ("demo", "demo-comparison"):
        assert artifacts(runs_dir, study) == artifacts(undisturbed, study)


def test_two_workers_give_the_same_numbers_for_every_unpruned_trial(runs_dir: Path, undisturbed: Path) -> None:
    process = run(runs_dir, "--workers", "2")
    assert process.returncode == 0, process.stdout + process.stderr
    expected = {(cell["alpha"], cell["temperature"]): cell for cell in results(undisturbed)["grid"]}
    for cell in results(runs_dir)["grid"]:
        assert cell["state"] in ("COMPLETE", "PRUNED")
        assert cell["value"] == expected[cell["alpha"], cell["temperature"]]["value"]
    assert (
        results(runs_dir)["arms"]["baseline"]["test_accuracy"]
        == results(undisturbed)["arms"]["baseline"]["test_accuracy"]
    )


def test_tpe_goes_on_from_the_grid_in_the_same_study(undisturbed: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(undisturbed, tmp_path / "runs")
    process = run(folder, "--sampler", "tpe", "--n-trials", "2")
    assert process.returncode == 0, process.stderr
    found = results(folder)
    assert [cell["number"] for cell in found["tpe"]] == [4, 5]
    assert found["search"]["tpe_trials"] == 2
    assert results(undisturbed)["search"]["tpe_trials"] == 0
    assert found["grid"] == results(undisturbed)["grid"]
    assert all(0 <= cell["alpha"] <= 1 and 1 <= cell["temperature"] <= 16 for cell in found["tpe"])


def test_arms_without_a_search_are_those_of_a_search_that_comes_later(runs_dir: Path, undisturbed: Path) -> None:
    alone = [option for option in SMALL if option not in ("--alphas", "0,0.5", "--temperatures", "1,4")]
    options, costs = [*alone, "--runs-dir", str(runs_dir), "--sampler", "none"], []
    for more in ([], ["--arm", "0.5,4"]):
        process = run_as_typed(*options, *more)
        assert process.returncode == 0, process.stderr
        assert (runs_dir / "demo" / "report.md").exists()
        costs.append(results(runs_dir)["teacher"]["latency_seconds"])
    compared = results(runs_dir)["arms"]
    assert compared.keys() == {"baseline", "0.5,4"}
    assert costs[0] == costs[1], "measured beside the student's, before there was a teacher"
    # A worker was killed at a distilled run; whoever comes for the baseline alone goes on with it.
    with open_study(sqlite_url(runs_dir / "study.db"), "demo") as opened:
        _, comparison = opened.create()
        comparison.enqueue_trial({"alpha": 0.5, "temperature": 4.0, "seed": 3})
        comparison.ask()
    process = run_as_typed(*options, "--seeds", "3")
    assert process.returncode == 0, process.stderr
    assert len(results(runs_dir)["arms"]["0.5,4"]["seeds"]) == len(results(runs_dir)["arms"]["baseline"]["seeds"]) == 3
    assert {cell["state"] for cell in results(runs_dir)["grid"]} == {"MISSING"}
    process = run(runs_dir)
    assert process.returncode == 0, process.stderr
    assert without_times(results(runs_dir))["grid"] == without_times(results(undisturbed))["grid"]
    baseline = results(runs_dir)["arms"]["baseline"]
    assert baseline["seconds"][:2] == compared["baseline"]["seconds"], "trained once"


def test_a_study_goes_on_from_its_export(undisturbed: Path, cache: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(cache, tmp_path / "elsewhere")
    export_main(["--runs-dir", str(undisturbed), "--study", "demo", "--output", str(elsewhere / "study.db")])
    process = run(elsewhere)
    assert "all is trained" in process.stdout
    assert without_times(results(elsewhere)) == without_times(results(undisturbed))
    shutil.move(elsewhere / "cache" / "teachers", tmp_path / "teachers")
    process = run(elsewhere, "--seeds", "3", "--dry-run")
    assert process.returncode == 1
    assert "which is not stored here: give it with --teacher" in process.stderr
    shutil.move(tmp_path / "teachers", elsewhere / "cache" / "teachers")
    process = run(elsewhere, "--seeds", "3")
    assert process.returncode == 0, process.stderr
    more, before = results(elsewhere)["arms"], results(undisturbed)["arms"]
    for name, arm in more.items():
        assert arm["seeds"] == [1, 2, 3]
        assert arm["seconds"][:2] == before[name]["seconds"], "not trained again"


def test_what_diverged_is_counted_and_not_trained_again(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(cache, tmp_path / "runs")
    monkeypatch.setenv("BROWSER_PATH", "/nowhere")
    hot = dataclasses.replace(PRESETS["demo"].recipe, learning_rate=1e9)
    monkeypatch.setitem(PRESETS, "demo", dataclasses.replace(PRESETS["demo"], recipe=hot))
    for trained in (True, False):
        with pytest.raises(SystemExit) as stopped:
            study_main([*SMALL, "--runs-dir", str(folder)])
        assert stopped.value.code == 3
        out = capsys.readouterr().out
        assert ("the loss became" in out) == trained
        assert "trainings failed" in out.splitlines()[-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("study.record.commit", lambda: "another")
        with pytest.raises(SystemExit):
            study_main([*SMALL, "--runs-dir", str(folder)])
        assert "the loss became" in capsys.readouterr().out, "another commit may end otherwise"


SHORT = ["--train-images", "64", "--seeds", "1", "--epochs", "1"]
ONE_POINT = ["--alphas", "0.5", "--temperatures", "4", "--controls", *SHORT]


def test_controls_killed_among_their_learning_rates_are_trained_once_each(runs_dir: Path) -> None:
    process = subprocess.Popen(
        command(runs_dir, *ONE_POINT), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, text=True
    )
    complete = optuna.trial.TrialState.COMPLETE
    assert interrupt(process, lambda: count(runs_dir, "demo-rates", complete) >= 2, signal.SIGKILL)
    final = run(runs_dir, *ONE_POINT)
    assert final.returncode == 0, final.stderr
    found = results(runs_dir)
    assert set(found["arms"]) == {"baseline", "best", "shuffled", "smoothing", "rate", "best-rate"}
    for name, control in (("best", None), ("shuffled", "shuffled"), ("smoothing", "smoothing")):
        arm = found["arms"][name]
        assert (arm["alpha"], arm["temperature"], arm["control"], arm["seeds"]) == (0.5, 4, control, [1])
    # What is not on the images of the search, or with its seed, is another training.
    assert len({arm["curves"][0][0]["train_loss"] for arm in map(found["arms"].get, CONTROLLED)}) == 4
    assert 0 < found["arms"]["smoothing"]["smoothing"] < 1
    for control in ("rate", "best-rate"):
        tried = {rate["learning_rate"]: rate["value"] for rate in found["rates"] if rate["control"] == control}
        assert sorted(tried) == [0.01, 0.02, 0.04, 0.08]
        chosen = found["arms"][control]["learning_rate"]
        assert tried[chosen] == max(value for value in tried.values() if value is not None)
    rates = optuna.load_study(study_name="demo-rates", storage=sqlite_url(runs_dir / "study.db"))
    curves = {trial.value: trial.user_attrs["curve"] for trial in rates.get_trials(states=(complete,))}
    assert all(curve[-1]["validation_accuracy"] == value for value, curve in curves.items()), "and not on test"
    points = points_tried(runs_dir, "demo-rates") + points_tried(runs_dir, "demo-comparison")
    assert all(points.count(point) == 1 for point in points)
    comparison = optuna.load_study(study_name="demo-comparison", storage=sqlite_url(runs_dir / "study.db"))
    files = [
        meta.filename
        for study in (rates, comparison)
        for trial in study.get_trials(states=(complete,))
        for meta in optuna.artifacts.get_all_artifact_meta(trial, storage=study._storage)
    ]
    assert len({*files}) == len(files), "what is downloaded says which run it is of"
    assert len(points_tried(runs_dir, "demo-rates")) == 7  # the search tried the best pair with the protocol's rate
    assert "## Is it the teacher?" in (runs_dir / "demo" / "report.md").read_text()
    request = request_of([*SMALL, *ONE_POINT, "--runs-dir", str(runs_dir)], None)
    with read_study(request.url, "demo") as opened:
        assert make_plan(request, opened, torch.device("cpu")).is_done
    url, copy = sqlite_url(runs_dir / "study.db"), runs_dir / "copy.db"
    export(url, "demo", copy)
    assert collect(sqlite_url(copy)) == collect(url)
    list_main(["--runs-dir", str(runs_dir), "--delete", "demo", "--yes"])
    assert optuna.get_all_study_names(url) == []
    assert list((runs_dir / "artifacts").iterdir()) == []


CONTROLLED = ("baseline", "best", "shuffled", "smoothing")


def points_tried(runs_dir: Path, study: str) -> list[dict[str, float]]:
    found = optuna.load_study(study_name=study, storage=sqlite_url(runs_dir / "study.db"))
    return [trial.params for trial in found.get_trials(deepcopy=False)]


def test_a_teacher_is_trained_on_all_cores_before_there_are_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def started(*_: object) -> None:
        (card,) = (tmp_path / "cache" / "teachers").glob("*/*.json")
        threads.append(json.loads(card.read_text())["hardware"]["threads"])
        sys.exit(0)

    monkeypatch.setattr("study.run.run_workers", started)
    monkeypatch.setitem(TEACHER_RECIPES, "demo", TEACHER_RECIPES["demo"].with_epochs(1))
    with torch_threads(2), pytest.raises(SystemExit):
        study_main([*SMALL, "--runs-dir", str(tmp_path), "--workers", "2"])
    assert threads == [2]


def test_a_report_waits_for_another_one_and_then_shows_what_is_stored_by_now(
    studied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER_PATH", "/nowhere")
    runs, url = tmp_path / "runs", sqlite_url(tmp_path / "runs" / "study.db")
    runs.mkdir()
    shutil.copy(studied / "study.db", runs)

    def write() -> None:
        with open_study(url, "demo") as opened:
            report(request_of([*SMALL, "--runs-dir", str(runs)], None), opened)

    waits, wait_for = threading.Event(), FileClaims.wait_for

    def waited_for(claims: FileClaims, name: str) -> None:
        if name == "demo-report":
            waits.set()
        wait_for(claims, name)

    with open_study(url, "demo") as other:
        with hold(other.claims, "demo-report"):
            monkeypatch.setattr(FileClaims, "wait_for", waited_for)
            writing = threading.Thread(target=write)
            writing.start()
            assert waits.wait(60)
            assert not (runs / "demo").exists()
            other.begun()[1].set_user_attr("tpe_trials", 7)
        writing.join(60)
    assert results(runs)["search"]["tpe_trials"] == 7


def test_another_configuration_of_the_same_name_is_refused(undisturbed: Path) -> None:
    process = run(undisturbed, "--epochs", "3")
    assert process.returncode == 1
    assert process.stderr.strip().splitlines() == [
        "error: study 'demo' was begun with epochs 2, not 3: give --study NAME to begin another"
    ]


def test_a_dry_run_says_how_long_it_takes_and_writes_nothing(tmp_path: Path) -> None:
    process = run(tmp_path / "runs", "--preset", "quick", "--dry-run")
    assert process.returncode == 0, process.stderr
    assert re.search(r"about .* in all, if nothing else runs here", process.stdout)
    assert not (tmp_path / "runs").exists()


def test_bad_input_gets_one_line_and_a_non_zero_exit(runs_dir: Path) -> None:
    process = run(runs_dir, "--alphas", "0,2")
    assert process.returncode == 1
    assert process.stderr == "error: alpha = 2: it weighs the teacher, give 0 to 1\n"


def bits_of(hits: str) -> int:
    return int(hits, 16).bit_count()


def test_every_training_says_which_images_it_got_right_and_how_like_its_teacher_it_is(undisturbed: Path) -> None:
    found = results(undisturbed)
    images = found["data"]["validation_images"]
    for cell in found["grid"]:
        if cell["state"] == "COMPLETE" and cell["repeats"] is None:
            assert bits_of(cell["hits"]) == round(images * cell["value"])
            assert 0 < cell["agreement"] <= 1
            assert cell["divergence"]["1"] > cell["divergence"]["4"] > 0
        else:
            assert cell["hits"] is cell["agreement"] is cell["divergence"] is None
    for arm in found["arms"].values():
        assert [bits_of(hits) for hits in arm["hits"]] == [sum(correct) for correct in arm["correct_by_class"]]
        assert all(0 < agreement <= 1 for agreement in arm["agreement"])
        assert all(0 < error < 1 for error in arm["calibration_error"])
    best, baseline = (found["arms"][name] for name in ("best", "baseline"))
    assert best["alpha"], "or nothing is distilled"
    assert sum(step["4"] for step in best["divergence"]) < sum(step["4"] for step in baseline["divergence"])


def forget_scores(database: Path) -> None:
    """As an earlier version left a study: nothing is known of single images."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("DELETE FROM trial_user_attributes WHERE key = 'validation'")
        paths = "'$.hits', '$.agreement', '$.divergence'"
        connection.execute(
            f"UPDATE trial_user_attributes SET value_json = json_remove(value_json, {paths}) WHERE key = 'test'"
        )
        connection.commit()


def test_a_finished_study_is_rescored_from_its_weights_without_training(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(undisturbed, tmp_path / "runs")
    forget_scores(folder / "study.db")
    url = sqlite_url(folder / "study.db")
    assert {cell["hits"] for cell in collect(url)["grid"]} == {None}
    rescore_main(["demo", "--runs-dir", str(folder), "--device", "cpu"])
    before, after = (json.loads(json.dumps(collect(sqlite_url(f / "study.db")))) for f in (undisturbed, folder))
    assert without_times(after) == without_times(before)
    rescore_main(["demo", "--runs-dir", str(folder), "--device", "cpu"])
    assert "every training has its scores" in capsys.readouterr().out


def test_a_study_whose_weights_are_gone_cannot_be_rescored(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(undisturbed, tmp_path / "runs")
    forget_scores(folder / "study.db")
    shutil.rmtree(folder / "artifacts")
    for option, message in (
        ([], r"none of \d trainings has its weights"),
        (["--data-dir", str(tmp_path)], "are drawn by a program, leave it out"),
    ):
        with pytest.raises(SystemExit):
            rescore_main(["demo", "--runs-dir", str(folder), "--device", "cpu", *option])
        assert re.search(message, capsys.readouterr().err)
