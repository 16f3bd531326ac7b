"""The body of a request on disk, before anything is made of it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

from starlette.requests import ClientDisconnect, Request

from app.errors import BadRequest

_PIECE: Final = 2**20


@asynccontextmanager
async def spooled(request: Request, folder: Path | None) -> AsyncIterator[BinaryIO]:
    """Write the body to an unnamed file as it comes and open it from its start.

    Raises:
        BadRequest: the sender went away before the end.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        buffer = bytearray()
        try:
            async for piece in request.stream():
                buffer += piece
                if len(buffer) >= _PIECE:
                    await asyncio.to_thread(file.write, bytes(buffer))
                    buffer.clear()
        except ClientDisconnect as error:
            raise BadRequest("the body ended early") from error
        file.write(buffer)
        file.seek(0)
        yield cast(BinaryIO, file)
