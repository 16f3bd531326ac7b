"""Every SQL statement about files of requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, delete, exists, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Batch, Certificate, FilePiece, Leaderboard, RejectedLine, Report, StoredFile

_RESTING = (Batch, Certificate, Leaderboard, Report)


async def add_rejected(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    """Store lines that are no requests."""
    await session.execute(insert(RejectedLine), list(rows))


async def add_piece(session: AsyncSession, file_seq: int, number: int, content: bytes) -> None:
    """Store a compressed piece of a file."""
    row = {"file_seq": file_seq, "number": number, "content": content}
    await session.execute(insert(FilePiece), [row])


async def piece_of(session: AsyncSession, file_seq: int, number: int) -> bytes | None:
    """Return a compressed piece of a file, None behind its last one."""
    query = select(FilePiece.content).where(
        FilePiece.file_seq == file_seq, FilePiece.number == number
    )
    return await session.scalar(query)


async def stored_page(
    session: AsyncSession, chosen: Select[Any], limit: int, after: int | None, *, descends: bool
) -> Sequence[StoredFile]:
    """Return up to `limit + 1` files behind the one of number `after`, in either order."""
    seq = StoredFile.seq
    if after is not None:
        chosen = chosen.where(seq < after if descends else seq > after)
    ordered = chosen.order_by(seq.desc() if descends else seq.asc()).limit(limit + 1)
    return (await session.scalars(ordered)).all()


def files(purpose: str | None) -> Select[Any]:
    """Return the query of all files, or of those of a purpose."""
    query = select(StoredFile)
    return query if purpose is None else query.where(StoredFile.purpose == purpose)


async def delete_row(session: AsyncSession, file_seq: int) -> None:
    """Delete a file with its content."""
    await session.execute(delete(StoredFile).where(StoredFile.seq == file_seq))


async def is_in_use(session: AsyncSession, dataset_seq: int) -> bool:
    """Whether anything rests on the requests of a file: a batch, a certificate, a report."""
    found = or_(*(exists().where(table.dataset_seq == dataset_seq) for table in _RESTING))
    return bool(await session.scalar(select(found)))


async def rejected_after(
    session: AsyncSession, dataset_seq: int, line: int, count: int
) -> Sequence[RejectedLine]:
    """Return up to `count` lines behind `line` that are no requests, in order."""
    query = (
        select(RejectedLine)
        .where(RejectedLine.dataset_seq == dataset_seq, RejectedLine.line > line)
        .order_by(RejectedLine.line)
        .limit(count)
    )
    return (await session.scalars(query)).all()
