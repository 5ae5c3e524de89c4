"""What lies where below the runs folder, and what a study may be called."""

import re
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from storage.configuration import refuse_unless
from storage.study_storage import sqlite_url

COMPARISON = "-comparison"
RATES = "-rates"
LONGEST_NAME = 100


@dataclass(frozen=True)
class RunsFolder:
    """The one folder that a run writes to.

    Attributes:
        path: of the folder; it is made when something is first written.
    """

    path: Path

    @property
    def database(self) -> Path:
        """The SQLite file of the default storage."""
        return self.path / "study.db"

    @property
    def url(self) -> str:
        """The address of that storage."""
        return sqlite_url(self.database)

    def holds(self, url: str) -> bool:
        """Whether the storage at an address is that one."""
        parsed = make_url(url)
        return parsed.get_backend_name() == "sqlite" and Path(str(parsed.database)).resolve() == self.database.resolve()

    @property
    def cache(self) -> Path:
        """Data, teachers and teacher logits, which studies share."""
        return self.path / "cache"

    @property
    def artifacts(self) -> Path:
        """Curves and trained weights, which optuna-dashboard shows with ``--artifact-dir``."""
        return self.path / "artifacts"

    def checkpoints(self, optuna_name: str) -> Path:
        """Where the trainings of one Optuna study keep what they need to go on."""
        return self.path / "checkpoints" / optuna_name

    def checkpoint(self, optuna_name: str, alpha: float, temperature: float, seed: int, control: str = "") -> Path:
        """The checkpoint of one training.

        Args:
            control: by what it differs from a plain one of that pair and seed.
        """
        control = f"-{control}" if control else ""
        return self.checkpoints(optuna_name) / f"alpha{alpha!r}-T{temperature!r}-seed{seed}{control}.pt"

    def report(self, study_name: str) -> Path:
        """The folder of a study's report."""
        return self.path / study_name


def comparison_name(study_name: str) -> str:
    """The name of the Optuna study that holds the final comparison of another."""
    return f"{study_name}{COMPARISON}"


def rates_name(study_name: str) -> str:
    """The name of the Optuna study in which the controls of another try learning rates."""
    return f"{study_name}{RATES}"


def check_study_name(name: str, given: str = "--study") -> str:
    """The name itself, where a study may have it: it is a folder beside those of all studies.

    Args:
        given: how it was, for the message.

    Raises:
        ConfigurationError: for a name that is none, too long or taken.
    """
    refuse_unless(
        re.fullmatch(r"\w[\w.-]*", name) is not None,
        f"{given} {name!r}: give letters, digits, '.', '_' and '-', a letter, digit or '_' first",
    )
    refuse_unless(len(name) <= LONGEST_NAME, f"{given} {name[:20]}...: give at most {LONGEST_NAME} characters")
    for ending, what in ((COMPARISON, "final comparison"), (RATES, "learning rates")):
        refuse_unless(
            not name.endswith(ending),
            f"{given} {name}: a name ending in {ending} is that of a study's {what}, give another",
        )
    taken = {"cache", "artifacts", "checkpoints"}
    refuse_unless(
        name.lower() not in taken and not name.lower().startswith("study.db"),
        f"{given} {name}: the runs folder has something else of that name, give another",
    )
    return name
