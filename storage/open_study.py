"""An open study: what a command opened for it, once, and closes with it."""

import copy
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import optuna
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from sqlalchemy.engine import make_url

from storage.claims import Claims, hold
from storage.description import Description
from storage.folders import comparison_name, rates_name
from storage.study_storage import StorageError, is_there, open_claims, open_storage, read_storage, shown

SEARCH_METRIC, COMPARISON_METRIC = ["validation accuracy"], ["test accuracy"]
"""Names of the values of search and learning rates, and of the comparison."""
SIBLING_METRICS = (SEARCH_METRIC, COMPARISON_METRIC)


class OpenStudy:
    """One study in one storage.

    Args:
        url: of the storage.
        name: of the study; ``comparison_name(name)`` is that of its final comparison.
        claims: of the storage.
        open_it: opens the storage, where it is there.
    """

    def __init__(self, url: str, name: str, claims: Claims, open_it: Callable[[], RDBStorage]) -> None:
        self.url, self.name, self.claims, self._open = url, name, claims, open_it
        self._storage: RDBStorage | None = None

    @property
    def storage(self) -> RDBStorage | None:
        """The storage; None as long as there is none. It is opened once."""
        if self._storage is None and is_there(self.url):
            self._storage = self._open()
        return self._storage

    def require_storage(self) -> RDBStorage:
        """The storage.

        Raises:
            StorageError: where there is none.
        """
        if self.storage is None:
            raise StorageError(f"{make_url(self.url).database}: not there; python -m study.run makes it")
        return self.storage

    @property
    def address(self) -> str:
        """The storage's address without its password, for messages."""
        return shown(self.url)

    @property
    def search(self) -> optuna.Study | None:
        """The Optuna study of the search; None where it was not begun."""
        return self._load(self.name)

    @property
    def comparison(self) -> optuna.Study | None:
        """The Optuna study of the final comparison; None where it was not begun."""
        return self._load(comparison_name(self.name))

    @property
    def rates(self) -> optuna.Study | None:
        """The Optuna study in which the controls try learning rates; None where none were asked for."""
        return self._load(rates_name(self.name))

    @property
    def description(self) -> Description | None:
        """What the study is; None where it was not begun."""
        search = self.search
        return None if search is None else Description.of(search)

    def sibling(self, name: str) -> "OpenStudy":
        """Another study of the same storage, closed with this one."""
        found = copy.copy(self)
        found.name = name
        return found

    def keep(self) -> None:
        """Let nobody delete the study until this is closed, or its process dies; before it is looked at.

        Raises:
            StorageError: where another process is deleting it.
            ClaimLostError: where the storage does not answer.
        """
        if not self.claims.try_share(self._at_work):
            raise StorageError(f"study {self.name!r} is being deleted; try again")

    def refuse_company(self) -> None:
        """Raise ``StorageError`` where another process works on the study.

        For one that does not ``keep`` it yet.
        """
        self._work_alone()
        self.claims.release(self._at_work)

    def _work_alone(self) -> None:
        if not self.claims.try_claim(self._at_work):
            raise StorageError(f"study {self.name!r}: a living process works on it; stop it first")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other process work on the study in the block, or begin to.

        Raises:
            StorageError: where one works on it.
            ClaimLostError: where the storage does not answer.
        """
        with hold(self.claims, self.claim_to_create):
            self._work_alone()
            try:
                yield
            finally:
                self.claims.release(self._at_work)

    def check_alone(self) -> None:
        """Raise ``ClaimLostError`` where the block of ``alone`` is not protected any more."""
        self.claims.check_held(self._at_work)

    @property
    def claim_to_create(self) -> str:
        """The claim under which the study is made and described, and deleted."""
        return f"{self.name}-create"

    @property
    def _at_work(self) -> str:
        return f"{self.name}-at-work"

    def names(self) -> list[str]:
        """The studies of the storage, those of their final comparisons and learning rates aside."""
        storage = self.storage
        names = set() if storage is None else set(optuna.get_all_study_names(storage))
        return sorted(names - {of(name) for name in names for of in (comparison_name, rates_name)})

    def create(self) -> tuple[optuna.Study, optuna.Study]:
        """The studies of search and comparison, made with their storage where they are missing; one at a time."""
        return self._create(self.name), self._create(comparison_name(self.name))

    def create_rates(self) -> optuna.Study:
        """The study of the learning rates, made where it is missing; for one process at a time."""
        return self._create(rates_name(self.name))

    def _create(self, name: str) -> optuna.Study:
        if self._storage is None:
            self._storage = self._open()
        return optuna.create_study(
            storage=self._storage,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            sampler=RandomSampler(),  # the search has its own, the others enqueue all of their trials
        )

    def begun(self) -> tuple[Description, optuna.Study, optuna.Study]:
        """What the study is, its search and its comparison.

        Raises:
            StorageError: where the storage or the study is not there, or is not one of this product.
        """
        self.require_storage()
        search, comparison, names = self.search, self.comparison, self.names()
        if search is None:
            raise StorageError(f"no study {self.name!r} in {self.address}; there: {', '.join(names) or 'none'}")
        description = Description.of(search)
        if description is None:
            raise StorageError(f"study {self.name!r} in {self.address} was not made by study.run")
        if comparison is None:
            missing = comparison_name(self.name)
            raise StorageError(f"{self.address} holds {self.name!r} without its comparison {missing!r}")
        return description, search, comparison

    def parts(self) -> list[optuna.Study]:
        """The Optuna studies that there are of it, also where others of them were deleted; the search last.

        Raises:
            StorageError: where there is none, or they are not of this product.
        """
        siblings = [study for study in (self.rates, self.comparison) if study is not None]
        if self.search is None and siblings and all(study.metric_names in SIBLING_METRICS for study in siblings):
            return siblings
        search = self.search
        if search is None or Description.of(search) is None:
            self.begun()  # which says what is missing
        assert search is not None
        return [*siblings, search]

    def _load(self, name: str) -> optuna.Study | None:
        # Asked each time, as another process may have made it.
        storage = self.storage
        if storage is None or name not in optuna.get_all_study_names(storage):
            return None
        return optuna.load_study(study_name=name, storage=storage, sampler=RandomSampler())

    def close(self) -> None:
        """Give claims back and end connections."""
        if self._storage is not None:
            self._storage.remove_session()
            self._storage.engine.dispose()
        self.claims.close()


@contextmanager
def open_study(url: str, name: str) -> Iterator[OpenStudy]:
    """A study to work on; a storage that is missing is made with the study, not before.

    Raises:
        StorageError: where the storage cannot be opened or has no way to claim a trial safely.
    """
    claims = open_claims(url)
    with closing(OpenStudy(url, name, claims, lambda: open_storage(url, claims))) as opened:
        yield opened


@contextmanager
def read_study(url: str, name: str = "") -> Iterator[OpenStudy]:
    """A study to read, or all of a storage: nothing is created or claimed, an export may lie in a read-only folder.

    Raises:
        StorageError: where the storage is there and cannot be read.
    """
    with closing(OpenStudy(url, name, open_claims(url), lambda: read_storage(url))) as opened:
        yield opened
