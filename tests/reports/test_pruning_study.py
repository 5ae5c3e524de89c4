"""The replay sees what the search would have: what is pruned, what is saved, what is lost."""

from typing import Any, cast

import pytest
from optuna.pruners import MedianPruner, NopPruner

from reports.pruning_study import Curves, full_curves, main, replay, table
from storage.configuration import ConfigurationError
from tests.reports.made_up import TEMPERATURES, made_up_results

EPOCHS = 8


def parallel_curves() -> Curves:
    """Four cells whose order is the same in every epoch; (0.75, 1) is the best."""
    return {(alpha, 1.0): [alpha + epoch / 100 for epoch in range(EPOCHS)] for alpha in (0.1, 0.25, 0.5, 0.75)}


def test_without_a_pruner_nothing_is_saved_or_lost() -> None:
    curves = parallel_curves()
    for workers in (1, 3):
        seen = replay(curves, NopPruner(), list(curves), workers)
        assert (seen.saved, seen.best_pruned, seen.accuracy_lost) == (0.0, False, 0.0)


def test_the_share_saved_is_counted_in_epochs() -> None:
    curves = parallel_curves()
    best_first = sorted(curves, reverse=True)
    seen = replay(curves, MedianPruner(n_startup_trials=1, n_warmup_steps=2), best_first, workers=1)
    assert seen.saved == pytest.approx(3 * (EPOCHS - 2) / (4 * EPOCHS)), "all but the first are pruned in epoch 2"
    assert not seen.best_pruned
    worst_first = replay(curves, MedianPruner(n_startup_trials=1, n_warmup_steps=2), sorted(curves), workers=1)
    assert worst_first.saved == 0.0


def test_workers_at_once_prune_less() -> None:
    curves = parallel_curves()
    best_first = sorted(curves, reverse=True)
    assert replay(curves, MedianPruner(n_startup_trials=1), best_first, workers=4).saved == 0.0


def test_a_best_that_starts_slowly_is_seen_to_be_pruned() -> None:
    curves = parallel_curves()
    curves[(0.9, 1.0)] = [0.0] * (EPOCHS - 1) + [1.0]
    seen = replay(curves, MedianPruner(n_startup_trials=2), list(curves), workers=1)
    assert seen.best_pruned
    assert seen.accuracy_lost == pytest.approx(1.0 - curves[(0.75, 1.0)][-1])
    patient = MedianPruner(n_startup_trials=2, n_warmup_steps=EPOCHS)
    assert not replay(curves, patient, list(curves), workers=1).best_pruned


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_alpha_0_takes_its_epochs_once(workers: int) -> None:
    plain = [0.1] * EPOCHS
    curves = {(0.0, 1.0): plain, (0.0, 2.0): plain, (0.5, 1.0): [0.2] * EPOCHS, (0.0, 4.0): plain}
    seen = replay(curves, NopPruner(), list(curves), workers)
    assert seen.saved == 0.0
    assert seen.accuracy_lost == 0.0


def test_alpha_0_is_seen_to_be_pruned_at_whichever_temperature_it_was_trained() -> None:
    slow = [0.0] * (EPOCHS - 1) + [1.0]
    curves = {**parallel_curves(), (0.0, 2.0): slow, (0.0, 1.0): slow}
    order = [*parallel_curves(), (0.0, 1.0), (0.0, 2.0)]
    assert replay(curves, MedianPruner(n_startup_trials=2), order, workers=1).best_pruned


def results(epochs: int) -> Any:
    def cell(number: int, alpha: float, temperature: float, repeats: int | None) -> dict[str, Any]:
        curve = [] if repeats is not None else [{"validation_accuracy": 0.1 * alpha + epoch} for epoch in range(epochs)]
        return {"number": number, "alpha": alpha, "temperature": temperature, "repeats": repeats, "curve": curve}

    grid = [cell(0, 0.0, 1.0, None), cell(1, 0.0, 2.0, 0), cell(2, 0.5, 1.0, None)]
    return {"study": "made-up", "grid": grid, "configuration": {"epochs": EPOCHS}}


def test_curves_are_read_from_results_and_repeats_share_theirs() -> None:
    curves = full_curves(results(EPOCHS))
    assert list(curves) == [(0.0, 1.0), (0.5, 1.0), (0.0, 2.0)]
    assert curves[(0.0, 2.0)] == curves[(0.0, 1.0)]
    assert table([curves], orders=2, workers=[1]).count("\n| 1 |") == 16


def test_a_study_that_was_pruned_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="--pruner none"):
        full_curves(results(EPOCHS - 1))


@pytest.mark.parametrize("option", ["--workers", "--orders"])
def test_no_worker_and_no_order_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["study", option, "0"])
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"error: {option} 0: give 1 or more\n"


def test_a_runs_folder_that_nothing_is_read_from_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["study", "--storage", "sqlite:///other.db", "--runs-dir", "mine"])
    assert capsys.readouterr().err == "error: --runs-dir mine: has no effect beside --storage, leave it out\n"


def test_copies_of_a_cell_that_failed_are_left_out_as_it_is() -> None:
    without = tuple((0.0, temperature) for temperature in TEMPERATURES)
    results: Any = made_up_results(pruned=(), failed=without)
    for cell in results["grid"]:
        cell["curve"] = [] if cell["state"] == "FAIL" else cell["curve"]  # stored at its end
    assert all(alpha != 0 for alpha, _ in full_curves(results))
    assert sum(alpha == 0 for alpha, _ in full_curves(cast(Any, made_up_results(pruned=(), failed=())))) == 4
