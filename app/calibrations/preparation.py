"""What a calibration stands on, before any judge is asked: pairs, labels, judges, pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from app import cascades, label_uses
from app.calibrations import queries
from app.calibrations.sample import Sample, draw_sample, known_groups
from app.calibrations.schemas import CalibrationIn
from app.datasets import service as datasets
from app.datasets.service import PairKey, Vote
from app.errors import Unprocessable
from app.models import Dataset
from app.parts import group_number
from app.runtime import Runtime
from judges.base import Judge


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that a calibration needs from the database before any judge is asked."""

    dataset: Dataset
    judges: list[Judge]
    sample: Sample
    votes: Mapping[int, Sequence[Vote]]
    pool: list[PairKey]
    pool_dataset: Dataset


async def prepare(running: Runtime, request: CalibrationIn) -> Prepared:
    """Collect what a calibration needs before any judge is asked; asks nobody."""
    names = cascades.judge_names(
        running.registry,
        request.cascade if isinstance(request.cascade, str) else request.cascade.judges,
    )
    async with running.db.read() as session:
        dataset = await datasets.find_dataset(session, request.dataset)
        judges = await cascades.judges_for(session, running.registry, dataset, names)
        everything = await datasets.pair_keys(session, dataset)
        keys = (
            await datasets.pair_keys(session, dataset, request.part) if request.part else everything
        )
        if request.method == "sequential":
            keys = await _in_order_of_labels(session, dataset, keys)
        votes = await datasets.votes(session, dataset)
        sample = draw_sample(keys, votes, judges)
        pool_dataset, pool = await _pool_candidates(session, request, dataset, everything, votes)
    pool = _without_known(pool, sample, judges)
    return Prepared(dataset, judges, sample, votes, pool, pool_dataset)


def hash_of_test(request: CalibrationIn, prepared: Prepared, label_set_hash: str) -> str:
    """Return what makes two requests the same test of the same labels."""
    fingerprints = [judge.spec.fingerprint for judge in prepared.judges]
    return label_uses.request_hash(request.model_dump(mode="json"), fingerprints, label_set_hash)


async def _in_order_of_labels(
    session: AsyncSession, dataset: Dataset, keys: Sequence[PairKey]
) -> list[PairKey]:
    """Put pairs in the order in which their labels came, else in that of their rows.

    A test that is looked at while labels arrive must find every label where it was before.
    """
    moments = await queries.labelled_at(session, dataset.seq)
    labelled = [key for key in keys if key.seq in moments]
    return sorted(labelled, key=lambda key: (moments[key.seq], key.seq))


async def _pool_candidates(
    session: AsyncSession,
    request: CalibrationIn,
    dataset: Dataset,
    everything: Sequence[PairKey],
    votes: Mapping[int, Sequence[Vote]],
) -> tuple[Dataset, list[PairKey]]:
    """Return unlabelled pairs that may fix where the test starts."""
    if request.pool is not None and request.method == "sequential":
        raise Unprocessable.field(
            ["pool"], "sequential may be repeated, and a pool that changes would move its start"
        )
    if request.pool is not None:
        other = await datasets.find_dataset(session, request.pool)
        return other, await datasets.pair_keys(session, other)
    if request.method == "sequential":
        # what is unlabelled now may be labelled at the next look, and the start must not move
        return dataset, []
    if request.part is not None:
        return dataset, await datasets.pair_keys(session, dataset, request.part.other)
    return dataset, [key for key in everything if not votes.get(key.seq)]


def _without_known(
    pool: Sequence[PairKey], sample: Sample, judges: Sequence[Judge]
) -> list[PairKey]:
    """Leave out what shares a group or prompt with the sample, or is known to a judge."""
    groups = {key.group for key in sample.keys}
    prompts = {key.prompt_hash for key in sample.keys}
    known = known_groups(
        pool, frozenset().union(*(j.spec.training_prompts | j.spec.example_prompts for j in judges))
    )
    kept = [
        key
        for key in pool
        if key.content_hash and key.group not in groups | known and key.prompt_hash not in prompts
    ]
    kept.sort(key=lambda key: group_number(0, f"{key.group}\n{key.id}"))
    return kept
