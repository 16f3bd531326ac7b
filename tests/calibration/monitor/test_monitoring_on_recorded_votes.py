"""A shift that a monitor must notice: judges that are right on LLMBar's natural pairs alone."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.binomial import upper_bound
from calibration.monitor import alarm_times, start_monitor
from tests.calibration.reliability.test_reliability_on_recorded_votes import vote_shares
from tests.calibration.simulation import allowed_share

# right and all at a confidence of .9 and more: natural, then adversarial
CONFIDENT = {
    "ChatGPT": ((44, 45), (7, 86)),
    "LLaMA2": ((50, 54), (26, 148)),
    "ChatGPT-0301": ((66, 68), (10, 85)),
    "PaLM2": ((64, 68), (114, 149)),
    "Falcon": ((20, 20), (13, 32)),
    "GPT-4": ((86, 86), (207, 223)),
}
ORDERS = 400


def losses(subset: str, model: str, least_confidence: float = 0.9) -> np.ndarray:
    votes = vote_shares(subset, model)
    return 1.0 - votes.correct[votes.confidence >= least_confidence]


def alarms(seen: np.ndarray, target_risk: float) -> np.ndarray:
    """When the alarm comes in each of many orders of the same audits."""
    rng = np.random.default_rng(0)
    streams = rng.permuted(np.tile(seen, (ORDERS, 1)), axis=1)
    return alarm_times(start_monitor(target_risk), streams)


@pytest.mark.parametrize("model", CONFIDENT)
def test_confident_verdicts_are_right_as_often_as_known(model: str) -> None:
    for subset, (right, n) in zip(("natural", "adversarial"), CONFIDENT[model], strict=True):
        seen = losses(subset, model)
        assert (len(seen) - seen.sum(), len(seen)) == (right, n)


@pytest.mark.parametrize("model", ["ChatGPT", "LLaMA2", "ChatGPT-0301"])
def test_a_few_dozen_audits_after_the_shift_raise_the_alarm(model: str) -> None:
    assert alarms(losses("adversarial", model), 0.1).max() <= 36


def test_the_control_stays_within_its_risk_and_raises_no_more_alarms_than_promised() -> None:
    seen = losses("adversarial", "GPT-4")
    assert seen.mean() < 0.1
    assert np.isfinite(alarms(seen, 0.1)).mean() <= allowed_share(0.05, ORDERS)


def test_a_judge_certified_on_natural_pairs_is_caught_on_adversarial_ones() -> None:
    natural, adversarial = (losses(part, "ChatGPT", 0.0) for part in ("natural", "adversarial"))
    assert (len(natural) - natural.sum(), len(natural)) == (87, 100)
    assert upper_bound(natural.sum(), len(natural), 0.1) <= 0.2
    assert (len(adversarial) - adversarial.sum(), len(adversarial)) == (73, 319)
    assert alarms(adversarial, 0.2).max() <= 36
