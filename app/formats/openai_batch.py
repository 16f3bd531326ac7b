"""Lines of an OpenAI Batch file: an envelope that names a request, and one row as its body.

The envelope's `custom_id` is the id of the pair. An id of the row itself that differs is kept in
its metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.dialects.fields import read_name
from app.dialects.reasons import RowInvalid
from app.identifiers import shown

ENDPOINT: Final = "/v1/judgments"
_FIELDS: Final = ("custom_id", "method", "url", "body")


def matches(row: Mapping[str, Any]) -> bool:
    """Whether a line is an envelope, perhaps a faulty one."""
    return "custom_id" in row and "body" in row


def convert(row: Mapping[str, Any], line: int) -> dict[str, Any]:
    """Return the canonical row of one line.

    Raises:
        RowInvalid: the envelope is none of a request for a verdict; the message names the field.
    """
    check_fields(row)
    _require(row, "method", "POST")
    _require(row, "url", ENDPOINT)
    return _named(_body(row["body"]), _custom_id(row["custom_id"]))


def check_fields(row: Mapping[str, Any]) -> None:
    """Check that a line has the fields of an envelope, and no others.

    Raises:
        RowInvalid: names the first that is missing, or too many.
    """
    missing = next((name for name in _FIELDS if name not in row), None)
    if missing is not None:
        raise RowInvalid(f"{missing}: is missing")
    unknown = next((name for name in row if name not in _FIELDS), None)
    if unknown is not None:
        raise RowInvalid(f"{unknown}: there is no such field beside {', '.join(_FIELDS)}")


def _require(row: Mapping[str, Any], name: str, wanted: str) -> None:
    if row[name] != wanted:
        raise RowInvalid(f"{name}: {shown(row[name])} is not {wanted}")


def _custom_id(value: object) -> str:
    try:
        return read_name(value)
    except ValueError as error:
        raise RowInvalid(f"custom_id: {error}") from None


def _body(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RowInvalid(f"body: {shown(value)} is not an object with fields")
    if "pairs" in value:
        raise RowInvalid("body: is one pair itself, without pairs around it")
    return value


def _named(body: dict[str, Any], custom_id: str) -> dict[str, Any]:
    own, metadata = body.get("id"), body.get("metadata")
    if own is None or own == custom_id or not isinstance(metadata, dict | None):
        return {**body, "id": custom_id}
    return {**body, "id": custom_id, "metadata": {"id": own, **(metadata or {})}}
