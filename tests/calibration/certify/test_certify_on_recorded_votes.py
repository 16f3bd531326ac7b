"""Which judges' votes on LLMBar may be certified, in 300 random halves of its prompts."""

from __future__ import annotations

import numpy as np
import pytest

from calibration import certify_cascade
from tests.calibration.reliability.test_reliability_on_recorded_votes import rows_of, vote_shares

HALVES = 300
TARGETS = (0.2, 0.15, 0.1)
REFUSED = ("ChatGPT", "ChatGPT-0301", "LLaMA2", "Falcon")


def certified_halves(subset: str, model: str, target_risk: float) -> int:
    """In how many halves some threshold is certified; the other half is the pool."""
    confidence, correct = vote_shares(subset, model, keeps_failed=True)
    prompts = np.unique([row["prompt"] for row in rows_of(subset)], return_inverse=True)[1]
    rng = np.random.default_rng(0)
    certified = 0
    for _ in range(HALVES):
        is_first = rng.permutation(prompts.max() + 1) % 2 == 0
        half = is_first[prompts]
        certificate = certify_cascade(
            confidence[half, None],
            correct[half, None],
            target_risk=target_risk,
            groups=prompts[half],
            pool=confidence[~half, None],
            rng=rng,
        )
        certified += certificate.is_certified
    return certified


@pytest.mark.parametrize("target_risk", TARGETS)
@pytest.mark.parametrize("model", REFUSED)
@pytest.mark.parametrize("subset", ["all419", "adversarial"])
def test_judges_that_are_mostly_wrong_are_always_refused(
    subset: str, model: str, target_risk: float
) -> None:
    assert certified_halves(subset, model, target_risk) == 0


@pytest.mark.parametrize("target_risk", TARGETS)
def test_a_good_judge_is_always_certified(target_risk: float) -> None:
    assert certified_halves("all419", "GPT-4", target_risk) == HALVES


@pytest.mark.parametrize("target_risk", TARGETS)
def test_a_judge_on_the_border_is_mostly_refused(target_risk: float) -> None:
    certified = certified_halves("all419", "PaLM2", target_risk)
    print(f"PaLM2 at {target_risk}: certified in {certified} of {HALVES} halves")  # noqa: T201
    assert certified < HALVES / 2
