"""A small storm; ``python -m tests.kill_storm`` is the long one."""

from pathlib import Path

import pytest

from tests.kill_storm import storm


@pytest.mark.parametrize("workers", [1, 3])
def test_every_point_ends_once_whatever_is_killed(url: str, tmp_path: Path, workers: int) -> None:
    outcome = storm(url, tmp_path, kills=6, workers=workers, seed=workers, say=print)
    assert outcome.is_right, str(outcome)
    assert outcome.kills == 6
    assert outcome.once == 16 * outcome.studies
