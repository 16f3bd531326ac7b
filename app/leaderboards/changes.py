"""What changed between two stored leaderboards, and what differs in what they rest on.

The two usually share prompts, labels or both, so nothing is known about how their errors go
together. The interval of a change is [later low - earlier high, later high - earlier low]: for
estimates that are about normal it holds whatever the dependence, since the standard error of a
difference is at most the sum of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_REQUEST: Final = (
    "dataset", "source", "calibration", "judge", "certified_only", "method", "options", "ties",
    "votes", "baseline", "soft", "control", "criteria", "slice_weights", "confidence_level", "part",
)  # fmt: skip
# where these differ, ratings are not on one scale
_SCALE: Final = ("method", "options", "ties", "baseline", "confidence_level")
_RESTS_ON: Final = (
    "dataset_id", "dataset_content_hash", "label_set_hash", "labels", "calibration", "fingerprints",
    "pairs", "comparisons", "abstained", "verdicts_hash",
)  # fmt: skip
_RULE: Final = (
    "holds whatever the two leaderboards have in common; wider than needed if that is much"
)

Body = Mapping[str, Any]


def changes(earlier: Body, later: Body) -> dict[str, Any]:
    """Return the change of every model's rating, win rate and rank, later minus earlier."""
    before, after = (_by_model(one) for one in (earlier, later))
    common = [model for model in after if model in before]
    other_scale = [name for name in _SCALE if earlier.get(name) != later.get(name)]
    is_same_field = set(before) == set(after)
    return {
        "object": "leaderboard_comparison",
        "earlier": _reference(earlier),
        "later": _reference(later),
        "rows": [
            _row(before[model], after[model], other_scale, is_same_field=is_same_field)
            for model in common
        ],
        "entered": [model for model in after if model not in before],
        "left": [model for model in before if model not in after],
        "differs": _differences(earlier, later),
        "rests_on_the_same_verdicts": _same_verdicts(earlier, later),
        "ratings_comparable": not other_scale,
        "not_comparable_because": _why_not(other_scale, is_same_field=is_same_field),
        "interval_rule": _RULE,
    }


def _by_model(body: Body) -> dict[str, Body]:
    return {row["model"]: row for row in body["rows"]}


def _reference(body: Body) -> dict[str, Any]:
    names = ("id", "created_at", "rests_on", "certificate_now", "promise")
    return {name: body.get(name) for name in names}


def _row(
    before: Body, after: Body, other_scale: list[str], *, is_same_field: bool
) -> dict[str, Any]:
    rating = None
    if not other_scale:
        # a log-strength is relative to the mean of all models: with other models it moves by itself
        rating = _change(before["rating"], after["rating"], has_interval=is_same_field)
    is_apart = after["rank_low"] > before["rank_high"] or after["rank_high"] < before["rank_low"]
    return {
        "model": after["model"],
        "rating_change": rating,
        "win_rate_change": _change(before["win_rate"], after["win_rate"], has_interval=True),
        "rank_before": before["rank"],
        "rank_after": after["rank"],
        "rank_change": after["rank"] - before["rank"],
        "rank_text_before": before.get("rank_text"),
        "rank_text_after": after.get("rank_text"),
        "rank_has_surely_changed": is_apart and is_same_field,
    }


def _change(before: Body, after: Body, *, has_interval: bool) -> dict[str, Any]:
    value, low, high = None, None, None
    if before["value"] is not None and after["value"] is not None:
        value = after["value"] - before["value"]
    ends = (before["low"], before["high"], after["low"], after["high"])
    if has_interval and value is not None and None not in ends:
        low, high = after["low"] - before["high"], after["high"] - before["low"]
    return {
        "value": value,
        "low": low,
        "high": high,
        "confidence_level": min(before["confidence_level"], after["confidence_level"]),
        "n": min(before["n"], after["n"]),
    }


def _differences(earlier: Body, later: Body) -> list[dict[str, Any]]:
    asked = [(name, earlier.get(name), later.get(name)) for name in _REQUEST]
    ground = [
        (f"rests_on.{name}", earlier["rests_on"].get(name), later["rests_on"].get(name))
        for name in _RESTS_ON
    ]
    return [
        {"what": name, "earlier": before, "later": after}
        for name, before, after in (*asked, *ground)
        if before != after
    ]


def _same_verdicts(earlier: Body, later: Body) -> bool:
    names = ("dataset_content_hash", "verdicts_hash", "label_set_hash")
    return all(earlier["rests_on"].get(name) == later["rests_on"].get(name) for name in names)


def _why_not(other_scale: list[str], *, is_same_field: bool) -> str | None:
    if other_scale:
        return f"{', '.join(other_scale)} differ: ratings are not on one scale"
    if not is_same_field:
        return "the models differ: ratings are relative to all models, so changes have no interval"
    return None
