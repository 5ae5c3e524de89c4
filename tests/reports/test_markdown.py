"""The text of the report stays true, whatever the results are."""

import copy
import html
import re
import statistics
from typing import Any, cast

import pytest
from markdown_it import MarkdownIt
from scipy import stats

from reports.class_gains import changed_beyond_chance, gains_by_name
from reports.evidence import gain_image_error, luck_constant, scored, seed_deviation
from reports.figures import figures
from reports.markdown import render
from reports.original import departures
from reports.results import Results, count_failed
from reports.sections.document import Document
from reports.sections.transfer import transfers
from reports.sections.words import percent, plain
from storage.trials import MadeBy
from study.options import request_of
from tests.reports.conftest import DrawnCases
from tests.reports.made_up import (
    ALPHAS,
    TEMPERATURES,
    drop_run,
    made_up_arm,
    made_up_results,
    odd_cases,
    own,
    stop,
    with_controls,
)

CASES = odd_cases()


def verdict(results: Results) -> str:
    """Its sentences, without the table above them."""
    return render(results).split("## Verdict\n\n")[1].split("\n\n##")[0].split("\n\n")[-1]


def scoreboard(results: Results) -> list[list[str]]:
    rows = render(results).split("## Verdict\n\n")[1].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in (rows[0], *rows[2:])]


def claims(results: Results) -> str:
    return render(results).split("## The original's claims, one by one\n\n")[1].split("\n\n")[0]


@pytest.mark.parametrize("case", CASES)
def test_every_case_gives_a_whole_report(case: str) -> None:
    text = render(CASES[case])
    other = case == "synthetic" or case.startswith("own ")
    unsearched = case in ("arms without a search", "the baseline alone, before a teacher")
    distilled = case not in ("nothing finished", "no arms", "the baseline alone, before a teacher")
    claims = "Smaller and faster" if other else "The original's claims, one by one"
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == [
        "Verdict",
        "What was done",
        claims,
        *([] if unsearched else ["The search"]),
        "The comparison",
        *(["Is it the teacher?"] if distilled else []),
        "The data",
        "How far to trust it",
    ]
    assert "](figures/" not in text, "no figure is named that is not there"
    assert not re.search(r"\bNone\b|\bnan %|\{", text), "a value that is not known is not printed as such"


@pytest.mark.parametrize("case", CASES)
def test_every_figure_is_in_the_report_once(case: str, drawn_cases: DrawnCases) -> None:
    names = drawn_cases[case]
    text = render(CASES[case], names)
    assert re.findall(r"\]\(figures/(\w+)\.png\)", text) == [*names]


@pytest.mark.parametrize("case", CASES)
def test_no_value_of_a_pruned_or_failed_trial_is_shown(case: str) -> None:
    results = CASES[case]
    if all(cell["state"] == "MISSING" for cell in results["grid"]):
        return
    told = {f"{100 * value:.2f}" for value, _ in scored(results["grid"] + results["tpe"])}
    told |= {f"{100 * value:.2f}" for arm in results["arms"].values() for value in arm["test_accuracy"]}
    grid_part = render(results).split("## The search")[1].split("## The comparison")[0]
    for cell in results["grid"] + results["tpe"]:
        if cell["state"] in ("PRUNED", "FAIL"):
            for epoch in cell["curve"]:
                value = f"{100 * epoch['validation_accuracy']:.2f}"
                assert value in told or f"{value} %" not in grid_part


def test_a_pruned_cell_with_a_value_by_mistake_is_still_not_shown() -> None:
    results = made_up_results()
    results["grid"][4] |= {"state": "PRUNED", "value": 0.98765}
    assert "98.7" not in render(results, figures(results))
    assert "98.7" not in str(figures(results)["grid"].to_json())


def test_the_verdict_is_a_short_list_with_its_numbers() -> None:
    text = verdict(CASES["full protocol"])
    assert 3 <= len(text.splitlines()) <= 6
    assert all(line.startswith("- ") and line.endswith(".") for line in text.splitlines())
    assert text.startswith("- Distillation helps this student: mean test accuracy goes from ")
    assert "paired over 5 seeds, better in 5 of 5" in text
    assert "best point is alpha = 0.75, T = 4" in text


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("harm", "Distillation harms this student"),
        ("one seed", "whether distillation helps this student cannot be said"),
        ("alpha 0 best", "no gain from distillation was found"),
        ("no arms", "there is no verdict yet"),
        ("no shared seed", "there is no verdict yet"),
        ("no run of the best arm", "there is no verdict yet"),
        ("a failed run", "paired over 4 seeds"),
        ("all pruned", "ended without one complete point of the grid, so it names no best"),
        ("nothing finished", "The search is not done, so it names no best"),
        ("synthetic", "On these synthetic images, distillation helps this student"),
        ("finished", "neither confirmed nor refuted by this changed protocol"),
    ],
)
def test_the_verdict_says_what_the_results_allow(case: str, words: str) -> None:
    assert words in verdict(CASES[case])


def test_differences_around_zero_say_nothing() -> None:
    results = made_up_results("full")
    results["arms"]["best"]["test_accuracy"] = [
        value + 0.01 * sign
        for value, sign in zip(results["arms"]["baseline"]["test_accuracy"], (1, -1, 1, -1, 0), strict=True)
    ]
    text = verdict(results)
    assert text.startswith("- The data cannot say whether distillation helps this student")
    assert "better in 2 of 5" in text


def test_synthetic_images_are_named_first_and_are_not_held_against_the_original() -> None:
    text = render(CASES["synthetic"])
    assert "synthetic" in text.splitlines()[0]
    assert "**The images are synthetic.**" in text.split("## Verdict")[0]
    assert "Which best point: (0.25, 4)" not in text
    assert "table 2" not in text
    assert re.search(r"## Smaller and faster\n\n\| Quantity .*\n.*\n\| Parameters +\| 278,324 +\| 799,652", text)


@pytest.mark.parametrize("case", ["own images", "own images of many classes", "own student", "synthetic"])
def test_other_images_and_networks_are_not_held_against_the_original(case: str) -> None:
    text = render(CASES[case], figures(CASES[case]))
    assert "original" not in re.sub(r"\(figure \d of the original\)", "", text)
    assert ("synthetic" in text) == (case == "synthetic")


def test_own_images_and_networks_are_named() -> None:
    text = render(CASES["own images"])
    assert text.startswith("# Knowledge distillation on flowers: study `quick`\n")
    assert "A student (`mynets:TinyNet`, 799,652 parameters)" in text
    assert "teacher (`torchvision.models:resnet18`" in text
    assert "48 x 48 pixels, 3 channels" in text


def test_few_classes_of_ones_own_are_shown_with_intervals_and_many_as_the_ends_of_a_list() -> None:
    few, many = (render(CASES[case]) for case in ("own images", "own images of many classes"))
    assert "### Which classes gain" in few
    assert len(re.findall(r"^\| flower \d +\|.* to ", few, flags=re.MULTILINE)) == 7
    assert "Of 7 intervals" in few
    assert "would leave out zero" not in many
    assert len(re.findall(r"^\| flower \d+ +\|", many, flags=re.MULTILINE)) == 10
    assert "Groups of classes" not in few + many


def test_a_changed_protocol_is_named_first_and_judges_no_accuracy() -> None:
    text = render(CASES["finished"])
    opening = text.split("## Verdict")[0]
    assert "shortened or changed protocol" in text.splitlines()[0]
    for departure in ("teacher resnet20", "15,000 training images", "epochs 10", "batch size 64"):
        assert departure in opening
    rows = claims(CASES["finished"]).splitlines()[2:]
    judged = [row.split("|")[4].strip() for row in rows]
    assert judged == [
        "another teacher",
        *["-"] * 5,
        "another teacher",
        "yes",
        "another teacher",
    ]


def test_the_full_protocol_is_judged_by_the_rule() -> None:
    results = made_up_results("full")
    for name, values in {
        "baseline": [0.5372, 0.5365, 0.5379, 0.5370, 0.5374],
        "best": [0.5438, 0.5433, 0.5446, 0.5437, 0.5441],
    }.items():
        results["arms"][name]["test_accuracy"] = values
    results["teacher"]["test_accuracy"] = 0.7840
    judged = [row.split("|")[4].strip() for row in claims(results).splitlines()[2:]]
    assert judged[:4] == ["yes", "yes", "no", "no"]
    assert "gain of +2.67 points is not reproduced: ours is -2.00 points from it" in verdict(results)
    assert "The original's baseline of 53.72 % is reproduced: ours is +0.00 points from it (95 %" in verdict(results)
    results["arms"]["baseline"]["test_accuracy"] = [0.5572, 0.5565, 0.5579, 0.5570, 0.5574]
    assert "The original's baseline of 53.72 % is not reproduced: ours is +2.00 points from it" in verdict(results)
    assert "original's baseline" not in verdict(CASES["one seed"])
    assert "protocol" not in render(results).splitlines()[0]


def test_which_reading_is_said_from_the_test_images_where_both_points_were_trained() -> None:
    text = render(CASES["arms at both of the original's points"])
    part = text.split("### Which best point")[1].split("###")[0]
    assert "The data support (0.75, 4) as the better point: on test" in part
    assert "(0.75, 4) better in 5 of 5). The data do not say which of the two the original ran." in part
    part = render(CASES["full protocol"]).split("### Which best point")[1].split("###")[0]
    assert "On validation, one seed each" in part


def test_without_a_search_each_of_the_originals_points_is_held_against_its_accuracy_and_gain() -> None:
    results = copy.deepcopy(CASES["arms without a search"])
    arms = results["arms"]
    arms["0.25,4"] = made_up_arm(0.25, 4.0, (1, 2, 3, 4, 5), 0.57, 100)
    arms["baseline"]["test_accuracy"] = [0.5372, 0.5365, 0.5379, 0.5370, 0.5374]
    arms["0.25,4"]["test_accuracy"] = [0.5638, 0.5633, 0.5646, 0.5637, 0.5641]
    arms["0.75,4"]["test_accuracy"] = [0.5438, 0.5433, 0.5446, 0.5437, 0.5441]
    rows = [[cell.strip() for cell in row.split("|")[1:5]] for row in claims(results).splitlines()[2:]]
    judged = {claim: verdict for claim, _, _, verdict in rows}
    assert list(judged)[1:6] == [
        "Student without distillation, test accuracy",
        "Student with distillation at (0.25, 4), test accuracy",
        "Student with distillation at (0.75, 4), test accuracy",
        "Gain at (0.25, 4)",
        "Gain at (0.75, 4)",
    ]
    assert list(judged.values())[1:6] == ["yes", "yes", "no", "yes", "no"]
    assert "gain of +2.67 points is reproduced at (0.25, 4): ours is +0.00 points from it" in verdict(results)
    assert "; it is not reproduced at (0.75, 4): ours is -2.00 points from it" in verdict(results)
    # A search whose best is another point has that one beside them, one whose best is a point of them has it once.
    both = claims(CASES["arms at both of the original's points"])
    gains = re.findall(r"^\| (Gain.*?) +\|", both, flags=re.MULTILINE)
    assert gains == ["Gain at the search's best", "Gain at (0.25, 4)"]


