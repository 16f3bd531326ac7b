"""What a gate is asked and what it answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from calibration.gate import Outcome, PreferenceEvidence

About = Literal["verdicts", "people"]


@dataclass(frozen=True, slots=True)
class Question:
    """What a gate asks.

    Attributes:
        calibration: Id of the certificate under which the outputs are judged.
        cascade: Instead, without a promise: a configured cascade.
        min_win: The win rate that the new model needs; a tie is half a win.
        alpha: Largest probability of a wrong `passed`, and of a wrong `failed`.
        about: `verdicts`: the win rate by the cascade's verdicts. `people`: every given verdict is
            charged the share of errors that the certificate allows, so that `passed` holds for what
            people prefer, with the certificate's failure probability added to `alpha`.
    """

    calibration: str | None = None
    cascade: str | None = None
    min_win: float = 0.5
    alpha: float = 0.1
    about: About = "verdicts"

    def __post_init__(self) -> None:
        """Refuse questions that nobody can answer."""
        if (self.calibration is None) == (self.cascade is None):
            raise ValueError(
                "give calibration, the certificate to judge under, or cascade, which promises "
                "nothing"
            )
        if self.about not in ("verdicts", "people"):
            raise ValueError(f"about: must be verdicts or people, not {self.about!r}")
        if self.about == "people" and self.calibration is None:
            raise ValueError("about people: only a certificate bounds how often verdicts are wrong")
        for name, most in (("min_win", 1.0), ("alpha", 0.5)):
            if not 0.0 < getattr(self, name) < most:
                raise ValueError(
                    f"{name}: must lie inside (0, {most:g}), not {getattr(self, name)}"
                )


@dataclass(frozen=True, slots=True)
class GateResult:
    """The answer of a gate and what it rests on.

    Attributes:
        outcome: `passed`, `failed`, or `not_enough_evidence`; the last also where the promise is
            suspended.
        question: What was asked.
        evidence: What the verdicts say.
        people_low: Lower bound on the share of pairs on which people prefer the new one, each
            verdict charged the errors that the certificate allows; None without a certificate.
        new: Name of the new model.
        old: Name of the old one.
        calibration_pairs: Pairs whose prompts the certificate knows, because it was made from pairs
            of them or its judges learnt from them. It promises nothing there: they are left out of
            the evidence, and no judge is asked about them.
        labels_changed: Pairs that the certificate was made from and that have other labels now.
        identical: Pairs whose outputs are the same text: ties, which nobody was asked about.
        not_judged: Pairs on which no judge could be asked; they count as abstentions.
        promise: What the verdicts promise.
        suspended_because: Why the promise is suspended, if it is.
        target_agreement: Least share of the given verdicts that agree with people, if certified.
        failure_probability: With which the certificate may be wrong.
        cost_usd: What judging cost; None where a price is unknown.
    """

    outcome: Outcome
    question: Question
    evidence: PreferenceEvidence
    people_low: float | None
    new: str
    old: str
    calibration_pairs: int
    labels_changed: int
    identical: int
    not_judged: int
    promise: str
    suspended_because: str | None
    target_agreement: float | None
    failure_probability: float | None
    cost_usd: float | None

    def as_json(self) -> dict[str, Any]:
        """Return all of it as a JSON object."""
        return asdict(self)
