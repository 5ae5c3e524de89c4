"""Whether the grid's best lies on its border, what was found beyond, and the command that looks there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reports.evidence import scored
from reports.results import Trial
from reports.sections.commands import as_option, command_with
from reports.sections.document import Document
from reports.sections.words import count, percent
from storage.configuration import ALPHA_BOUNDS, TEMPERATURE_BOUNDS


@dataclass(frozen=True)
class Border:
    """A border of the grid that its best lies on.

    Attributes:
        beyond: values that a wider grid would have.
    """

    key: Literal["alpha", "temperature"]
    value: float
    is_largest: bool
    beyond: list[float]

    def __str__(self) -> str:
        name = "alpha" if self.key == "alpha" else "T"
        return f"{name} = {self.value:g} is the {'largest' if self.is_largest else 'smallest'}"

    def is_crossed_by(self, trial: Trial) -> bool:
        """Whether a trial lies beyond it."""
        return trial[self.key] > self.value if self.is_largest else trial[self.key] < self.value


def on_the_border(document: Document) -> str | None:
    """That a better point may lie beyond the grid, and what was found there; None where the best is not on its border.

    Nothing lies beyond alpha 1, or T from 1 to 16, which are the bounds of the search.
    """
    borders = _borders_of_best(document)
    if not borders:
        return None
    there = f" {_found_beyond(document, borders)}" if document.results["tpe"] else ""
    where = " and ".join(map(str, borders))
    return f"The grid's best lies on its border ({where}), so a better one may lie beyond.{there}"


def look_beyond(document: Document) -> list[str]:
    """The command that looks beyond the border on which the grid's best lies: TPE, after it a wider grid."""
    borders = _borders_of_best(document)
    if not borders:
        return []
    who, options = "TPE", {"--sampler": "tpe", "--n-trials": "16"}
    if document.results["tpe"]:
        who, options = "a wider grid as a study of its own", _wider_grid(document, borders)
    command = command_with(document, options)
    return [f"Beyond the border on which the best lies looks {who}:", f"```sh\n{command}\n```"]


def _wider_grid(document: Document, borders: Sequence[Border]) -> dict[str, str]:
    """The options of a study whose grid goes beyond these borders."""
    options = {"--study": f"{document.results['study']}-wider"}
    for key in ("alphas", "temperatures"):
        beyond = [value for border in borders if key == f"{border.key}s" for value in border.beyond]
        options[f"--{key}"] = as_option(sorted({*document.configuration[key], *beyond}))
    return options


def _borders_of_best(document: Document) -> list[Border]:
    best = document.best
    if best is None or best["alpha"] == 0:
        return []
    values = {key: sorted(document.configuration[key]) for key in ("alphas", "temperatures")}
    return [
        *_borders("alpha", best["alpha"], values["alphas"], ALPHA_BOUNDS),
        *_borders("temperature", best["temperature"], values["temperatures"], TEMPERATURE_BOUNDS),
    ]


def _borders(
    key: Literal["alpha", "temperature"], value: float, values: Sequence[float], limits: tuple[float, float]
) -> list[Border]:
    """The border that the best's value of one key lies on; none where nothing lies beyond."""
    low, high = limits
    if len(values) > 1 and value == values[-1] < high:
        return [Border(key, value, True, [(value + high) / 2, high] if key == "alpha" else [min(2 * value, high)])]
    if len(values) > 1 and value == values[0] > low:
        return [Border(key, value, False, [(value + low) / 2, low])]
    return []


def _found_beyond(document: Document, borders: Sequence[Border]) -> str:
    """What the trials after the grid found beyond the borders that the best lies on, in a sentence."""
    beyond = [trial for trial in document.results["tpe"] if any(border.is_crossed_by(trial) for border in borders)]
    if not beyond:
        return "No trial after the grid went there."
    values = [value for value, _ in scored(beyond)]
    if not values:
        found = "none of them to the end"
    elif len(values) == len(beyond):
        found = f"the best with {percent(max(values))}"
    else:
        found = f"of which {len(values)} came to the end, the best with {percent(max(values))}"
    return f"{count(len(beyond), 'trial')} after the grid went beyond it, {found}."
