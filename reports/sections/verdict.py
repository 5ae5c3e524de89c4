"""The verdict in a few sentences: does distillation help, at which point, and does the original's gain hold."""

import itertools
import re
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from reports import original
from reports.evidence import (
    TOLERANCE,
    Estimate,
    by_seed,
    estimate_of,
    gain_image_error,
    holds_beyond_the_images,
    paired,
    reproduced,
    scored,
)
from reports.results import Arm, Trial
from reports.sections.controls import is_above_all_controls, verdict_on_controls
from reports.sections.document import Document, distilled_arm
from reports.sections.transfer import verdict_on_search
from reports.sections.words import arm_label, count, interval, mean_and_deviation, percent, point, points
from reports.standing import are_apart, count_compared
from storage.trials import run_pair

SEARCHED_BY = ("--sampler", "--n-trials")
"""Options that an earlier command may have, and that do not belong to the next."""
CALIBRATION_CHANGE = 0.01
"""Of the expected calibration error, from which on the verdict speaks of it."""


def verdict(document: Document) -> list[str]:
    """Does distillation help, at which point, and does the original's gain hold."""
    sentences = [
        _verdict_on_gain(document),
        verdict_on_search(document),
        _on_other_arms(document),
        _between_arms(document),
        _on_the_largest_class(document),
        _on_images(document),
        _verdict_on_point(document),
        _on_the_border(document),
        _verdict_on_original(document) if document.original else None,
        verdict_on_controls(document),
        _on_calibration(document),
        document.missing_runs(),
    ]
    return ["## Verdict", "\n".join(f"- {sentence}" for sentence in sentences if sentence)]


def _on_calibration(document: Document) -> str | None:
    """What distillation does to how sure the student is, where that is more than a little."""
    distilled = []
    for name, arm in document.plain.items():
        if document.gain_of(name) is None:
            continue
        known = paired(arm, document.arms["baseline"], "calibration_error").estimate
        if known is not None and abs(known.mean) >= max(CALIBRATION_CHANGE, known.half_width):
            distilled.append(f"{percent(statistics.fmean(arm['calibration_error']))} at {arm_label(name, arm)}")
    if not distilled:
        return None
    without = statistics.fmean(document.arms["baseline"]["calibration_error"])
    return (
        f"The student's expected calibration error is {percent(without)} without a teacher, {', '.join(distilled)}: "
        "lower is better."
    )


def _verdict_on_gain(document: Document) -> str:
    where, others = "On these synthetic images, " if document.synthetic else "", _gains_of_others(document)
    beside = f" Against the baseline, on test, {'; '.join(others)}." if others else ""
    if document.gain is None and not document.is_searched:
        sentence = _given_arms(document, others)
    elif document.gain is None:
        missing = "of the search's best " if others else ""
        sentence = f"the final comparison {missing}has not finished one seed in both arms, so there is no verdict yet"
        if document.search_is_open:
            sentence = "the search is not done, so its best is not compared yet and there is no verdict"
        sentence += f" on it.{beside}" if others else "."
    elif document.undistilled:
        ended = scored(document.results["grid"] + document.results["tpe"])
        found = "" if others else ", so no gain from distillation was found"
        if not others and not any(trial["alpha"] for _, trial in ended):
            found = ", but no point with one ran to its end, so it says nothing of distillation"
        sentence = (
            f"{_chose(document)} alpha = 0, which is training without the teacher{found}: the baseline reaches "
            f"{mean_and_deviation(document.arms['baseline']['test_accuracy'])} on test."
            f"{beside or _how_to_compare(document)}"
        )
    else:
        before, after = (_mean_over(document.gain.seeds, document.arms[name]) for name in ("baseline", "best"))
        change = f"from {percent(before)} to {percent(after)}, {points(document.gain.mean)}"
        known = document.gain.estimate
        if known is None:
            sentence = (
                f"test accuracy goes {change}, but {document.gain.why_no_interval}: whether distillation helps this "
                "student cannot be said."
            )
        else:
            seeds = len(document.gain.seeds)
            sentence = (
                f"{_answer(document, known)}: mean test accuracy goes {change} (95 % interval {interval(known)}, "
                f"paired over {seeds} seeds, better in {document.gain.wins} of {seeds})."
            )
    return where + sentence if where else sentence[0].upper() + sentence[1:]


