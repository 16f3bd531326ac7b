"""What judging a pair may cost, known before anybody is asked."""

from __future__ import annotations

import numpy as np

from app.errors import Unprocessable
from app.judgments.authority import Authority
from app.judgments.judging import Knowledge, Subject
from app.score_store import is_recorded
from judges.base import Judge
from judges.budget import is_priced, most_usd
from judges.cascade import Tier


def refuse_unpriced(authority: Authority) -> None:
    """Check that the cost of every judge that may be asked is known beforehand.

    Raises:
        Unprocessable: names a judge without prices.
    """
    for tier in authority.tiers:
        if not _costs_nothing(tier.judge) and not is_priced(tier.judge):
            raise Unprocessable.field(
                ["budget_usd"],
                f"the judge {tier.judge.spec.name!r} has no price: a budget needs price_input and"
                " price_output of every judge of the cascade",
            )


def most_of_pair(authority: Authority, knowledge: Knowledge, subject: Subject) -> float:
    """The most that a pair's whole way up may still cost."""
    tiers = authority.tiers_for(subject.metadata)
    return sum(most_usd(t.judge, subject.pair) for t in tiers if _is_to_pay(t, knowledge, subject))


def _is_to_pay(tier: Tier, knowledge: Knowledge, subject: Subject) -> bool:
    if tier.threshold == np.inf or _costs_nothing(tier.judge):
        return False
    return knowledge.score(tier.judge, subject.pair) is None


def _costs_nothing(judge: Judge) -> bool:
    return is_recorded(judge.spec) or judge.spec.is_local
