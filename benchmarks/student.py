"""Pairs that the embedded judge scores, against compressing their texts: a proxy for the machine."""

from __future__ import annotations

import asyncio
import json
import zlib
from pathlib import Path

from benchmarks.measuring import Baseline, Benchmark, Contender
from judges.student.judge import StudentJudge
from judges.types import Message, Pair, Score

_EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "pairs.jsonl"


def prepare(*, is_small: bool) -> Benchmark:
    """Read the bundled example."""
    pairs = _pairs()[: 4 if is_small else None]
    judge = StudentJudge()
    return Benchmark(
        f"{len(pairs)} pairs of the bundled example",
        Baseline("zlib.compress of the same texts", lambda: _compressed(pairs)),
        (
            Contender(
                "student judge",
                lambda: asyncio.run(_scored(judge, pairs)),
                lambda scores, sizes: agrees(scores, sizes, judge, pairs),
            ),
        ),
    )


def agrees(scores: list[Score], sizes: list[int], judge: StudentJudge, pairs: list[Pair]) -> bool:
    """Both handled every pair, and swapping the responses mirrors every score."""
    swapped = asyncio.run(_scored(judge, [pair.swapped() for pair in pairs]))
    return len(scores) == len(sizes) and all(
        one.p_a is not None and one.p_a == other.p_b
        for one, other in zip(scores, swapped, strict=True)
    )


def _pairs() -> list[Pair]:
    rows = map(json.loads, _EXAMPLE.read_text(encoding="utf-8").splitlines())
    return [
        Pair(
            row["id"],
            (Message("user", row["prompt"]),),
            (row["response_a"],),
            (row["response_b"],),
        )
        for row in rows
    ]


def _compressed(pairs: list[Pair]) -> list[int]:
    texts = ("\n".join((*p.user_turns, *p.responses_a, *p.responses_b)) for p in pairs)
    return [len(zlib.compress(text.encode())) for text in texts]


async def _scored(judge: StudentJudge, pairs: list[Pair]) -> list[Score]:
    return [await judge.score(pair) for pair in pairs]
