"""Figures are drawn for what there is, and say what they show."""

import copy
import re
from typing import Any, cast

import plotly.io
import pytest

from reports.drawing import BLUE, GREEN, GREY, ORANGE, PURPLE
from reports.figures import figures
from reports.markdown import render
from reports.results import Results
from reports.sections.grid import drawn_cells
from reports.sections.trials import _style
from tests.reports.conftest import DrawnCases
from tests.reports.made_up import made_up_results, odd_cases, with_controls

CASES = odd_cases()
UNSEARCHED = {"arms without a search", "the baseline alone, before a teacher"}


@pytest.mark.parametrize("case", CASES)
def test_every_case_is_drawn(case: str, drawn_cases: DrawnCases) -> None:
    drawn = drawn_cases[case]
    assert {"samples"} | ({"grid"} if case not in UNSEARCHED else set()) <= drawn.keys()
    for figure in drawn.values():
        assert figure.layout.height, "a page keeps room for a figure by its height"
        assert figure.layout.width is None, "a figure fits any width"


def test_figures_without_something_to_show_are_left_out(drawn_cases: DrawnCases) -> None:
    assert "tpe" not in drawn_cases["finished"]
    assert "pruning" not in drawn_cases["no pruner"]
    assert not {"comparison", "groups", "loss_with_distillation", "calibration"} & drawn_cases["no arms"].keys()
    assert not {"groups", "classes", "loss_with_distillation"} & drawn_cases["alpha 0 best"].keys()
    assert not {"groups", "classes"} & drawn_cases["no shared seed"].keys()


def test_where_the_grid_chose_no_teacher_what_came_after_it_is_drawn() -> None:
    results = copy.deepcopy(CASES["alpha 0 best"])
    tpe = copy.deepcopy(made_up_results()["arms"]["best"])
    results["arms"]["tpe"] = {**tpe, "alpha": 0.6, "temperature": 5.0}
    results["tpe"] = made_up_results("full", tpe_trials=1)["tpe"]
    assert {"groups", "loss_with_distillation"} <= figures(results).keys()
    assert "The grid's best is alpha = 0" in render(results)


def test_a_grid_that_has_not_begun_is_not_drawn(drawn_cases: DrawnCases) -> None:
    assert all("grid" not in drawn_cases[case] for case in UNSEARCHED)


def lines_at(results: Results, alpha: float, temperature: float) -> tuple[str, ...]:
    configuration = results["configuration"]
    place = configuration["alphas"].index(alpha), configuration["temperatures"].index(temperature)
    return next(cell.lines for cell in drawn_cells(results) if (cell.row, cell.column) == place)


def test_cells_of_the_grid_are_told_apart_in_words() -> None:
    results = made_up_results(gain=0.12)
    assert lines_at(results, 0.75, 4.0)[1] == "best"
    assert lines_at(results, 0.75, 8.0) == ("pruned", "epoch 5")
    assert lines_at(results, 0.5, 8.0) == ("failed", "epoch 5")
    assert lines_at(results, 0.0, 2.0)[1] == "repeat"
    assert lines_at(results, 0.75, 2.0)[1] == "≈"
    assert lines_at(results, 0.0, 1.0)[1] == ""


@pytest.mark.parametrize("case", sorted(CASES.keys() - UNSEARCHED))
def test_table_and_heatmap_mark_the_same_cells(case: str) -> None:
    results = CASES[case]
    table = [row for row in render(results).split("\n") if row.startswith("| **")]
    marks = [[re.search(r"best|≈|$", cell) for cell in row.split("|")[2:-1]] for row in table]
    told = {(row, column): mark[0] for row, line in enumerate(marks) for column, mark in enumerate(line) if mark}
    assert len(told) == 16
    for cell in drawn_cells(results):
        assert told[cell.row, cell.column] == (re.search(r"best|≈|$", " ".join(cell.lines[1:])) or [""])[0]


def test_a_repeat_of_the_best_is_a_repeat_and_nothing_more() -> None:
    results = CASES["alpha 0 best"]
    assert lines_at(results, 0.0, 1.0)[1] == "best"
    assert lines_at(results, 0.0, 2.0)[1] == "repeat"


def test_cells_that_have_no_value_are_told_apart_by_pattern_too() -> None:
    results = made_up_results()
    results["grid"][5] |= {"state": "RUNNING", "value": None}
    results["grid"][6] |= {"state": "MISSING", "value": None}
    patterns = [cell.pattern for cell in drawn_cells(results)]
    unlike = {patterns[index] for index in (1, 4, 5, 6, 11)}  # repeat, pruned, running, missing, failed
    assert len(unlike) == 5


def test_alpha_0_has_its_row(drawn_cases: DrawnCases) -> None:
    figure = drawn_cases["finished"]["grid"]
    assert list(figure.layout.yaxis.ticktext) == ["0", "0.25", "0.5", "0.75"]
    assert all(value is not None for value in figure.data[0].z[0])


def test_a_pruned_trial_ends_early_and_is_marked(drawn_cases: DrawnCases) -> None:
    traces = drawn_cases["finished"]["curves"].data
    (ending,) = [trace for trace in traces if trace.name == "pruned" and trace.showlegend]
    assert ending.mode == "markers"
    assert list(ending.x) == [5]


def test_no_tick_stands_between_two_of_few_epochs(drawn_cases: DrawnCases) -> None:
    for name in ("curves", "loss_with_distillation", "loss_without_distillation"):
        assert drawn_cases["finished"][name].layout.xaxis.dtick == 1
        assert drawn_cases["full protocol"][name].layout.xaxis.dtick is None


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.1."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("paper", ["#ffffff", "#0d1117"])
@pytest.mark.parametrize("colour", [GREY, BLUE, ORANGE, PURPLE, GREEN])
def test_colours_have_a_contrast_of_3_to_1_in_light_and_dark(colour: str, paper: str) -> None:
    lighter, darker = sorted((luminance(colour), luminance(paper)), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 3


@pytest.mark.parametrize("paper", ["#ffffff", "#1e1e1e"])
def test_text_of_the_dashboard_is_readable_on_its_light_and_its_dark_cards(paper: str) -> None:
    text = plotly.io.templates["kd_study_clear"].layout.font.color
    lighter, darker = sorted((luminance(text), luminance(paper)), reverse=True)
    # 4.1 on both is the most that one colour can reach.
    assert (lighter + 0.05) / (darker + 0.05) >= 3.9


def test_what_has_no_interval_has_no_bar_of_one() -> None:
    drawn = figures(with_controls(made_up_results("full", seeds=(1,))))
    for name in ("groups", "controls"):
        assert set(drawn[name].data[0].error_x.array) == {None}, name


def test_curves_of_many_temperatures_differ_in_colour_or_dash() -> None:
    temperatures, cell = [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0], made_up_results()["grid"][4]
    cells = [cast(Any, {**cell, "temperature": temperature}) for temperature in temperatures]
    assert len({_style(one, temperatures, of_tpe=False)[1:3] for one in cells}) == len(temperatures)
