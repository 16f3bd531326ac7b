"""Values that stored data rest on, computed from made-up arrays: hashes, certificates, figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import calibration
from calibration import Certificate, certify_cascade, decide, decide_in_slices
from calibration.labels import MISSING, TIE, A, B
from tests.golden import moved

FloatArray = NDArray[np.float64]
Json = dict[str, Any]
_COSTS = (1.0, 5.0, 100.0)
_METHODS = (
    "auto", "diagonal", "strongest", "learned", "pareto_testing", "stagewise", "simultaneous",
    "sequential", "average", "published_code",
)  # fmt: skip
_TIES = ("exclude", "error", "half", "class")


def as_json(value: Any) -> Any:
    """Return a result as JSON that keeps every bit of a number."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return as_json(value._asdict())
    if isinstance(value, Mapping):
        return {str(name): as_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        return as_json(value.tolist())
    return value.value if isinstance(value, Enum) else value


def hashes() -> Json:
    """Return hashes by which stored scores, groups and certificates are found again."""
    texts = {
        "plain": ([("user", "Name a river.")], ["The Rhine."], ["The Danube."], None),
        "criterion": ([("user", "Name a river.")], ["The Rhine."], ["The Danube."], "brevity"),
        "turns": ([("user", "Hello"), ("user", "And now?")], ["a", "b"], ["c", "d"], None),
        "messages": (
            [("system", "Be brief."), ("user", "Why?"), ("assistant", "So."), ("user", "So?")],
            ["Yes"], ["No"], None,
        ),
        "odd text": ([("user", "\u00c4 \u0000 \ud800 \ufb01ne \U0001f642")], [""], ["\n"], None),
    }  # fmt: skip
    pairs = {name: moved.pair(*one) for name, one in texts.items()}
    return {
        "pairs": {
            name: [one.content_hash, one.swapped().content_hash, one.prompt_hash]
            for name, one in pairs.items()
        },
        "prompts": {
            text: moved.prompt_hash(text)
            for text in ("", "  What's  THIS?\n", "Stra\u00dfe_1 \u2013 nein!", "a\x00b")
        },
        "group numbers": {
            f"{seed} {group}": moved.group_number(seed, group)
            for seed in (0, 7)
            for group in ("g1", "\u00e9", "")
        },
        "recorded": moved.fingerprints_of_records(),
        "tokens": moved.fingerprint_of_tokens(),
    }


@dataclass(frozen=True, slots=True, eq=False)
class _World:
    """Made-up judges: the dearer, the better, and the more sure, the likelier to be right."""

    confidence: FloatArray
    correct: FloatArray
    pool: FloatArray
    rng: np.random.Generator

    @classmethod
    def of(cls, seed: int, n: int = 260) -> _World:
        rng = np.random.default_rng(seed)
        scores, is_right = _drawn(n, rng)
        pool, _ = _drawn(200, rng)
        return cls(scores, is_right, pool, rng)


def _drawn(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    ease = rng.uniform(size=(n, 1))
    noise = rng.uniform(size=(n, 3))
    confidence = np.round(0.5 + 0.5 * np.clip(0.75 * ease + 0.25 * noise, 0, 1), 6)
    risk = 0.35 * (1 - confidence) * np.array([1.6, 1.0, 0.4])
    correct = (rng.uniform(size=(n, 1)) >= risk).astype(np.float64)
    confidence[rng.uniform(size=(n, 3)) < 0.02] = np.nan
    return confidence, correct


Options = Callable[[_World], Json]


def _methods() -> dict[str, Options]:
    def pool(world: _World, method: str, *, is_given: bool) -> Json:
        return {"method": method, **({"pool": world.pool} if is_given else {"target_risk": 0.12})}

    return {
        f"{method}, {'pool' if is_given else 'no pool'}": partial(
            pool, method=method, is_given=is_given
        )
        for method in _METHODS
        for is_given in (True, False)
        if is_given or method != "average"
    }


def _grouped() -> dict[str, Options]:
    def groups(world: _World, **more: Any) -> Json:
        sizes = world.rng.integers(1, 4, len(world.correct))
        names = np.repeat(np.arange(sizes.size), sizes)[: sizes.size]
        return {"groups": names, "target_risk": 0.2, **more}

    return {
        f"groups, {method}, {cap}": partial(groups, method=method, max_group_size=cap)
        for method in ("auto", "diagonal", "stagewise")
        for cap in (None, 3)
    }


def _weighted() -> dict[str, Options]:
    def weights(world: _World, method: str) -> Json:
        chance = world.rng.uniform(0.5, 1.0, len(world.correct))
        return {
            "weights": 1 / chance,
            "min_label_probability": 0.5,
            "method": method,
            "target_risk": 0.2,
        }

    return {
        f"weights, {method}": partial(weights, method=method) for method in ("auto", "strongest")
    }


def _sliced() -> dict[str, Options]:
    def slices(world: _World, rule: str, method: str) -> Json:
        names = np.array(["x", "y"])[world.rng.integers(0, 2, len(world.correct))]
        return {"slices": names, "slice_rule": rule, "method": method, "target_risk": 0.2}

    return {
        f"slices, {rule}, {method}": partial(slices, rule=rule, method=method)
        for rule in ("joint", "each", "common")
        for method in ("auto", "diagonal")
    }


def _others() -> dict[str, Options]:
    return {
        "menu": lambda _: {"menu": [0.15, 0.2]},
        "menu, simultaneous": lambda _: {"menu": [0.15, 0.2], "method": "simultaneous"},
        "costs": lambda _: {"costs": _COSTS},
        "costs, stagewise": lambda _: {"costs": _COSTS, "method": "stagewise"},
        "randomized": lambda _: {"randomized": True},
        "randomized, learned": lambda _: {"randomized": True, "method": "learned"},
        "failure probability": lambda _: {"failure_probability": 0.01},
        "out of reach": lambda _: {"target_risk": 0.001},
        "exposure": lambda w: {"exposure": w.rng.integers(1, 6, len(w.correct)) / 5},
        "soft": lambda w: {
            "correct": 1 - w.rng.binomial(5, 0.2 * (1 - w.correct[:, :1]) + 0.02, w.correct.shape) / 5
        },
        "pooled evidence": lambda w: {
            "pooled_evidence": np.stack(
                [np.nan_to_num(w.confidence, nan=0.5).mean(axis=1), w.correct[:, 2]], axis=1
            )
        },
    }  # fmt: skip


def _tied() -> dict[str, Options]:
    def votes(world: _World, rule: Any, ties: Any) -> Json:
        n = len(world.correct)
        label = np.where(world.correct > 0, A, B)
        counts = world.rng.multinomial(3, [0.86, 0.06, 0.08], n)
        agreed = calibration.correctness(label, counts, label_rule=rule, ties=ties)
        kept = agreed.counts
        rows = {"confidence": world.confidence[kept], "correct": agreed.agreement[kept]}
        is_exposed = rule == "random_annotator" and ties == "exclude"
        exposure = {"exposure": agreed.exposure[kept]} if is_exposed else {}
        return {**rows, **exposure, "target_risk": 0.3}

    return {
        f"ties, {rule}, {ties}": partial(votes, rule=rule, ties=ties)
        for rule in ("majority", "random_annotator")
        for ties in _TIES
    }


def certifications() -> Json:
    """Return some fifty certificates, with what they decide on pairs that are new to them."""
    cases = {
        **_methods(), **_grouped(), **_weighted(), **_sliced(), **_others(), **_tied(),
    }  # fmt: skip
    return {name: _certified(1000 + number, cases[name]) for number, name in enumerate(cases)}


def _certified(seed: int, options: Options) -> Json:
    world = _World.of(seed)
    chosen = {
        "confidence": world.confidence, "correct": world.correct, "target_risk": 0.1,
        **options(world),
    }  # fmt: skip
    certificate = certify_cascade(**chosen, rng=np.random.default_rng(seed))
    return {"certificate": as_json(certificate), "decisions": _decisions(certificate, world)}


def _decisions(certificate: Certificate, world: _World) -> list[int]:
    fresh, _ = _drawn(40, np.random.default_rng(9))
    if certificate.thresholds.size == 4:
        fresh = np.column_stack([fresh, np.nan_to_num(fresh, nan=0.5).mean(axis=1)])
    if any(part.slice is not None for part in certificate.certificates):
        names = np.array(["x", "y", "other"])[np.arange(40) % 3]
        decided = decide_in_slices(certificate, fresh, names)
    else:
        decided = decide(fresh, certificate.thresholds)
    return [int(one) for one in decided]


def statistics() -> Json:
    """Return plans, leaderboards, agreement and reliability of made-up data."""
    world = _World.of(7)
    rng = np.random.default_rng(8)
    sure, right = np.nan_to_num(world.confidence[:, 1], nan=0.5), world.correct[:, 1]
    first, second = rng.integers(-1, 3, (2, 120))
    second = np.where(rng.uniform(size=120) < 0.6, first, second)
    counts = rng.multinomial(4, [0.5, 0.3, 0.2], 120)
    limits = (0.9, 0.8, 0.6)
    planned = (world.confidence, world.correct)
    figures = {
        "cost": calibration.cascade_cost(decide(world.confidence, limits), limits, _COSTS),
        "advice": calibration.advise(*planned, target_risk=0.1),
        "frontier": calibration.frontier(
            *planned, [0.08, 0.15], rng=np.random.default_rng(1), costs=_COSTS
        ),
        "labels needed": [
            calibration.labels_needed(risk, 0.8, 0.1, 0.1) for risk in (0.02, 0.05, 0.08)
        ],
        "preference": _in_stored_codes(calibration.preference([0.3, 0.8, 0.5, np.nan], None)),
        "leaderboards": _leaderboards(rng),
        "agreement": moved.agreement_figures(first, second, counts, np.arange(120) // 2),
        "reliability": moved.measure_reliability(sure, right),
    }
    return {name: as_json(figure) for name, figure in figures.items()}


def _in_stored_codes(said: Any) -> Json:
    """Return preferences with the label codes that the figures were stored with."""
    codes = {A: 1, B: -1, TIE: 0, MISSING: -128}
    return {**as_json(said), "label": [codes[label] for label in said.label.tolist()]}


def _leaderboards(rng: np.random.Generator) -> Json:
    strength = np.array([0.8, 0.3, 0.0, -0.6])
    left = rng.integers(0, 4, 300)
    right = (left + rng.integers(1, 4, 300)) % 4
    chance = 1 / (1 + np.exp(strength[right] - strength[left]))
    score = np.where(rng.uniform(size=300) < 0.15, 0.5, rng.uniform(size=300) < chance)
    names = np.array(["w", "x", "y", "z"])
    compared = moved.Comparisons.between(names[left].tolist(), names[right].tolist(), score)
    chosen: dict[str, Json] = {
        "sandwich": {"intervals": "sandwich"},
        "bootstrap": {"intervals": "bootstrap"},
        "davidson": {"ties": "davidson"},
        "elo": {"method": "elo"},
        "win rate": {"method": "win_rate", "ties": "exclude"},
        "average": {"method": "average_win_rate"},
        "counting": {"method": "counting"},
    }
    draws = moved.bootstrap(np.arange(300) // 3, 3)
    return {
        name: moved.rank_models(compared, moved.RankingOptions(**options), draws)
        for name, options in chosen.items()
    }
