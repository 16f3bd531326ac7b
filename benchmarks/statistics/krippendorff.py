"""Krippendorff's alpha of a million ratings, against evalica."""

from __future__ import annotations

from functools import partial

import evalica
import numpy as np
import pandas as pd

from benchmarks.measuring import Baseline, Benchmark, Contender
from calibration.agreement import krippendorffs_alpha
from calibration.arrays import FloatArray
from calibration.labels import RatingCounts, rating_counts

_MISSING_SHARE = 0.2


def prepare(*, is_small: bool) -> Benchmark:
    """Draw ratings from 1 to 5, a fifth of them missing; both sides start from the table."""
    units, annotators = (200, 5) if is_small else (62_500, 20)
    ratings = made_ratings(units, annotators, np.random.default_rng(8))
    by_annotator = pd.DataFrame(ratings.T)
    counted = rating_counts(ratings)

    def from_counts(votes: RatingCounts) -> float | None:
        return krippendorffs_alpha(votes.counts, metric="ordinal", values=votes.values).value

    return Benchmark(
        f"ordinal alpha of {int((~np.isnan(ratings)).sum()):,} ratings",
        Baseline("evalica.alpha", lambda: evalica.alpha(by_annotator, "ordinal").alpha),
        (
            Contender(
                "krippendorffs_alpha, from ratings",
                lambda: from_counts(rating_counts(ratings)),
                same_alpha,
                wanted=1,
            ),
            Contender(
                "krippendorffs_alpha, from counts", partial(from_counts, counted), same_alpha
            ),
        ),
    )


def made_ratings(units: int, annotators: int, rng: np.random.Generator) -> FloatArray:
    """Draw a quality for each unit and a noisy rating of it by each annotator."""
    noisy = rng.normal(0.0, 1.0, (units, 1)) + rng.normal(0.0, 0.8, (units, annotators))
    ratings = np.clip(np.round(3.0 + noisy), 1.0, 5.0)
    ratings[rng.uniform(size=ratings.shape) < _MISSING_SHARE] = np.nan
    return ratings


def same_alpha(ours: float | None, theirs: float) -> bool:
    """The coefficients are equal but for rounding."""
    return ours is not None and abs(ours - theirs) < 1e-9
