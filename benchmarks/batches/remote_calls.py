"""Calls per second of a judge behind a server, against one HTTP client that makes the same calls.

The client is the one that the judge uses, with all its connections in one pool. The server takes a
tenth of a second for an answer, so that many requests are in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import httpx

from benchmarks.batches.figures import Figure, Seconds, Side
from benchmarks.batches.server_process import serving
from benchmarks.measuring import ResultsDiffer
from judges.openai.bodies import Bodies
from judges.openai.judge import OpenAIJudge
from judges.openai.settings import OpenAISettings
from judges.prompting.templates import Prompt, PromptTemplate, load_template
from judges.types import Message, Pair

_IN_FLIGHT: Final = 64
_PAUSE_SECONDS: Final = 0.1
_CALLS_PER_PAIR: Final = 2  # one annotator, both orders


def measure(*, is_small: bool, rounds: int) -> Iterator[Figure]:
    """Yield calls per second of wall time, and per second of CPU time of the asking process."""
    pairs = [_pair(number) for number in range(20 if is_small else 1_000)]
    found: list[tuple[Seconds, Seconds]] = []
    module = ("benchmarks.batches.slow_server", str(_PAUSE_SECONDS))
    with serving(module, "") as server:
        for _ in range(rounds):
            found.append(asyncio.run(_round(f"http://127.0.0.1:{server.port}/v1", pairs)))
    calls = _CALLS_PER_PAIR * len(pairs)
    work = f"{calls:,} calls, {_IN_FLIGHT} in flight, answered after {_PAUSE_SECONDS:g} s"
    for name, measured in (("wall", "wall time"), ("cpu", "CPU time")):
        ours, theirs = ([calls / getattr(one[side], name) for one in found] for side in (0, 1))
        yield Figure(
            work,
            Side("judge", ours, "calls/s"),
            Side("one httpx client", theirs, "calls/s"),
            measured,
        )


async def _round(url: str, pairs: list[Pair]) -> tuple[Seconds, Seconds]:
    template = load_template("pairwise", ("A", "B"))
    settings = OpenAISettings(name="live", base_url=url, model="judge", concurrency=_IN_FLIGHT)
    started = Seconds.now()
    await _judge(settings, template, pairs)
    ours = started.passed()
    started = Seconds.now()
    await _bare(settings, template, pairs)
    return ours, started.passed()


async def _judge(settings: OpenAISettings, template: PromptTemplate, pairs: list[Pair]) -> None:
    judge = OpenAIJudge(settings, template)
    try:
        async with asyncio.TaskGroup() as group:
            scores = [group.create_task(judge.score(pair)) for pair in pairs]
    finally:
        await judge.aclose()
    if failed := [one.result().failure for one in scores if one.result().failure]:
        raise ResultsDiffer(f"{len(failed)} pairs have no score; the first: {failed[0]}")


async def _bare(settings: OpenAISettings, template: PromptTemplate, pairs: list[Pair]) -> None:
    slots = asyncio.Semaphore(_IN_FLIGHT)
    limits = httpx.Limits(max_connections=_IN_FLIGHT)
    async with httpx.AsyncClient(base_url=settings.base_url, limits=limits, timeout=60) as client:

        async def ask(pair: Pair, *, swapped: bool) -> None:
            prompt = Prompt("", template.query(pair, swapped=swapped).text)
            async with slots:
                await _post(client, Bodies(settings).body(prompt))

        async with asyncio.TaskGroup() as group:
            for pair in pairs:
                for swapped in (False, True):
                    group.create_task(ask(pair, swapped=swapped))


async def _post(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    try:
        (await client.post("chat/completions", json=body)).raise_for_status()
    except httpx.ReadError:
        # a connection that the server gave up: it had idled for seconds, so slow is one large pool
        await _post(client, body)


def _pair(number: int) -> Pair:
    prompt = f"[case {number}] Which river is the longest but {number}?"
    return Pair(
        id=str(number),
        conversation=(Message("user", prompt),),
        responses_a=(f"That is the first river of {number}. " * 20,),
        responses_b=(f"One would name the second river of {number}. " * 20,),
    )
