"""Simulated annotators and simulated judges. No person and no model took part.

Labels come from the planted severities and stated noise, never from a judge. The judges' numbers
come from the same severities and their own noise, never from the labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np

from examples.flaws import Response, pick

#: How often each annotator gives the opposite of the constructed label.
FLIP_RATE: Mapping[str, float] = {
    "sim-1": 0.05,
    "sim-2": 0.05,
    "sim-3": 0.08,
    "sim-4": 0.08,
    "sim-5": 0.12,
}
ANNOTATORS_PER_PAIR = 3
#: Severities this near to each other are close: an annotator then calls a tie at TIE_RATE.
CLOSE = 1
TIE_RATE = 0.6

SMALL, LARGE = "simulated-small", "simulated-large"
COST_USD: Mapping[str, float] = {SMALL: 0.0002, LARGE: 0.004}
#: Share of the pairs on which the small judge fails.
SMALL_FAILURE_RATE = 0.012

#: How much of a flaw the small judge sees. Below 0: it takes padding for thoroughness.
_SEEN_BY_SMALL: Mapping[str, float] = {
    "padding": -0.4,
    "wrong_number": 0.35,
    "wrong_fact": 0.4,
    "bug": 0.3,
    "changes_meaning": 0.5,
}
_SMALL_GAIN, _SMALL_NOISE, _SMALL_ANNOTATOR_NOISE, _SMALL_POSITION_BIAS = 2.4, 1.5, 0.4, 0.35
_SMALL_ANNOTATORS = 3
_LARGE_OFFSET, _LARGE_GAIN, _LARGE_NOISE = 0.8, 0.38, 0.8


def constructed_label(a: Response, b: Response) -> str:
    """Return the label by construction: the response with the smaller severity is better."""
    if a.severity == b.severity:
        return "tie"
    return "a" if a.severity < b.severity else "b"


def labels(a: Response, b: Response, rng: np.random.Generator) -> list[dict[str, str]]:
    """Return the labels of ANNOTATORS_PER_PAIR annotators, drawn anew for every pair."""
    order = sorted(FLIP_RATE, key=lambda _: rng.random())
    chosen = sorted(order[:ANNOTATORS_PER_PAIR])
    return [{"annotator": name, "label": _label(name, a, b, rng)} for name in chosen]


def _label(annotator: str, a: Response, b: Response, rng: np.random.Generator) -> str:
    if abs(a.severity - b.severity) <= CLOSE and rng.random() < TIE_RATE:
        return "tie"
    better = constructed_label(a, b)
    if better == "tie":
        return pick(("a", "b"), rng)
    is_flipped = rng.random() < FLIP_RATE[annotator]
    return {"a": "b", "b": "a"}[better] if is_flipped else better


def small_judge(
    a: Response, b: Response, words: int, rng: np.random.Generator
) -> dict[str, Any] | None:
    """Return the small judge's recorded score, or None where it failed.

    It answers for three simulated annotators in both orders and leans to the response shown first.
    """
    merit = _SMALL_GAIN * (_seen(b) - _seen(a)) / 10 + _SMALL_NOISE * _normal(rng)
    annotators = []
    for _ in range(_SMALL_ANNOTATORS):
        own = merit + _SMALL_ANNOTATOR_NOISE * _normal(rng)
        annotators.append([_share(own + lean) for lean in _leanings()])
    calls = 2 * _SMALL_ANNOTATORS
    seconds = round(0.15 + 0.2 * rng.random(), 3)
    if rng.random() < SMALL_FAILURE_RATE:
        return None
    return {"annotators": annotators, **_usage(SMALL, calls, words, seconds)}


def _leanings() -> tuple[float, float]:
    return (_SMALL_POSITION_BIAS, -_SMALL_POSITION_BIAS)


def _seen(response: Response) -> float:
    return response.severity * _SEEN_BY_SMALL.get(response.flaw or "", 1.0)


def large_judge(a: Response, b: Response, words: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return the large judge's recorded score: it is right exactly as often as it is confident.

    The confidence grows with the difference in severity; the verdict is then drawn with that
    probability of being right, which makes the judge calibrated by construction.
    """
    difference = abs(a.severity - b.severity)
    level = _LARGE_OFFSET + _LARGE_GAIN * difference if difference else 0.0
    confidence = max(_share(abs(level + _LARGE_NOISE * _normal(rng))), 0.501)
    better = constructed_label(a, b)
    favoured = pick(("a", "b"), rng) if better == "tie" else better
    is_right = rng.random() < confidence
    p_a = confidence if (favoured == "a") == is_right else round(1 - confidence, 3)
    return {"p_a": p_a, **_usage(LARGE, 2, words, round(0.9 + 1.4 * rng.random(), 3))}


def _usage(judge: str, calls: int, words: int, seconds: float) -> dict[str, Any]:
    # About four tokens to three words, and some sixty for the instructions of each call.
    tokens = calls * (60 + words * 4 // 3)
    return {"tokens": tokens, "cost": COST_USD[judge], "seconds": seconds}


def _share(log_odds: float) -> float:
    return round(1 / (1 + math.exp(-log_odds)), 3)


def _normal(rng: np.random.Generator) -> float:
    # From one uniform number, so that the file does not hang on how numpy draws its normals.
    return NormalDist().inv_cdf(min(max(rng.random(), 1e-9), 1 - 1e-9))
