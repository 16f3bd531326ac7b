"""What a gate asks and answers, and how verdicts become its answer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from app.bodies.certificates import CertificateBody
from app.bodies.judgments import JudgmentsBody, VerdictBody
from app.gate.outputs import Answered, model_of
from calibration.gate import Outcome, PreferenceEvidence, weigh_preference

About = Literal["verdicts", "people"]


@dataclass(frozen=True, slots=True)
class Question:
    """The question that a gate asks.

    Attributes:
        calibration: Id of the certificate under which the outputs are judged.
        cascade: Instead, without a promise: a configured cascade.
        min_win: The win rate that the new model needs; a tie is half a win.
        alpha: Largest probability of a wrong `passed`, and of a wrong `failed`.
        about: `verdicts`: the win rate by the cascade's verdicts. `people`: the errors that the
            certificate allows are taken off, so that `passed` holds for what people prefer, with
            the certificate's failure probability added to `alpha`.
    """

    calibration: str | None = None
    cascade: str | None = None
    min_win: float = 0.5
    alpha: float = 0.1
    about: About = "verdicts"

    def __post_init__(self) -> None:
        """Refuse questions that have no answer."""
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

    def refuse_unless_promised(self, certificate: CertificateBody) -> None:
        """Refuse a question about people under a certificate whose promise is on all pairs.

        Raises:
            ValueError: it bounds no share of the verdicts given.
        """
        if self.about == "people" and certificate.get("scope") == "dataset":
            raise ValueError(
                f"about people: {self.calibration} promises that few of all pairs are given a wrong "
                "verdict, and bounds no share of the verdicts given: name one with a target agreement"
            )


@dataclass(frozen=True, slots=True)
class GateResult:
    """The answer of a gate and what it rests on.

    Attributes:
        outcome: `passed`, `failed`, or `not_enough_evidence`; the last also where the promise is
            suspended.
        question: What was asked.
        evidence: Counts of the verdicts, and bounds on the win rate.
        people_low: Lower bound on the share of pairs on which people prefer the new one, with the
            errors that the certificate allows taken off; None without a certificate.
        new: Name of the new model.
        old: Name of the old one.
        calibration_pairs: Pairs whose prompts the certificate knows: it was made from them, or its
            judges learnt from them. It promises nothing there, so they are left out of the
            evidence, and no judge is asked about them.
        labels_changed: Pairs that the certificate was made from and that have other labels now.
        identical: Pairs whose outputs are the same text: ties, about which no judge was asked.
        not_judged: Pairs on which no judge could be asked; they count as abstentions.
        promise: The weakest promise of a verdict: `certified`, `suspended` or `none`.
        suspended_because: Why the promise is suspended, if it is.
        target_agreement: The certified share of given verdicts that agree with people; None without
            a certificate, and where it is on all pairs.
        failure_probability: The probability with which the certificate may be wrong.
        cost_usd: The cost of judging; None if a price is unknown.
        max_error: The certified share of all pairs with a wrong verdict, where that is the promise.
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
    max_error: float | None = None

    @property
    def has_no_answer(self) -> bool:
        """Whether nothing was decided and a judge was asked, but none could answer on any pair."""
        asked = self.evidence.pairs - self.identical
        return self.outcome == "not_enough_evidence" and 0 < asked == self.not_judged

    def as_json(self) -> dict[str, Any]:
        """Return all of it as a JSON object."""
        return asdict(self)


