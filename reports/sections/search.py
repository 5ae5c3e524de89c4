"""The search: the grid, what pruning saved, what alpha and T explain, and what TPE found beyond."""

from typing import Any

from reports.evidence import accuracy_standard_error, is_measured, not_told_apart, paired, variance_shares
from reports.sections.document import UNFINISHED, Document
from reports.sections.words import count, duration, interval, percent, point, points, state_words, table


def search(document: Document) -> list[str]:
    """The grid and what follows from it, then TPE."""
    blocks = ["## The search", _search_summary(document)]
    blocks.append(_grid_table(document))
    notes = (
        "≈ marks a point that cannot be told apart from the best: lower by less than 1.96 standard errors of the "
        f"difference of two independent accuracies on {document.validation_images:,} images"
    )
    if document.best is not None:
        error = accuracy_standard_error(document.best["value"], document.validation_images)
        notes += f" (one such standard error, of the best alone, is {100 * error:.2f} points)"
    notes += (
        ". All points are in fact scored on the same images, which makes the rule too careful; it leaves out the "
        "spread between training seeds, which makes it not careful enough. Only accuracies are stored, so a test "
        "image by image is not possible. A pruned or failed point has no result."
    )
    blocks.append(notes)
    blocks += document.figure("grid")
    failed = [cell for cell in document.results["grid"] + document.results["tpe"] if cell["state"] == "FAIL"]
    if failed:
        blocks.append("Failed trials:")
        blocks.append(
            "\n".join(
                f"- trial {cell['number']} at {point(cell['alpha'], cell['temperature'])}: "
                f"{cell['reason'] or 'no reason stored'}"
                for cell in failed
            )
        )
    blocks += document.figure("trials")
    blocks += ["### What pruning saved", _pruning(document), *document.figure("pruning")]
    blocks += ["### What alpha and T explain", *_variance(document)]
    blocks += ["### Beyond the grid: TPE", *_tpe(document)]
    return blocks


def _search_summary(document: Document) -> str:
    grid = document.results["grid"]
    states = {
        "complete": sum(map(is_measured, grid)),
        "pruned": sum(cell["state"] == "PRUNED" for cell in grid),
        "failed": sum(cell["state"] == "FAIL" for cell in grid),
        "not finished": sum(cell["state"] in UNFINISHED for cell in grid),
    }
    words = ", ".join(f"{number} {state}" for state, number in states.items() if number or state == "complete")
    repeats = sum(cell["repeats"] is not None for cell in grid)
    summary = f"The grid has {count(len(grid), 'point')}: {words}."
    if repeats:
        summary += (
            f" At alpha = 0 the temperature is no matter: {count(repeats, 'point repeats', 'points repeat')} the "
            "one that was trained."
        )
    search = document.results["search"]
    summary += (
        f" Each trial trains on {document.configuration['train_images']:,} images for up to "
        f"{document.configuration['epochs']} epochs with seed {document.configuration['seed']}, the same images in the "
        f"same views for all. Training took {duration(search['seconds'])} in all."
    )
    return summary


def _grid_table(document: Document) -> str:
    temperatures = document.configuration["temperatures"]
    rows = []
    for alpha in document.configuration["alphas"]:
        row = [f"**{alpha:g}**"]
        for temperature in temperatures:
            cell = document.cell((alpha, temperature))
            row.append("not yet" if cell is None else _cell_words(document, cell))
        rows.append(row)
    return table(["alpha \\ T", *(f"{temperature:g}" for temperature in temperatures)], rows)


def _cell_words(document: Document, cell: dict[str, Any]) -> str:
    if not is_measured(cell):
        return state_words(cell)
    words = percent(cell["value"])
    if cell["repeats"] is not None:
        words += f" (repeats trial {cell['repeats']})"
    if document.is_best(cell) and cell["repeats"] is None:
        return f"**{words}** best"
    return f"{words} ≈" if document.near_best(cell) else words


