"""Errors of validation, field by field, in the names that the sender wrote.

For a field of several possible types pydantic reports one error for each type, with the type's name
in the path. The sender knows none of them: a path keeps only the keys and numbers that lead through
the body as it was sent, and only the error of the type that fits best stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Final

Location = tuple[str | int, ...]

_OBJECT_TYPES: Final = ("model_type", "model_attributes_type", "dict_type")


@dataclass(frozen=True, slots=True)
class _Fault:
    """One error; `is_of_a_choice` where the field may be one of several types."""

    loc: Location
    message: str
    is_shape: bool
    is_of_a_choice: bool

    @property
    def better(self) -> Iterator[Location]:
        """The places at which this error of a choice fits better than one of shape: it lies deeper."""
        if self.is_of_a_choice:
            yield from (self.loc[:length] for length in range(1, len(self.loc)))
            if not self.is_shape:
                yield self.loc


def field_errors(found: Sequence[Mapping[str, Any]], body: object) -> list[dict[str, Any]]:
    """Return `{"loc", "msg"}` for each field that is wrong.

    Args:
        found: The errors of pydantic.
        body: The body that was sent, read as JSON.
    """
    faults = [_fault(error, body) for error in found]
    outdone = {loc for fault in faults for loc in fault.better}
    kept = [
        fault
        for fault in faults
        if not (fault.is_shape and fault.is_of_a_choice and fault.loc in outdone)
    ]
    distinct = dict.fromkeys((one.loc, one.message) for one in kept)
    return [{"loc": [_printable(part) for part in loc], "msg": msg} for loc, msg in distinct]


def named(errors: Sequence[Mapping[str, Any]], most: int = 5) -> str:
    """Return the first of these errors in one line, each after the name of its field."""
    texts = [f"{_name(error['loc'])}: {error['msg']}" for error in errors]
    more = f"; and {len(texts) - most} more" if len(texts) > most else ""
    return "; ".join(texts[:most]) + more


def _fault(error: Mapping[str, Any], body: object) -> _Fault:
    kind = error["type"]
    loc: Location = tuple(error["loc"])
    if loc[:1] != ("body",):
        return _Fault(loc, _message(error, loc), is_shape=False, is_of_a_choice=False)
    if kind == "json_invalid":
        return _Fault(("body",), _message(error, ()), is_shape=False, is_of_a_choice=False)
    written = _written(loc, body, is_missing=kind == "missing")
    return _Fault(
        written,
        _message(error, written),
        is_shape=kind.endswith("_type"),
        is_of_a_choice=len(written) < len(loc),
    )


def _written(loc: Location, body: object, *, is_missing: bool) -> Location:
    """Return the steps of `loc` that lead through the body; a missing field is the last of them."""
    steps: list[str | int] = ["body"]
    for number, part in enumerate(loc[1:], 2):
        if _holds(body, part):
            body = body[part]  # type: ignore[index]  # as _holds has found
        elif not (is_missing and number == len(loc)):
            continue
        steps.append(part)
    return tuple(steps)


def _holds(value: object, part: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, dict) and part in value


# what the command line calls otherwise, as a request has it
_REQUEST_FORMS: Final = {
    "judges": '"cascade": {"judges": ["cheap", "dear"]}',
    "judge": '"source": "judge:NAME", or "judges"',
    "format": '"dialect"',
    "criterion": '"criteria": {"NAME": 1.0}',
    "line": '"lines"',
    "targets": '"target_agreements": [0.8, 0.9]',
    "soft_budget": '"budget": "soft"',
    **{f"elo_{name}": f'"options": {{"{name}": ...}}' for name in ("k", "start", "scale")},
}
# what bodies and the client call otherwise, as a query has it
_QUERY_FORMS: Final = {"criteria": "criterion=NAME=WEIGHT, once for each criterion"}
_PART: Final = '{"side": "calibration", "fraction": 0.5, "seed": 0}'
_OBJECT_FORMS: Final = {
    "part": _PART,
    "criteria": '{"NAME": 1.0}',
    "cascade": '"default", or {"judges": ["cheap", "dear"]}',
}
_MOST_CHARACTERS: Final = 200


def _unknown(name: str, *, is_query: bool = False) -> str:
    """Return the message for a field that is not known, with the right one where it is plain."""
    spelt = name.replace("-", "_")
    forms = _REQUEST_FORMS | (_QUERY_FORMS if is_query else {})
    if spelt in forms:
        return f"is not permitted: there is no such field here; write {forms[spelt]}"
    other = f"; write {spelt}" if spelt != name else ""
    return f"is not permitted: there is no such field here{other}"


def _right_form(error: Mapping[str, Any], name: object) -> str:
    """Return the form that a text, as the command line takes it, has in a request."""
    value = error.get("input")
    if not isinstance(value, str | list):
        return ""
    if error["type"] == "list_type" and isinstance(value, str) and len(value) < _MOST_CHARACTERS:
        return f"; write {json.dumps([_number_or_text(part.strip()) for part in value.split(',')])}"
    return f"; write {_OBJECT_FORMS[name]}" if name in _OBJECT_FORMS else ""


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _message(error: Mapping[str, Any], loc: Location) -> str:
    """Return what is wrong with the field at this place."""
    name = loc[-1] if loc else ""
    if error["type"] == "extra_forbidden":
        return _unknown(str(name), is_query=loc[0] == "query")
    if error["type"] in _OBJECT_TYPES:
        return f"Input should be an object{_right_form(error, name)}"
    if error["type"] in ("list_type", "string_type"):
        return f"{error['msg']}{_right_form(error, name)}"
    if error["type"] == "json_invalid":
        return f"is not JSON: {error['ctx']['error']} at character {error['loc'][-1] + 1}"
    if error["type"] == "too_long":
        # of an object pydantic stops counting at the limit
        count, value = error["ctx"], error.get("input")
        length = len(value) if isinstance(value, Sized) else count["actual_length"]
        return f"holds {length} items, more than {count['max_length']}"
    return str(error["msg"]).removeprefix("Value error, ")


def _name(loc: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in (loc[1:] or loc))


def _printable(part: str | int) -> str | int:
    """Escape what UTF-8 cannot encode; field names come from the body."""
    return (
        part if isinstance(part, int) else part.encode("utf-8", "backslashreplace").decode("utf-8")
    )
