"""Requests generated from the service's own description: each answered as described, or refused."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.core.settings import Settings
from app.main import create_app
from tests.app.problems import assert_answered
from tests.app.rows import certify, labelled_rows, upload
from tests.conftest import client_of

Case = schemathesis.Case[Any]
_EXAMPLES: Final = int(os.environ.get("TRIBUNAL_FUZZ_EXAMPLES", "10"))
_SEED: Final = int(os.environ.get("TRIBUNAL_FUZZ_SEED", "3"))
_CHECKS: Final = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# what generated requests could not guess: names of what is there
_KNOWN: Final = {"dataset": "fuzz", "ref": "fuzz", "cascade": {"judges": ["cheap", "dear"]}}
_SCHEMA: Final = schemathesis.openapi.from_dict(create_app(Settings(workers=0)).openapi())
_OPERATIONS: Final = {
    f"{operation.method.upper()} {operation.path}": operation
    for result in _SCHEMA.get_all_operations()
    if isinstance(result, Ok)
    for operation in [result.ok()]
}


@dataclass(frozen=True, slots=True)
class Target:
    """A started service on a loop of its own; `known` are values that exist in it."""

    runner: asyncio.Runner
    client: httpx.AsyncClient
    known: dict[str, Any]

    def send(self, case: Case) -> httpx.Response:
        """Send a generated request as it is."""
        asked = case.as_transport_kwargs(base_url="http://127.0.0.1")
        plain = requests.Request(**asked).prepare()
        body = plain.body.encode() if isinstance(plain.body, str) else plain.body
        assert body is None or isinstance(body, bytes)
        headers: list[Any] = list(plain.headers.items())
        try:
            request = httpx.Request(
                str(plain.method), str(plain.url), headers=headers, content=body
            )
        except httpx.InvalidURL:  # longer than the client sends
            hypothesis.reject()
        return self.runner.run(self.client.send(request))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder: Path = tmp_path_factory.mktemp("fuzz")
    settings = Settings(database_url=f"sqlite+aiosqlite:///{folder}/fuzz.db", spool_dir=folder)
    app = create_app(settings)
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        client = client_of(app)
        runner.run(upload(client, "fuzz", labelled_rows(60)))
        certificate = runner.run(certify(client, "fuzz", target_agreement=0.7))
        ids = {"calibration": certificate["id"], "calibration_id": certificate["id"]}
        yield Target(runner, client, _KNOWN | ids)
        runner.run(client.aclose())
        runner.run(lifespan.__aexit__(None, None, None))


# a path parameter is any text: there is no wrong one to generate
_PLAN: Final = [
    pytest.param(name, mode, id=f"{name} {mode.value}")
    for name, operation in sorted(_OPERATIONS.items())
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or list(operation.query) or list(operation.body)
]


@pytest.mark.parametrize(("name", "mode"), _PLAN)
def test_generated_requests_are_answered_as_described(
    target: Target, name: str, mode: GenerationMode
) -> None:
    operation = _OPERATIONS[name]

    @hypothesis.seed(_SEED)
    @hypothesis.settings(
        max_examples=_EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def ask(case: Case, data: st.DataObject) -> None:
        if not name.startswith("DELETE"):
            _aim(case, target.known, data)
        response = target.send(case)
        assert_answered(response, case.as_curl_command())
        case.validate_response(response, checks=_CHECKS)

    ask()


def _aim(case: Case, known: dict[str, Any], data: st.DataObject) -> None:
    """Put values that exist in some of the places that ask for them."""
    for place in (case.body, case.query, case.path_parameters):
        if isinstance(place, dict):
            for field in place.keys() & known.keys():
                if data.draw(st.booleans(), label=f"{field} is known"):
                    place[field] = known[field]
