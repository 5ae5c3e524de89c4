"""The section that asks whether it is the teacher says what the controls show, and no more."""

import copy
import re
from typing import Any, cast

import pytest

from reports.markdown import render
from reports.results import count_failed, distinct
from reports.sections.controls import controls, verdict_on_controls
from reports.sections.document import Document
from tests.reports.made_up import drop_run, made_up_arm, made_up_results, odd_cases, with_controls


def section(text: str) -> str:
    return text.split("## Is it the teacher?")[1].split("\n## ")[0]


def test_every_control_stands_beside_the_baseline_and_against_the_best() -> None:
    text = section(render(odd_cases()["with controls"]))
    for label in ("best (0.75, 4)", "shuffled (0.75, 4)", "smoothing (0.75, 4)", "rate (no teacher, rate 0.2)"):
        assert len(re.findall(rf"\| {re.escape(label)} ", text)) >= 2
    left = {line.split("|")[2].strip(): float(line.split("|")[3]) for line in text.splitlines() if " - " in line}
    arms = odd_cases()["with controls"]["arms"]
    assert left.keys() == {"best - shuffled", "best - smoothing", "best-rate - rate"}
    for difference, shown in left.items():
        first, second = (arms[name]["test_accuracy"] for name in difference.split(" - "))
        assert shown == pytest.approx(100 * sum(a - b for a, b in zip(first, second, strict=True)) / 5, abs=0.005)
    # 1 - 0.31 + 0.31 / 100 of the softened output, and at T = 1 a logit that is four times as large.
    assert "softened it gives the label 0.693, as much as the softened teacher gives its likeliest class" in text
    assert "unsoftened 1.000" in text
    assert "the loss became nan in epoch 3" in text


def test_where_the_search_chose_no_teacher_only_the_baseline_s_rate_is_explained() -> None:
    results = copy.deepcopy(odd_cases()["with controls"])  # which other tests read
    assert "*rate* and *best-rate*: the baseline and the best pair" in section(render(results))
    del results["arms"]["best-rate"]
    assert "*rate*: the baseline with its own best" in section(render(results))
    assert "*best-rate*" not in section(render(results))


def test_controls_are_not_among_the_arms_of_the_comparison() -> None:
    text = render(odd_cases()["with controls"])
    comparison = text.split("## The comparison")[1].split("### ")[0]
    assert "shuffled" not in comparison
    assert "best-rate" not in comparison


def test_agreement_divergence_and_calibration_are_there_for_every_arm() -> None:
    results = odd_cases()["with controls"]
    table = section(render(results)).split("How like the teacher")[1]
    assert len([line for line in table.splitlines() if "%" in line]) == len(distinct(results["arms"]))
    baseline = next(line for line in table.splitlines() if line.startswith("| baseline"))
    assert [cell.strip() for cell in baseline.split("|")[2:5]] == ["50.00 %", "1.2000", "0.3000"]


def test_that_no_controls_were_run_is_said_wherever_an_arm_is_distilled() -> None:
    results = made_up_results()
    for arm in results["arms"].values():
        arm["agreement"] = [None] * len(arm["seeds"])
    assert "No controls were run; `--controls` adds them" in section(render(results))
    assert "- No controls were run, so that a gain is the teacher's doing is not shown." in render(results)
    del results["arms"]["best"]
    assert controls(Document(results, ())) == []
    assert "No controls were run" not in render(results)


def verdict(gain: float) -> str:
    return verdict_on_controls(Document(with_controls(made_up_results("full", gain=gain), gain), ())) or ""


def test_the_verdict_says_what_is_left_of_the_gain() -> None:
    text = verdict(0.1)
    assert text.endswith("; each is clear of zero.")
    assert text in render(with_controls(made_up_results("full", gain=0.1), 0.1)).split("## The original")[0]
    little = verdict(0.0)
    assert "the data do not tell the gain over" in little
    assert "the teacher's logits shuffled within each class" in little.split(";")[1]


def test_a_control_of_one_seed_does_not_silence_the_others() -> None:
    results = with_controls(made_up_results("full"))
    shuffled, best = results["arms"]["shuffled"], results["arms"]["best"]
    shuffled["test_accuracy"] = [accuracy + 0.04 for accuracy in best["test_accuracy"][::-1]]
    arm = results["arms"]["smoothing"]
    for _ in range(4):
        drop_run(arm, 0)
    text = verdict_on_controls(Document(results, ())) or ""
    assert "the best pair does worse than the teacher's logits shuffled within each class" in text
    assert "over a virtual teacher that knows the label alone one seed gives no interval" in text


def test_a_gain_over_a_control_that_is_a_loss_is_said_to_be_one() -> None:
    text = verdict(-0.1)
    assert "the best pair does worse than " in text.split(";")[1]
    assert "the baseline, each at its best learning rate" in text.split("does worse than ")[1]
    assert "clear of zero" not in text


