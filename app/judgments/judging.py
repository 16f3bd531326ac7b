"""Runs a cascade over pairs, using stored scores first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from app.core.runtime import Runtime
from app.judgments.authority import Authority
from app.judgments.reasons import Explained, Explainer
from app.scores.store import (
    KeptScores,
    Payer,
    ScoreKey,
    StoredScore,
    is_recorded,
    score_key,
    scores_at_hand,
)
from judges.base import Judge
from judges.cascade import CascadeVerdict, Pause, Status, judge_stream
from judges.openai.later import Desk, answers_may_wait
from judges.reasons import Reason
from judges.types import Pair, Score


# tuples are made faster than frozen dataclasses, and batches make very many
class Subject(NamedTuple):
    """A pair to judge, its content hashes, and the metadata that decides its slice."""

    pair: Pair
    content_hash: str
    swapped_hash: str
    metadata: Mapping[str, Any] = MappingProxyType({})

    @classmethod
    def of(cls, pair: Pair, metadata: Mapping[str, Any]) -> Subject:
        """Return the subject of a pair, and compute its hashes."""
        return cls(pair, pair.content_hash, pair.swapped().content_hash, metadata)


class Judged(NamedTuple):
    """A pair, its verdict, and the scores that were obtained for it, with their keys.

    `fresh` are to be stored; `obtained` are those and what an earlier attempt at the same shard
    obtained and stored already. `explained` is the reason, where one is to be read. `counted` are
    those that were obtained before the batch was retried: what they cost counts already.
    """

    subject: Subject
    verdict: CascadeVerdict
    fresh: list[tuple[ScoreKey, Score]]
    obtained: list[tuple[ScoreKey, Score]]
    explained: Explained | None = None
    counted: tuple[Score, ...] = ()

    @property
    def uncounted(self) -> list[Score]:
        """The scores that were obtained and whose cost is to be counted."""
        return [
            score for _, score in self.obtained if not any(score is one for one in self.counted)
        ]

    @property
    def uncounted_reasons(self) -> list[Reason]:
        """The reason that this run pays for, where its cost is to be counted."""
        one = self.explained
        return [one.reason] if one and one.is_own and not one.is_counted else []

    @property
    def pair(self) -> Pair:
        """The pair."""
        return self.subject.pair

    @property
    def fresh_reasons(self) -> list[tuple[str, Reason]]:
        """The reason that is to be stored, if there is one, with the content hash of its pair."""
        one = self.explained
        return [(self.subject.content_hash, one.reason)] if one and one.is_fresh else []

    @property
    def paid_reason(self) -> Reason | None:
        """The reason that this run pays for."""
        return self.explained.reason if self.explained and self.explained.is_own else None

    @property
    def explained_by(self) -> str | None:
        """The fingerprint of the judge that gave a reason, or was to give one."""
        return self.explained.reason.fingerprint if self.explained else None


Take = Callable[[Judged], Awaitable[None]]
# obtained by an earlier attempt, and whether what it cost counts already
_Earlier = tuple[ScoreKey, Score, bool]


class Waiting(NamedTuple):
    """Where questions wait for a batch of their provider, and who takes the pairs they are about.

    `put_off` gets such a pair with what the judges before have said; it has no verdict yet.
    """

    desk: Desk
    put_off: Take


class Knowledge:
    """The stored scores of a set of pairs, and the keys under which new ones are stored."""

    def __init__(
        self,
        authority: Authority,
        subjects: Sequence[Subject],
        kept: KeptScores | None = None,
        *,
        shares_failures: bool = False,
    ) -> None:
        self._kept = kept or {}
        # an answer that came with a provider's batch counts once, also where it is of no use
        self._shares_failures = shares_failures
        self._live = {
            tier.judge.spec.name: tier.judge.spec
            for tier in authority.tiers
            if not is_recorded(tier.judge.spec)
        }
        self._keys = {
            name: {
                one.pair.id: score_key(spec, one.content_hash, one.swapped_hash) for one in subjects
            }
            for name, spec in self._live.items()
        }
        self._stored: dict[str, dict[str, StoredScore]] = {name: {} for name in self._live}
        self._has_payers = False
        self._taken: set[tuple[str, str]] = set()
        self._has_twins = len({min(s.content_hash, s.swapped_hash) for s in subjects}) < len(
            subjects
        )

    async def load(self, running: Runtime) -> None:
        """Fetch the stored scores."""
        for name, spec in self._live.items():
            hashes = {key.content_hash for key in self._keys[name].values()}
            found = await scores_at_hand(running, spec.fingerprint, hashes)
            self._stored[name] = found
            self._has_payers |= any(one.payer is not None for one in found.values())

    def score(self, judge: Judge, pair: Pair) -> Score | None:
        """Return the stored score of a pair, in the order of its responses."""
        name = judge.spec.name
        if name not in self._live:
            return None
        key = self._keys[name][pair.id]
        if (kept := self._kept.get((pair.id, judge.spec.fingerprint))) is not None:
            self._share(kept.score, key)
            return kept.score
        stored = self._stored[name].get(key.content_hash)
        if stored is None:
            return None
        return stored.score.mirrored() if key.is_mirrored else stored.score

    def judged(self, subject: Subject, verdict: CascadeVerdict, payer: Payer | None) -> Judged:
        """Return a verdict with the scores obtained for it; pairs of the same content reuse them."""
        fresh = []
        for score in verdict.fresh:
            if score.judge not in self._live:
                continue
            key = self._keys[score.judge][subject.pair.id]
            fresh.append((key, score))
            self._share(score, key)
        earlier = self._kept_own(subject, verdict) if self._kept else []
        if payer is not None and self._has_payers:
            earlier += self._paid_by(payer, subject, verdict)
        if not earlier:
            return Judged(subject, verdict, fresh, fresh)
        obtained = [(key, score) for key, score, _ in earlier] + fresh
        counted = tuple(score for _, score, is_counted in earlier if is_counted)
        return Judged(subject, verdict, fresh, obtained, counted=counted)

    def _share(self, score: Score, key: ScoreKey) -> None:
        """Let pairs of the same content use a score."""
        if self._has_twins and (score.failure is None or self._shares_failures):
            kept = score.mirrored() if key.is_mirrored else score
            self._stored[score.judge][key.content_hash] = StoredScore(kept, None)

    def _kept_own(self, subject: Subject, verdict: CascadeVerdict) -> list[_Earlier]:
        found = []
        for tier in verdict.tiers if self._kept else ():
            kept = self._kept.get((subject.pair.id, tier.score.fingerprint))
            if kept is not None and kept.is_own and kept.score is tier.score:
                key = self._keys[tier.judge][subject.pair.id]
                found.append((key, tier.score, kept.is_counted))
        return found

    def _paid_by(self, payer: Payer, subject: Subject, verdict: CascadeVerdict) -> list[_Earlier]:
        found = []
        for tier in verdict.tiers:
            if tier.judge not in self._live:
                continue
            key = self._keys[tier.judge][subject.pair.id]
            stored = self._stored[tier.judge].get(key.content_hash)
            mark = (tier.judge, key.content_hash)
            # pairs with the same content share the score, which was paid for once
            if stored is not None and stored.payer == payer and mark not in self._taken:
                self._taken.add(mark)
                found.append((key, tier.score, payer.has_counted(stored.stored_at)))
        return found


async def judge_subjects(  # noqa: PLR0913 - what to judge, by what, and what to do with it
    running: Runtime,
    authority: Authority,
    subjects: Sequence[Subject],
    take: Take,
    *,
    payer: Payer | None = None,
    kept: KeptScores | None = None,
    deadline_seconds: float | None = None,
    pause: Pause | None = None,
    waiting: Waiting | None = None,
) -> None:
    """Judge pairs of different ids, and await `take` with each as it is judged; store nothing.

    A pair whose content occurs earlier in `subjects` is judged after all others, so that no judge
    is asked the same twice.

    Args:
        running: Database and limits.
        authority: The tiers and the tie rule.
        subjects: What to judge.
        take: Awaited before another pair is started.
        payer: The shard that pays; scores that it obtained in an earlier attempt are its own.
        kept: Scores that need not be obtained, beside those of the database.
        deadline_seconds: A pair not judged by then ends with a typed failure and keeps its scores.
        pause: Awaited before each pair.
        waiting: Where answers may wait for a batch of a judge's provider; None: nowhere.
    """
    knowledge = Knowledge(authority, subjects, kept, shares_failures=waiting is not None)
    await knowledge.load(running)
    by_id = {subject.pair.id: subject for subject in subjects}
    now = asyncio.get_running_loop().time()
    deadline = None if deadline_seconds is None else now + deadline_seconds
    explainer = Explainer(running, authority, payer, deadline)
    await explainer.load({subject.content_hash for subject in subjects})

    async def keep(verdict: CascadeVerdict) -> None:
        subject = by_id[verdict.id]
        judged = knowledge.judged(subject, verdict, payer)
        explained = await explainer.of(subject.pair, subject.content_hash, verdict)
        await take(judged if explained is None else judged._replace(explained=explained))

    late: set[str] = set()

    async def put_off(so_far: CascadeVerdict) -> None:
        subject = by_id[so_far.id]
        late.add(_content(subject))
        assert waiting is not None  # elsewhere no answer may wait
        await waiting.put_off(knowledge.judged(subject, so_far, payer))

    with answers_may_wait(waiting.desk if waiting else None):
        for wave in _waves(subjects):
            # what has the content of a pair that waits would only ask the same again
            for subject in wave:
                if _content(subject) in late:
                    await put_off(unasked(subject.pair.id, "abstained"))
            await judge_stream(
                [one.pair for one in wave if _content(one) not in late],
                lambda pair: authority.cascade_for(by_id[pair.id].metadata),
                keep,
                ties=authority.ties,
                known=knowledge.score,
                concurrency=running.settings.pairs_in_flight,
                deadline=deadline,
                pause=pause,
                put_off=put_off if waiting else None,
            )


def _content(subject: Subject) -> str:
    """Return what a pair and its mirror image have in common."""
    return min(subject.content_hash, subject.swapped_hash)


def _waves(subjects: Sequence[Subject]) -> list[list[Subject]]:
    """Return waves of pairs: those with the content of an earlier one, in either order, come last."""
    seen: set[str] = set()
    first: list[Subject] = []
    second: list[Subject] = []
    for subject in subjects:
        content = _content(subject)
        (second if content in seen else first).append(subject)
        seen.add(content)
    return [wave for wave in (first, second) if wave]


async def judge_all(
    running: Runtime,
    authority: Authority,
    subjects: Sequence[Subject],
    *,
    deadline_seconds: float | None = None,
) -> list[Judged]:
    """Judge pairs of different ids, and return them in their order; store nothing.

    A pair not judged by the deadline ends with a typed failure and keeps its scores.
    """
    judged: dict[str, Judged] = {}

    async def take(one: Judged) -> None:
        judged[one.pair.id] = one

    await judge_subjects(running, authority, subjects, take, deadline_seconds=deadline_seconds)
    return [judged[subject.pair.id] for subject in subjects]


def unasked(pair_id: str, status: Status) -> CascadeVerdict:
    """Return the verdict on a pair that no judge was asked about."""
    return CascadeVerdict(
        pair_id, status, None, None, None, (), cost_usd=0.0, fresh=(), cached=False
    )
