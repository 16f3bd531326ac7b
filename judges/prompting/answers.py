"""Combine the answers of simulated annotators into a score.

If any answer fails, the score fails: an average over fewer annotators or orders would belong to a
different judge than the certified one. Usage is counted in either case.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from judges.base import JudgeSpec
from judges.probability import Preference, mean_preference, normalise
from judges.prompting.label_tokens import LABEL_BOUND, LabelProbabilities
from judges.prompting.ratings import Scale, mean_shares, preference_of_ratings
from judges.types import JudgeFailure, Score, TokenUsage

#: Most of the probability is outside the labels, so the confidence is unreliable.
LABELS_IMPROBABLE: Final = "labels_improbable"
_MOSTLY: Final = 0.5
_NOTHING: Final = TokenUsage()


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer of one simulated annotator for one response order.

    Attributes:
        said: Probabilities of the labels for the first response, the second response and, with
            three labels, neither; or of the values of a scale; or the failure.
        usage: Tokens used, retries included.
        is_usage_known: True if the back end reported the usage of every call.
        flags: Flags raised for this answer.
        batched: The part of the usage that is billed at the price of a provider's batch.
    """

    said: LabelProbabilities | JudgeFailure
    usage: TokenUsage = field(default_factory=TokenUsage)
    is_usage_known: bool = True
    flags: tuple[str, ...] = ()
    batched: TokenUsage = field(default_factory=TokenUsage)


@dataclass(frozen=True, slots=True)
class AnnotatorAnswers:
    """Answers of one annotator with a shown first and b shown first; None if not queried.

    With a scale they are its ratings of a and of b.
    """

    a_first: Answer
    a_second: Answer | None
    scale: Scale | None = None

    @classmethod
    def of_orders(cls, answers: Sequence[Answer], scale: Scale | None = None) -> AnnotatorAnswers:
        """Build from the answers to one or both orders, or to the question about each response."""
        return cls(answers[0], answers[1] if len(answers) > 1 else None, scale)

    @property
    def given(self) -> tuple[Answer, ...]:
        """Answers that are present."""
        return (self.a_first,) if self.a_second is None else (self.a_first, self.a_second)


def score_of_answers(
    spec: JudgeSpec,
    annotators: Sequence[AnnotatorAnswers],
    *,
    seconds: float | None = None,
    flags: Sequence[str] = (),
    batch_price: float = 1.0,
) -> Score:
    """Return the mean over all answers, each mapped back to a and b, or the first failure.

    If both orders are queried, swapping the responses of the pair gives exactly the mirrored score.
    Ratings give P(X > Y) + P(X = Y) / 2, where X and Y are independent and have the annotators'
    mean distributions.

    Args:
        spec: The judge.
        annotators: One or more annotators' answers.
        seconds: Time taken by the judge.
        flags: Flags of the pair itself.
        batch_price: What batched usage costs, as a share of the judge's prices.
    """
    answers = [answer for annotator in annotators for answer in annotator.given]
    failures = [a.said for a in answers if isinstance(a.said, JudgeFailure)]
    probabilities = [a.said for a in answers if isinstance(a.said, LabelProbabilities)]
    usage = sum((answer.usage for answer in answers), TokenUsage())
    batched = sum((answer.batched for answer in answers), TokenUsage())
    is_usage_known = all(answer.is_usage_known for answer in answers)
    rows = () if failures else tuple(_row(annotator) for annotator in annotators)
    mean = mean_of_answers(annotators)
    outside = None if failures else _mean_outside_mass(probabilities)
    if outside is not None and outside > _MOSTLY:
        flags = (*flags, LABELS_IMPROBABLE)
    scale = annotators[0].scale
    has_ties = scale is None and any(len(said.shares) > 2 for said in probabilities)
    return Score(
        judge=spec.name,
        fingerprint=spec.fingerprint,
        p_a=None if mean is None else mean.p_a,
        p_tie=mean.p_tie if mean is not None and has_ties else None,
        annotators=tuple(_numbers(row, has_ties) for row in rows),
        ratings=None if failures or scale is None else _ratings(annotators, scale),
        outside_mass=outside,
        failure=failures[0] if failures else None,
        usage=usage,
        cost_usd=cost_of(spec, usage, batched, batch_price) if is_usage_known else None,
        seconds=seconds,
        flags=tuple(sorted({*flags, *_flags(answers, probabilities)})),
    )


