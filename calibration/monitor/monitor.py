"""Monitor of a certificate: its state, and the update by audits.

An audit asks a person about a verdict that was given, chosen at random with a known probability.
Money is bet on "the risk has risen" (`calibration.monitor.wealth`). While the expected loss of the
next audit, given all earlier ones, is at most the target risk alpha, the wealth is a
supermartingale that starts at 1, and it ever reaches 1 / delta with probability at most delta
(Ville 1939; Waudby-Smith and Ramdas 2024). Reaching it is the alarm. Nothing else is assumed: the
risk may move below alpha, and the traffic may change.

The promise: with probability at least 1 - delta(certificate) - delta(monitor) the certificate is
true and, as long as the risk stays at most alpha, no alarm is ever raised. Silence does not mean
that the risk is low: after a rise the alarm takes time (`detection_delay`), and a small rise takes
thousands of audits. Certifying again after an alarm needs a new share of the failure probability.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray, IntArray
from calibration.errors import InvalidArgument, UndeclaredBound
from calibration.monitor.wealth import (
    MOST_STARTS,
    Starts,
    Wealth,
    alternatives,
    followed,
    followed_by_number,
    opening_wealth,
    stakes_per_term,
    with_warnings,
)

TOLERANCE = 1e-9
# e-values above are cut, so that they stay numbers in JSON
_LARGEST_LOG = math.log(1e300)
_STAKES = ("log_stakes", "log_warning_stakes")
# written only where answers came in another order, and in no state of earlier versions
_OF_ORDER = ("drawn", "later_starts")


@dataclass(frozen=True, slots=True)
class MonitorState:
    """All that a monitor remembers; its size is bounded, however many audits it has seen.

    Attributes:
        target_risk: Alpha, the risk that is promised.
        failure_probability: Probability that an alarm is ever raised while the risk is at most alpha.
        average_run_length: Audits between early warnings, in the mean and at least, while the risk is
            at most alpha.
        min_audit_probability: Declared lower bound on unequal audit probabilities; None where all
            audits are equally probable.
        audits: Audits seen (prompts, where several verdicts of a prompt make one).
        loss_total: Sum of loss / audit probability (loss alone where all are equal).
        weight_total: Sum of 1 / audit probability (`audits` where all are equal).
        log_stakes: Logarithm of the money on each alternative, that of `later_starts` apart.
        cash: Money that waits for later starts.
        highest_log_wealth: Largest logarithm of the wealth so far.
        alarm_at: Number of the audit that raised the alarm. It is never withdrawn.
        log_warning_stakes: The same for the early warning, each start with money of 1.
        warnings: Early warnings so far; after each the warning starts again.
        warned_at: Number of the audit of the last early warning.
        drawn: Largest number in the order of drawing of an audit seen; None where audits were seen
            in that order.
        later_starts: The last starts of bets, where audits are numbered: the draw after which each
            one bets, then the logarithm of its money on each alternative.
    """

    target_risk: float
    failure_probability: float
    average_run_length: float
    min_audit_probability: float | None
    audits: int
    loss_total: float
    weight_total: float
    log_stakes: tuple[float, ...]
    cash: float
    highest_log_wealth: float
    alarm_at: int | None
    log_warning_stakes: tuple[float, ...]
    warnings: int
    warned_at: int | None
    drawn: int | None = None
    later_starts: tuple[tuple[float, ...], ...] = ()

    @property
    def is_alarmed(self) -> bool:
        """True if the wealth has ever reached 1 / failure probability."""
        return self.alarm_at is not None

    @property
    def log_wealth(self) -> float:
        """Logarithm of the wealth now."""
        return float(self.wealth.log_total)

    @property
    def e_value(self) -> float:
        """Wealth now, cut at 1e300: evidence that the risk has risen above alpha."""
        return math.exp(min(self.log_wealth, _LARGEST_LOG))

    @property
    def alarm_level(self) -> float:
        """E-value that raises the alarm, 1 / failure probability."""
        return 1.0 / self.failure_probability

    @property
    def p_value(self) -> float:
        """Anytime-valid p-value of "the risk never rose above alpha": 1 / the largest wealth."""
        return math.exp(-self.highest_log_wealth)

    @property
    def wealth(self) -> Wealth:
        """Stakes of all starts together, and cash, for audits that come in the order of drawing."""
        starts = self.starts
        stakes = np.concatenate([starts.log_stakes[None], starts.log_later])
        return Wealth(np.logaddexp.reduce(stakes, axis=0), self.cash, starts.drawn)

    @property
    def starts(self) -> Starts:
        """Stakes by start, for audits that come in any order."""
        rows = np.array(self.later_starts).reshape(-1, 1 + len(self.log_stakes))
        drawn = self.audits if self.drawn is None else self.drawn
        return Starts(
            np.array(self.log_stakes), rows[:, 0].astype(np.int64), rows[:, 1:], self.cash, drawn
        )

    @property
    def bets(self) -> FloatArray:
        """Bet of each alternative on a term (loss - alpha) / audit probability."""
        return stakes_per_term(self.target_risk, self.min_audit_probability)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, for JSON; floats come back exactly."""
        plain = asdict(self)
        if self.drawn is None:
            plain = {name: value for name, value in plain.items() if name not in _OF_ORDER}
        else:
            plain["later_starts"] = [list(start) for start in self.later_starts]
        return {name: list(v) if isinstance(v, tuple) else v for name, v in plain.items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> MonitorState:
        """Read a state written by `to_dict`.

        Raises:
            InvalidArgument: A field is missing, unknown or no number of its range, or the stakes do
                not fit the target risk.
        """
        names = {field.name for field in fields(cls)}
        plain = {"drawn": None, "later_starts": [], **plain}
        if wrong := sorted(names.symmetric_difference(plain)):
            raise InvalidArgument(f"state has missing or unknown fields: {', '.join(wrong)}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in plain.items()
        }
        values["later_starts"] = _read_starts(plain["later_starts"], values["log_stakes"])
        _check_numbers(values)
        state = cls(**values)
        check_settings(state.target_risk, state.failure_probability, state.average_run_length)
        check_min_audit_probability(state.min_audit_probability)
        _check_progress(state)
        return state


def start_monitor(
    target_risk: float,
    failure_probability: float = 0.05,
    *,
    average_run_length: float = 1000.0,
    min_audit_probability: float | None = None,
) -> MonitorState:
    """Start a monitor of "the risk is at most alpha", before its first audit.

    Args:
        target_risk: Alpha; some alternative 1.15 alpha must lie below .95.
        failure_probability: Delta of the monitor, a share apart from the certificate's.
        average_run_length: Audits between false early warnings, in the mean; above 1.
        min_audit_probability: Lower bound on every audit's probability, where they differ. Declared
            before the audits, never read off them.

    Raises:
        InvalidArgument: A number is out of its range.

    >>> monitor = start_monitor(target_risk=0.1)
    >>> monitor.audits, monitor.is_alarmed
    (0, False)
    """
    check_settings(target_risk, failure_probability, average_run_length)
    check_min_audit_probability(min_audit_probability)
    n_alternatives = alternatives(target_risk).size
    opening = opening_wealth(n_alternatives)
    return MonitorState(
        target_risk=target_risk,
        failure_probability=failure_probability,
        average_run_length=average_run_length,
        min_audit_probability=min_audit_probability,
        audits=0,
        loss_total=0.0,
        weight_total=0.0,
        log_stakes=tuple(opening.log_stakes.tolist()),
        cash=opening.cash,
        highest_log_wealth=0.0,
        alarm_at=None,
        log_warning_stakes=(0.0,) * n_alternatives,
        warnings=0,
        warned_at=None,
    )


def observe(
    state: MonitorState,
    losses: ArrayLike,
    probabilities: ArrayLike | None = None,
    numbers: ArrayLike | None = None,
) -> MonitorState:
    """Return the state after some audits; the state given does not change.

    Equal probabilities: an audit multiplies the stake on alternative r by
    f = 1 + (loss - alpha) (r - alpha) / (alpha (1 - alpha)). Unequal ones, pi known for each audited
    verdict: by 1 + b (loss - alpha) / pi with fixed 0 <= b <= .75 pi_min / alpha. Restarted every
    25 audits with weights 1 / (1.7 j (1 + ln j)^2), the mean over alternatives is the wealth. The
    early warning is Shiryaev-Roberts' M_t = (M_{t-1} + 1) f, averaged over the same alternatives:
    M_t - t is a supermartingale, so a threshold of M = B takes at least B audits in the mean. It
    starts again after each warning and bounds no probability. At a risk of exactly alpha = .10 a
    warning came every 1,300 audits for B = 1,000 and every 270 for B = 200.

    A stream cut anywhere gives the same state up to rounding (1e-12). With `numbers` the wealth does
    not depend on the order in which answers come either, as long as none is later than 100 starts
    (2,500 audits): each start bets on the audits drawn after it alone, so that late answers from
    before a rise do not hide it.

    Assumed: the expected loss of the next audit, given all earlier ones, is the risk at that time.
    So verdicts are drawn for audit at random, their labels come in any order that does not depend on
    what they say, late ones and missing ones included, and verdicts of one prompt make one audit
    (`prompt_losses`) or one of them is drawn.

    Args:
        state: Before these audits.
        losses: Disagreement with people, shape (audits,), in [0, 1]; soft losses are allowed.
        probabilities: Probability with which each of these verdicts was drawn, shape (audits,), at
            least the declared bound; None where all are equal. May depend on the verdict.
        numbers: Number of each of these audits in the order of drawing, from 1 on, shape (audits,),
            those whose answers never come counted; None where they come in that order.

    Raises:
        InvalidArgument: A shape does not fit or a value is out of range.
        UndeclaredBound: Probabilities are given but `min_audit_probability` was not declared.

    >>> monitor = observe(start_monitor(target_risk=0.1), losses=np.ones(12))
    >>> monitor.audits, monitor.alarm_at
    (12, 3)
    >>> late = observe(start_monitor(target_risk=0.1), np.ones(12), numbers=np.arange(12, 0, -1))
    >>> bool(np.isclose(late.e_value, monitor.e_value))
    True
    """
    terms = audit_terms(state, losses, probabilities)
    if terms.ndim != 1:
        raise InvalidArgument(f"losses must have shape (audits,), not {terms.shape}")
    weights = np.ones(terms.size) if probabilities is None else 1.0 / np.asarray(probabilities)
    if numbers is None and state.drawn is None:
        for after, path in followed(state.wealth, state.bets, terms):
            state = _with_wealth(state, after, path)
    elif terms.size:
        state = _with_starts(state, terms, _checked_numbers(state, numbers, terms.size))
    state = _with_warnings(state, terms)
    return replace(
        state,
        loss_total=state.loss_total + float(weights @ np.asarray(losses, dtype=np.float64)),
        weight_total=state.weight_total + float(weights.sum()),
    )


def audit_terms(
    state: MonitorState, losses: ArrayLike, probabilities: ArrayLike | None = None
) -> FloatArray:
    """Check audits and return what is bet on, (loss - alpha) / probability, shape (..., audits).

    Raises:
        InvalidArgument: A shape does not fit or a value is out of range.
        UndeclaredBound: Probabilities are given but `min_audit_probability` was not declared.
    """
    loss = np.asarray(losses, dtype=np.float64)
    if loss.ndim == 0 or not np.all((loss >= 0) & (loss <= 1)):
        raise InvalidArgument("losses must be an array of numbers in [0, 1]")
    terms: FloatArray = (loss - state.target_risk) / _checked_probabilities(
        state, probabilities, loss.shape
    )
    return terms


def _checked_probabilities(
    state: MonitorState, probabilities: ArrayLike | None, shape: tuple[int, ...]
) -> FloatArray:
    smallest = state.min_audit_probability
    if probabilities is None:
        if smallest is not None:
            raise InvalidArgument("probabilities must be given: a smallest one was declared")
        return np.ones(shape)
    if smallest is None:
        raise UndeclaredBound("probabilities need a declared min_audit_probability")
    drawn = np.asarray(probabilities, dtype=np.float64)
    if drawn.shape != shape:
        raise InvalidArgument(f"probabilities must have shape {shape}, not {drawn.shape}")
    if not np.all((drawn >= smallest * (1 - TOLERANCE)) & (drawn <= 1)):
        raise InvalidArgument(f"probabilities must lie in [{smallest}, 1]")
    return drawn


def _checked_numbers(state: MonitorState, numbers: ArrayLike | None, n: int) -> IntArray:
    if numbers is None:
        return np.arange(n) + state.starts.drawn + 1
    drawn = np.asarray(numbers)
    if drawn.shape != (n,) or drawn.dtype.kind not in "iu" or not (drawn >= 1).all():
        raise InvalidArgument(f"numbers must be {n} whole numbers from 1 on")
    return drawn.astype(np.int64)


def _with_starts(state: MonitorState, terms: FloatArray, numbers: IntArray) -> MonitorState:
    after, path = followed_by_number(state.starts, state.bets, terms, numbers)
    rows = np.column_stack([after.after, after.log_later])
    wealth = Wealth(after.log_stakes, after.cash, state.audits + terms.size)
    return replace(
        _with_wealth(state, wealth, path),
        drawn=after.drawn,
        later_starts=tuple(tuple(row) for row in rows.tolist()),
    )


def _with_wealth(state: MonitorState, after: Wealth, path: FloatArray) -> MonitorState:
    alarm_at = state.alarm_at
    reached = np.flatnonzero(path >= -math.log(state.failure_probability))
    if alarm_at is None and reached.size:
        alarm_at = state.audits + int(reached[0]) + 1
    return replace(
        state,
        audits=after.audits,
        log_stakes=tuple(after.log_stakes.tolist()),
        cash=after.cash,
        highest_log_wealth=max(state.highest_log_wealth, float(path.max())),
        alarm_at=alarm_at,
    )


def _with_warnings(state: MonitorState, terms: FloatArray) -> MonitorState:
    stakes, warned = with_warnings(
        np.array(state.log_warning_stakes), state.bets, terms, state.average_run_length
    )
    before = state.audits - terms.size
    return replace(
        state,
        log_warning_stakes=tuple(stakes.tolist()),
        warnings=state.warnings + len(warned),
        warned_at=before + warned[-1] if warned else state.warned_at,
    )


def check_settings(
    target_risk: float, failure_probability: float, average_run_length: float
) -> None:
    """Refuse settings outside their ranges.

    Raises:
        InvalidArgument: A number is out of its range.
    """
    if not target_risk > 0 or not alternatives(target_risk).size:
        raise InvalidArgument(f"target_risk must lie in (0, .826), not {target_risk}")
    if not 0 < failure_probability < 1:
        raise InvalidArgument(f"failure_probability must lie in (0, 1), not {failure_probability}")
    if not 1 < average_run_length < math.inf:
        raise InvalidArgument(f"average_run_length must be above 1, not {average_run_length}")


def check_min_audit_probability(smallest: float | None) -> None:
    """Refuse a declared bound outside (0, 1].

    Raises:
        InvalidArgument: It is out of its range.
    """
    if smallest is not None and not 0 < smallest <= 1:
        raise InvalidArgument(f"min_audit_probability must lie in (0, 1], not {smallest}")


def _read_starts(rows: Any, log_stakes: Any) -> tuple[tuple[float, ...], ...]:
    width = 1 + len(log_stakes) if isinstance(log_stakes, tuple) else 0
    if not isinstance(rows, list) or len(rows) > MOST_STARTS:
        raise InvalidArgument(f"later_starts must be a list of at most {MOST_STARTS} starts")
    for row in rows:
        if not isinstance(row, list) or len(row) != width or not all(map(_is_number, row)):
            raise InvalidArgument(f"later_starts must hold lists of {width} numbers")
    return tuple(tuple(row) for row in rows)


def _check_numbers(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if name == "later_starts":
            continue
        is_optional = name in ("min_audit_probability", "alarm_at", "warned_at", "drawn")
        numbers = value if name in _STAKES else (value,)
        if value is None and is_optional:
            continue
        if not isinstance(numbers, tuple) or not all(_is_number(each) for each in numbers):
            raise InvalidArgument(f"{name} must be a finite number: {value}")


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)


def _check_progress(state: MonitorState) -> None:
    for name in _STAKES:
        if len(getattr(state, name)) != alternatives(state.target_risk).size:
            raise InvalidArgument(f"{name} does not fit a target_risk of {state.target_risk}")
    seen, paid = state.audits, state.weight_total * (1 + TOLERANCE)
    for name, value, least, most in (
        ("audits", seen, 0, math.inf),
        ("warnings", state.warnings, 0, seen),
        ("alarm_at", state.alarm_at, 1, seen),
        ("warned_at", state.warned_at, 1, seen),
        ("drawn", state.drawn, 0, math.inf),
        ("cash", state.cash, math.ulp(0.0), 1),
        ("highest_log_wealth", state.highest_log_wealth, 0, math.inf),
        ("weight_total", state.weight_total, 0, math.inf),
        ("loss_total", state.loss_total, 0, paid),
    ):
        if value is not None and not least <= value <= most:
            raise InvalidArgument(f"{name} must lie in [{least}, {most}], not {value}")
    if not all(0 < start[0] <= (state.drawn or 0) for start in state.later_starts):
        raise InvalidArgument(
            f"later_starts must begin at draws up to {state.drawn}, which is drawn"
        )
    whole = (seen, state.warnings, state.alarm_at, state.drawn)
    if not all(isinstance(each, int | None) for each in whole):
        raise InvalidArgument("audits, warnings, alarm_at and drawn must be whole numbers")
