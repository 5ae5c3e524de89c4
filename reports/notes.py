"""What the notes of the dashboard say, as markdown, from the results and the trials that run now."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial

from reports.evidence import accuracy_standard_error, begun, scored
from reports.results import (
    FailedFinalist,
    FailedRun,
    Rate,
    Results,
    State,
    Trial,
    all_trials,
    distinct,
    failed_trials,
    without_repeats,
)
from reports.sections.document import Document
from reports.sections.words import SAMPLERS, count, percent, plain, proposers, table
from reports.standing import STATE_WORDS, count_compared, judge
from storage.exactly_once import point_of

# The dashboard shows these panels for every study and they cannot be switched off. All of it was seen with
# optuna-dashboard 0.21; on a noise-free grid with shares of 0.23 and 0.77 the importance panel gave 0.99 and 0.01.
PANELS = """\
| not to rely on | why | instead |
|---|---|---|
| *Contour* and *Rank* | wrong once a trial is pruned, and alpha = 0 is left out | the heatmap |
| *Hyperparameter Importance* | its method may turn the shares of alpha and T around | the report, from the grid |
| the value of a pruned trial | an accuracy of the middle of the training, no result | the trial's note |"""


def study_note(results: Results, running: Sequence[FrozenTrial], runs: Sequence[FrozenTrial]) -> str:
    """The note of the search: what runs and since when, what is left, the best so far, what failed.

    Args:
        results: as collected; lists may be incomplete.
        running, runs: the trials of search and comparison in state RUNNING.
    """
    name, search = results["study"], results["search"]
    since = f", begun {_date(datetime.fromisoformat(search['started']))}" if search["started"] else ""
    blocks = [
        f"## Study `{name}`{since}",
        _progress(results, running, len(runs)),
        *_list("Runs now", [*map(_running, running), *(_running(run, "comparison, run") for run in runs)]),
        "### Best so far",
        _best(results),
        *_list("Failed", _failures(results)),
        "### How to read this dashboard",
        f"The heatmap says what the built-in panels cannot. The final comparison is the study `{name}-comparison`; the "
        f"report of all of it is `{name}/report.html` in the runs folder.",
        PANELS,
    ]
    return "\n\n".join(blocks)


def comparison_note(results: Results, runs: Sequence[FrozenTrial]) -> str:
    """The note of the final comparison: the arms, what is done of each, what runs and what failed."""
    planned = set(results["configuration"]["final_seeds"])
    rows = []
    for name, arm in results["arms"].items():
        accuracies = ", ".join(f"{100 * accuracy:.2f}" for accuracy in arm["test_accuracy"])
        temperature = f"{arm['temperature']:.4g}" if arm["alpha"] else "none"
        rows.append(
            (
                name,
                f"{arm['alpha']:.4g}",
                temperature,
                f"{len(planned & {*arm['seeds']})} of {len(planned)}",
                accuracies,
            )
        )
    header = ["arm", "alpha", "T", "seeds done", "test accuracy, %"]
    blocks = [
        f"## Final comparison of study `{results['study']}`",
        "Each run is trained on training and validation images and scored on the test images "
        "once, after its last epoch. Its weights and its curve are the trial's artifacts.",
        table(header, rows) if rows else "No run has begun.",
        *_list("Runs now", (_running(run, "comparison, run") for run in runs)),
        *_list("Failed", _failed_runs(results)),
        "A mean of few seeds is no verdict: the report pairs the seeds and gives the interval of the difference.",
    ]
    return "\n\n".join(blocks)


def rates_note(results: Results, running: Sequence[FrozenTrial]) -> str:
    """The note of the learning rates that the controls try.

    Args:
        results: as collected.
        running: the trials of that study in state RUNNING.
    """
    rows = [
        (
            rate["control"],
            f"{rate['learning_rate']:.3g}",
            f"{100 * rate['value']:.2f}"
            if rate["value"] is not None
            else _reason(rate)
            if rate["state"] == "FAIL"
            else STATE_WORDS.get(rate["state"], "not yet"),
        )
        for rate in results["rates"]
    ]
    blocks = [
        f"## Learning rates of the controls of study `{results['study']}`",
        "Each is tried once, with the seed and on the images of the search. The best of each control is the rate of "
        "its runs in the final comparison.",
        table(["control", "learning rate", "validation accuracy, %"], rows) if rows else "None was tried yet.",
        *_list("Runs now", (_running(trial) for trial in running)),
    ]
    return "\n\n".join(blocks)


def trial_note(trial: Trial, epochs: int) -> str | None:
    """The note of one trial as collected; None where its value says it all.

    Args:
        trial: an entry of the results.
        epochs: of a whole training.
    """
    if trial["state"] in ("RUNNING", "WAITING"):
        return None
    if trial["repeats"] is not None:
        ended = {"PRUNED": "was pruned too", "FAIL": "failed too"}.get(trial["state"], "has the same value")
        return (
            f"**Repeats trial {trial['repeats']}** and {ended}: at alpha = 0 the teacher has no weight, so T means "
            "nothing and the configuration is trained once. This trial has no curve and no artifacts of its own."
        )
    if trial["state"] == "PRUNED":
        return (
            f"**Pruned after epoch {trial['epochs']} of {epochs}**: it was below the median of the trials that were "
            "complete then. The value shown is the accuracy after that epoch, **no result**."
        )
    if trial["state"] == "FAIL":
        is_of_grid = trial["sampler"] not in SAMPLERS
        again = "tries it again unless it would end the same" if is_of_grid else "does not try it again"
        return f"**Failed**: {_reason(trial)}. The same command, started again, {again}."
    return None


