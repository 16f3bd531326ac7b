"""Gates for CI: is a new model preferred to an old one, with how much evidence?"""

from __future__ import annotations

from app.gate.check import (
    NotEnoughEvidence,
    NotPassed,
    NotPreferred,
    assert_preferred,
    assert_preferred_async,
    check_preferred,
    check_preferred_async,
)
from app.gate.outputs import OutputsInvalid
from app.gate.results import GateResult, Question

__all__ = [
    "GateResult",
    "NotEnoughEvidence",
    "NotPassed",
    "NotPreferred",
    "OutputsInvalid",
    "Question",
    "assert_preferred",
    "assert_preferred_async",
    "check_preferred",
    "check_preferred_async",
]