_POINTS: Final = {"a": 1.0, "b": 0.0, "tie": 0.5}
_NO_EVIDENCE: Final = PreferenceEvidence(
    outcome="not_enough_evidence", win_rate=None, low=0.0, high=1.0, pairs=0, groups=0, wins=0,
    losses=0, ties=0, abstained=0, pairs_needed=None,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """The answers of the service."""

    answers: Sequence[JudgmentsBody]
    certificate: CertificateBody | None

    @property
    def verdicts(self) -> list[VerdictBody]:
        """All verdicts, in the order of the pairs."""
        return [verdict for answer in self.answers for verdict in answer["verdicts"]]

    @property
    def suspended_because(self) -> str | None:
        """The reason why the first suspended promise is suspended; None if none is."""
        return next((a["suspended_because"] for a in self.answers if a["suspended_because"]), None)

    @property
    def promise(self) -> str:
        """The weakest promise of any verdict; identical outputs need none."""
        if self.certificate is None:
            return "none"
        said = {verdict["promise"] for verdict in self.verdicts}
        return next((one for one in ("none", "suspended") if one in said), "certified")

    @property
    def cost_usd(self) -> float | None:
        """The cost of judging; None if a price is unknown."""
        costs = [verdict["cost_usd"] for verdict in self.verdicts]
        return None if None in costs else sum(cost for cost in costs if cost is not None)


def weighed(
    answered: Sequence[Answered], fresh: Sequence[Answered], question: Question, run: Run
) -> GateResult:
    """Return the answer of a gate.

    Args:
        answered: All pairs of outputs that the gate was given.
        fresh: Those of them that the certificate does not know.
        question: What is asked.
        run: The answers of the service, on those of `fresh` whose outputs differ, in their order.
    """
    verdicts = run.verdicts
    by_id = {
        _id(one): _score(one, verdict)
        for one, verdict in zip((o for o in fresh if not o.is_identical), verdicts, strict=True)
    }
    score = [by_id.get(_id(one), 0.5) for one in fresh]
    target = run.certificate["target_agreement"] if run.certificate else None
    charged = _evidence(fresh, score, question, 0.0 if target is None else 1.0 - target)
    is_about_people = question.about == "people"
    evidence = charged if is_about_people else _evidence(fresh, score, question, 0.0)
    is_promised = question.calibration is None or run.promise == "certified"
    return GateResult(
        outcome=evidence.outcome if is_promised else "not_enough_evidence",
        question=question,
        evidence=evidence,
        people_low=charged.low if target is not None and is_promised and fresh else None,
        new=model_of([one.new for one in answered], "the new model"),
        old=model_of([one.old for one in answered], "the old model"),
        calibration_pairs=len(answered) - len(fresh),
        labels_changed=run.certificate.get("labels_changed", 0) if run.certificate else 0,
        identical=len(fresh) - len(verdicts),
        not_judged=sum(verdict["status"] == "failed" for verdict in verdicts),
        promise=run.promise,
        suspended_because=run.suspended_because,
        target_agreement=target,
        failure_probability=run.certificate["failure_probability"] if run.certificate else None,
        cost_usd=run.cost_usd,
        max_error=run.certificate.get("max_error") if run.certificate else None,
    )


def _evidence(
    fresh: Sequence[Answered], score: Sequence[float], question: Question, error_share: float
) -> PreferenceEvidence:
    if not fresh:
        return _NO_EVIDENCE
    return weigh_preference(
        score,
        groups=_numbers([one.prompt for one in fresh]),
        min_win=question.min_win,
        alpha=question.alpha,
        error_share=error_share,
    )


def posted(one: Answered) -> dict[str, Any]:
    """Return a pair as it is posted to be judged."""
    first, second = (one.new, one.old) if _is_new_first(one) else (one.old, one.new)
    return {
        "id": _id(one),
        "prompt": one.prompt,
        "response_a": first.text,
        "response_b": second.text,
        "metadata": {**one.old.metadata, **one.new.metadata},
    }


def _id(one: Answered) -> str:
    return hashlib.sha256(f"{one.number}\n{one.prompt}".encode("utf-8", "replace")).hexdigest()[:32]


def _is_new_first(one: Answered) -> bool:
    """Show the new one first in half of the pairs, so that a judge's position bias cancels out."""
    return int(_id(one)[-1], 16) % 2 == 0


def _score(one: Answered, verdict: VerdictBody) -> float:
    """Return the points of the new one; nan without a verdict."""
    label = verdict["label"]
    if label is None:
        return float("nan")
    return _POINTS[label] if _is_new_first(one) else 1.0 - _POINTS[label]


def _numbers(names: Sequence[str]) -> list[int]:
    numbers: dict[str, int] = {}
    return [numbers.setdefault(name, len(numbers)) for name in names]
