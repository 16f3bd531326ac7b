"""Finds pairs by what people, judges and cascades said of them, and shows all of one pair.

A search looks at a bounded number of pairs and says where it stopped, so that its work does not grow
with the dataset: its statements are counted by the window, not by the pair or the verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import rfc3339
from app.core.errors import NotFound, Unprocessable
from app.core.fields import Name
from app.core.models import Dataset, Verdict
from app.core.names import hint, shown
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.datasets import stored_pairs
from app.datasets.records import PairKey, Vote
from app.datasets.slices import slice_names
from app.imports.exporting import canonical_row
from app.judgments import queries, reasons
from app.labels.posting import shown_label
from app.scores.store import is_recorded, score_key, stored_scores
from calibration.labels import MISSING, plurality
from calibration.preference import opinion
from judges.base import JudgeSpec
from judges.reasons import Reason
from judges.types import Score

Body = dict[str, Any]
Opinion = Literal["agree", "disagree", "undecided", "unlabelled"]
_WINDOW: Final = 500
# pairs that one request looks at: in the order of the dataset, and to sort them by confidence
_LOOK: Final = 4_000
_LOOK_TO_SORT: Final = 20_000
_EXCERPT: Final = 300
_NAMES: Final = ("a", "b", "tie")
_VERDICTS: Final = 20
_LABELS: Final = 200


class WantedIn(BaseModel):
    """Which pairs of a dataset are meant, and in which order; what is not given does not matter."""

    model_config = ConfigDict(extra="forbid")
    judge: Name | None = Field(
        None, description="whose answers count: a judge; by default the newest verdict of a cascade"
    )
    status: Literal["accepted", "abstained", "failed", "unjudged"] | None = Field(
        None, description="what became of the pair with that judge or cascade"
    )
    people: Opinion | None = Field(
        None, description="whether the people's most frequent label is what was said"
    )
    slice: str | None = Field(
        None, max_length=1024, description="a metadata field and its value: task=writing"
    )
    least: float | None = Field(None, ge=0, le=1, description="least confidence")
    most: float | None = Field(None, ge=0, le=1, description="greatest confidence")
    text: str | None = Field(
        None, max_length=512, description="what prompt or responses contain, in any case"
    )
    sort: Literal["position", "surest", "least_sure"] = Field(
        "position", description="as in the dataset, or by confidence"
    )
    after: str | None = Field(None, max_length=512, description="id of the last pair looked at")

    @property
    def is_filtered(self) -> bool:
        """Whether some pairs may not be wanted."""
        given = (self.status, self.people, self.slice, self.least, self.most, self.text)
        return any(one is not None for one in given)


class SearchIn(WantedIn):
    """Which pairs to find, and how many."""

    limit: int = Field(50, ge=1, le=200, description="most pairs to return")


@dataclass(slots=True)
class _Seen:
    """A pair that was looked at."""

    key: PairKey
    text: str | None
    votes: Body
    people: str | None
    said: Body | None
    verdict: Verdict | None = None
    opinion: Opinion | None = field(init=False)

    def __post_init__(self) -> None:
        """Hold what was said against what people say."""
        self.opinion = None if self.said is None else _opinion(self.said, self.votes, self.people)

    @property
    def confidence(self) -> float | None:
        """How sure the one who answered is."""
        return None if self.said is None else self.said["confidence"]


async def search(running: Runtime, ref: str, asked: SearchIn) -> Body:
    """Return one page of the pairs that a search finds.

    Raises:
        NotFound: there is no such dataset, judge, or pair `after`.
        Unprocessable: the slice is not written as a field and its value.
    """
    wanted_slice = _slice_of(asked)
    async with running.db.read() as session:
        dataset = await datasets.find_dataset(session, ref, ("path", "ref"))
        look = _Look(session, dataset, asked, _judge(running, dataset, asked.judge), wanted_slice)
        found = await look.all()
        rows = found[: asked.limit]
        excerpts = await stored_pairs.prompts_of(session, [one.key.seq for one in rows])
        verdicts = [one.verdict for one in rows if one.verdict is not None]
        promises = await queries.without_promise(session, verdicts)
    data = [_row(one, excerpts.get(one.key.seq, ""), promises) for one in rows]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": look.last.id if look.last else None,
        "has_more": look.has_more,
        "looked_at": look.count,
        "with_answer": look.heard,
    }


def _slice_of(asked: WantedIn) -> tuple[str, str] | None:
    if asked.slice is None:
        return None
    name, sign, value = asked.slice.partition("=")
    if not sign or not name:
        raise Unprocessable.field(
            ["slice"], "write a field and its value: task=writing", place="query"
        )
    return name, value


def _judge(running: Runtime, dataset: Dataset, name: str | None) -> str | JudgeSpec | None:
    """Return the judge of this name: its description if it is asked live, else its name."""
    if name is None:
        return None
    asked = running.registry.judges.get(name)
    if asked is not None and not is_recorded(asked.spec):
        return asked.spec
    if name in dataset.recorded_judges:
        return name
    known = [*running.registry.judges, *dataset.recorded_judges]
    meant = hint(name, known, see="GET /v1/judges")
    raise NotFound.field(["judge"], f"there is no judge {shown(name)}{meant}", place="query")


@dataclass(slots=True)
class _Look:
    """One walk over the pairs of a dataset, window by window."""

    session: AsyncSession
    dataset: Dataset
    asked: SearchIn
    judge: str | JudgeSpec | None
    slice: tuple[str, str] | None
    last: PairKey | None = None
    has_more: bool = False
    count: int = 0
    heard: int = 0

    async def all(self) -> list[_Seen]:
        """Return the wanted pairs, in the order that is asked for."""
        is_sorted = self.asked.sort != "position"
        most = _LOOK_TO_SORT if is_sorted else _LOOK
        size = _WINDOW if is_sorted or self.asked.is_filtered else self.asked.limit
        after = await self._start()
        found: list[_Seen] = []
        while self.count < most:
            window, self.has_more = await stored_pairs.windows(
                self.session, self.dataset, after, size, with_texts=self.asked.text is not None
            )
            for seen in await self._seen(window):
                if not is_sorted and len(found) == self.asked.limit:
                    self.has_more = True
                    return found
                self.last, after = seen.key, seen.key.position
                self.count += 1
                self.heard += seen.said is not None
                if self._is_wanted(seen):
                    found.append(seen)
            if not self.has_more or (not is_sorted and len(found) == self.asked.limit):
                break
        return _sorted(found, self.asked.sort) if is_sorted else found

    async def before(self, position: int) -> str | None:
        """Return the id of the nearest wanted pair before a position."""
        for end in range(position, max(position - _LOOK, 0), -_WINDOW):
            if (nearest := await self._last_of(max(end - _WINDOW, 0), end)) is not None:
                return nearest
        return None

    async def _last_of(self, start: int, end: int) -> str | None:
        """Return the id of the last wanted pair at a position from `start` on and before `end`."""
        found: str | None = None
        after, has_more, with_texts = start - 1, True, self.asked.text is not None
        while has_more and after < end - 1:
            window, has_more = await stored_pairs.windows(
                self.session, self.dataset, after, end - 1 - after, with_texts=with_texts
            )
            inside = [one for one in window if one[0].position < end]
            for seen in await self._seen(inside):
                found = seen.key.id if self._is_wanted(seen) else found
            # what stands there may have gaps, and long texts come in several parts
            has_more = has_more and len(inside) == len(window) > 0
            after = window[-1][0].position if window else end
        return found

    async def _start(self) -> int:
        if self.asked.after is None:
            return -1
        position = await stored_pairs.position_of(self.session, self.dataset, self.asked.after)
        if position is None:
            raise NotFound(f"after: there is no {shown(self.asked.after)} in this dataset")
        return position

    async def _seen(self, window: Sequence[tuple[PairKey, str | None]]) -> list[_Seen]:
        keys = [key for key, _ in window]
        votes = await stored_pairs.votes_on(self.session, [key.seq for key in keys])
        counts = [_counts(votes[key.seq]) for key in keys]
        people = _plurality(counts)
        said = await self._said(keys)
        return [
            _Seen(key, text, count, who, *said.get(key.seq, (None, None)))
            for (key, text), count, who in zip(window, counts, people, strict=True)
        ]

    async def _said(self, keys: Sequence[PairKey]) -> dict[int, tuple[Body, Verdict | None]]:
        """Return what was said of these pairs, by their numbers."""
        if self.judge is None:
            newest = await queries.newest_of_pairs(self.session, [key.seq for key in keys])
            return {seq: (_of_verdict(one), one) for seq, one in newest.items()}
        if isinstance(self.judge, str):
            recorded = await stored_pairs.scores_on(
                self.session, [key.seq for key in keys], [self.judge]
            )
            return {seq: (_of_score(one[self.judge]), None) for seq, one in recorded.items()}
        live = await live_scores(self.session, self.judge, keys)
        return {seq: (_of_score(one), None) for seq, one in live.items()}

    def _is_wanted(self, seen: _Seen) -> bool:
        asked, sure = self.asked, seen.confidence
        status = "unjudged" if seen.said is None else seen.said["status"]
        return (
            (asked.status is None or _is_status(status, asked.status))
            and (asked.people is None or seen.opinion == asked.people)
            and (asked.least is None or (sure is not None and sure >= asked.least))
            and (asked.most is None or (sure is not None and sure <= asked.most))
            and (asked.text is None or asked.text.casefold() in (seen.text or ""))
            and (self.slice is None or slice_names([seen.key], self.slice[0])[0] == self.slice[1])
        )


def _is_status(status: str, asked: str) -> bool:
    # a judge alone has no threshold: it answers where it prefers one
    return status == asked or (asked == "accepted" and status == "answered")


def _sorted(found: list[_Seen], sort: str) -> list[_Seen]:
    sure = [one for one in found if one.confidence is not None]
    sign = -1 if sort == "surest" else 1
    return sorted(sure, key=lambda one: (sign * (one.confidence or 0.0), one.key.position))


def _counts(votes: Iterable[Vote]) -> Body:
    counts = Counter(vote.label for vote in votes if vote.criterion == "overall")
    return {name: counts[name] for name in _NAMES}


def _plurality(counts: Sequence[Body]) -> list[str | None]:
    if not counts:
        return []
    codes = plurality(np.array([[one[name] for name in _NAMES] for one in counts], dtype=np.int64))
    return [None if code == MISSING else _NAMES[code] for code in codes.tolist()]


def _opinion(said: Mapping[str, Any], votes: Mapping[str, int], people: str | None) -> Opinion:
    if not sum(votes.values()):
        return "unlabelled"
    if people is None or said["label"] is None or (people == "tie") != (said["label"] == "tie"):
        return "undecided"
    return "agree" if people == said["label"] else "disagree"


def _of_verdict(verdict: Verdict) -> Body:
    body = verdict.body
    sure = body["confidence"]
    if sure is None:
        known = [tier["confidence"] for tier in body["tiers"] if tier["confidence"] is not None]
        sure = known[-1] if known else None
    return {
        "judge": body["judge"],
        "status": verdict.status,
        "label": body["label"],
        "confidence": sure,
        "promise": verdict.promise,
        "calibration": body["calibration"],
    }


def _of_score(score: Score) -> Body:
    label, sure = _preference(score)
    return {
        "judge": score.judge,
        "status": "failed" if score.failure is not None else "answered" if label else "abstained",
        "label": label,
        "confidence": sure,
    }


def _preference(score: Score) -> tuple[str | None, float | None]:
    """Return the label and the confidence of a score; no label where it prefers none."""
    if score.p_a is None:
        return None, None
    found = opinion(score.p_a, score.p_tie)
    if found.label == MISSING:
        return None, None
    return _NAMES[found.label], found.confidence


async def live_scores(
    session: AsyncSession, spec: JudgeSpec, keys: Sequence[PairKey]
) -> dict[int, Score]:
    """Return the stored scores of a live judge on these pairs, failures too, by their numbers."""
    wanted = {
        key.seq: score_key(spec, key.content_hash, key.swapped_hash)
        for key in keys
        if key.content_hash is not None and key.swapped_hash is not None
    }
    hashes = sorted({one.content_hash for one in wanted.values()})
    stored = await stored_scores(session, spec.fingerprint, hashes, with_failures=True)
    return {
        seq: stored[one.content_hash].score.mirrored()
        if one.is_mirrored
        else stored[one.content_hash].score
        for seq, one in wanted.items()
        if one.content_hash in stored
    }


def _row(seen: _Seen, excerpt: str, promises: Mapping[int, str]) -> Body:
    key, said = seen.key, seen.said
    if said is not None and seen.verdict is not None:
        said = {**said, "promise": promises.get(seen.verdict.seq, said["promise"])}
    return {
        "object": "found_pair",
        "id": key.id,
        "position": key.position,
        "excerpt": excerpt[:_EXCERPT],
        "model_a": key.model_a,
        "model_b": key.model_b,
        "group": key.group,
        "metadata": key.metadata,
        "votes": seen.votes,
        "people": seen.people,
        "said": said,
        "opinion": seen.opinion,
    }


async def pair_detail(
    running: Runtime, ref: str, pair_id: str, asked: WantedIn | None = None
) -> Body:
    """Return all that is known of one pair.

    Args:
        running: What the service runs with.
        ref: Id or name of the dataset.
        pair_id: The pair.
        asked: Among which pairs the previous and the next one are; all of the dataset by default.

    Raises:
        NotFound: there is no such dataset, pair or judge.
        Unprocessable: the slice is not written as a field and its value.
    """
    asked = asked or WantedIn()
    async with running.db.read() as session:
        dataset = await datasets.find_dataset(session, ref, ("path", "ref"))
        stored = await stored_pairs.stored_pair(session, dataset, pair_id)
        seq = stored.key.seq
        before, behind = await _beside(running, session, dataset, stored.key, asked)
        labels = await stored_pairs.label_history(session, seq, _LABELS)
        scores = [_score(one, recorded=True) for _, one in sorted(stored.recorded.items())]
        for judge in running.registry.judges.values():
            if not is_recorded(judge.spec):
                live = await live_scores(session, judge.spec, [stored.key])
                scores += [_score(one, recorded=False) for one in live.values()]
        verdicts = await queries.of_pair(session, seq, _VERDICTS)
        promises = await queries.without_promise(session, verdicts)
        said = await reasons.reasons_of(session, {_explained(one) for one in verdicts})
    counts = _counts(stored.votes)
    return {
        "object": "pair",
        "id": pair_id,
        "dataset": dataset.name,
        "position": stored.key.position,
        "previous": before,
        "next": behind,
        "pair": canonical_row(stored),
        "votes": counts,
        "people": _plurality([counts])[0],
        "labels": [shown_label(one, pair_id, dataset.id) for one in labels],
        "scores": scores,
        "verdicts": [
            {
                "verdict_id": str(one.seq),
                "judgment": str(one.seq),
                **one.body,
                **_why(one, said),
                "promise": promises.get(one.seq, one.promise),
                "created_at": rfc3339(one.created_at),
            }
            for one in verdicts
        ],
    }


def _why(verdict: Verdict, said: Mapping[tuple[str, str | None], Reason]) -> dict[str, Any]:
    reason = said.get(_explained(verdict))
    return {} if reason is None else {"reason": reasons.reason_body(reason, verdict.body["label"])}


async def _beside(
    running: Runtime, session: AsyncSession, dataset: Dataset, key: PairKey, asked: WantedIn
) -> tuple[str | None, str | None]:
    """Return the ids of the pairs before and behind one, among those that are wanted.

    A search looks as far as it does for a list; what lies beyond is not found.
    """
    if asked.sort == "position" and not asked.is_filtered:
        return await stored_pairs.neighbours(session, dataset, key.position)
    is_sorted = asked.sort != "position"
    # what follows one pair is what a search finds first behind it
    start = {} if is_sorted else {"after": key.id, "limit": 1}
    search = SearchIn.model_validate({**asked.model_dump(exclude={"limit"}), **start})
    judge = _judge(running, dataset, asked.judge)
    look = _Look(session, dataset, search, judge, _slice_of(asked))
    found = [one.key.id for one in await look.all()]
    if not is_sorted:
        return await look.before(key.position), found[0] if found else None
    if key.id not in found:
        return None, found[0] if found else None
    place = found.index(key.id)
    return (
        found[place - 1] if place else None,
        found[place + 1] if place + 1 < len(found) else None,
    )


def _explained(verdict: Verdict) -> tuple[str, str | None]:
    return verdict.content_hash, verdict.explained_by


def _score(score: Score, *, recorded: bool) -> Body:
    label, sure = _preference(score)
    failure = score.failure
    return {
        "judge": score.judge,
        "fingerprint": score.fingerprint,
        "recorded": recorded,
        "p_a": score.p_a,
        "p_tie": score.p_tie,
        "confidence": sure,
        "label": label,
        "annotators": [list(row) for row in score.annotators],
        "ratings": list(score.ratings) if score.ratings else None,
        "failure": failure and {"kind": failure.kind.value, "detail": failure.detail},
        "flags": list(score.flags),
        "cost_usd": score.cost_usd,
        "seconds": score.seconds,
    }
