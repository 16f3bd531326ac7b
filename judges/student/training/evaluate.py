"""Cross-validate the student and render its model card.

All figures are over decided pairs: those with a plurality for a or b. A probability of exactly one
half counts as wrong. For the length baseline, two responses of equal length count as half right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from calibration.arrays import BoolArray, FloatArray
from judges.student.model import (
    PairFeatures,
    Weights,
    mean_probability,
    member_logits,
    probability_from_logit,
    response_feature_names,
)
from judges.student.training.data import Sample
from judges.student.training.fit import Recipe, fit_ensemble, split_prompts

RESAMPLES = 2000
CONFIDENT_SHARE = 0.4
CALIBRATION_BINS = 10


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement with people over n decided pairs, with the length baseline.

    Intervals are 95%: Wilson over pairs, and bootstrap over prompts. The latter is wider and more
    realistic, because pairs of one prompt are dependent.
    """

    pairs: int
    prompts: int
    accuracy: float
    wilson: tuple[float, float]
    by_prompt: tuple[float, float]
    longer_wins: float
    most_confident: float
    mean_confidence: float
    calibration_error: float


def predict_sample(weights: Weights, sample: Sample) -> FloatArray:
    """Return the ensemble's p_a of each row, shape (n,)."""
    logits = [
        member_logits(weights, PairFeatures(a, b, context))
        for a, b, context in zip(sample.features_a, sample.features_b, sample.context, strict=True)
    ]
    return mean_probability(probability_from_logit(np.stack(logits)))


def cross_validate(
    sample: Sample,
    recipe: Recipe,
    rng: np.random.Generator,
    progress: Callable[[str], None] = lambda line: None,
) -> FloatArray:
    """Predict p_a of each row with a student that never saw its prompt, shape (n,)."""
    fold = split_prompts(sample, recipe.folds, rng)
    p_a = np.full(len(fold), 0.5)
    for held_out in range(recipe.folds):
        weights = fit_ensemble(sample.rows(fold != held_out), recipe, rng)
        p_a[fold == held_out] = predict_sample(weights, sample.rows(fold == held_out))
        progress(f"cross-validation: fold {held_out + 1} of {recipe.folds}")
    return p_a


def agreement(p_a: FloatArray, sample: Sample, rng: np.random.Generator) -> Agreement:
    """Compare probabilities with the plurality of votes on the decided pairs."""
    decided = sample.rows(sample.decided)
    p = p_a[sample.decided]
    confidence = np.maximum(p, 1 - p)
    correct = ((p > 0.5) == decided.prefers_a) & (p != 0.5)
    by_confidence = np.argsort(-confidence, kind="stable")
    top = by_confidence[: max(round(CONFIDENT_SHARE * len(p)), 1)]
    return Agreement(
        pairs=len(p),
        prompts=len(np.unique(decided.prompts)),
        accuracy=float(correct.mean()),
        wilson=wilson_interval(int(correct.sum()), len(p)),
        by_prompt=prompt_interval(correct, decided.prompts, rng),
        longer_wins=float(_longer_wins(decided).mean()),
        most_confident=float(correct[top].mean()),
        mean_confidence=float(confidence.mean()),
        calibration_error=calibration_error(confidence, correct),
    )


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return Wilson's 95% interval of a proportion (Wilson 1927)."""
    z = float(scipy.special.ndtri(0.975))
    share, spread = successes / trials, z * z / trials
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * float(np.sqrt(share * (1 - share) / trials + spread / trials / 4))
    return centre - half, centre + half


