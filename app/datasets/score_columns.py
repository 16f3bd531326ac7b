"""A judge's score as the columns of a row, and back. Live and recorded scores share the columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from judges.types import FailureKind, JudgeFailure, Score, TokenUsage, mirrored_orders

_NO_TOKENS = TokenUsage()


class StoredScore(Protocol):
    """A row that has the columns of a score."""

    @property
    def judge(self) -> str: ...  # noqa: D102
    @property
    def fingerprint(self) -> str: ...  # noqa: D102
    @property
    def p_a(self) -> float | None: ...  # noqa: D102
    @property
    def p_tie(self) -> float | None: ...  # noqa: D102
    @property
    def annotators(self) -> Sequence[Sequence[float | None]]: ...  # noqa: D102
    @property
    def outside_mass(self) -> float | None: ...  # noqa: D102
    @property
    def failure(self) -> str | None: ...  # noqa: D102
    @property
    def failure_detail(self) -> str | None: ...  # noqa: D102
    @property
    def flags(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def usage(self) -> Mapping[str, int]: ...  # noqa: D102
    @property
    def cost_usd(self) -> float | None: ...  # noqa: D102
    @property
    def seconds(self) -> float | None: ...  # noqa: D102


def score_values(score: Score, *, is_mirrored: bool = False) -> dict[str, Any]:
    """Return the columns of one score, or of `score.mirrored()`, which then need not be made."""
    failure = score.failure
    orders = map(mirrored_orders, score.annotators) if is_mirrored else score.annotators
    ratings = score.ratings or (None, None)
    return {
        "judge": score.judge,
        "fingerprint": score.fingerprint,
        "p_a": score.p_b if is_mirrored else score.p_a,
        "p_tie": score.p_tie,
        "annotators": [list(row) for row in orders],
        "rating_a": ratings[is_mirrored],
        "rating_b": ratings[not is_mirrored],
        "outside_mass": score.outside_mass,
        "failure": failure.kind.value if failure else None,
        "failure_detail": storable(failure.detail) if failure else None,
        "flags": list(score.flags),
        "usage": usage_values(score.usage),
        "cost_usd": score.cost_usd,
        "seconds": score.seconds,
    }


def score_from_row(row: StoredScore) -> Score:
    """Return the score that a row holds."""
    failure = None
    # files of batches that older versions began have no columns of ratings
    ratings = getattr(row, "rating_a", None), getattr(row, "rating_b", None)
    if row.failure is not None:
        failure = JudgeFailure(FailureKind(row.failure), row.failure_detail or "")
    return Score(
        judge=row.judge,
        fingerprint=row.fingerprint,
        p_a=row.p_a,
        p_tie=row.p_tie,
        annotators=tuple(tuple(order) for order in row.annotators),
        ratings=None if ratings[0] is None or ratings[1] is None else (ratings[0], ratings[1]),
        outside_mass=row.outside_mass,
        failure=failure,
        usage=TokenUsage(**row.usage),
        cost_usd=row.cost_usd,
        seconds=row.seconds,
        flags=tuple(row.flags),
    )


def usage_values(usage: TokenUsage) -> dict[str, int]:
    """Return tokens as a row holds them: zeros are left out."""
    if usage == _NO_TOKENS:
        return {}
    counts = {
        "prompt": usage.prompt,
        "completion": usage.completion,
        "cached": usage.cached,
        "calls": usage.calls,
    }
    return {name: count for name, count in counts.items() if count}


def storable(text: str) -> str:
    """Escape what a text column refuses: NUL in PostgreSQL, lone surrogates anywhere."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