def test_a_pruned_point_of_the_original_cannot_be_judged() -> None:
    results = made_up_results("full", pruned=((0.25, 4.0),))
    row = next(row for row in claims(results).splitlines() if "(0.25, 4)" in row)
    assert "pruned after epoch 50" in row
    assert "cannot tell" in row
    assert "Without both values" in render(results)


def test_variance_is_explained_only_where_every_cell_has_a_value() -> None:
    assert "Not computable: 3 of 16 grid points" in render(CASES["finished"])
    assert "| whole grid" in render(CASES["every cell complete"])


def pruning(results: Results) -> str:
    return render(results).split("### What pruning saved\n\n")[1].split("\n\n")[0]


def test_trials_that_ran_without_a_pruner_are_counted_apart_from_those_it_did_not_stop() -> None:
    results = made_up_results()
    assert "without a pruner" not in pruning(results)
    for cell in results["grid"][:3]:
        cell["pruner"] = "none"
    spared = sum(cell["repeats"] is None for cell in results["grid"][:3])
    assert f"{spared} trial{'s' * (spared > 1)} ran without a pruner" in pruning(results)


def test_whether_trials_were_pruned_is_asked_of_the_trials_and_not_of_the_last_command() -> None:
    results = made_up_results()
    results["search"]["workers"] = 2
    results["configuration"]["pruner"] = "none"
    assert pruning(results).startswith("The median pruner stopped 2 trials.")
    assert "Several workers shared the search" in render(results)
    results = made_up_results(pruned=())
    results["search"]["workers"] = 2
    for cell in results["grid"]:
        cell["pruner"] = None if cell["repeats"] is not None else "none"
    assert pruning(results).startswith("Pruning was switched off")
    assert "Several workers" not in render(results)


def test_before_a_trial_has_trained_nothing_is_said_of_pruning() -> None:
    results = made_up_results()
    for cell in results["grid"]:
        cell.update({"state": "MISSING", "value": None, "epochs": 0, "curve": [], "repeats": None, "pruner": None})
    results["grid"][0]["state"] = "RUNNING"
    assert pruning(results) == "No trial has trained an epoch yet."


def test_the_seeds_that_are_named_are_those_of_the_runs_there_are() -> None:
    results = made_up_results(seeds=(1, 2))
    results["configuration"] |= {"seeds": 1, "final_seeds": [1]}
    assert "The search has one seed (0); the comparison has others (1, 2), the same for every arm." in render(results)
    drop_run(results["arms"]["best"], 1)
    assert "the comparison has others (1, 2), not all of them in every arm." in render(results)
    results["arms"] = {}
    assert "The search has one seed (0); the comparison is to have another (1)." in render(results)


def test_an_unfinished_comparison_says_which_arm_has_how_many_of_the_planned_seeds() -> None:
    results = made_up_results("full", seeds=(1, 2, 3))
    results["configuration"] |= {"seeds": 5, "final_seeds": [1, 2, 3, 4, 5]}
    drop_run(results["arms"]["best"], 2)
    results["arms"]["best"]["failed"] = []
    words = "Not all of the planned seeds are done: baseline has 3 of 5, best has 2 of 5."
    assert verdict(results).endswith(words)
    assert "paired over 2 seeds" in verdict(results)
    assert "Not all of the planned" not in render(CASES["full protocol"])
    assert "Not all of the planned seeds are done: baseline has 5 of 5, best has 4 of 5 (1 failed)." in verdict(
        CASES["a failed run"]
    )


def test_an_arm_that_has_not_begun_is_missing_too() -> None:
    results = made_up_results("full")
    del results["arms"]["best"]
    assert verdict(results).endswith("baseline has 5 of 5, best has 0 of 5.")


def test_the_winner_of_tpe_is_missing_once_its_trials_have_ended() -> None:
    results = made_up_results("full", tpe_trials=3)
    assert verdict(results).endswith("baseline has 5 of 5, best has 5 of 5, tpe has 0 of 5.")
    results["search"]["tpe_trials"] = 4
    assert "Not all of the planned seeds" not in verdict(results)
    results["search"]["tpe_trials"] = 3
    complete = [trial for trial in results["tpe"] if trial["value"] is not None]
    # By its mean over more seeds another one is the winner, and it is compared.
    complete[0]["value"], complete[1]["value"] = 0.7, 0.65
    for trial in complete:
        trial["hits"] = None
    second = complete[1]["alpha"], complete[1]["temperature"]
    results["arms"]["tpe"] = made_up_arm(*second, (1, 2, 3, 4, 5), 0.55, 100)
    results["configuration"] |= {"finalists": 2, "finalist_seeds": 2}
    results["finalists"] = [
        {"alpha": trial["alpha"], "temperature": trial["temperature"], "seeds": [0, 10002], "values": values}
        for trial, values in zip(complete, ([0.7, 0.3], [0.65, 0.65]), strict=True)
    ]
    assert Document(results, ()).decided_winners["tpe"] == second
    assert "Not all of the planned seeds" not in verdict(results)


def test_controls_of_a_former_winner_are_not_missing() -> None:
    results = with_controls(made_up_results("full"))
    results["arms"]["0.5,2 shuffled"] = copy.deepcopy(results["arms"]["shuffled"])
    results["arms"]["0.5,2 shuffled"].update({"alpha": 0.5, "temperature": 2.0})
    for index in (4, 3):
        drop_run(results["arms"]["0.5,2 shuffled"], index)
    assert "Not all of the planned seeds" not in verdict(results)
    drop_run(results["arms"]["shuffled"], 4)
    assert "best has 5 of 5, shuffled has 4 of 5 (1 failed), smoothing has 5 of 5" in verdict(results)


def test_first_weights_that_no_seed_changes_are_said() -> None:
    results = made_up_results()
    words = "The first weights of StudentCNN are the same whatever the seed"
    assert words not in render(results)
    results["student"]["fixed_weights"] = True
    results["student"]["name"] = "StudentCNN"
    assert words in render(results)


def test_of_equal_points_with_a_teacher_the_one_that_the_search_ranks_first_is_to_be_compared() -> None:
    results = made_up_results("full", best=(0.0, 1.0))
    for trial in results["grid"]:
        if trial["value"] is not None:
            trial["value"] = 0.5 if trial["alpha"] == 0 else 0.3
    assert "--arm 0.25,2`" in verdict(results), "and not one that came later"


def test_a_gain_that_was_found_after_the_grid_is_not_denied() -> None:
    results = made_up_results("full", best=(0.0, 1.0), tpe_trials=3)
    for trial in (*results["grid"], *results["tpe"]):
        if trial["value"] is not None:
            trial["value"] = 0.5 if trial["alpha"] == 0 else 0.3
    assert "The grid's best is alpha = 0, which is training without the teacher, so no gain from" in verdict(results)
    trial = next(trial for trial in results["tpe"] if trial["value"] is not None)
    trial["value"] = 0.6
    assert "so no gain from distillation" not in verdict(results)
    assert "The best after the grid is" in verdict(results)


def test_a_best_of_finalists_is_not_called_the_best_of_all_by_one_seed() -> None:
    results = made_up_results("full")
    luck = "5,000 validation images, optimistic as the best of"
    assert luck in verdict(results)
    results["finalists"] = [{"alpha": 0.75, "temperature": 4.0, "seeds": [0, 10002], "values": [0.56, 0.54]}]
    assert luck not in verdict(results)
    assert "5,000 validation images with the seed of the search" in verdict(results)


@pytest.mark.parametrize(
    ("workers", "options", "is_said"),
    [
        (2, "", True),
        (1, " --workers 2", False),  # the second found nothing to do
        (None, "", False),
        (None, " --workers 2", True),
        (None, " --workers 12", True),
        (None, " --workers 1", False),
        (None, " --worker", True),
    ],
)
def test_several_workers_are_said_also_where_they_were_not_counted(
    workers: int | None, options: str, is_said: bool
) -> None:
    results = made_up_results()
    results["search"]["workers"] = workers
    (start,) = results["manifest"]["starts"]
    start["command"] += options
    assert ("Several workers shared the search." in render(results)) == is_said


def test_an_unfinished_search_says_how_much_of_it_is_missing() -> None:
    results = made_up_results(tpe_trials=5)
    results["search"]["tpe_trials"] = 32
    for cell in results["grid"][12:14]:
        cell.update({"state": "MISSING", "value": None, "epochs": 0, "curve": [], "number": None, "pruner": None})
    text = render(results)
    assert "The grid has 16 points: 11 complete, 2 pruned, 1 failed, 2 not finished." in text
    assert "The unfinished grid's best point" in verdict(results)
    assert "TPE went on from the grid for 5 of 32 trials, 3 complete." in text


def test_the_share_of_noise_says_that_it_is_an_upper_bound() -> None:
    text = render(CASES["every cell complete"]).split("### What alpha and T explain")[1].split("###")[0]
    assert "validation images alone, at most" in text
    assert "an upper bound" in text
    assert "counts the one trial of alpha = 0 as 4" in text


@pytest.mark.parametrize(
    "text", ["![x](http://evil/a.png)", "<img src=x>", "a_b `c` *d* **e**", "[a](b) &lt; ~~s~~ \\*"]
)
def test_markdown_and_html_from_outside_are_shown_as_they_are_written(text: str) -> None:
    results = made_up_results()
    results["teacher"]["origin"] = f"imported from {text}"
    results["grid"][11]["reason"] = text
    results["arms"]["best"]["failed"] = [{"seed": 9, "reason": text}]
    results["data"]["classes"] = [f"{text} {index}" for index in range(100)]
    results["data"]["name"] = text
    results["manifest"]["starts"][0]["hardware"] = {"name": text}
    page = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).render(render(results))
    shown = {html.escape(text), html.escape(text.replace("_", " "))}  # names of classes have blanks there
    assert sum(map(page.count, shown)) >= 10 + 5
    assert not re.search(r"<(img|a|s)\b", page)
    assert text not in render(results), "a code host shows HTML too"


