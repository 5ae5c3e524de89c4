"""What the median pruner would have saved and lost on curves that ran to their end.

    python -m reports.pruning_study mine
    python -m reports.pruning_study --curves reports/published/cifar100-ten-epochs/results.json --orders 100

Curves of trials that were not pruned (``--pruner none``) are replayed, epoch by epoch, through Optuna's own pruner, for
several of its settings and in random orders of arrival. A cell that repeats another takes no epochs, as in the search.
"""

import argparse
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.pruners import BasePruner, MedianPruner
from optuna.trial import Trial, TrialState

from reports.collect import collect
from reports.results import Results, read_results
from storage.configuration import refuse_unless
from storage.errors import one_line_errors
from storage.folders import RunsFolder
from storage.open_study import read_study

START_UPS = (1, 4, 5, 8)
WARM_UPS = (0.0, 0.25, 0.5, 0.75)

Cell = tuple[float, float]
Curves = dict[Cell, list[float]]


@dataclass(frozen=True)
class Replay:
    """One search replayed: shares 0 to 1, and the accuracy lost by taking its winner for the best."""

    saved: float
    best_pruned: bool
    accuracy_lost: float


def replay(curves: Curves, pruner: BasePruner, order: Sequence[Cell], workers: int) -> Replay:
    """Run the cells in the given order on workers of equal speed.

    Args:
        curves: validation accuracy by epoch of each (alpha, T), all of one length; those of alpha = 0 are the same.
        pruner: is asked after every epoch but the last.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    epochs = len(curves[order[0]])
    waiting, running, ended = list(order), dict[Cell, Trial](), dict[Cell, Trial]()
    epochs_run: Counter[Cell] = Counter()

    def state_of(cell: Cell) -> TrialState:
        return study.get_trials(deepcopy=False)[ended[cell].number].state

    while waiting or running:
        for cell in list(waiting):
            source = next((other for other in [*ended, *running] if cell[0] == other[0] == 0), None)
            if source in ended:
                state = state_of(source)
                study.tell(study.ask(), curves[cell][-1] if state == TrialState.COMPLETE else None, state)
                waiting.remove(cell)
            elif source is None and len(running) < workers:
                running[cell] = study.ask()
                waiting.remove(cell)
        for cell, trial in list(running.items()):
            epochs_run[cell] += 1
            epoch = epochs_run[cell]
            trial.report(curves[cell][epoch - 1], epoch)
            if epoch == epochs:
                study.tell(trial, curves[cell][-1])
            elif trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
            else:
                continue
            ended[cell] = running.pop(cell)
    best = max(curves, key=lambda cell: curves[cell][-1])
    # At alpha = 0 all cells are one, of which the first to come was trained.
    best_pruned = any(state_of(cell) == TrialState.PRUNED for cell in ended if cell == best or cell[0] == best[0] == 0)
    return Replay(1 - epochs_run.total() / (epochs * len(ended)), best_pruned, curves[best][-1] - study.best_value)


def full_curves(results: Results) -> Curves:
    """The curve of each cell of a grid; cells that failed are left out.

    Args:
        results: the content of ``results.json``.

    Raises:
        ConfigurationError: where a cell was pruned: what it would have become is not known.
    """
    grid, name = results["grid"], results["study"]
    curves = {
        (cell["alpha"], cell["temperature"]): [epoch["validation_accuracy"] for epoch in cell["curve"]]
        for cell in grid
        if cell["curve"]
    }
    cut = [values for values in curves.values() if len(values) < results["configuration"]["epochs"]]
    refuse_unless(not cut, f"study {name!r}: {len(cut)} cells were pruned; give one that ran with --pruner none")
    refuse_unless(len(curves) > 1, f"study {name!r} has no curves to replay")
    trained = {cell["number"]: curves[(cell["alpha"], cell["temperature"])] for cell in grid if cell["curve"]}
    for cell in grid:
        if cell["repeats"] in trained:  # and not failed, as what it repeats
            curves[(cell["alpha"], cell["temperature"])] = trained[cell["repeats"]]
    return curves


def table(sets: list[Curves], orders: int, workers: Sequence[int]) -> str:
    """Settings against what they save and lose, over all sets of curves and random orders; in Markdown."""
    lines = [
        f"{len(sets)} sets of {', '.join(str(len(curves)) for curves in sets)} curves, {orders} orders of arrival each",
        "",
        "| workers | start-up, trials | warm-up, epochs | epochs saved | best pruned | accuracy lost, points |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    for count, start_up, warm_up in itertools.product(workers, START_UPS, WARM_UPS):
        replays: list[Replay] = []
        for curves in sets:
            epochs = len(next(iter(curves.values())))
            pruner = MedianPruner(n_startup_trials=start_up, n_warmup_steps=round(warm_up * epochs))
            shuffled = random.Random(0)  # the same orders for every setting
            arrivals = [shuffled.sample(sorted(curves), len(curves)) for _ in range(orders)]
            replays += [replay(curves, pruner, order, count) for order in arrivals]
        saved, pruned, lost = (
            sum(values) / len(replays)
            for values in zip(*((r.saved, r.best_pruned, r.accuracy_lost) for r in replays), strict=True)
        )
        lines.append(
            f"| {count} | {start_up} | {100 * warm_up:.0f} % | {100 * saved:.0f} % | {100 * pruned:.0f} % "
            f"| {100 * lost:.2f} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Replay the curves that the command line names and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m reports.pruning_study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("studies", nargs="*", metavar="STUDY", help="a study that ran with --pruner none")
    parser.add_argument("--curves", type=Path, action="append", default=[], metavar="FILE", help="a results.json")
    parser.add_argument("--runs-dir", type=Path, metavar="DIR", help="default: runs")
    parser.add_argument("--storage", metavar="URL", help="default: sqlite:///RUNS_DIR/study.db")
    parser.add_argument("--orders", type=int, default=20, metavar="N", help="of arrival, at random (default: 20)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4], metavar="N", help="default: 1 4")
    options = parser.parse_args(arguments)
    with one_line_errors():
        refuse_unless(bool(options.studies or options.curves), "give a STUDY or --curves FILE")
        refuse_unless(options.orders >= 1, f"--orders {options.orders}: give 1 or more")
        refuse_unless(min(options.workers) >= 1, f"--workers {min(options.workers)}: give 1 or more")
        refuse_unless(
            options.storage is None or options.runs_dir is None,
            f"--runs-dir {options.runs_dir}: has no effect beside --storage, leave it out",
        )
        with read_study(options.storage or RunsFolder(options.runs_dir or Path("runs")).url) as opened:
            results = [collect(opened.sibling(name)) for name in options.studies]
        results += [read_results(file) for file in options.curves]
        print(table([full_curves(one) for one in results], options.orders, options.workers))


if __name__ == "__main__":
    main()
