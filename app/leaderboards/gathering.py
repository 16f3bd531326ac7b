"""Gathers what a leaderboard is made from: pairs, votes, scores or certified verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.batches import service as batches
from app.calibrations.inputs import known_groups
from app.calibrations.service import KnownPairs
from app.calibrations.stored import labels_changed
from app.core.errors import Conflict, Unprocessable
from app.core.models import Dataset
from app.core.names import shown
from app.datasets import service as datasets
from app.datasets.records import PairKey, Vote
from app.judgments.authority import promises
from app.judgments.replay import Replayed, replay_certificate, suspension_of
from app.labels import sets
from app.leaderboards import outcomes
from app.leaderboards.outcomes import (
    Labelled,
    Outcomes,
    cascade_outcomes,
    human_outcomes,
    judge_first,
    judge_outcomes,
    label_first,
    labelled,
)
from app.leaderboards.schemas import LeaderboardIn
from app.scores import judges
from app.scores.table import ScoreTable, load_table
from calibration.ranking import Covariates
from judges.base import Judge
from judges.registry import Registry


@dataclass(frozen=True, slots=True)
class Promise:
    """The promise of verdicts: `certified`, or `suspended` or `none` with the reason."""

    state: str
    because: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """A certificate's verdicts as comparisons."""

    outcomes: Outcomes
    promise: Promise
    rests_on: Mapping[str, Any]


async def verdicts(
    session: AsyncSession,
    registry: Registry,
    request: LeaderboardIn,
    dataset: Dataset,
    keys: Sequence[PairKey],
) -> Verdicts:
    """Replay a certificate; leave out the pairs it knows if verdicts are certified or corrected.

    The labels that a certificate was made from chose its thresholds, so they cannot correct its
    verdicts; and its promise is for other pairs than those.

    Raises:
        Conflict: the certificate has no thresholds, was made with other judges, or does not hold
            although only certified verdicts are asked for.
    """
    assert request.calibration is not None
    made = await replay_certificate(session, registry, request.calibration, dataset, keys)
    promise = await _promise(session, dataset, made)
    if request.certified_only and promise.state != "certified":
        raise Conflict(
            f"certified_only: the verdicts of {made.certificate.id} carry no promise now: "
            f"{promise.because}",
            extra={"promise": promise.state, "suspended_because": promise.because},
        )
    outcomes = cascade_outcomes(made.verdicts, made.table, is_soft=request.soft)
    is_known = await _known(session, dataset, keys, made)
    if request.certified_only or request.is_powered:
        outcomes = outcomes.without(is_known, "calibration_pair")
    certificate = made.certificate
    rests_on = {
        "calibration": certificate.id,
        "status": certificate.status,
        "target_agreement": certificate.body.get("target_agreement"),
        "fingerprints": certificate.body["fingerprints"],
        "label_set_hash": certificate.label_set_hash,
        "certificate_label_set_hash": certificate.label_set_hash,
        "labels_changed": await labels_changed(session, certificate),
        "known_to_certificate": int(is_known.sum()),
        # verdicts that are counted although the promise is for other pairs
        "calibration_pairs": int(np.count_nonzero(is_known[outcomes.row])),
    }
    return Verdicts(outcomes, promise, rests_on)


def known_pairs_note(rests_on: Mapping[str, Any]) -> str | None:
    """Return a note on the pairs that the certificate knows: counted, or left out."""
    known, counted = (
        rests_on.get(name, 0) for name in ("known_to_certificate", "calibration_pairs")
    )
    if counted:
        return (
            f"{counted} of these verdicts are on pairs that the certificate knows, because it was "
            "made from them or from others of their groups or prompts: its promise is for other "
            "pairs (ask for certified verdicts only, or for the other part of the dataset, and they are "
            "left out)"
        )
    if known:
        return f"{known} pairs that the certificate knows are left out: its promise is for others"
    return None


def no_preference_note(rests_on: Mapping[str, Any]) -> str | None:
    """Return a note on the verdicts that are ties here, and abstentions of a batch."""
    n = rests_on.get("no_preference", 0)
    if not n:
        return None
    return (
        f"on {n} of these pairs the judge has no preference: they are ties here, while a batch "
        "abstains on them"
    )


