"""Explains a verdict that several judges give together, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def said_together(verdict: Mapping[str, Any]) -> str | None:
    """Say which judges a stacked verdict rests on, in one sentence; None where one judge answered.

    Args:
        verdict: As users see it.

    Example:
        >>> tiers = [{"judge": "student", "p_a": 0.6, "p_tie": None, "failure": None},
        ...          {"judge": "gpt-4", "p_a": 0.9, "p_tie": None, "failure": None}]
        >>> said_together({"label": "a", "confidence": 0.931, "judge": "gpt-4", "tiers": tiers})
        'student and gpt-4 agree on a at 93%'
        >>> tiers[0]["p_a"] = 0.4
        >>> said_together({"label": "a", "confidence": 0.857, "judge": "gpt-4", "tiers": tiers})
        'gpt-4 says a and student b: together a at 86%'
    """
    label, sure = verdict["label"], verdict["confidence"]
    if label not in ("a", "b") or sure is None:
        return None
    leads = {tier["judge"]: _lead(tier) for tier in verdict["tiers"]}
    own = leads.get(verdict["judge"])
    if len(leads) < 2 or own is None or abs(abs(own) - (2 * sure - 1)) < _SAME:
        return None
    wanted = 1 if label == "a" else -1
    sides = {
        side: [name for name, lead in leads.items() if (lead or 0) * side > 0] for side in (1, -1)
    }
    with_it, against = " and ".join(sides[wanted]), " and ".join(sides[-wanted])
    if not against:
        agree = "agree" if len(sides[wanted]) > 1 else "alone decides"
        return f"{with_it} {agree} on {label} at {sure:.0%}"
    other = "b" if label == "a" else "a"
    say = "say" if len(sides[wanted]) > 1 else "says"
    return (
        f"{with_it or 'nobody'} {say} {label} and {against} {other}: together {label} at {sure:.0%}"
    )


# confidences are rounded to 12 decimals
_SAME = 1e-9


def _lead(tier: Mapping[str, Any]) -> float | None:
    """Return by how much a judge finds a better than b, of what is no tie; None where it failed."""
    if tier["p_a"] is None:
        return None
    a, tie = tier["p_a"], tier["p_tie"] or 0.0
    b = max(1.0 - a - tie, 0.0)
    return (a - b) / (a + b) if a + b > 0 else 0.0
