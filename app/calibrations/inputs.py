"""Turns pairs, labels and scores into the arrays that a certification takes.

Groups that a judge was trained on, or that it shows as few-shot examples, are left out and counted:
its confidence there does not carry over to new pairs.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from sqlalchemy.ext.asyncio import AsyncSession

from app.calibrations.draws import PROBABILITY, labels_that_count, with_probability
from app.calibrations.schemas import OF_ITS_LIFE, CalibrationIn, refuse_misplaced_traffic
from app.core.errors import Unprocessable
from app.core.models import Dataset
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.datasets.records import PairKey, Vote
from app.datasets.slices import refuse_many, refuse_unknown_field, slice_names
from app.datasets.splits import group_number
from app.labels import sets
from app.scores import judges as cascades
from app.scores.table import ScoreTable
from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.certify import FirstVotes, Pairs
from calibration.labels import A, B
from calibration.preference import Correctness, TieRule, correctness, preference
from calibration.stack import Columns
from judges.base import Judge

_COLUMN = {"a": 0, "b": 1, "tie": 2}


@dataclass(frozen=True, slots=True)
class Sample:
    """Labelled pairs that may calibrate.

    `counts` (n, 3) are their votes for a, b and tie, `first` (n, 3) the first votes in the order in
    which they came: 1 for a, 0 for b, .5 for a tie, NaN where there is none.
    """

    keys: tuple[PairKey, ...]
    counts: IntArray
    seen_in_training: int
    held_for_examples: int
    unlabelled: int
    first: FloatArray | None = None

    def rows(self, chosen: IntArray) -> Sample:
        """Return the sample of some of its pairs."""
        return replace(
            self,
            keys=tuple(self.keys[row] for row in chosen.tolist()),
            counts=self.counts[chosen],
            first=None if self.first is None else self.first[chosen],
        )


def known_groups(keys: Sequence[PairKey], prompts: frozenset[str]) -> frozenset[str]:
    """Return the groups that hold at least one of these prompts."""
    return frozenset(key.group for key in keys if key.prompt_hash in prompts)


def draw_sample(
    keys: Sequence[PairKey],
    votes: Mapping[int, Sequence[Vote]],
    judges: Sequence[Judge],
    everything: Sequence[PairKey] | None = None,
) -> Sample:
    """Choose the pairs that may calibrate these judges.

    A judge knows a group by any of its pairs, among `everything`, which is `keys` by default.
    """
    among = keys if everything is None else everything
    trained = known_groups(among, _union(judge.spec.training_prompts for judge in judges))
    shown = known_groups(among, _union(judge.spec.example_prompts for judge in judges))
    left_out: Counter[str] = Counter()
    kept = []
    for key in keys:
        if key.content_hash is None or not votes.get(key.seq):
            left_out["unlabelled"] += 1
        elif key.group in trained:
            left_out["trained"] += 1
        elif key.group in shown:
            left_out["shown"] += 1
        else:
            kept.append(with_probability(key, votes[key.seq]))
    return Sample(
        keys=tuple(kept),
        counts=vote_counts(kept, votes),
        seen_in_training=left_out["trained"],
        held_for_examples=left_out["shown"],
        unlabelled=left_out["unlabelled"],
        first=first_votes(kept, votes),
    )


def vote_counts(keys: Sequence[PairKey], votes: Mapping[int, Sequence[Vote]]) -> IntArray:
    """Return how many people said a, b and tie of each pair, shape (n, 3)."""
    counts = np.zeros((len(keys), 3), dtype=np.int64)
    for row, key in enumerate(keys):
        for vote in votes.get(key.seq, ()):
            counts[row, _COLUMN[vote.label]] += 1
    return counts


_OUTCOME = {"a": 1.0, "b": 0.0, "tie": 0.5}


def first_votes(keys: Sequence[PairKey], votes: Mapping[int, Sequence[Vote]]) -> FloatArray:
    """Return the first votes of three different people, as far as people are named."""
    first = np.full((len(keys), 3), np.nan)
    for row, key in enumerate(keys):
        said: dict[str | int, Vote] = {}
        for number, vote in enumerate(votes.get(key.seq, ())):
            said.setdefault(number if vote.annotator is None else vote.annotator, vote)
        for place, vote in enumerate(list(said.values())[:3]):
            first[row, place] = _OUTCOME[vote.label]
    return first


def _union(sets: Sequence[frozenset[str]] | object) -> frozenset[str]:
    return frozenset().union(*sets)  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that a calibration needs from the database before any judge is asked."""

    dataset: Dataset
    judges: list[Judge]
    sample: Sample
    votes: Mapping[int, Sequence[Vote]]
    pool: list[PairKey]
    pool_dataset: Dataset

    @property
    def fingerprints(self) -> list[str]:
        """Those of the judges."""
        return [judge.spec.fingerprint for judge in self.judges]