async def _promise(session: AsyncSession, dataset: Dataset, made: Replayed) -> Promise:
    if not promises(made.certificate):
        return Promise("none", f"its status is {made.certificate.status}")
    suspended = await batches.suspension(session, dataset, made.certificate)
    if suspended is not None:
        return Promise("suspended", f"batch {suspended[0]}: {suspended[1]}")
    why = suspension_of(made)
    return Promise("suspended" if why else "certified", why)


async def _known(
    session: AsyncSession, dataset: Dataset, keys: Sequence[PairKey], made: Replayed
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Mark the pairs that the certificate was made from or its judges learnt from, by group."""
    shown = [judge.spec.training_prompts | judge.spec.example_prompts for judge in made.judges]
    groups = known_groups(keys, frozenset().union(*shown))
    certified = await KnownPairs.of(session, made.certificate.seq, dataset)
    return np.array([certified.holds(key) or key.group in groups for key in keys], dtype=np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """The inputs of a leaderboard.

    Attributes:
        keys: The pairs in scope.
        outcomes: Results by criterion.
        labelled: What people said, where verdicts are to be corrected by it.
        covariates: What is controlled for, of each pair.
        promise: What the verdicts promise; None where there is no certificate.
        rests_on: Says so to the user.
    """

    keys: Sequence[PairKey]
    outcomes: Mapping[str, Outcomes]
    labelled: Labelled | None = None
    covariates: Covariates | None = None
    promise: Promise | None = None
    rests_on: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gatherer:
    """Reads inputs inside one transaction; labels as they were at `as_of`, None for now."""

    session: AsyncSession
    registry: Registry
    request: LeaderboardIn
    dataset: Dataset
    as_of: datetime | None = None

    async def gather(self) -> Inputs:
        """Read the pairs, votes, scores and verdicts that the request needs."""
        keys = await datasets.pair_keys(self.session, self.dataset, self.request.part)
        if self.request.control:
            outcomes.refuse_battles(keys)
        made = await self._by_source(keys)
        rests_on = {
            "dataset_id": self.dataset.id,
            "dataset": self.dataset.name,
            "dataset_content_hash": self.dataset.content_hash,
            **made.rests_on,
        }
        return Inputs(
            keys, made.outcomes, made.labelled, await self._covariates(keys), made.promise, rests_on
        )

    async def _covariates(self, keys: Sequence[PairKey]) -> Covariates | None:
        control = self.request.control
        if not control:
            return None
        return await outcomes.covariates(self.session, self.dataset, keys, control)

    async def _by_source(self, keys: Sequence[PairKey]) -> Inputs:
        if self.request.source == "human":
            return await self._from_people(keys)
        if self.request.own_judge is not None:
            return await self._from_judges(keys, self.request.own_judge)
        if self.request.calibration is None:
            return await self._corrected(await self._from_judges(keys, self._judge_to_correct()))
        found = await verdicts(self.session, self.registry, self.request, self.dataset, keys)
        made = Inputs(keys, {"overall": found.outcomes}, None, None, found.promise, found.rests_on)
        return await self._corrected(made) if self.request.is_powered else made

    def _judge_to_correct(self) -> str:
        """Return the named judge, or else the only recorded one."""
        recorded = self.dataset.recorded_judges
        if self.request.judge is not None:
            return self.request.judge
        if len(recorded) != 1:
            listed = ", ".join(recorded[:20]) or "none"
            message = (
                "prediction_powered needs a judge, or a certificate as calibration; recorded in "
                f"{self.dataset.name!r}: {listed}"
            )
            raise Unprocessable.field(["judge"], message)
        return recorded[0]

    async def _from_people(self, keys: Sequence[PairKey]) -> Inputs:
        votes = await self._votes()
        if keys and not any(votes.values()):
            raise Unprocessable.field(["source"], self._unlabelled(keys))
        rule = self.request.votes
        outcomes = {name: human_outcomes(keys, cast, rule) for name, cast in votes.items()}
        return Inputs(keys, outcomes, rests_on=_labels(keys, votes))

    def _unlabelled(self, keys: Sequence[PairKey]) -> str:
        """Say that there are no labels, and how a judge can rank instead."""
        name = self.dataset.name
        said = f"no pair of {shown(name)} has a label. {label_first(name)}"
        recorded = self.dataset.recorded_judges
        judge = recorded[0] if recorded else self.registry.cascades["default"][0]
        rank = f'rank by a judge: --source judge:{judge} ("source": "judge:{judge}")'
        if recorded:
            return f"{said}. Or {rank}"
        if all(key.content_hash is None for key in keys):
            return f"{said}. They have no texts that a judge could read"
        return f"{said}. Or {rank}. {judge_first(name)}"

    async def _votes(self) -> dict[str, dict[int, list[Vote]]]:
        """Return votes by criterion and pair."""
        found = {}
        for name in self.request.weights:
            votes = await datasets.votes(self.session, self.dataset, name, self.as_of)
            if self.request.criteria and not votes:
                message = f"no vote in {self.dataset.name!r} is on {shown(name)}"
                raise Unprocessable.field(["criteria"], message)
            found[name] = votes
        return found

    async def _from_judges(self, keys: Sequence[PairKey], judge: str) -> Inputs:
        """Read the scores of a judge, or of one for each criterion."""
        # corrected scores are the judge's own, whatever the criterion of the labels
        by_criterion = {
            name: f"{judge}/{name}"
            if self.request.criteria and not self.request.is_powered
            else judge
            for name in self.request.weights
        }
        judges = await self._judges(list(by_criterion.values()))
        table = await load_table(self.session, self.dataset, keys, judges)
        outcomes = {
            name: self._outcomes(keys, judges[column], table.columns([column]))
            for column, name in enumerate(by_criterion)
        }
        fingerprints = {one.spec.name: one.spec.fingerprint for one in judges}
        no_preference = sum(one.no_preference for one in outcomes.values())
        rests_on = {"fingerprints": fingerprints, "no_preference": no_preference}
        return Inputs(keys, outcomes, rests_on=rests_on)

    def _outcomes(self, keys: Sequence[PairKey], judge: Judge, table: ScoreTable) -> Outcomes:
        outcomes = judge_outcomes(table, is_soft=self.request.soft)
        if not self.request.is_powered:
            return outcomes
        # the labels that a judge learnt from cannot correct it
        prompts = judge.spec.training_prompts | judge.spec.example_prompts
        known = known_groups(keys, prompts)
        is_known: list[Any] = [key.group in known for key in keys]
        return outcomes.without(np.array(is_known, dtype=np.bool_), "known_to_judge")

    async def _judges(self, names: Sequence[str]) -> list[Judge]:
        try:
            return await judges.judges_for(self.session, self.registry, self.dataset, names)
        except Unprocessable as error:
            field_name = "judge" if self.request.is_powered else "source"
            raise Unprocessable.field([field_name], error.errors[0]["msg"]) from error

    async def _corrected(self, made: Inputs) -> Inputs:
        votes = await self._votes()
        (cast,) = votes.values()
        rests_on = {**made.rests_on, **_labels(made.keys, votes)}
        found = labelled(made.keys, cast, self.request.votes)
        (outcomes,) = made.outcomes.values()
        return Inputs(
            made.keys, {"overall": outcomes}, found, promise=made.promise, rests_on=rests_on
        )


def _labels(
    keys: Sequence[PairKey], votes: Mapping[str, Mapping[int, Sequence[Vote]]]
) -> dict[str, Any]:
    """Return what identifies the labels: one hash over all criteria, and their number."""
    joined: dict[int, list[Vote]] = {}
    for cast in votes.values():
        for seq, some in cast.items():
            joined.setdefault(seq, []).extend(some)
    n = sum(len(joined.get(key.seq, ())) for key in keys)
    return {"label_set_hash": sets.label_set_hash(keys, joined), "labels": n}
