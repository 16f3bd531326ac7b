"""The texts of a row taken together: which fields go with which, and the conversation they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from judges.types import Message

if TYPE_CHECKING:
    from app.dialects.canonical import MessageIn, PairIn


def battle_fault(row: PairIn) -> str | None:
    """Return what a row without texts lacks, or None."""
    if row.model_a is None and row.model_b is None:
        return "prompt: is missing (or messages)"
    if row.model_a is None or row.model_b is None:
        return f"model_{'a' if row.model_a is None else 'b'}: is missing in a row without texts"
    if not row.human and not row.judges:
        return "human: a row without texts needs a label"
    return None


def texts_fault(row: PairIn) -> str | None:
    """Return what is wrong with the texts of a row taken together, or None."""
    if row.prompt is not None and row.messages is not None:
        return "messages: give either prompt or messages, not both"
    if row.prompt is None and row.messages is None:
        return "prompt: is missing (or messages)"
    fault = _responses_fault(row)
    if fault is None and row.messages is not None:
        fault = _messages_fault(row.messages, row.input)
    return fault or _turns_fault(row)


def _responses_fault(row: PairIn) -> str | None:
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


def _turns_fault(row: PairIn) -> str | None:
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


def conversation(row: PairIn) -> tuple[Message, ...]:
    """Return the conversation that the responses answer, the input joined to its first turn."""
    if row.messages is not None:
        return tuple(Message(m.role, m.content) for m in row.messages)
    prompt = row.prompt
    turns = (prompt,) if isinstance(prompt, str) else prompt or ()
    if row.input:
        turns = (f"{turns[0]}\n\n{row.input}", *turns[1:])
    return tuple(Message("user", turn) for turn in turns)
