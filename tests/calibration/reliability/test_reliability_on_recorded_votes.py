"""Judges that vote over many prompts and both orders: vote share as confidence on LLMBar."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest

from calibration.agreement import accuracy_over_orders
from calibration.intervals import ClusterBootstrap
from calibration.labels import A, B
from calibration.reliability import (
    calibration_error,
    cross_fitted,
    estimate_reliability,
    fit_beta,
    fit_isotonic,
    fit_platt,
    log_loss,
    reliability_bins,
)
from tests.calibration.recorded_votes import (
    CODE,
    Row,
    human_counts,
    pairs,
    reference,
    verdicts,
)
from tests.data_sets import data_dir

EDGES = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0]
MODELS = ["GPT-4", "PaLM2", "LLaMA2", "Falcon", "ChatGPT-0301", "ChatGPT"]
# Expected calibration error, and right / all verdicts of confidence .9 or more.
SUBSETS = {
    "natural": [
        (0.0300, 86, 86), (0.0502, 64, 68), (0.1229, 50, 54),
        (0.1578, 20, 20), (0.0800, 66, 68), (0.0659, 44, 45),
    ],
    "adversarial": [
        (0.0774, 207, 223), (0.1674, 114, 149), (0.5265, 26, 148),
        (0.3042, 13, 32), (0.4533, 10, 85), (0.5311, 7, 86),
    ],
    "all419": [
        (0.0610, 293, 309), (0.1311, 178, 217), (0.4061, 76, 202),
        (0.2134, 33, 52), (0.3470, 76, 153), (0.3934, 51, 131),
    ],
}  # fmt: skip
CASES = [
    (subset, model, *figures)
    for subset, rows in SUBSETS.items()
    for model, figures in zip(MODELS, rows, strict=True)
]


class Votes(NamedTuple):
    confidence: np.ndarray
    correct: np.ndarray


def rows_of(subset: str) -> list[Row]:
    prefix = {
        "natural": "LLMBar/Natural",
        "adversarial": "LLMBar/Adversarial/",
        "all419": "LLMBar/",
    }
    return [row for row in pairs("llmbar") if row["subset"].startswith(prefix[subset])]


def vote_shares(subset: str, model: str, *, keeps_failed: bool = False) -> Votes:
    confidence, correct = [], []
    for row in rows_of(subset):
        said = [
            verdict[order]
            for judge, verdict in row["judges"].items()
            if judge.split("/")[0] == model
            for order in ("label_original", "label_swapped")
        ]
        parsed = [CODE[label] for label in said if label is not None]
        if parsed:
            share = parsed.count(CODE[row["human"][0]["label"]]) / len(parsed)
            confidence.append(max(share, 1 - share))
            correct.append(share > 0.5)
        elif keeps_failed:
            confidence.append(np.nan)
            correct.append(False)
    return Votes(np.array(confidence), np.array(correct))


@pytest.mark.parametrize(("subset", "model", "error", "right", "confident"), CASES)
def test_vote_shares_have_the_known_calibration_error(
    subset: str, model: str, error: float, right: int, confident: int
) -> None:
    votes = vote_shares(subset, model)
    wanted = reference("llmbar", f"votes_{subset}_{model}")
    assert votes.correct.mean() == pytest.approx(wanted.value, abs=wanted.tolerance)
    assert len(votes.correct) == wanted.n
    found = calibration_error(votes.confidence, votes.correct, EDGES)
    assert found == pytest.approx(error, abs=5.1e-5)
    upper = reliability_bins(votes.confidence, votes.correct, EDGES)[4:]
    assert sum(b.n for b in upper) == confident
    assert sum(round((b.accuracy.value or 0) * b.n) for b in upper) == right


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("fit", [fit_platt, fit_beta, fit_isotonic])
def test_recalibrated_vote_shares_predict_labels_that_no_map_saw(fit: Any, model: str) -> None:
    votes = vote_shares("all419", model)
    labels, groups = votes.correct, np.arange(len(votes.correct))
    # The adversarial pairs make confident votes right less often than not.
    found = cross_fitted(
        votes.confidence,
        labels,
        groups,
        partial(fit, is_mirrored=False),
        np.random.default_rng(0),
    )
    raw, better = log_loss(votes.confidence, labels), log_loss(found, labels)
    assert raw is not None
    assert better is not None
    assert better < 0.7 * raw
    edges = np.linspace(0, 1, 11)
    before, after = (calibration_error(c, labels, edges) for c in (votes.confidence, found))
    assert before is not None
    assert after is not None
    assert after < min(before, 0.07)


def test_surer_votes_are_right_more_often_only_for_good_judges() -> None:
    areas = {}
    for model in ("GPT-4", "ChatGPT"):
        votes = vote_shares("all419", model)
        boot = ClusterBootstrap.over(np.arange(len(votes.correct)), np.random.default_rng(0))
        areas[model] = estimate_reliability(votes.confidence, votes.correct, boot).auroc
    good, bad = areas["GPT-4"], areas["ChatGPT"]
    assert good.value == pytest.approx(0.818, abs=5e-4)
    assert good.low is not None
    assert good.low > 0.7
    assert bad.low is not None
    assert bad.high is not None
    assert bad.low < 0.5 < bad.high


def test_all_published_accuracies_are_the_mean_of_both_orders() -> None:
    text = (data_dir() / "llmbar" / "published_statistics.json").read_text(encoding="utf-8")
    published = json.loads(text)["statistics"]
    checked = 0
    for subset, judges in published.items():
        rows = [row for row in pairs("llmbar") if row["subset"] == subset]
        gold = human_counts(rows).argmax(axis=1)
        for judge, figures in judges.items():
            one = verdicts(rows, judge, "label_original")
            other = verdicts(rows, judge, "label_swapped")
            share = accuracy_over_orders(gold, one, other).value
            assert share is not None
            assert 100 * share == pytest.approx(figures["correct_average_pct"], abs=0.0501)
            # Two unparsed verdicts were counted as the same.
            assert int((one == other).sum()) == figures["consistent"]
            checked += 1
    assert checked == 491


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("subset", ["natural", "adversarial"])
def test_plain_prompt_has_the_published_accuracy(subset: str, model: str) -> None:
    rows = rows_of(subset)
    gold = human_counts(rows).argmax(axis=1)
    assert set(gold) == {A, B}
    one, other = (
        verdicts(rows, f"{model}/Vanilla", f"label_{order}") for order in ("original", "swapped")
    )
    wanted = reference("llmbar", f"vanilla_{subset}_{model}")
    found = accuracy_over_orders(gold, one, other)
    assert found.value == pytest.approx(wanted.value, abs=wanted.tolerance)