def test_an_underscore_is_escaped_only_where_it_would_mean_something() -> None:
    assert plain("_a_ x86_64") == r"\_a\_ x86_64"


def test_failed_trials_and_runs_are_named_with_their_reasons() -> None:
    assert "trial 11 at alpha = 0.5, T = 8: the loss became nan in epoch 6" in render(CASES["finished"])
    assert "best, seed 3: the loss became nan in epoch 3" in render(CASES["a failed run"])


def test_text_from_outside_cannot_break_a_table() -> None:
    results = made_up_results()
    results["teacher"]["origin"] = "study | run\nagain"
    assert "study \\| run again" in render(results)


def test_starts_of_a_study_are_listed_and_repeated_in_order() -> None:
    results = made_up_results()
    (start,) = results["manifest"]["starts"]
    start |= {"command": "python -m study.run", "commit": "aaa"}
    results["manifest"]["starts"].append(
        {**start, "command": "python -m study.run --sampler tpe", "commit": "bbb+changes"}
    )
    text = render(results)
    commands = ("python -m study.run", "python -m study.run --sampler tpe")
    assert f"git checkout aaa\n{commands[0]}\ngit checkout bbb\n{commands[1]}\n" in text
    results["manifest"]["starts"].append({**start, "commit": "ccc"})
    again = render(results)
    assert f"git checkout aaa\n{commands[0]}\ngit checkout bbb\n{commands[1]}\n```" in again, "it went on, no more"
    assert "over several commits (aaa, bbb+changes, ccc); each command stands at the first that ran it" in again
    assert "draw their views independently" not in again
    results["configuration"]["draws"] = "independent"
    assert "Runs of different seeds draw their views independently; arms of one seed share them." in render(results)
    assert "left over" not in render(results)
    results["configuration"]["recipe"]["batches"] = "remainder"
    assert "left over from whole batches of 64: 24 in the search and 32 in the comparison." in render(results)
    unsearched = copy.deepcopy(CASES["arms without a search"])
    unsearched["configuration"]["recipe"] |= {"batches": "remainder", "batch_size": 64}
    assert re.search(r"left over from whole batches of 64: \d+\. A later version", render(unsearched))
    assert re.search(r"\| 2025-01-01 10:00 \| bbb\+changes +\| cpu, a made-up processor, 2 threads, Linux", text)
    assert again.count("| 2025-01-01 10:00 |") == 3
    assert "changes that are in no commit" in text
    for digest in (results["data"]["hash"], results["teacher"]["hash"]):
        assert text.count(str(digest)) == 1, "each hash stands once, in the manifest"


def test_arms_without_a_search_have_a_verdict_of_their_own() -> None:
    text = render(CASES["arms without a search"])
    assert "- Distillation helps this student: against the baseline, on test, alpha = 0.75, T = 4 is +" in text
    assert "5 seeds)" in text
    assert "No search was run, so it names no best alpha and T." in text
    assert "The search is not done" not in text
    assert "What pruning saved" not in text
    assert "The comparison has seeds (1, 2, 3, 4, 5), the same for every arm." in text
    assert "No controls were run: they stand beside the best pair of a search." in text
    assert "during the search" not in text
    assert "| Student, (0.75, 4) " in text
    assert "What 5 seeds can and cannot show" in text
    assert "| Class | baseline | (0.75, 4) | Gain, points | 95 % t interval |" in re.sub(" +", " ", text)
    assert "Best alpha and T" not in claims(CASES["arms without a search"])
    assert "Search trains on" not in text
    assert {"groups", "classes", "loss_with_distillation"} <= figures(CASES["arms without a search"]).keys()
    alone = render(CASES["the baseline alone, before a teacher"])
    assert "The baseline alone was trained: " in alone
    assert "| Teacher, test accuracy " in alone


def test_finalists_are_shown_with_their_means_and_how_often_they_would_win() -> None:
    results = made_up_results()
    assert "Finalists" not in render(results)
    results["configuration"] |= {"finalists": 2, "finalist_seeds": 3}
    results["finalists"] = [
        {"alpha": 0.75, "temperature": 4.0, "seeds": [0, 10002, 10003], "values": [0.47, 0.46, 0.45]},
        {"alpha": 0.5, "temperature": 8.0, "seeds": [0, 10002], "values": [0.46, 0.48]},
    ]
    for cell in results["grid"]:
        for finalist in results["finalists"]:
            if (cell["alpha"], cell["temperature"]) == (finalist["alpha"], finalist["temperature"]):
                cell.update({"state": "COMPLETE", "value": finalist["values"][0]})
    text = render(results).split("### Finalists")[1].split("##")[0]
    assert (
        "winner's validation accuracy of 46.00 % is optimistic: it is over 3 seeds, the best of 2 finalists of "
        "the grid" in render(results)
    )
    assert "1 of these trainings has not ended." in text
    assert "The search has one seed (0), and its finalists more (10002, 10003); the comparison has" in render(results)
    assert "46.00 % ± 0.58 %" in text
    assert "Finalists are never pruned and not counted here." in render(results)
    assert "so that in this one seed another may be higher." in render(results)
    assert "another may be higher" not in render(made_up_results())
    assert "2 points with the highest accuracy" in text
    results["finalists"][1]["seeds"].append(10003)
    results["finalists"][1]["values"].append(0.47)
    assert "not ended" not in render(results)
    # Another beyond the grid, which has the highest mean, and one that is no finalist any more.
    others = [{"alpha": 0.6, "temperature": 3.0, "seeds": [0, 10002], "values": [0.49, 0.49]}]
    others += [{"alpha": 0.25, "temperature": 1.0, "seeds": [0, 10002], "values": [0.2, 0.2]}]
    more = {**results, "finalists": [*results["finalists"], others[0]]}
    assert "the best of 2 finalists of the grid" in render(cast(Any, more)), "of which the grid's winner is the best"
    assert "not ended" not in render(cast(Any, {**results, "finalists": [*results["finalists"], others[1]]}))
    results["configuration"]["finalists"] = 20  # more than there are points
    assert "11 points with the highest accuracy" in render(results)
    assert "18 of these trainings have not ended." in render(results)


def test_copies_of_training_images_are_counted_where_they_were_looked_for() -> None:
    results = made_up_results()
    del results["data"]["copies"]
    assert "Whether test images are training images too was not counted. A tenth of CIFAR-100's" in render(results)
    results["data"]["copies"] = {"test": 10, "validation": 2}
    text = render(results)
    assert "Test images that are training images too, pixel by pixel: 10 of 10,000; validation images that" in text
    assert "a tenth of CIFAR-100's test images" in text
    assert "no student trains on them during the search, but for the copies named above." in text
    others = own(made_up_results(), 7)
    others["data"]["copies"] = {"test": 0, "validation": 0}
    assert "No test image is a training image too, pixel by pixel, and no validation image is" in render(others)
    assert "no student trains on them during the search." in render(others)
    assert "CIFAR-100's test images" not in render(others)
    unsearched = copy.deepcopy(CASES["arms without a search"])
    unsearched["data"]["copies"] = {"test": 10, "validation": 2}
    assert "pixel by pixel: 10 of 10,000. What is scored on them" in render(unsearched)
    unsearched["data"]["copies"]["test"] = 0
    assert "No test image is a training image too, pixel by pixel. Images" in render(unsearched)


def test_of_an_imported_teacher_it_is_not_known_what_it_saw() -> None:
    results = made_up_results()
    assert "The teacher was trained on the whole training set" in render(results)
    assert "The teacher saw 50,000 images and the student 20,000" in render(results)
    results["teacher"]["origin"] = "imported from elsewhere.pth"
    assert "What an imported teacher was trained on is not known here" in render(results)
    without = copy.deepcopy(CASES["arms without a search"])
    without["teacher"]["origin"] = "imported from elsewhere.pth"
    assert "What an imported teacher was trained on is not known here" in render(without)
    assert "The teacher may have seen all 50,000 images, and the student saw 20,000" in render(results)
    assert "was trained on the whole training set" not in render(results)


def test_nothing_is_said_of_what_the_grid_does_not_have() -> None:
    """Of alpha = 0 and of other points where there are none, nor that pruning hides what has not run yet."""
    results = made_up_results(pruned=(), failed=())
    assert "counts the one trial of alpha = 0" in render(results)
    results["configuration"]["alphas"] = [0.25, 0.5, 0.75]
    results["grid"] = [cell for cell in results["grid"] if cell["alpha"] != 0]
    text = render(results)
    assert "What alpha and T explain" in text
    assert "alpha = 0" not in text.split("### What alpha and T explain")[1].split("###")[0]
    stop(results["grid"][0], "RUNNING", 10)
    assert "Not computable yet: 1 of 12 grid points has no value." in render(results)
    results["configuration"] |= {"alphas": [0.75], "temperatures": [4.0]}
    results["grid"] = [cell for cell in results["grid"] if (cell["alpha"], cell["temperature"]) == (0.75, 4.0)]
    text = render(results)
    assert "on 5,000 validation images, the only complete point of the grid." in verdict(results)
    assert "it is the best of" not in text


def test_pruning_is_named_for_missing_values_only_where_it_is_the_reason() -> None:
    results = made_up_results(pruned=(), failed=((0.5, 8.0),))
    text = render(results).split("### What alpha and T explain")[1].split("###")[0]
    assert text.strip() == "Not computable: 1 of 16 grid points has no value."
    text = render(made_up_results(pruned=((0.5, 8.0),), failed=((0.5, 1.0),))).split("### What alpha and T explain")[1]
    assert "gives a full grid" not in text.split("###")[0], "not where a point fails"
    text = render(made_up_results(pruned=((0.5, 8.0),), failed=())).split("### What alpha and T explain")[1]
    assert "Bad points are the ones that are pruned" in text.split("###")[0]
    zero = made_up_results(pruned=tuple((0.0, temperature) for temperature in (1.0, 2.0, 4.0, 8.0)), failed=())
    text = render(zero).split("### What alpha and T explain")[1].split("###")[0]
    assert "| without alpha = 0" in text
    assert "counts the one trial of alpha = 0" not in text, "the row that counts it is not there"
    two = made_up_results(pruned=(), failed=())
    two["configuration"]["alphas"] = [0.0, 0.75]
    two["grid"] = [cell for cell in two["grid"] if cell["alpha"] in (0.0, 0.75)]
    text = render(two).split("### What alpha and T explain")[1].split("###")[0]
    assert "| without alpha = 0" not in text, "one row has no shares"
    assert "counts the one trial of alpha = 0 as 4" in text


