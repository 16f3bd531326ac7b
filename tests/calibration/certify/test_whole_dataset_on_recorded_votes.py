"""Whole data sets of real people and recorded judges: how many labels are saved, and is it kept?

A recorded set is taken as the population: labels are drawn from it, and the truth is known on all.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest

from calibration import certify_preferences
from calibration.arrays import FloatArray
from tests.calibration.recorded_votes import Row, pairs
from tests.calibration.simulation import allowed_share

_SCORE = {"A": 1.0, "B": 0.0, "tie": 0.5}
_ORDERS = ("label_original", "label_swapped")
ERROR = 0.05


class Recorded(NamedTuple):
    """A population: what judges from weak to strong prefer, (n, k), and what people say, (n,)."""

    p_a: FloatArray
    label: FloatArray


@cache
def llmbar() -> Recorded:
    """419 pairs with one label that holds for all, and six models by their votes."""
    data = [row for row in pairs("llmbar") if row["subset"].startswith("LLMBar/")]
    models = ("ChatGPT", "LLaMA2", "ChatGPT-0301", "Falcon", "PaLM2", "GPT-4")
    label = np.array([_SCORE[row["human"][0]["label"]] for row in data])
    return Recorded(_votes(data, [f"{model}/" for model in models]), label)


@cache
def mtbench() -> Recorded:
    """The decided pairs with a majority, of those on which four models and GPT-4 are recorded."""
    data = [row for row in pairs("mtbench_human") if len(row["judges"]) > 1]
    label = np.array([_majority(row) for row in data])
    models = [f"llmbar:{model}/" for model in ("LLaMA2", "ChatGPT", "PaLM2", "GPT-4")]
    p_a = np.column_stack([_votes(data, models), [_published(row) for row in data]])
    decided = label != 0.5
    return Recorded(p_a[decided], label[decided])


def _votes(data: list[Row], prefixes: list[str]) -> FloatArray:
    """Return the mean vote of each model's prompts and orders, nan where there is none."""
    found = np.full((len(data), len(prefixes)), np.nan)
    for i, row in enumerate(data):
        for j, prefix in enumerate(prefixes):
            said = [s for name, s in row["judges"].items() if name.startswith(prefix)]
            votes = [_SCORE[s[order]] for s in said for order in _ORDERS if s.get(order)]
            found[i, j] = np.mean(votes) if votes else np.nan
    return found


def _majority(row: Row) -> float:
    said = [vote["label"] for vote in row["human"]]
    a, b, tie = (said.count(one) for one in ("A", "B", "tie"))
    return 0.5 if a == b or tie >= max(a, b) else float(a > b)


def _published(row: Row) -> float:
    return _SCORE[row["judges"]["gpt-4-pair"]["label"]]


POPULATIONS = {"llmbar": llmbar, "mtbench": mtbench}
# labels drawn, of which the first set has 419 in all and the second some 130
SIZES = {"llmbar": 209, "mtbench": 130}


class Kept(NamedTuple):
    """Share of draws with more wrong verdicts than promised, and the mean share answered."""

    broken: float
    saved: float


def finished(name: str, method: Any, draws: int) -> Kept:
    population = POPULATIONS[name]()
    broken, saved = [], []
    for draw in range(draws):
        rng = np.random.default_rng([5, draw])
        rows = rng.integers(0, len(population.label), SIZES[name])
        found = certify_preferences(
            population.p_a[rows],
            population.label[rows],
            scope="dataset",
            max_error=ERROR,
            method=method,
            rng=rng,
        )
        said = found.decide(population.p_a).label
        is_given = said >= 0
        broken.append((is_given & (said != population.label)).mean() >= ERROR)
        saved.append(is_given.mean())
    kept = Kept(float(np.mean(broken)), float(np.mean(saved)))
    print(f"{name}, {method}: saved {kept.saved:.3f}, broken {kept.broken:.3f}")  # noqa: T201
    return kept


# labels saved in the mean of 500 draws, less some room
SAVED = {
    ("llmbar", "auto"): 0.5,
    ("llmbar", "learned_stack"): 0.68,
    ("mtbench", "auto"): 0.06,
    ("mtbench", "learned_stack"): 0.24,
}


@pytest.mark.parametrize(("name", "method"), SAVED)
def test_few_of_all_pairs_are_wrong_and_labels_are_saved(name: str, method: str) -> None:
    found = finished(name, method, 40)
    assert found.broken <= allowed_share(0.1, 40)
    assert found.saved >= SAVED[name, method] - 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method"), SAVED)
def test_the_same_in_the_long_form(name: str, method: str) -> None:
    found = finished(name, method, 500)
    assert found.broken <= allowed_share(0.1, 500)
    assert found.saved >= SAVED[name, method] - 0.02
