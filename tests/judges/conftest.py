"""What the tests of judges share: a model server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.judges.model_server import ModelServer, running


@pytest.fixture(scope="package")
def _running_server() -> Iterator[ModelServer]:
    with running(ModelServer()) as server:
        yield server


@pytest.fixture
def server(_running_server: ModelServer) -> ModelServer:
    _running_server.reset()
    return _running_server
