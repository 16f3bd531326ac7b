"""The parts of every request: paths, queries, and what is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from app.client.calls import Call, Json


def given(**options: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def at(collection: str, name: str, *rest: str) -> str:
    """Return the path of one thing; a slash in its name does not divide the path."""
    return "/".join([f"/v1/{collection}", quote(name, safe=""), *rest])


def carried(*, texts: bool, reasons: bool) -> dict[str, str]:
    """Return the query for what the verdicts of a batch carry beside what was judged."""
    return {**({"with": "texts"} if texts else {}), **({"include": "reasons"} if reasons else {})}


def get(path: str, **query: Any) -> Call[Json]:
    """Return what the service has at `path`."""
    return Call("GET", path, given(**query), is_repeatable=True)


def post(path: str, body: Mapping[str, Any] | None = None) -> Call[Json]:
    """Post to `path`."""
    return Call("POST", path, body=body)