def test_a_search_that_chose_no_distillation_does_not_speak_for_arms_that_were_asked_for() -> None:
    results = copy.deepcopy(CASES["alpha 0 best"])
    assert "no gain from distillation was found" in verdict(results)
    ended = [cell for cell in results["grid"] if cell["alpha"] and cell["state"] == "COMPLETE"]
    second = max(ended, key=lambda cell: cell["value"] or 0.0)
    asks = f"--arm {second['alpha']:g},{second['temperature']:g}`"
    assert asks in verdict(results), "of what was not compared nothing is known"
    one, other = (
        {"alpha": 0.25, "temperature": t, "seeds": [0, 1], "values": [0.5, v]} for t, v in ((2.0, 0.1), (8.0, 0.2))
    )
    assert "--arm 0.25,8`" in verdict(cast(Any, {**results, "finalists": [one, other]})), "their means count"
    assert "| Student, best" not in render(results), "its runs are the baseline's"
    results["arms"]["0.5,2"] = made_up_arm(0.5, 2.0, (1, 2, 3, 4, 5), 0.57, 100)
    text = verdict(results)
    assert "no gain from distillation was found" not in text
    assert asks not in text, "there is a comparison"
    assert "Against the baseline, on test, alpha = 0.5, T = 2 is +" in text
    assert "cannot be judged, as the search chose alpha = 0 and none of the points that it names was compared" in text
    results["arms"]["0.75,4"] = made_up_arm(0.75, 4.0, (1, 2, 3, 4, 5), 0.57, 100)
    assert "at (0.75, 4): ours is" in verdict(results)


