"""Makes leaderboards: which comparisons count, what they rest on, and where they are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app import cascades, label_sets, slices
from app.datasets import service as datasets
from app.datasets.service import PairKey
from app.errors import NotFound, Unprocessable
from app.identifiers import is_name, shown
from app.judgments.replay import replay_certificate
from app.leaderboards.comparing import (
    Outcomes,
    cascade_outcomes,
    human_outcomes,
    judge_outcomes,
)
from app.leaderboards.schemas import LeaderboardIn, refuse_what_does_not_apply
from app.leaderboards.standings import components_of, standings
from app.lookup import by_public_id
from app.models import Dataset, Leaderboard, new_id
from app.runtime import Runtime
from app.scoring import load_table
from calibration.errors import CalibrationError


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What a leaderboard is made of; `rests_on` says so to the user."""

    keys: Sequence[PairKey]
    outcomes: Outcomes
    rests_on: Mapping[str, Any]


async def create(running: Runtime, request: LeaderboardIn) -> Leaderboard:
    """Rank the models of a dataset and keep the result.

    Raises:
        NotFound: there is no such dataset or certificate.
        Conflict: the certificate has no thresholds, or was made with other judges.
        Unprocessable: the request cannot be honoured; names the field.
    """
    refuse_what_does_not_apply(request)
    async with running.db.read() as session:
        dataset = await datasets.find_dataset(session, request.dataset)
        keys = await datasets.pair_keys(session, dataset, request.part)
        inputs = await _inputs(session, running, request, dataset, keys)
    _refuse_unknown_baseline(request, keys)
    if request.group_by is not None:
        names = slices.slice_names(keys, request.group_by)
        slices.refuse_unknown_field(names, request.group_by, ("body", "group_by"))
    try:
        body = await asyncio.to_thread(standings, inputs.keys, inputs.outcomes, request)
    except CalibrationError as error:
        raise _unprocessable(error) from error
    leaderboard = Leaderboard(
        id=new_id("lb"),
        created_at=running.now(),
        dataset_seq=dataset.seq,
        request=request.model_dump(mode="json"),
        body={**body, "rests_on": {**_of_dataset(dataset), **inputs.rests_on}},
    )
    async with running.db.write() as session:
        session.add(leaderboard)
    return leaderboard


async def find(running: Runtime, leaderboard_id: str) -> Leaderboard:
    """Return a leaderboard.

    Raises:
        NotFound: no leaderboard has this id.
    """
    found = None
    if is_name(leaderboard_id):
        async with running.db.read() as session:
            found = await by_public_id(session, Leaderboard, leaderboard_id)
    if found is None:
        raise NotFound(f"there is no leaderboard {shown(leaderboard_id)}")
    return found


def show(leaderboard: Leaderboard) -> dict[str, Any]:
    """Return a leaderboard as users see it."""
    asked = leaderboard.request
    return {
        "id": leaderboard.id,
        "object": "leaderboard",
        "created_at": leaderboard.created_at.isoformat(),
        **{name: asked[name] for name in asked if name != "control"},
        **leaderboard.body,
    }


async def _inputs(
    session: AsyncSession,
    running: Runtime,
    request: LeaderboardIn,
    dataset: Dataset,
    keys: Sequence[PairKey],
) -> _Inputs:
    if request.source == "human":
        return await _from_people(session, request, dataset, keys)
    if request.judge is not None:
        return await _from_judge(session, running, request, dataset, keys)
    assert request.calibration is not None
    made = await replay_certificate(session, running.registry, request.calibration, dataset, keys)
    outcomes = cascade_outcomes(made.verdicts, made.table, is_soft=request.soft)
    certificate = made.certificate
    rests_on = {
        "calibration": certificate.id,
        "status": certificate.status,
        "fingerprints": certificate.body["fingerprints"],
        "label_set_hash": certificate.label_set_hash,
    }
    return _Inputs(keys, outcomes, rests_on)


async def _from_people(
    session: AsyncSession, request: LeaderboardIn, dataset: Dataset, keys: Sequence[PairKey]
) -> _Inputs:
    votes = await datasets.votes(session, dataset, request.criterion)
    if request.criteria and not votes:
        message = f"no vote in {dataset.name!r} is on {shown(request.criterion)}"
        raise Unprocessable.field(["criteria"], message)
    outcomes = human_outcomes(keys, votes, request.votes)
    return _Inputs(keys, outcomes, {"label_set_hash": label_sets.label_set_hash(keys, votes)})


async def _from_judge(
    session: AsyncSession,
    running: Runtime,
    request: LeaderboardIn,
    dataset: Dataset,
    keys: Sequence[PairKey],
) -> _Inputs:
    assert request.judge is not None
    try:
        judges = await cascades.judges_for(session, running.registry, dataset, [request.judge])
    except Unprocessable as error:
        message = error.errors[0]["msg"]
        raise Unprocessable.field(["source"], message) from error
    table = await load_table(session, dataset, keys, judges)
    fingerprints = {judge.spec.name: judge.spec.fingerprint for judge in judges}
    outcomes = judge_outcomes(table, is_soft=request.soft)
    return _Inputs(keys, outcomes, {"fingerprints": fingerprints})


def _of_dataset(dataset: Dataset) -> dict[str, Any]:
    return {"dataset_id": dataset.id, "dataset_content_hash": dataset.content_hash}


def _refuse_unknown_baseline(request: LeaderboardIn, keys: Sequence[PairKey]) -> None:
    models = {model for key in keys for model in (key.model_a, key.model_b)}
    if request.baseline is not None and request.baseline not in models:
        message = f"{shown(request.baseline)} is not among the models of the dataset"
        raise Unprocessable.field(["baseline"], message)


def _unprocessable(error: CalibrationError) -> Unprocessable:
    components = components_of(error)
    return Unprocessable(
        str(error),
        errors=[{"loc": ["body", "dataset"], "msg": str(error)}],
        extra={"components": components} if components else None,
    )
