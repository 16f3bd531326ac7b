"""Collects what a leaderboard is made from: pairs, votes, stored scores, verdicts. Asks no judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app import cascades, label_sets
from app.calibrations.sample import known_groups
from app.datasets import service as datasets
from app.datasets.service import PairKey, Vote
from app.errors import Unprocessable
from app.identifiers import shown
from app.leaderboards import certified, style
from app.leaderboards.certified import Promise
from app.leaderboards.comparing import (
    Labelled,
    Outcomes,
    human_outcomes,
    judge_outcomes,
    labelled,
)
from app.leaderboards.schemas import LeaderboardIn
from app.models import Dataset
from app.scoring import ScoreTable, load_table
from calibration.ranking import Covariates
from judges.base import Judge
from judges.registry import Registry


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What a leaderboard is made of.

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
        """Read everything.

        Raises:
            NotFound: no certificate has this id.
            Conflict: the certificate has no thresholds, was made with other judges, or does not
                hold although only certified verdicts are asked for.
            Unprocessable: the request cannot be honoured; names the field.
        """
        keys = await datasets.pair_keys(self.session, self.dataset, self.request.part)
        if self.request.control:
            style.refuse_battles(keys)
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
        return await style.covariates(self.session, self.dataset, keys, control)

    async def _by_source(self, keys: Sequence[PairKey]) -> Inputs:
        if self.request.source == "human":
            return await self._from_people(keys)
        if self.request.own_judge is not None:
            return await self._from_judges(keys, self.request.own_judge)
        if self.request.calibration is None:
            return await self._corrected(await self._from_judges(keys, self._judge_to_correct()))
        found = await certified.verdicts(
            self.session, self.registry, self.request, self.dataset, keys
        )
        made = Inputs(keys, {"overall": found.outcomes}, None, None, found.promise, found.rests_on)
        return await self._corrected(made) if self.request.is_powered else made

    def _judge_to_correct(self) -> str:
        """Return the judge that is named, else the only one that is recorded."""
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
        rule = self.request.votes
        outcomes = {name: human_outcomes(keys, cast, rule) for name, cast in votes.items()}
        return Inputs(keys, outcomes, rests_on=_labels(keys, votes))

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
        # corrected scores are those of the judge itself, whatever criterion the labels are of
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
        return Inputs(keys, outcomes, rests_on={"fingerprints": fingerprints})

    def _outcomes(self, keys: Sequence[PairKey], judge: Judge, table: ScoreTable) -> Outcomes:
        outcomes = judge_outcomes(table, is_soft=self.request.soft)
        if not self.request.is_powered:
            return outcomes
        # what a judge learnt from people's answers cannot be held against the same answers
        prompts = judge.spec.training_prompts | judge.spec.example_prompts
        known = known_groups(keys, prompts)
        is_known: list[Any] = [key.group in known for key in keys]
        return outcomes.without(np.array(is_known, dtype=np.bool_), "known_to_judge")

    async def _judges(self, names: Sequence[str]) -> list[Judge]:
        try:
            return await cascades.judges_for(self.session, self.registry, self.dataset, names)
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
    """Say which labels these are: one hash over all criteria."""
    joined: dict[int, list[Vote]] = {}
    for cast in votes.values():
        for seq, some in cast.items():
            joined.setdefault(seq, []).extend(some)
    n = sum(len(joined.get(key.seq, ())) for key in keys)
    return {"label_set_hash": label_sets.label_set_hash(keys, joined), "labels": n}
