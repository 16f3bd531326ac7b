"""Draws verdicts for monitors and for shadow judges, in the transaction that stores them.

A prompt is drawn for a candidate with the probability of its share, once for each batch and day,
with all its verdicts. What is drawn for an audit is drawn for every candidate, too: people label it
anyway, and comparisons lack labels most. No judge is asked here, so no answer waits for one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.models import Shadow
from app.datasets.records import pair_content
from app.monitors import queries, sampling
from app.monitors.sampling import Candidate, Where, chance

Place = tuple[str, str]


async def draw(session: AsyncSession, where: Where, candidates: Sequence[Candidate]) -> None:
    """Draw for every monitor and every shadow of a certificate; the verdicts are stored already."""
    audited = {_place(one) for one in await sampling.draw(session, where, candidates)}
    for shadow in await queries.shadows_of(session, where.certificate_seq):
        chosen = {
            _place(one): (one, in_share)
            for one in candidates
            if not one.verdict["calibration_pair"]
            and ((in_share := _is_drawn(shadow, where, one)) or _place(one) in audited)
        }
        if chosen:
            await _store(session, shadow, where, list(chosen.values()))


def _place(one: Candidate) -> Place:
    return one.content_hash, one.pair.id


def _is_drawn(shadow: Shadow, where: Where, one: Candidate) -> bool:
    drawn = chance(shadow.secret, "shadow", where.unit, one.pair.prompt_hash)
    return drawn < float(shadow.options["share"])


async def _store(
    session: AsyncSession,
    shadow: Shadow,
    where: Where,
    chosen: Sequence[tuple[Candidate, bool]],
) -> None:
    verdicts = await sampling.verdict_seqs(session, where, [one for one, _ in chosen])
    rows: list[Mapping[str, Any]] = [
        {
            "shadow_seq": shadow.seq,
            "verdict_seq": verdict,
            "pair_seq": one.pair_seq,
            "prompt": one.pair.prompt_hash,
            "in_share": in_share,
            "content": {**pair_content(one.pair), "metadata": dict(one.metadata)},
            "present": {"label": one.verdict["label"], "cost_usd": one.asking_usd},
            "said": None,
            "leased_until": None,
            "created_at": where.moment,
        }
        for (one, in_share), verdict in zip(chosen, verdicts, strict=True)
    ]
    await queries.add_shadow_verdicts(session, rows)
