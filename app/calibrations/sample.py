"""Which labelled pairs a certificate may stand on, and what people said of them.

Pairs of groups that a judge was trained on, or that it shows as few-shot examples, are left out
and counted: its confidence there says nothing about new pairs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.datasets.service import PairKey, Vote
from calibration.arrays import IntArray
from judges.base import Judge

_COLUMN = {"a": 0, "b": 1, "tie": 2}


@dataclass(frozen=True, slots=True)
class Sample:
    """Labelled pairs that may calibrate, `counts` (n, 3) their votes for a, b and tie."""

    keys: tuple[PairKey, ...]
    counts: IntArray
    seen_in_training: int
    held_for_examples: int
    unlabelled: int


def known_groups(keys: Sequence[PairKey], prompts: frozenset[str]) -> frozenset[str]:
    """Return the groups that hold at least one of these prompts."""
    return frozenset(key.group for key in keys if key.prompt_hash in prompts)


def draw_sample(
    keys: Sequence[PairKey], votes: Mapping[int, Sequence[Vote]], judges: Sequence[Judge]
) -> Sample:
    """Choose the pairs that may calibrate these judges."""
    trained = known_groups(keys, _union(judge.spec.training_prompts for judge in judges))
    shown = known_groups(keys, _union(judge.spec.example_prompts for judge in judges))
    left_out: Counter[str] = Counter()
    kept = []
    for key in keys:
        if key.content_hash is None or not votes.get(key.seq):
            left_out["unlabelled"] += 1
        elif key.group in trained:
            left_out["trained"] += 1
        elif key.group in shown:
            left_out["shown"] += 1
        else:
            kept.append(key)
    return Sample(
        keys=tuple(kept),
        counts=vote_counts(kept, votes),
        seen_in_training=left_out["trained"],
        held_for_examples=left_out["shown"],
        unlabelled=left_out["unlabelled"],
    )


def vote_counts(keys: Sequence[PairKey], votes: Mapping[int, Sequence[Vote]]) -> IntArray:
    """Return how many people said a, b and tie of each pair, shape (n, 3)."""
    counts = np.zeros((len(keys), 3), dtype=np.int64)
    for row, key in enumerate(keys):
        for vote in votes.get(key.seq, ()):
            counts[row, _COLUMN[vote.label]] += 1
    return counts


def _union(sets: Sequence[frozenset[str]] | object) -> frozenset[str]:
    return frozenset().union(*sets)  # type: ignore[misc]
