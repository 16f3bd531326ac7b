"""Writing CJE rows: each policy's response to each prompt once, with its scores where it has any.

The scores of single responses come from `metadata`, where reading such files keeps them. A pair
without them has an oracle label by its votes, the share that prefers the response, ties one half.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.dialects.cje import JUDGE, ORACLE
from app.dialects.writing import Given, Loss, Options, count_lost, overall_votes

_POINTS: Final = {"a": 1.0, "tie": 0.5, "b": 0.0}
_FIELDS: Final = tuple(f"{name}_{side}" for name in (JUDGE, ORACLE) for side in "ab")


def rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the two responses of a pair, each once in the whole file."""
    row, metadata = given.row, given.row["metadata"]
    models = {row.get("model_a"), row.get("model_b")} - {None}
    if len(models) < 2 or not given.is_plain:
        loss["pairs that are not one prompt with answers of two models"] += 1
        return
    is_pointwise = any(name in metadata for name in _FIELDS)
    prompt_id = metadata.get("prompt_id", row["group"])
    count_lost(given, _kept(given, prompt_id, is_pointwise=is_pointwise), loss)
    if not is_pointwise:
        loss["pairs whose votes became scores of single responses"] += 1
    scores = metadata if is_pointwise else _from_votes(given, loss)
    for side in "ab":
        key = [prompt_id, row[f"model_{side}"]]
        if is_pointwise:
            key += [row[f"response_{side}"], *(scores.get(f"{f}_{side}") for f in (JUDGE, ORACLE))]
        if options.is_first(json.dumps(key)):
            yield {
                "prompt_id": prompt_id,
                "prompt": row["prompt"],
                "response": row[f"response_{side}"],
                "policy": row[f"model_{side}"],
                JUDGE: scores.get(f"{JUDGE}_{side}"),
                ORACLE: scores.get(f"{ORACLE}_{side}"),
            }
        elif not is_pointwise:
            loss["further pairs of a response that has its scores"] += 1


def _kept(given: Given, prompt_id: object, *, is_pointwise: bool) -> set[str]:
    row = given.row
    kept = {"texts", "models", "votes", "groups"}
    if row["id"] == f"{prompt_id}|{row['model_a']}|{row['model_b']}":
        kept.add("ids")
    if is_pointwise:
        kept.add("recorded scores")
    if row["metadata"].keys() <= {"prompt_id", *_FIELDS}:
        kept.add("metadata of pairs")
    return kept


def _from_votes(given: Given, loss: Loss) -> Mapping[str, float]:
    votes = overall_votes(given, (), loss)
    if not votes:
        return {}
    share = sum(_POINTS[vote["label"]] for vote in votes) / len(votes)
    return {f"{ORACLE}_a": share, f"{ORACLE}_b": 1.0 - share}
