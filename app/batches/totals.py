"""A batch's counts, costs and speed: what a shard adds, and what users see of the sums.

The sums over finished shards are stored with the batch, and what each shard under way has come to
with that shard, so that reading them takes the same time however many shards there are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from app.core.models import Batch
from app.judgments.promise import AnswerCounts

if TYPE_CHECKING:
    from judges.reasons import Reason

# what is stored with a request beside its own fields
CALIBRATION_PAIRS: Final = "calibration_pairs"
ALSO_RUNNING: Final = "also_running"
NOT_ADMITTED: Final = "budget"
_MARKS: Final = 32
_MARK_SECONDS: Final = 2.0
_TIER_COUNTS: Final = ("asked", "accepted", "failed", "obtained")
# only of judges that give reasons
REASON_COUNTS: Final = ("reasons", "reasons_contradicting", "reasons_failed")
#: What a shard had cost when its batch was retried, and when that was.
BEFORE: Final = "before"
# only of judges of which some cost is unknown
_PARTLY_KNOWN: Final = ("known_usd", "unpriced")
#: Pairs that a judge was asked about when a worker stopped: what those calls have cost is unknown.
CUT_OFF: Final = "cut_off"
_SOMETIMES: Final = (*REASON_COUNTS, CUT_OFF)
_LEVEL: Final = 0.95


def shard_counts(
    verdicts: Iterable[Mapping[str, Any]],
    obtained: Iterable[tuple[str, float | None]],
    reasons: Iterable[Reason] = (),
) -> dict[str, Any]:
    """Return what a shard adds to its batch.

    Args:
        verdicts: Its verdicts as users see them.
        obtained: Judge and cost of every score that was obtained for them, repetitions included.
        reasons: Those that were obtained for them.
    """
    shown, spent = list(verdicts), list(obtained)
    tiers: dict[str, dict[str, Any]] = {}
    not_admitted, known, costs = 0, 0, []
    for verdict in shown:
        known += verdict["calibration_pair"]
        if not verdict["tiers"] and verdict.get("abstained_because") == NOT_ADMITTED:
            not_admitted += 1
        elif verdict["cost_usd"] is not None:
            costs.append(verdict["cost_usd"])
        for tier in verdict["tiers"]:
            if (counts := tiers.get(tier["judge"])) is None:
                counts = tiers[tier["judge"]] = _fresh_tier()
            counts["asked"] += 1
            counts["accepted"] += tier["accepted"]
            counts["failed"] += tier["failure"] is not None
    for judge, some in _by_judge(spent).items():
        counts = tiers.setdefault(judge, _fresh_tier())
        counts["obtained"] = len(some)
        _add_costs(counts, _costs_of(some))
    for reason in reasons:
        _count_reason(tiers.setdefault(reason.judge, _fresh_tier()), reason)
        spent.append((reason.judge, reason.cost_usd))
    return {
        "statuses": Counter([verdict["status"] for verdict in shown]),
        "not_admitted": not_admitted,
        CALIBRATION_PAIRS: known,
        "attendance": AnswerCounts.of([verdict["tiers"] for verdict in shown]).as_json(),
        "cost_usd": _sum_of_costs(cost for _, cost in spent),
        "costs": {
            "pairs": len(costs),
            "sum": math.fsum(costs),
            "squares": math.fsum([cost * cost for cost in costs]),
        },
        "tiers": tiers,
    }


def _count_reason(counts: dict[str, Any], reason: Reason) -> None:
    for name, is_counted in zip(
        REASON_COUNTS, (True, reason.contradicts, reason.failure is not None), strict=True
    ):
        counts[name] = counts.get(name, 0) + is_counted
    _add_costs(counts, _costs_of([reason.cost_usd]))


class Spent(NamedTuple):
    """What is known of a cost, and how many scores and reasons it lacks; None: never counted."""

    usd: float
    unpriced: int | None


def spent_by(one: Mapping[str, Any]) -> Spent:
    """Return what a judge, or a batch, is known to have cost."""
    if one["cost_usd"] is not None:
        return Spent(one["cost_usd"], 0)
    return Spent(one.get("known_usd", 0.0), one.get("unpriced"))


def spent_together(some: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what judges, or batches, have cost together: the whole, or what is known of it."""
    costs = [spent_by(one) for one in some]
    lacking = [one.unpriced for one in costs if one.unpriced is not None]
    known = math.fsum(one.usd for one in costs)
    unpriced = sum(lacking) if len(lacking) == len(costs) else None
    return {
        "cost_usd": known if unpriced == 0 else None,
        "known_usd": known,
        "unpriced": unpriced,
    }


