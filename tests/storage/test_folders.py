"""A study's name stays in its place, and an address opens the database that it names."""

import re
from pathlib import Path

import pytest
from optuna.study import StudyDirection

from storage.configuration import ConfigurationError
from storage.folders import RunsFolder, check_study_name
from storage.open_study import open_study, read_study
from storage.study_storage import StorageError, sqlite_url


@pytest.mark.parametrize("name", ["full", "a.b-c_1", "Ünï", "_x", "cached"])
def test_a_name_that_is_one_is_kept(name: str) -> None:
    assert check_study_name(name) == name


@pytest.mark.parametrize(
    "name",
    f"|.|..|-x|.hidden|a/b|a b|cache|Artifacts|checkpoints|study.db|study.db-wal|demo-comparison|{'x' * 101}".split(
        "|"
    ),
)
def test_a_name_that_would_leave_its_place_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^--study .*give ") as refusal:
        check_study_name(name)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["plain", "a b", "a%20b", "a?b", "a#b", "a@b:c", "Ünï", "100%", "a&b=c"])
def test_a_runs_folder_of_any_name_has_its_own_database(name: str, tmp_path: Path) -> None:
    runs = RunsFolder(tmp_path / name)
    with open_study(sqlite_url(runs.database), "demo") as opened:
        assert {study.direction for study in opened.create()} == {StudyDirection.MAXIMIZE}
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert runs.database.exists()
    with read_study(sqlite_url(runs.database), "demo") as opened:
        assert opened.names() == ["demo"]


def test_what_is_missing_is_said_with_the_command_that_makes_it(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "study.db")
    with read_study(url, "demo") as opened, pytest.raises(StorageError, match=r"not there; python -m study\.run makes"):
        opened.begun()
    assert list(tmp_path.iterdir()) == []
    with open_study(url, "demo") as opened:
        opened.create()
        with pytest.raises(StorageError, match=re.escape("was not made by study.run")):
            opened.begun()
        with pytest.raises(StorageError, match=re.escape("no study 'other'")):
            opened.sibling("other").begun()


def test_reading_an_empty_server_makes_no_tables(url: str) -> None:
    with read_study(url, "demo") as opened:
        assert opened.storage is None
        assert opened.search is None
    with read_study(url, "demo") as opened:
        assert opened.names() == []
