"""MT-bench pair judgements (one judge, both orders) and votes (one a row), as FastChat has them.

Votes on one question, turn and unordered pair of models are one pair; model a is the one whose
name sorts first, because the column order of the published votes is not random.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.dialects.reasons import RowInvalid
from app.identifiers import shown
from judges.probability import parse_label, swap_label

JUDGEMENT_FIELDS: Final = ("question_id", "model_1", "model_2", "g1_winner", "g2_winner")
VOTE_FIELDS: Final = ("question_id", "model_a", "model_b", "winner", "judge")
FIELDS: Final = (*JUDGEMENT_FIELDS, *VOTE_FIELDS)
_INCONSISTENT: Final = "tie (inconsistent)"
_WINNERS: Final = {"model_1": "a", "model_2": "b", "tie": "tie", "error": None}


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row has the fields of one of the two forms."""
    return all(name in row for name in JUDGEMENT_FIELDS) or all(name in row for name in VOTE_FIELDS)


def convert(row: Mapping[str, Any], line: int) -> dict[str, Any]:
    """Return the canonical row: a pair with one vote or with one recorded judge.

    Raises:
        RowInvalid: a field cannot be read.
    """
    if "g1_winner" in row:
        return _judgement(row)
    return _vote(row)


def _judgement(row: Mapping[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {
        "label_original": _winner("g1_winner", row.get("g1_winner")),
        "label_swapped": _winner("g2_winner", row.get("g2_winner")),
    }
    return {
        **_identity(row, row.get("model_1"), row.get("model_2")),
        "judges": {_judge_name(row.get("judge", "judge")): record},
    }


def _winner(field: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or value not in _WINNERS:
        raise RowInvalid(f"{field}: {shown(value)} is none of {', '.join(_WINNERS)}")
    return _WINNERS[value]


def _judge_name(judge: object) -> str:
    """A judge is a model, or a model and the name of its prompt."""
    parts = judge if isinstance(judge, list) and judge else [judge]
    names = [part for part in parts if isinstance(part, str)]
    if len(names) < len(parts):
        raise RowInvalid(f"judge: {shown(judge)} is neither a name nor a list of names")
    return "/".join(names)


def _vote(row: Mapping[str, Any]) -> dict[str, Any]:
    first, second = row.get("model_a"), row.get("model_b")
    if not isinstance(first, str) or not isinstance(second, str):
        raise RowInvalid(f"model_a, model_b: {shown([first, second])} are not two names")
    is_turned = second < first
    if is_turned:
        first, second = second, first
    return {
        **_identity(row, first, second),
        **_texts(row, is_turned=is_turned),
        **_said(row, is_turned=is_turned),
    }


def _said(row: Mapping[str, Any], *, is_turned: bool) -> dict[str, Any]:
    winner, judge = row.get("winner"), row.get("judge")
    is_flip = winner == _INCONSISTENT
    try:
        label = parse_label("tie" if is_flip else winner)
    except ValueError as error:
        raise RowInvalid(f"winner: {error}") from None
    label = swap_label(label) if is_turned else label
    if is_flip or isinstance(judge, list) or str(judge).lower().startswith("gpt"):
        return {"judges": {_judge_name(judge): {"label": label, "inconsistent": is_flip}}}
    vote = {"annotator": judge, "label": label}
    if isinstance(winner, str) and "bad" in winner.lower():
        vote["both_bad"] = True
    return {"human": [vote]}


def _identity(row: Mapping[str, Any], model_a: object, model_b: object) -> dict[str, Any]:
    question, turn = row.get("question_id"), row.get("turn", 1)
    metadata = {"question_id": question, "turn": turn}
    if "category" in row:
        metadata["category"] = row["category"]
    return {
        "id": f"{question}|{turn}|{model_a}|{model_b}",
        "model_a": model_a,
        "model_b": model_b,
        "metadata": metadata,
    }


def _texts(row: Mapping[str, Any], *, is_turned: bool) -> dict[str, Any]:
    """The conversations, where the row has them: the user's turns and one answer to each."""
    if row.get("conversation_a") is None and row.get("conversation_b") is None:
        return {}
    turns_a, responses_a = _turns(row, "conversation_a")
    turns_b, responses_b = _turns(row, "conversation_b")
    if turns_a != turns_b:
        raise RowInvalid("conversation_b: the user's turns differ from those of conversation_a")
    if is_turned:
        responses_a, responses_b = responses_b, responses_a
    return {"prompt": turns_a, "responses_a": responses_a, "responses_b": responses_b}


def _turns(row: Mapping[str, Any], field: str) -> tuple[list[str], list[str]]:
    turn = row.get("turn", 1)
    conversation = row.get(field)
    if not isinstance(turn, int) or isinstance(turn, bool) or turn < 1:
        raise RowInvalid(f"turn: {shown(turn)} is not 1, 2, ...")
    if not isinstance(conversation, list) or len(conversation) < 2 * turn:
        raise RowInvalid(f"{field}: is not a list of {2 * turn} messages or more")
    texts: list[str] = []
    for message, role in zip(conversation, ("user", "assistant") * turn, strict=False):
        text = message.get("content") if isinstance(message, dict) else None
        if not isinstance(text, str) or message.get("role") != role:
            raise RowInvalid(f"{field}: user and assistant do not take turns with texts")
        texts.append(text)
    return texts[::2], texts[1::2]