def prompt_interval(
    correct: BoolArray | FloatArray, prompts: NDArray[np.str_], rng: np.random.Generator
) -> tuple[float, float]:
    """Return the 95% percentile bootstrap interval of a mean over pairs, resampling prompts."""
    _, index = np.unique(prompts, return_inverse=True)
    size = np.bincount(index)
    right = np.bincount(index, weights=correct)
    drawn = rng.integers(0, len(size), size=(RESAMPLES, len(size)))
    low, high = np.quantile(right[drawn].sum(axis=1) / size[drawn].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


def calibration_error(confidence: FloatArray, correct: BoolArray) -> float:
    """Return the expected calibration error over ten equal bins of [.5, 1] (Naeini et al. 2015)."""
    position = ((confidence - 0.5) * 2 * CALIBRATION_BINS).astype(np.int64)
    bins = np.minimum(position, CALIBRATION_BINS - 1)
    gap = np.bincount(bins, weights=confidence - correct, minlength=CALIBRATION_BINS)
    return float(np.abs(gap).sum() / len(confidence))


def _longer_wins(decided: Sample) -> FloatArray:
    column = response_feature_names().index("log_characters")
    difference = decided.features_a[:, column] - decided.features_b[:, column]
    # Count equal lengths as one half, in favour of the baseline.
    return np.where(difference == 0, 0.5, (difference > 0) == decided.prefers_a)


MODEL_CARD_FILE = "MODEL_CARD.md"

_SOURCES = """\
| set | licence | attribution |
|---|---|---|
| `mtbench_human` (tested on, never shipped in training) | CC-BY-4.0 (texts also Apache-2.0) | "MT-Bench human judgments (lmsys/mt_bench_human_judgments), Zheng et al. 2023, Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena, arXiv:2306.05685, CC-BY-4.0; label columns joined with the texts, model order made alphabetical." |
| `prd_vicuna80` | MIT, Copyright (c) 2023 bcdnlp | "PRD: Peer Rank and Discussion Improve Large Language Model based Evaluations (Li et al.), bcdnlp/PRD, MIT." |
| `pandalm` | Apache-2.0, Copyright 2023 Yidong Wang, Zhuohao Yu | "PandaLM test set, Wang et al., WeOpenML/PandaLM, Apache-2.0." |
| `llmfao` | CC-BY-4.0 | "LLMFAO data by Dmitry Ustalov, built on the Crowdsourced LLM Benchmark by llmonitor.com, CC-BY-4.0." |
| `tulu_human` | Apache-2.0, Copyright 2024 AllenAI | "Tulu 1 human evaluation, Wang et al. 2023, arXiv:2306.04751, allenai/open-instruct, Apache-2.0." |
| `llmbar` (tested on, never trained on) | MIT, Copyright (c) 2023 Princeton Natural Language Processing | "LLMBar, Zeng et al. 2023, arXiv:2310.07641, MIT." |
"""

_LIMITS = """\
- It reads form, not truth: length, layout, wording, repetition, endings, overlap with the prompt. It does not
  know whether an answer is right, and a fluent wrong answer beats a terse right one.
- LLMBar's Adversarial subsets are made against exactly that, and it does much worse than chance on them.
  A certificate over such pairs must refuse it; nothing in its own confidence warns of them.
- LLMFAO has 13 prompts, and agreement on single prompts runs from nearly none to nearly all. The interval
  by prompt above is the one to believe. Its confidence is least reliable there.
- It was trained on English answers of language models of 2023. Other languages, newer models and other
  crowds are untested.
- Anyone who knows its features can write answers that it prefers. It must not be the reward of a training run
  nor the only judge of a contest.
- Of a long response the first 8000 and the last 4000 characters are read; the true length is kept.
"""


@dataclass(frozen=True, slots=True)
class CardFigures:
    """All numbers shown in the model card."""

    weights_hash: str
    weights_bytes: int
    members: int
    temperature: float
    command: str
    seed: int
    training_prompts: tuple[str, ...]
    training_pairs: Mapping[str, int]
    held_out: Mapping[str, Agreement]
    shipped: Mapping[str, Agreement]
    selection: str


def render_card(figures: CardFigures) -> str:
    """Render the card as Markdown."""
    return "\n".join(
        [
            *_summary(figures),
            "## Data\n",
            _SOURCES,
            *_training(figures),
            *_held_out(figures),
            *_shipped(figures),
            "## Limits of use\n",
            _LIMITS,
            "## Prompts it was trained on\n",
            "The sha256 of each normalised prompt; `training_prompts.txt` holds the same list, and the",
            "fingerprint of the judge covers it. Certification leaves out pairs with these prompts.\n",
            "<details><summary>hashes</summary>\n",
            "```",
            *figures.training_prompts,
            "```\n",
            "</details>\n",
        ]
    )


def _summary(figures: CardFigures) -> list[str]:
    return [
        "# The student judge\n",
        "Generated by the training command; not edited by hand.\n",
        f"An ensemble of {figures.members} members, each the mean of a penalised bilinear logit and a boosted forest",
        "of small trees over hand-made features of the prompt and both responses. Each member was trained",
        "without one fold of the prompts. Swapping the responses gives exactly 1 - p. It needs no model server,",
        "no network and no accelerator.\n",
        f"- Weights: `weights.npz`, {figures.weights_bytes} bytes, numbers only",
        f"- sha256 of the weights: `{figures.weights_hash}`",
        f"- Training command: `{figures.command}` (seed {figures.seed})",
        f"- Temperature: {figures.temperature:.4f}, fitted on training prompts that the members had not seen",
        f"- Training prompts: {len(figures.training_prompts)} distinct\n",
    ]


def _training(figures: CardFigures) -> list[str]:
    counts = ", ".join(f"{name} {count}" for name, count in figures.training_pairs.items())
    return [
        "## What the shipped weights were trained on\n",
        f"Pairs: {counts}.",
        "Labels are shares of human votes (a tie is half a vote each); no verdict of a language model was used. Every prompt that occurs in MT-Bench or LLMBar was left out.\n",
    ]


def _held_out(figures: CardFigures) -> list[str]:
    return [
        "## Agreement with people on held-out prompts (5-fold cross-validation)\n",
        "All five labelled sets; folds are disjoint by prompt hash across the sets; every decided pair (plurality",
        'a or b) is held out once. p = .5 counts as wrong; for "the longer answer wins" equal lengths count half.',
        "These are figures of the models trained in cross-validation (with MT-Bench among their training data),",
        "not of the shipped weights. Intervals are 95%: Wilson's over pairs; bootstrap over prompts.\n",
        *_table(figures.held_out),
        "",
        figures.selection + "\n",
    ]


def _shipped(figures: CardFigures) -> list[str]:
    return [
        "## The shipped weights on sets they never saw\n",
        "MT-Bench, and LLMBar by subset (`Processed/MT-Bench` is part of MT-Bench).\n",
        *_table(figures.shipped),
        "",
    ]


def _table(rows: Mapping[str, Agreement]) -> list[str]:
    return [
        "| set | pairs | prompts | agreement | Wilson | by prompt | longer wins | top 40% | mean confidence | ECE |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {row.pairs} | {row.prompts} | **{row.accuracy:.4f}** | {_interval(row.wilson)} | "
            f"{_interval(row.by_prompt)} | {row.longer_wins:.4f} | {row.most_confident:.4f} | "
            f"{row.mean_confidence:.4f} | {row.calibration_error:.4f} |"
            for name, row in rows.items()
        ),
    ]


def _interval(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:.3f}-{bounds[1]:.3f}"
