"""What judges that are heard together answer beyond judges heard one at a time, pair by pair."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pytest

from calibration.arrays import FloatArray
from calibration.certify import Method, certify_preferences
from tests.calibration.simulation import allowed_share
from tests.calibration.worlds.populations import random_world
from tests.calibration.worlds.told import as_judges

_TARGETS: Final = (0.1, 0.15, 0.2)
_METHODS: Final[tuple[Method, ...]] = ("auto", "auto_raw")
# coverage that hearing judges together was first found to add, at each of the targets
_GAINED: Final = {
    100: (0.018, 0.041, 0.050),
    250: (0.045, 0.060, 0.056),
    500: (0.045, 0.070, 0.048),
    1000: (0.045, 0.064, 0.040),
}


class Paired(NamedTuple):
    """Coverage and whether the promise broke, shape (worlds, targets, methods) each."""

    coverage: FloatArray
    broken: FloatArray


def paired(n: int, worlds: int) -> Paired:
    """Certify one draw of each world by both methods, for every target."""
    shape = worlds, len(_TARGETS), len(_METHODS)
    found = Paired(np.zeros(shape), np.zeros(shape))
    for draw in range(worlds):
        rng = np.random.default_rng([77, draw])
        told = as_judges(random_world(rng, 4_000))
        (p_a, label), pool = told.draw(n, rng), told.pool(300, rng)
        for at, target in enumerate(_TARGETS):
            for which, method in enumerate(_METHODS):
                made = certify_preferences(
                    p_a, label, target_risk=target, costs=[1, 5, 100], pool=pool, method=method,
                    rng=draw,
                )  # fmt: skip
                if made.is_certified:
                    found.coverage[draw, at, which] = told.truth(made).coverage
                    found.broken[draw, at, which] = told.breaks(made)
    return found


def test_judges_heard_together_answer_more() -> None:
    together, alone = paired(250, 12).coverage.mean(axis=(0, 1))
    assert together > alone


@pytest.mark.slow
@pytest.mark.parametrize("n", _GAINED)
def test_judges_heard_together_answer_more_on_random_worlds(n: int) -> None:
    """800 worlds, the same labels and the same pool of 300 for both."""
    found = paired(n, 800)
    gain = found.coverage[..., 0] - found.coverage[..., 1]
    mean, error = gain.mean(axis=0), gain.std(axis=0) / np.sqrt(len(gain))
    broken = found.broken.mean(axis=0)
    print(  # noqa: T201
        f"n {n}: auto {found.coverage[..., 0].mean(axis=0).round(3)}, gain {mean.round(3)} "
        f"(standard error {error.round(4)}), broken {broken[:, 0].round(4)}, auto_raw "
        f"{found.coverage[..., 1].mean(axis=0).round(3)}, broken {broken[:, 1].round(4)}"
    )
    assert np.all(mean >= np.array(_GAINED[n]) - 2 * error)
    assert broken.max() <= allowed_share(0.1, len(gain))
