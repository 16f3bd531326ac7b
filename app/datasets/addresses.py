"""Addresses that hold a dataset's name: a slash in it is written as %2F.

Servers decode an address before it is matched, so that such a slash could no longer be told from
one that parts the address: here each part is decoded by itself.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

# stands for a slash inside a part; decoding gives no lone surrogate, so no name holds one
_SLASH: Final = "\udc2f"


class NameRoute(APIRoute):
    """A route whose path parameters may hold an encoded slash."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match part by part."""
        match, child = super().matches({**scope, "path": _path(scope)})
        found: dict[str, Any] = child.get("path_params", {})
        given = {name: _with_slashes(value) for name, value in found.items()}
        return match, ({**child, "path_params": given} if found else child)


def _path(scope: Scope) -> str:
    raw: bytes | None = scope.get("raw_path")
    if raw is None or b"%2f" not in raw.lower():
        return str(scope["path"])
    parts = raw.decode("latin-1").split("/")
    return "/".join(unquote(part).replace("/", _SLASH) for part in parts)


def _with_slashes(value: Any) -> Any:
    return value.replace(_SLASH, "/") if isinstance(value, str) else value
