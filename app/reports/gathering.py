"""Gathers the data of a report.

Case and punctuation do not matter, so that the judge `GPT-4` wrote the responses of `gpt4`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy.ext.asyncio import AsyncSession

from app.calibrations.inputs import known_groups
from app.calibrations.service import KnownPairs
from app.core.errors import Unprocessable
from app.core.models import Dataset
from app.core.names import shown
from app.datasets import service as datasets
from app.datasets import slices
from app.datasets.records import PairKey
from app.datasets.splits import parse_part
from app.judgments.replay import Replayed, replay_certificate
from app.labels import sets
from app.reports.correlations import CORRELATIONS, Rated, has_scores, rated_of, weights_of
from app.reports.panel import Cascade, Judged, Panel, judged_of, people_of
from app.reports.schemas import AgreementIn
from app.scores.judges import unknown_judge
from app.scores.table import ScoreTable, load_table
from calibration.arrays import BoolArray, IntArray
from calibration.labels import MISSING, A, B
from judges.base import Judge, JudgeHealth, JudgeSpec
from judges.records import recorded_spec
from judges.registry import Registry
from judges.types import FailureKind, JudgeFailure, Pair, Score

Models = frozenset[str]
_NO_LETTER = re.compile(r"[\W_]+")


def own_models(declared: Sequence[str], judges: Sequence[Judge]) -> list[Models]:
    """Return, for each judge, the models whose responses it wrote.

    Args:
        declared: `judge=model`; what the names alone do not tell.
        judges: The judges.

    Raises:
        Unprocessable: a declaration has another form, or names no judge of the report.
    """
    known = {judge.spec.name: {judge.spec.name, judge.spec.model} for judge in judges}
    for text in declared:
        name, separator, model = text.rpartition("=")
        if not separator or name not in known or not model:
            message = f"{shown(text)} is not judge=model with a judge of this report"
            raise Unprocessable(
                f"own: {message}", errors=[{"loc": ["query", "own"], "msg": message}]
            )
        known[name].add(model)
    return [frozenset(_plain(name) for name in names if name) for names in known.values()]


def own_sides(keys: Sequence[PairKey], own: Sequence[Models]) -> IntArray:
    """Return the side that each judge wrote, shape (n, k); `MISSING` for neither or both."""
    sides = np.full((len(keys), len(own)), MISSING, dtype=np.int64)
    plain: dict[str | None, str] = {None: ""}
    for row, key in enumerate(keys):
        for name in (key.model_a, key.model_b):
            if name not in plain:
                plain[name] = _plain(name or "")
        wrote = plain[key.model_a], plain[key.model_b]
        for column, models in enumerate(own):
            is_a, is_b = (name in models for name in wrote)
            if is_a != is_b:
                sides[row, column] = A if is_a else B
    return sides


def _plain(name: str) -> str:
    return _NO_LETTER.sub("", name.casefold())


class RecordsUnderName:
    """Answers with the record of this name and remembers what a table of numbers leaves out.

    A certificate is bound to one fingerprint; a report is not, it names all that it met.
    """

    def __init__(self, name: str) -> None:
        self._spec = recorded_spec(name)
        self.fingerprints: set[str] = set()
        self.flagged: set[str] = set()

    @property
    def spec(self) -> JudgeSpec:
        """The judge's description, with the fingerprints met so far."""
        met = ", ".join(sorted(self.fingerprints))
        return replace(self._spec, certified_fingerprint=met or None)

    async def score(self, pair: Pair) -> Score:
        """Return the pair's record, or a `NOT_RECORDED` failure."""
        record = pair.recorded.get(self._spec.name)
        if record is None:
            failure = JudgeFailure(FailureKind.NOT_RECORDED)
            return Score(self._spec.name, self._spec.fingerprint, p_a=None, failure=failure)
        if record.failure is None:
            self.fingerprints.add(record.fingerprint)
        if "inconsistent" in record.flags:
            self.flagged.add(pair.id)
        return record

    async def health(self) -> JudgeHealth:
        """Return that it is healthy: records are always available."""
        return JudgeHealth(is_ready=True)

    async def aclose(self) -> None:
        """Do nothing: it holds nothing open."""


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """A report's inputs; `fingerprints` of every judge that has scores, by name.

    The panel has no `texts` yet: they are read when it is known that the report is to be made.
    """

    dataset: Dataset
    panel: Panel
    label_set_hash: str
    calibration: str | None
    fingerprints: dict[str, str]
    pair_seqs: tuple[int, ...]