def test_of_equal_learning_rates_the_one_that_was_chosen_is_spoken_of() -> None:
    results = with_controls(made_up_results("full"))
    for rate in results["rates"]:
        rate.update({"state": "COMPLETE", "value": 0.4, "reason": None})
    assert "a better may lie beyond" not in section(render(results)), "the protocol's own is the one of equals"


def test_a_control_that_is_worse_than_the_baseline_is_said_to_overstate() -> None:
    assert "overstates" not in render(odd_cases()["with controls"])
    results = with_controls(made_up_results("full"))
    shuffled, baseline = results["arms"]["shuffled"], results["arms"]["baseline"]
    shuffled["test_accuracy"] = [accuracy - 0.04 for accuracy in baseline["test_accuracy"][::-1]]
    words = "But *shuffled* does worse than the baseline, so a difference to that overstates"
    assert words in (verdict_on_controls(Document(results, ())) or "")
    assert words in section(render(results))
    over = r"the smallest difference is \+[0-9.]+ points over "
    assert re.search(rf"{over}a virtual teacher that knows the label alone\.", section(render(results)))
    results["arms"]["smoothing"]["test_accuracy"] = shuffled["test_accuracy"]
    assert "But *shuffled* and *smoothing* do worse than the baseline" in section(render(results))
    rates = r"the baseline, each at its best learning rate, the best of four by one seed"
    assert re.search(rf"{over}{rates}\.", section(render(results)))
    largest = next(rate for rate in results["rates"] if rate["control"] == "rate" and rate["learning_rate"] == 0.4)
    largest.update({"state": "COMPLETE", "value": 0.9, "reason": None})
    at_end = r"; that of \*baseline\* is the largest tried, so a better may lie beyond\."
    assert re.search(rf"{over}{rates}{at_end}", section(render(results)))
    results["arms"]["rate"]["test_accuracy"] = [accuracy - 0.01 for accuracy in baseline["test_accuracy"]]
    assert re.search(rf"{over}the baseline\.", section(render(results)))
    for name in ("rate", "best-rate"):
        del results["arms"][name]
    for name, seeds in (("baseline", 2), ("best", 3)):
        for _ in range(5 - seeds):
            drop_run(results["arms"][name], seeds if name == "baseline" else 0)
    for name in ("shuffled", "smoothing"):
        results["arms"][name]["test_accuracy"] = [0.1] * 5
    text = section(render(results))
    assert "overstates what the teacher brings." in text, "nothing is left to compare"


def test_a_rate_that_is_worse_than_those_around_it_is_said_to_be_rough() -> None:
    results = with_controls(made_up_results("full"))
    of_baseline = sorted(
        (rate for rate in results["rates"] if rate["control"] == "rate"), key=lambda r: r["learning_rate"]
    )
    for rate, value in zip(of_baseline, (0.40, 0.45, 0.30, 0.46), strict=True):
        rate |= {"state": "COMPLETE", "value": value, "reason": None}
    results["grid"][4].update({"state": "COMPLETE", "value": 0.1, "hits": None})
    rough = "Rates of baseline between two better ones do worse"
    assert rough in section(render(results))
    few = "so ≈ may mark too few."
    assert few in render(results).split("## The search")[1].split("###")[0]
    assert re.search(r"and at least \d+ of the \d+ other complete points cannot be told apart", render(results))
    of_baseline[2]["value"] = 0.45
    assert rough not in section(render(results))
    assert few not in render(results)
    assert "at least" not in render(results).split("## What was done")[0]


def test_a_learning_rate_that_one_seed_does_not_tell_from_the_protocol_s_is_said_to_be_one() -> None:
    results = with_controls(made_up_results("full"))
    tried = {(rate["control"], rate["learning_rate"]): rate for rate in results["rates"]}
    tried["rate", 0.1]["value"], tried["rate", 0.2]["value"] = 0.50, 0.51
    assert "One seed does not tell 0.2, the best of baseline, from the protocol's 0.1." in section(render(results))
    tried["rate", 0.2]["value"] = 0.60
    assert "For baseline, 0.2 is better than the protocol's 0.1 beyond" in section(render(results))
    assert "beyond what one seed leaves open." in section(render(results))
    assert "of best" not in section(render(results)).split("beyond")[1], "the best pair's is the protocol's"
    alone = with_controls(made_up_results("full", seeds=(1,)))
    alone["rates"] = results["rates"]
    assert "beyond what the images leave open; how far seeds spread is not known." in section(render(alone))


def test_a_learning_rate_that_is_not_tried_yet_is_said_to_be_so() -> None:
    results = with_controls(made_up_results("full"))
    results["rates"][0].update({"state": "MISSING", "value": None, "reason": None})
    assert "| not yet" in section(render(results)).split("by learning rate")[1]


def test_one_seed_and_missing_seeds_are_said() -> None:
    one = with_controls(made_up_results("full", seeds=(1,)))
    assert "one seed gives no interval" in (verdict_on_controls(Document(one, ())) or "")
    some = with_controls(made_up_results("full"))
    for _ in range(5):
        drop_run(some["arms"]["shuffled"], 0)
    text = verdict_on_controls(Document(some, ())) or ""
    assert "shuffled" not in text
    assert "a virtual teacher" in text
    assert "best - shuffled" not in section(render(some))


