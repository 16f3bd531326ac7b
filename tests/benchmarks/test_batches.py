from __future__ import annotations

import asyncio

import pytest

from benchmarks.batches import __main__ as command
from benchmarks.batches.databases import has_postgresql
from benchmarks.batches.figures import Figure, Side, table
from benchmarks.batches.http_load import Request, drive
from benchmarks.measuring import ResultsDiffer

# what a measurement lays out on one kind of database and on both
ROWS = {
    "core-insert": (2, 3),
    "requests": (2, 2),
    "memory": (1, 1),
    "workers": (0, 1),
    "remote-calls": (2, 2),
    "pages": (2, 4),
}


# several processes for each side, each of them seconds of work
_LONG = {"workers", "core-insert", "memory", "requests", "pages"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in _LONG else [])
        for name in command.MEASUREMENTS
    ],
)
def test_every_measurement_runs(name: str) -> None:
    figures = list(command.MEASUREMENTS[name](is_small=True, rounds=1))
    assert len(figures) == ROWS[name][has_postgresql()]
    assert all(one.ratio > 0 and len(one.by_round) == 1 for one in figures)


def test_the_table_shows_medians_and_the_rounds_between() -> None:
    ours, theirs = (
        Side("ours", [1.0, 4.0, 3.0], "pairs/s"),
        Side("theirs", [2.0, 2.0, 2.0], "pairs/s"),
    )
    rows = table([Figure("work", ours, theirs, "wall time", ">= 0.5")]).splitlines()
    assert [cell.strip() for cell in rows[2].strip("|").split("|")] == [
        "work", "ours: 3.00 pairs/s", "theirs: 2.00 pairs/s", "wall time", "1.50",
        "0.50 .. 2.00 (3)", ">= 0.5",
    ]  # fmt: skip


def test_the_command_prints_the_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    side = Side("x", [1.0], "MiB")
    figure = Figure("made work", side, side, "peak memory")
    monkeypatch.setitem(command.MEASUREMENTS, "memory", lambda **_: iter([figure]))
    assert command.main(["--only", "memory", "--small"]) == 0
    assert (
        "| made work | x: 1.00 MiB | x: 1.00 MiB | peak memory | 1.00 " in capsys.readouterr().out
    )


async def test_an_answer_that_is_no_success_counts_for_nothing() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(b"HTTP/1.1 503 Away\r\ncontent-length: 4\r\n\r\naway")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ExceptionGroup) as caught:
            await drive(port, 1, iter([Request("/rows", b"{}")]))
    assert caught.group_contains(ResultsDiffer, match="503 Away: away")
