"""JSON bodies: read, held to the limits and validated, large ones beside the event loop.

What a body costs grows with its length. A large one is therefore read in a thread of its own, and
by a scanner that lets others run between its parts, so that nobody waits for it but its sender.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from json import scanner
from json.decoder import JSONArray, JSONDecoder, JSONObject  # type: ignore[attr-defined]
from typing import Any, Final

from fastapi import Request
from fastapi._compat import ModelField
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from app.core.errors import Unprocessable
from app.core.limits import Limits, ShapeFault, more_than, shape_fault
from app.core.pools import in_thread

_Scan = Callable[[str, int], tuple[Any, int]]
# shorter ones take less time than a thread would
LARGE_BODY: Final = 16 * 1024
# above so many bytes for each part, the scanner of Python is as fast as that of C
_BYTES_OF_LONG_PARTS: Final = 64


async def hold_to_limits(request: Request, limits: Limits, field: ModelField) -> None:
    """Refuse a JSON body that holds more than allowed, before its fields are read one by one.

    What was read of it stays with the request. A body that is no JSON is left to the handler, which
    says where.

    Args:
        request: Whose body counts.
        limits: That it is held to.
        field: What the body is to be; a large body of a model is validated here, too.

    Raises:
        Unprocessable: it holds too much; the error names the place and the setting.
        RequestValidationError: a large body is not what it is to be.
    """
    if not _is_json(request):
        return
    body = await request.body()
    is_large = len(body) >= LARGE_BODY
    try:
        if is_large:
            found, made = await in_thread(_read_large, body, limits, field)
        else:
            made = found = _read(body, limits, json.loads)
    except (ValueError, RecursionError):
        return
    if isinstance(found, ShapeFault):
        raise Unprocessable(
            str(found), errors=[{"loc": ["body", *found.loc], "msg": found.message}]
        )
    request.state.as_sent = found
    # where Starlette keeps what it has parsed
    request._json = made


def as_sent(request: Request) -> Any:
    """Return the JSON of a request as it was sent, with the fields that no model names."""
    return request.state.as_sent


def _is_json(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type.startswith("application/") and media_type.endswith(("/json", "+json"))


def _read(body: bytes, limits: Limits, parse: Callable[[bytes], Any]) -> Any:
    read = parse(body)
    fault = shape_fault(read, limits)
    return read if fault is None else fault


def _read_large(body: bytes, limits: Limits, field: ModelField) -> tuple[Any, Any]:
    """Return a body as it was sent, or the fault of its shape, and the model that it is to be."""
    try:
        read = _read(body, limits, lambda content: _parse_large(content, limits.body_values))
    except _TooManyValues:
        read = ShapeFault((), more_than(limits.body_values, "values", "body_values"))
    if isinstance(read, ShapeFault):
        return read, read
    made, faults = field.validate(read, {}, loc=("body",))
    if faults:
        raise RequestValidationError(faults, body=read)
    # the framework validates once more, and takes a model for what it is
    return read, made if isinstance(made, BaseModel) else read


class _TooManyValues(Exception):
    """A body holds more values than allowed."""


def _parse_large(body: bytes, most: int) -> Any:
    """Return the JSON in a large body.

    The scanner of C holds up every other thread until it has read all. That of Python does so for a
    string at most; it is as fast where the strings are long, and it can stop at the limit.
    """
    parts = body.count(b",")
    if parts <= most and parts * _BYTES_OF_LONG_PARTS > len(body):
        return json.loads(body)
    decoder: Any = JSONDecoder()
    values = 0

    def counting(scan: _Scan) -> _Scan:
        def counted(text: str, start: int) -> tuple[Any, int]:
            nonlocal values
            values += 1
            if values > most:
                raise _TooManyValues
            return scan(text, start)

        return counted

    if parts > most:
        # they may stand in strings; if not, what is too much is never read
        decoder.parse_array = lambda at, scan: JSONArray(at, counting(scan))
        decoder.parse_object = lambda at, strict, scan, *rest: JSONObject(
            at, strict, counting(scan), *rest
        )
    decoder.scan_once = scanner.py_make_scanner(decoder)  # type: ignore[attr-defined]
    try:
        return decoder.decode(body.decode(json.detect_encoding(body), "surrogatepass"))
    except RecursionError:
        # the scanner of C goes deeper: no body may escape the limits by its depth
        return json.loads(body)
