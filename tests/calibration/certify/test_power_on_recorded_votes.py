"""What recorded judges answer under a certificate, and what another kind of pairs does to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pytest

from calibration import certify_preferences
from calibration.arrays import FloatArray
from tests.calibration.certify.test_whole_dataset_on_recorded_votes import (
    POPULATIONS,
    Recorded,
    llmbar,
)
from tests.calibration.recorded_votes import pairs
from tests.calibration.simulation import allowed_share

_LABELS: Final = 209
# coverage of a learned stack of six judges by target risk
_COVERAGE: Final = {0.05: 0.45, 0.1: 0.85, 0.15: 0.97}


def learned(splits: int, target: float) -> float:
    """Mean coverage of the other half of LLMBar, whose pairs are the pool."""
    p_a, label = llmbar()
    covered = []
    for split in range(splits):
        order = np.random.default_rng(split).permutation(len(label))
        own, rest = order[:_LABELS], order[_LABELS:]
        found = certify_preferences(
            p_a[own],
            label[own],
            target_risk=target,
            pool=p_a[rest],
            method="learned_stack",
            rng=split,
        )
        covered.append((found.decide(p_a[rest]).label >= 0).mean())
    return float(np.mean(covered))


def test_a_learned_stack_answers_most_of_llmbar() -> None:
    assert learned(10, 0.1) > 0.75


@pytest.mark.slow
@pytest.mark.parametrize("target", _COVERAGE)
def test_a_learned_stack_answers_most_of_llmbar_over_many_splits(target: float) -> None:
    coverage = learned(150, target)
    print(f"LLMBar, learned stack, target risk {target}: coverage {coverage:.3f}")  # noqa: T201
    assert coverage >= _COVERAGE[target]


class Kept(NamedTuple):
    """Mean coverage and share of broken promises, shape (targets,) each."""

    coverage: FloatArray
    broken: FloatArray


def certified(population: Recorded, targets: Sequence[float], method: Any, draws: int) -> Kept:
    """Certify 500 labels drawn from a recorded set, which is the whole truth."""
    found = np.zeros((2, draws, len(targets)))
    for draw in range(draws):
        rng = np.random.default_rng([21, draw])
        rows, others = (rng.integers(0, len(population.label), n) for n in (500, 300))
        for at, target in enumerate(targets):
            made = certify_preferences(
                population.p_a[rows],
                population.label[rows],
                target_risk=target,
                pool=population.p_a[others],
                method=method,
                rng=draw,
            )
            said = made.decide(population.p_a).label
            is_given = said >= 0
            wrong = (said != population.label)[is_given]
            found[:, draw, at] = is_given.mean(), wrong.size > 0 and wrong.mean() >= target
    return Kept(found[0].mean(axis=0), found[1].mean(axis=0))


@pytest.mark.slow
@pytest.mark.parametrize("name", POPULATIONS)
def test_recorded_judges_heard_together_answer_more(name: str) -> None:
    targets = (0.1, 0.15, 0.2)
    together, alone = (
        certified(POPULATIONS[name](), targets, method, 200) for method in ("auto", "auto_raw")
    )
    print(  # noqa: T201
        f"{name}, n 500: auto {together.coverage.round(3)}, broken {together.broken.round(3)}; "
        f"auto_raw {alone.coverage.round(3)}, broken {alone.broken.round(3)}"
    )
    assert np.all(together.coverage >= alone.coverage - 0.02)
    assert together.broken.max() <= allowed_share(0.1, 200)


@pytest.mark.slow
def test_a_margin_says_nothing_of_a_new_kind_of_pairs() -> None:
    """Certified on LLMBar's Natural pairs, what happens on its Adversarial ones."""
    data = [row for row in pairs("llmbar") if row["subset"].startswith("LLMBar/")]
    is_natural = np.array([row["subset"] == "LLMBar/Natural" for row in data])
    p_a, label = llmbar()
    for target in (0.1, 0.15, 0.2):
        found = certify_preferences(
            p_a[is_natural], label[is_natural], target_risk=target, pool=p_a[is_natural], rng=0
        )
        said = found.decide(p_a[~is_natural]).label
        wrong = (said != label[~is_natural])[said >= 0]
        print(  # noqa: T201
            f"Natural to Adversarial, target risk {target}: margin {found.shift_margin}, "
            f"{found.disagreements} of {found.answered} disagreed, risk on Adversarial "
            f"{wrong.mean() if wrong.size else 0:.3f} of {wrong.size}"
        )
        assert found.shift_margin is None or found.shift_margin >= 1
