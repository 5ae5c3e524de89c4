"""An open study: what a command opened for it, once, and closes with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import optuna
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from sqlalchemy.engine import make_url

from storage.claims import Claims
from storage.description import Description
from storage.folders import comparison_name, rates_name
from storage.study_storage import StorageError, is_there, open_claims, open_storage, read_storage, shown


@dataclass(frozen=True)
class OpenStudy:
    """One study in one storage.

    Attributes:
        url: of the storage.
        name: of the study; ``comparison_name(name)`` is that of its final comparison.
        claims: of the storage.
        storage: None where there is none, which only a reader meets.
    """

    url: str
    name: str
    claims: Claims
    storage: RDBStorage | None

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
        return None if self.search is None else Description.of(self.search)

    def sibling(self, name: str) -> "OpenStudy":
        """Another study of the same storage, closed with this one."""
        return replace(self, name=name)

    def names(self) -> list[str]:
        """The studies of the storage, those of their final comparisons and learning rates aside."""
        names = set() if self.storage is None else set(optuna.get_all_study_names(self.storage))
        return sorted(names - {of(name) for name in names for of in (comparison_name, rates_name)})

    def create(self) -> tuple[optuna.Study, optuna.Study]:
        """The studies of search and comparison, made where they are missing; for one process at a time."""
        return self._create(self.name), self._create(comparison_name(self.name))

    def create_rates(self) -> optuna.Study:
        """The study of the learning rates, made where it is missing; for one process at a time."""
        return self._create(rates_name(self.name))

    def _create(self, name: str) -> optuna.Study:
        assert self.storage is not None, "a study that is only read"
        return optuna.create_study(
            storage=self.storage,
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
        if self.storage is None:
            raise StorageError(f"{make_url(self.url).database}: not there; python -m study.run makes it")
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

    def _load(self, name: str) -> optuna.Study | None:
        # Asked each time, as another process may have made it.
        if self.storage is None or name not in optuna.get_all_study_names(self.storage):
            return None
        return optuna.load_study(study_name=name, storage=self.storage, sampler=RandomSampler())


@contextmanager
def open_study(url: str, name: str) -> Iterator[OpenStudy]:
    """A study to work on; the storage is made where it is missing.

    Raises:
        StorageError: where the storage cannot be opened or has no way to claim a trial safely.
    """
    with _closing(OpenStudy(url, name, open_claims(url), None)) as opened:
        storage = open_storage(url, opened.claims)
        with _disposed(storage):
            yield replace(opened, storage=storage)


@contextmanager
def read_study(url: str, name: str = "") -> Iterator[OpenStudy]:
    """A study to read, or all of a storage: nothing is created or claimed, an export may lie in a read-only folder.

    Raises:
        StorageError: where the storage is there and cannot be read.
    """
    with _closing(OpenStudy(url, name, open_claims(url), None)) as opened:
        if not is_there(url):
            yield opened
            return
        storage = read_storage(url)
        with _disposed(storage):
            yield replace(opened, storage=storage)


@contextmanager
def _closing(opened: OpenStudy) -> Iterator[OpenStudy]:
    try:
        yield opened
    finally:
        opened.claims.close()


@contextmanager
def _disposed(storage: RDBStorage) -> Iterator[None]:
    try:
        yield
    finally:
        storage.remove_session()
        storage.engine.dispose()
