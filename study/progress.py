"""What a person sees while it runs: bars on a terminal, plain lines elsewhere."""

import os
import sys
from typing import Any

from tqdm import tqdm


def bar(total: int, name: str, unit: str, initial: int = 0) -> "tqdm[Any]":
    """A progress bar with time left that vanishes when done.

    Not drawn where stderr is no terminal, nor where ``TQDM_DISABLE`` is set.
    """
    return tqdm(
        total=total,
        desc=name,
        unit=f" {unit}s",
        initial=initial,
        leave=False,
        disable=not draws_bars(),
        dynamic_ncols=True,
        mininterval=0.2,
    )


def draws_bars() -> bool:
    """Whether bars are drawn."""
    return not os.environ.get("TQDM_DISABLE") and sys.stderr is not None and sys.stderr.isatty()


def say(line: str) -> None:
    """Print one line above the bars, at once."""
    tqdm.write(line)
    sys.stdout.flush()


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3 h 20 min`` or ``2.5 days``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes / 60 / 24:.1f} days"
