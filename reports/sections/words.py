"""Numbers and tables as the report writes them."""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from reports.evidence import Estimate, Paired, by_seed, sample_deviation
from reports.results import Arm, Trial
from reports.standing import Cell

SAMPLERS = {"tpe": "TPE", "gp": "a Gaussian process"}


def proposers(trials: Iterable[Trial]) -> str:
    """Who proposed trials after the grid."""
    found = {trial["sampler"] for trial in trials}
    return " and ".join(name for sampler, name in SAMPLERS.items() if sampler in found)


def percent(share: float | None) -> str:
    """A share as a percentage, ``-`` where there is none."""
    return "-" if share is None else f"{100 * share:.2f} %"


def points(difference: float) -> str:
    """A difference of two shares in percentage points."""
    return f"{100 * difference:+.2f} points"


def interval(known: Estimate) -> str:
    """A 95% interval in percentage points."""
    low, high = known.interval
    return f"{100 * low:+.2f} to {100 * high:+.2f}"


def difference_cells(pairs: Paired) -> tuple[str, str, str]:
    """A paired difference as three cells of a table: its mean in points, the interval, and in how many seeds."""
    known = pairs.estimate
    return (
        f"{100 * pairs.mean:+.2f}",
        ("none from one seed" if len(pairs.seeds) == 1 else "none, all are the same")
        if known is None
        else interval(known),
        f"{pairs.wins} of {len(pairs.seeds)}" + (f", {pairs.ties} equal" if pairs.ties else ""),
    )


def seed_rows(arms: Mapping[str, Arm]) -> list[list[str]]:
    """The rows of a table of test accuracies: a seed, then each arm's."""
    accuracy = [by_seed(arm) for arm in arms.values()]
    return [[str(seed), *(percent(of.get(seed)) for of in accuracy)] for seed in sorted(set().union(*accuracy))]


def mean_and_deviation(values: Sequence[float]) -> str:
    """Mean and sample standard deviation of shares, in %."""
    if not values:
        return "-"
    deviation = sample_deviation(values)
    spread = "(one run)" if deviation is None else f"± {100 * deviation:.2f} %"
    return f"{percent(statistics.fmean(values))} {spread}"


def point(alpha: float, temperature: float) -> str:
    """A point of the plane, in words."""
    return f"alpha = {alpha:.3g}" if alpha == 0 else f"alpha = {alpha:.3g}, T = {temperature:.3g}"


def capitalised(words: str) -> str:
    """Words as a sentence begins; unlike with ``str.capitalize`` the rest stays."""
    return words[0].upper() + words[1:]


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A markdown table, its columns aligned for a terminal."""
    cells = [[re.sub(r"\s+", " ", str(cell)).replace("|", "\\|") for cell in row] for row in rows]
    return pd.DataFrame(cells, columns=list(header)).to_markdown(index=False, tablefmt="github", disable_numparse=True)


def filled_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """``table`` without the columns in which every cell is ``-``."""
    filled = [place for place in range(len(header)) if any(row[place] != "-" for row in rows)]
    return table([header[place] for place in filled], ([row[place] for place in filled] for row in rows))


def plain(text: str) -> str:
    """Text from outside, so that markdown shows it as it is written; an underscore within a word is as it is."""
    return re.sub(r"[\\`*\[\]<>&~!]|(?<!\w)_|_(?!\w)", r"\\\g<0>", re.sub(r"\s+", " ", text))


def count(number: int, one: str, many: str | None = None) -> str:
    """``1 trial``, ``2 trials``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    if seconds < 120:
        return count(round(seconds), "second")
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def mean(values: Sequence[float], words: str) -> str:
    """The mean in these words, ``-`` where there are no values."""
    return words.format(statistics.fmean(values)) if values else "-"


def state_words(cell: Cell) -> str:
    """The state of a cell that has no value, and after which epoch it ended."""
    stopped = cell.standing in ("pruned", "failed") and cell.trial["epochs"]
    return f"{cell.standing} after epoch {cell.trial['epochs']}" if stopped else cell.standing


def trial_label(cell: Trial) -> str:
    """A trial and its point, as the figures name it."""
    return f"trial {cell['number']}: alpha {cell['alpha']:.3g}, T {cell['temperature']:.3g}"


def arm_label(name: str, arm: Arm) -> str:
    """An arm in words."""
    rate = f", rate {arm['learning_rate']:.3g}" if arm["control"] == "rate" else ""
    if arm["alpha"] == 0:
        return f"{name} (no teacher{rate})"
    point = f"({arm['alpha']:.3g}, {arm['temperature']:.3g}{rate})"
    return point if name == f"{arm['alpha']:g},{arm['temperature']:g}" else f"{name} {point}"
