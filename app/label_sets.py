"""What makes a set of labels the same set: one hash that reports and certificates show."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

from app.datasets.service import PairKey, Vote


def label_set_hash(keys: Iterable[PairKey], votes: Mapping[int, Sequence[Vote]]) -> str:
    """Return a hash of the labels that these pairs have; their order does not matter.

    A pair is known by its texts and, like its labels, keeps its place in the hash when the same
    rows are imported under another name; a battle, which has no texts, is known by its id.

    Args:
        keys: The pairs.
        votes: Current labels by `pair_seq`.
    """
    labels = sorted(
        json.dumps([key.content_hash or key.id, vote.annotator, vote.label, vote.criterion])
        for key in keys
        for vote in votes.get(key.seq, ())
    )
    return hashlib.sha256("\n".join(labels).encode("ascii")).hexdigest()
