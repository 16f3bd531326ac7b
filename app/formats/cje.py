"""Reads and writes CJE files: responses of policies with judge scores and oracle labels.

A pair is two policies on one prompt. Its label is the sign of the difference of their oracle
labels, its judge's verdict that of their judge scores; the scores themselves are in `metadata`.

The scores of single responses come from `metadata`, where reading such files keeps them. A pair
without them has an oracle label by its votes, the share that prefers the response, ties one half.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from app.core.names import shown
from app.formats.base import RowInvalid
from app.formats.joining import (
    Fault,
    Join,
    Joined,
    Outcome,
    Piece,
    both_sides,
    by_name,
    name_of,
    plain,
    text_of,
)
from app.formats.writing import Given, Loss, Options, count_lost, overall_votes

JUDGE: Final = "judge_score"
ORACLE: Final = "oracle_label"
_READ: Final = frozenset(
    {
        "prompt_id", "prompt", "response", JUDGE, ORACLE, "policy", "target_policy", "metadata",
        "draw_idx",
    }
)  # fmt: skip


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether the row is one policy's response."""
    return "prompt_id" in row and "response" in row


def _kind(row: Mapping[str, Any]) -> str:
    name_of(row, "prompt_id")
    text_of(row, "response")
    for field in (JUDGE, ORACLE):
        _score(row, field)
    return "draw"


def _score(row: Mapping[str, Any], field: str) -> float | None:
    """Return a score; older files keep it in `metadata`."""
    value = row.get(field, _aside(row).get(field))
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RowInvalid(f"{field}: {shown(value)} is not a number")
    return value


def _policy(piece: Piece) -> str:
    stated = piece.row.get("policy", piece.row.get("target_policy"))
    return stated if isinstance(stated, str) and stated else piece.file


def _pairs(pieces: Sequence[Piece], kinds: Collection[str]) -> Iterator[Outcome]:
    for piece in pieces:
        if not _policy(piece):
            yield Fault(piece, "policy: is missing, and the file has no name")
    draws, faults = by_name([p for p in pieces if _policy(p)], _policy, "a response of")
    yield from faults
    for (name_a, a), (name_b, b) in combinations(draws.items(), 2):
        asked = [plain(piece.row["prompt"]) for piece in (a, b) if piece.row.get("prompt")]
        if len(set(asked)) > 1:
            yield Fault(b, f"prompt: differs from that of line {a.line} of {a.file_name}")
            continue
        yield Joined(_row((name_a, a.row), (name_b, b.row)), (a, b))


def _row(
    one: tuple[str, Mapping[str, Any]], other: tuple[str, Mapping[str, Any]]
) -> dict[str, Any]:
    (name_a, a), (name_b, b) = one, other
    scores = {
        f"{field}_{side}": score
        for field in (JUDGE, ORACLE)
        for side, row in (("a", a), ("b", b))
        if (score := _score(row, field)) is not None
    }
    prompt, draw = a.get("prompt", b.get("prompt")), a.get("draw_idx")
    parts = [a["prompt_id"], name_a, name_b, *([draw] if draw else [])]
    oracle = _sign(scores, ORACLE)
    has_judge = any(JUDGE in row or JUDGE in _aside(row) for row in (a, b))
    row: dict[str, Any] = {
        "id": "|".join(map(str, parts)),
        "model_a": name_a,
        "model_b": name_b,
        "human": [{"annotator": "oracle", "label": oracle}] if oracle else [],
        "judges": {JUDGE: {"label": _sign(scores, JUDGE)}} if has_judge else {},
        "metadata": {**_further(a, b), "prompt_id": a["prompt_id"], **scores},
    }
    if prompt is not None:
        row |= {"prompt": prompt, "response_a": a["response"], "response_b": b["response"]}
    return row


def _further(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    return both_sides({**_aside(a), **a}, {**_aside(b), **b}, _READ)


def _aside(row: Mapping[str, Any]) -> Mapping[str, Any]:
    aside = row.get("metadata")
    return aside if isinstance(aside, dict) else {}


def _sign(scores: Mapping[str, float], field: str) -> str | None:
    a, b = scores.get(f"{field}_a"), scores.get(f"{field}_b")
    if a is None or b is None:
        return None
    return "tie" if a == b else "a" if a > b else "b"


JOIN: Final = Join(
    on="prompt_id",
    kind=_kind,
    key=lambda row: [str(row["prompt_id"]), row.get("draw_idx") or 0],
    pairs=_pairs,
)


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
