"""Holds the answers of the service against its own description."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache, cached_property
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import httpx
import jsonschema_rs
from pydantic import TypeAdapter
from typing_extensions import TypeAliasType, is_typeddict

from app.core.settings import Settings
from app.main import create_app

Json = dict[str, Any]


@dataclass(frozen=True)
class Description:
    """The description of every endpoint, as /openapi.json gives it."""

    document: Json

    @classmethod
    @cache
    def own(cls) -> Description:
        """Return the description of the service itself."""
        return cls(create_app(Settings(workers=0)).openapi())

    @cached_property
    def _routes(self) -> list[tuple[re.Pattern[str], Json]]:
        # those with fewer parameters first: /reports/history is no report
        paths = sorted(self.document["paths"].items(), key=lambda item: item[0].count("{"))
        return [(re.compile(re.sub(r"{\w+}", "[^/]+", path)), said) for path, said in paths]

    def operation(self, request: httpx.Request) -> Json | None:
        """Return the operation that a request is for, None where it is for none."""
        path = request.url.raw_path.decode("ascii").partition("?")[0]
        for pattern, said in self._routes:
            if pattern.fullmatch(path):
                found: Json | None = said.get(request.method.lower())
                return found
        return None

    def fault_of(self, response: httpx.Response) -> str | None:
        """Return in what an answer is not as described, None where it is."""
        operation = self.operation(response.request)
        if operation is None:
            return None
        status = str(response.status_code)
        answer = operation["responses"].get(status)
        if answer is None:
            # a fault of the service itself is described for all statuses at once
            return None if status.startswith("5") else f"{status} is not described"
        media_type = response.headers.get("content-type", "").partition(";")[0]
        if not media_type.endswith("json") or not response.content:
            return None
        schema = answer.get("content", {}).get(media_type, {}).get("schema")
        if schema is None:
            return f"{media_type} is not described"
        if schema == {"type": "string"}:  # a file, not a value
            return None
        return self._fault_of_body(json.dumps(schema), response.text)

    def _fault_of_body(self, schema: str, text: str) -> str | None:
        body = json.loads(text)
        if (
            "\\ud" in text
        ):  # perhaps a lone surrogate, which JSON can spell and the validator cannot
            body = json.loads(json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"))
        error = next(self._validator(schema).iter_errors(body), None)
        return None if error is None else f"{error.instance_path}: {error.message[:500]}"

    @cache  # noqa: B019 - there is one description in a process
    def _validator(self, schema: str) -> Any:
        whole = {**json.loads(schema), "components": self.document["components"]}
        return jsonschema_rs.Draft202012Validator(whole)

    def __hash__(self) -> int:
        return id(self)


async def check_described(response: httpx.Response) -> None:
    """Fail where the service answers what its description does not say: a hook of clients."""
    if "json" in response.headers.get("content-type", ""):
        await response.aread()
        fault = Description.own().fault_of(response)
        request = response.request
        assert fault is None, f"{request.method} {request.url} answers otherwise: {fault}"


def body_of(kind: Any, /, **given: Any) -> Any:
    """Return an answer of a kind: the least that it may say, and the fields given.

    It is held against the kind, so that a test shows nothing that the service could not answer.
    """
    body = {
        name: given[name] if name in given else _least(of)
        for name, of in get_type_hints(kind, include_extras=True).items()
        if name in given or get_origin(of) is not NotRequired
    }
    TypeAdapter(kind).validate_python(body)
    return body


_LEAST: Final = {str: "", int: 0, float: 0.0, bool: False}


def _least(kind: Any) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Annotated, Required):
        return _least(arguments[0])
    if isinstance(kind, TypeAliasType):  # any JSON
        return None
    if origin in (Union, UnionType):
        return None if NoneType in arguments else _least(arguments[0])
    if origin is Literal:
        return arguments[0]
    if is_typeddict(kind):
        return body_of(kind)
    return _LEAST[kind] if kind in _LEAST else (origin or kind)()
