"""Everything that a certification can be asked for, each as "was the promise broken in this draw?".

Worlds have judges in columns; a promise is broken where thresholds that were certified have a true
risk, computed on the whole population, that reaches the target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from calibration import certify_cascade, certify_preferences
from calibration.arrays import FloatArray
from calibration.binomial import p_value
from calibration.certify import Certificate
from tests.calibration.worlds.populations import World
from tests.calibration.worlds.told import Told

# world, number of labels, target risk, failure probability, chance
Option = Callable[[World, int, float, float, np.random.Generator], bool]
_POOL = 300


def plain(method: Any = "auto", *, pool: int | None = None, **options: Any) -> Option:
    """One certificate by a method."""

    def is_broken(
        world: World, n: int, target: float, level: float, rng: np.random.Generator
    ) -> bool:
        sample = world.draw(n, rng)
        certificate = certify_cascade(
            *sample,
            target_risk=target,
            failure_probability=level,
            method=method,
            pool=None if pool is None else world.pool(pool, rng),
            rng=rng,
            **options,
        )
        return _breaks(world, certificate)

    return is_broken


def _breaks(world: World, certificate: Certificate) -> bool:
    if not np.isfinite(certificate.thresholds).any():
        return False
    return world.breaks(certificate.thresholds, certificate.target_risk)


def menu(world: World, n: int, target: float, level: float, rng: np.random.Generator) -> bool:
    """Some target of several that were declared together is broken."""
    sample = world.draw(n, rng)
    certificate = certify_cascade(
        *sample,
        target_risk=target,
        failure_probability=level,
        menu=[target + 0.02, target + 0.05],
        rng=rng,
    )
    return any(_breaks(world, part) for part in (certificate, *certificate.certificates))


def any_target(world: World, n: int, target: float, level: float, rng: np.random.Generator) -> bool:
    """The target is chosen afterwards, the strictest that any bound allows."""
    sample = world.draw(n, rng)
    certificate = certify_cascade(
        *sample, target_risk=target, failure_probability=level, method="simultaneous", rng=rng
    )
    return any(world.truth(b.thresholds).risk > b.upper_bound for b in certificate.bounds)


def slices(rule: Any) -> Option:
    """Three slices that are alike; with "each" only the first of them counts."""

    def is_broken(
        world: World, n: int, target: float, level: float, rng: np.random.Generator
    ) -> bool:
        sample = world.draw(n, rng)
        certificate = certify_cascade(
            *sample,
            target_risk=target,
            failure_probability=level,
            slices=rng.integers(0, 3, n),
            slice_rule=rule,
            rng=rng,
        )
        parts = certificate.certificates
        return any(_breaks(world, part) for part in (parts[:1] if rule == "each" else parts))

    return is_broken


def groups(*, cap: int | None, is_named: bool = True) -> Option:
    """Groups of one to five copies of a pair, as dependent as can be."""

    def is_broken(
        world: World, n: int, target: float, level: float, rng: np.random.Generator
    ) -> bool:
        sample = world.draw(n, rng)
        group = np.repeat(np.arange(n), rng.integers(1, 6, n))
        certificate = certify_cascade(
            sample.confidence[group],
            sample.correct[group],
            target_risk=target,
            failure_probability=level,
            groups=group if is_named else None,
            max_group_size=cap,
            rng=rng,
        )
        return _breaks(world, certificate)

    return is_broken


def soft(world: World, n: int, target: float, level: float, rng: np.random.Generator) -> bool:
    """The shares of five annotators who agree."""
    rows = world.draw_rows(n, rng)
    wrong = rng.binomial(5, world.error_probability[rows]) / 5
    certificate = certify_cascade(
        world.confidence[rows], 1 - wrong, target_risk=target, failure_probability=level, rng=rng
    )
    return _breaks(world, certificate)


def exposed(world: World, n: int, target: float, level: float, rng: np.random.Generator) -> bool:
    """One to five of five annotators have a preference."""
    rows = world.draw_rows(n, rng)
    voices = rng.integers(1, 6, n)
    wrong = rng.binomial(voices[:, None], world.error_probability[rows]) / voices[:, None]
    certificate = certify_cascade(
        world.confidence[rows],
        1 - wrong,
        target_risk=target,
        failure_probability=level,
        exposure=voices / 5,
        rng=rng,
    )
    return _breaks(world, certificate)


def weighted(*, is_declared: bool = True) -> Option:
    """Pairs that are wrong are labelled a third as often as others."""

    def is_broken(
        world: World, n: int, target: float, level: float, rng: np.random.Generator
    ) -> bool:
        sample = world.draw(2 * n, rng)
        probability = np.where(sample.correct[:, 0] > 0, 0.75, 0.25)
        chosen = rng.uniform(size=2 * n) < probability
        declared: dict[str, Any] = {
            "weights": 1 / probability[chosen],
            "min_label_probability": 0.25,
        }
        certificate = certify_cascade(
            sample.confidence[chosen],
            sample.correct[chosen],
            target_risk=target,
            failure_probability=level,
            rng=rng,
            **(declared if is_declared else {}),
        )
        return _breaks(world, certificate)

    return is_broken


def pooled(world: World, n: int, target: float, level: float, rng: np.random.Generator) -> bool:
    """The first judge's opinion at the mean confidence is a tier of its own."""
    confidence = np.nan_to_num(world.confidence, nan=0.5).mean(axis=1, keepdims=True)
    wider = replace(
        world,
        confidence=np.hstack([world.confidence, confidence]),
        error_probability=np.hstack([world.error_probability, world.error_probability[:, :1]]),
    )
    sample = wider.draw(n, rng)
    last = np.stack([sample.confidence[:, -1], sample.correct[:, -1]], axis=1)
    certificate = certify_cascade(
        sample.confidence[:, :-1],
        sample.correct[:, :-1],
        target_risk=target,
        failure_probability=level,
        pooled_evidence=last,
        rng=rng,
    )
    return _breaks(wider, certificate)