async def prepare(running: Runtime, request: CalibrationIn) -> Prepared:
    """Collect all that a calibration needs before any judge is asked.

    Raises:
        Unprocessable: what is asked does not go together.
    """
    refuse_misplaced_traffic(request)
    names = cascades.judge_names(running.registry, request.cascade)
    async with running.db.read() as session:
        dataset = await datasets.find_dataset(session, request.dataset)
        judges = await cascades.judges_for(session, running.registry, dataset, names)
        everything = await datasets.pair_keys(session, dataset)
        own = (
            await datasets.pair_keys(session, dataset, request.part) if request.part else everything
        )
        keys, votes = await labels_that_count(session, request, dataset, own)
        sample = draw_sample(keys, votes, judges, everything)
        pool_dataset, pool = await _pool_candidates(session, request, dataset, everything, votes)
    if request.slices is not None:
        values = slice_names(sample.keys, request.slices)
        refuse_many(values, running.settings.limits, ("body", "slices"))
    pool = _without_known(pool, sample, judges)
    return Prepared(dataset, judges, sample, votes, pool, pool_dataset)


def hash_of_test(
    request: CalibrationIn,
    fingerprints: Sequence[str],
    label_set_hash: str,
    scores: str,
    others: str | None = None,
) -> str:
    """Return a hash that is equal for two requests that test the same labels in the same way.

    Two hashes that differ make two tests of the labels, so what may tell another result goes in.
    Scores do: those that came with a dataset can change while their judge's fingerprint stays. Other
    pairs do: they say where a test starts, or how often a labelled pair counts. Tests from before
    these went in count beside the new ones: more tests than there were promise less.

    Args:
        request: What is certified.
        fingerprints: Of the judges, from cheap to strong.
        label_set_hash: Hash of the labels.
        scores: Hash of what the judges said, see `hash_of_scores`.
        others: Hash of the pool and the traffic, see `evidence.hash_of_others`; None without them.
    """
    asked = request.model_dump(mode="json")
    asked["scores"] = scores
    if others is not None:
        # as the labels do for their dataset, what is in it stands for its name
        asked |= {"pool": None, "traffic": None, "others": others}
    # a field with its default value asks for the same as before the field existed
    if request.max_shift == 1.0:
        del asked["max_shift"]
    for name in ("traffic", "traffic_features", "max_ratio"):
        if asked[name] is None:
            del asked[name]
    for name in OF_ITS_LIFE:
        asked.pop(name, None)
    if columns_of(request, len(fingerprints)) == "stacked":
        asked["columns"] = "stacked"
        # `auto` without margins, as it once was and still is for whole datasets, is another test
        if "auto" in request.methods and request.scope == "answered":
            asked["margins"] = "pool"
    return sets.request_hash(asked, fingerprints, label_set_hash)


def hash_of_scores(evidence: CalibrationInputs) -> str:
    """Return a hash of what the judges said of the labelled pairs; their order does not matter."""
    names = [key.content_hash or "" for key in evidence.keys]
    order = evidence.by_content
    digest = hashlib.sha256("\n".join(names[row] for row in order).encode("ascii"))
    digest.update(as_hashed(evidence.p_a)[order].tobytes())
    return digest.hexdigest()


def as_hashed(numbers: FloatArray) -> FloatArray:
    """Return numbers with the same bytes wherever they are as good as equal."""
    # a file keeps fewer digits than an array, and there is more than one NaN and zero
    rounded = np.round(numbers, 9) + 0.0
    rounded[np.isnan(rounded)] = np.nan
    return rounded.astype("<f8")


def columns_of(request: CalibrationIn, n_judges: int) -> Columns:
    """Return how the main paths of a request hear its judges."""
    is_stacked = {"auto", "weighted"}.intersection(request.methods) and request.ties != "class"
    return "stacked" if is_stacked and n_judges > 1 else "raw"


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
    if request.method == "weighted" and request.traffic is not None:
        # the traffic itself decides where the test starts
        return dataset, []
    if request.method == "sequential":
        # an unlabelled pair may have a label at the next look, and the start must not move
        return dataset, []
    if request.part is not None:
        return dataset, await datasets.pair_keys(session, dataset, request.part.other)
    return dataset, [key for key in everything if not votes.get(key.seq)]


