"""Hashes a set of labels, and keeps the ledger of the tests that were made on it.

The ledger knows a label set by its marks: the smallest content hashes among its pairs. Two sets that
share many pairs share marks, whatever dataset they were imported as, and the ledger outlives
datasets and certificates. The same request on the same labels and scores is one test, whether it
made a plan or a certificate; whatever differs in one of them is a further test of the labels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.models import LabelUse, LabelUseMark
from app.datasets.records import PairKey, Vote


def label_set_hash(keys: Iterable[PairKey], votes: Mapping[int, Sequence[Vote]]) -> str:
    """Return a hash of the labels that these pairs have; their order does not matter.

    A pair is known by its texts and, like its labels, keeps its place in the hash when the same
    rows are imported under another name; a battle, which has no texts, is known by its id.

    Args:
        keys: The pairs.
        votes: Current labels by `pair_seq`.
    """
    labels = sorted(
        json.dumps([key.content_hash or key.id, vote.annotator, vote.label, vote.criterion])
        for key in keys
        for vote in votes.get(key.seq, ())
    )
    return hashlib.sha256("\n".join(labels).encode("ascii")).hexdigest()


_MARKS = 64
_MARK_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Uses:
    """Distinct tests of a label set, or of sets that share pairs with it.

    Attributes:
        certificates: Those that made a certificate.
        plans: Those that were looked at in a plan only.
        failure_probability: The sum of their failure probabilities.
    """

    certificates: int
    plans: int
    failure_probability: float


def request_hash(request: Mapping[str, Any], fingerprints: Iterable[str], label_set: str) -> str:
    """Return a hash that is equal for two requests that are the same test.

    Args:
        request: What was asked, with a hash of the scores, apart from the name of the dataset, which
            the labels stand for.
        fingerprints: Of the judges, in order.
        label_set: Hash of the labels.
    """
    asked = {name: value for name, value in request.items() if name not in ("dataset", "cascade")}
    text = json.dumps([asked, list(fingerprints), label_set], sort_keys=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def marks(keys: Sequence[PairKey]) -> list[str]:
    """Return the marks of a set of pairs."""
    hashes = sorted({key.content_hash for key in keys if key.content_hash})
    return [one[:_MARK_DIGITS] for one in hashes[:_MARKS]]


async def record(
    session: AsyncSession,
    own_marks: Sequence[str],
    tests: Mapping[str, float],
    *,
    is_plan: bool,
) -> None:
    """Record tests, by `request_hash`, with their failure probabilities.

    A plan that is certified later becomes a certificate; nothing becomes a plan again.
    """
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    for request, failure_probability in sorted(tests.items()):
        insert = dialect.insert(LabelUse).values(
            request_hash=request, is_plan=is_plan, failure_probability=failure_probability
        )
        entered = await session.execute(
            insert.on_conflict_do_update(
                index_elements=["request_hash"],
                set_={"is_plan": LabelUse.is_plan & insert.excluded.is_plan},
            ).returning(LabelUse.seq)
        )
        use_seq = entered.scalar_one()
        rows = [{"use_seq": use_seq, "mark": mark} for mark in own_marks]
        if rows:
            await session.execute(dialect.insert(LabelUseMark).on_conflict_do_nothing(), rows)


async def count(session: AsyncSession, own_marks: Sequence[str]) -> Uses:
    """Count the tests whose labels share marks with these."""
    sharing = select(LabelUseMark.use_seq).where(LabelUseMark.mark.in_(own_marks))
    query = select(LabelUse.is_plan, LabelUse.failure_probability).where(LabelUse.seq.in_(sharing))
    rows = (await session.execute(query)).all()
    plans = sum(is_plan for is_plan, _ in rows)
    return Uses(len(rows) - plans, plans, sum(probability for _, probability in rows))
