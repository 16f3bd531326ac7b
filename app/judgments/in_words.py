"""Explains verdicts in plain words: why there is no answer, and what judges say together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

_FAILURES: Final[Mapping[str, str]] = {
    "timeout": "did not answer in time",
    "deadline": "the deadline of the request came first",
    "rate_limited": "its server had too many requests",
    "server_error": "its server failed",
    "connection": "its server could not be reached",
    "refused": "its server refused the question",
    "unparseable": "its answer could not be read",
    "context_overflow": "the texts are too long for it",
    "unavailable": "was not available",
    "recorded": "failed, says the record",
    "not_recorded": "has no record of this pair",
}


def failure_words(kind: str) -> str:
    """Return what happened, for a kind of failure."""
    return _FAILURES.get(kind, kind.replace("_", " "))


def why_unanswered(
    verdict: Mapping[str, Any], thresholds: Mapping[str, float | None] | None = None
) -> list[str]:
    """Say why a verdict has no answer: what became of each judge, in the order of the cascade.

    Args:
        verdict: As users see it.
        thresholds: From which confidence each judge answers, as far as it is known.

    Returns:
        Sentences; none where there is an answer.

    Example:
        >>> failure = {"kind": "timeout", "detail": "no answer in 30 s"}
        >>> tiers = [{"judge": "small", "confidence": 0.61, "failure": None},
        ...          {"judge": "large", "confidence": None, "failure": failure}]
        >>> why_unanswered({"label": None, "status": "failed", "tiers": tiers}, {"small": 0.8})
        ['small was 61.0% sure, and answers from 80.0%', 'large did not answer in time: no answer in 30 s']
    """
    return [] if verdict["label"] is not None else list(_sentences(verdict, thresholds or {}))


def _sentences(verdict: Mapping[str, Any], thresholds: Mapping[str, float | None]) -> Iterator[str]:
    because = verdict.get("abstained_because")
    if because == "budget":
        yield "the budget did not cover it"
    elif because:
        yield str(because)
    elif not verdict["tiers"]:
        yield "no judge was asked: no judge may answer"
    for tier in verdict["tiers"]:
        judge, failure, sure = tier["judge"], tier["failure"], tier["confidence"]
        if failure is not None:
            detail = f": {failure['detail']}" if failure["detail"] else ""
            yield f"{judge} {failure_words(failure['kind'])}{detail}"
        elif sure is None:
            yield f"{judge} prefers neither"
        elif thresholds.get(judge) is not None:
            yield f"{judge} was {sure:.1%} sure, and answers from {thresholds[judge]:.1%}"
        else:
            yield f"{judge} was {sure:.1%} sure, which is not enough"


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


def promised_in_words(total: int, promised: int) -> str | None:
    """Say to how many of some pairs a promise applies, and why not to the others; None: to all."""
    if promised >= total:
        return None
    if not promised:
        what = "this pair" if total == 1 else f"any of these {total} pairs"
        return (
            f"the promise does not apply to {what}: the certificate was made from pairs of the same "
            "prompts or groups, or its judges learnt from them, and it promises about other pairs alone "
            "(judge new pairs, or certify on one --part and judge the other)"
        )
    return (
        f"the promise applies to the verdicts on {promised} of these {total} pairs: the certificate was "
        f"made from pairs of the prompts or groups of the other {total - promised}, or its judges "
        "learnt from those"
    )
