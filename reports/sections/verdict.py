"""The verdict in a few sentences: does distillation help, at which point, and does the original's gain hold."""

import itertools
import statistics
from collections.abc import Sequence

from reports import original
from reports.evidence import (
    TOLERANCE,
    Estimate,
    Paired,
    by_seed,
    estimate_of,
    paired,
    reproduced,
    scored,
)
from reports.results import Arm, all_trials, images_of_comparison
from reports.sections.border import on_the_border
from reports.sections.commands import as_option, command_with
from reports.sections.controls import is_above_all_controls, rates_are_rough, verdict_on_controls
from reports.sections.document import Document, distilled_arm
from reports.sections.scoreboard import scoreboard
from reports.sections.tpe import on_test
from reports.sections.transfer import verdict_on_last_steps, verdict_on_search
from reports.sections.trust import unlike_arms
from reports.sections.words import (
    arm_label,
    capitalised,
    interval,
    mean_and_deviation,
    percent,
    point,
    points,
)
from reports.standing import are_apart, count_compared, count_competed
from storage.trials import run_pair

CALIBRATION_CHANGE = 0.01
"""Of the expected calibration error, from which on the verdict speaks of it."""


def verdict(document: Document) -> list[str]:
    """What every network reaches; does distillation help, at which point, and does the original's gain hold."""
    sentences = [
        _verdict_on_gain(document),
        verdict_on_search(document),
        _between_arms(document),
        _on_the_largest_class(document),
        _on_images(document),
        _verdict_on_point(document),
        on_the_border(document),
        _verdict_on_original(document) if document.original else None,
        verdict_on_controls(document),
        _on_calibration(document),
        verdict_on_last_steps(document),
        _on_unlike_arms(document),
        document.missing_runs(),
    ]
    return ["## Verdict", *scoreboard(document), "\n".join(f"- {sentence}" for sentence in sentences if sentence)]


def _on_calibration(document: Document) -> str | None:
    """What distillation does to how sure the student is, where that is more than a little."""
    distilled = []
    for name, arm in document.plain.items():
        pairs = document.paired_with_baseline(name, "calibration_error")
        known = None if pairs is None or not arm["alpha"] else pairs.estimate
        if known is not None and abs(known.mean) >= max(CALIBRATION_CHANGE, known.half_width):
            distilled.append(f"{percent(statistics.fmean(arm['calibration_error']))} for {arm_label(name, arm)}")
    if not distilled:
        return None
    without = statistics.fmean(document.arms["baseline"]["calibration_error"])
    return (
        f"The expected calibration error on test is {percent(without)} without a teacher, {', '.join(distilled)}; "
        "lower is better."
    )


def _on_unlike_arms(document: Document) -> str | None:
    """That the comparison may owe something to how its arms were made, in short."""
    unlike = unlike_arms(document)
    if not unlike:
        return None
    return (
        f"Not all arms were made alike ({', '.join(unlike)}, below): what that does is part of the differences between "
        "those that were not."
    )


def _verdict_on_gain(document: Document) -> str:
    others = _gains_of_others(document)
    if document.gain is None:
        sentence = _before_the_best(document, others)
    elif document.undistilled:
        sentence = _without_a_teacher(document, others)
    else:
        sentence = _with_a_teacher(document, document.gain)
    return f"On these synthetic images, {sentence}" if document.synthetic else capitalised(sentence)


def _before_the_best(document: Document, others: Sequence[str]) -> str:
    """What can be said where no search was run, or its best shares no seed with the baseline yet."""
    if not document.is_searched:
        return _given_arms(document, others)
    missing = "of the search's best " if others else ""
    sentence = f"the final comparison {missing}has not finished one seed in both arms, so there is no verdict yet"
    if document.search_is_open:
        sentence = "the search is not done, so its best is not compared yet and there is no verdict"
    return f"{sentence} on it.{_beside_it(others)}" if others else f"{sentence}."


def _without_a_teacher(document: Document, others: Sequence[str]) -> str:
    """That the search's best is alpha = 0, with what other arms gain, or how one is compared."""
    found = ""
    if not others:
        best = document.best["value"] if document.best is not None else 0.0
        distilled = [value for value, trial in scored(all_trials(document.results)) if trial["alpha"]]
        found = ", but no point with one ran to its end, so it says nothing of distillation"
        if distilled:
            found = ", so no gain from distillation was found" if max(distilled) <= best else ""
    reached = mean_and_deviation(document.arms["baseline"]["test_accuracy"])
    return (
        f"{_chose(document)} alpha = 0, which is training without the teacher{found}: the baseline reaches {reached} "
        f"on test.{_beside_it(others) or _how_to_compare(document)}"
    )


def _with_a_teacher(document: Document, gain: Paired) -> str:
    """What the search's best gains."""
    before, after = (_mean_over(gain.seeds, document.arms[name]) for name in ("baseline", "best"))
    change, known = f"from {percent(before)} to {percent(after)}, {points(gain.mean)}", gain.estimate
    if known is None:
        return (
            f"test accuracy goes {change}, but {gain.why_no_interval}: whether distillation helps this student cannot "
            "be said."
        )
    seeds = len(gain.seeds)
    return (
        f"{_answer(document, known)}: mean test accuracy goes {change} (95 % interval {interval(known)}, paired over "
        f"{seeds} seeds, better in {gain.wins} of {seeds})."
    )


def _beside_it(others: Sequence[str]) -> str:
    """What other arms gain, as a sentence; nothing where there are none."""
    return f" Against the baseline, on test, {'; '.join(others)}." if others else ""


def _chose(document: Document) -> str:
    """Who named the best: the grid alone, where trials after it have a winner of their own."""
    return "the grid's best is" if scored(document.results["tpe"]) else "the search chose"