def test_a_best_rate_that_is_the_last_one_tried_is_said_to_be_one() -> None:
    results = with_controls(made_up_results("full"))
    assert "a better may lie beyond" not in render(results)
    largest = next(rate for rate in results["rates"] if rate["control"] == "rate" and rate["learning_rate"] == 0.4)
    largest.update({"state": "COMPLETE", "value": 0.9, "reason": None})
    assert "The best rate of baseline, 0.4, is the largest tried: a better" in section(render(results))


def test_a_rate_at_which_the_loss_diverges_is_an_answer_and_no_failure() -> None:
    results = with_controls(made_up_results("full", failed=()))
    assert count_failed(results) == 0
    failed = next(rate for rate in results["rates"] if rate["state"] == "FAIL")
    failed["reason"] = "out of memory 3 times"
    assert count_failed(results) == 1


def test_controls_that_were_asked_for_and_not_begun_are_not_said_to_be_none() -> None:
    results = made_up_results()
    assert "No controls were run; `--controls` adds them" in render(results)
    results["rates"] = with_controls(made_up_results())["rates"]
    text = render(results)
    assert "Controls were asked for; none of their runs has begun." in text
    assert "No controls were run" not in text


def test_only_arms_with_runs_may_be_rescored() -> None:
    results = made_up_results()
    for key in ("agreement", "divergence"):
        cast(Any, results["arms"]["best"])[key] = [None] * 5
    assert "`python -m study.rescore` adds it" in render(results)
    results["arms"]["best"] = made_up_arm(0.75, 4.0, (), 0.5, 10)
    assert "`python -m study.rescore` adds it" not in render(results)


def test_a_step_of_another_size_is_spoken_of_only_where_the_optimizer_leaves_it() -> None:
    results = copy.deepcopy(odd_cases()["arms without a search"])
    assert "So a step of another size" in render(results)
    results["configuration"]["recipe"]["optimizer"] = "adamw"
    text = render(results)
    assert "No controls were run: they stand beside the best pair of a search." in text
    assert "So a step of another size" not in text


def test_a_best_pair_that_is_not_above_every_control_is_not_said_to_help() -> None:
    results = with_controls(made_up_results("full"))
    arms = results["arms"]
    arms["baseline"]["test_accuracy"] = [0.500, 0.510, 0.520, 0.510, 0.500]
    arms["best"]["test_accuracy"] = [0.530, 0.541, 0.550, 0.541, 0.529]  # best-rate has the same runs
    for name in ("shuffled", "smoothing", "rate"):
        arms[name]["test_accuracy"] = [0.510, 0.519, 0.530, 0.520, 0.509]
    assert "- Distillation helps this student: mean test accuracy goes from 50.80 % to 53.82 %" in render(results)
    arms["shuffled"]["test_accuracy"] = [0.520, 0.550, 0.540, 0.551, 0.519]
    not_shown = "but not surely above every control below, so that this is the teacher's doing is not shown: mean"
    assert f"- The best pair is above the baseline, {not_shown}" in render(results)
    assert "istillation helps this student" not in render(results)
    results["data"]["test_images"] = 100
    for arm in arms.values():
        arm["hits"] = [None] * len(arm["seeds"])
    few = "on these 100 test images, which may be too few to say it of others"
    assert f"- The best pair is above the baseline {few}, {not_shown}" in render(results)
    for _ in range(4):
        drop_run(arms["shuffled"], 0)
    assert f"- Distillation helps this student {few}: mean" in render(results), "of one seed no control can tell"


def test_a_tuned_baseline_that_is_worse_than_the_baseline_overstates_too() -> None:
    results = with_controls(made_up_results("full"))
    rate, baseline = results["arms"]["rate"], results["arms"]["baseline"]
    lost = (0.03, 0.031, 0.03, 0.029, 0.03)
    rate["test_accuracy"] = [one - less for one, less in zip(baseline["test_accuracy"], lost, strict=True)]
    words = "But *rate* does worse than the baseline, so a difference to that overstates what the teacher brings"
    assert words in section(render(results))


def test_controls_of_another_pair_and_of_no_teacher_have_sentences_of_their_own() -> None:
    results = made_up_results("full")
    other = made_up_arm(0.5, 2.0, (1, 2, 3, 4, 5), 0.55, 100)
    other["control"] = "shuffled"
    results["arms"]["0.5,2 shuffled"] = other
    words = "The controls that were trained are of another pair; `--controls` adds those of the best one."
    assert words in section(render(results))
    assert "shuffled" not in render(results).split("## The comparison")[1].split("### ")[0]
    words = "No controls were run; `--controls` adds the baseline at its own best learning rate."
    assert words in section(render(odd_cases()["alpha 0 best"]))