def _without_known(
    pool: Sequence[PairKey], sample: Sample, judges: Sequence[Judge]
) -> list[PairKey]:
    """Leave out pairs that share a group or prompt with the sample, or that a judge knows."""
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


@dataclass(frozen=True, slots=True)
class Every:
    """What judges say of all labelled pairs with scores, those that the label rule leaves out too."""

    confidence: FloatArray
    p_a: FloatArray
    p_tie: FloatArray
    slices: npt.NDArray[np.str_] | None
    groups: int


@dataclass(frozen=True, slots=True)
class CalibrationInputs:
    """The arrays that a certificate is made from.

    `confidence` and `correct` are (n, k), NaN where a judge failed or has no preference; `p_a` and
    `p_tie` (n, k) are the probabilities behind them, and `agreement` (n, 2) says how far people
    agree with the verdict a, and with b; `groups`
    (n,) numbers the units of exchangeability; `weights` (n,) are 1 / P(labelled), None if equal;
    `exposure` (n,) is the share of each pair's labels that the promise is about; `costs` (k,) are
    mean USD a pair, None where a judge's price is unknown; `has_failed` and `manner` (n, k) say
    where judges failed and how they answered; `voted` are all pairs with votes of a panel, also those
    on which two votes differ, which are in no other array but those of `every`.
    """

    keys: tuple[PairKey, ...]
    confidence: FloatArray
    correct: FloatArray
    p_a: FloatArray
    p_tie: FloatArray
    agreement: FloatArray
    groups: npt.NDArray[np.intp]
    weights: FloatArray | None
    exposure: FloatArray
    slices: npt.NDArray[np.str_] | None
    costs: tuple[float | None, ...]
    undecided: int
    tied: int
    has_failed: BoolArray
    manner: npt.NDArray[np.object_]
    every: Every
    voted: Pairs | None = None

    @property
    def pairs(self) -> Pairs:
        """The labelled pairs by what the judges prefer."""
        return Pairs(
            self.p_a,
            self.agreement,
            self.p_tie,
            self.groups,
            self.weights,
            self.slices,
            self.exposure,
        )

    @property
    def by_content(self) -> list[int]:
        """The rows in the order of their texts, which is the same wherever they are imported."""
        return sorted(range(len(self.keys)), key=lambda row: self.keys[row].content_hash or "")

    @property
    def prompts_in_several_groups(self) -> int:
        """Return the prompts that occur in several groups, although groups count as independent."""
        groups: dict[str | None, set[str]] = {}
        for key in self.keys:
            groups.setdefault(key.prompt_hash, set()).add(key.group)
        return sum(len(own) > 1 for prompt, own in groups.items() if prompt)


def gather(request: CalibrationIn, sample: Sample, table: ScoreTable) -> CalibrationInputs:
    """Turn a sample and its scores into arrays; leave out pairs the label rule cannot use.

    Raises:
        Unprocessable: label probabilities differ and no lower bound on them was declared.
    """
    labels, confidence = opinions(table, request.ties)
    counts, voted = sample.counts, None
    if request.label_rule == "panel":
        counts, voted = _by_panel(request, sample, table)
    agreed = _agreed(request, labels, counts)
    kept = np.flatnonzero(agreed.counts)
    if not kept.size:
        raise Unprocessable.field(["dataset"], _nothing_left(sample, agreed, voted))
    keys = tuple(sample.keys[i] for i in kept)
    return CalibrationInputs(
        keys=keys,
        confidence=confidence[kept],
        correct=agreed.agreement[kept],
        p_a=table.p_a[kept],
        p_tie=table.p_tie[kept],
        agreement=_of_both_sides(request, counts[kept]),
        groups=np.unique([key.group for key in keys], return_inverse=True)[1].astype(np.intp),
        weights=_weights(request, keys),
        exposure=agreed.exposure[kept],
        slices=_slices(request, keys),
        costs=mean_costs(table),
        undecided=agreed.undecided,
        tied=agreed.tied,
        has_failed=np.isnan(table.p_a[kept]),
        manner=table.manner[kept],
        every=Every(
            confidence,
            table.p_a,
            table.p_tie,
            _slices(request, sample.keys),
            len({key.group for key in sample.keys}),
        ),
        voted=voted,
    )


