"""Asks judges again about pairs of a certificate, to see whether they still answer as they did.

Who hosts a model may change it without a word, and its fingerprint stays. The canaries are a few
pairs that the certificate was made from. When a monitor starts, each live judge is asked once about
each: that is the reference; then about canaries drawn at random, which shows how much its answers
differ by themselves. What it said when it was certified is bet on first, and later answers, one at a
time. Judges that answer from records or in this process cannot change so, and are not asked.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import numpy as np

from app.bodies.monitors import CanaryCounts
from app.core.models import CalibrationRow, Monitor
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.monitors import queries
from app.scores.store import pair_key, stored_scores
from calibration.monitor import (
    CanaryState,
    observe_canaries,
    observe_references,
    start_canaries,
)
from judges.base import Judge
from judges.registry import Registry
from judges.types import Pair, Score

LEASE: Final = timedelta(minutes=30)
LOOK_SECONDS: Final = 10.0
MOST_VERDICTS: Final = 1_000
FAILURE_PROBABILITY: Final = 0.001
CANARIES: Final = 20
BASELINE: Final = 80
_AT_ONCE: Final = 8
# a judge that answers nothing at the start is asked again after a while
_RETRY_SECONDS: Final = 300.0
_CLIP: Final = 1e-6
Watch = dict[str, Any]


def started(registry: Registry, certificate: CalibrationRow) -> Watch | None:
    """Return the watch on a certificate's judges before any is asked; None where none can change."""
    live = {
        name: {"fingerprint": fingerprint, "asked": 0, "failed": 0, "state": None, "last": None}
        for name, fingerprint in certificate.body.get("fingerprints", {}).items()
        if _judge(registry, name, fingerprint) is not None
    }
    return {"judges": live, "last_verdict": 0} if live else None


def _judge(registry: Registry, name: str, fingerprint: str) -> Judge | None:
    """Return a judge that may change without its fingerprint."""
    judge = registry.judges.get(name)
    if judge is None or judge.spec.is_local or judge.spec.fingerprint != fingerprint:
        return None
    return judge


def log_odds(score: Score) -> float | None:
    """Return the log-odds of the first response; None where the judge failed.

    A judge that gives verdicts without probabilities is at one end or the other, so that its
    residual is large where its verdict flipped, and 0 where it did not.
    """
    if score.p_a is None:
        return None
    p_a = min(max(score.p_a + (score.p_tie or 0.0) / 2, _CLIP), 1 - _CLIP)
    return math.log(p_a / (1 - p_a))


async def asked(
    running: Runtime, monitor: Monitor, certificate: CalibrationRow, rng: np.random.Generator
) -> Watch:
    """Return the watch after its judges were asked: at the start about all canaries, then one."""
    watch: Watch = dict(monitor.canaries or {})
    if "pairs" not in watch:
        async with running.db.read() as session:
            known = await queries.pairs_of(session, certificate.seq)
        few = min(CANARIES, len(known))
        watch["pairs"] = [int(one) for one in rng.choice(known, few, replace=False)] if few else []
    pairs = await _pairs(running, certificate, watch["pairs"])
    judges = {}
    for name, one in watch["judges"].items():
        judge = _judge(running.registry, name, one["fingerprint"])
        judges[name] = (
            one if judge is None or not pairs else await _ask(running, judge, one, pairs, rng)
        )
    async with running.db.read() as session:
        last = await queries.last_verdict(session, certificate.seq)
    return {**watch, "judges": judges, "last_verdict": last}


async def _pairs(running: Runtime, certificate: CalibrationRow, seqs: Sequence[int]) -> list[Pair]:
    async with running.db.read() as session:
        dataset = await queries.dataset_of(session, certificate)
        return [pair for _, pair in await datasets.read_pairs(session, dataset, seqs=seqs)]


async def _ask(
    running: Runtime,
    judge: Judge,
    one: Mapping[str, Any],
    pairs: Sequence[Pair],
    rng: np.random.Generator,
) -> Watch:
    if one["state"] is None:
        return await _start(running, judge, one, pairs, rng)
    at = int(rng.integers(len(pairs)))
    reference = one["references"].get(pairs[at].id)
    answer = log_odds(await judge.score(pairs[at]))
    if answer is None or reference is None:
        return {**one, "failed": one["failed"] + 1}
    residual = abs(answer - reference)
    state = observe_canaries(CanaryState.from_dict(one["state"]), [residual], rng)
    return {**one, "asked": one["asked"] + 1, "state": state.to_dict(), "last": residual}


