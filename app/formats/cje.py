"""CJE: a policy's responses with scores of their own, one file a policy, joined on `prompt_id`.

A pair is two policies on one prompt. Its label is the sign of the difference of their oracle
labels, its judge's verdict that of their judge scores; the scores themselves are in `metadata`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from app.dialects.joining import (
    Fault,
    Join,
    Joined,
    Outcome,
    Piece,
    both_sides,
    by_name,
    name_of,
    text_of,
)
from app.dialects.reasons import RowInvalid
from app.identifiers import shown

JUDGE: Final = "judge_score"
ORACLE: Final = "oracle_label"
_READ: Final = frozenset(
    {
        "prompt_id", "prompt", "response", JUDGE, ORACLE, "policy", "target_policy", "metadata",
        "draw_idx",
    }
)  # fmt: skip


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row is one policy's response."""
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