def mean_of_answers(annotators: Sequence[AnnotatorAnswers]) -> Preference | None:
    """Return the mean over all answers, each mapped back to a and b; None if any failed."""
    given = [answer for annotator in annotators for answer in annotator.given]
    if any(isinstance(answer.said, JudgeFailure) for answer in given):
        return None
    if annotators[0].scale is not None:
        return preference_of_ratings(*_distributions(annotators))
    rows = [_row(annotator) for annotator in annotators]
    return mean_preference(p for row in rows for p in row if p is not None)


def _distributions(annotators: Sequence[AnnotatorAnswers]) -> list[tuple[float, ...]]:
    """Return the mean distribution of the ratings of a, and that of b."""
    sides = zip(*(annotator.given for annotator in annotators), strict=True)
    return [mean_shares([_shares(answer.said) for answer in side]) for side in sides]


def _ratings(annotators: Sequence[AnnotatorAnswers], scale: Scale) -> tuple[float, float]:
    a, b = _distributions(annotators)
    return scale.expected(a), scale.expected(b)


def _row(annotator: AnnotatorAnswers) -> tuple[Preference, Preference | None]:
    if annotator.scale is not None:  # nothing depends on an order
        alone = preference_of_ratings(*_distributions([annotator]))
        return alone, alone
    second = annotator.a_second
    return (
        _preference(annotator.a_first.said),
        None if second is None else _preference(second.said).swapped(),
    )


def _preference(said: LabelProbabilities | JudgeFailure) -> Preference:
    return normalise(*_shares(said))


def _shares(said: LabelProbabilities | JudgeFailure) -> tuple[float, ...]:
    assert isinstance(said, LabelProbabilities)
    return said.shares


def _numbers(row: tuple[Preference, Preference | None], has_ties: bool) -> tuple[float | None, ...]:
    first, second = row
    numbers = (first.p_a, None if second is None else second.p_a)
    ties = tuple(p.p_tie for p in row if p is not None) if has_ties else ()
    return (*numbers, *ties)


def _mean_outside_mass(probabilities: Sequence[LabelProbabilities]) -> float | None:
    masses = [said.outside_mass for said in probabilities if said.outside_mass is not None]
    return math.fsum(masses) / len(masses) if len(masses) == len(probabilities) else None


def cost_of(
    spec: JudgeSpec,
    usage: TokenUsage,
    batched: TokenUsage = _NOTHING,
    batch_price: float = 1.0,
) -> float | None:
    """Return what tokens cost in USD, None where a price is unknown.

    Args:
        spec: The judge.
        usage: All its tokens.
        batched: The part of them that a provider's batch took.
        batch_price: What that part costs, as a share of the judge's prices.
    """
    if spec.price_input is None or spec.price_output is None:
        return None
    saved = 1.0 - batch_price
    prompt = usage.prompt - saved * batched.prompt
    completion = usage.completion - saved * batched.completion
    return (prompt * spec.price_input + completion * spec.price_output) / 1e6


def _flags(answers: Sequence[Answer], probabilities: Sequence[LabelProbabilities]) -> set[str]:
    flags = {flag for answer in answers for flag in answer.flags}
    flags.update(flag for said in probabilities for flag in said.flags)
    bounds = [said.bound for said in probabilities if said.bound is not None]
    if bounds:
        flags.add(f"{LABEL_BOUND}:{max(bounds):.1e}")
    return flags
