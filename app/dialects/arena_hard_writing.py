"""Writing Arena-Hard judgements: two games for every recorded judge of a pair.

Response b is the baseline: game 1 shows it as A, game 2 shows the model, response a, as A.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from app.dialects.writing import Given, Loss, Options, count_lost, is_judged, labels_by_order

_SCORES: Final = {("a", 1): "A>B", ("a", 2): "A>>B", ("b", 1): "B>A", ("b", 2): "B>>A"}
_SWAPPED: Final = {"a": "b", "b": "a"}
_OWN: Final = frozenset({"uid", "baseline", "category", "subcategory", "strength"})


def rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the judgements of a pair."""
    row, metadata = given.row, given.row["metadata"]
    if not is_judged(given, loss):
        return
    uid = metadata.get("uid", row["group"])
    kept = {"models", "recorded scores"}
    named = f"{uid}|{row['model_a']}|{row['model_b']}"
    if not options.is_first(named):
        # a second pair of the same models would be read as the first one
        uid = row["id"]
    elif row["id"] == named:
        kept.add("ids")
    if row["group"] == str(uid):
        kept.add("groups")
    if metadata.keys() <= _OWN:
        kept.add("metadata of pairs")
    count_lost(given, kept, loss)
    strengths = metadata.get("strength")
    for name, score in given.scores.items():
        original, swapped = labels_by_order(score, loss)
        strong = _recorded_strengths(strengths, name)
        yield {
            "uid": uid,
            "judge": name,
            "model": row["model_a"],
            "baseline": row["model_b"],
            "games": [
                {"score": _written_score(_SWAPPED.get(swapped or "", swapped), strong[1])},
                {"score": _written_score(original, strong[0])},
            ],
            **{key: metadata[key] for key in ("category", "subcategory") if key in metadata},
        }


def _recorded_strengths(strengths: object, judge: str) -> tuple[int, int]:
    found = strengths.get(judge) if isinstance(strengths, dict) else None
    first, second = found if isinstance(found, list) and len(found) == 2 else (1, 1)
    return (2 if first == 2 else 1), (2 if second == 2 else 1)


def _written_score(label: str | None, strength: int) -> str | None:
    if label is None:
        return None
    return "A=B" if label == "tie" else _SCORES[label, strength]
