"""One data folder with models, and one chat server on it, for all tests that change neither."""

from collections.abc import Iterator

import pytest

from tests.support.inference import Home, InferenceServer, furnish, running_inference


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return furnish(tmp_path_factory.mktemp("inference"))


@pytest.fixture(scope="session")
def server(home: Home) -> Iterator[InferenceServer]:
    with running_inference(home.storage) as server:
        yield server
