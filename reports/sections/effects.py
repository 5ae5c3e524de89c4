"""How much of what the grid shows is due to alpha and how much to T."""

from reports.evidence import variance_shares
from reports.sections.document import Document
from reports.sections.words import count, table
from reports.standing import UNFINISHED


def effects(document: Document) -> list[str]:
    """Shares of the grid's variance, where every cell has a value."""
    grid, rows = document.results["grid"], []
    distilled = [cell for cell in grid if cell["alpha"] != 0]
    for name, cells in {"whole grid": grid, **({"without alpha = 0": distilled} if distilled != grid else {})}.items():
        shares = variance_shares(cells, document.validation_images)
        if shares is not None:
            shown = (shares.alpha, shares.temperature, shares.rest, shares.noise)
            rows.append([name, *(f"{share:.2f}" for share in shown)])
    title = "### What alpha and T explain"
    if not rows:
        return [title, _not_computable(document)]
    return [
        title,
        table(["Cells", "alpha", "T", "rest", "validation images alone, at most"], rows),
        "Shares of the sum of squares of the grid's accuracies: of the row means (alpha), of the column means (T), "
        "and what is left, which is their interplay and noise. All are of one seed, whose luck at single "
        "points is part of them. The last column is an upper bound of what the sampling "
        f"error of the {document.validation_images:,} validation images alone would make if all points were "
        "equally good: it takes them as drawn anew for each point, though all points share them"
        f"{_at_zero(document) if distilled != grid and rows[0][0] == 'whole grid' else ''}.",
    ]


def _at_zero(document: Document) -> str:
    return (
        f", and in the whole grid it counts the one trial of alpha = 0 as "
        f"{len(document.configuration['temperatures'])}. That trial at all temperatures also lowers the share of T "
        "there"
    )


def _not_computable(document: Document) -> str:
    grid = document.grid
    without = sum(cell.value is None for cell in grid)
    if without:
        yet = " yet" if any(cell.standing in UNFINISHED for cell in grid) else ""
        have = "has" if without == 1 else "have"
        pruned = (
            " Bad points are the ones that are pruned, so shares from the rest would mislead. `--pruner none` gives a "
            "full grid."
        )
        return (
            f"Not computable{yet}: {without} of {count(len(grid), 'grid point')} {have} no value."
            f"{pruned if all(cell.standing == 'pruned' for cell in grid if cell.value is None) else ''}"
        )
    return "Not computable: the grid has fewer than two rows or columns, or all its values are the same."
