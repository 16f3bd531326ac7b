"""What the golden tests take from deep modules: when a module moves, only this file changes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from app.datasets.splits import group_number
from calibration.agreement import (
    agreement_rate,
    cohens_kappa,
    fleiss_kappa,
    gwets_ac1,
    krippendorffs_alpha,
    percent_agreement,
)
from calibration.intervals import ClusterBootstrap
from calibration.ranking import Comparisons, RankingOptions, rank_models
from calibration.reliability import measure_reliability
from judges.openai.settings import OpenAISettings, spec_of
from judges.prompting.templates import load_template
from judges.recorded import Jury, RecordedJudge
from judges.types import Message, Pair, prompt_hash

__all__ = [
    "Comparisons",
    "RankingOptions",
    "group_number",
    "measure_reliability",
    "prompt_hash",
    "rank_models",
]


def bootstrap(groups: ArrayLike, seed: int) -> ClusterBootstrap:
    """Return 200 resamples of these groups."""
    return ClusterBootstrap.over(groups, np.random.default_rng(seed), n_resamples=200)


def pair(turns: list[tuple[str, str]], a: list[str], b: list[str], criterion: str | None) -> Pair:
    """Return a pair with these turns of (role, content)."""
    conversation = tuple(Message(role, content) for role, content in turns)
    return Pair("p", conversation, tuple(a), tuple(b), criterion=criterion)


def fingerprint_of_tokens() -> str:
    """Return the fingerprint of a judge that is asked by token ids; no tokenizer is loaded."""
    settings = OpenAISettings(
        "by-token",
        "http://127.0.0.1:9/v1",
        "acme/judge",
        revision="r1",
        endpoint="tokens",
        tokenizer="acme/judge",
    )
    return spec_of(settings, load_template("pairwise", ["A", "B"]), ((),)).fingerprint


def fingerprints_of_records() -> dict[str, str]:
    """Return the fingerprints of judges that answer from records."""
    return {
        "name alone": RecordedJudge("gpt-4").spec.fingerprint,
        "model and prompt": RecordedJudge("gpt-4", model="m", prompt_hash="h").spec.fingerprint,
        "jury": Jury("jury", ["b/*", "a/*"]).spec.fingerprint,
    }


def agreement_figures(first: Any, second: Any, counts: Any, groups: Any) -> dict[str, Any]:
    """Return the agreement of two raters, and of all votes counted by unit and label."""
    return {
        "rate": agreement_rate(first, second, groups),
        "rate of decided": agreement_rate(first, second, groups, among=(0, 1)),
        "cohen": cohens_kappa(first, second, groups),
        "cohen, quadratic": cohens_kappa(first, second, groups, weights="quadratic"),
        "percent": percent_agreement(counts, groups),
        "fleiss": fleiss_kappa(counts, groups),
        "gwet": gwets_ac1(counts, groups),
        "krippendorff": krippendorffs_alpha(counts, groups),
    }