def whole(method: Any = "auto", *, copies: int = 1, **options: Any) -> Option:
    """Half of the target is promised on all pairs, so that it breaks at half of the coverage."""

    def is_broken(
        world: World, n: int, target: float, level: float, rng: np.random.Generator
    ) -> bool:
        sample = world.draw(n, rng)
        group = np.repeat(np.arange(n), rng.integers(1, copies + 1, n))
        certificate = certify_cascade(
            sample.confidence[group],
            sample.correct[group],
            scope="dataset",
            max_error=target / 2,
            failure_probability=level,
            method=method,
            groups=None if copies == 1 else group,
            max_group_size=None if copies == 1 else copies,
            rng=rng,
            **options,
        )
        truth = world.truth(certificate.thresholds)
        return certificate.is_certified and truth.risk * truth.coverage >= target / 2 - 1e-9

    return is_broken


def best_looking(
    world: World, n: int, target: float, level: float, rng: np.random.Generator
) -> bool:
    """As much is answered as looks right: the share of all pairs that are wrong is not tested."""
    confidence, correct = world.draw(n, rng)
    best = np.full(confidence.shape[1], np.inf)
    for threshold in np.unique(confidence[~np.isnan(confidence)])[::-1]:
        answers = confidence >= threshold
        wrong = 1 - correct[np.arange(n), answers.argmax(axis=1)]
        if (wrong * answers.any(axis=1)).mean() > target / 2:
            break
        best[:] = threshold
    truth = world.truth(best)
    return truth.risk * truth.coverage >= target / 2


def looked_at(method: Any) -> Option:
    """Labels come one by one; the first certificate that is given at a look is taken."""

    def is_broken(
        world: World, n: int, target: float, level: float, rng: np.random.Generator
    ) -> bool:
        confidence, correct = world.draw(n, rng)
        pool = world.pool(_POOL, rng)
        for seen in range(30, n + 1, 10):
            certificate = certify_cascade(
                confidence[:seen],
                correct[:seen],
                target_risk=target,
                failure_probability=level,
                pool=pool,
                method=method,
                rng=rng,
            )
            if certificate.is_certified:
                return _breaks(world, certificate)
        return False

    return is_broken


def each_judge_on_all(
    world: World, n: int, target: float, level: float, rng: np.random.Generator
) -> bool:
    """Every judge's own lowest threshold that passes at the whole level on all pairs."""
    confidence, correct = world.draw(n, rng)
    thresholds = np.array(
        [_lowest(confidence[:, j], correct[:, j], target, level) for j in range(len(correct.T))]
    )
    return bool(np.isfinite(thresholds).any()) and world.breaks(thresholds, target)


def uncorrected_stages(
    world: World, n: int, target: float, level: float, rng: np.random.Generator
) -> bool:
    """Judge after judge at the whole level on what is left."""
    confidence, correct = world.draw(n, rng)
    is_left, thresholds = np.ones(n, dtype=np.bool_), np.full(len(correct.T), np.inf)
    for j in range(thresholds.size):
        thresholds[j] = _lowest(confidence[is_left, j], correct[is_left, j], target, level)
        is_left &= ~(confidence[:, j] >= thresholds[j])
    return bool(np.isfinite(thresholds).any()) and world.breaks(thresholds, target)


