"""The study from one command: teacher, search, final comparison, controls, report.

    python -m study.run --preset demo                 embedded images, minutes
    python -m study.run --preset quick                CIFAR-100 on a machine without GPU, about an hour
    python -m study.run --sampler grid                the full protocol
    python -m study.run --sampler tpe --n-trials 32   goes on from the grid in the same study
    python -m study.run --config mine.toml            your own images, student and teacher

The same command again goes on where it was stopped, or rebuilds the report where all is done.
"""

import sys
import warnings
from collections.abc import Sequence

import optuna
import torch

from reports.live import kept_current
from storage.arms import arms_to_train
from storage.artifacts import artifact_store
from storage.claims import hold
from storage.controls import control_arms, rate_points
from storage.errors import one_line_errors
from storage.open_study import OpenStudy, open_study, read_study
from storage.study_storage import command_of
from storage.trials import DIVERGED
from study.begin import begin, begin_rates, going_on, refuse_unusable
from study.comparison import Comparison, points_of
from study.device import pick_device
from study.estimate import print_plan
from study.materials import fetch
from study.options import WORKER, Request, request_of
from study.plan import Work, asked_beyond, count_ended, plan
from study.processes import end_with_parent, run_workers
from study.record import made_by
from study.search import Search
from study.trainings import Trainings
from study.work import Worker, patiently

SOME_FAILED = 3


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study that the command line describes, from where it is to the end."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    is_worker = WORKER in typed
    command = command_of("study.run", typed)
    with one_line_errors(None if "--dry-run" in typed else command, says_stopped=not is_worker):
        if is_worker:
            end_with_parent()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        request = request_of(typed, __doc__)
        device = pick_device(request.device)
        with (read_study if request.dry_run else open_study)(request.url, request.name) as opened:
            request = going_on(request, opened)
            work = plan(request, opened, device)
            refuse_unusable(request, opened, work)
            if is_worker:
                work_on(request, opened, work, device)
                return
            print_plan(request, work, device)
            if request.dry_run:
                return
            # A teacher that was given is held against the study's, also where nothing is left for it to do.
            if not work.is_done or work.teacher_file is not None:
                with kept_current(request.url, request.name):
                    if request.workers > 1:
                        start_workers(request, opened, work, device)
                    else:
                        work_on(request, opened, work, device)
            report(request, opened)


def work_on(request: Request, opened: OpenStudy, work: Work, device: torch.device) -> None:
    """What one worker does, together with every other process that runs the same command.

    The grid, TPE or a Gaussian process from what it found, more seeds of the best, the comparison; where asked for, the
    learning rates of the controls, then the controls.
    """
    materials = fetch(request, work, opened.claims, device)
    search_study, comparison_study = patiently(lambda: begin(opened, request, work, materials, device))
    configuration = request.configuration
    trainings = Trainings(configuration, materials, request.runs, request.name)
    here = made_by(device, configuration.recipe.precision)
    worker = Worker(configuration, opened.claims, artifact_store(request.runs.path), here)
    search = Search(worker, search_study, trainings.of_trial, materials.on_validation, request.beyond or "tpe")
    has_teacher = materials.teacher is not None
    comparison = Comparison(worker, comparison_study, trainings.of_run, materials.on_test, "test", has_teacher)
    if request.searches:
        patiently(search.run_grid)
        patiently(lambda: search.run_beyond(request.trials_beyond))
        patiently(search.run_finalists)
    asked = patiently(lambda: asked_beyond(request, opened))
    arms = patiently(lambda: arms_to_train(search_study, configuration, asked, request.added_arms))
    seeds = configuration.final_seeds
    patiently(lambda: comparison.run(points_of(arms, seeds)))
    if request.controls:
        rates_study = patiently(lambda: begin_rates(opened))
        rates = Comparison(worker, rates_study, trainings.of_rate, materials.on_validation, "validation")
        patiently(lambda: rates.run(rate_points(arms, search_study, configuration)))
        controls = patiently(lambda: control_arms(arms, search_study, rates_study, configuration))
        patiently(lambda: comparison.run(points_of(arms, seeds, controls)))


def start_workers(request: Request, opened: OpenStudy, work: Work, device: torch.device) -> None:
    """Have several processes of this machine do the work; a teacher is trained before, on all cores of a CPU."""
    if work.train_teacher and device.type == "cpu":
        # One of the workers would, on its share of them, while the others wait.
        fetch(request, work, opened.claims, device)
    total = work.ended + work.trials + work.rates + work.runs
    run_workers(request.workers, request.arguments, device, total, lambda: count_ended(opened))


def report(request: Request, opened: OpenStudy) -> None:
    """Write the report from what is stored, and say where it is."""
    # Imported here, since plotly takes a while and a worker draws nothing; where that fails, python -m reports.build
    # makes the report.
    from reports.build import write_report
    from reports.collect import collect

    folder = request.runs.report(request.name)
    # Several shells that end together: the last of them to read is the last to write.
    with hold(opened.claims, f"{request.name}-report"):
        results = collect(opened)
        write_report(results, folder)
    failed = sum(cell["state"] == "FAIL" for cell in results["grid"] + results["tpe"])
    failed += len(results.get("failed_finalists", []))
    # A learning rate at which the loss diverges is an answer.
    rates = [rate["reason"] or "" for rate in results["rates"] if rate["state"] == "FAIL"]
    failed += sum(not reason.startswith(DIVERGED) for reason in rates)
    failed += sum(len(arm["failed"]) for arm in results["arms"].values())
    if failed:
        print(f"done, but {failed} of its trainings failed, which the report names: {folder / 'report.md'}")
        sys.exit(SOME_FAILED)
    print(f"all done: {folder / 'report.md'}")


if __name__ == "__main__":
    main()