def _nothing_left(sample: Sample, agreed: Correctness, voted: Pairs | None) -> str:
    """Say why no pair can calibrate."""
    single = 0
    if voted is not None and voted.votes is not None:
        single = FirstVotes.of(voted.votes).figures.one_vote
    reasons = {
        "without label or text": sample.unlabelled,
        "without a majority": agreed.undecided,
        "ties, which another rule for ties would count": agreed.tied,
        "with one vote where a panel needs two": single,
        "known to a judge from its training": sample.seen_in_training,
        "held for few-shot examples": sample.held_for_examples,
    }
    said = [f"{count} {what}" for what, count in reasons.items() if count]
    if not said or (not sample.keys and len(said) == 1 and sample.unlabelled):
        return (
            f"none of its {sample.unlabelled} pairs has a label of people (and texts) that can calibrate; "
            "labels of audits were asked for by verdicts, and cannot: label some first"
        )
    return f"no pair is left to calibrate on: {', '.join(said)}"


def _agreed(request: CalibrationIn, labels: IntArray, counts: IntArray) -> Correctness:
    rule = "majority" if request.label_rule == "panel" else request.label_rule
    return correctness(labels, counts, label_rule=rule, ties=request.ties)


def _by_panel(request: CalibrationIn, sample: Sample, table: ScoreTable) -> tuple[IntArray, Pairs]:
    """Return the first two votes of each pair as counts, none where there is one only, and all pairs.

    A tie among the two leaves the pair out, as one that people do not decide.
    """
    assert sample.first is not None
    read = FirstVotes.of(sample.first)
    for_a = np.where(read.is_usable, read.votes[:, :2].sum(axis=1), 0).astype(np.int64)
    is_tied = (read.votes[:, :2] == 0.5).any(axis=1)
    counts = np.column_stack([for_a, np.where(read.is_usable, 2 - for_a, 0), is_tied])
    agreement = np.full((len(counts), 2), 0.5)
    groups = np.unique([key.group for key in sample.keys], return_inverse=True)[1].astype(np.intp)
    weights, slices = _weights(request, sample.keys), _slices(request, sample.keys)
    voted = Pairs(table.p_a, agreement, table.p_tie, groups, weights, slices, votes=read.votes)
    return counts.astype(np.int64), voted


def _of_both_sides(request: CalibrationIn, counts: IntArray) -> FloatArray:
    """Return how far people agree with the verdict a, and with b, shape (n, 2)."""
    sides = np.tile([A, B], (len(counts), 1))
    return _agreed(request, sides, counts).agreement


def opinions(table: ScoreTable, ties: TieRule) -> tuple[IntArray, FloatArray]:
    """Return every judge's label code and confidence on every pair, both (n, k)."""
    said = preference(table.p_a, table.p_tie, ties=ties)
    return said.label, said.confidence


def mean_costs(table: ScoreTable) -> tuple[float | None, ...]:
    """Return what asking each judge once costs on average, None where no price is known."""
    return tuple(
        float(np.nanmean(column)) if np.isfinite(column).any() else None
        for column in table.cost_usd.T
    )


def _weights(request: CalibrationIn, keys: Sequence[PairKey]) -> FloatArray | None:
    given = [key.metadata.get(PROBABILITY, 1.0) for key in keys]
    if any(isinstance(p, bool) or not isinstance(p, int | float) or not 0 < p <= 1 for p in given):
        raise Unprocessable.field(
            ["dataset"], "metadata.label_probability must lie between 0 and 1 on every pair"
        )
    probability = np.array(given, dtype=float)
    if len(probability) == 0:
        return None
    if request.min_label_probability is None:
        if np.ptp(probability) == 0:
            return None
        raise Unprocessable.field(
            ["min_label_probability"],
            "the pairs' label probabilities differ: declare a lower bound that was fixed before "
            "the labels were seen",
        )
    return 1.0 / probability


def _slices(request: CalibrationIn, keys: Sequence[PairKey]) -> npt.NDArray[np.str_] | None:
    if request.slices is None:
        return None
    names = slice_names(keys, request.slices)
    refuse_unknown_field(names, request.slices, ("body", "slices"))
    return np.array([name or "" for name in names], dtype=str)
