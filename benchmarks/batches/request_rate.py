"""Requests per second of `POST /v1/judgments` with stored scores, over a bare endpoint's."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Final

from benchmarks.batches.databases import fresh_databases, kinds
from benchmarks.batches.figures import Figure, Side
from benchmarks.batches.http_load import Load, Request, drive
from benchmarks.batches.made_batch import made_pair
from benchmarks.batches.server_process import Server, serving
from benchmarks.measuring import ResultsDiffer

_CLIENTS: Final = 8
_PAIRS: Final = 400
_SECONDS: Final = 3.0
_SERVICE: Final = ("app", "serve", "--port")
_BARE: Final = ("benchmarks.batches.bare_app",)


def measure(*, is_small: bool, rounds: int) -> Iterator[Figure]:
    """Yield a ratio of requests per second for each kind of database."""
    pairs, seconds = (8, 0.2) if is_small else (_PAIRS, _SECONDS)
    for kind in kinds()[:1] if is_small else kinds():
        with (
            fresh_databases(kind) as fresh,
            serving(_SERVICE, url := fresh()) as service,
            serving(_BARE, url) as bare,
        ):
            yield from asyncio.run(_measure(kind, (service, bare), pairs, seconds, rounds))


async def _measure(
    kind: str, servers: tuple[Server, Server], pairs: int, seconds: float, rounds: int
) -> Iterator[Figure]:
    service, bare = servers
    posted = [_judgment(number) for number in range(pairs)]
    rows = [_row(number) for number in range(pairs)]
    await _store_scores(service, posted)
    await _load(bare, rows, seconds / 3)
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(await _load(service, posted, seconds))
        theirs.append(await _load(bare, rows, seconds))
    work = f"1 pair a request, {_CLIENTS} clients, {kind}"
    return _figures(work, ours, theirs)


def _figures(work: str, ours: Sequence[Load], theirs: Sequence[Load]) -> Iterator[Figure]:
    names = ("POST /v1/judgments, scores stored", "bare endpoint, one row")
    yield Figure(
        work,
        Side(names[0], [one.rate for one in ours], "requests/s"),
        Side(names[1], [one.rate for one in theirs], "requests/s"),
        "wall time",
        ">= 0.3",
    )
    yield Figure(
        work,
        Side(names[0], [one.cpu_rate for one in ours], "requests/s"),
        Side(names[1], [one.cpu_rate for one in theirs], "requests/s"),
        "CPU time of the server process",
    )


async def _store_scores(service: Server, posted: Sequence[Request]) -> None:
    """Ask for every pair once, and see that a second time calls nobody."""
    for number in range(0, len(posted), _CLIENTS):
        await drive(service.port, _CLIENTS, iter(posted[number : number + _CLIENTS]))
    answers = await drive(service.port, 1, iter(posted[:1]))
    if not json.loads(answers[0])["verdicts"][0]["cached"]:
        raise ResultsDiffer("the service asked its judge again")


async def _load(server: Server, requests: Sequence[Request], seconds: float) -> Load:
    """Send requests round and round for so many seconds."""
    loop = asyncio.get_running_loop()
    cpu, started = server.cpu_seconds(), loop.time()
    until = itertools.takewhile(
        lambda _: loop.time() - started < seconds, itertools.cycle(requests)
    )
    answers = await drive(server.port, _CLIENTS, until)
    return Load(len(answers), loop.time() - started, server.cpu_seconds() - cpu)


def _judgment(number: int) -> Request:
    return Request("/v1/judgments", json.dumps({"pairs": [made_pair(number)]}).encode("ascii"))


def _row(number: int) -> Request:
    return Request("/rows", json.dumps(made_pair(number)).encode("ascii"))
