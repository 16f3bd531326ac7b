"""Accepted verdicts of an ended batch as preference data, in the order of its dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final

from app.batches import service as batches
from app.calibrations import service as calibrations
from app.datasets import service as datasets
from app.errors import Conflict
from app.preferences.card import card
from app.preferences.rows import LEFT_OUT, left_out_because, preference
from app.runtime import Runtime
from judges.types import Pair

_CHUNK: Final = 500
Verdict = dict[str, Any]


async def trusted_rows(
    running: Runtime, batch_id: str, *, any_promise: bool
) -> AsyncIterator[dict[str, Any]]:
    """Return the preferences of a batch.

    Raises:
        NotFound: no batch has this id.
        Conflict: it still runs, or promises nothing and `any_promise` was not asked for.
    """
    batch = await batches.find(running, batch_id)
    verdicts = await batches.results(running, batch_id)
    if batch["promise"] != "certified" and not any_promise:
        why = batch["suspended_because"] or "its verdicts carry no promise"
        raise Conflict(
            f"batch {batch_id} is not certified now ({why}): promise=any gives its preferences "
            "all the same, and the card says so",
            errors=[{"loc": ["query", "promise"], "msg": "any is needed for this batch"}],
        )
    return _rows(running, batch["dataset"], verdicts)


async def card_of(running: Runtime, batch_id: str) -> dict[str, Any]:
    """Return the terms of a batch's preferences, whatever it promises.

    Raises:
        NotFound: no batch has this id.
        Conflict: it still runs.
    """
    batch = await batches.find(running, batch_id)
    verdicts = await batches.results(running, batch_id)
    counts = Counter(dict.fromkeys(("rows", *LEFT_OUT), 0))
    async for verdict, pair in _with_pairs(running, batch["dataset"], verdicts):
        counts[left_out_because(verdict, pair) or "rows"] += 1
    certificate = None
    if batch["calibration"] is not None:
        async with running.db.read() as session:
            found = await calibrations.require(session, batch["calibration"])
            certificate = calibrations.show(found)
    return card(batch, certificate, counts)


async def _rows(
    running: Runtime, dataset: str, verdicts: AsyncIterator[Verdict]
) -> AsyncIterator[dict[str, Any]]:
    async for verdict, pair in _with_pairs(running, dataset, verdicts):
        if left_out_because(verdict, pair) is None:
            yield preference(verdict, pair)


async def _with_pairs(
    running: Runtime, dataset: str, verdicts: AsyncIterator[Verdict]
) -> AsyncIterator[tuple[Verdict, Pair]]:
    """Yield every verdict with its pair, a chunk in memory at a time."""
    chunk: list[Verdict] = []
    async for verdict in verdicts:
        chunk.append(verdict)
        if len(chunk) == _CHUNK:
            for found in await _found(running, dataset, chunk):
                yield found
            chunk = []
    for found in await _found(running, dataset, chunk):
        yield found


async def _found(
    running: Runtime, dataset: str, chunk: list[Verdict]
) -> list[tuple[Verdict, Pair]]:
    async with running.db.read() as session:
        stored = await datasets.find_dataset(session, dataset)
        seqs = await datasets.pair_seqs(session, stored, [verdict["id"] for verdict in chunk])
        pairs = await datasets.read_pairs(session, stored, seqs=list(seqs.values()))
    by_id = {key.id: pair for key, pair in pairs}
    return [(verdict, by_id[verdict["id"]]) for verdict in chunk if verdict["id"] in by_id]
