"""Features of a pair: how the two responses differ, and what bears on how much that matters.

A pair becomes three vectors: the measures of each response, and a context that is the same for both
orders. Swapping the responses swaps the first two and leaves the third, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.arrays import FloatArray
from judges.student.prompt_features import Prompt, read_prompt
from judges.student.response_features import Reading, read_response, response_measures


@dataclass(frozen=True, slots=True)
class PairFeatures:
    """The measures of response a and of response b, and the context of the pair."""

    a: FloatArray
    b: FloatArray
    context: FloatArray


def features(conversation: Sequence[str], response: Sequence[str]) -> FloatArray:
    """Return the measures of a response: its last turn, judged in the conversation before it."""
    return _vector(_measured(read_prompt(conversation), _readings(response)))


def pair_features(
    conversation: Sequence[str], responses_a: Sequence[str], responses_b: Sequence[str]
) -> PairFeatures:
    """Return the features of a pair; every list of turns ends with the one that is judged."""
    prompt = read_prompt(conversation)
    readings_a, readings_b = _readings(responses_a), _readings(responses_b)
    return PairFeatures(
        a=_vector(_measured(prompt, readings_a)),
        b=_vector(_measured(prompt, readings_b)),
        context=_vector({**prompt.measures, **_similarity(readings_a[-1], readings_b[-1])}),
    )


def response_feature_names() -> tuple[str, ...]:
    """Return the names of the measures of a response, in their order."""
    return tuple(_measured(read_prompt([""]), _readings([""])))


def context_feature_names() -> tuple[str, ...]:
    """Return the names of the context features, in their order."""
    empty = read_response("")
    return (*read_prompt([""]).measures, *_similarity(empty, empty))


def _readings(response: Sequence[str]) -> list[Reading]:
    return [read_response(turn) for turn in response] or [read_response("")]


def _measured(prompt: Prompt, readings: Sequence[Reading]) -> dict[str, float]:
    return response_measures(readings[-1], prompt, readings[:-1])


def _similarity(a: Reading, b: Reading) -> dict[str, float]:
    shared, either = len(a.vocabulary & b.vocabulary), len(a.vocabulary | b.vocabulary)
    lengths = math.log1p(a.characters), math.log1p(b.characters)
    return {
        "word_overlap": shared / max(either, 1),
        "log_shorter": min(lengths),
        "log_longer": max(lengths),
    }


def _vector(measures: dict[str, float]) -> FloatArray:
    return np.fromiter(measures.values(), dtype=np.float64, count=len(measures))
