"""Field types that all formats share, the texts of a pair, and why rows are rejected."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema

from app.core.fields import NAME_SCHEMA
from app.core.inert import printable
from app.core.names import fault_of, shown
from judges.types import Message

_MAX_DEPTH: Final = 50
_WHOLE: Final = re.compile(r"(\d+)\.0+")


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
    name = read_reference(value)
    fault = fault_of(name)
    if fault is not None:
        raise ValueError(fault)
    return name


def read_reference(value: object) -> str:
    """Return the name of something stored, which may be older than the rules for names.

    Raises:
        ValueError: it is neither a string nor an integer.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{shown(value)} is neither a string nor an integer")
    return str(value)


# besides white space, marks of the byte order and of no width, which editors leave behind
_BLANKS: Final = "\ufeff\u200b\u2060"


def trim(name: str) -> str:
    """Return a name without blanks around it, which no one sees."""
    return name.strip().strip(_BLANKS).strip()


def read_trimmed_name(value: object) -> str:
    """Return a name without blanks around it; integers count as their digits.

    Raises:
        ValueError: it is neither a string nor an integer, or cannot name anything.
    """
    return read_name(trim(value) if isinstance(value, str) else value)


def whole(value: object) -> object:
    """Return a number without a fraction as an integer: a column with gaps is one of floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def whole_text(name: str) -> str:
    """Return the digits of a name that is a number without a fraction: "1.0" is "1"."""
    found = _WHOLE.fullmatch(name)
    return found[1] if found else name


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
    """Refuse values nested so deeply that they could be read but not written back.

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
_NAME_SCHEMA: Final = WithJsonSchema(
    {"anyOf": [{"type": "string", **NAME_SCHEMA}, {"type": "integer"}]}
)
AnyName = Annotated[str, PlainValidator(read_name), _NAME_SCHEMA]
TrimmedName = Annotated[str, PlainValidator(read_trimmed_name), _NAME_SCHEMA]
AnyReference = Annotated[str, PlainValidator(read_reference), _NAME_SCHEMA]
AnyObject = Annotated[
    dict[str, Any], PlainValidator(read_object), WithJsonSchema({"type": "object"})
]


_TEXT_FIELDS: Final = (
    "prompt", "input", "messages", "response_a", "response_b", "responses_a", "responses_b",
)  # fmt: skip


def _read_prompt(value: object) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(turn, str) for turn in value):
        return tuple(value)
    raise ValueError(f"{shown(value)} is neither a string nor a list of the user's turns")


def _read_turns(value: object) -> tuple[str, ...]:
    if isinstance(value, list) and value and all(isinstance(turn, str) for turn in value):
        return tuple(value)
    raise ValueError(f"{shown(value)} is not a list of strings, one for each user turn")


