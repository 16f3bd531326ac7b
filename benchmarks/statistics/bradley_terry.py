"""Bradley-Terry strengths of 200 models from a million comparisons, against evalica."""

from __future__ import annotations

import numpy as np

from benchmarks.measuring import Baseline, Benchmark, Contender
from benchmarks.statistics.evalica_fit import NAME, evalica_fit, same_ratings
from benchmarks.statistics.made_comparisons import made_comparisons
from calibration.ranking import Comparisons, Leaderboard, PairLayout, fit_strengths, rank_models


def prepare(*, is_small: bool) -> Benchmark:
    """Draw the comparisons; both sides start from names, the fit alone also from numbers."""
    n, n_models = (2_000, 8) if is_small else (1_000_000, 200)
    made = made_comparisons(n, n_models, np.random.default_rng(5))
    numbered = Comparisons.between(made.left, made.right, made.score)

    def strengths(comparisons: Comparisons) -> dict[str, float]:
        fitted = fit_strengths(PairLayout.of(comparisons).whole(), comparisons.models)
        return dict(zip(comparisons.models, fitted.log_strength[0].tolist(), strict=True))

    def named() -> dict[str, float]:
        return strengths(Comparisons.between(made.left, made.right, made.score))

    def ranked() -> Leaderboard:
        return rank_models(Comparisons.between(made.left, made.right, made.score))

    return Benchmark(
        f"{n:,} comparisons of {n_models} models",
        Baseline(NAME, evalica_fit(made)),
        (
            Contender("fit_strengths, from names", named, same_strengths, wanted=1),
            Contender("fit_strengths, from numbers", lambda: strengths(numbered), same_strengths),
            Contender("rank_models, from names", ranked, same_ratings),
        ),
    )


def same_strengths(ours: dict[str, float], theirs: dict[str, float]) -> bool:
    """The log-strengths are the same within evalica's tolerance."""
    return ours.keys() == theirs.keys() and all(
        abs(ours[model] - theirs[model]) < 1e-3 for model in ours
    )
