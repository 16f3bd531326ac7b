"""Every SQL statement about verdicts."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from sqlalchemy import ColumnElement, Table, Text, func, or_, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncSession

from app.bodies.judgments import TierBody
from app.core.bulk import insert_rows
from app.core.lists import Paging
from app.core.models import UNFINISHED_BATCH, Batch, CalibrationRow, Dataset, PairRow, Verdict


class _Body(msgspec.Struct):
    tiers: list[Any]


STATUSES: Final = ("accepted", "abstained", "failed")
_WINDOW: Final = 200
_IN_CHUNK: Final = 500
_read_tiers: Final = msgspec.json.Decoder(_Body).decode
_VERDICTS: Final = cast(Table, Verdict.__table__)


async def add(session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store verdicts."""
    await insert_rows(session, _VERDICTS, rows)


async def recent_tiers(session: AsyncSession, certificate_seq: int) -> dict[str, list[TierBody]]:
    """Return the tiers of the last verdicts under a certificate, by content, the newest of each."""
    query = (
        select(Verdict.content_hash, type_coerce(Verdict.body, Text))
        .where(Verdict.certificate_seq == certificate_seq)
        .order_by(Verdict.seq.desc())
        .limit(_WINDOW)
    )
    newest: dict[str, list[TierBody]] = {}
    for content_hash, body in await session.execute(query):
        if content_hash not in newest:
            newest[content_hash] = _tiers_of(body)
    return newest


def _tiers_of(body: str) -> list[TierBody]:
    """Return the tiers of a stored verdict; fast, because every certified request reads hundreds."""
    try:
        return _read_tiers(body).tiers
    except ValueError:
        # a lone surrogate, which the fast decoder refuses
        tiers: list[TierBody] = json.loads(body)["tiers"]
        return tiers


async def page(
    session: AsyncSession, paging: Paging, after: int | None, **where: Any
) -> Sequence[Verdict]:
    """Return one verdict more than the page holds."""
    wanted = {column: value for column, value in where.items() if value is not None}
    query = select(Verdict)
    for column, value in wanted.items():
        query = query.where(getattr(Verdict, column) == value)
    if "batch_seq" not in wanted or "status" in wanted:
        return (await session.scalars(paging.of(query, Verdict.seq, after))).all()
    # the index of a batch's verdicts is by status: a page of each holds the page of all
    found: list[Verdict] = []
    for status in STATUSES:
        of_it = paging.of(query.where(Verdict.status == status), Verdict.seq, after)
        found += (await session.scalars(of_it)).all()
    found.sort(key=lambda one: one.seq, reverse=paging.descends)
    return found[: paging.limit + 1]


async def positions_of(session: AsyncSession, batch_seq: int) -> set[int]:
    """Return the positions of the pairs that a batch has verdicts on."""
    query = select(Verdict.position).where(Verdict.batch_seq == batch_seq)
    return {one for one in await session.scalars(query) if one is not None}


async def said_in_batch(session: AsyncSession, batch_seq: int) -> dict[int, tuple[str, str | None]]:
    """Return status and label of each pair of a batch."""
    return await _said(session, Verdict.batch_seq == batch_seq)


async def said_last(session: AsyncSession, dataset_seq: int) -> dict[int, tuple[str, str | None]]:
    """Return status and label of the last verdict on each pair of a dataset."""
    return await _said(session, Verdict.dataset_seq == dataset_seq)


async def _said(
    session: AsyncSession, which: ColumnElement[bool]
) -> dict[int, tuple[str, str | None]]:
    query = select(Verdict.pair_seq, Verdict.status, type_coerce(Verdict.body, Text)).where(which)
    found: dict[int, tuple[str, str | None]] = {}
    for pair, status, body in await session.execute(query.order_by(Verdict.seq)):
        if pair is not None:
            found[pair] = (status, json.loads(body)["label"])
    return found


async def newest_of_pairs(session: AsyncSession, pair_seqs: Sequence[int]) -> dict[int, Verdict]:
    """Return the newest verdict on each of these pairs, by the number of the pair."""
    found = {}
    for start in range(0, len(pair_seqs), _IN_CHUNK):
        newest = (
            select(func.max(Verdict.seq))
            .where(Verdict.pair_seq.in_(pair_seqs[start : start + _IN_CHUNK]))
            .group_by(Verdict.pair_seq)
        )
        for verdict in await session.scalars(select(Verdict).where(Verdict.seq.in_(newest))):
            found[verdict.pair_seq or 0] = verdict
    return found


async def of_pair(session: AsyncSession, pair_seq: int, most: int) -> Sequence[Verdict]:
    """Return the verdicts on a pair, the newest first."""
    query = select(Verdict).where(Verdict.pair_seq == pair_seq)
    return (await session.scalars(query.order_by(Verdict.seq.desc()).limit(most))).all()


async def places(session: AsyncSession, seqs: Collection[int]) -> dict[int, tuple[str, str]]:
    """Return where the pairs of these verdicts lie: the name of the dataset, and the id there."""
    query = (
        select(Verdict.seq, Dataset.name, PairRow.id)
        .join(PairRow, PairRow.seq == Verdict.pair_seq)
        .join(Dataset, Dataset.seq == PairRow.dataset_seq)
        .where(Verdict.seq.in_(seqs))
    )
    return {seq: (name, pair) for seq, name, pair in await session.execute(query)}


async def without_promise(session: AsyncSession, rows: Sequence[Verdict]) -> dict[int, str]:
    """Return, by number, the verdicts whose stored promise is not in force now, and what is.

    "suspended" while the batch still runs, because the promise is on the whole run; "none" where
    the certificate was revoked since.
    """
    query = (
        select(Verdict.seq, CalibrationRow.revoked_at)
        .join(CalibrationRow, CalibrationRow.seq == Verdict.certificate_seq)
        .outerjoin(Batch, Batch.seq == Verdict.batch_seq)
        .where(
            Verdict.seq.in_([row.seq for row in rows]),
            Verdict.promise == "certified",
            or_(CalibrationRow.revoked_at.is_not(None), Batch.status.in_(UNFINISHED_BATCH)),
        )
    )
    return {
        seq: "suspended" if revoked_at is None else "none"
        for seq, revoked_at in await session.execute(query)
    }
