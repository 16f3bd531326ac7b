"""Requests generated from the service's own description: each answered as described, or refused.

With and without keys, on both databases: about 700 requests here, and 35,000 in the slow test,
which has keys and none on each database. Each of its four parts can be run alone, in five minutes:
`pytest -m slow tests/app/api/test_fuzz.py -k "many and sqlite and not without"`.
`TRIBUNAL_FUZZ_EXAMPLES` is their number for each operation, `TRIBUNAL_FUZZ_SEED` chooses others.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack
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

from app.core import auth
from app.core.auth import Scope
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.main import create_app
from tests.app.problems import assert_answered
from tests.app.rows import certify, labelled_rows, upload
from tests.conftest import client_of, postgres_database, postgres_url

Case = schemathesis.Case[Any]
_EXAMPLES: Final = int(os.environ.get("TRIBUNAL_FUZZ_EXAMPLES", "3"))
_MANY_EXAMPLES: Final = int(os.environ.get("TRIBUNAL_FUZZ_EXAMPLES", "60"))
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


# operations that are open to everyone
_OPEN: Final = ("GET /healthz", "GET /readyz")


@dataclass(frozen=True, slots=True)
class Target:
    """A started service on a loop of its own; `known` are values that exist in it.

    `keys` open it, where it has any: the first one opens everything, the second reads.
    """

    runner: asyncio.Runner
    client: httpx.AsyncClient
    known: dict[str, Any]
    keys: tuple[str, ...]

    def send(self, case: Case, key: str | None) -> httpx.Response:
        """Send a generated request as it is, with a key of the caller's choice."""
        asked = case.as_transport_kwargs(base_url="http://127.0.0.1")
        plain = requests.Request(**asked).prepare()
        body = plain.body.encode() if isinstance(plain.body, str) else plain.body
        assert body is None or isinstance(body, bytes)
        headers: list[Any] = [
            (name, value)
            for name, value in plain.headers.items()
            if name.lower() != "authorization"
        ]
        if key is not None:
            headers.append(("Authorization", f"Bearer {key}"))
        try:
            request = httpx.Request(
                str(plain.method), str(plain.url), headers=headers, content=body
            )
        except httpx.InvalidURL:  # longer than the client sends
            hypothesis.reject()
        return self.runner.run(self.client.send(request))


# keys are looked up before anything else is: each way of opening the service on one database
_WORLDS: Final = ("sqlite without keys", "postgresql with keys")
_OTHER_WORLDS: Final = ("sqlite with keys", "postgresql without keys")


@pytest.fixture(scope="module")
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    folder: Path = tmp_path_factory.mktemp("fuzz")
    kind, _, keys = request.param.partition(" ")
    with ExitStack() as opened:
        url = f"sqlite+aiosqlite:///{folder}/fuzz.db"
        if kind == "postgresql":
            server = request.getfixturevalue("postgres_server")
            template = request.getfixturevalue("postgres_template")
            name = opened.enter_context(postgres_database(server, template))
            url = postgres_url(server, name)
        settings = Settings(database_url=url, spool_dir=folder, tables_dir=folder)
        yield from _started(settings, has_keys=keys == "with keys")


def _started(settings: Settings, *, has_keys: bool) -> Iterator[Target]:
    app = create_app(settings)
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        client = client_of(app)
        runner.run(upload(client, "fuzz", labelled_rows(60)))
        certificate = runner.run(certify(client, "fuzz", target_agreement=0.7))
        ids = {"calibration": certificate["id"], "calibration_id": certificate["id"]}
        scopes = (Scope.ADMIN, Scope.READ) if has_keys else ()
        keys = tuple(runner.run(_key(settings, app.state.runtime, scope)) for scope in scopes)
        yield Target(runner, client, _KNOWN | ids, keys)
        runner.run(client.aclose())
        runner.run(lifespan.__aexit__(None, None, None))


# a path parameter is any text: there is no wrong one to generate
_PLAN: Final = [
    pytest.param(name, mode, id=f"{name} {mode.value}")
    for name, operation in sorted(_OPERATIONS.items())
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or list(operation.query) or list(operation.body)
]


async def _key(settings: Settings, running: Runtime, scope: Scope) -> str:
    secret = await auth.server_secret(settings, running.db)
    wanted = auth.NewKey(scope.value, frozenset({scope}))
    async with running.db.write() as session:
        return (await auth.create_key(session, secret, wanted, running.now()))[1]


@pytest.mark.parametrize("target", _WORLDS, indirect=True, scope="module")
@pytest.mark.parametrize(("name", "mode"), _PLAN)
def test_generated_requests_are_answered_as_described(
    target: Target, name: str, mode: GenerationMode
) -> None:
    _ask_many(target, name, mode, _EXAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize("target", _WORLDS + _OTHER_WORLDS, indirect=True, scope="module")
@pytest.mark.parametrize(("name", "mode"), _PLAN)
def test_many_generated_requests_are_answered_as_described(
    target: Target, name: str, mode: GenerationMode
) -> None:
    _ask_many(target, name, mode, _MANY_EXAMPLES)


def _ask_many(target: Target, name: str, mode: GenerationMode, examples: int) -> None:
    operation = _OPERATIONS[name]

    @hypothesis.seed(_SEED)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def ask(case: Case, data: st.DataObject) -> None:
        if not name.startswith("DELETE"):
            _aim(case, target.known, data)
        # most requests carry the key, so that more than the door is tried
        key = data.draw(
            st.sampled_from([*target.keys[:1] * 5, *target.keys, None, "trib_wrong", ""]),
            label="key",
        )
        response = target.send(case, key)
        assert_answered(response, case.as_curl_command())
        case.validate_response(response, checks=_CHECKS)
        if target.keys and key not in target.keys and name not in _OPEN:
            assert response.status_code == 401, case.as_curl_command()

    ask()


def _aim(case: Case, known: dict[str, Any], data: st.DataObject) -> None:
    """Put values that exist in some of the places that ask for them."""
    if isinstance(case.body, dict) and case.path == "/v1/experiments":
        splits = case.body.get("splits", 20)
        # an experiment may take minutes, and says nothing more after a few splits
        case.body["splits"] = min(splits, 20) if isinstance(splits, int) else splits
    for place in (case.body, case.query, case.path_parameters):
        if isinstance(place, dict):
            for field in place.keys() & known.keys():
                if data.draw(st.booleans(), label=f"{field} is known"):
                    place[field] = known[field]