def own_start(world: World, n: int, target: float, level: float, rng: np.random.Generator) -> bool:
    """A shared threshold that starts at the first node to answer half of the sample itself."""
    confidence, correct = world.draw(n, rng)
    best = np.full(confidence.shape[1], np.inf)
    for threshold in np.unique(confidence[~np.isnan(confidence)])[::-1]:
        accepts = confidence >= threshold
        answered = accepts.any(axis=1)
        if answered.sum() < n / 2:
            continue
        first = accepts.argmax(axis=1)
        lost = int((1 - correct[np.arange(n), first])[answered].sum())
        if p_value(lost, int(answered.sum()), target) > level:
            break
        best[:] = threshold
    return bool(np.isfinite(best).any()) and world.breaks(best, target)


def _lowest(confidence: FloatArray, correct: FloatArray, target: float, level: float) -> float:
    """A walk from a threshold that answers half of the pairs, down to the first that fails."""
    found = np.inf
    for threshold in np.unique(confidence[~np.isnan(confidence)])[::-1]:
        answered = confidence >= threshold
        n = int(answered.sum())
        if n < (~np.isnan(confidence)).sum() / 2:
            continue
        if p_value(int((1 - correct[answered]).sum()), n, target) > level:
            break
        found = float(threshold)
    return found


OPTIONS: Mapping[str, Option] = {
    "auto": plain(),
    "auto, pool": plain(pool=_POOL),
    **{
        name: plain(name, pool=_POOL)
        for name in ("diagonal", "strongest", "learned", "pareto_testing", "stagewise")
    },
    "simultaneous": any_target,
    "sequential, stopped at will": looked_at("sequential"),
    "randomized": plain(randomized=True),
    "menu": menu,
    "slices, joint": slices("joint"),
    "slices, each": slices("each"),
    "slices, common": slices("common"),
    "groups, one pair each": groups(cap=None),
    "groups, betting": groups(cap=5),
    "soft labels": soft,
    "exposure": exposed,
    "weights": weighted(),
    "pooled evidence": pooled,
    "whole data set": whole(),
    "whole data set, diagonal": whole("diagonal"),
    "whole data set, learned": whole("learned"),
    "whole data set, randomized": whole("diagonal", randomized=True),
    "whole data set, simultaneous": whole("simultaneous"),
    "whole data set, groups, betting": whole(copies=5),
}

# population, number of labels, target risk, failure probability, chance
ToldOption = Callable[[Told, int, float, float, np.random.Generator], bool]


def heard_together(method: Any = "auto", *, pool: int | None = None, **options: Any) -> ToldOption:
    """One certificate from preferences, under the worst traffic that it declares to survive."""

    def is_broken(
        told: Told, n: int, target: float, level: float, rng: np.random.Generator
    ) -> bool:
        p_a, label = told.draw(n, rng)
        certificate = certify_preferences(
            p_a,
            label,
            target_risk=target,
            failure_probability=level,
            method=method,
            pool=None if pool is None else told.pool(pool, rng),
            rng=rng,
            **options,
        )
        return told.breaks(certificate, certificate.max_shift)

    return is_broken


def up_to_its_margin(
    told: Told, n: int, target: float, level: float, rng: np.random.Generator
) -> bool:
    """The traffic changes as badly as the margin allows, for a clearly larger target."""
    p_a, label = told.draw(n, rng)
    certificate = certify_preferences(
        p_a, label, target_risk=1.3 * target, failure_probability=level, rng=rng
    )
    return told.breaks(certificate, certificate.shift_margin or 1.0)


def slices_together(
    told: Told, n: int, target: float, level: float, rng: np.random.Generator
) -> bool:
    """Three slices that are alike."""
    p_a, label = told.draw(n, rng)
    certificate = certify_preferences(
        p_a,
        label,
        target_risk=target,
        failure_probability=level,
        slices=rng.integers(0, 3, n),
        rng=rng,
    )
    return any(told.breaks(part) for part in certificate.certificates)


TOLD_OPTIONS: Mapping[str, ToldOption] = {
    "stacked": heard_together(),
    "stacked, pool": heard_together(pool=_POOL),
    "stacked, randomized": heard_together(randomized=True),
    "stacked, declared shift": heard_together(max_shift=1.3),
    "stacked, shifted up to its margin": up_to_its_margin,
    "stacked, slices": slices_together,
    "auto_raw": heard_together("auto_raw"),
    "learned stack": heard_together("learned_stack"),
}

# rules that break their promise, each in a world and with as many labels as show it
INVALID: Mapping[str, tuple[str, int, Option]] = {
    "published code": ("overconfident top", 300, plain("published_code")),
    "each judge on all pairs": ("good alone", 500, each_judge_on_all),
    "uncorrected stages": ("taking turns", 900, uncorrected_stages),
    "start from own counts": ("switching", 592, own_start),
    "peeking": ("just above the target", 200, looked_at("auto")),
    "ignored label probabilities": ("just above the target", 300, weighted(is_declared=False)),
    "wrong on all pairs, untested": ("just above the target", 300, best_looking),
    "ignored groups": ("just above the target", 60, groups(cap=None, is_named=False)),
}
