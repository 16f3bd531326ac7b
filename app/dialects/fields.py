"""The types of the fields that bytes enter by: texts that may hold anything, names that may not."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import PlainValidator, WithJsonSchema

from app.identifiers import MAX_LENGTH, fault_of, shown

_MAX_DEPTH: Final = 50


def read_text(value: object) -> str:
    """Return any string as it came, NUL and lone surrogates included.

    Raises:
        ValueError: it is not a string.
    """
    if isinstance(value, str):
        return value
    raise ValueError(f"{shown(value)} is not a string")


def read_name(value: object) -> str:
    """Return a name; integers count as their digits.

    Raises:
        ValueError: it is neither a string nor an integer, or cannot name anything.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{shown(value)} is neither a string nor an integer")
    name = str(value)
    fault = fault_of(name)
    if fault is not None:
        raise ValueError(fault)
    return name


def read_object(value: object) -> dict[str, Any]:
    """Return a free JSON object; null is an empty one.

    Raises:
        ValueError: it is not an object, or is nested too deeply to be written back.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{shown(value)} is not an object")
    check_depth(value)
    return value


def check_depth(value: object) -> None:
    """Refuse what is nested so deeply that it could be read but not written back.

    Raises:
        ValueError: it is.
    """
    if _is_deeper(value, _MAX_DEPTH):
        raise ValueError(f"is nested more than {_MAX_DEPTH} deep")


def _is_deeper(value: object, limit: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    children = value.values() if isinstance(value, dict) else value
    return limit == 0 or any(_is_deeper(child, limit - 1) for child in children)


AnyText = Annotated[str, PlainValidator(read_text), WithJsonSchema({"type": "string"})]
AnyName = Annotated[
    str,
    PlainValidator(read_name),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH},
                {"type": "integer"},
            ]
        }
    ),
]
AnyObject = Annotated[
    dict[str, Any], PlainValidator(read_object), WithJsonSchema({"type": "object"})
]
