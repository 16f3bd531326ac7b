"""A batch's counts and money, summed over its shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from app.models import Batch, Shard


def request_counts(batch: Batch, shards: Sequence[Shard]) -> dict[str, int]:
    """Pairs by what became of them; those of a shard that was given up have failed."""
    statuses: Counter[str] = Counter()
    for shard in shards:
        statuses.update(shard.counts.get("statuses", {}))
        if shard.state == "failed":
            statuses["failed"] += shard.counts["pairs"]
    accepted, abstained = statuses["accepted"], statuses["abstained"]
    return {
        "total": batch.total,
        "completed": accepted + abstained,
        "failed": statuses["failed"],
        "accepted": accepted,
        "abstained": abstained,
    }


def cost_of(shards: Sequence[Shard]) -> float | None:
    """Money spent so far; None as soon as one judge asked has no known price."""
    costs = [shard.counts["cost_usd"] for shard in shards if "cost_usd" in shard.counts]
    return None if None in costs else sum(costs)