def _costs_of(costs: Sequence[float | None]) -> dict[str, Any]:
    return {
        "cost_usd": _sum_of_costs(costs),
        "known_usd": math.fsum(cost for cost in costs if cost is not None),
        "unpriced": sum(cost is None for cost in costs),
    }


def _add_costs(tier: dict[str, Any], more: Mapping[str, Any], sign: int = 1) -> None:
    """Add to what a judge cost; where some of it is unknown, that is counted, and the rest summed."""
    before, news = spent_by(tier), spent_by(more)
    tier["cost_usd"] = _plus(tier["cost_usd"], more["cost_usd"], sign)
    if tier["cost_usd"] is None:
        tier["known_usd"] = before.usd + sign * news.usd
        tier["unpriced"] = None
        if before.unpriced is not None and news.unpriced is not None:
            tier["unpriced"] = before.unpriced + sign * news.unpriced


class Tally:
    """What a shard has come to so far; each verdict is counted once, however often one looks.

    Args:
        before: What it had cost before it was retried.
    """

    def __init__(self, before: Mapping[str, Any] | None = None) -> None:
        self._sums = added(shard_counts((), ()), before or {})
        self._verdicts: list[Mapping[str, Any]] = []
        self._obtained: list[tuple[str, float | None]] = []
        self._reasons: list[Reason] = []

    def add(
        self,
        verdict: Mapping[str, Any],
        obtained: Iterable[tuple[str, float | None]] = (),
        reasons: Iterable[Reason] = (),
    ) -> None:
        """Count a verdict, judge and cost of the scores obtained for it, and its reasons."""
        self._verdicts.append(verdict)
        self._obtained += obtained
        self._reasons += reasons

    def spend(self, obtained: Iterable[tuple[str, float | None]]) -> None:
        """Count judge and cost of scores whose pair has no verdict yet."""
        self._obtained += obtained

    @property
    def counts(self) -> dict[str, Any]:
        """What the shard adds to its batch so far; never changed afterwards."""
        if self._verdicts or self._obtained:
            news = shard_counts(self._verdicts, self._obtained, self._reasons)
            self._sums = added(self._sums, news)
            self._verdicts, self._obtained, self._reasons = [], [], []
        return self._sums


