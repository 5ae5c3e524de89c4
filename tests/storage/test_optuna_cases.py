"""Optuna's own cases, on the storages as the product opens them and on its sampler."""

from collections.abc import Callable, Iterator

import pytest
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, get_storage
from optuna.testing.pytest_samplers import BasicSamplerTestCase, RelativeSamplerTestCase
from optuna.testing.pytest_storages import StorageTestCase

from storage.study_storage import open_claims, open_storage
from study.sampler import GridFirst


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseStorage]:
    """A storage as the product opens it, with the cache that Optuna puts before it."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('cases') / 'study.db'}"
    else:
        url = request.getfixturevalue("server").new_database()
    with open_claims(url) as claims:
        storage = open_storage(url, claims)
    yield get_storage(storage)
    storage.engine.dispose()


class TestStorage(StorageTestCase):
    """All cases apply.

    One storage for all, emptied before each: a database for each takes a minute.
    """

    @pytest.fixture
    def storage(self, opened: BaseStorage) -> BaseStorage:
        for study in opened.get_all_studies():
            opened.delete_study(study._study_id)
        return opened


class TestSampler(BasicSamplerTestCase):
    """The cases of any sampler, on the product's behind its grid: the grid knows no parameters but its own.

    Those of ``RelativeSamplerTestCase`` that look at proposals do not apply: they make one trial before they ask, and
    TPE proposes nothing before ten have ended. Nor do those about several objectives: a study of the product has one.
    """

    test_trial_relative_params = RelativeSamplerTestCase.test_trial_relative_params

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        def behind_the_grid() -> BaseSampler:
            sampler = GridFirst({}, seed=0)
            sampler.points = 0
            return sampler

        return behind_the_grid
