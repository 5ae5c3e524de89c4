"""What a person who watches no terminal is told of a training."""

import os
import sys
from pathlib import Path

import optuna
import pytest

from storage.claims import ClaimLostError
from storage.study_storage import StorageError, sqlite_url
from study import worker
from study.training import Epoch
from study.worker import patiently, with_lines

EPOCHS = [Epoch(loss, None, None, 60.0) for loss in (2.0, 1.0, 0.5)]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No minutes between the lines."""
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(worker, "SECONDS_BETWEEN_LINES", 0.0)


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert list(with_lines(iter(EPOCHS), 3, "run 4")) == EPOCHS
    return capsys.readouterr().out.splitlines()


def test_without_bars_lines_say_how_far_a_training_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["run 4: epoch 1 of 3, loss 2.000, 2 min left", "run 4: epoch 2 of 3, loss 1.000, 60 s left"]
    assert said(capsys) == lines
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert said(capsys) == [], "a bar says it"
    monkeypatch.setenv("TQDM_DISABLE", "1")  # as in a worker, whose lines its parent prints
    assert said(capsys) == lines


def test_lines_are_minutes_apart(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "SECONDS_BETWEEN_LINES", 300.0)
    assert said(capsys) == []
    minutes = iter(range(10))
    monkeypatch.setattr("time.monotonic", lambda: 120.0 * next(minutes))
    assert list(with_lines(iter(EPOCHS * 2), 6, "run 4")) == EPOCHS * 2
    epochs = [line.split(",")[0] for line in capsys.readouterr().out.splitlines()]
    assert epochs == ["run 4: epoch 3 of 6"]


@pytest.mark.parametrize("has_answered", [True, False])
def test_patience_begins_anew_where_the_storage_has_answered_meanwhile(
    has_answered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(worker, "SECONDS_OF_WORK", -1.0 if has_answered else 1e9)
    losses = iter(range(10))

    def work() -> str:
        if (loss := next(losses, None)) is not None:
            raise ClaimLostError(str(loss))
        return "done"

    if has_answered:
        assert patiently(work) == "done"
    else:
        with pytest.raises(StorageError, match="half an hour"):
            patiently(work)


def test_a_study_that_is_deleted_under_a_process_is_said_to_be_gone(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "study.db")
    study = optuna.create_study(storage=url, study_name="gone")
    trial = study.ask()
    optuna.delete_study(study_name="gone", storage=url)
    with pytest.raises(StorageError, match="is not in the storage any more: was it deleted"):
        patiently(lambda: trial.set_user_attr("curve", []))
    with pytest.raises(KeyError, match="A_BUG_OF_OURS"):
        patiently(lambda: os.environ["A_BUG_OF_OURS"])
