"""Every SQL statement about uploaded files, their pieces and their rejected lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import delete, exists, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.lists import Paging, fetch_page
from app.core.models import (
    Batch,
    CalibrationRow,
    FilePiece,
    Leaderboard,
    RejectedLine,
    Report,
    StoredFile,
)

# the tables whose rows keep a dataset in use
_USERS: Final = (Batch, CalibrationRow, Leaderboard, Report)


async def add_rejected(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    """Store rejected lines."""
    await session.execute(insert(RejectedLine), list(rows))


async def add_piece(session: AsyncSession, file_seq: int, number: int, content: bytes) -> None:
    """Store a compressed piece of a file."""
    row = {"file_seq": file_seq, "number": number, "content": content}
    await session.execute(insert(FilePiece), [row])


async def piece_of(session: AsyncSession, file_seq: int, number: int) -> bytes | None:
    """Return a compressed piece of a file, None after its last one."""
    query = select(FilePiece.content).where(
        FilePiece.file_seq == file_seq, FilePiece.number == number
    )
    return await session.scalar(query)


async def page(session: AsyncSession, paging: Paging, purpose: str | None) -> Sequence[StoredFile]:
    """Return the files of a page, and one more, of a purpose if one is given."""
    chosen = select(StoredFile)
    if purpose is not None:
        chosen = chosen.where(StoredFile.purpose == purpose)
    return await fetch_page(session, chosen, StoredFile, paging)


async def delete_file(session: AsyncSession, file_seq: int) -> None:
    """Delete a file with its content."""
    await session.execute(delete(StoredFile).where(StoredFile.seq == file_seq))


async def is_in_use(session: AsyncSession, dataset_seq: int) -> bool:
    """Say whether a batch, a certificate, a leaderboard or a report is made from a dataset."""
    found = or_(*(exists().where(table.dataset_seq == dataset_seq) for table in _USERS))
    return bool(await session.scalar(select(found)))


async def rejected_after(
    session: AsyncSession, dataset_seq: int, line: int, count: int
) -> Sequence[RejectedLine]:
    """Return up to `count` rejected lines after `line`, in order."""
    query = (
        select(RejectedLine)
        .where(RejectedLine.dataset_seq == dataset_seq, RejectedLine.line > line)
        .order_by(RejectedLine.line)
        .limit(count)
    )
    return (await session.scalars(query)).all()
