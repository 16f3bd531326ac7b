"""What a monitor remembers between audits, and whether a stored state can be one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from calibration.arrays import FloatArray
from calibration.audit_wealth import Wealth, alternatives, stakes_per_term
from calibration.errors import InvalidArgument

TOLERANCE = 1e-9
_STAKES = ("log_stakes", "log_warning_stakes")


@dataclass(frozen=True, slots=True)
class MonitorState:
    """All that a monitor remembers; its size does not depend on how many audits it has seen.

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
        log_stakes: Logarithm of the money on each alternative.
        cash: Money that waits for later starts.
        highest_log_wealth: Largest logarithm of the wealth so far.
        alarm_at: Number of the audit that raised the alarm. It is never withdrawn.
        log_warning_stakes: The same for the early warning, each start with money of 1.
        warnings: Early warnings so far; after each the warning starts afresh.
        warned_at: Number of the audit of the last early warning.
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

    @property
    def is_alarmed(self) -> bool:
        """Whether the wealth has ever reached 1 / failure probability."""
        return self.alarm_at is not None

    @property
    def log_wealth(self) -> float:
        """Logarithm of the wealth now."""
        return float(self.wealth.log_total)

    @property
    def p_value(self) -> float:
        """Anytime-valid p-value of "the risk never rose above alpha": 1 / the largest wealth."""
        return math.exp(-self.highest_log_wealth)

    @property
    def wealth(self) -> Wealth:
        """Stakes and cash as arrays."""
        return Wealth(np.array(self.log_stakes), self.cash, self.audits)

    @property
    def bets(self) -> FloatArray:
        """Bet of each alternative on a term (loss - alpha) / audit probability."""
        return stakes_per_term(self.target_risk, self.min_audit_probability)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, for JSON; floats come back exactly."""
        plain = asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in plain.items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> MonitorState:
        """Take up a state written by `to_dict`.

        Raises:
            InvalidArgument: A field is missing, unknown or no number of its range, or the stakes do
                not fit the target risk.
        """
        names = {field.name for field in fields(cls)}
        if wrong := sorted(names.symmetric_difference(plain)):
            raise InvalidArgument(f"state has missing or unknown fields: {', '.join(wrong)}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in plain.items()
        }
        _check_numbers(values)
        state = cls(**values)
        check_settings(state.target_risk, state.failure_probability, state.average_run_length)
        check_min_audit_probability(state.min_audit_probability)
        _check_progress(state)
        return state


def _check_numbers(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        is_optional = name in ("min_audit_probability", "alarm_at", "warned_at")
        numbers = value if name in _STAKES else (value,)
        if value is None and is_optional:
            continue
        if not isinstance(numbers, tuple) or not all(_is_number(each) for each in numbers):
            raise InvalidArgument(f"{name} is not a finite number as it should be: {value}")


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
        ("cash", state.cash, math.ulp(0.0), 1),
        ("highest_log_wealth", state.highest_log_wealth, 0, math.inf),
        ("weight_total", state.weight_total, 0, math.inf),
        ("loss_total", state.loss_total, 0, paid),
    ):
        if value is not None and not least <= value <= most:
            raise InvalidArgument(f"{name} must lie in [{least}, {most}], not {value}")
    if not all(isinstance(each, int | None) for each in (seen, state.warnings, state.alarm_at)):
        raise InvalidArgument("audits, warnings and alarm_at must be whole numbers")


def check_settings(
    target_risk: float, failure_probability: float, average_run_length: float
) -> None:
    """Refuse settings that no monitor can have.

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
