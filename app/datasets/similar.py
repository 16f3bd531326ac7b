"""Finds the pairs that are like one: of its prompt, of its group, and alike in what a student measures.

The measures are those of the embedded judge: length, structure, overlap with the prompt and the like.
They are taken of a bounded number of pairs around the one, so that the work does not grow with the
dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from app.core.lists import Paging
from app.core.pools import in_thread
from app.core.runtime import Runtime
from app.datasets import service, stored_pairs
from app.datasets.records import PairKey
from app.datasets.stored_pairs import StoredPair
from calibration.arrays import FloatArray
from judges.student.model import pair_features
from judges.types import Pair

_MOST: Final = 20
_NEAREST: Final = 5
# pairs looked at before the one and behind it
_AROUND: Final = 150
# texts of more characters are not measured
_LONGEST: Final = 20_000


async def similar(running: Runtime, ref: str, pair_id: str) -> dict[str, Any]:
    """Return pairs of the same prompt, then of the same group, then the nearest by their features.

    Raises:
        NotFound: there is no such dataset or pair.
    """
    async with running.db.read() as session:
        dataset = await service.find_dataset(session, ref, ("path", "ref"))
        stored = await stored_pairs.stored_pair(session, dataset, pair_id)
        keys = await stored_pairs.related(session, dataset, stored.key, _MOST)
        around: list[StoredPair] = []
        if stored.pair is not None:
            for paging in (Paging(_AROUND, pair_id, "asc"), Paging(_AROUND, pair_id, "desc")):
                around += await stored_pairs.stored_page(session, dataset, paging)
    known = {stored.key.seq, *(key.seq for key in keys)}
    others = [one for one in around if one.pair is not None and one.key.seq not in known]
    near: list[PairKey] = []
    if stored.pair is not None and others:
        near = await in_thread(_nearest, stored.pair, others)
    prompt = stored.key.prompt_hash
    why = ["same prompt" if prompt and key.prompt_hash == prompt else "same group" for key in keys]
    data = [
        _row(key, reason)
        for key, reason in zip(
            [*keys, *near], [*why, *["similar features"] * len(near)], strict=True
        )
    ]
    return {"object": "list", "data": data[:_MOST]}


def _row(key: PairKey, why: str) -> dict[str, Any]:
    return {
        "id": key.id,
        "position": key.position,
        "why": why,
        "model_a": key.model_a,
        "model_b": key.model_b,
    }


def _nearest(pair: Pair, others: Sequence[StoredPair]) -> list[PairKey]:
    """Return the pairs whose features are nearest, whichever response is called a."""
    kept = [one for one in others if one.pair is not None and _is_short(one.pair)]
    if not kept or not _is_short(pair):
        return []
    own, turned = _features(pair)
    rows = np.array([_features(one.pair)[0] for one in kept if one.pair is not None])
    spread = np.vstack([rows, own]).std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    same, exchanged = (np.linalg.norm((rows - one) / scale, axis=1) for one in (own, turned))
    distance = np.minimum(same, exchanged)
    order = np.argsort(distance, kind="stable")[:_NEAREST]
    return [kept[place].key for place in order.tolist()]


def _is_short(pair: Pair) -> bool:
    texts = (*pair.user_turns, *pair.responses_a, *pair.responses_b)
    return sum(map(len, texts)) <= _LONGEST


def _features(pair: Pair) -> tuple[FloatArray, FloatArray]:
    """Return the features of a pair, and of the same with its responses exchanged."""
    found = pair_features(pair.user_turns, pair.responses_a, pair.responses_b)
    return (
        np.concatenate([found.a, found.b, found.context]),
        np.concatenate([found.b, found.a, found.context]),
    )
