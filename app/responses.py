"""JSON answers that may carry anybody's texts."""

from __future__ import annotations

import json
import math
from typing import Any

from fastapi.responses import JSONResponse


class TextsResponse(JSONResponse):
    """JSON in ASCII: lone surrogates have no UTF-8 form, but they have a JSON spelling.

    Numbers that JSON does not know (NaN, infinities) become null.
    """

    def render(self, content: Any) -> bytes:
        """Write the body."""
        try:
            return _ascii(content)
        except ValueError:
            return _ascii(_finite(content))


def _ascii(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(field) for name, field in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
