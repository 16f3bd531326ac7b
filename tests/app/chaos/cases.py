"""Pairs for the chaos: recorded judges that differ, fail or are missing, and a live judge between."""

from __future__ import annotations

from typing import Any

import numpy as np

Row = dict[str, Any]
# what a verdict is; whether its scores came from the store or cost money depends on what happened
Core = tuple[object, ...]


def rows(n: int, number: int) -> list[Row]:
    """Return `n` rows that no other round has; about a tenth of them reaches the live judge."""
    rng = np.random.default_rng([6, number])
    return [_row(f"{number}-{index}", rng) for index in range(n)]


def _row(case: str, rng: np.random.Generator) -> Row:
    return {
        "id": case,
        "prompt": f"[case {case}] Which river is the longest but {case}?",
        "response_a": f"That is the first river of {case}.",
        "response_b": f"One would name the second river of {case}, after some thought.",
        "judges": {"cheap": _recorded(rng, 0.02), "dear": _recorded(rng, 0.05)},
    }


def _recorded(rng: np.random.Generator, failure_rate: float) -> dict[str, float] | None:
    said = {"p_a": round(float(rng.beta(0.2, 0.2)), 6)}
    return None if rng.random() < failure_rate else said


def configuration(base_url: str, concurrency: int) -> str:
    """Return the configuration of a process whose live judge has this address."""
    return f"""
[judges.live]
kind = "openai"
base_url = "{base_url}"
model = "judge"
annotators = 1
examples = 0
orders = "both"
concurrency = {concurrency}
timeout_s = 60
[judges.cheap]
kind = "recorded"
[judges.dear]
kind = "recorded"
[cascades.default]
judges = ["cheap", "live", "dear"]
thresholds = [0.65, 0.6, 0.7]
"""


CALLS_PER_PAIR = 2  # one annotator, both orders


def core(verdict: Row) -> Core:
    """Return what must not depend on who died meanwhile."""
    tiers = tuple(
        (
            tier["judge"], tier["p_a"], tier["p_tie"], tier["confidence"], tier["accepted"],
            tier["failure"] and tier["failure"]["kind"],
        )
        for tier in verdict["tiers"]
    )  # fmt: skip
    said = (verdict["status"], verdict["label"], verdict["confidence"], verdict["judge"])
    return (*said, tiers)
