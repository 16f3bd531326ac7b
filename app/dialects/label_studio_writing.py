"""Writing Label Studio tasks: two answers side by side, which is left drawn by a recorded seed.

People see `data` alone; models, recorded scores and all else that would sway them is in `meta`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.dialects.drawn_sides import first_side, turned
from app.dialects.label_studio import LEFT_IS, META
from app.dialects.writing import Given, Loss, Options, count_lost

_SELECTED = {"a": "left", "b": "right"}


def rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the task of a pair."""
    if given.is_battle:
        loss["pairs without texts"] += 1
        return
    row = given.row
    left = first_side(options.seed, row["id"])
    sides = (left, "b" if left == "a" else "a")
    kept = {"ids", "groups", "texts", "models", "criteria of pairs", "recorded scores"}
    votes = {"votes"} if options.labels else set()
    count_lost(given, {*kept, "metadata of pairs", *votes}, loss)
    shown = [shown_text(row, side) for side in sides]
    yield {
        "data": {
            "id": row["id"],
            "prompt": shown_prompt(row),
            "left": shown[0],
            "right": shown[1],
            LEFT_IS: left,
            "seed": options.seed,
        },
        "meta": {META: aside_of(given)},
        "annotations": [_annotation(v, left) for v in row["human"]] if options.labels else [],
    }


def aside_of(given: Given) -> dict[str, Any]:
    """Return all of a pair that is not shown, and its texts where they are not shown as they are."""
    left_out = {"human"}
    if given.is_plain:
        left_out |= {"prompt", "response_a", "response_b"}
    return {name: value for name, value in given.row.items() if name not in left_out}


def shown_prompt(row: Mapping[str, Any]) -> str:
    """Return the prompt, or the conversation with who said what."""
    prompt = row.get("prompt")
    if isinstance(prompt, str):
        return prompt
    turns = row.get("messages") or [{"role": "user", "content": text} for text in prompt or ()]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def shown_text(row: Mapping[str, Any], side: str) -> str:
    """Return one answer, or the answers to all turns."""
    several: Sequence[str] | None = row.get(f"responses_{side}")
    if several is None:
        return str(row[f"response_{side}"])
    return "\n\n".join(f"{number}. {text}" for number, text in enumerate(several, 1))


def details_of(vote: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a vote says besides who and which."""
    return {name: value for name, value in vote.items() if name not in ("annotator", "label")}


def _annotation(vote: Mapping[str, Any], left: str) -> dict[str, Any]:
    label = turned(vote["label"], left)
    if label == "tie":
        tie = {"from_name": "tie", "to_name": "prompt", "type": "choices"}
        result = {**tie, "value": {"choices": ["tie"]}}
    else:
        selected = {"selected": _SELECTED[label]}
        result = {"from_name": "pw", "to_name": "left", "type": "pairwise", "value": selected}
    who = {} if vote["annotator"] is None else {"completed_by": vote["annotator"]}
    return {**who, "was_cancelled": False, "result": [result], META: details_of(vote)}
