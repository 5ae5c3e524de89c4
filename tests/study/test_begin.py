"""What is stored of a study when it begins and when it goes on."""

import dataclasses
import itertools
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import torch

import study.begin
import study.worker
from storage.claims import ClaimLostError, hold
from storage.configuration import ConfigurationError
from storage.description import FORMAT, Description
from storage.open_study import OpenStudy, open_study, read_study
from storage.study_storage import sqlite_url
from study.begin import begin, going_on, refuse_foreign
from study.options import request_of
from study.run import main, report
from tests.conftest import SMALL
from tests.reports.stored import export
from tests.storage.postgres import Server
from tests.storage.test_claims import CLAIM_SESSIONS


def test_a_start_that_is_stopped_while_the_study_is_described_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(study.begin, "_describe", stopped)
    with pytest.raises(SystemExit):
        main([*SMALL, "--sampler", "none", "--runs-dir", str(tmp_path)])
    with read_study(sqlite_url(tmp_path / "study.db")) as opened:
        assert opened.names() == []


def test_a_start_that_is_killed_between_any_two_things_that_it_stores_leaves_none(
    studied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with read_study(sqlite_url(studied / "study.db"), "demo") as opened:
        description = opened.begun()[0]
    set_user_attr, left = optuna.Study.set_user_attr, 0

    def until_killed(study: optuna.Study, key: str, value: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        set_user_attr(study, key, value)

    monkeypatch.setattr(optuna.Study, "set_user_attr", until_killed)
    search = optuna.create_study()
    for stored in itertools.count():
        left = stored
        try:
            description.store(search)
            break
        except KeyboardInterrupt:
            assert Description.of(search) is None
        search = optuna.create_study()
    assert stored > 4, "as many things as there are"
    assert Description.of(search) == description


def test_a_study_that_a_newer_version_stored_is_refused() -> None:
    search = optuna.create_study(study_name="mine")
    search.set_user_attr("format", FORMAT + 1)
    search.set_user_attr("configuration", {})
    with pytest.raises(ConfigurationError, match=f"study 'mine' was stored in format {FORMAT + 1}.*: update kd-study"):
        Description.of(search)


def test_a_study_begun_before_copies_were_counted_has_them_once_it_goes_on(
    studied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER_PATH", "/nowhere")  # no PNG figures
    runs = shutil.copytree(studied, tmp_path / "runs")
    with open_study(sqlite_url(runs / "study.db"), "demo") as opened:
        assert opened.search is not None
        data = opened.search.user_attrs["data"]
        assert data.pop("copies") == {"test": 0, "validation": 0}
        opened.search.set_user_attr("data", data)
    main([*SMALL, "--runs-dir", str(runs)])
    assert "copies" not in json.loads((runs / "demo" / "results.json").read_text())["data"]
    main([*SMALL, "--seeds", "2", "--runs-dir", str(runs)])
    found = json.loads((runs / "demo" / "results.json").read_text())
    assert found["data"]["copies"] == {"test": 0, "validation": 0}
    assert found["arms"]["best"]["seeds"] == [2, 3]  # the search has 1


def test_a_dry_run_says_that_there_are_no_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--data-dir", str(tmp_path), "--runs-dir", str(tmp_path / "runs"), "--dry-run"])
    assert f"{tmp_path}: neither train/ and test/ with class folders nor" in capsys.readouterr().err


def go_on(opened: OpenStudy, *options: str) -> Description:
    """Begin a study once more, with the images that it has and without a teacher; what it then is."""
    known, search, _ = opened.begun()
    request = going_on(request_of([*SMALL, *options], None), opened)
    materials: Any = SimpleNamespace(images=SimpleNamespace(hash=known.data["hash"]), teacher=None, logits=None)
    plan: Any = None  # of a study that is described
    begin(opened, request, plan, materials, torch.device("cpu"))
    described = Description.of(search)
    assert described is not None
    return described


def test_a_study_knows_how_many_of_its_classes_are_not_validated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER_PATH", "/nowhere")  # no PNG figures
    file = tmp_path / "few.toml"
    file.write_text(
        'name = "few"\n[data]\ndataset = "synthetic"\nvalidation_images = 3\ntrain_images = 64\n'
        '[teacher]\nnetwork = "resnet8"\n[training]\nepochs = 1\n[search]\nalphas = [0]\nseeds = 1\n'
    )
    main(["--config", str(file), "--device", "cpu", "--runs-dir", str(tmp_path / "runs")])
    assert "| 3 of the training set, kept apart; none of 13 classes |" in re.sub(
        " +", " ", (tmp_path / "runs" / "few" / "report.md").read_text()
    )


def test_a_study_goes_on_with_the_file_of_its_settings(
    studied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(studied / "study.db", tmp_path)
    with pytest.raises(SystemExit):
        main([*SMALL[2:], "--study", "mine", "--print-config"])  # a device is no setting
    file = tmp_path / "mine.toml"
    file.write_text(capsys.readouterr().out)
    with open_study(sqlite_url(tmp_path / "study.db"), "demo") as opened:
        before = opened.begun()[0]
        request = going_on(request_of(["--config", str(file), "--study", "demo"], None), opened)
        assert request.configuration == before.settings
        # Where there is a teacher, or one is given, how another would be trained is no matter.
        short = dataclasses.replace(request.configuration, teacher_recipe="short")
        assert going_on(dataclasses.replace(request, configuration=short), opened).configuration == before.settings
        with pytest.raises(
            ConfigurationError, match="with precision float32, not bfloat16: give --precision float32 to"
        ):
            go_on(opened, "--precision", "bfloat16")


def test_the_format_of_a_study_is_that_of_its_settings(studied: Path, tmp_path: Path) -> None:
    shutil.copy(studied / "study.db", tmp_path)
    with open_study(sqlite_url(tmp_path / "study.db"), "demo") as opened:
        search = opened.begun()[1]
        search.set_user_attr("format", FORMAT - 1)
        assert go_on(opened).format == FORMAT - 1, "an older version can go on with it"
        described = go_on(opened, "--finalists", "1")
        assert (described.format, described.settings.finalists) == (FORMAT, 1)


def test_a_study_that_goes_on_is_not_described_without_the_claim(
    studied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(studied / "study.db", tmp_path)
    with open_study(sqlite_url(tmp_path / "study.db"), "demo") as opened:
        before = opened.description
        monkeypatch.setattr(study.begin, "_refuse_other_hashes", lambda *_: opened.claims.release("demo-create"))
        with pytest.raises(ClaimLostError):
            go_on(opened, "--finalists", "1")
        assert opened.description == before


def test_a_finished_study_of_which_less_is_asked_for_is_one_of_that(studied: Path, tmp_path: Path) -> None:
    """A start that asked for more was stopped before its first training."""
    export(sqlite_url(studied / "study.db"), "demo", tmp_path / "study.db")
    with open_study(sqlite_url(tmp_path / "study.db"), "demo") as opened:
        known = opened.begun()[0]
        assert opened.search is not None
        more = dataclasses.replace(known.settings, seeds=5, finalists=3)
        dataclasses.replace(known, configuration=more.as_json(), tpe_trials=7).store(opened.search)
    main([*SMALL, "--runs-dir", str(tmp_path)])
    with read_study(sqlite_url(tmp_path / "study.db"), "demo") as opened:
        left = opened.begun()[0]
    assert left.settings == known.settings
    assert left.tpe_trials == 7, "trials after the grid stay wanted where the command asks for none"
    assert "Not all of the planned seeds" not in (tmp_path / "demo" / "report.md").read_text()


@pytest.mark.parametrize("part", ["demo", "demo-comparison"])
def test_a_study_that_minimizes_is_none_of_ours(part: str, tmp_path: Path) -> None:
    optuna.create_study(storage=sqlite_url(tmp_path / "study.db"), study_name=part, direction="minimize")
    with (
        open_study(sqlite_url(tmp_path / "study.db"), "demo") as opened,
        pytest.raises(ConfigurationError, match=f"study '{part}' does not maximize"),
    ):
        refuse_foreign(opened)


def test_a_report_is_made_where_the_session_was_lost_while_workers_worked(
    server: Server, studied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER_PATH", "/nowhere")  # no PNG figures
    monkeypatch.setattr(study.worker, "PAUSES", (0.05,) * 20)
    url, of_file = server.new_database(), sqlite_url(studied / "study.db")
    storage = optuna.storages.RDBStorage(url)
    for name in ("demo", "demo-comparison"):
        optuna.copy_study(from_study_name=name, from_storage=of_file, to_storage=storage)
    storage.engine.dispose()
    with open_study(url, "demo") as opened:
        with hold(opened.claims, "anything"):
            server.execute(CLAIM_SESSIONS)
        report(request_of([*SMALL, "--runs-dir", str(tmp_path), "--storage", url], None), opened)
    assert (tmp_path / "demo" / "report.md").exists()
