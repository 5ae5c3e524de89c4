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
        disable=True if os.environ.get("TQDM_DISABLE") else None,
        dynamic_ncols=True,
        mininterval=0.2,
    )


def say(line: str) -> None:
    """Print one line above the bars, at once."""
    tqdm.write(line)
    sys.stdout.flush()
