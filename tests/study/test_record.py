"""What failed is tried again only where it may end otherwise."""

from typing import Any

import pytest
from optuna.trial import TrialState, create_trial

from storage.trials import DIVERGED
from study.record import is_worth_trying_again
from tests.reports.made_up import MADE_BY


def again(reason: str = f"{DIVERGED} nan in epoch 1", made_by: Any = MADE_BY, **here: Any) -> bool:
    """Whether a trial that failed is tried again by what differs from what made it."""
    attributes = {"reason": reason, **({} if made_by is None else {"made_by": made_by})}
    failed = create_trial(state=TrialState.FAIL, user_attrs=attributes)
    return is_worth_trying_again(failed, {**MADE_BY, **here})  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    "other",
    [
        {"commit": "another"},
        {"versions": {**MADE_BY["versions"], "torch": "3.0"}},
        {"device": "cuda"},
        {"precision": "bfloat16"},
        {"threads": 2},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_diverged_is_tried_again_where_it_is_computed_otherwise(other: dict[str, Any]) -> None:
    assert again(**other)


@pytest.mark.parametrize("other", [{}, {"host": "another"}, {"process": 1}], ids=["nothing", "host", "process"])
def test_what_diverged_is_not_tried_again_where_it_would_end_the_same(other: dict[str, Any]) -> None:
    assert not again(**other)


def test_what_failed_otherwise_and_what_nobody_knows_how_it_was_made_is_tried_again() -> None:
    assert again(reason="out of memory 3 times: no room")
    assert again(made_by=None)