async def _start(
    running: Runtime,
    judge: Judge,
    one: Mapping[str, Any],
    pairs: Sequence[Pair],
    rng: np.random.Generator,
) -> Watch:
    """Fetch the references and what differs by itself; bet on what was said at certification.

    Numbers of a model depend a little on what else is in its batch. References are asked for alone,
    and what differs by itself several at a time: later answers, alone or among others, then lie no
    further from the references by themselves.
    """
    first = await _answers(judge, pairs, at_once=1)
    references = {
        pair.id: answer for pair, answer in zip(pairs, first, strict=True) if answer is not None
    }
    known = [pair for pair in pairs if pair.id in references]
    failed = one["failed"] + len(pairs) - len(known)
    if not known:
        return {**one, "failed": failed}
    drawn = [known[at] for at in rng.integers(len(known), size=BASELINE)]
    again: defaultdict[str, list[float]] = defaultdict(list)
    for pair, answer in zip(drawn, await _answers(judge, drawn, at_once=_AT_ONCE), strict=True):
        if answer is None:
            failed += 1
        else:
            again[pair.id].append(abs(answer - references[pair.id]))
    state = start_canaries(
        [one for several in again.values() for one in several], FAILURE_PROBABILITY
    )
    certified = await _certified(running, judge, [pair for pair in known if again[pair.id]])
    earlier = [abs(answer - references[pair]) for pair, answer in certified.items()]
    state = observe_references(state, earlier, [again[pair] for pair in certified], rng)
    return {
        **one,
        "failed": failed,
        "asked": len(earlier),
        "references": references,
        "state": state.to_dict(),
        "last": max(earlier, default=None),
    }


async def _answers(judge: Judge, pairs: Sequence[Pair], *, at_once: int) -> list[float | None]:
    free = asyncio.Semaphore(at_once)

    async def answer(pair: Pair) -> float | None:
        async with free:
            return log_odds(await judge.score(pair))

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(answer(pair)) for pair in pairs]
    return [task.result() for task in tasks]


async def _certified(running: Runtime, judge: Judge, pairs: Sequence[Pair]) -> dict[str, float]:
    """Return what a judge said of pairs when they were certified on, where that is stored."""
    keys = {pair.id: pair_key(judge.spec, pair) for pair in pairs}
    async with running.db.read() as session:
        hashes = [key.content_hash for key in keys.values()]
        kept = await stored_scores(session, judge.spec.fingerprint, hashes)
    found = {}
    for name, key in keys.items():
        if key.content_hash in kept:
            score = kept[key.content_hash].score
            answer = log_odds(score.mirrored() if key.is_mirrored else score)
            if answer is not None:
                found[name] = answer
    return found


def _states(watch: Mapping[str, Any] | None) -> dict[str, CanaryState]:
    judges = (watch or {}).get("judges", {})
    return {
        name: CanaryState.from_dict(one["state"]) for name, one in judges.items() if one["state"]
    }


def evidence(watch: Mapping[str, Any] | None) -> float:
    """Return the evidence that some judge has changed.

    It is the mean over the judges, of whom those not asked yet have 1: a mean of fair bets is fair.
    """
    judges = (watch or {}).get("judges", {})
    values = [state.e_value for state in _states(watch).values()]
    return (sum(values) + len(judges) - len(values)) / len(judges) if judges else 1.0


def changed(watch: Mapping[str, Any]) -> str | None:
    """Return which judge has changed, in words; None: none, as far as is known."""
    if evidence(watch) < 1 / FAILURE_PROBABILITY:
        return None
    name, state = max(_states(watch).items(), key=lambda one: one[1].log_wealth)
    return f"{name} answers canary pairs otherwise than when it was certified ({state.asks} asks)"


def pause(watch: Mapping[str, Any], options: Mapping[str, Any]) -> float:
    """Return how many seconds to wait until a canary is asked again."""
    seconds = float(options.get("canary_seconds", 3_600.0))
    is_started = all(one["state"] is not None for one in watch["judges"].values())
    return seconds if is_started else min(seconds, _RETRY_SECONDS)


def show(watch: Mapping[str, Any] | None, *, alarmed: bool) -> CanaryCounts:
    """Return what canaries say, as users see it."""
    judges = (watch or {}).get("judges", {})
    states = _states(watch)
    status = "off"
    if judges:
        status = "asking" if len(states) == len(judges) else "starting"
        if alarmed and evidence(watch) >= 1 / FAILURE_PROBABILITY:
            status = "alarm"
    return {
        "asked": sum(one["asked"] for one in judges.values()),
        "e_value": evidence(watch),
        "status": status,  # type: ignore[typeddict-item]
        "alarm_level": 1 / FAILURE_PROBABILITY,
        "failed": sum(one["failed"] for one in judges.values()),
        "judges": [
            {
                "judge": name,
                "asked": one["asked"],
                "failed": one["failed"],
                "e_value": states[name].e_value if name in states else 1.0,
                "last_residual": one["last"],
            }
            for name, one in judges.items()
        ],
    }
