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
from storage.artifacts import artifact_store
from storage.claims import hold
from storage.controls import control_arms, is_no_answer, rate_points
from storage.errors import one_line_errors
from storage.open_study import OpenStudy, open_study, read_study
from storage.study_storage import command_of
from study.begin import begin, begin_rates, going_on, keep_what_is_asked, refuse_unusable
from study.comparison import Comparison, points_of
from study.device import pick_device
from study.estimate import print_plan
from study.materials import fetch
from study.options import WORKER, Request, request_of
from study.plan import Plan, count_ended, make_plan, wanted_arms
from study.processes import end_with_parent, run_workers
from study.record import made_by
from study.search import Search
from study.trainings import Trainings
from study.worker import Worker, patiently

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
            plan = make_plan(request, opened, device)
            refuse_unusable(request, opened, plan)
            if is_worker:
                work_on(request, opened, plan, device)
                return
            print_plan(request, plan, device)
            if request.dry_run:
                return
            if plan.is_done:
                patiently(lambda: keep_what_is_asked(opened, request))
            # A teacher that was given is held against the study's, also where nothing is left for it to do.
            if not plan.is_done or plan.teacher_file is not None:
                with kept_current(request.url, request.name):
                    if request.workers > 1:
                        start_workers(request, opened, plan, device)
                    else:
                        work_on(request, opened, plan, device)
            report(request, opened)


def work_on(request: Request, opened: OpenStudy, plan: Plan, device: torch.device) -> None:
    """What one worker does, together with every other process that runs the same command.

    The grid, TPE or a Gaussian process from what it found, more seeds of the best, the comparison; where asked for, the
    learning rates of the controls, then the controls.
    """
    materials = fetch(request, plan, opened.claims, device)
    search_study, comparison_study = patiently(lambda: begin(opened, request, plan, materials, device))
    configuration = request.configuration
    trainings = Trainings(configuration, materials, request.runs, request.name)
    here = made_by(device, configuration.recipe.precision)
    worker = Worker(configuration, opened.claims, artifact_store(request.runs.artifacts), here)
    has_teacher = materials.logits is not None  # one that is only there to be scored beside teaches nothing
    beyond = request.beyond or "tpe"
    search = patiently(
        lambda: Search(worker, search_study, trainings.of_trial, materials.on_validation, beyond, has_teacher)
    )
    comparison = patiently(
        lambda: Comparison(worker, comparison_study, trainings.of_run, materials.on_test, "test", has_teacher)
    )
    if request.searches:
        patiently(search.run_grid)
        patiently(lambda: search.run_beyond(request.trials_beyond))
        patiently(search.run_finalists)
    arms = patiently(lambda: wanted_arms(request, opened, search_study))
    seeds = configuration.final_seeds
    patiently(lambda: comparison.run(points_of(arms, seeds)))
    if request.controls:
        rates_study = patiently(lambda: begin_rates(opened))
        rates = patiently(
            lambda: Comparison(
                worker, rates_study, trainings.of_rate, materials.on_validation, "validation", retry=is_no_answer
            )
        )
        patiently(lambda: rates.run(rate_points(arms, search_study, configuration)))
        controls = patiently(lambda: control_arms(arms, search_study, rates_study, configuration))
        patiently(lambda: comparison.run(points_of(arms, seeds, controls)))


def start_workers(request: Request, opened: OpenStudy, plan: Plan, device: torch.device) -> None:
    """Have several processes of this machine do the work; a teacher is trained before, on all cores of a CPU."""
    if plan.train_teacher and device.type == "cpu":
        # One of the workers would, on its share of them, while the others wait.
        fetch(request, plan, opened.claims, device)
    total = plan.ended + plan.trials + plan.rates + plan.runs
    run_workers(request.workers, request.arguments, device, total, lambda: count_ended(opened))


def report(request: Request, opened: OpenStudy) -> None:
    """Write the report from what is stored, and say where it is."""
    # Imported here, since plotly takes a while and a worker draws nothing; where that fails, python -m reports.build
    # makes the report.
    from reports.build import write_report
    from reports.collect import collect
    from reports.results import Results, count_failed

    folder = request.runs.report(request.name)

    def write() -> Results:
        # Several shells that end together: the last of them to read is the last to write.
        with hold(opened.claims, f"{request.name}-report"):
            results = collect(opened)
            write_report(results, folder)
        return results

    # Where workers did the work, the session of this process may have been lost long ago.
    results = patiently(write)
    if failed := count_failed(results):
        print(f"done, but {failed} of its trainings failed, which the report names: {folder / 'report.md'}")
        sys.exit(SOME_FAILED)
    print(f"all done: {folder / 'report.md'}")


if __name__ == "__main__":
    main()