def _progress(results: Results, running: Sequence[FrozenTrial], runs: int) -> str:
    grid, tpe = (Counter(trial["state"] for trial in results[part]) for part in ("grid", "tpe"))
    of_finalists = sum("seed" in point_of(trial) for trial in running)
    document, rows = Document(results, ()), []
    if document.is_searched or document.searching_commands:
        rows.append(_row("grid", grid, len(running) - of_finalists - tpe["RUNNING"], len(results["grid"])))
    beyond = results["search"]["tpe_trials"]
    if tpe or beyond:
        rows.append(_row(proposers(results["tpe"]) or "TPE", tpe, tpe["RUNNING"], beyond))
    configuration = results["configuration"]
    if configuration["finalists"]:
        complete = sum(len(known["seeds"]) - 1 for known in results["finalists"])
        ended: Counter[State] = Counter({"COMPLETE": complete, "FAIL": len(results.get("failed_finalists", []))})
        trained = without_repeats(all_trials(results))
        # Points that have not ended may become finalists; those that were finalists have what they have.
        possible = sum(trial["state"] not in ("PRUNED", "FAIL") for trial in trained)
        to_come = min(configuration["finalists"], possible) - min(configuration["finalists"], count_compared(trained))
        left = document.finalist_trainings_left + to_come * (configuration["finalist_seeds"] - 1)
        rows.append(_row("finalists", ended, of_finalists, sum(ended.values()) + left))
    arms = distinct(results["arms"]).values()
    done, failed = sum(len(arm["seeds"]) for arm in arms), sum(len(arm["failed"]) for arm in arms)
    if done + failed + runs == 0 and rows:
        comparison = "| comparison | - | - | begins when the search has ended |"
    else:
        own, planned = distinct(results["arms"]), len(configuration["final_seeds"])
        wanted = [ended for name, ended in document.wanted_arms.items() if name in own or name not in results["arms"]]
        left = max(0, sum(planned - len(of_arm | lost) for of_arm, lost in wanted) - runs)
        comparison = f"| comparison | {done} runs{f', {failed} failed' if failed else ''} | {runs} | {left} |"
    header = "| part | ended | running | left |\n|---|---|---|---|"
    return "\n".join([header, *rows, comparison])


def _row(part: str, states: Counter[State], running: int, total: int) -> str:
    """A line of the progress table."""
    ended = [f"{states[state]} {word}" for state, word in ENDINGS.items() if states[state]]
    left = max(0, total - running - sum(states[state] for state in ENDINGS))
    return f"| {part} | {', '.join(ended) or 0} | {running} | {left} |"


ENDINGS: dict[State, str] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


def _best(results: Results) -> str:
    if finalists := results["finalists"]:
        mean, first = max(((statistics.fmean(one["values"]), one) for one in finalists), key=lambda pair: pair[0])
        return (
            f"**{percent(mean)}** on the validation images: {_point(first)}, the mean over "
            f"{count(len(first['seeds']), 'seed')} and the highest of {count(len(finalists), 'finalist')}, which is "
            "optimistic. What it is worth is measured by the comparison, on the test images."
        )
    trials = begun(all_trials(results))
    images = results["data"]["validation_images"]
    value, best = max(scored(trials), key=lambda pair: pair[0], default=(None, None))
    if value is None or best is None:
        return "No trial is complete."
    cells = judge(trials, best["number"], results)
    rivals = [cell for cell in cells if cell.standing == "near best" and cell.repeats is None]
    error = 100 * accuracy_standard_error(value, images)
    others = f"{len(rivals)} other trial{'s' if len(rivals) != 1 else ''} cannot be told apart from it"
    return (
        f"**{100 * value:.2f} %** on the validation images: trial {best['number']}, {_point(best)}. It is one "
        f"score of one training on {images:,} images, with a standard error of {error:.2f} points: {others}, and a "
        "winner's score is optimistic. What it is worth is measured by the comparison, on the test images."
    )


def _failures(results: Results) -> list[str]:
    lines = [f"trial {trial['number']} ({_point(trial)}): {_reason(trial)}" for trial in failed_trials(results)]
    finalists = results.get("failed_finalists", [])
    lines += [f"trial {one['number']} ({_point(one)}), seed {one['seed']}: {_reason(one)}" for one in finalists]
    return lines + [f"comparison, {line}" for line in _failed_runs(results)]


def _failed_runs(results: Results) -> list[str]:
    return [
        f"{name}, seed {run['seed']}: {_reason(run)}" for name, arm in results["arms"].items() for run in arm["failed"]
    ]


def _reason(failed: FailedFinalist | FailedRun | Trial | Rate) -> str:
    return plain(failed["reason"] or "no reason is stored")


def _running(trial: FrozenTrial, what: str = "trial") -> str:
    point = point_of(trial)
    where = f" ({_point(point)})" if "alpha" in point and "temperature" in point else ""
    seed = f", seed {point['seed']:g}" if "seed" in point else ""
    since = f", since {_date(trial.datetime_start)}" if trial.datetime_start else ""
    epochs = f", {len(trial.intermediate_values)} epochs done" if trial.intermediate_values else ""
    return f"{what} {trial.number}{where}{seed}{since}{epochs}"


def _point(point: Any) -> str:
    if point["alpha"] == 0:
        return "alpha 0, no teacher"
    return f"alpha {point['alpha']:.4g}, T {point['temperature']:.4g}"


def _list(title: str, lines: Iterable[str]) -> list[str]:
    """A heading and a list; nothing where there is nothing to list."""
    items = "\n".join(f"- {line}" for line in lines)
    return [f"### {title}", items] if items else []


def _date(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")
