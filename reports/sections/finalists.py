"""The best points of the search, each with several seeds: which of them is the best."""

import math
import statistics

from reports.evidence import estimate_of, win_shares
from reports.sections.document import Document
from reports.sections.words import count, percent, point, table


def finalists(document: Document) -> list[str]:
    """Means with their errors, and how often each would win; nothing where no point has more than one seed."""
    known = document.results["finalists"]
    if not known:
        return []
    rows = []
    for finalist, share in zip(known, win_shares(known), strict=True):
        mean = estimate_of(finalist["values"])
        assert mean is not None, "a finalist has two seeds or more"
        rows.append(
            (
                point(finalist["alpha"], finalist["temperature"]),
                len(finalist["seeds"]),
                ", ".join(f"{100 * value:.2f}" for value in finalist["values"]),
                f"{percent(mean.mean)} ± {100 * mean.standard_error:.2f} %",
                f"{100 * share:.0f} %",
            )
        )
    number = document.finalists
    spread = math.sqrt(statistics.fmean(statistics.variance(finalist["values"]) for finalist in known))
    return [
        "### Finalists: the best points with more seeds",
        f"{count(number, 'point')} with the highest accuracy of the search seed {'is' if number == 1 else 'are'} "
        "trained with more seeds and scored on the validation images, before the arms of the comparison are named by "
        f"the mean. {_missing(document)}Between seeds the accuracy of one point spreads by {100 * spread:.2f} points.",
        table(["Point", "Seeds", "Accuracy by seed, %", "Mean ± its standard error", "Would win"], rows),
        "*Would win*: how often the point would have the highest mean, were all trained anew with other seeds, if each "
        "mean is as found. The first seed is the one by which the points were chosen, so it is optimistic for all.",
    ]


def _missing(document: Document) -> str:
    left = document.finalist_trainings_left
    return f"{count(left, 'of these trainings has', 'of these trainings have')} not ended. " if left else ""
