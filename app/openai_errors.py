"""OpenAI's form of an error, beside our own where clients of OpenAI's files and batches look."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

_PATHS: Final = re.compile(r"/v1/(files|batches)(/|$)")
_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_CODES: Final = {
    404: "not_found",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid_value",
    503: "not_ready",
}


def openai_error(
    status: int, detail: str, path: str | None, errors: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return `{"error": ...}` for a refusal under `/v1/files` or `/v1/batches`, else nothing."""
    if path is None or not _PATHS.match(path):
        return {}
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    param = ".".join(str(part) for part in errors[0]["loc"][1:]) if errors else None
    return {
        "error": {
            "message": detail,
            "type": kind,
            "param": param or None,
            "code": _CODES.get(status),
        }
    }