def _answer(document: Document, known: Estimate) -> str:
    """Whether distillation helps, as far as the gain of the search's best says."""
    (low, high), few = known.interval, document.on_few_images(("best", "baseline"))
    if low <= 0 <= high:
        return "the data cannot say whether distillation helps this student"
    if low > 0 and not is_above_all_controls(document):
        return (
            f"the best pair is above the baseline{few}, but not surely above every control below, so that this is the "
            "teacher's doing is not shown"
        )
    return f"distillation {'helps' if low > 0 else 'harms'} this student{few}"


def _how_to_compare(document: Document) -> str:
    """The command that compares the best point with a teacher all the same; nothing where none ended.

    As the search has it, the best is the one with the highest mean where points have more seeds than one. One that was
    found after the grid is an arm already.
    """
    distilled = [ended for ended in scored(all_trials(document.results)) if ended[1]["alpha"] != 0]
    if not distilled:
        return ""
    _, best = max(distilled, key=document.rank)
    alpha, temperature = best["alpha"], best["temperature"]
    if document.cell((alpha, temperature)) is None:
        return ""
    command = command_with(document, {"--arm": as_option([alpha, temperature])})
    return f" The best point with a teacher is compared with it over all seeds, on test, by `{command}`."


def _between_arms(document: Document) -> str | None:
    """Each pair that was asked for without a search against the one before it."""
    names = [*document.gains]
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
    for name, pairs in document.gains.items():
        if name != "best":
            arm, known = document.arms[name], pairs.estimate
            spread = f"95 % interval {interval(known)}, {len(pairs.seeds)} seeds" if known else pairs.why_no_interval
            gains.append(f"{point(arm['alpha'], arm['temperature'])} is {points(pairs.mean)} ({spread})")
    return gains


def _given_arms(document: Document, gains: Sequence[str]) -> str:
    """What the arms that were asked for gain, where no search chose one."""
    if gains:
        known = {name: gain.estimate for name, gain in document.gains.items()}
        helps = all(estimate is not None and estimate.interval[0] > 0 for estimate in known.values())
        each = " at each pair" if len(known) > 1 else ""
        few = document.on_few_images(*((name, "baseline") for name in known))
        answer = f"distillation helps this student{each}{few}: " if helps else ""
        return f"{answer}against the baseline, on test, {'; '.join(gains)}."
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
    students = images_of_comparison(document.data)
    if students >= teachers or not document.gains:
        return None
    saw = f"saw {teachers:,} images and the student {students:,}"
    if document.imported_teacher:
        saw = f"may have seen all {teachers:,} images, and the student saw {students:,}"
    return (
        f"The teacher {saw}: part of a gain may be the "
        f"{teachers - students:,} others, of which it learns by way of the teacher."
    )


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
    rivals, least = count_competed(document.results["grid"]), "at least " if rates_are_rough(document) else ""
    pair = run_pair(document.best["alpha"], document.best["temperature"])
    named = _among_finalists(document, pair)
    luck = f", optimistic as the best of {rivals}" if rivals > 1 else ""
    if named:  # by its mean over several seeds, so that another may be higher by this one
        luck = " with the seed of the search"
    beside = " the only complete point of the grid"
    if others:
        rest = f"{'the one other complete point' if others == 1 else f'all {others} other complete points'}"
        few = ", by an error that the learning rates below show to be too small," if rates_are_rough(document) else ""
        beside = f" and{few} {rest} can be told apart from it by one seed"
    if near:
        rest = "the one other complete point" if others == 1 else f"{least}{near} of the {others} other complete points"
        beside = f" and {rest} cannot be told apart from it by one seed"
        if near == others > 1:
            beside = f" and none of the {others} other complete points can be told apart from it by one seed"
    return (
        f"The {'unfinished ' if unfinished else ''}grid's best point is "
        f"{point(document.best['alpha'], document.best['temperature'])} with {percent(document.best['value'])} on "
        f"{document.validation_images:,} validation images{luck},{beside}{named}.{_best_after_the_grid(document)}"
    )


def _best_after_the_grid(document: Document) -> str:
    """What TPE or a Gaussian process found beside the grid's best; nothing where they ended no trial."""
    results, after = document.results, scored(document.results["tpe"])
    best = next((cell.trial for cell in document.grid if cell.is_winner), None)
    if not after or best is None:
        return ""
    value, trial = max(after, key=lambda pair: pair[0])
    apart = are_apart(trial, best, results, count_compared(all_trials(results)))
    is_better = best["value"] is not None and value > best["value"]
    held = f"is {'better' if is_better else 'worse'}" if apart else "cannot be told apart from it"
    found = f"{point(trial['alpha'], trial['temperature'])} with {percent(value)}"
    return f" The best after the grid is {found}, which {held}.{on_test(document, trial)}"


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
    if distilled_arm(document.results) is None and not document.is_searched:
        return (
            f"{'' if document.departures else _on_the_baseline(document)}The original's gain of {theirs} is not "
            "judged: no distilled student has ended."
        )
    if document.departures:
        return f"The original's gain of {theirs} is neither confirmed nor refuted by this changed protocol."
    judged, held = [], document.held_against_original
    for name, where in held.items():
        gain = document.gains.get(name)
        if gain is not None and gain.estimate is not None:
            judged.append(_beside(gain.estimate, original.gain(), where))
    if judged:
        gains = f"The original's gain of {theirs} {'; it '.join(judged)}."
        return f"{_on_the_baseline(document)}{gains}{_on_another_teacher(document)}"
    why = " without two seeds in both arms"
    if document.undistilled and held.keys() == {"best"}:
        why = ", as the search chose alpha = 0 and none of the points that it names was compared"
    elif not document.is_searched and "best" in held:
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
