"""Clients that cost next to nothing, so that the server is what is measured."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.measuring import ResultsDiffer

_LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Request:
    """A JSON body to post."""

    path: str
    body: bytes

    def as_bytes(self) -> bytes:
        """Return the request as HTTP/1.1."""
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            f"content-type: application/json\r\ncontent-length: {len(self.body)}\r\n\r\n"
        )
        return head.encode("ascii") + self.body


@dataclass(frozen=True, slots=True)
class Load:
    """How many requests were answered, in how much time, and what they cost the server."""

    requests: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    @property
    def cpu_rate(self) -> float:
        """Requests per second of the server's CPU time."""
        # the kernel counts in hundredths of a second
        return self.requests / max(self.cpu_seconds, 0.01)


async def drive(port: int, clients: int, requests: Iterator[Request]) -> list[bytes]:
    """Send all requests, each client one after the other on its own connection.

    Raises:
        ResultsDiffer: one was not answered with a success.
    """
    answers: list[bytes] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for request in requests:
                writer.write(request.as_bytes())
                answers.append(await _answer(reader))
        finally:
            writer.close()
            await writer.wait_closed()

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return answers


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    body = await reader.readexactly(int(length[1]) if length else 0)
    if not head.startswith(b"HTTP/1.1 20"):
        raise ResultsDiffer(f"{head.splitlines()[0].decode()}: {body[:500].decode()}")
    return body