def _pruning(document: Document) -> str:
    search = document.results["search"]
    if document.configuration["pruner"] == "none":
        return "Pruning was switched off: every trial that did not fail trained to its last epoch."
    trials = document.trained_cells() + document.results["tpe"]
    pruned = count(sum(trial["state"] == "PRUNED" for trial in trials), "trial")
    # Asked for in this way since reports/published/quick was stored without it.
    spared = [trial for trial in trials if trial.get("pruner") == "none"]
    saved = search["epochs_full"] - search["epochs_trained"]
    share = saved / search["epochs_full"] if search["epochs_full"] else 0.0
    earlier = f"{count(len(spared), 'trial')} ran in an earlier start, without a pruner. " if spared else ""
    return (
        f"The median pruner stopped {pruned}. {earlier}The search trained {search['epochs_trained']:,} of "
        f"{search['epochs_full']:,} epochs, {100 * share:.0f} % fewer. A point that learns slowly at first can be "
        "pruned although it would have been good in the end."
    )


def _variance(document: Document) -> list[str]:
    grid = document.results["grid"]
    distilled = [cell for cell in grid if cell["alpha"] != 0]
    rows = []
    for name, cells in (("whole grid", grid), ("without alpha = 0", distilled)):
        shares = variance_shares(cells, document.validation_images)
        if shares is not None:
            shown = (shares.alpha, shares.temperature, shares.rest, shares.noise)
            rows.append([name, *(f"{share:.2f}" for share in shown)])
    if not rows:
        without = sum(not is_measured(cell) for cell in grid)
        if without:
            return [
                f"Not computable: {without} of {count(len(grid), 'grid point')} have no value. Bad points are the "
                "ones that are pruned, so shares from the rest would mislead. `--pruner none` gives a full grid."
            ]
        return ["Not computable: the grid has fewer than two rows or columns, or all its values are the same."]
    return [
        table(["Cells", "alpha", "T", "rest", "noise alone would make"], rows),
        "Shares of the sum of squares of the grid's accuracies: of the row means (alpha), of the column means (T), "
        "and what is left, which is their interplay and noise. The last column is what the sampling error of the "
        f"{document.validation_images:,} validation images alone would make if all points were equally good. At alpha "
        "= 0 all temperatures are one trial, which lowers the share of T in the whole grid.",
    ]


def _tpe(document: Document) -> list[str]:
    trials = document.results["tpe"]
    if not trials:
        return ["No TPE trials were run."]
    scored = [cell for cell in trials if is_measured(cell)]
    words = f"TPE went on from the grid for {count(len(trials), 'trial')}, {len(scored)} of them complete."
    if not scored:
        return [words, *document.figure("tpe")]
    top = max(scored, key=lambda cell: cell["value"])
    words += f" Its best is {point(top['alpha'], top['temperature'])} with {percent(top['value'])} on validation"
    on_grid = max(
        (cell["value"] for cell in document.results["grid"] if is_measured(cell)),
        default=None,
    )
    if on_grid is None:
        words += ". No grid point is complete to hold it against."
    else:
        apart = not_told_apart(min(top["value"], on_grid), max(top["value"], on_grid), document.validation_images)
        words += (
            f", {points(top['value'] - on_grid)} from the grid's best; "
            f"{'the two cannot be told apart' if apart else 'the two can be told apart'} by the rule above. The "
            "best of more trials is higher by luck alone."
        )
    if "tpe" in document.arms and "best" in document.arms:
        pairs = paired(document.arms["tpe"], document.arms["best"])
        known = pairs.estimate
        if known is not None:
            words += (
                f" On test, TPE's point minus the best arm is {points(known.mean)} (95 % interval "
                f"{interval(known)}, {len(pairs.seeds)} seeds)."
            )
    top_rows = [
        (cell["number"], f"{cell['alpha']:.3f}", f"{cell['temperature']:.2f}", percent(cell["value"]))
        for cell in sorted(scored, key=lambda cell: (-cell["value"], cell["number"]))[:5]
    ]
    return [words, table(["Trial", "alpha", "T", "Validation accuracy"], top_rows), *document.figure("tpe")]
