"""Silent change of a judge: the same pairs asked again, and a bet on the ranks of what changed.

At certification some pairs, the canaries, are asked once each: that answer is the reference. From
then on one canary, drawn at random each time, is asked again, and its residual is how far the
answer lies from the reference. As long as nothing changes, residuals are independent and alike, so
the rank of each among all before it, ties broken at random, is uniform and independent of the ranks
before (Vovk, Gammerman and Shafer 2005). A bet eps p^(eps - 1) on the share p of residuals that are
at least as large is fair, and the money multiplied so ever reaches 1 / delta with probability at
most delta (Ville 1939).

The reference may not be an average that the first residuals are part of: those would be smaller
than all later ones.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray
from calibration.binomial import p_value_of_more
from calibration.errors import InvalidArgument, Rng, as_generator
from calibration.monitor.wealth import restart_weights

# From a bet that all residuals are larger than any before (small) to one that many are (large).
POWERS = np.array([0.05, 0.15, 0.3, 0.5, 0.75])
_LARGEST_LOG = math.log(1e300)
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class CanaryState:
    """All that a watch on a judge remembers; it grows by no more than the residuals that differ.

    Attributes:
        failure_probability: Probability of an alarm, ever, while the judge does not change.
        asks: Residuals that were bet on.
        residuals: Residuals seen, to two significant digits and increasing, each with its number.
        log_stakes: Logarithm of the money on each bet.
        cash: Money that waits for later starts; some enters after every bet.
        highest_log_wealth: Largest logarithm of the money so far.
        alarm_at: Number of the ask that raised the alarm. It is never withdrawn.
    """

    failure_probability: float
    asks: int
    residuals: tuple[tuple[float, int], ...]
    log_stakes: tuple[float, ...]
    cash: float
    highest_log_wealth: float
    alarm_at: int | None

    @property
    def is_alarmed(self) -> bool:
        """True if the money has ever reached 1 / failure probability."""
        return self.alarm_at is not None

    @property
    def alarm_level(self) -> float:
        """E-value that raises the alarm, 1 / failure probability."""
        return 1.0 / self.failure_probability

    @property
    def log_wealth(self) -> float:
        """Logarithm of the money now."""
        return float(np.logaddexp(np.logaddexp.reduce(self.log_stakes), math.log(self.cash)))

    @property
    def e_value(self) -> float:
        """Money now, cut at 1e300: evidence that the judge has changed."""
        return math.exp(min(self.log_wealth, _LARGEST_LOG))

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, for JSON; floats come back exactly."""
        plain = asdict(self)
        plain["residuals"] = [list(pair) for pair in self.residuals]
        return plain | {"log_stakes": list(self.log_stakes)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> CanaryState:
        """Read a state written by `to_dict`.

        Raises:
            InvalidArgument: A field is missing, unknown or out of its range.
        """
        names = {field.name for field in fields(cls)}
        if wrong := sorted(names.symmetric_difference(plain)):
            raise InvalidArgument(f"state has missing or unknown fields: {', '.join(wrong)}")
        try:
            residuals = tuple((float(value), int(count)) for value, count in plain["residuals"])
            stakes = tuple(float(stake) for stake in plain["log_stakes"])
        except (TypeError, ValueError) as error:
            raise InvalidArgument("residuals and log_stakes must be lists of numbers") from error
        state = cls(**{**plain, "residuals": residuals, "log_stakes": stakes})
        _check(state)
        return state


def start_canaries(baseline: ArrayLike = (), failure_probability: float = 0.001) -> CanaryState:
    """Start to watch a judge.

    Args:
        baseline: Residuals from before any change, shape (asks,), of canaries drawn at random as all
            later ones are. They are ranked against and not bet on; the more there are, the fewer
            clear changes raise the alarm (three to five after a hundred).
        failure_probability: Probability of an alarm, ever, while the judge does not change.

    Raises:
        InvalidArgument: A residual is negative or no number, or the probability not in (0, 1).

    >>> watch = start_canaries(baseline=[0.0] * 100)
    >>> watch.asks, watch.is_alarmed
    (0, False)
    """
    if not 0 < failure_probability < 1:
        raise InvalidArgument(f"failure_probability must lie in (0, 1), not {failure_probability}")
    values, numbers = np.unique(_rounded(baseline), return_counts=True)
    seen = tuple(zip(values.tolist(), numbers.tolist(), strict=True))
    first = _entering(1)
    stakes = (math.log(first / POWERS.size),) * POWERS.size
    return CanaryState(failure_probability, 0, seen, stakes, 1.0 - first, 0.0, None)


def observe_canaries(state: CanaryState, residuals: ArrayLike, rng: Rng) -> CanaryState:
    """Return the state after some canaries were asked again; the state given does not change.

    Which canary is asked, and when, may not depend on how the judge answers. An ask that failed has
    no residual and is left out.

    Args:
        state: Before these asks.
        residuals: Distance of each answer from its reference, in the order of asking, shape (asks,),
            at least 0: of log-odds where the judge gives probabilities; else 1 where the verdict
            flipped and 0 where it did not.
        rng: Breaks ties. New numbers each time: a seed used again makes the ranks depend.

    Raises:
        InvalidArgument: A residual is negative or no number.

    >>> watch = start_canaries(baseline=[0.0] * 100)
    >>> calm = observe_canaries(watch, [0.0] * 50, rng=1)
    >>> changed = observe_canaries(calm, [0.3, 0.2, 0.3, 0.5, 0.1, 0.2] * 2, rng=2)
    >>> calm.is_alarmed, changed.is_alarmed
    (False, True)
    """
    chance = as_generator(rng)
    seen = dict(state.residuals)
    order, total = sorted(seen), sum(seen.values())
    shares = []
    for residual in _rounded(residuals).tolist():
        larger = sum(seen[value] for value in order[bisect_left(order, residual) :])
        equal = seen.get(residual, 0)
        shares.append(_share(larger - equal, equal, total, chance))
        if not equal:
            order.insert(bisect_left(order, residual), residual)
        seen[residual], total = equal + 1, total + 1
    counted = tuple((value, seen[value]) for value in order)
    return replace(_bet(state, shares), residuals=counted)


def observe_references(
    state: CanaryState, earlier: Sequence[float], again: Sequence[Sequence[float]], rng: Rng
) -> CanaryState:
    """Bet on answers that were kept from earlier, as at certification: has the judge changed since?

    Of each canary there are an answer from earlier and several new ones, with their distances from
    one new answer that is none of these. While nothing has changed these distances are alike, so the
    rank of the first among the others, ties broken at random, is uniform.

    Args:
        state: Before these bets.
        earlier: Distance of each canary's earlier answer, shape (canaries,).
        again: Distances of the new answers of each canary, shape (canaries, any number).
        rng: Breaks ties.

    Raises:
        InvalidArgument: A distance is negative or no number.

    >>> watch = start_canaries(baseline=[0.1] * 80)
    >>> observe_references(watch, [2.0] * 20, [[0.1] * 4] * 20, rng=1).is_alarmed
    True
    """
    chance = as_generator(rng)
    shares = []
    for distance, others in zip(_rounded(earlier).tolist(), again, strict=True):
        seen = _rounded(others)
        larger, equal = int((seen > distance).sum()), int((seen == distance).sum())
        shares.append(_share(larger, equal, seen.size, chance))
    return _bet(state, shares)


def _share(larger: int, equal: int, others: int, chance: np.random.Generator) -> float:
    # 1 - U lies in (0, 1]: a share of 0 would be infinite evidence
    return float((larger + (1.0 - chance.uniform()) * (equal + 1)) / (others + 1))


def _bet(state: CanaryState, shares: Sequence[float]) -> CanaryState:
    """Return the state after bets on shares that are uniform while nothing changes."""
    stakes, cash = np.array(state.log_stakes), state.cash
    highest, alarm_at, asks = state.highest_log_wealth, state.alarm_at, state.asks
    for share in shares:
        asks += 1
        stakes = stakes + log_bets(np.array([share]))[:, 0]
        wealth = float(np.logaddexp(np.logaddexp.reduce(stakes), math.log(cash)))
        highest = max(highest, wealth)
        if alarm_at is None and wealth >= -math.log(state.failure_probability):
            alarm_at = asks
        entering = _entering(asks + 1)
        stakes, cash = np.logaddexp(stakes, math.log(entering / POWERS.size)), cash - entering
    return replace(
        state,
        asks=asks,
        log_stakes=tuple(stakes.tolist()),
        cash=cash,
        highest_log_wealth=highest,
        alarm_at=alarm_at,
    )


def _entering(number: int) -> float:
    return float(restart_weights(np.array([float(number)]))[0])


def log_bets(shares: FloatArray) -> FloatArray:
    """Return log(eps p^(eps - 1)) for each bet eps and share p, shape (bets, shares)."""
    bets: FloatArray = np.log(POWERS)[:, None] + (POWERS[:, None] - 1.0) * np.log(shares)
    return bets


def flips_p_value(flips: int, asks: int, flips_before: int, asks_before: int) -> float:
    """Return the exact p-value of "verdicts flip no more often than before" (Fisher 1935).

    For a judge without probabilities, looked at once: unlike the bets of `observe_canaries` it is
    not valid where it is computed again as asks come in.

    Args:
        flips: Asks whose verdict differs from its reference.
        asks: Asks now.
        flips_before: The same before any change could have happened.
        asks_before: Asks then.

    Raises:
        InvalidArgument: Flips are negative or more than the asks.

    >>> round(flips_p_value(flips=4, asks=20, flips_before=1, asks_before=100), 4)
    0.0026
    """
    return p_value_of_more(flips, asks, flips_before, asks_before)


def _rounded(residuals: ArrayLike) -> FloatArray:
    """Return residuals to two significant digits, so that what is stored stays small."""
    values = np.asarray(residuals, dtype=np.float64)
    if values.ndim != 1 or not np.all(np.isfinite(values) & (values >= 0)):
        raise InvalidArgument("residuals must be a list of finite numbers, none below 0")
    return np.array([float(f"{value:.2g}") for value in values.tolist()], dtype=np.float64)


def _check(state: CanaryState) -> None:
    numbers = [count for _, count in state.residuals]
    values = np.array([value for value, _ in state.residuals])
    for name, is_right in (
        ("failure_probability", 0 < state.failure_probability < 1),
        ("asks", isinstance(state.asks, int) and 0 <= state.asks <= sum(numbers)),
        ("residuals", min(numbers, default=1) > 0 and bool(np.all(np.diff(values) > 0))),
        ("residuals", bool(np.all(np.isfinite(values) & (values >= 0)))),
        ("log_stakes", len(state.log_stakes) == POWERS.size),
        ("cash", 0 < state.cash <= 1),
        ("highest_log_wealth", 0 <= state.highest_log_wealth < math.inf),
        ("alarm_at", state.alarm_at is None or 1 <= state.alarm_at <= state.asks),
    ):
        if not is_right:
            raise InvalidArgument(f"{name} does not fit the other fields of the state")