Prompt = Annotated[
    str | tuple[str, ...],
    PlainValidator(_read_prompt),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
Turns = Annotated[
    tuple[str, ...],
    PlainValidator(_read_turns),
    WithJsonSchema({"type": "array", "items": {"type": "string"}, "minItems": 1}),
]


class MessageIn(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: AnyText


class TextsIn(BaseModel):
    """The fields of a row that hold texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    prompt: Prompt | None = Field(None, description="a string, or the list of the user's turns")
    input: AnyText | None = Field(None, description="joined to the first turn by a blank line")
    messages: list[MessageIn] | None = Field(
        None, description="a conversation instead of `prompt`; the responses continue it"
    )
    response_a: AnyText | None = Field(None, description="may be empty")
    response_b: AnyText | None = Field(None, description="may be empty")
    responses_a: Turns | None = Field(None, description="one response for each user turn")
    responses_b: Turns | None = Field(None, description="one response for each user turn")

    @property
    def is_battle(self) -> bool:
        """Return whether the row has no texts: two models and the votes on them."""
        return all(getattr(self, name) is None for name in _TEXT_FIELDS)


def texts_fault(row: TextsIn) -> str | None:
    """Return what is wrong with the texts of a row taken together, or None."""
    if row.prompt is not None and row.messages is not None:
        return "messages: give either prompt or messages, not both"
    if row.prompt is None and row.messages is None:
        return "prompt: is missing (or messages)"
    fault = _responses_fault(row)
    if fault is None and row.messages is not None:
        fault = _messages_fault(row.messages, row.input)
    return fault or _turns_fault(row)


def _responses_fault(row: TextsIn) -> str | None:
    for side in ("a", "b"):
        one, several = getattr(row, f"response_{side}"), getattr(row, f"responses_{side}")
        if one is not None and several is not None:
            return f"responses_{side}: give either response_{side} or responses_{side}, not both"
        if one is None and several is None:
            return f"response_{side}: is missing"
    if (row.responses_a is None) != (row.responses_b is None):
        return "responses_a, responses_b: give both, or response_a and response_b"
    return None


def _messages_fault(messages: list[MessageIn], input_: str | None) -> str | None:
    if input_ is not None:
        return "input: belongs to prompt, not to messages"
    if not any(message.role == "user" for message in messages):
        return "messages: no turn of the user"
    if messages[-1].role == "assistant":
        return "messages: the last turn is the assistant's, but the responses continue it"
    return None


def _turns_fault(row: TextsIn) -> str | None:
    if row.responses_a is None or row.responses_b is None:
        return None
    counts = {len(row.responses_a), len(row.responses_b)}
    if counts == {1}:
        return None
    turns = conversation(row)
    if any(turn.role != "user" for turn in turns):
        return "responses_a: several turns go with the user's turns alone"
    if counts != {len(turns)}:
        return f"responses_a, responses_b: {len(turns)} user turns need as many responses each"
    return None


def conversation(row: TextsIn) -> tuple[Message, ...]:
    """Return the conversation that the responses answer, the input joined to its first turn."""
    if row.messages is not None:
        return tuple(Message(m.role, m.content) for m in row.messages)
    prompt = row.prompt
    turns = (prompt,) if isinstance(prompt, str) else prompt or ()
    if row.input:
        turns = (f"{turns[0]}\n\n{row.input}", *turns[1:])
    return tuple(Message("user", turn) for turn in turns)


# what pydantic says of a field, as everyone says it
_WORDS: Final = {
    "Field required": "is missing",
    "Input should be a valid dictionary": "is not an object with fields",
    "Input should be a valid list": "is not a list",
}
_MOST_FAULTS: Final = 3
_MOST_CHARACTERS: Final = 500


class RowInvalid(ValueError):
    """A row cannot be read; the message names the field and says what is wrong."""

    def __init__(self, reason: str) -> None:
        super().__init__(printable(reason)[:_MOST_CHARACTERS])


def describe(error: ValidationError) -> str:
    """Return what is wrong with a row, the first faults of many."""
    faults = [_fault(each["loc"], each["msg"]) for each in error.errors(include_url=False)]
    more = len(faults) - _MOST_FAULTS
    return "; ".join(faults[:_MOST_FAULTS]) + (f"; and {more} more" if more > 0 else "")


def _fault(loc: tuple[int | str, ...], message: str) -> str:
    field = ".".join(str(part) for part in loc)
    said = message.removeprefix("Value error, ")
    said = next((words for sign, words in _WORDS.items() if said.startswith(sign)), said)
    return said if not field or said.startswith(field) else f"{field}: {said}"


_ROLES: Final = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
    "chatgpt": "assistant", "bot": "assistant", "model": "assistant", "system": "system",
    "function": "tool", "tool": "tool", "observation": "tool",
}  # fmt: skip


def message_of(place: str, turn: Mapping[str, Any]) -> dict[str, Any]:
    """Return a turn with role and content, which ShareGPT calls from and value.

    Raises:
        RowInvalid: its speaker is unknown.
    """
    if "from" not in turn and "value" not in turn:
        return dict(turn)
    role = _ROLES.get(str(turn.get("from")).lower())
    if role is None:
        raise RowInvalid(f"{place}.from: {shown(turn.get('from'))} is none of {', '.join(_ROLES)}")
    return {"role": role, "content": turn.get("value")}