def _chose(document: Document) -> str:
    """Who named the best: the grid alone, where trials after it have a winner of their own."""
    return "the grid's best is" if document.plain.keys() & {"tpe", "gp"} else "the search chose"


def _answer(document: Document, known: Estimate) -> str:
    """Whether distillation helps, as far as the gain of the search's best says."""
    low, high = known.interval
    if low <= 0 <= high:
        return "the data cannot say whether distillation helps this student"
    if low > 0 and not is_above_all_controls(document):
        return (
            f"the best pair is above the baseline{_on_few_images(document, known)}, but not surely above every control "
            "below, so that this is the teacher's doing is not shown"
        )
    return f"distillation {'helps' if low > 0 else 'harms'} this student{_on_few_images(document, known)}"


def _on_few_images(document: Document, known: Estimate) -> str:
    """That a difference between best and baseline may be one on these test images alone; nothing where it is not."""
    low, high = known.interval
    seeds = document.gain.seeds if document.gain is not None else []
    error = gain_image_error(document.arms["best"], document.arms["baseline"], seeds, document.data["test_images"])
    if low <= 0 <= high or holds_beyond_the_images(known, error):
        return ""
    stored = None not in (*document.arms["best"]["hits"], *document.arms["baseline"]["hits"])
    few = f"which {'are' if stored else 'may be'} too few to say it of others"
    return f" on these {document.data['test_images']:,} test images, {few}"


def _how_to_compare(document: Document) -> str:
    """The command that compares the best point with a teacher all the same; nothing where none ended.

    As the search has it, the best is the one with the highest mean where points have more seeds than one. One that was
    found after the grid is an arm already.
    """
    results = document.results
    ended = [(value, trial["alpha"], trial["temperature"]) for value, trial in scored(results["grid"] + results["tpe"])]
    of_finalists = [(statistics.fmean(one["values"]), one["alpha"], one["temperature"]) for one in results["finalists"]]
    distilled = [[point for point in points if point[1] != 0] for points in (of_finalists, ended)]
    if not any(distilled):
        return ""
    _, alpha, temperature = max(distilled[0] or distilled[1])
    if document.cell((alpha, temperature)) is None:
        return ""
    pair = {"--arm": ",".join(f"{value!r}".removesuffix(".0") for value in (alpha, temperature))}
    return (
        f" The best point with a teacher is compared with it over all seeds, on test, by `{_command(document, pair)}`."
    )


def _on_other_arms(document: Document) -> str | None:
    """What the arms gain that the search did not choose, where it chose one that is distilled."""
    others = _gains_of_others(document)
    if not others or document.gain is None or document.undistilled:
        return None
    return f"Of the other arms, against the baseline: {'; '.join(others)}."


def _between_arms(document: Document) -> str | None:
    """Each pair that was asked for without a search against the one before it."""
    names = [name for name in document.plain if document.gain_of(name) is not None]
    if document.is_searched or len(names) < 2:
        return None
    differences = []
    for before, after in itertools.pairwise(names):
        pairs = paired(document.arms[after], document.arms[before])
        if (known := pairs.estimate) is not None:
            differences.append(
                f"{arm_label(after, document.arms[after])} minus {arm_label(before, document.arms[before])} is "
                f"{points(known.mean)} (95 % interval {interval(known)}, better in {pairs.wins} of {len(pairs.seeds)})"
            )
    return f"Between them: {'; '.join(differences)}." if differences else None


