"""Reads and writes Argilla records with rankings of two responses.

The smaller rank wins and equal ranks are a tie. Only submitted answers are votes. Read are records
whose responses are listed by question, and those where every response lists its values.

Which answer is `response1` is drawn by a recorded seed, as the left one of a Label Studio task.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.core.names import shown
from app.formats.base import RowInvalid
from app.formats.joining import first_side, side_read, sided, turned
from app.formats.label_studio import aside_of, details_of, shown_prompt, shown_text
from app.formats.writing import Given, Loss, Options, count_lost

FIELDS: Final = ("prompt", "response1", "response2")
QUESTION: Final = "ranking"
RESPONSE1_IS: Final = "response1_is"
# metadata holds numbers and short texts alone, so all else of ours is JSON in one of them
ASIDE: Final = "tribunal"
SETTINGS: Final = {
    "fields": [{"name": name, "type": "text"} for name in FIELDS],
    "questions": [
        {"name": QUESTION, "type": "ranking", "values": ["response1", "response2"]},
    ],
}
_OWN: Final = frozenset({ASIDE, RESPONSE1_IS, "seed"})


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether the row is a record with two responses."""
    fields = row.get("fields")
    return isinstance(fields, dict) and {"response1", "response2"} <= fields.keys()


def convert(row: Mapping[str, Any], line: int) -> dict[str, Any]:
    """Return the canonical row; answers that are not submitted are no votes.

    Raises:
        RowInvalid: a field cannot be read.
    """
    fields, metadata = row["fields"], row.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise RowInvalid(f"metadata: {shown(metadata)} is not an object")
    aside = _aside(metadata)
    first = side_read(metadata, RESPONSE1_IS)
    converted: dict[str, Any] = {
        "id": row.get("id", row.get("external_id")),
        "metadata": {name: value for name, value in metadata.items() if name not in _OWN},
        **aside,
        "human": [vote for _, vote in _votes(row, first) if vote is not None],
    }
    if "prompt" not in aside and "messages" not in aside:
        texts = sided(first, fields["response1"], fields["response2"])
        converted |= {"prompt": fields.get("prompt"), **texts}
    return converted


def notes(row: Mapping[str, Any]) -> dict[str, int]:
    """Count the responses that are no votes."""
    counts: dict[str, int] = {}
    for why, vote in _votes(row, "a"):
        if vote is None:
            counts[why] = counts.get(why, 0) + 1
    return counts


def _aside(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what records written by this module hold besides their texts."""
    text = metadata.get(ASIDE)
    if text is None:
        return {}
    try:
        aside = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        aside = None
    if not isinstance(aside, dict):
        raise RowInvalid(f"metadata.{ASIDE}: {shown(text)} is not a JSON object")
    return aside


def _votes(row: Mapping[str, Any], first: str) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yield every response: its vote, or the reason why it has none."""
    for place, response, value in _responses(row):
        status = response.get("status") or "submitted"
        if str(status).lower() != "submitted":
            yield f"{status} responses", None
            continue
        kept = response.get(ASIDE)
        yield (
            "",
            {
                **(kept if isinstance(kept, dict) else {}),
                "annotator": response.get("user_id"),
                "label": turned(_label(place, value), first),
            },
        )


def _responses(row: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], object]]:
    """Yield the place, the response and the ranking of every answer to a ranking question."""
    responses = row.get("responses") or []
    if isinstance(responses, dict):
        for question, answers in responses.items():
            for number, answer in enumerate(_objects(f"responses.{question}", answers)):
                if _is_ranking(answer.get("value")):
                    yield f"responses.{question}.{number}.value", answer, answer.get("value")
        return
    for number, response in enumerate(_objects("responses", responses)):
        values = response.get("values") or {}
        rankings = values.items() if isinstance(values, dict) else ()
        for question, answer in rankings:
            value = answer.get("value") if isinstance(answer, dict) else answer
            if _is_ranking(value):
                yield f"responses.{number}.values.{question}.value", response, value


def _objects(place: str, values: object) -> list[dict[str, Any]]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise RowInvalid(f"{place}: {shown(values)} is not a list of responses")
    return values


def _is_ranking(value: object) -> bool:
    return isinstance(value, list)


def _label(place: str, value: object) -> str:
    ranks: dict[str, int] = {}
    for number, entry in enumerate(value if isinstance(value, list) else []):
        # without ranks the list itself is the order
        name: object = entry
        rank: object = number
        if isinstance(entry, dict):
            name, rank = entry.get("value"), entry.get("rank")
        if isinstance(rank, bool) or not isinstance(rank, int) or not isinstance(name, str):
            raise RowInvalid(f"{place}: {shown(entry)} is no rank of a response")
        ranks[name] = rank
    if ranks.keys() != {"response1", "response2"}:
        raise RowInvalid(f"{place}: {shown(value)} does not rank response1 and response2")
    one, other = ranks["response1"], ranks["response2"]
    return "tie" if one == other else "a" if one < other else "b"


_RANKS = {"a": (1, 2), "b": (2, 1), "tie": (1, 1)}


def rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the record of a pair."""
    if given.is_battle:
        loss["pairs without texts"] += 1
        return
    row = given.row
    first = first_side(options.seed, row["id"])
    kept = {"ids", "groups", "texts", "models", "criteria of pairs", "recorded scores"}
    votes = {"votes"} if options.labels else set()
    count_lost(given, {*kept, "metadata of pairs", *votes}, loss)
    answers = [_response(vote, first) for vote in row["human"]] if options.labels else []
    yield {
        "id": row["id"],
        "fields": {
            "prompt": shown_prompt(row),
            "response1": shown_text(row, first),
            "response2": shown_text(row, "b" if first == "a" else "a"),
        },
        "metadata": {
            RESPONSE1_IS: first,
            "seed": options.seed,
            ASIDE: json.dumps(aside_of(given)),
        },
        "responses": {QUESTION: answers} if answers else {},
    }


def _response(vote: Mapping[str, Any], first: str) -> dict[str, Any]:
    ranks = _RANKS[turned(vote["label"], first)]
    return {
        "user_id": vote["annotator"],
        "status": "submitted",
        "value": [
            {"value": f"response{number}", "rank": rank} for number, rank in enumerate(ranks, 1)
        ],
        ASIDE: details_of(vote),
    }
