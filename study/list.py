"""The studies of a storage: what each is, how far it has come, and a way to delete one.

python -m study.list                    name, state, trials and runs done of planned, best, what has not ended
python -m study.list --delete NAME      with its artifacts and checkpoints; asks first

Of another --storage than the runs folder's own, artifacts and checkpoints are deleted where --runs-dir is given.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import optuna
import pandas as pd
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState

from storage.arms import arms_asked_for, choose_arms, finalist_points, winner
from storage.configuration import ConfigurationError, Point, refuse_unless
from storage.controls import control_arms, unanswered_rates
from storage.description import Description
from storage.errors import one_line_errors
from storage.exactly_once import TrialClaims
from storage.folders import RunsFolder
from storage.open_study import OpenStudy, open_study, read_study
from storage.study_storage import StorageError
from storage.trials import Beyond, TrialView, views
from study.comparison import points_of

HEADER = ("study", "state", "trials", "runs", "best on validation", "not ended")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m study.list",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--runs-dir", type=Path, metavar="DIR", help="(default: runs)")
    parser.add_argument("--storage", metavar="URL", help="Optuna storage (default: sqlite:///RUNS_DIR/study.db)")
    parser.add_argument("--delete", metavar="NAME", help="delete a study, its comparison, artifacts and checkpoints")
    parser.add_argument("--yes", action="store_true", help="delete without asking")
    options = parser.parse_args(arguments)
    with one_line_errors():
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        refuse_unless(not options.yes or options.delete is not None, "--yes: answers what --delete asks, give both")
        refuse_unless(
            options.storage is None or options.runs_dir is None or options.delete is not None,
            f"--runs-dir {options.runs_dir}: has no effect beside --storage but with --delete, leave it out",
        )
        runs = RunsFolder(options.runs_dir or Path("runs"))
        url = options.storage or runs.url
        if options.delete is not None:
            with read_study(url, options.delete) as opened:
                opened.parts()  # or says what is missing, before anything is opened to be written
            with open_study(url, options.delete) as opened:
                # A study of that name in another storage may be a copy of the one whose files are in this folder.
                is_own = options.runs_dir is not None or runs.holds(url)
                delete(opened, runs if is_own else None, asks=not options.yes)
            return
        with read_study(url) as opened:
            opened.require_storage()
            rows = [row_of(opened.sibling(name)) for name in opened.names()]
        print(_table(rows) if rows else "no study yet; python -m study.run begins one")


def _table(rows: list[tuple[str, ...]]) -> str:
    return pd.DataFrame(rows, columns=HEADER).to_markdown(index=False, tablefmt="simple", disable_numparse=True)


def row_of(opened: OpenStudy) -> tuple[str, ...]:
    """One study in words, a column each as ``HEADER`` has them."""
    search, comparison, rates = opened.search, opened.comparison, opened.rates
    try:
        known = None if search is None else Description.of(search)
        settings = None if known is None else known.settings
    except ConfigurationError:
        return opened.name, "of a newer version", "-", "-", "-", "-"
    if known is None or settings is None or search is None:
        return opened.name, "not of study.run", "-", "-", "-", "-"
    if comparison is None:
        return opened.name, "without its comparison", "-", "-", "-", "-"
    trials, runs = views(search, len(settings.points)), views(comparison)
    # More may have been asked for once than is now: more trials after the grid, more finalists.
    beyond = [trial for trial in trials if trial.is_beyond_grid and trial.state.is_finished()]
    finalists = finalist_points(trials, settings)
    finalists += [trial.point for trial in trials if trial.sampler == "finalist" and trial.point not in finalists]
    planned = len(settings.points) + max(known.tpe_trials, len(beyond)) + len(finalists)
    ended = _ended(trials)
    arms, tried = choose_arms(search, settings, arms_asked_for(known.starts)), [] if rates is None else views(rates)
    controls = {} if rates is None else control_arms(arms, search, rates, settings)
    wanted = points_of(arms, settings.final_seeds, controls)
    for run in runs:
        wanted += [run.point] if run.point and run.point not in wanted else []
    done = _ended(runs)
    failed = len(_failed(trials)) + len(_failed(runs)) + sum(not trial.has_diverged for trial in _failed(tried))
    is_tuned = rates is None or not unanswered_rates(arms, search, rates, settings)
    searched = ended >= planned or not trials  # arms may be compared without a search
    state = "done" if searched and is_tuned and done >= len(wanted) > 0 else "begun"
    best = winner(trials, "grid", *get_args(Beyond))
    return (
        opened.name,
        state + (f", {failed} failed" if failed else ""),
        f"{ended} of {planned}",
        f"{done} of {len(wanted)}",
        "-" if best is None or best.value is None else f"{100 * best.value:.2f} % at {_point(best)}",
        _running([("trial", trials), ("run", runs), ("learning rate", tried)]),
    )


def _ended(trials: Sequence[TrialView]) -> int:
    """How many have ended.

    That a point diverges is an answer too, unless a later trial of it has ended otherwise; after the grid no trial that
    failed is tried again.
    """
    ended = [trial.point for trial in trials if trial.has_ended or (trial.is_beyond_grid and trial.state.is_finished())]
    diverged: list[Point] = []
    for trial in trials:
        diverged += [trial.point] if trial.has_diverged and trial.point not in [*ended, *diverged] else []
    return len(ended) + len(diverged)


def _point(trial: TrialView) -> str:
    return f"alpha {trial.point['alpha']:g}, T {trial.point['temperature']:g}"


def _running(named: list[tuple[str, list[TrialView]]]) -> str:
    """The trials in state RUNNING; whether a living process has them is not asked, so that nothing is claimed.

    With the last epoch that was reported, which runs of the comparison do not: no epoch of theirs is scored.
    """
    names = [
        f"{name} {trial.number}" + (f", epoch {trial.last_epoch}" if trial.last_epoch else "")
        for name, trials in named
        for trial in trials
        if trial.state == TrialState.RUNNING
    ]
    return "; ".join(names) or "-"


def delete(opened: OpenStudy, runs: RunsFolder | None, asks: bool) -> None:
    """Delete a study with its comparison, artifacts and checkpoints; its report stays.

    The search, which says what all are, goes last: cut short, the same command goes on.

    Args:
        runs: where the study ran; None where nobody said so, and then its files stay.

    Raises:
        ConfigurationError: where a process of an earlier version works on it, or the person does not want it.
        StorageError: where a living process works on it, it is not there, or the storage keeps it.
    """
    if asks:
        with _left(opened) as studies:
            trials = sum(len(study.get_trials(deepcopy=False)) for study in studies)
        try:
            but = "" if runs is not None else " (no --runs-dir says where it ran: what lies there stays)"
            which = f"study {opened.name!r} of {opened.address} with {trials} trials"
            answer = input(f"delete {which} for good{but}? Type its name: ")
        except EOFError:  # nobody is there
            answer = ""
        refuse_unless(answer == opened.name, "nothing was deleted")
    with _left(opened) as studies:  # somebody may have come while nobody answered
        for study in studies:
            _delete(study, opened, runs)
    stays = ""
    if runs is None:
        stays = "; its artifacts and checkpoints stay, since no --runs-dir says where it ran"
    elif (report := runs.report(opened.name)).exists():
        stays = f"; the report in {report} stays"
    print(f"deleted {' and '.join(study.study_name for study in reversed(studies))}{stays}")


def _failed(trials: Sequence[TrialView]) -> list[TrialView]:
    """The trainings that failed, without those that were tried again."""
    last = {tuple(sorted(trial.point.items())): trial for trial in trials if trial.point}
    return [trial for trial in last.values() if trial.state == TrialState.FAIL and trial.repeats is None]


@contextmanager
def _left(opened: OpenStudy) -> Iterator[list[optuna.Study]]:
    """The parts of a study on which no living process works, as long as the block lasts."""
    with opened.alone():
        studies = opened.parts()
        # By its trials alone a process of an earlier version is known.
        for claims in (TrialClaims(study, opened.claims) for study in studies):
            for trial in claims.unfinished():
                refuse_unless(
                    claims.is_left(trial),
                    f"study {opened.name!r}: a living process works on trial {trial.number}; stop it first",
                )
        yield studies


def _delete(study: optuna.Study, opened: OpenStudy, runs: RunsFolder | None) -> None:
    storage = opened.require_storage()
    opened.check_alone()
    if runs is not None:
        for trial in study.get_trials(deepcopy=False):
            for meta in get_all_artifact_meta(trial, storage=storage):
                (runs.artifacts / meta.artifact_id).unlink(missing_ok=True)
    optuna.delete_study(study_name=study.study_name, storage=storage)
    # Optuna says nothing where the database refuses it.
    if study.study_name in optuna.get_all_study_names(storage):
        raise StorageError(f"study {study.study_name!r} in {opened.address}: the storage keeps it; try again")
    if runs is not None:
        shutil.rmtree(runs.checkpoints(study.study_name), ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
