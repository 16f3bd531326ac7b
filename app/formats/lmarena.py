"""LMArena votes: the set of 55k, whose turns are JSON in texts, and the sets with conversations.

The latter are the sets of 33k, 100k and 140k, and Search Arena's. A vote without the name of its
voter has an unknown annotator. A `question_id` of these sets is the vote's, not the prompt's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from app.core.names import shown
from app.formats.base import RowInvalid
from app.formats.columns.flat import note_voter, of_python, turns_in, voter_in
from app.formats.columns.verdicts import Heard, is_empty
from judges.probability import parse_label

WINNERS: Final = {"winner_model_a": "a", "winner_model_b": "b", "winner_tie": "tie"}
FIELDS_55K: Final = ("prompt", "response_a", "response_b", *WINNERS)
FIELDS_140K: Final = ("model_a", "model_b", "winner", "conversation_a", "conversation_b")
_READ_55K: Final = frozenset({*FIELDS_55K, "id", "model_a", "model_b"})
# the whole conversation repeats what the two conversations say
_REPEATED: Final = "full_conversation"
_READ_140K: Final = frozenset({*FIELDS_140K, "id", _REPEATED, "judge", "annotator", "recorded_by"})
_SEARCH: Final = {"messages_a": "conversation_a", "messages_b": "conversation_b"}
# fields that the logs of the arena have, and votes on MT-bench have not
_LOGGED: Final = ("anony", "tstamp", "messages_a")


def is_55k(row: Mapping[str, Any]) -> bool:
    """Return whether the row has the fields of the set of 55k."""
    return all(name in row for name in FIELDS_55K)


def is_140k(row: Mapping[str, Any]) -> bool:
    """Return whether the row has two conversations and a winner, and is no vote on MT-bench."""
    has_texts = all(name in row or other in row for other, name in _SEARCH.items())
    has_rest = all(name in row for name in ("model_a", "model_b", "winner"))
    is_mt_bench = "question_id" in row and "judge" in row
    return has_texts and has_rest and (not is_mt_bench or any(name in row for name in _LOGGED))


def prepared_140k(row: Mapping[str, Any], heard: Heard) -> Sequence[dict[str, Any]]:
    """Return the row with its conversations under one name, and its winner and voter read.

    Raises:
        RowInvalid: the winner cannot be read.
    """
    made = {_SEARCH.get(name, name): value for name, value in row.items()}
    for name in _SEARCH.values():
        made[name] = _flat(turns_in(made[name]))
    if "question_id" in made:
        own = made.pop("question_id")
        if made.setdefault("id", own) != own:
            made["source_question_id"] = own
    made["winner"] = heard.label("winner", made["winner"], (made["model_a"], made["model_b"]))
    judge = made.pop("judge", None)
    if isinstance(judge, str | int) and not isinstance(judge, bool) and not is_empty(judge):
        is_model = heard.is_model("judge", str(judge))
        made["recorded_by" if is_model else "annotator"] = judge
    elif is_empty(made.get("annotator")) and (voter := voter_in(made)) is not None:
        note_voter(voter, heard)
    return [made]


def _flat(conversation: object) -> object:
    """Return a conversation whose messages stand one by one in lists, as VisionArena has them."""
    is_nested = isinstance(conversation, list) and all(
        isinstance(one, list) and len(one) == 1 for one in conversation
    )
    return [one[0] for one in conversation] if is_nested else conversation  # type: ignore[attr-defined]


def convert_55k(row: Mapping[str, Any], line: int) -> dict[str, Any]:
    """Return the canonical row; an answer that is null is an empty one.

    Raises:
        RowInvalid: a list of turns or the winner cannot be read.
    """
    chosen = [label for name, label in WINNERS.items() if _is_set(name, row[name])]
    if len(chosen) != 1:
        raise RowInvalid(f"{', '.join(WINNERS)}: {len(chosen)} of them are 1, not one")
    return {
        "id": row.get("id"),
        "prompt": [turn or "" for turn in _turns("prompt", row["prompt"])],
        "responses_a": [turn or "" for turn in _turns("response_a", row["response_a"])],
        "responses_b": [turn or "" for turn in _turns("response_b", row["response_b"])],
        "model_a": row.get("model_a"),
        "model_b": row.get("model_b"),
        "human": [{"annotator": None, "label": chosen[0]}],
        "metadata": {name: value for name, value in row.items() if name not in _READ_55K},
    }


def notes_55k(row: Mapping[str, Any]) -> dict[str, int]:
    """Count the answers that are null and were read as empty."""
    fields = ("prompt", "response_a", "response_b")
    nulls = sum(turn is None for name in fields for turn in _turns(name, row[name]))
    return {"turns that are null, read as empty": nulls} if nulls else {}


def _is_set(field: str, value: object) -> bool:
    if isinstance(value, int | float | str) and value in (0, 1, "0", "1"):
        return int(value) == 1
    raise RowInvalid(f"{field}: {shown(value)} is neither 0 nor 1")


def _turns(field: str, value: object) -> list[str | None]:
    try:
        turns = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        turns = None
    if not isinstance(turns, list) or not turns or not all(_is_turn(turn) for turn in turns):
        raise RowInvalid(f"{field}: {shown(value)} is not a JSON list of turns{of_python(value)}")
    return turns


def _is_turn(turn: object) -> bool:
    return turn is None or isinstance(turn, str)


def convert_140k(row: Mapping[str, Any], line: int) -> dict[str, Any]:
    """Return the canonical row; without a winner it has no vote.

    Raises:
        RowInvalid: a conversation or the winner cannot be read.
    """
    asked_a, responses_a = _conversation(row, "conversation_a")
    asked_b, responses_b = _conversation(row, "conversation_b")
    if asked_a != asked_b:
        raise RowInvalid("conversation_b: the user's turns differ from those of conversation_a")
    return {
        "id": row.get("id"),
        "prompt": asked_a,
        "responses_a": responses_a,
        "responses_b": responses_b,
        "model_a": row["model_a"],
        "model_b": row["model_b"],
        **_said(row),
        "metadata": {name: value for name, value in row.items() if name not in _READ_140K},
    }


def _said(row: Mapping[str, Any]) -> dict[str, Any]:
    winner = row["winner"]
    if winner is None:
        return {}
    try:
        vote: dict[str, Any] = {"annotator": row.get("annotator"), "label": parse_label(winner)}
    except ValueError as error:
        raise RowInvalid(f"winner: {error}") from None
    if "recorded_by" in row:
        return {"judges": {str(row["recorded_by"]): {"label": vote["label"]}}}
    if isinstance(winner, str) and "bad" in winner.lower():
        vote["both_bad"] = True
    return {"human": [vote]}


def notes_140k(row: Mapping[str, Any]) -> dict[str, int]:
    """Count the field that repeats the conversations and is not kept."""
    return {f"{_REPEATED}, which repeats the texts, not kept": 1} if _REPEATED in row else {}


def _conversation(row: Mapping[str, Any], field: str) -> tuple[list[str], list[str]]:
    messages = row[field]
    first = messages[0] if isinstance(messages, list) and messages else None
    if isinstance(first, dict) and first.get("role") == "system":
        raise RowInvalid(
            f"{field}: begins with a turn of the system, which is not read here: leave it out"
        )
    if not isinstance(messages, list) or not messages or len(messages) % 2:
        why = of_python(messages)
        raise RowInvalid(f"{field}: is not a list of turns of the user, each with an answer{why}")
    texts = []
    for index, message in enumerate(messages):
        role = ("user", "assistant")[index % 2]
        if not isinstance(message, dict) or message.get("role") != role:
            raise RowInvalid(f"{field}: user and assistant do not take turns")
        texts.append(_content(f"{field}.{index}", message.get("content")))
    return texts[::2], texts[1::2]


def _content(place: str, content: object) -> str:
    """Return a message's text; one in parts is the parts in a row."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    kinds = {str(part.get("type", "text")) for part in parts if isinstance(part, dict)}
    if others := kinds - {"text"}:
        what = ", ".join(map(shown, sorted(others)))
        raise RowInvalid(f"{place}: holds a part of type {what}, and judges see texts alone")
    if not all(isinstance(text, str) for text in texts):
        raise RowInvalid(f"{place}: holds something that is not a text")
    return "\n".join(map(str, texts))
