"""What /openapi.json says of every answer, and whether that is so."""

from __future__ import annotations

import compileall
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.bodies.common import JsonValue
from tests.app.described import Description, check_described
from tests.app.rows import labelled_rows, upload

Json = dict[str, Any]
# the generator knows no lines of JSON and no tables: they are bytes to it
_BYTES = ("application/x-ndjson", "text/csv", "application/vnd.apache.parquet")


@pytest.fixture(scope="module")
def document() -> Json:
    return Description.own().document


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """One kind is enough: nothing here depends on it."""
    return f"sqlite+aiosqlite:///{tmp_path}/test.db"


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def contents(operation: Json) -> Iterator[tuple[str, str, Json]]:
    for status, answer in operation["responses"].items():
        for media_type, content in answer.get("content", {}).items():
            yield status, media_type, content.get("schema", {})


def test_no_answer_is_an_untyped_object(document: Json) -> None:
    schemas: Json = document["components"]["schemas"]
    waiting = [
        (f"{name} {status} {media_type}", schema)
        for name, operation in operations(document)
        for status, media_type, schema in contents(operation)
    ]
    # the one type whose values users choose
    named, untyped = {JsonValue.__name__}, []
    while waiting:
        place, schema = waiting.pop()
        name = schema.get("$ref", "").rpartition("/")[2]
        if not name:
            untyped += [] if _is_typed(schema) else [place]
            waiting += [(f"{place}.{key}", inner) for key, inner in _inner(schema)]
        elif name not in named:
            named.add(name)
            waiting.append((name, schemas[name]))
    assert not untyped
    assert {"CertificateBody", "BatchBody", "LeaderboardBody", "ProblemBody"} <= named


def _is_typed(schema: Json) -> bool:
    if schema.get("type") == "object":
        is_map = isinstance(schema.get("additionalProperties"), dict)
        return is_map or bool(schema.get("properties"))
    if schema.get("type") == "array":
        return "items" in schema
    return bool(schema.keys() & {"type", "anyOf", "oneOf", "allOf", "enum", "const"})


def _inner(schema: Json) -> Iterator[tuple[str, Json]]:
    yield from schema.get("properties", {}).items()
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield key, schema[key]
    for key in ("anyOf", "oneOf", "allOf"):
        yield from ((key, one) for one in schema.get(key, ()))


def test_every_operation_and_parameter_is_described(document: Json) -> None:
    silent = []
    for name, operation in operations(document):
        summary, function = operation["summary"], operation["operationId"].split("_v1_")[0]
        if len(summary.split()) < 3 or summary.lower().replace(" ", "_") == function:
            silent.append(name)
        parameters = operation.get("parameters", ())
        silent += [f"{name} {one['name']}" for one in parameters if not one.get("description")]
    assert not silent


def test_refusals_are_described_by_status(document: Json) -> None:
    for name, operation in operations(document):
        described = {s for s, kind, _ in contents(operation) if kind == "application/problem+json"}
        assert {"4XX", "5XX"} <= described
        if "/v1/" in name:
            assert {"401", "403", "503"} <= described, name
        if "{" in name:
            assert "404" in described, name
        if "requestBody" in operation:
            assert "422" in described, name


def test_every_operation_says_which_scope_a_key_needs(document: Json) -> None:
    ((name, scheme),) = document["components"]["securitySchemes"].items()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    scopes = set()
    for operation_name, operation in operations(document):
        if operation_name in ("GET /healthz", "GET /readyz"):
            assert operation["security"] == []
            continue
        (needed,) = operation["security"]
        assert list(needed) == [name]
        (scope,) = needed[name]
        scopes.add(scope)
        assert {"401", "403"} <= operation["responses"].keys()
    assert {"read", "judge", "admin"} <= scopes


async def test_an_answer_that_is_otherwise_fails(client: httpx.AsyncClient) -> None:
    told = await client.get("/v1/judges")
    body = told.json()
    body["data"][0]["price_input"] = "dear"
    for status, changed in ((200, body), (200, {"object": "list"}), (201, told.json())):
        answer = httpx.Response(status, json=changed, request=told.request)
        with pytest.raises(AssertionError, match="answers otherwise"):
            await check_described(answer)
    await check_described(httpx.Response(200, json=told.json(), request=told.request))


@pytest.fixture(scope="module")
def generated(document: Json, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of the package that a generator of clients makes of the description."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "openapi.json").write_text(json.dumps(document))
    kinds = dict.fromkeys(_BYTES, "application/octet-stream")
    config = {"post_hooks": [], "content_type_overrides": kinds}
    (folder / "config.json").write_text(json.dumps(config))
    command = [
        sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning",
        "--meta", "none", "--path", "openapi.json", "--config", "config.json",
        "--output-path", "generated_client",
    ]  # fmt: skip
    made = subprocess.run(command, cwd=folder, text=True, capture_output=True)
    assert made.returncode == 0, made.stdout + made.stderr
    assert compileall.compile_dir(folder, quiet=1)
    sys.path.append(str(folder))
    return "generated_client"


async def test_a_generated_client_works(generated: str, client: httpx.AsyncClient) -> None:
    models = importlib.import_module(f"{generated}.models")
    calibrations = f"{generated}.api.calibrations"
    certify = importlib.import_module(f"{calibrations}.create_calibration_v1_calibrations_post")
    own = importlib.import_module(generated).Client("http://127.0.0.1")
    own.set_async_httpx_client(client)
    await upload(client, "rivers", labelled_rows(60))
    judges = models.JudgeOrder(judges=["cheap", "dear"])
    asked = models.CalibrationIn(dataset="rivers", cascade=judges, target_agreement=0.7)
    certificate = await certify.asyncio(client=own, body=asked)
    assert isinstance(certificate, models.CertificateBody)
    assert certificate.calibration.pairs > 0
    refused = await certify.asyncio(client=own, body=models.CalibrationIn(dataset="nowhere"))
    assert isinstance(refused, models.ProblemBody)
    assert refused.status == 404
