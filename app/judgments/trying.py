"""Tries a judge on one pair: the very prompts, the tokens read, and the cost; stores nothing."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from app.bodies.datasets import TokensBody
from app.bodies.judgments import ExchangeBody, TriedBody
from app.core.errors import NotFound, Unprocessable
from app.core.names import hint, shown
from app.core.runtime import Runtime
from app.datasets.score_columns import storable
from app.formats.canonical import to_pair
from app.judgments.reasons import reason_body
from app.judgments.schemas import PostedPair
from app.judgments.verdicts import failure_body, orders_of, ratings_of
from app.scores.store import is_recorded
from judges.base import Exchange, exchanges_heard
from judges.cascade import answer, label_and_confidence
from judges.reasons import explaining
from judges.reward.judge import RewardJudge
from judges.types import TokenUsage


class TryIn(BaseModel):
    """The pair that a judge is tried on."""

    model_config = ConfigDict(extra="forbid")
    pair: PostedPair


async def try_judge(running: Runtime, name: str, request: TryIn) -> TriedBody:
    """Return what a judge is asked about a pair, what was read of the answers, and its score.

    Raises:
        NotFound: there is no such judge.
        Unprocessable: it calls no model, or the pair has no texts.
    """
    judge = running.registry.judges.get(name)
    if judge is None:
        raise NotFound(
            f"there is no judge {shown(name)}{hint(name, running.registry.judges, see='tribunal judges')}"
        )
    if is_recorded(judge.spec):
        raise Unprocessable.field(["name"], f"{shown(name)} answers from records: it asks nothing")
    if request.pair.is_battle:
        raise Unprocessable.field(["pair", "prompt"], "is missing (or messages)")
    pair = to_pair(request.pair)
    with exchanges_heard() as heard:
        score = await answer(judge, pair)
    scored_by = judge.spec.scored_by
    is_alone = scored_by.get("confidence") == "rating" or scored_by.get("input") == "response"
    label, confidence = label_and_confidence(score, "exclude")
    body: TriedBody = {
        "object": "tried_judge",
        "judge": name,
        "fingerprint": judge.spec.fingerprint,
        "exchanges": [_exchange(one, is_alone=is_alone) for one in _in_order(heard)],
        "p_a": score.p_a,
        "p_tie": score.p_tie,
        "label": label,
        "confidence": confidence,
        "failure": failure_body(score.failure) if score.failure else None,
        "flags": list(score.flags),
        "tokens": _tokens(score.usage),
        "cost_usd": score.cost_usd,
        "seconds": score.seconds,
    }
    if (orders := orders_of(score)) is not None:
        body["orders"] = orders
    if (ratings := ratings_of(score)) is not None:
        body["ratings"] = ratings
    if isinstance(judge, RewardJudge) and scored_by.get("input") == "response":
        body["tau"] = judge.tau
    told = explaining(judge)
    if told is not None and label is not None:
        reason = await told.explain(pair, score, label)
        costs = (score.cost_usd, reason.cost_usd)
        body["reason"] = reason_body(reason)
        body["tokens"] = _tokens(score.usage + reason.usage)
        body["cost_usd"] = None if None in costs else sum(cost or 0.0 for cost in costs)
    return body


def _in_order(heard: list[Exchange]) -> list[Exchange]:
    return sorted(heard, key=lambda one: (one.annotator, one.is_swapped))


def _exchange(one: Exchange, *, is_alone: bool) -> ExchangeBody:
    return {
        "annotator": one.annotator,
        "shown_first": "b" if one.is_swapped else "a",
        "is_alone": is_alone,
        "prompt": storable(one.prompt),
        "messages": [
            {"role": role, "content": storable(content)} for role, content in one.messages
        ],
        "text": storable(one.text),
        "read": [
            {"token": storable(token), "logprob": logprob, "label": label}
            for token, logprob, label in one.tokens
        ],
        "failure": failure_body(one.failure) if one.failure else None,
        "tokens": _tokens(one.usage),
    }


def _tokens(usage: TokenUsage) -> TokensBody:
    return {"prompt": usage.prompt, "completion": usage.completion, "cached": usage.cached}
