"""Accepted verdicts of an ended batch as preference data, in the order of its dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from app.batches import service as batches
from app.calibrations import service as calibrations
from app.calibrations.known_pairs import KnownPairs
from app.cascades import judges_of_certificate
from app.datasets import service as datasets
from app.errors import Conflict
from app.preferences.card import card
from app.preferences.rows import CALIBRATION_PAIRS, LEFT_OUT, left_out_because, preference
from app.runtime import Runtime
from judges.types import Pair

_CHUNK: Final = 500
Verdict = dict[str, Any]
Batch = dict[str, Any]


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
    return _rows(running, batch, verdicts, any_promise=any_promise)


async def card_of(running: Runtime, batch_id: str, *, any_promise: bool) -> dict[str, Any]:
    """Return the terms of a batch's preferences, whatever it promises.

    Raises:
        NotFound: no batch has this id.
        Conflict: it still runs.
    """
    batch = await batches.find(running, batch_id)
    verdicts = await batches.results(running, batch_id)
    counts = Counter(dict.fromkeys(("rows", *LEFT_OUT), 0))
    marked = 0
    async for one in _with_pairs(running, batch, verdicts):
        why = one.left_out_because(any_promise=any_promise)
        counts[why or "rows"] += 1
        marked += why is None and one.is_known
    certificate = None
    if batch["calibration"] is not None:
        async with running.db.read() as session:
            found = await calibrations.require(session, batch["calibration"])
            certificate = calibrations.show(found)
    return card(batch, certificate, counts, marked)


@dataclass(frozen=True, slots=True)
class _Judged:
    """A verdict with its pair, and whether the certificate knows that."""

    verdict: Verdict
    pair: Pair
    is_known: bool

    def left_out_because(self, *, any_promise: bool) -> str | None:
        """Return why it is no row, None where it is one."""
        why = left_out_because(self.verdict, self.pair)
        return CALIBRATION_PAIRS if why is None and self.is_known and not any_promise else why


async def _rows(
    running: Runtime, batch: Batch, verdicts: AsyncIterator[Verdict], *, any_promise: bool
) -> AsyncIterator[dict[str, Any]]:
    async for one in _with_pairs(running, batch, verdicts):
        if one.left_out_because(any_promise=any_promise) is None:
            yield preference(one.verdict, one.pair, is_calibration_pair=one.is_known)


async def _with_pairs(
    running: Runtime, batch: Batch, verdicts: AsyncIterator[Verdict]
) -> AsyncIterator[_Judged]:
    """Yield every verdict with its pair, a chunk in memory at a time."""
    knows = await _known_pairs(running, batch)
    chunk: list[Verdict] = []
    async for verdict in verdicts:
        chunk.append(verdict)
        if len(chunk) == _CHUNK:
            for found in await _found(running, batch["dataset"], knows, chunk):
                yield found
            chunk = []
    for found in await _found(running, batch["dataset"], knows, chunk):
        yield found


async def _known_pairs(running: Runtime, batch: Batch) -> KnownPairs | None:
    """Return what the certificate of a batch knows, None where there is none."""
    if batch["calibration"] is None:
        return None
    async with running.db.read() as session:
        dataset = await datasets.find_dataset(session, batch["dataset"])
        certificate = await calibrations.require(session, batch["calibration"])
        judges = judges_of_certificate(running.registry, certificate.body["fingerprints"])
        return await KnownPairs.of(session, certificate.seq, dataset, judges)


async def _found(
    running: Runtime, dataset: str, knows: KnownPairs | None, chunk: list[Verdict]
) -> list[_Judged]:
    async with running.db.read() as session:
        stored = await datasets.find_dataset(session, dataset)
        seqs = await datasets.pair_seqs(session, stored, [verdict["id"] for verdict in chunk])
        pairs = await datasets.read_pairs(session, stored, seqs=list(seqs.values()))
    by_id = {key.id: (pair, knows is not None and knows.holds(key)) for key, pair in pairs}
    return [_Judged(verdict, *by_id[verdict["id"]]) for verdict in chunk if verdict["id"] in by_id]
