"""Monitors of a whole traffic and of its slices, whose alarms share one failure probability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import IntArray
from calibration.errors import InvalidArgument
from calibration.monitor.monitor import MonitorState, observe, start_monitor

_FIELDS = ("whole", "slices", "unwatched")


@dataclass(frozen=True, slots=True)
class SlicedMonitor:
    """A monitor of all audits, and one for each slice that was declared.

    Attributes:
        whole: Monitor of all audits.
        slices: Monitor of each slice, by name.
        unwatched: Audits of slices without a monitor; they count in `whole` alone.
    """

    whole: MonitorState
    slices: Mapping[str, MonitorState]
    unwatched: int = 0

    @property
    def is_alarmed(self) -> bool:
        """True if the whole, or a slice, has raised its alarm."""
        return self.whole.is_alarmed or bool(self.alarmed_slices)

    @property
    def alarmed_slices(self) -> tuple[str, ...]:
        """Slices that have raised their alarm, the clearest case first."""
        return tuple(name for name in self.by_evidence if self.slices[name].is_alarmed)

    @property
    def by_evidence(self) -> tuple[str, ...]:
        """All slices, that with the largest e-value first: where the risk most likely rose."""
        return tuple(sorted(self.slices, key=lambda name: -self.slices[name].log_wealth))

    @property
    def moved(self) -> str | None:
        """Slice that most likely raised the risk: one that is alarmed before others, then the e-value."""
        return next(iter(self.alarmed_slices or self.by_evidence), None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, lists and dicts, for JSON; floats come back exactly."""
        slices = {name: state.to_dict() for name, state in self.slices.items()}
        return {"whole": self.whole.to_dict(), "slices": slices, "unwatched": self.unwatched}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> SlicedMonitor:
        """Read what `to_dict` has written.

        Raises:
            InvalidArgument: A field is missing, unknown or out of its range.
        """
        if wrong := sorted(set(_FIELDS).symmetric_difference(plain)):
            raise InvalidArgument(f"state has missing or unknown fields: {', '.join(wrong)}")
        whole, unwatched = MonitorState.from_dict(plain["whole"]), plain["unwatched"]
        if not isinstance(unwatched, int) or not 0 <= unwatched <= whole.audits:
            raise InvalidArgument(f"unwatched must lie in [0, {whole.audits}], not {unwatched}")
        slices = {name: MonitorState.from_dict(state) for name, state in plain["slices"].items()}
        return cls(whole, slices, unwatched)


def start_sliced_monitor(
    target_risk: float,
    slices: Mapping[str, float] | Sequence[str],
    failure_probability: float = 0.05,
    *,
    average_run_length: float = 1000.0,
    min_audit_probability: float | None = None,
) -> SlicedMonitor:
    """Start a monitor of the whole and of its slices, before the first audit.

    Half of the failure probability belongs to the whole, the rest in equal parts to the slices: while
    no risk is above its target, some alarm is ever raised with at most that probability (union bound).

    Args:
        target_risk: Alpha of the whole.
        slices: Names of the slices, or the target risk of each by name. A certificate on the whole
            promises nothing about a slice, whose risk may rightly lie above alpha: give such a slice
            a target of its own, or its alarm says only that its risk is above alpha.
        failure_probability: Delta of all monitors together.
        average_run_length: As for `start_monitor`, like what follows.
        min_audit_probability: Lower bound on every audit's probability, where they differ.

    Raises:
        InvalidArgument: A number is out of its range, or a slice is named twice.

    >>> monitor = start_sliced_monitor(0.1, {"maths": 0.1, "poems": 0.2})
    >>> monitor.whole.failure_probability, monitor.slices["poems"].failure_probability
    (0.025, 0.0125)
    """
    targets = dict(slices) if isinstance(slices, Mapping) else dict.fromkeys(slices, target_risk)
    if len(targets) < len(slices):
        raise InvalidArgument("slices must have different names")

    def started(target: float, level: float) -> MonitorState:
        return start_monitor(
            target,
            level,
            average_run_length=average_run_length,
            min_audit_probability=min_audit_probability,
        )

    share = failure_probability / (2.0 if targets else 1.0)
    parts = {name: started(target, share / len(targets)) for name, target in targets.items()}
    return SlicedMonitor(started(target_risk, share), parts)


def observe_in_slices(
    monitor: SlicedMonitor,
    losses: ArrayLike,
    slices: Sequence[str | None],
    probabilities: ArrayLike | None = None,
    numbers: ArrayLike | None = None,
) -> SlicedMonitor:
    """Return the monitors after some audits; the one given does not change.

    Args:
        monitor: Before these audits.
        losses: As for `observe`, shape (audits,).
        slices: Slice of each audit; None, or a name that was not declared, counts in the whole alone.
        probabilities: As for `observe`.
        numbers: As for `observe`, shape (audits, 2): among all audits, and among those of its slice.

    Raises:
        InvalidArgument: A shape does not fit or a value is out of range.
        UndeclaredBound: As for `observe`.

    >>> monitor = start_sliced_monitor(0.1, ["maths", "poems"])
    >>> monitor = observe_in_slices(monitor, [1, 1, 1, 1, 0], ["poems"] * 4 + ["maths"])
    >>> monitor.alarmed_slices, monitor.whole.audits, monitor.slices["maths"].audits
    (('poems',), 5, 1)
    """
    loss = np.asarray(losses, dtype=np.float64)
    of_all, of_slice = _numbers(numbers, loss.size)
    whole = observe(monitor.whole, losses, probabilities, of_all)
    drawn = None if probabilities is None else np.asarray(probabilities, dtype=np.float64)
    if len(slices) != loss.size:
        raise InvalidArgument(f"slices must have {loss.size} names, not {len(slices)}")
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(slices):
        if name is not None and name in monitor.slices:
            rows.setdefault(name, []).append(row)
    seen = {
        name: observe(
            monitor.slices[name],
            loss[of],
            None if drawn is None else drawn[of],
            None if of_slice is None else of_slice[of],
        )
        for name, of in rows.items()
    }
    unwatched = monitor.unwatched + loss.size - sum(len(of) for of in rows.values())
    return replace(monitor, whole=whole, slices={**monitor.slices, **seen}, unwatched=unwatched)


def _numbers(numbers: ArrayLike | None, n: int) -> tuple[IntArray | None, IntArray | None]:
    if numbers is None:
        return None, None
    drawn = np.asarray(numbers)
    if drawn.shape != (n, 2):
        raise InvalidArgument(f"numbers must have shape {(n, 2)}, not {drawn.shape}")
    return drawn[:, 0], drawn[:, 1]
