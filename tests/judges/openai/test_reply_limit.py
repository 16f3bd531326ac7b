"""Replies without end, and replies that unpack to very much, are failures and stay small in memory."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from judges.openai.clients import ReplyClient
from judges.openai.judge import OpenAIJudge
from judges.openai.settings import OpenAISettings
from judges.prompting.templates import load_template
from judges.types import FailureKind
from tests.judges.pairs import pair_of

MIB = 2**20


@asynccontextmanager
async def serving(head: str, pieces: list[bytes]) -> AsyncIterator[tuple[str, list[int]]]:
    """A server that answers everything with these pieces; yields its address and what it sent."""
    sent = [0]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 200 OK\r\n{head}connection: close\r\n\r\n".encode())
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                sent[0] += len(piece)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield f"http://127.0.0.1:{port}/v1", sent


BOMB = gzip.compress(b" " * 200 * MIB)
LARGE: dict[str, tuple[str, list[bytes]]] = {
    "without an end": ("", [b" " * MIB] * 1_000),
    "with its length": (f"content-length: {1_000 * MIB}\r\n", [b" " * MIB] * 1_000),
    "in chunks": ("transfer-encoding: chunked\r\n", [b"100000\r\n" + b" " * MIB + b"\r\n"] * 1_000),
    "packed": (f"content-encoding: gzip\r\ncontent-length: {len(BOMB)}\r\n", [BOMB]),
    "packed as deflate": ("content-encoding: deflate\r\n", [zlib.compress(b" " * 200 * MIB)]),
}


@pytest.mark.parametrize("name", LARGE)
async def test_a_reply_that_is_too_large_is_a_failure_by_name(name: str) -> None:
    head, pieces = LARGE[name]
    async with serving(head, pieces) as (address, sent):
        settings = OpenAISettings(
            name="dear", model="judge", base_url=address, orders="as_posted", attempts=3
        )
        judge = OpenAIJudge(
            settings, load_template("pairwise"), transport=httpx.AsyncHTTPTransport(), environ={}
        )
        tracemalloc.start()
        score = await judge.score(pair_of())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        await judge.aclose()
    assert score.failure is not None
    assert score.failure.kind is FailureKind.UNPARSEABLE
    assert "larger than 16777216 bytes (max_reply_bytes)" in score.failure.detail
    assert peak < 60 * MIB
    # the rest was not asked for again, nor read
    assert sent[0] < 60 * MIB


ANSWER = json.dumps({"choices": [], "text": "x" * 5_000}).encode()
RAW_DEFLATE = zlib.compressobj(wbits=-15)
PACKED: dict[str, tuple[str, bytes]] = {
    "": ("", ANSWER),
    "gzip": ("content-encoding: gzip\r\n", gzip.compress(ANSWER)),
    "zlib": ("content-encoding: deflate\r\n", zlib.compress(ANSWER)),
    "deflate": (
        "content-encoding: deflate\r\n", RAW_DEFLATE.compress(ANSWER) + RAW_DEFLATE.flush(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PACKED)
async def test_a_reply_is_read_as_it_is_packed(name: str) -> None:
    head, body = PACKED[name]
    async with (
        serving(head, [body]) as (address, _),
        ReplyClient(10_000, transport=httpx.AsyncHTTPTransport()) as client,
    ):
        reply = await client.post(address, json={})
        assert (reply.status_code, reply.content) == (200, ANSWER)
        assert reply.json()["choices"] == []


BROKEN: dict[str, tuple[str, bytes]] = {
    "ends early": ("content-encoding: gzip\r\n", gzip.compress(ANSWER)[:-20]),
    "is not gzip": ("content-encoding: gzip\r\n", ANSWER),
    "is packed otherwise": ("content-encoding: br\r\n", ANSWER),
    "is not deflate": ("content-encoding: deflate\r\n", ANSWER),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_reply_that_cannot_be_unpacked_is_a_decoding_error(name: str) -> None:
    head, body = BROKEN[name]
    async with (
        serving(head, [body]) as (address, _),
        ReplyClient(10_000, transport=httpx.AsyncHTTPTransport()) as client,
    ):
        with pytest.raises(httpx.DecodingError):
            await client.post(address, json={})


async def test_a_reply_may_break_off_its_packing_or_be_at_hand_as_a_whole() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield zlib.compress(ANSWER)[:8]
        yield b"\xff" * 50

    packed = {"content-encoding": "deflate"}
    broken = httpx.MockTransport(lambda _: httpx.Response(200, headers=packed, content=pieces()))
    async with ReplyClient(10_000, transport=broken) as client:
        with pytest.raises(httpx.DecodingError):
            await client.post("http://server/v1", json={})
    whole = httpx.MockTransport(lambda _: httpx.Response(200, content=ANSWER))
    async with ReplyClient(10_000, transport=whole) as client:
        assert (await client.post("http://server/v1", json={})).content == ANSWER
