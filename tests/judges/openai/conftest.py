"""A server of cases that a module of tests shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stamina

from tests.judges.openai.case_server import (
    CaseServer,
    answer,
    serving,
)


@pytest.fixture
def waits_are_real() -> Iterator[None]:
    """The waits between attempts are short by the judge's settings."""
    with stamina.set_testing(False):
        yield


@pytest.fixture(scope="module")
def _served() -> Iterator[CaseServer]:
    with serving(CaseServer(answer)) as server:
        yield server


@pytest.fixture
def case_server(_served: CaseServer) -> CaseServer:
    fresh = CaseServer(answer)
    fresh.base_url = _served.base_url
    vars(_served).update(vars(fresh))
    return _served
