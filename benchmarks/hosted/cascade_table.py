"""What a cascade of two engines did, laid out as one table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.hosted.made_models import flops, layer_weights
from benchmarks.table import aligned
from judges.types import TokenUsage

WANTED_OVER_BENCH: Final = 0.6


@dataclass(frozen=True)
class Alone:
    """Seconds that one engine takes alone for what the cascade asked it.

    Attributes:
        offline: By `LLM.generate`, on the same prompts.
        bench: At the rate of `vllm bench throughput` on the same token counts.
    """

    offline: float
    bench: float


@dataclass(frozen=True)
class TierFigures:
    """One judge's part.

    Attributes:
        name: The judge's name.
        folder: The model's.
        asked: Share of the pairs that it was asked about.
        answered: Share of the pairs that it answered.
        usage: Tokens.
        alone: What its engine takes alone.
    """

    name: str
    folder: str
    asked: float
    answered: float
    usage: TokenUsage
    alone: Alone

    @property
    def cached(self) -> float:
        """Share of its prompt tokens that the prefix cache served."""
        return cached_share(self.usage)

    @property
    def flops(self) -> float:
        """Operations that the uncached prompt tokens cost."""
        return flops(self.folder, self.usage.prompt - self.usage.cached)


@dataclass(frozen=True)
class Found:
    """All of a run: seconds of each round of so many pairs, and the judges' parts."""

    seconds: Sequence[float]
    pairs: int
    tiers: Sequence[TierFigures]

    @property
    def total_seconds(self) -> float:
        """Seconds of all rounds."""
        return math.fsum(self.seconds)

    @property
    def answered(self) -> float:
        """Share of the pairs that some judge answered."""
        return math.fsum(tier.answered for tier in self.tiers)

    @property
    def alone(self) -> Alone:
        """What the engines take alone, one after the other."""
        return Alone(
            offline=math.fsum(tier.alone.offline for tier in self.tiers),
            bench=math.fsum(tier.alone.bench for tier in self.tiers),
        )

    def utilisation(self, peak_tflops: float) -> float:
        """Return the share of the device's peak that the uncached prompt tokens used."""
        return math.fsum(t.flops for t in self.tiers) / self.total_seconds / (peak_tflops * 1e12)


def table(found: Found, peak_tflops: float | None = None) -> str:
    """Return the figures as a Markdown table: a column for each judge, and one for the cascade."""
    usage = sum((tier.usage for tier in found.tiers), TokenUsage())
    seconds = found.total_seconds
    rates = [found.pairs / one for one in found.seconds]
    rows: list[tuple[str, Callable[[TierFigures], str], str]] = [
        ("", lambda t: t.name, "cascade"),
        ("weights in the layers", lambda t: f"{layer_weights(t.folder):,}", ""),
        ("pairs asked", lambda t: f"{t.asked:.1%}", ""),
        ("pairs answered", lambda t: f"{t.answered:.1%}", f"{found.answered:.1%}"),
        ("pairs/s", _nothing, f"{found.pairs * len(rates) / seconds:.2f}"),
        ("pairs/s, rounds from .. to", _nothing, f"{min(rates):.2f} .. {max(rates):.2f}"),
        (
            "prompt tokens/s",
            lambda t: f"{t.usage.prompt / seconds:,.0f}",
            f"{usage.prompt / seconds:,.0f}",
        ),
        ("from the prefix cache", lambda t: f"{t.cached:.1%}", f"{cached_share(usage):.1%}"),
        ("seconds", _nothing, f"{seconds:.1f}"),
        ("alone, LLM.generate", lambda t: f"{t.alone.offline:.1f}", f"{found.alone.offline:.1f}"),
        ("alone, vllm bench", lambda t: f"{t.alone.bench:.1f}", f"{found.alone.bench:.1f}"),
        ("over LLM.generate", _nothing, f"{found.alone.offline / seconds:.2f}"),
        (
            f"over vllm bench (wanted {WANTED_OVER_BENCH:g})",
            _nothing,
            f"{found.alone.bench / seconds:.2f}",
        ),
    ]
    if peak_tflops is not None:
        share = f"{found.utilisation(peak_tflops):.1%}"
        rows.append(("of the peak, by uncached prompt tokens", _nothing, share))
    return aligned([[name, *map(of_tier, found.tiers), whole] for name, of_tier, whole in rows])


def cached_share(usage: TokenUsage) -> float:
    """Return the share of the prompt tokens that the prefix cache served."""
    return usage.cached / usage.prompt if usage.prompt else math.nan


def _nothing(_: TierFigures) -> str:
    return ""
