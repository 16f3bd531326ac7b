"""Writing Argilla records: a prompt, two responses, a ranking of them.

Which answer is `response1` is drawn by a recorded seed, as the left one of a Label Studio task.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from app.dialects.argilla import ASIDE, QUESTION, RESPONSE1_IS
from app.dialects.drawn_sides import first_side, turned
from app.dialects.label_studio_writing import aside_of, details_of, shown_prompt, shown_text
from app.dialects.writing import Given, Loss, Options, count_lost

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