def _gains_of_others(document: Document) -> list[str]:
    """What the distilled arms beside the search's best gain, each in words."""
    gains = []
    for name, arm in document.plain.items():
        pairs = document.gain_of(name) if name != "best" else None
        if pairs is not None:
            known = pairs.estimate
            spread = f"95 % interval {interval(known)}, {len(pairs.seeds)} seeds" if known else pairs.why_no_interval
            gains.append(f"{point(arm['alpha'], arm['temperature'])} is {points(pairs.mean)} ({spread})")
    return gains


def _given_arms(document: Document, gains: Sequence[str]) -> str:
    """What the arms that were asked for gain, where no search chose one."""
    if gains:
        return f"against the baseline, on test, {'; '.join(gains)}."
    ended = {name: arm["test_accuracy"] for name, arm in document.plain.items() if arm["test_accuracy"]}
    if not ended:
        return "no run has ended."
    if ended.keys() != {"baseline"}:
        return "no seed has finished in the baseline and another arm, so there is no verdict yet."
    only = (
        "so far the baseline alone has a run that ended"
        if len(document.plain) > 1
        else "the baseline alone was trained"
    )
    return f"{only}: {mean_and_deviation(ended['baseline'])} on test."


def _on_the_largest_class(document: Document) -> str | None:
    """Which arms are right no more often than who always names the largest class; None where all are."""
    sizes = document.test_images_by_class
    if not sizes:
        return None
    share = max(sizes) / sum(sizes)
    weak = [
        f"{arm_label(name, arm)} in {percent(statistics.fmean(arm['test_accuracy']))}"
        for name, arm in document.plain.items()
        if arm["test_accuracy"] and statistics.fmean(arm["test_accuracy"]) <= share
    ]
    if not weak:
        return None
    return f"Who always names the largest class of the test images is right in {percent(share)}, {' and '.join(weak)}."


def _on_images(document: Document) -> str | None:
    """How many images teacher and student saw, where they are not the same."""
    teachers = document.data["official_train_images"]
    students = document.data["train_images"] + document.data["validation_images"]
    if students >= teachers or not any(document.gain_of(name) for name in document.plain):
        return None
    saw = f"saw {teachers:,} images and the student {students:,}"
    if document.imported_teacher:
        saw = f"may have seen all {teachers:,} images, and the student saw {students:,}"
    return (
        f"The teacher {saw}: part of a gain may be the "
        f"{teachers - students:,} others, of which it learns by way of the teacher."
    )


def _on_the_border(document: Document) -> str | None:
    """Whether a better point may lie beyond the grid, and the command that looks there."""
    best = document.best
    if best is None or best["alpha"] == 0:
        return None
    values = {key: sorted(document.configuration[key]) for key in ("alphas", "temperatures")}
    borders = [
        *_borders("alpha", best["alpha"], values["alphas"], (0.0, 1.0)),
        *_borders("temperature", best["temperature"], values["temperatures"], (1.0, 16.0)),
    ]
    if not borders:
        return None
    where = f"The grid's best lies on its border ({' and '.join(map(str, borders))}), so a better one may lie beyond"
    if not document.results["tpe"]:
        return f"{where}; to look there: `{_command(document, {'--sampler': 'tpe', '--n-trials': '16'})}`."
    options = {"--study": f"{document.results['study']}-wider"}
    for key in values:
        beyond = [value for border in borders if key.startswith(border.key) for value in border.beyond]
        options[f"--{key}"] = ",".join(f"{value!r}".removesuffix(".0") for value in sorted({*values[key], *beyond}))
    there = _found_beyond(document, borders)
    return f"{where}. {there} A wider grid goes there: `{_command(document, options)}`."


