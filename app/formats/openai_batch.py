"""Reads and writes OpenAI batch files whose requests ask for verdicts.

The envelope's `custom_id` is the id of the pair. An id of the row itself that differs is kept in
its metadata.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.core.names import shown
from app.formats.base import RowInvalid, read_name
from app.formats.writing import Given, Loss, Options, count_lost

ENDPOINT: Final = "/v1/judgments"
_FIELDS: Final = ("custom_id", "method", "url", "body")


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether a line is an envelope, perhaps a faulty one."""
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


_URL = "/v1/judgments"


def rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the request for a pair; what people said of it is not sent to be judged."""
    if given.is_battle:
        loss["pairs without texts"] += 1
        return
    row = given.row
    kept = {"ids", "groups", "texts", "models", "criteria of pairs", "recorded scores"}
    count_lost(given, {*kept, "metadata of pairs"}, loss)
    body = {name: value for name, value in row.items() if name != "human"}
    yield {"custom_id": row["id"], "method": "POST", "url": _URL, "body": body}
