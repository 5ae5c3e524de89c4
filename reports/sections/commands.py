"""Commands that the report tells to type, after those that the study was started by."""

import shlex
from collections.abc import Iterable, Mapping

from reports.sections.document import Document

SEARCHED_BY = ("--sampler", "--n-trials")
"""Options that an earlier command may have, and that do not belong to the next."""
FLAGS = ("--worker", "--controls")
"""As ``SEARCHED_BY``, without a value. ``--worker`` is of a process that another started, in studies of format 1."""


def as_option(values: Iterable[float]) -> str:
    """Numbers as an option takes them, so that they are read back the same: ``0.25,4``."""
    return ",".join(f"{value!r}".removesuffix(".0") for value in values)


def command_with(document: Document, options: Mapping[str, str]) -> str:
    """The last command that searched with other options; those of the search are left to them."""
    replaced = {*options, *SEARCHED_BY}
    # One without a search does not name the grid.
    last = document.results["manifest"]["starts"][-1]["command"]
    kept, words = [], iter(shlex.split([last, *document.searching_commands][-1]))
    for word in words:
        if word in FLAGS:
            continue
        if word.split("=")[0] not in replaced:
            kept.append(word)
        elif "=" not in word:
            next(words, None)
    return shlex.join([*kept, *(word for option in options.items() for word in option)])