async def gather(session: AsyncSession, registry: Registry, request: AgreementIn) -> Gathered:
    """Read everything that a report needs; asks no judge.

    Raises:
        Unprocessable: a judge, the part or the field to group by is not known.
    """
    part = None if request.part is None else parse_part(request.part)
    dataset = await datasets.find_dataset(session, request.dataset)
    keys = await datasets.pair_keys(session, dataset, part)
    votes = await datasets.votes(session, dataset)
    replayed = None
    if request.calibration is not None:
        replayed = await replay_certificate(session, registry, request.calibration, dataset, keys)
    certified = () if replayed is None else replayed.judges
    judges = _wanted(registry, dataset, request.judges, [j.spec.name for j in certified])
    table = await load_table(session, dataset, keys, judges, with_failures=True)
    if not request.judges:
        judges, table = _with_scores(judges, table, dataset)
    panel = Panel(
        groups=np.array([key.group for key in keys], dtype=object).astype(np.str_),
        people=people_of(keys, votes),
        judged=_judged(keys, judges, table, own_models(request.own, judges)),
        cascade=await _cascade(session, dataset, keys, replayed),
        slices=_slices(keys, request.group_by),
        rated=_rated(keys, table, request),
    )
    return Gathered(
        dataset=dataset,
        panel=panel,
        label_set_hash=sets.label_set_hash(keys, votes),
        calibration=None if replayed is None else replayed.certificate.id,
        fingerprints={j.spec.name: j.spec.fingerprint for j in (*certified, *judges)},
        pair_seqs=tuple(key.seq for key in keys),
    )


def _wanted(
    registry: Registry, dataset: Dataset, asked: Sequence[str], certified: Sequence[str]
) -> list[Judge]:
    """Return the judges asked for; by default recorded, configured and certified ones."""
    known = dict.fromkeys([*dataset.recorded_judges, *registry.judges, *certified])
    names = dict.fromkeys(_split(asked, known)) if asked else known
    for name in names:
        if name not in known:
            message = unknown_judge(name, known, f"in {shown(dataset.name)}")
            raise Unprocessable(
                f"judges: {message}", errors=[{"loc": ["query", "judges"], "msg": message}]
            )
    return [registry.judges.get(name) or RecordsUnderName(name) for name in names]


def _split(asked: Sequence[str], known: Iterable[str]) -> list[str]:
    """Split each text at its commas, unless the whole of it is a judge's name."""
    whole = set(known)
    return [
        name.strip()
        for text in asked
        for name in ([text] if text in whole else text.split(","))
        if name.strip()
    ]


def _with_scores(
    judges: Sequence[Judge], table: ScoreTable, dataset: Dataset
) -> tuple[list[Judge], ScoreTable]:
    """Leave out configured judges that were never asked about these pairs."""
    kept = [
        column
        for column, judge in enumerate(judges)
        if table.is_known[:, column].any() or judge.spec.name in dataset.recorded_judges
    ]
    return [judges[column] for column in kept], table.columns(kept)


def _judged(
    keys: Sequence[PairKey], judges: Sequence[Judge], table: ScoreTable, own: Sequence[Models]
) -> Judged:
    flags = [judge.flagged if isinstance(judge, RecordsUnderName) else set() for judge in judges]
    trained = [judge.spec.training_prompts for judge in judges]
    flagged = [[key.id in ids for ids in flags] for key in keys]
    was_trained = [[key.prompt_hash in prompts for prompts in trained] for key in keys]
    shape = (len(keys), len(judges))
    return judged_of(
        table,
        np.array(flagged, dtype=np.bool_).reshape(shape),
        np.array(was_trained, dtype=np.bool_).reshape(shape),
        own_sides(keys, own),
    )


async def _cascade(
    session: AsyncSession, dataset: Dataset, keys: Sequence[PairKey], replayed: Replayed | None
) -> Cascade | None:
    if replayed is None:
        return None
    verdicts = replayed.verdicts
    answered_by = verdicts.answered_by.astype(np.int64)
    return Cascade(
        names=verdicts.judges,
        answered_by=answered_by,
        label=verdicts.label,
        is_missing=verdicts.is_missing,
        is_excluded=await _excluded(session, dataset, keys, replayed),
        cost=verdicts.cost_usd,
        last_cost=replayed.table.cost_usd[:, -1],
    )


async def _excluded(
    session: AsyncSession, dataset: Dataset, keys: Sequence[PairKey], replayed: Replayed
) -> BoolArray:
    """Mark the pairs that the certificate or its judges know.

    Those are the pairs it was made from, those shown to judges as examples or in training, and all
    others of their groups and prompts.
    """
    shown = [judge.spec.training_prompts | judge.spec.example_prompts for judge in replayed.judges]
    known_to_judges = known_groups(keys, frozenset().union(*shown))
    certified = await KnownPairs.of(session, replayed.certificate.seq, dataset)
    is_known = [certified.holds(key) or key.group in known_to_judges for key in keys]
    return np.array(is_known, dtype=np.bool_)


def _rated(keys: Sequence[PairKey], table: ScoreTable, request: AgreementIn) -> Rated | None:
    """Return scores and ratings where they are asked for, or people scored responses."""
    weights = weights_of(request.criterion)
    if not weights and CORRELATIONS not in request.include and not has_scores(keys):
        return None
    return rated_of(keys, table, weights)


def _slices(keys: Sequence[PairKey], field: str | None) -> npt.NDArray[Any] | None:
    if field is None:
        return None
    names = slices.slice_names(keys, field)
    slices.refuse_unknown_field(names, field, ("query", "group_by"))
    return np.array(names, dtype=object)
