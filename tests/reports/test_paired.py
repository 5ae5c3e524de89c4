"""Two studies are held against each other over the seeds that they share."""

import json
import re
from pathlib import Path

import pytest

from reports.paired import main
from tests.reports.made_up import made_up_results


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Two reports; the second has a seed less, and its baseline is better by 1, 2, 3 and 4 points."""
    for number in range(2):
        results = made_up_results(seeds=(1, 2, 3, 4, 5)[: 5 - number])
        arm = results["arms"]["baseline"]
        arm["test_accuracy"] = [0.5 + 0.01 * number * (index + 1) for index in range(len(arm["seeds"]))]
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "results.json").write_text(json.dumps(results))
    return [str(tmp_path / "0"), str(tmp_path / "1")]


def test_the_difference_is_paired_by_seed(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(folders)
    said = capsys.readouterr().out
    assert [line.split("|")[-2].strip() for line in said.splitlines()[2:6]] == ["+1.00", "+2.00", "+3.00", "+4.00"]
    # t(0.975, 3) = 3.182, standard error of 1, 2, 3, 4: 0.6455
    assert "+2.50 points (95 % t interval +0.45 to +4.55, paired over 4 seeds, higher in 4)" in said


def test_what_else_the_two_differ_in_is_said(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(folders)
    same = "Their settings, images, networks, commit, torch, device, convolutions and threads are the same."
    assert same in capsys.readouterr().out
    file = Path(folders[1]) / "results.json"
    results = json.loads(file.read_text())
    results["configuration"]["recipe"] |= {"momentum": 0.9, "precision": "bfloat16"}
    results["configuration"]["recipe"] |= {"optimizer": "adamw", "flip": False}
    results["teacher"]["hash"] = "another"
    file.write_text(json.dumps(results))
    main(folders)
    named = "They differ in: flip True and False, optimizer sgd and adamw, momentum 0.0 and 0.9, precision float32 and"
    assert f"{named} bfloat16." in capsys.readouterr().out, "also what is stored only where it is another"
    main([*folders, "--arm", "best"])
    assert "and bfloat16, teacher " in capsys.readouterr().out


def test_who_made_the_runs_is_asked_of_those_that_are_compared(
    folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(folders[1]) / "results.json"
    results = json.loads(file.read_text())
    results["manifest"]["starts"].append({**results["manifest"]["starts"][0], "commit": "of another arm"})
    for run in results["arms"]["baseline"]["made_by"]:
        run |= {"threads": 2, "device": "cuda"}
    file.write_text(json.dumps(results))
    main(folders)
    assert "They differ in: device cpu and cuda, threads 1 and 2." in capsys.readouterr().out
    results["arms"]["baseline"]["made_by"][0] = None
    file.write_text(json.dumps(results))
    main(folders)
    said = capsys.readouterr().out
    assert "commit 0123456789ab and 0123456789ab/of another arm" in said, "of one run no more is known"


def test_another_student_and_no_teacher_are_differences(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(folders[1]) / "results.json"
    results = json.loads(file.read_text())
    results["student"] |= {"name": "mynets:TinyNet", "source": "0123456789abcdef"}
    results["arms"]["best"] |= {"alpha": 0.0, "temperature": 1.0}
    file.write_text(json.dumps(results))
    teacher = results["teacher"]["hash"][:12]
    for ours, theirs, taught in ((*folders, f"{teacher} and none"), (*folders[::-1], f"none and {teacher}")):
        main([ours, theirs, "--arm", "best"])
        said = capsys.readouterr().out
        assert re.search(r"student (StudentCNN and )?mynets:TinyNet 0123456789ab", said)
        assert f"teacher {taught}." in said


def test_an_arm_that_is_not_there_is_one_line(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*folders, "--arm", "gp"])
    assert stopped.value.code == 1
    assert capsys.readouterr().err == "error: study 'quick' has no arm 'gp'; it has baseline, best\n"


def test_one_seed_in_common_gives_no_interval_and_none_is_refused(
    folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(folders[1]) / "results.json"
    results = json.loads(file.read_text())
    results["arms"]["baseline"]["seeds"] = [5, 11, 12, 13]
    file.write_text(json.dumps(results))
    main(folders)
    assert "One seed gives no interval." in capsys.readouterr().out
    results["arms"]["baseline"]["seeds"] = [10, 11, 12, 13]
    file.write_text(json.dumps(results))
    with pytest.raises(SystemExit):
        main(folders)
    assert capsys.readouterr().err == "error: quick and quick share no seed of arm 'baseline'\n"


def test_two_studies_that_agree_in_all_seeds_are_not_the_same_runs(
    folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main([folders[0], folders[0]])
    assert "The same difference in all of 5 seeds gives no interval." in capsys.readouterr().out