@dataclass(frozen=True)
class Border:
    """A border of the grid that its best lies on.

    Attributes:
        beyond: values that a wider grid would have.
    """

    key: Literal["alpha", "temperature"]
    value: float
    is_largest: bool
    beyond: list[float]

    def __str__(self) -> str:
        name = "alpha" if self.key == "alpha" else "T"
        return f"{name} = {self.value:g} is the {'largest' if self.is_largest else 'smallest'}"

    def is_crossed_by(self, trial: Trial) -> bool:
        """Whether a trial lies beyond it."""
        return trial[self.key] > self.value if self.is_largest else trial[self.key] < self.value


def _borders(
    key: Literal["alpha", "temperature"], value: float, values: Sequence[float], limits: tuple[float, float]
) -> list[Border]:
    """The border that the best's value of one key lies on; none where nothing lies beyond."""
    low, high = limits
    if len(values) > 1 and value == values[-1] < high:
        return [Border(key, value, True, [(value + high) / 2, high] if key == "alpha" else [min(2 * value, high)])]
    if len(values) > 1 and value == values[0] > low:
        return [Border(key, value, False, [(value + low) / 2, low])]
    return []


def _found_beyond(document: Document, borders: Sequence[Border]) -> str:
    """What the trials after the grid found beyond the borders that the best lies on, in a sentence."""
    beyond = [trial for trial in document.results["tpe"] if any(border.is_crossed_by(trial) for border in borders)]
    if not beyond:
        return "No trial after the grid went there."
    values = [value for value, _ in scored(beyond)]
    if not values:
        found = "none of them to the end"
    elif len(values) == len(beyond):
        found = f"the best with {percent(max(values))}"
    else:
        found = f"of which {len(values)} came to the end, the best with {percent(max(values))}"
    return f"{count(len(beyond), 'trial')} after the grid went beyond it, {found}."


def _command(document: Document, options: Mapping[str, str]) -> str:
    """The last command that searched with other options; those of the search are left to them."""
    replaced = {*options, *SEARCHED_BY}
    commands = [start["command"] for start in document.results["manifest"]["starts"]]
    # One without a search does not name the grid.
    searching = [command for command in commands if not re.search("--sampler[ =]none", command)]
    kept, words = [], iter(shlex.split((searching or commands)[-1]))
    for word in words:
        if word == "--worker":  # of a process that another command started, in studies of format 1
            continue
        if word.split("=")[0] not in replaced:
            kept.append(word)
        elif "=" not in word:
            next(words, None)
    return shlex.join([*kept, *(word for option in options.items() for word in option)])


def _mean_over(seeds: Sequence[int], arm: Arm) -> float:
    return statistics.fmean(by_seed(arm)[seed] for seed in seeds)


def _verdict_on_point(document: Document) -> str:
    unfinished = document.search_is_open
    if not document.is_searched:
        return "No search was run, so it names no best alpha and T."
    if document.best is None:
        reason = "is not done" if unfinished else "ended without one complete point of the grid"
        return f"The search {reason}, so it names no best alpha and T."
    trained = [cell.standing for cell in document.grid if cell.repeats is None]
    near, others = trained.count("near best"), trained.count("near best") + trained.count("measured")
    pair = run_pair(document.best["alpha"], document.best["temperature"])
    named = _among_finalists(document, pair)
    beside = " the only complete point of the grid"
    if others:
        rest = f"{'the one other complete point' if others == 1 else f'all {others} other complete points'}"
        beside = f" and {rest} can be told apart from it by one seed"
    if near:
        rest = "the one other complete point" if others == 1 else f"{near} of the {others} other complete points"
        beside = f" and {rest} cannot be told apart from it by one seed"
        if near == others > 1:
            beside = f" and none of the {others} other complete points can be told apart from it by one seed"
    return (
        f"The {'unfinished ' if unfinished else ''}grid's best point is "
        f"{point(document.best['alpha'], document.best['temperature'])} with {percent(document.best['value'])} on "
        f"{document.validation_images:,} validation images,{beside}{named}.{_best_after_the_grid(document)}"
    )


