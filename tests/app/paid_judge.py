"""A live judge in this process that costs money, takes time, and can be away."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace

from app.core.runtime import Runtime
from judges.base import JudgeHealth, JudgeSpec, announce_call
from judges.registry import Registry
from judges.types import FailureKind, JudgeFailure, Pair, Score, TokenUsage


@dataclass
class PaidJudge:
    """Says something that depends on the pair's content alone; `asked` counts its calls by pair."""

    name: str
    price: float = 0.01
    pause: float = 0.0
    is_away: bool = False
    confidence: float | None = None
    asked: Counter[str] = field(default_factory=Counter)
    gate: asyncio.Event | None = None

    @property
    def spec(self) -> JudgeSpec:
        return JudgeSpec(
            self.name, "paid", "m", {"name": self.name}, price_input=1.0, price_output=1.0
        )

    def most_usd(self, pair: Pair) -> float:
        """Twice the price: what one repetition would cost."""
        return 2 * self.price

    async def score(self, pair: Pair) -> Score:
        self.asked[pair.id] += 1
        await announce_call(self.spec, pair)
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(self.pause)
        fingerprint = self.spec.fingerprint
        if self.is_away:
            failure = JudgeFailure(FailureKind.CONNECTION, "nobody is there")
            return Score(self.name, fingerprint, None, failure=failure, cost_usd=0.0)
        return Score(
            self.name, fingerprint, self.p_a(pair), cost_usd=self.price, usage=TokenUsage(10, 1)
        )

    def p_a(self, pair: Pair) -> float:
        """The same for the same content, mirrored for its mirror image."""
        first, second = pair.content_hash, pair.swapped().content_hash
        digest = hashlib.sha256(f"{self.name}{min(first, second)}".encode()).digest()
        p = self.confidence or int.from_bytes(digest[:4], "big") / 2**32
        return round(p if first < second else 1.0 - p, 6)

    async def health(self) -> JudgeHealth:
        return JudgeHealth(not self.is_away)

    async def aclose(self) -> None:
        return None


def without_label(score: Score, cost_usd: float | None = 0.01) -> Score:
    """Return an answer that was paid for and is of no use."""
    failure = JudgeFailure(FailureKind.UNPARSEABLE, "no label")
    return replace(score, p_a=None, failure=failure, cost_usd=cost_usd)


def install(running: Runtime, *judges: PaidJudge) -> None:
    """Make these the judges of the default cascade, from cheap to dear."""
    names = tuple(judge.name for judge in judges)
    running.registry = Registry({judge.name: judge for judge in judges}, {"default": names}, {})