def spent_of(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts of what was spent alone, without verdicts."""
    tiers = {
        name: {
            **_fresh_tier(),
            "obtained": one["obtained"],
            "cost_usd": one["cost_usd"],
            **{key: one[key] for key in (*_SOMETIMES, *_PARTLY_KNOWN) if key in one},
        }
        for name, one in counts.get("tiers", {}).items()
        if one["obtained"] or one["cost_usd"] != 0 or any(one.get(key) for key in _SOMETIMES)
    }
    return {**shard_counts((), ()), "cost_usd": counts.get("cost_usd", 0.0), "tiers": tiers}


def taken_up_at(counts: Mapping[str, Any], moment: datetime) -> dict[str, Any]:
    """Return the counts of a shard that is judged again from this moment on: what it has cost stays.

    Calls that were cut off are left out: they are noted with the shard.
    """
    spent = with_cut_off(spent_of(counts), ())
    return {"pairs": counts["pairs"], BEFORE: {"until": moment.isoformat(), "spent": spent}}


def spent_before(counts: Mapping[str, Any]) -> tuple[datetime | None, dict[str, Any] | None]:
    """Return until when what a shard has cost is counted already, and what that is."""
    before = counts.get(BEFORE)
    return (datetime.fromisoformat(before["until"]), before["spent"]) if before else (None, None)


def with_cut_off(counts: Mapping[str, Any], calls: Iterable[Sequence[str]]) -> dict[str, Any]:
    """Return counts that say of how many pairs (id, judge) a judge's calls were cut off, these."""
    numbers = Counter([judge for _, judge in calls])
    tiers = {
        name: {key: value for key, value in one.items() if key != CUT_OFF}
        for name, one in counts.get("tiers", {}).items()
    }
    for judge, number in numbers.items():
        tiers[judge] = {**tiers.get(judge, _fresh_tier()), CUT_OFF: number}
    return {**counts, "tiers": tiers}


def cost_of(totals: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a batch has cost: the whole, or what is known of it."""
    tiers = totals.get("tiers", {})
    cost = spent_together(_tier(name, one) for name, one in tiers.items())
    if any(one.get(CUT_OFF) for one in tiers.values()):
        return cost
    return {**cost, "cost_usd": totals.get("cost_usd", 0.0)}


def _by_judge(spent: Iterable[tuple[str, float | None]]) -> dict[str, list[float | None]]:
    found: dict[str, list[float | None]] = {}
    for judge, cost in spent:
        found.setdefault(judge, []).append(cost)
    return found


def added(totals: Mapping[str, Any], counts: Mapping[str, Any], sign: int = 1) -> dict[str, Any]:
    """Return a batch's sums with a shard's counts added, or subtracted if `sign` is -1."""
    tiers = {name: dict(one) for name, one in totals.get("tiers", {}).items()}
    for name, one in counts.get("tiers", {}).items():
        known = tiers.setdefault(name, _fresh_tier())
        for key in _TIER_COUNTS:
            known[key] += sign * one[key]
        for key in _SOMETIMES:
            if key in one:
                known[key] = known.get(key, 0) + sign * one[key]
        _add_costs(known, one, sign)
    return {
        **totals,
        "statuses": _summed(totals.get("statuses", {}), counts.get("statuses", {}), sign),
        **{
            name: totals.get(name, 0) + sign * counts.get(name, 0)
            for name in ("not_admitted", CALIBRATION_PAIRS)
        },
        "attendance": {
            name: _summed(totals.get("attendance", {}).get(name, {}), counted, sign)
            for name, counted in counts.get("attendance", {}).items()
        } or totals.get("attendance", {}),
        "cost_usd": _plus(totals.get("cost_usd", 0.0), counts.get("cost_usd", 0.0), sign),
        "costs": _summed(totals.get("costs", {}), counts.get("costs", {}), sign),
        "tiers": tiers,
    }  # fmt: skip


def moved(totals: Mapping[str, Any], before: str, after: str, count: int = 1) -> dict[str, Any]:
    """Return a batch's sums with shards moved from one state to another."""
    states = dict(totals.get("shards", {}))
    states[before] = states.get(before, 0) - count
    states[after] = states.get(after, 0) + count
    return {**totals, "shards": {state: n for state, n in states.items() if n}}


class Mark(NamedTuple):
    """How many pairs were judged at a moment, in Unix seconds."""

    moment: float
    judged: int


def is_to_mark(totals: Mapping[str, Any], moment: float) -> bool:
    """Say whether the last mark of a batch's progress is old enough for another."""
    marks = totals.get("marks")
    return not marks or moment - marks[-1][0] >= _MARK_SECONDS


def marked(totals: Mapping[str, Any], mark: Mark, start: Mark) -> dict[str, Any]:
    """Return the sums with a mark of progress; about a minute of them is kept.

    `start` says when the first pairs were started. It is kept if there is no mark before this one.
    """
    marks = [*(totals.get("marks") or [list(start)]), list(mark)]
    return {**totals, "marks": marks[-_MARKS:]}


def request_counts(total: int, totals: Mapping[str, Any]) -> dict[str, int]:
    """Count pairs by outcome; those of a shard that was set aside have failed."""
    statuses = totals.get("statuses", {})
    accepted, abstained = statuses.get("accepted", 0), statuses.get("abstained", 0)
    return {
        "total": total,
        "completed": accepted + abstained,
        "failed": statuses.get("failed", 0) + totals.get("set_aside", 0),
        "accepted": accepted,
        "abstained": abstained,
        "not_admitted": totals.get("not_admitted", 0),
    }


def calibration_pairs(batch: Batch, totals: Mapping[str, Any]) -> int:
    """Count the pairs that the certificate knows: of a dataset all, of files those judged so far."""
    known: int | None = batch.request.get(CALIBRATION_PAIRS)
    return totals.get(CALIBRATION_PAIRS, 0) if known is None else known


def progress(
    total: int, totals: Mapping[str, Any], moment: float, *, is_running: bool
) -> dict[str, Any]:
    """Return the speed of a batch, the time left, and the counts of each judge."""
    rate = _rate(totals.get("marks", []), totals, moment) if is_running else None
    left = total - done(totals)
    return {
        "pairs_per_second": rate,
        "seconds_left": left / rate if rate else None,
        "tiers": [_tier(name, one) for name, one in totals.get("tiers", {}).items()],
    }


def _tier(judge: str, counts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts of a judge as users see them."""
    if cut_off := counts.get(CUT_OFF):
        known = spent_by(counts)
        unpriced = None if known.unpriced is None else known.unpriced + cut_off
        unknown = {"cost_usd": None, "known_usd": known.usd, "unpriced": unpriced}
        return {"judge": judge, **counts, **unknown}
    return {"judge": judge, **{key: one for key, one in counts.items() if key != CUT_OFF}}


def cost_to_finish(total: int, totals: Mapping[str, Any]) -> dict[str, Any] | None:
    """Estimate the cost in USD of judging the pairs that are left or were not admitted.

    The mean cost of the pairs judged so far times the pairs left, with a normal interval; None
    before two pairs are judged, or if the price of a judge is unknown.
    """
    costs = totals.get("costs", {})
    n, mean = costs.get("pairs", 0), 0.0
    if n < 2 or totals.get("cost_usd", 0.0) is None:
        return None
    mean = costs.get("sum", 0.0) / n
    variance = max(costs.get("squares", 0.0) / n - mean * mean, 0.0) * n / (n - 1)
    left = total - done(totals) + totals.get("not_admitted", 0)
    from statistics import NormalDist  # a look at a batch seldom needs it

    # the pairs left vary too, not only the estimated mean
    spread = NormalDist().inv_cdf((1 + _LEVEL) / 2) * math.sqrt(variance * (left * left / n + left))
    return {
        "value": mean * left,
        "low": max(mean * left - spread, 0.0),
        "high": mean * left + spread,
        "confidence_level": _LEVEL,
        "n": n,
    }


def _fresh_tier() -> dict[str, Any]:
    return {**dict.fromkeys(_TIER_COUNTS, 0), "cost_usd": 0.0}


def done(totals: Mapping[str, Any]) -> int:
    """Count the pairs that have an outcome."""
    count: int = sum(totals.get("statuses", {}).values()) + totals.get("set_aside", 0)
    return count


def _rate(
    marks: Sequence[Sequence[float]], totals: Mapping[str, Any], moment: float
) -> float | None:
    if not marks or moment <= marks[0][0]:
        return None
    return (done(totals) - marks[0][1]) / (moment - marks[0][0])


def _summed(first: Mapping[str, Any], second: Mapping[str, Any], sign: int) -> dict[str, Any]:
    sums = {name: first.get(name, 0) + sign * second.get(name, 0) for name in {**first, **second}}
    return {name: value for name, value in sums.items() if value}


def _plus(first: float | None, second: float | None, sign: int) -> float | None:
    return None if first is None or second is None else first + sign * second


def _sum_of_costs(costs: Iterable[float | None]) -> float | None:
    given = list(costs)
    return None if None in given else math.fsum(cost for cost in given if cost is not None)