def _best_after_the_grid(document: Document) -> str:
    """What TPE or a Gaussian process found beside the grid's best; nothing where they ended no trial."""
    results, after = document.results, scored(document.results["tpe"])
    best = next((cell.trial for cell in document.grid if cell.is_winner), None)
    if not after or best is None:
        return ""
    value, trial = max(after, key=lambda pair: pair[0])
    apart = are_apart(trial, best, results, count_compared(results["grid"] + results["tpe"]))
    is_better = best["value"] is not None and value > best["value"]
    held = f"is {'better' if is_better else 'worse'}" if apart else "cannot be told apart from it"
    found = f"{point(trial['alpha'], trial['temperature'])} with {percent(value)}"
    return f" The best after the grid is {found}, which {held}."


def _among_finalists(document: Document, pair: tuple[float, float]) -> str:
    """Where the grid's best stands among the points that have more seeds; nothing where it is none of them."""
    means = {
        (one["alpha"], one["temperature"]): (statistics.fmean(one["values"]), len(one["seeds"]))
        for one in document.results["finalists"]
    }
    if pair not in means:
        return ""
    highest = max(means, key=lambda one: means[one][0])
    mean, seeds = means[highest]
    if means[pair][0] == mean:
        return f"; of the finalists it has the highest mean over {seeds} seeds"
    return (
        f"; of the finalists {point(*highest)}, found after the grid, has the highest mean, {percent(mean)} over "
        f"{seeds} seeds, and it {percent(means[pair][0])}"
    )


def _verdict_on_original(document: Document) -> str:
    theirs = points(original.DISTILLED.mean - original.BASELINE.mean)
    if document.departures:
        return f"The original's gain of {theirs} is neither confirmed nor refuted by this changed protocol."
    judged, held = [], document.held_against_original
    for name, where in held.items():
        gain = document.gain_of(name)
        if gain is not None and gain.estimate is not None:
            judged.append(_beside(gain.estimate, original.gain(), where))
    if judged:
        gains = f"The original's gain of {theirs} {'; it '.join(judged)}."
        return f"{_on_the_baseline(document)}{gains}{_on_another_teacher(document)}"
    why = " without two seeds in both arms"
    if document.undistilled and held.keys() == {"best"}:
        why = ", as the search chose alpha = 0 and none of the points that it names was compared"
    elif not document.is_searched and distilled_arm(document.results) is not None and "best" in held:
        why = ", as none of the points that it names was compared"
    return f"{_on_the_baseline(document)}The original's gain of {theirs} cannot be judged{why}."


def _on_another_teacher(document: Document) -> str:
    """That the teachers are not equally good, where they are not: nothing within the rule's one point."""
    accuracy = document.teacher["test_accuracy"]
    if accuracy is None or abs(accuracy - original.TEACHER_ACCURACY) <= TOLERANCE:
        return ""
    return (
        f" Its teacher has {percent(original.TEACHER_ACCURACY)} on test and this one {percent(accuracy)}: a difference "
        "between the gains may come from that."
    )


def _on_the_baseline(document: Document) -> str:
    """Whether the original's baseline is met, from which every gain is counted; nothing before two seeds of ours."""
    theirs = original.BASELINE.estimate
    ours = estimate_of(document.arms["baseline"]["test_accuracy"]) if "baseline" in document.arms else None
    if ours is None:
        return ""
    return f"The original's baseline of {percent(theirs.mean)} {_beside(ours, theirs)}. "


def _beside(ours: Estimate, theirs: Estimate, where: str = "") -> str:
    """What the rule says of a number of the original's, and how far ours is from it."""
    words = {"yes": "is reproduced", "no": "is not reproduced", "cannot tell": "is neither confirmed nor refuted"}
    difference = ours - theirs
    return (
        f"{words[reproduced(ours, theirs)]}{where}: ours is {points(difference.mean)} from it (95 % Welch interval "
        f"{interval(difference)})"
    )
