"""Gates for CI: is a new model preferred to an old one, with how much evidence?"""

from __future__ import annotations

from app.gate.asserting import NotEnoughEvidence, NotPassed, NotPreferred, assert_preferred
from app.gate.checking import GateResult, Question, check_preferred
from app.gate.outputs import OutputsInvalid

__all__ = [
    "GateResult",
    "NotEnoughEvidence",
    "NotPassed",
    "NotPreferred",
    "OutputsInvalid",
    "Question",
    "assert_preferred",
    "check_preferred",
]
