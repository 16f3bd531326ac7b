"""New batches: `new_batch` for every form, batches over datasets, and what a budget needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.batches import queries
from app.batches.admission import Range, new_shard, ranges_of
from app.batches.openai import FileForm
from app.batches.schemas import BatchIn
from app.batches.stored import FORM, find
from app.batches.totals import ALSO_RUNNING
from app.batches.work import FINGERPRINTS, settled
from app.calibrations.service import KnownPairs
from app.core.errors import Unprocessable
from app.core.models import Batch, Dataset, new_id
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.datasets.splits import Membership, membership
from app.judgments.authority import Authority, refuse_expired, resolve_for
from app.judgments.judging import Knowledge, Subject
from app.judgments.reasons import most_reason_usd
from app.judgments.verdicts import promise_of
from app.scores.store import is_recorded
from calibration.arrays import BoolArray
from judges.base import Judge
from judges.budget import is_priced, most_usd
from judges.cascade import Tier


def refuse_unpriced(authority: Authority) -> None:
    """Refuse a budget if the price of a judge that may be asked is unknown.

    Raises:
        Unprocessable: names the judge.
    """
    for tier in authority.tiers:
        if not costs_nothing(tier.judge) and not is_priced(tier.judge):
            raise Unprocessable.field(
                ["budget_usd"],
                f"the judge {tier.judge.spec.name!r} has no price: a budget needs price_input and"
                " price_output of every judge of the cascade",
            )


def most_of_pair(authority: Authority, knowledge: Knowledge, subject: Subject) -> float:
    """Return the most that a pair may still cost if every judge of its cascade is asked.

    A reason counts also where the scores are stored: it may be missing all the same.
    """
    tiers = authority.cascade_for(subject.metadata).tiers
    scores = [most_usd(t.judge, subject.pair) for t in tiers if _is_to_pay(t, knowledge, subject)]
    return sum(scores) + most_reason_usd(authority, subject.pair)


def _is_to_pay(tier: Tier, knowledge: Knowledge, subject: Subject) -> bool:
    if not tier.is_asked or costs_nothing(tier.judge):
        return False
    return knowledge.score(tier.judge, subject.pair) is None


def costs_nothing(judge: Judge) -> bool:
    """Return whether a judge answers without a model server: from records, or in this process."""
    return is_recorded(judge.spec) or judge.spec.is_local


LIFETIME: Final = timedelta(days=7)
_CHUNK: Final = 1_000


class Scope(NamedTuple):
    """The pairs of a batch: how many, which groups of the dataset, and how many are known.

    `member` is None for all groups. `known` counts the pairs that the certificate was made from or
    its judges learnt from, None if they were not counted.
    """

    total: int
    member: Membership | None = None
    known: int | None = None


def new_batch(
    request: BatchIn, dataset: Dataset, authority: Authority, scope: Scope, moment: datetime
) -> Batch:
    """Return a batch in any form, without its shards."""
    has_budget = request.budget_usd is not None
    return Batch(
        id=new_id("batch"),
        status="in_progress",
        dataset_seq=dataset.seq,
        certificate_seq=authority.certificate.seq if authority.certificate else None,
        request=settled(request, authority, scope.member, scope.known),
        total=scope.total,
        open_shards=0,
        totals={},
        budget_usd=request.budget_usd,
        budget_mode=request.budget if has_budget else None,
        seed=request.seed if has_budget else None,
        spent_usd=0.0,
        reserved_usd=0.0,
        promise=promise_of(authority, None),
        suspended_because=None,
        error=None,
        created_at=moment,
        in_progress_at=moment,
        completed_at=None,
        cancelled_at=None,
        expires_at=moment + LIFETIME,
    )


async def store_new(session: AsyncSession, batch: Batch, ranges: Iterable[Range]) -> None:
    """Store a new batch with one shard for each range."""
    session.add(batch)
    await session.flush()
    shards = (new_shard(batch.seq, number, one) for number, one in enumerate(ranges))
    while chunk := list(islice(shards, _CHUNK)):
        await queries.add_shards(session, chunk)
        batch.open_shards += len(chunk)
    batch.totals = {"shards": {"todo": batch.open_shards}}


async def create(
    running: Runtime,
    request: BatchIn,
    form: FileForm | None = None,
    also: Callable[[AsyncSession, Batch], Awaitable[None]] | None = None,
) -> dict[str, Any]:
    """Store a batch over a dataset and its shards; workers claim them from there.

    Args:
        running: The service.
        request: What to judge.
        form: The uploaded file that holds the pairs, if any.
        also: What is stored in the same transaction; if it raises, there is no batch.

    Raises:
        Unprocessable: there is no pair to judge, a judge is unknown, or one has no price and there
            is a budget.
    """
    async with running.db.read() as session:
        dataset = await datasets.find_dataset(session, request.dataset)
        authority = await resolve_for(session, running.registry, request, dataset)
    refuse_expired(authority, running.now())
    if request.budget_usd is not None:
        refuse_unpriced(authority)
    is_chosen, scope = await chosen_pairs(running, dataset, request, authority)
    batch = new_batch(request, dataset, authority, scope, running.now())
    if form is not None:
        batch.request = {**batch.request, FORM: form.as_json()}
        batch.expires_at = batch.created_at + form.window
    ranges = ranges_of(is_chosen, running.settings.shard_size, batch.seed)
    async with running.db.write() as session:
        await datasets.lock(session, [dataset])
        batch.request = {**batch.request, ALSO_RUNNING: await _rivals(session, batch, authority)}
        await store_new(session, batch, ranges)
        if also is not None:
            await also(session, batch)
    running.wake_workers.set()
    return await find(running, batch.id)


async def _rivals(session: AsyncSession, batch: Batch, authority: Authority) -> list[str]:
    """Return the unfinished batches that ask one of the same judges about the same pairs.

    Scores that both request at the same time are not stored yet, so both pay for them.
    """
    paid = {
        tier.judge.spec.fingerprint
        for tier in authority.tiers
        if not (is_recorded(tier.judge.spec) or tier.judge.spec.is_local)
    }
    return [
        other.id
        for other in await queries.unfinished_of(session, batch.dataset_seq)
        if paid.intersection(other.request.get(FINGERPRINTS, {}).values())
        and _overlap(batch.request["part"], other.request["part"])
    ]


def _overlap(part: Any, other: Any) -> bool:
    """Return whether two parts of a dataset are known to share pairs; None is the whole."""
    return part is None or other is None or part == other


async def chosen_pairs(
    running: Runtime, dataset: Dataset, request: BatchIn, authority: Authority
) -> tuple[BoolArray, Scope]:
    """Return which positions of a dataset a batch covers; its texts are not read.

    Raises:
        Unprocessable: there is no pair to judge.
    """
    member = None
    is_chosen = np.zeros(dataset.pairs, dtype=np.bool_)
    known = 0
    async with running.db.read() as session:
        if request.part is not None:
            groups = await datasets.distinct_groups(session, dataset)
            member = membership(request.part, groups)
        certificate = authority.certificate
        knows = None
        if certificate is not None:
            judges = [tier.judge for tier in authority.tiers]
            knows = await KnownPairs.of(session, certificate.seq, dataset, judges)
        async for key in datasets.scan(session, dataset):
            if key.content_hash is None or not (member is None or member.holds(key.group)):
                continue
            is_chosen[key.position] = True
            known += knows is not None and knows.holds(key)
    if not is_chosen.any():
        raise Unprocessable.field(["dataset"], "it has no pairs with texts to judge in this part")
    return is_chosen, Scope(int(is_chosen.sum()), member, known)