def test_an_arm_that_is_right_no_more_often_than_who_names_the_largest_class_is_named() -> None:
    results = made_up_results()
    assert "Who always names the largest class" not in verdict(results)
    for name, arm in results["arms"].items():
        arm["images_by_class"] = [6_000, *[4_000 // 99] * 99]
        arm["test_accuracy"] = [0.6024 if name == "baseline" else 0.6025] * len(arm["seeds"])
    text = verdict(results)
    named = "largest class of the test images is right in 60.24 %, baseline (no teacher) in 60.24 %.\n"
    assert named in text


def test_a_command_that_goes_on_with_the_search_is_the_last_one_that_searched() -> None:
    results = made_up_results(best=(0.75, 4.0))
    first = results["manifest"]["starts"][-1]
    searched = {**first, "command": "python -m study.run --alphas 0,0.5,0.75 --pruner none"}
    alone = {**first, "command": "python -m study.run --sampler none --arm 0.3,3"}
    results["manifest"]["starts"] = cast(Any, [searched, alone])
    command = "\npython -m study.run --alphas 0,0.5,0.75 --pruner none --sampler tpe --n-trials 16\n"
    assert command in render(results).split("## The search")[1].split("###")[0]


def test_arms_that_were_asked_for_are_missing_before_a_run_of_them_has_begun() -> None:
    results = made_up_results()
    start = results["manifest"]["starts"][-1]
    results["manifest"]["starts"] = [{**start, "command": f"{start['command']} --arm 0.3,2 --arm 0.75,4"}]
    assert "baseline has 5 of 5, best has 5 of 5, (0.3, 2) has 0 of 5." in verdict(results)
    del results["arms"]["best"]
    assert "baseline has 5 of 5, best has 0 of 5, (0.3, 2) has 0 of 5." in verdict(results), (
        "(0.75, 4) will be the best"
    )


def test_a_gain_that_other_test_images_may_not_show_is_said_to_be_one() -> None:
    results = made_up_results("full")
    assert verdict(results).startswith("- Distillation helps this student: mean")
    results["data"]["test_images"] = 100
    for arm in results["arms"].values():
        arm["hits"] = [None] * len(arm["seeds"])
    words = "Distillation helps this student on these 100 test images, which may be too few to say it of others: mean"
    assert verdict(results).startswith(f"- {words}")


def test_arms_whose_baseline_has_not_ended_are_not_said_to_be_none() -> None:
    results = copy.deepcopy(CASES["arms without a search"])
    arms = results["arms"]
    whole = copy.deepcopy(arms)
    for name in arms:
        if name != "baseline":
            arms[name] = made_up_arm(arms[name]["alpha"], 4.0, (), 0.5, 100)
    text = verdict(results)
    assert "So far the baseline alone has a run that ended: " in text
    results["arms"] = {**whole, "baseline": made_up_arm(0.0, 1.0, (), 0.5, 100)}
    assert "No seed has finished in the baseline and another arm, so there is no verdict yet." in verdict(results)
    assert "No seed has finished in the baseline and another arm yet, so there is no" in render(results)
    results["arms"] = {name: made_up_arm(arm["alpha"], 4.0, (), 0.5, 100) for name, arm in whole.items()}
    assert "No run has ended." in verdict(results)
    results["arms"] = {"baseline": whole["baseline"]}
    assert "The baseline alone was trained: " in verdict(results)


def test_runs_that_arms_share_are_counted_once() -> None:
    results = copy.deepcopy(CASES["alpha 0 best"])
    for name in ("baseline", "best"):
        results["arms"][name]["seconds"] = [60.0] * 5
        results["arms"][name]["failed"] = [{"seed": 6, "reason": "out of memory"}]
    text = render(results)
    assert "Their training took 5 minutes in all" in text
    assert text.count("seed 6: out of memory") == 1
    assert count_failed(results) - count_failed(CASES["alpha 0 best"]) == 1


def test_classes_that_no_validation_image_has_are_counted() -> None:
    results = made_up_results()
    assert "5,000 of the training set, kept apart |" in re.sub(" +", " ", render(results))
    results["data"]["not_validated"] = 2
    assert "5,000 of the training set, kept apart; none of 2 classes |" in re.sub(" +", " ", render(results))


def test_what_repeats_a_study_names_its_teacher() -> None:
    results = made_up_results()
    assert f"Its teacher has the weights `{str(results['teacher']['hash'])[:12]}`" in render(results)
    results["teacher"]["hash"] = None
    assert "Its teacher has the weights" not in render(results)


def test_without_a_search_other_points_say_nothing_of_the_original() -> None:
    results = copy.deepcopy(CASES["arms without a search"])
    results["arms"]["0.5,2"] = results["arms"].pop("0.75,4")
    results["arms"]["0.5,2"].update({"alpha": 0.5, "temperature": 2.0})
    assert "cannot be judged, as none of the points that it names was compared" in verdict(results)


def test_a_best_arm_without_runs_is_not_the_only_one_that_is_spoken_of() -> None:
    results = copy.deepcopy(CASES["no run of the best arm"])
    results["arms"]["0.25,4"] = made_up_arm(0.25, 4.0, (1, 2, 3, 4, 5), 0.57, 100)
    text = verdict(results)
    assert "of the search's best has not finished one seed in both arms, so there is no verdict yet on it." in text
    assert "Against the baseline, on test, alpha = 0.25, T = 4 is +" in text


def test_what_the_original_leaves_unsaid_is_named_under_its_protocol_only() -> None:
    assert "momentum (none)" in render(CASES["full protocol"])
    assert "momentum (none)" not in render(CASES["finished"])
    results = made_up_results("full")
    results["configuration"]["recipe"]["momentum"] = 0.9
    assert "**: momentum 0.9 instead of none, which the original does not name. The numbers" in render(results)
    results = made_up_results("full")
    results["configuration"]["recipe"]["optimizer"] = "adamw"
    assert "**: AdamW instead of stochastic gradient descent. The numbers" in render(results)
    assert "momentum (none)" not in render(results)


def test_what_is_small_is_not_shown_as_nothing() -> None:
    results = made_up_results()
    results["student"]["multiply_adds"] = 12_345
    results["student"]["peak_memory_bytes"] = {"1": 0, "128": 51_000}
    results["search"]["seconds"] = 1.2
    text = render(results)
    assert re.search(r"\| Multiply-adds, one image +\| \d[\d,.]* million +\| 0\.012 million ", text)
    assert re.search(r"\| Peak memory, batch 1 +\| \d[\d,.]* MB +\| 0\.0 MB ", text), "what is nothing is"
    assert "Training took 1 second in all." in text


def test_a_sign_flip_test_is_ruled_out_only_where_it_could_never_say_anything() -> None:
    assert "cannot give a p-value below 0.0625" in render(CASES["full protocol"])
    six = render(made_up_results("full", seeds=(1, 2, 3, 4, 5, 6)))
    assert "What 6 seeds can and cannot show" in six
    assert "sign-flip" not in six


def test_intervals_are_counted_only_where_there_are_any() -> None:
    assert "intervals of 95 %" in render(CASES["full protocol"])
    assert "intervals of 95 %" not in render(CASES["one seed"])


def test_the_power_of_the_rule_is_printed_beside_it() -> None:
    text = render(CASES["full protocol"])
    assert re.search(r"over 5 runs, .* an exact replication gets \*yes\* in about [56]\d % of cases", text)
    assert "The rule for means" not in render(CASES["finished"]), "no mean is judged there"
    assert "One run of an arm has no interval, so the rule cannot say *yes* of it." in render(CASES["one seed"])


def test_the_verdict_says_how_many_images_teacher_and_student_saw_where_they_differ() -> None:
    assert "The teacher saw 50,000 images and the student 20,000: part of a gain may be the 30,000" in verdict(
        CASES["finished"]
    )
    assert "The teacher saw" not in verdict(CASES["full protocol"])


def look_beyond(results: Results) -> str:
    return render(results).split("Beyond the border on which the best lies looks ")[1].split("```")[1][3:-1]


def test_a_best_on_the_border_is_named_with_the_command_that_looks_beyond() -> None:
    results = made_up_results()
    assert "border (alpha = 0.75 is the largest), so a better one may lie beyond.\n" in verdict(results)
    assert look_beyond(results) == "python -m study.run --preset quick --sampler tpe --n-trials 16"
    results = made_up_results(best=(0.75, 8.0), pruned=(), tpe_trials=3)
    command = "python -m study.run --preset quick --sampler=tpe --n-trials 3 --controls --worker --workers 2"
    results["manifest"]["starts"][-1]["command"] = command
    assert "(alpha = 0.75 is the largest and T = 8 is the largest)" in verdict(results)
    assert look_beyond(results) == (
        "python -m study.run --preset quick --workers 2 --study quick-wider --alphas 0,0.25,0.5,0.75,0.875,1 "
        "--temperatures 1,2,4,8,16"
    )
    assert "border" not in render(made_up_results(best=(0.5, 2.0)))
    assert "border" not in render(made_up_results(best=(0.5, 1.0))), "there is no T below 1"
    assert "border" not in render(CASES["alpha 0 best"])


def test_the_commands_of_the_border_are_taken_by_the_command_line() -> None:
    results = made_up_results(best=(0.75, 8.0), pruned=(), tpe_trials=3)
    for tried in (results["tpe"], []):
        results["tpe"] = tried
        request = request_of(look_beyond(results).split()[3:], None)
        assert (0.875 in request.configuration.alphas) == bool(tried)


def test_who_went_on_from_the_grid_is_named() -> None:
    results = made_up_results(tpe_trials=4)
    assert "### Beyond the grid: TPE\n\nTPE went on from the grid for 4 trials" in render(results)
    results["tpe"][3]["sampler"] = "gp"
    assert "### Beyond the grid: TPE and a Gaussian process\n" in render(results)
    for trial in results["tpe"]:
        trial["sampler"] = "gp"
    results["arms"]["gp"] = results["arms"]["best"]
    assert "A Gaussian process went on from the grid" in render(results)
    words = "On test, a Gaussian process's point (alpha = 0.75, T = 4) minus the grid's best is +0.00 points"
    assert words in render(results)


def test_a_point_is_the_originals_only_once_nothing_can_become_better() -> None:
    results = made_up_results("full", pruned=(), failed=())
    where = r"\(0\.75, 4\), its section 3\.2 +\| [\d.]+ % on validation"
    alike = rf"{where}, the best, but \d+ cannot be told apart from it +\| cannot tell "
    assert re.search(alike, claims(results)), "one seed of many alike says not which is best"
    for cell in results["grid"]:
        if cell["alpha"] != 0.75 or cell["temperature"] != 4:
            cell.update({"value": 0.31 if cell["alpha"] == 0.5 and cell["temperature"] == 4 else 0.3, "hits": None})
    assert re.search(rf"{where}, the best +\| yes ", claims(results))
    stopped = copy.deepcopy(results)
    stopped["grid"][-1].update({"state": "PRUNED", "value": None})
    assert re.search(rf"{where}, the best; 1 did not run to the end +\| cannot tell ", claims(stopped))
    row = r"\(0\.75, 4\), its section 3\.2 +\| [\d.]+ % on validation, the best so far +\| cannot tell "
    asked = copy.deepcopy(results)
    asked["configuration"] |= {"finalists": 2, "finalist_seeds": 2}
    for open_search in (asked, copy.deepcopy(results)):
        if open_search is not asked:
            open_search["grid"][-1].update({"state": "RUNNING", "value": None, "curve": []})
        assert re.search(row, claims(open_search))
        assert "The unfinished grid's best point" in verdict(open_search)
    asked["finalists"] = [
        {"alpha": alpha, "temperature": temperature, "seeds": [0, 10002], "values": [0.4, 0.4]}
        for alpha, temperature in ((0.75, 4.0), (0.5, 4.0))
    ]
    assert " yes " in claims(asked).split("its section 3.2")[1].split("\n")[0]


def test_images_of_a_search_that_was_not_run_are_no_departure() -> None:
    results = copy.deepcopy(CASES["arms without a search"])
    results["configuration"]["train_images"] = 40_000
    results["data"] |= {"train_images": 40_000, "validation_images": 10_000}
    assert departures(results) == []
    results["data"] |= {"train_images": 12_000, "validation_images": 5_000}
    assert departures(results) == ["17,000 images in the comparison instead of 50,000"]
    assert departures(made_up_results("full")) == []
    both = departures(CASES["finished"])
    assert "15,000 training images in the search instead of 45,000 or more" in both
    assert "20,000 images in the comparison instead of 50,000" in both


def test_images_that_no_training_of_the_comparison_sees_are_a_departure() -> None:
    results = copy.deepcopy(CASES["full protocol"])
    assert departures(results) == []
    results["data"].update({"train_images": 45_000, "validation_images": 500})
    assert departures(results) == ["45,500 images in the comparison instead of 50,000"]


def test_trials_beyond_the_border_are_counted_with_what_they_found() -> None:
    results = made_up_results(best=(0.75, 8.0), pruned=(), tpe_trials=3)
    for trial, alpha in zip(results["tpe"], (0.5, 0.9, 0.95), strict=True):
        trial.update({"alpha": alpha, "temperature": 4.0, "state": "COMPLETE", "value": 0.3 + alpha / 10})
    assert "so a better one may lie beyond. 2 trials after the grid went beyond it, the best with 39.50 %." in verdict(
        results
    )
    for trial in results["tpe"]:
        trial["alpha"] = 0.5
    assert "No trial after the grid went there." in verdict(results)
    results["tpe"][0]["temperature"] = 16.0
    assert "1 trial after the grid went beyond it, the best with 35.00 %." in verdict(results)
    results = made_up_results(best=(0.25, 4.0), pruned=(), tpe_trials=1)
    results["configuration"]["alphas"] = [0.25, 0.5, 0.75]
    results["grid"] = [cell for cell in results["grid"] if cell["alpha"] != 0]
    results["tpe"][0].update({"alpha": 0.1, "temperature": 16.0, "state": "COMPLETE", "value": 0.4})
    assert "(alpha = 0.25 is the smallest), so a better one may lie beyond. 1 trial after the grid" in verdict(results)
    results["tpe"][0]["alpha"] = 0.9
    assert "No trial after the grid went there." in verdict(results), "beyond other borders is not there"


def test_a_gain_of_the_search_that_the_test_does_not_show_is_named() -> None:
    results = made_up_results("full")
    agreeing = render(results).split("### From search to test")[1].split("\n#")[0]
    assert "standard errors: best (0.75, 4) " in agreeing
    assert "So both agree within what one seed and the images leave open." in agreeing
    for cell in results["grid"]:
        cell["hits"] = None
    assert "So both agree" in render(results), "at half that error too"
    for cell in results["grid"]:
        cell["value"] = 0.47 if cell["alpha"] == 0 else cell["value"]
    careful = render(results).split("### From search to test")[1].split("\n#")[0]
    words = "the images' part of these errors is an upper bound, and a small distance does not show that both agree."
    assert words in careful, careful
    assert "So both agree" not in careful
    assert "read from the test" not in verdict(results)
    for cell in results["grid"]:
        if cell["alpha"] == 0:
            cell["value"] = 0.40
    text = render(results).split("### From search to test")[1].split("\n#")[0]
    gain = re.search(
        r"That of best \(0\.75, 4\) is \+([0-9.]+) points in the search and \+([0-9.]+) points on test", text
    )
    assert gain is not None
    assert float(gain[1]) > 10 > float(gain[2])
    assert f"that gain was +{gain[1]} points: gains are to be read from the test" in verdict(results)
    assert "left over" not in text
    results["configuration"]["recipe"] |= {"batches": "remainder", "batch_size": 64}
    assert "ends with a step on what is left over from whole batches, 8 images in the search and 16 in" in render(
        results
    )
    results["configuration"]["recipe"]["batch_size"] = 128
    assert "ends with a step on" not in render(results), "72 of 128 are not few"
    results["configuration"]["recipe"]["batch_size"] = 75
    assert "ends with a step on" not in render(results), "none is left of 45,000, and 50 of 75 are not few"
    for name in ("baseline", "best"):
        for _ in range(4):
            drop_run(results["arms"][name], 0)
    assert "Without an interval on test it cannot be said whether both agree" in render(results)


def test_a_gain_of_the_search_is_named_by_its_point_where_no_best_is_known_yet() -> None:
    results = made_up_results("full", pruned=(), failed=())
    results["arms"] = {
        "baseline": results["arms"]["baseline"],
        "0.25,4": made_up_arm(0.25, 4.0, (1, 2, 3, 4, 5), 0.55, 100),
        "0.75,4": results["arms"]["best"],
    }
    results["grid"][-1].update({"state": "RUNNING", "value": None, "curve": []})
    for cell in results["grid"]:
        if cell["alpha"] == 0:
            cell.update({"value": 0.40, "hits": None})
    text = verdict(results)
    assert "- The search is not done, so its best is not compared yet and there is no verdict on it." in text
    assert "all points share, the gain of (0.25, 4) was +" in text
    assert "Not all of the planned seeds are done" not in text, "the best so far is an arm that has all its runs"
    results["grid"][-1].update({"state": "COMPLETE", "value": 0.3})
    assert "best has 0 of 5" not in verdict(results)
    del results["arms"]["0.75,4"]
    assert "Not all of the planned seeds are done: baseline has 5 of 5, best has 0 of 5" in verdict(results)


def test_how_to_train_what_controls_lack_is_said() -> None:
    results = with_controls(made_up_results("full"))
    drop_run(results["arms"]["shuffled"], 4)
    results["arms"]["shuffled"]["failed"] = []
    assert "shuffled has 4 of 5" in verdict(results)
    assert "; `--controls` with the same command trains them." in verdict(results)
    drop_run(results["arms"]["baseline"], 4)
    assert "`--controls` with the same command" not in verdict(results)


def test_differences_that_are_all_the_same_give_no_interval() -> None:
    results = made_up_results("full", seeds=(1, 2))
    for name, accuracy in (("baseline", [0.50, 0.52]), ("best", [0.51, 0.53])):
        results["arms"][name]["test_accuracy"] = accuracy
    text = render(results)
    why = "the same difference in all of 2 seeds gives no interval"
    assert f"+1.00 points, but {why}: whether distillation helps this student cannot be said." in text
    assert f"{why.capitalize()}: how far the next seed would fall" in text
    assert "| none, all are the same " in text
    assert f"+1.00 points ({why})" in claims(results)
    assert f"-0.0200 ({why})" in text, "of the losses too"


def test_who_was_pruned_was_a_rival_too() -> None:
    results = made_up_results("full")
    assert "it is the best of 12, of which 2 were pruned, each with its own luck" in render(results)


def test_the_best_of_many_may_lose_more_from_search_to_test_than_a_pair_that_was_named() -> None:
    results = made_up_results("full")
    assert transfers(Document(results, ()))["best"].bound == pytest.approx(1.96, abs=0.001), "it gains more on test"
    results["arms"]["best"]["test_accuracy"] = results["arms"]["baseline"]["test_accuracy"][::-1]
    assert transfers(Document(results, ()))["best"].bound == pytest.approx(luck_constant(11)), "pruned ones too"
    results["arms"]["0.75,4"] = results["arms"]["best"]
    assert transfers(Document(results, ()))["0.75,4"].bound > luck_constant(10), "the grid's best of an earlier start"
    (start,) = results["manifest"]["starts"]
    start["command"] += " --arm 0.75,4"
    assert transfers(Document(results, ()))["0.75,4"].bound == pytest.approx(1.96, abs=0.001)
    # Found by TPE, and named by its point since a later trial is better: the best of many all the same.
    results = made_up_results("full", tpe_trials=7)
    results["arms"]["best"]["test_accuracy"] = [
        value - 0.1 for value in results["arms"]["baseline"]["test_accuracy"][::-1]
    ]
    former = next(trial for trial in results["tpe"] if trial["value"] is not None)
    results["arms"]["former"] = results["arms"].pop("best")
    results["arms"]["former"] |= {"alpha": former["alpha"], "temperature": former["temperature"]}
    assert transfers(Document(results, ()))["former"].bound > luck_constant(9)


def test_another_teacher_is_named_beside_another_gain() -> None:
    results = made_up_results("full")
    assert "Its teacher has" not in verdict(results)
    results["teacher"]["test_accuracy"] = 0.71
    assert "Its teacher has 78.33 % on test and this one 71.00 %: a difference between the gains" in verdict(results)


def test_trainings_of_which_it_is_not_stored_what_made_them_are_said_to_be_some() -> None:
    results = made_up_results()
    assert "trainings differ" not in render(results)
    (start,) = results["manifest"]["starts"]
    other = {**start["hardware"], "name": "another processor"}
    results["manifest"]["starts"].append({**start, "hardware": other})
    assert "processor (" not in render(results), "one host made all of them"
    results["arms"]["best"]["made_by"][0] = None
    assert re.search(r"may differ in .*processor \(a made-up processor, another processor\)", render(results))


def test_how_it_was_convolved_is_named_where_that_is_not_the_usual_way() -> None:
    results = made_up_results()
    assert "were computed by that algorithm" in render(results)
    (start,) = results["manifest"]["starts"]
    start["hardware"] = {key: value for key, value in start["hardware"].items() if key != "convolutions"}
    assert "were computed by that algorithm" not in render(results)
    start["hardware"] = {**start["hardware"], "convolutions": "TF32"}
    assert "Convolutions of float32 are TF32 (11 significant bits)" in render(results)
    assert "were computed by that algorithm" not in render(results)


def test_arms_that_were_not_made_alike_are_named() -> None:
    results = made_up_results()
    unlike = "part of every difference between arms that were not made alike"
    best = results["arms"]["best"]
    (known, *_), runs = best["made_by"], len(best["made_by"])
    assert known is not None
    other: MadeBy = {**known, "threads": 7}
    best["made_by"] = [other, *[known] * (runs - 1)]
    assert unlike not in render(results), "others of its runs were made as the baseline's"
    best["made_by"] = [other] * runs
    assert f"{unlike}: number of threads (1: baseline (no teacher); 7: best (0.75, 4))." in render(results)
    best["made_by"] = [None, *[other] * (runs - 1)]
    assert unlike not in render(results), "of one it is not stored"


def test_folders_of_the_machine_that_ran_it_are_named() -> None:
    results = made_up_results()
    assert "on the machine that ran it" not in render(results)
    results["manifest"]["starts"][0]["command"] = "python -m study.run --runs-dir=elsewhere --data-dir images"
    assert "What follows `--data-dir`, `--runs-dir` is where it was on the machine that ran it." in render(results)


def test_calibration_has_a_sign_and_a_gain_its_share_of_the_way_to_the_teacher() -> None:
    results = made_up_results("full")
    for arm in results["arms"].values():
        arm["calibration"] = [[[100, 60, 50], [100, 90, 95]] for _ in arm["seeds"]]
    assert re.search(r"\| best \(0\.75, 4\) +\| 7\.50 % +\| 3\.15 % +\| \+2\.50 points", render(results))
    arms = results["arms"]
    arms["baseline"]["test_accuracy"], arms["best"]["test_accuracy"] = [0.58] * 5, [0.63] * 5
    row = r"\| best \(0\.75, 4\) - baseline +\| \+5\.00 .*\| 5 of 5 +\| {} +\|"
    assert re.search(row.format("25 %"), render(results))
    arms["best"]["test_accuracy"] = [0.53] * 5
    assert re.search(r"best \(0\.75, 4\) - baseline +\| -5\.00 .*\| 0 of 5 +\| - +\|", render(results)), "the other way"
    arms["best"]["test_accuracy"] = [0.63] * 5
    results["teacher"]["test_accuracy"] = 0.5
    assert re.search(row.format("-"), render(results))


def test_a_student_that_is_less_well_calibrated_is_said_to_be() -> None:
    results = copy.deepcopy(CASES["full protocol"])
    results["arms"]["baseline"]["calibration_error"] = [0.01] * 5
    results["arms"]["best"]["calibration_error"] = [0.015] * 5
    assert "calibration error" not in verdict(results)
    results["arms"]["best"]["calibration_error"] = [0.05, 0.2, 0.01, 0.3, 0.04]
    assert "calibration error" not in verdict(results), "that may be chance"
    results["arms"]["best"]["calibration_error"] = [0.11, 0.12, 0.13, 0.12, 0.12]
    words = "calibration error on test is 1.00 % without a teacher, 12.00 % for best (0.75, 4); lower is better."
    assert words in verdict(results)


def test_the_verdict_begins_with_what_every_network_reaches() -> None:
    results = copy.deepcopy(CASES["arms at both of the original's points"])
    header, teacher, *students = scoreboard(results)
    assert header == ["Network", "Original, table 2", "Test accuracy", "Runs", "Gain, points", "95 % t interval"]
    assert teacher[:3] == ["Teacher (`resnet32x4`)", "78.33 %", percent(results["teacher"]["test_accuracy"])]
    assert [row[:2] for row in students] == [
        ["Student, baseline (no teacher)", "53.72 % ± 0.50 %"],
        ["Student, best (0.75, 4)", "56.39 % ± 0.46 %"],
        ["Student, (0.25, 4)", "56.39 % ± 0.46 %"],
    ]
    baseline, low = (results["arms"][name]["test_accuracy"] for name in ("baseline", "0.25,4"))
    gains = [one - other for one, other in zip(low, baseline, strict=True)]
    interval = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    mean, spread = 100 * statistics.fmean(low), 100 * statistics.stdev(low)
    assert students[2][2:] == [
        f"{mean:.2f} % ± {spread:.2f} %",
        "5",
        f"{100 * statistics.fmean(gains):+.2f}",
        f"{100 * interval.low:+.2f} to {100 * interval.high:+.2f}",
    ]
    assert "has one distilled student, which stands beside each that is held against it" in render(results)
    del results["arms"]["0.25,4"]
    assert "has one distilled student" not in render(results)


def test_the_verdict_has_the_tuned_arms_beside_the_others_and_no_column_without_a_number() -> None:
    results = with_controls(made_up_results("full"))
    labels = [row[0] for row in scoreboard(results)[1:]]
    assert labels[1:] == [f"Student, {name}" for name in (
        "baseline (no teacher)", "best (0.75, 4)", "rate (no teacher, rate 0.2)"
    )], "best-rate has the runs of best"  # fmt: skip
    assert "*rate* is the baseline at its best of four learning rates" in render(results)
    header, *rows = scoreboard(own(made_up_results(seeds=(1,)), 7))
    assert header == ["Network", "Test accuracy", "Runs", "Gain, points", "95 % t interval"], "no original"
    assert [row[-1] for row in rows] == ["-", "-", "none from one seed"]
    header, *rows = scoreboard(CASES["the baseline alone, before a teacher"])
    assert header == ["Network", "Original, table 2", "Test accuracy", "Runs"]
    assert rows[0] == ["Teacher (`resnet32x4`)", "78.33 %", "-", "-"], "no teacher was run"
    assert "gains are over the baseline" not in render(CASES["the baseline alone, before a teacher"])


def test_the_time_of_the_runs_is_said() -> None:
    results = copy.deepcopy(CASES["full protocol"])
    for arm in results["arms"].values():
        arm["seconds"] = [3600.0] * len(arm["seeds"])
    assert "Their training took 10.0 hours in all" in render(results)


def test_of_a_short_training_a_gain_may_be_one_of_speed() -> None:
    results = copy.deepcopy(CASES["full protocol"])
    words = "After 50 epochs instead of 100 a gain may only mean that the student learns faster."
    assert words not in render(results)
    results["configuration"]["recipe"] |= {"epochs": 50, "step_epochs": [15, 30, 45]}
    assert words in render(results)


def test_classes_that_change_by_more_than_chance_are_counted() -> None:
    text = render(CASES["full protocol"])
    found = re.search(r"(\d+) of the gains and (\d+) of the losses differ from zero", text)
    assert found is not None
    gains = gains_by_name(CASES["full protocol"], CASES["full protocol"]["data"]["classes"], "best")
    assert sum(map(int, found.groups())) == len(changed_beyond_chance(gains) or [])
    assert "With few seeds and few test images a class, single classes move by chance" in render(CASES["one seed"])


def test_a_search_in_which_no_distilled_point_ended_says_nothing_of_distillation() -> None:
    results = made_up_results(best=(0.0, 1.0))
    assert "so no gain from distillation was found: the baseline" in verdict(results)
    for cell in results["grid"]:
        if cell["alpha"] != 0:
            stop(cell, "FAIL", 1)
    assert "but no point with one ran to its end, so it says nothing of distillation: the baseline" in verdict(results)


def test_the_best_after_the_grid_is_held_against_the_grids_best() -> None:
    results = made_up_results(tpe_trials=3)
    top = max(trial["value"] or 0.0 for trial in results["tpe"])
    assert re.search(
        rf"The best after the grid is .* with {100 * top:.2f} %, which cannot be told apart", verdict(results)
    )
    next(trial for trial in results["tpe"] if trial["value"] == top)["value"] = 0.9
    assert re.search(r"The best after the grid is .* with 90\.00 %, which is better", verdict(results))
    assert "; the two can be told apart by the rule above, which allows" in render(results)
    for trial in results["tpe"]:
        trial["value"] = None if trial["value"] is None else 0.1
    assert re.search(r"The best after the grid is .* with 10\.00 %, which is worse\.", verdict(results))
    every = tuple((alpha, temperature) for alpha in ALPHAS for temperature in TEMPERATURES)
    alone = made_up_results(pruned=every, failed=(), tpe_trials=3)
    assert "No grid point is complete to hold it against." in render(alone)


def test_the_point_of_tpe_on_test_is_named_where_finalists_made_it_another_than_the_best_by_one_seed() -> None:
    results = made_up_results(tpe_trials=3)
    top = max((trial for trial in results["tpe"] if trial["value"]), key=lambda trial: trial["value"] or 0.0)
    results["arms"]["tpe"] = made_up_arm(top["alpha"], top["temperature"], (1, 2, 3, 4, 5), 0.4, 100)
    assert "On test, TPE's point minus the grid's best is" in verdict(results)
    results["arms"]["tpe"] |= {"alpha": 0.62, "temperature": 3.5}
    assert "On test, TPE's point (alpha = 0.62, T = 3.5) minus the grid's best is" in verdict(results)


def test_pairs_that_were_asked_for_are_held_against_each_other() -> None:
    results = copy.deepcopy(CASES["arms without a search"])
    assert "Between them" not in verdict(results)
    accuracy = [value - 0.01 for value in results["arms"]["0.75,4"]["test_accuracy"]]
    accuracy[0] += 1e-6
    results["arms"]["0.25,4"] = {**results["arms"]["0.75,4"], "alpha": 0.25, "test_accuracy": accuracy}
    words = "(0.25, 4) minus (0.75, 4) is -1.00 points (95 % interval -1.00 to -1.00, better in 0 of 5)"
    assert f"- Between them: {words}." in verdict(results)


def test_a_finalist_from_after_the_grid_that_is_better_is_named() -> None:
    results = made_up_results(best=(0.75, 4.0), tpe_trials=3)
    results["finalists"] = [
        {"alpha": 0.75, "temperature": 4.0, "seeds": [0, 10002], "values": [0.40, 0.38]},
        {"alpha": 0.6, "temperature": 3.0, "seeds": [0, 10002], "values": [0.40, 0.41]},
    ]
    words = "of the finalists alpha = 0.6, T = 3, found after the grid, has the highest mean, 40.50 % over 2 seeds"
    assert f"{words}, and it 39.00 %" in verdict(results)
    results["finalists"][1]["values"] = [0.30, 0.31]
    assert "of the finalists it has the highest mean over 2 seeds" in verdict(results)


def test_a_loss_is_held_against_the_baselines_by_seed() -> None:
    results = made_up_results("full")
    arms = results["arms"]
    arms["baseline"]["test_loss"] = [2.0, 2.1, 2.2, 2.3, 2.4]
    arms["best"]["test_loss"] = [1.9, 2.0, 2.1, 2.2, 2.4]
    low, high = stats.ttest_1samp([-0.1, -0.1, -0.1, -0.1, 0.0], 0).confidence_interval(0.95)
    assert f"| 2.1200 | -0.0800 ({low:+.4f} to {high:+.4f}) |" in re.sub(" +", " ", render(results))


def test_a_gain_has_the_error_that_its_test_images_bring() -> None:
    results = made_up_results("full")
    error = gain_image_error(results["arms"]["best"], results["arms"]["baseline"], [1, 2, 3, 4, 5], 10_000)
    assert re.search(rf"best \(0\.75, 4\) - baseline .*\| {100 * error:.2f} +\|\n", render(results))


def test_likeness_is_shown_of_the_arms_of_which_it_is_stored() -> None:
    results = made_up_results("full")
    where = "How like the teacher each arm is on the test images:"
    assert "Of the other arms it is not stored" not in render(results)
    results["arms"]["best"]["agreement"] = [None] * 5
    rows = render(results).split(where)[1].split("\n\n")[1].splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["baseline (no teacher)"]
    assert "Of the other arms it is not stored" in render(results)


def test_one_arm_has_nothing_to_be_drawn_beside() -> None:
    assert "comparison" in figures(CASES["full protocol"])
    assert "comparison" not in figures(CASES["the baseline alone, before a teacher"])


def test_classes_of_unlike_sizes_have_a_mean_over_classes() -> None:
    results = own(made_up_results(), 2)
    assert "The test set has from" not in render(results)
    for arm in results["arms"].values():
        arm["images_by_class"] = [90, 10]
        arm["correct_by_class"] = [[90, 0]] * 5
    words = "from 10 to 90 images of a class: who always names the largest class is right in 90.00 %."
    means = "baseline (no teacher) 50.00 % ± 0.00 %; best (0.75, 4) 50.00 % ± 0.00 %."
    assert f"{words} The mean over classes of the share that is right: {means}" in render(results)


def test_a_point_of_the_original_is_refuted_only_where_it_can_be_told_apart_from_the_best() -> None:
    results = made_up_results("full", seeds=(1,), pruned=(), failed=())
    cells = {(cell["alpha"], cell["temperature"]): cell for cell in results["grid"]}
    cells[0.75, 4.0].update({"value": 0.43, "hits": None})
    where = r"\(0\.25, 4\), its section 2\.4"
    # Of 13 points 3.31 standard errors of 0.98 points each.
    for value, shown, judged in ((0.39, "39.00", "no"), (0.40, "40.00", "cannot tell")):
        cells[0.25, 4.0].update({"value": value, "hits": None})
        row = rf"{where} +\| {shown} % on validation; best is \(0\.75, 4\) +\| {judged} +\|"
        assert re.search(row, claims(results))


def readings(results: Results) -> str:
    return render(results).split("### Which best point")[1].split("###")[0]


def test_on_validation_two_points_that_were_named_are_told_apart_as_two() -> None:
    results = made_up_results("full", seeds=(1,), pruned=(), failed=())
    cells = {(cell["alpha"], cell["temperature"]): cell for cell in results["grid"]}
    for low, high, words in (
        (0.40, 0.43, "(0.25, 4) 40.00 %, (0.75, 4) 43.00 %. By one seed the data support (0.75, 4): both were named"),
        (0.43, 0.40, "(0.25, 4) 43.00 %, (0.75, 4) 40.00 %. By one seed the data support (0.25, 4): both were named"),
        (0.415, 0.43, "(0.75, 4) 43.00 %. One seed cannot tell them apart: the data support neither over the other."),
    ):
        cells[0.25, 4.0].update({"value": low, "hits": None})
        cells[0.75, 4.0].update({"value": high, "hits": None})
        assert words in readings(results), "3 of their standard errors, or 1.5"


def test_on_test_the_data_may_support_the_other_point_or_neither() -> None:
    results = copy.deepcopy(CASES["arms at both of the original's points"])
    low, high = results["arms"]["0.25,4"], results["arms"]["best"]
    high["test_accuracy"] = [0.560, 0.561, 0.562, 0.561, 0.560]
    low["test_accuracy"] = [0.580, 0.582, 0.583, 0.582, 0.580]
    words = "The data support (0.25, 4) as the better point: on test, (0.75, 4) minus (0.25, 4) is -2.06 points"
    assert words in readings(results)
    for arm in (low, high):
        arm["hits"] = [None] * 5
    results["data"]["test_images"] = 1_000
    words = "The data support (0.25, 4) as the better point on these 1,000 test images, which may be too few to say it"
    assert words in readings(results)
    low["test_accuracy"] = [0.570, 0.552, 0.570, 0.552, 0.560]
    assert "The data support neither as the better point: on test," in readings(results)


def test_an_arm_that_the_search_chose_before_it_went_on_is_neither_asked_for_nor_missing() -> None:
    results = made_up_results("full")
    results["arms"]["0.25,4"] = made_up_arm(0.25, 4.0, (1, 2, 3), 0.57, 100)
    text = render(results)
    assert "*best* is the grid's best point on validation. (0.25, 4) had been chosen before the search went on" in text
    assert "Not all of the planned seeds are done" not in text
    (start,) = results["manifest"]["starts"]
    start["command"] += " --arm 0.25,4"
    text = render(results)
    assert "had been chosen" not in text
    assert "baseline has 5 of 5, best has 5 of 5, (0.25, 4) has 3 of 5." in text


def test_what_the_seeds_can_show_is_said_of_the_arm_that_has_the_fewest() -> None:
    results = made_up_results("full")
    results["arms"]["0.25,4"] = made_up_arm(0.25, 4.0, (1, 2, 3), 0.57, 100)
    assert "What 3 seeds can and cannot show" in render(results)
    results["arms"]["0.25,4"] = made_up_arm(0.25, 4.0, (1,), 0.57, 100)
    assert "What 5 seeds can and cannot show" in render(results), "one seed has no interval"
    results = copy.deepcopy(CASES["alpha 0 best"])
    nothing = "The best arm is the baseline's own configuration: its difference says nothing."
    assert nothing in render(results)
    assert "can and cannot show" not in render(results)
    results["arms"]["0.5,2"] = made_up_arm(0.5, 2.0, (1, 2, 3), 0.57, 100)
    assert nothing in render(results)
    assert "What 3 seeds can and cannot show" in render(results)


def test_a_finalist_that_failed_is_not_waited_for() -> None:
    results = made_up_results("full", pruned=(), failed=())
    for cell in results["grid"]:
        if (cell["alpha"], cell["temperature"]) != (0.75, 4.0):
            cell["value"] = 0.31 if (cell["alpha"], cell["temperature"]) == (0.5, 4.0) else 0.3
    results["configuration"] |= {"finalists": 2, "finalist_seeds": 2}
    results["finalists"] = [{"alpha": 0.75, "temperature": 4.0, "seeds": [0, 10002], "values": [0.55, 0.54]}]
    assert "1 of these trainings has not ended." in render(results)
    assert "The unfinished grid's best point" in verdict(results)
    reason = "the loss became nan in epoch 3"
    failed = {"number": 17, "alpha": 0.5, "temperature": 4.0, "seed": 10002, "reason": reason}
    results["failed_finalists"] = cast(Any, [failed])
    text = render(results)
    assert "not ended" not in text
    assert "The grid's best point" in verdict(results)
    assert f"- trial 17 at alpha = 0.5, T = 4, a finalist with seed 10002: {reason}" in text
    words = "accuracy of 54.50 % is optimistic: it is over 2 seeds, the grid's one finalist, each with its own luck."
    assert words in text


def test_copies_of_a_training_that_failed_are_not_counted_as_failures() -> None:
    without = tuple((0.0, temperature) for temperature in TEMPERATURES)
    results = made_up_results(pruned=(), failed=without)
    assert count_failed(results) == 1
    assert render(results).count("the loss became nan in epoch 6") == 1


def test_an_exported_student_has_its_own_numbers_and_those_before_int8() -> None:
    results = made_up_results("full")
    assert "Exported student" not in render(results)
    exported = {"alpha": 0.75, "temperature": 4.0, "seed": 1, "kind": "onnx, int8", "bytes": 812_345, "images": 256}
    exported |= {"latency_seconds": 0.00123, "network_latency_seconds": 0.00234, "same": 255}
    exported |= {"test_accuracy": 0.5512, "exact_test_accuracy": 0.5534}
    results["exports"] = cast(Any, [exported])
    text = re.sub(" +", " ", render(results))
    header = "| Exported student | Size | Latency, batch 1 | the network's there | Same predictions |"
    assert f"{header} Test before int8 | after |" in text
    row = "| onnx, int8 (alpha = 0.75, T = 4, seed 1) | 0.81 MB | 1.23 ms | 2.34 ms | 255 of 256 | 55.34 % | 55.12 % |"
    assert row in text


def test_what_bfloat16_does_to_the_teacher_is_said_where_it_was_measured() -> None:
    results = made_up_results()
    results["configuration"]["recipe"]["precision"] = "bfloat16"
    assert "right in bfloat16" not in render(results)
    effect = {"float32_accuracy": 0.6712, "bfloat16_accuracy": 0.6709, "divergence_at_4": 0.00012}
    results["teacher"]["precision_effect"] = cast(Any, effect)
    words = "Of the test images the teacher has 67.09 % right in bfloat16 and 67.12 % in float32, and at T = 4 what it "
    assert f"{words}says of an image differs by 1.2e-04 nats (KL divergence, mean)." in render(results)


def test_trainings_that_were_convolved_otherwise_are_named() -> None:
    results = made_up_results()
    best = results["arms"]["best"]
    (known, *_), runs = best["made_by"], len(best["made_by"])
    older = {key: value for key, value in cast(Any, known).items() if key != "convolutions"}
    best["made_by"] = cast(Any, [older] * runs)
    text = render(results)
    assert "The trainings differ in convolutions (Winograd, torch). What is computed" in text
    assert "what a commit changed" not in text, "all are of one"
    assert "alike: convolutions (Winograd: baseline (no teacher); torch: best (0.75, 4))." in text
    assert "- Not all arms were made alike (convolutions, below): what that does is part of the differences" in text
    results = made_up_results()
    results["arms"]["best"]["made_by"][0] = None
    words = "The trainings may differ in convolutions (Winograd, torch), number of threads (1, 2): of some it is not"
    assert words in render(results), "what is not stored is older than Winograd"


def test_processors_are_named_where_several_hosts_trained() -> None:
    results = made_up_results()
    best = results["arms"]["best"]
    (known, *_), runs = best["made_by"], len(best["made_by"])
    assert known is not None
    other: MadeBy = {**known, "host": "elsewhere"}
    best["made_by"] = [other] * runs
    (start,) = results["manifest"]["starts"]
    hardware = {**start["hardware"], "name": "another processor"}
    results["manifest"]["starts"].append({**start, "hardware": hardware})
    words = "The trainings differ in host (elsewhere, made-up), processor (a made-up processor, another processor)."
    assert words in render(results)


def test_a_command_that_is_advised_names_its_points_exactly() -> None:
    exact = 0.123456789
    none, border = (
        made_up_results("full", best=(0.0, 1.0), pruned=(), failed=()),
        made_up_results(best=(0.75, 8.0), pruned=(), tpe_trials=3),
    )
    for results in (none, border):
        results["configuration"]["alphas"] = [0.0, exact, 0.5, 0.75]
        for cell in results["grid"]:
            if cell["alpha"] == 0.25:
                cell["alpha"] = exact
                cell["value"] = 0.9 if results is none and cell["temperature"] == 4 else cell["value"]
    assert "`python -m study.run --preset full --arm 0.123456789,4`" in verdict(none)
    assert "--alphas 0,0.123456789,0.5,0.75,0.875,1 --temperatures 1,2,4,8,16" in look_beyond(border)
    none["tpe"] = made_up_results(tpe_trials=1)["tpe"]
    none["tpe"][0].update({"alpha": 0.6, "temperature": 3.0})
    none["finalists"] = [{"alpha": 0.6, "temperature": 3.0, "seeds": [0, 10002], "values": [0.90, 0.91]}]
    assert "--arm" not in verdict(none), "what was found after the grid is an arm already"


def test_the_rule_of_the_grid_says_which_error_it_has() -> None:
    def rule(results: Results) -> str:
        return render(results).split("≈ marks a point")[1].split("\n\n")[0]

    known, alone = made_up_results("full"), made_up_results("full", seeds=(1,))
    spread = seed_deviation(known)
    assert spread is not None
    words = f"image by image (McNemar's), and of training seeds, {100 * spread:.2f} points from the runs of the"
    assert words in rule(known)
    assert "is not known well before the comparison has more runs." in rule(alone)
    assert "as if each point had 5,000 images of its own, though all share them." in rule(alone)
    for cell in alone["grid"]:
        cell["hits"] = None
    words = "as if each point had 5,000 of its own; that of the seeds is not known, and not in it. A pruned or failed"
    assert words in rule(alone)


def test_how_many_points_one_seed_tells_from_the_best_is_said() -> None:
    results = made_up_results("full", seeds=(1,), pruned=(), failed=())
    chosen = "validation images, optimistic as the best of 13, and"
    for value, words in (
        (0.30, f"{chosen} all 12 other complete points can be told apart from it by one seed."),
        (0.54, f"{chosen} none of the 12 other complete points can be told apart from it by one seed."),
    ):
        for cell in results["grid"]:
            is_best = (cell["alpha"], cell["temperature"]) == (0.75, 4.0)
            cell.update({"value": 0.55 if is_best else value, "hits": None})
        assert words in verdict(results)


def test_few_test_images_of_which_hits_are_stored_are_surely_too_few() -> None:
    results = made_up_results("full")
    results["data"]["test_images"] = 8
    for name, hits, accuracy in (("baseline", "f0", [0.5] * 5), ("best", "fc", [0.75, 0.751, 0.75, 0.749, 0.75])):
        results["arms"][name]["hits"] = [hits] * 5
        results["arms"][name]["test_accuracy"] = accuracy
    words = "Distillation helps this student on these 8 test images, which are too few to say it of others: mean"
    assert verdict(results).startswith(f"- {words}")


def test_images_that_are_never_mirrored_are_named() -> None:
    results = made_up_results("full")
    assert "mirrored" not in render(results)
    results["configuration"]["recipe"]["flip"] = False
    assert departures(results) == ["no mirrored images"]
    text = re.sub(" +", " ", render(results))
    assert "| Images | 32 x 32 pixels, 3 channels, never mirrored in training |" in text


def test_the_power_of_the_rule_is_that_of_the_runs_there_are() -> None:
    results = made_up_results("full", seeds=(1, 2, 3))
    results["configuration"] |= {"seeds": 5, "final_seeds": [1, 2, 3, 4, 5]}
    assert "The rule is strict: over 3 runs, with the original's" in render(results)
    for _ in range(2):
        drop_run(results["arms"]["baseline"], 0)
    assert "The rule is strict: over 5 runs, once they are there, with the original's" in render(results)


def test_a_student_that_is_larger_in_one_measure_is_smaller_in_part() -> None:
    results = made_up_results("full")
    results["student"]["bytes"] = 10**9
    row = r"smaller in 4 of 5 measures below; times are not judged +\| smaller: in part +\|"
    assert re.search(row, claims(results))


def test_a_teacher_that_was_trained_until_it_was_as_good_reproduces_nothing() -> None:
    results = made_up_results("full")
    results["teacher"]["test_accuracy"] = 0.7833
    row = r"\| Teacher, test accuracy .*\| {} +\|"
    assert re.search(row.format("yes"), claims(results))
    hurried = copy.deepcopy(results)
    cast(Any, hurried["teacher"])["hurried"] = "trained in parts"
    assert re.search(row.format("not judged: trained towards it"), claims(hurried))
    results["teacher"]["origin"] = "imported from elsewhere.pth"
    assert re.search(row.format("not judged: imported"), claims(results))


def test_of_a_baseline_alone_nothing_is_said_of_distilled_arms() -> None:
    results = copy.deepcopy(CASES["the baseline alone, before a teacher"])
    text = render(results)
    assert "no distilled student has ended" in verdict(results)
    assert "what the teacher was asked" not in text
    assert "training loss of a distilled arm" not in text
    assert "with what the teacher was asked on the way" in render(CASES["full protocol"])
    assert "training loss of a distilled arm" in render(CASES["full protocol"])


def test_short_last_steps_of_the_comparison_are_in_the_verdict() -> None:
    results = made_up_results("full")
    results["configuration"]["recipe"]["batch_size"] = 64
    words = "- Each epoch of the comparison ended with a step on 16 left-over images, which undoes part of it"
    assert words not in verdict(results)
    results["configuration"]["recipe"]["batches"] = "remainder"
    assert words in verdict(results)
    results["configuration"]["recipe"]["batch_size"] = 128
    assert "left-over" not in verdict(results), "80 of 128 are not few"
    results["configuration"]["recipe"]["batch_size"] = 76
    assert "left-over" not in verdict(results), "few are left in the search alone"
