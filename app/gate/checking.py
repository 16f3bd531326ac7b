"""Has the outputs of two models judged, and weighs what the verdicts say."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from app.client import Tribunal
from app.client_bodies import CertificateBody, JudgmentsBody, VerdictBody
from app.gate.outputs import Answered, Outputs, model_of, side_by_side
from calibration.preference_gate import Outcome, PreferenceEvidence, weigh_preference

About = Literal["verdicts", "people"]
_MOST_AT_ONCE: Final = 256
_POINTS: Final = {"a": 1.0, "b": 0.0, "tie": 0.5}


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


def check_preferred(client: Tribunal, new: Outputs, old: Outputs, question: Question) -> GateResult:
    """Judge two models' outputs on the same prompts, and say whether the new one is preferred.

    Args:
        client: An open client.
        new: Outputs of the new model: a file, rows in the form of AlpacaEval, or a mapping.
        old: Outputs of the old one on the same prompts.
        question: What is asked, and how sure the answer must be.

    Raises:
        OutputsInvalid: the outputs cannot be read, or are not of the same prompts.
        TribunalClientError: the service refuses, or cannot be reached.
    """
    answered = side_by_side(new, old)
    certificate = client.calibration(question.calibration) if question.calibration else None
    differing = [one for one in answered if one.new.text != one.old.text]
    answers = list(_judged(client, differing, question))
    verdicts = [verdict for answer in answers for verdict in answer["verdicts"]]
    by_id = {_id(one): _score(one, v) for one, v in zip(differing, verdicts, strict=True)}
    return _weighed(answered, [by_id.get(_id(one), 0.5) for one in answered], question,
                    _Run(answers, verdicts, certificate))  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Run:
    """What the service said."""

    answers: Sequence[JudgmentsBody]
    verdicts: Sequence[VerdictBody]
    certificate: CertificateBody | None

    @property
    def suspended_because(self) -> str | None:
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
        costs = [verdict["cost_usd"] for verdict in self.verdicts]
        return None if None in costs else sum(cost for cost in costs if cost is not None)


def _weighed(
    answered: Sequence[Answered], score: Sequence[float], question: Question, run: _Run
) -> GateResult:
    target = run.certificate["target_agreement"] if run.certificate else None
    allowed = 0.0 if target is None else 1.0 - target
    groups = [one.prompt for one in answered]
    given: dict[str, Any] = {
        "groups": _numbers(groups),
        "min_win": question.min_win,
        "alpha": question.alpha,
    }
    charged = weigh_preference(score, error_share=allowed, **given)
    evidence = charged if question.about == "people" else weigh_preference(score, **given)
    is_promised = question.calibration is None or run.promise == "certified"
    return GateResult(
        outcome=evidence.outcome if is_promised else "not_enough_evidence",
        question=question,
        evidence=evidence,
        people_low=charged.low if target is not None and is_promised else None,
        new=model_of([one.new for one in answered], "the new model"),
        old=model_of([one.old for one in answered], "the old model"),
        identical=len(answered) - len(run.verdicts),
        not_judged=sum(verdict["status"] == "failed" for verdict in run.verdicts),
        promise=run.promise,
        suspended_because=run.suspended_because,
        target_agreement=target,
        failure_probability=run.certificate["failure_probability"] if run.certificate else None,
        cost_usd=run.cost_usd,
    )


def _judged(
    client: Tribunal, answered: Sequence[Answered], question: Question
) -> Iterator[JudgmentsBody]:
    for start in range(0, len(answered), _MOST_AT_ONCE):
        pairs = [_pair(one) for one in answered[start : start + _MOST_AT_ONCE]]
        if question.calibration is not None:
            yield client.judge(pairs, calibration=question.calibration)
        else:
            yield client.judge(pairs, cascade=question.cascade or "")


def _pair(one: Answered) -> dict[str, Any]:
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
    """Half of the pairs show the new one first, so that a judge's lean to a place cancels out."""
    return int(_id(one)[-1], 16) % 2 == 0


def _score(one: Answered, verdict: VerdictBody) -> float:
    """What the new one got; nan where nobody answered."""
    label = verdict["label"]
    if label is None:
        return float("nan")
    return _POINTS[label] if _is_new_first(one) else 1.0 - _POINTS[label]


def _numbers(names: Sequence[str]) -> list[int]:
    numbers: dict[str, int] = {}
    return [numbers.setdefault(name, len(numbers)) for name in names]
