"""An HTTP client that reads no more of a reply than a judge can need.

A server that is broken, or not the one that was meant, may send without end, and a few kilobytes of
gzip may unpack to gigabytes.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import httpx

_GZIP: Final = 16 + zlib.MAX_WBITS
_DECODED: Final = ("content-encoding", "content-length", "transfer-encoding")


class ReplyClient(httpx.AsyncClient):
    """Reads whole replies of up to `most_bytes` after unpacking; a larger one is a DecodingError."""

    def __init__(self, most_bytes: int, **options: Any) -> None:
        super().__init__(**options)
        self._most_bytes = most_bytes
        self.headers["Accept-Encoding"] = "gzip, deflate"

    async def send(
        self, request: httpx.Request, *, stream: bool = False, **options: Any
    ) -> httpx.Response:
        """Send a request and read its reply.

        Raises:
            httpx.DecodingError: the reply is too large, or cannot be unpacked.
        """
        response = await super().send(request, stream=True, **options)
        if stream:
            return response
        try:
            content = await self._read(response)
        except zlib.error as error:
            raise httpx.DecodingError(str(error), request=request) from error
        finally:
            await response.aclose()
        headers = [
            (name, value)
            for name, value in response.headers.multi_items()
            if name.lower() not in _DECODED
        ]
        return httpx.Response(
            response.status_code,
            headers=headers,
            content=content,
            request=response.request,
            extensions=response.extensions,
            history=response.history,
        )

    async def _read(self, response: httpx.Response) -> bytes:
        unpack = _unpacker(response)
        content = bytearray()
        async for piece in response.aiter_raw():
            room = self._most_bytes - len(content) + 1
            content += piece[:room] if unpack is None else unpack.decompress(piece, room)
            if len(content) > self._most_bytes:
                raise httpx.DecodingError(
                    f"the reply is larger than {self._most_bytes} bytes (max_reply_bytes)",
                    request=response.request,
                )
        if unpack is not None and not unpack.eof:
            raise zlib.error("the packed reply ends early")
        return bytes(content)


def _unpacker(response: httpx.Response) -> Any:
    """Return what unpacks a reply, None where it is not packed."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding in ("gzip", "x-gzip"):
        return zlib.decompressobj(_GZIP)
    if encoding == "deflate":
        return _Deflate()
    raise httpx.DecodingError(
        f"the reply is packed with {encoding[:40]!r}, which was not asked for",
        request=response.request,
    )


class _Deflate:
    """Unpacks what is called deflate: with the header of zlib, or without it as some servers send."""

    def __init__(self) -> None:
        self._unpack = zlib.decompressobj()
        self._is_first = True

    @property
    def eof(self) -> bool:
        return self._unpack.eof

    def decompress(self, piece: bytes, room: int) -> bytes:
        is_first, self._is_first = self._is_first, False
        try:
            return self._unpack.decompress(piece, room)
        except zlib.error:
            if not is_first:
                raise
            self._unpack = zlib.decompressobj(-zlib.MAX_WBITS)
            return self._unpack.decompress(piece, room)
