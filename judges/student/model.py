"""Features and ensemble of the embedded judge.

A pair becomes three vectors: the measures of each response, and a context that is the same in both
orders. Swapping the responses swaps the first two exactly and leaves the third unchanged.

Each member maps x, the difference of the two responses' features, and c, the context, to a logit

    z = x . (w + B c) + (forest(x, c) - forest(-x, c)) / 2,

which is antisymmetric: it changes sign when the responses are swapped. Each pair is computed
separately, so its result does not depend on the batch.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from calibration.arrays import FloatArray, IntArray
from judges.errors import JudgeConfigurationInvalid
from judges.student.measures import Prompt, Reading, read_prompt, read_response, response_measures


@dataclass(frozen=True, slots=True)
class PairFeatures:
    """Measures of response a, measures of response b, and the context of the pair."""

    a: FloatArray
    b: FloatArray
    context: FloatArray


def pair_features(
    conversation: Sequence[str], responses_a: Sequence[str], responses_b: Sequence[str]
) -> PairFeatures:
    """Compute the features of a pair; each list of turns ends with the judged one."""
    prompt = read_prompt(conversation)
    readings_a, readings_b = _readings(responses_a), _readings(responses_b)
    return PairFeatures(
        a=_vector(_measured(prompt, readings_a)),
        b=_vector(_measured(prompt, readings_b)),
        context=_vector({**prompt.measures, **_similarity(readings_a[-1], readings_b[-1])}),
    )


def response_feature_names() -> tuple[str, ...]:
    """Return the names of the response measures, in order."""
    return tuple(_measured(read_prompt([""]), _readings([""])))


def _readings(response: Sequence[str]) -> list[Reading]:
    return [read_response(turn) for turn in response] or [read_response("")]


def _measured(prompt: Prompt, readings: Sequence[Reading]) -> dict[str, float]:
    return response_measures(readings[-1], prompt, readings[:-1])


def _similarity(a: Reading, b: Reading) -> dict[str, float]:
    shared, either = len(a.vocabulary & b.vocabulary), len(a.vocabulary | b.vocabulary)
    lengths = math.log1p(a.characters), math.log1p(b.characters)
    return {
        "word_overlap": shared / max(either, 1),
        "log_shorter": min(lengths),
        "log_longer": max(lengths),
    }


def _vector(measures: dict[str, float]) -> FloatArray:
    return np.fromiter(measures.values(), dtype=np.float64, count=len(measures))


WEIGHTS_FILE = "weights.npz"
TRAINING_PROMPTS_FILE = "training_prompts.txt"
LARGEST_LOGIT = 9.0
LARGEST_DIFFERENCE = 3.0
LARGEST_CONTEXT = 2.0


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of m members over d differences and c context features, t trees of depth k each.

    Attributes:
        difference_scale: (d,) unit of each difference.
        context_mean: (c,) subtracted from the context.
        context_scale: (c,) divides the context.
        linear: (m, d) w in the formula.
        bilinear: (m, d, c) B in the formula.
        tree_feature: (m, t, k) index among the d + c features that each tree level tests.
        tree_threshold: (m, t, k) threshold of each test; greater values set the level's bit.
        tree_leaf: (m, t, 2^k) leaf values; the first level is the lowest bit of the leaf index.
        temperature: () divides every logit.
    """

    difference_scale: FloatArray
    context_mean: FloatArray
    context_scale: FloatArray
    linear: FloatArray
    bilinear: FloatArray
    tree_feature: IntArray
    tree_threshold: FloatArray
    tree_leaf: FloatArray
    temperature: FloatArray

    def to_bytes(self) -> bytes:
        """Serialise to an .npz file of 32-bit numbers; equal weights give equal bytes."""
        return _packed({f.name: _narrow(getattr(self, f.name)) for f in fields(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Weights:
        """Read the output of `to_bytes`; accept only numeric arrays."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return cls.from_arrays(arrays)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Weights:
        """Take the weights out of the arrays of a file, which may hold others."""
        return cls(**{f.name: _widen(arrays[f.name]) for f in fields(cls)})


def _packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    target = io.BytesIO()
    np.savez_compressed(target, allow_pickle=False, **arrays)
    return target.getvalue()


def scaled_difference(a: FloatArray, b: FloatArray, scale: FloatArray) -> FloatArray:
    """Return x, the clipped difference of two responses' measures, shape (..., d)."""
    difference: FloatArray = (a - b) / scale
    return difference.clip(-LARGEST_DIFFERENCE, LARGEST_DIFFERENCE)


def scaled_context(context: FloatArray, mean: FloatArray, scale: FloatArray) -> FloatArray:
    """Return c, the clipped and standardised context, shape (..., c)."""
    standardised: FloatArray = (context - mean) / scale
    return standardised.clip(-LARGEST_CONTEXT, LARGEST_CONTEXT)


def probability_from_logit(z: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-z)), such that the results for z and -z sum to exactly one."""
    larger = 1.0 / (1.0 + np.exp(-np.abs(z)))
    probability: FloatArray = np.where(z > 0, larger, 1.0 - larger)
    return probability


def mean_probability(p_a: FloatArray) -> FloatArray:
    """Return the mean over the last axis (members); exactly mirrored if every p becomes 1 - p."""
    lean = (p_a - 0.5).sum(axis=-1) / p_a.shape[-1]
    larger = 0.5 + np.abs(lean)
    mean: FloatArray = np.where(lean > 0, larger, 1.0 - larger)
    return mean


def member_logits(weights: Weights, pair: PairFeatures) -> FloatArray:
    """Return z / temperature of each member, shape (members,)."""
    x = scaled_difference(pair.a, pair.b, weights.difference_scale)
    c = scaled_context(pair.context, weights.context_mean, weights.context_scale)
    slope = weights.linear + np.einsum("mdc,c->md", weights.bilinear, c)
    forward = _forest_values(weights, np.concatenate([x, c]))
    backward = _forest_values(weights, np.concatenate([-x, c]))
    z = (np.einsum("md,d->m", slope, x) + (forward - backward) / 2) / weights.temperature
    # The last bits of a sum differ between processors; nine decimals do not.
    rounded: FloatArray = np.round(np.clip(z, -LARGEST_LOGIT, LARGEST_LOGIT), 9)
    return rounded


def _forest_values(weights: Weights, row: FloatArray) -> FloatArray:
    answers = row[weights.tree_feature] > weights.tree_threshold
    place = answers @ (1 << np.arange(answers.shape[-1]))
    values: FloatArray = np.take_along_axis(weights.tree_leaf, place[..., None], axis=-1).sum(
        axis=1
    )
    return values[:, 0]


def _narrow(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.int32 if np.issubdtype(array.dtype, np.integer) else np.float32)


def _widen(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.int64 if np.issubdtype(array.dtype, np.integer) else np.float64)


@dataclass(frozen=True, slots=True)
class StudentModel:
    """A trained student: weights, hash of the weights file, and training prompt hashes."""

    weights: Weights
    weights_hash: str
    training_prompt_hashes: frozenset[str]

    @classmethod
    def load(cls) -> StudentModel:
        """Load the weights shipped with the package."""
        folder = resources.files(__package__)
        data = folder.joinpath(WEIGHTS_FILE).read_bytes()
        prompts = folder.joinpath(TRAINING_PROMPTS_FILE).read_text(encoding="ascii")
        return cls(
            weights=Weights.from_bytes(data),
            weights_hash=hashlib.sha256(data).hexdigest(),
            training_prompt_hashes=frozenset(prompts.split()),
        )

    @classmethod
    def load_file(cls, path: Path) -> StudentModel:
        """Load a student that was distilled, from the file that `student_file` made.

        Raises:
            JudgeConfigurationInvalid: The file is missing, is no student, or was made for other
                features than this version measures.
        """
        try:
            data = path.read_bytes()
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                if bytes(arrays[_FEATURES]) != _features_hash():
                    raise JudgeConfigurationInvalid(
                        f"{str(path)!r} was made for other features than this version measures: "
                        "distil the student again"
                    )
                weights = Weights.from_arrays(arrays)
                prompts = arrays[_PROMPTS]
                _check_shapes(weights, prompts)
        except OSError as error:
            detail = f"{str(path)!r} cannot be read: {error.strerror or error}"
            raise JudgeConfigurationInvalid(detail) from error
        except (KeyError, ValueError, zipfile.BadZipFile, EOFError) as error:
            detail = f"{str(path)!r} is no student that `tribunal distil` made: {error}"
            raise JudgeConfigurationInvalid(detail) from error
        return cls(
            weights,
            hashlib.sha256(data).hexdigest(),
            frozenset(bytes(row).hex() for row in prompts),
        )

    @property
    def members(self) -> int:
        """Number of ensemble members."""
        return int(self.weights.linear.shape[0])

    def predict(
        self, turns: Sequence[str], responses_a: Sequence[str], responses_b: Sequence[str]
    ) -> FloatArray:
        """Return p_a of each member, shape (members,); swapping the responses gives exactly 1 - p.

        Args:
            turns: The user turns; the last one is answered.
            responses_a: The model turns of a; the last one is judged.
            responses_b: The model turns of b; the last one is judged.
        """
        pair = pair_features(turns, responses_a, responses_b)
        return probability_from_logit(member_logits(self.weights, pair))

    def predict_many(
        self, pairs: Sequence[tuple[Sequence[str], Sequence[str], Sequence[str]]]
    ) -> FloatArray:
        """Return `predict` for each (turns, responses_a, responses_b), shape (pairs, members)."""
        rows = [self.predict(*pair) for pair in pairs]
        return np.stack(rows) if rows else np.empty((0, self.members))


_PROMPTS: Final = "training_prompts"
_FEATURES: Final = "features"
_SHA256_BYTES: Final = 32


def student_file(weights: Weights, training_prompts: Collection[str]) -> bytes:
    """Return an .npz file of a student: its weights, and the hashes of the prompts it learnt from.

    Equal weights and prompts give equal bytes. A hash of the features' names tells a later version
    that measures others.
    """
    hashes = np.frombuffer(bytes.fromhex("".join(sorted(training_prompts))), dtype=np.uint8)
    return _packed(
        {
            **{f.name: _narrow(getattr(weights, f.name)) for f in fields(weights)},
            _PROMPTS: hashes.reshape(-1, _SHA256_BYTES),
            _FEATURES: np.frombuffer(_features_hash(), dtype=np.uint8),
        }
    )


def _features_hash() -> bytes:
    names = (*response_feature_names(), "", *_context_names())
    return hashlib.sha256("\n".join(names).encode("ascii")).digest()


def _context_names() -> tuple[str, ...]:
    empty = read_response("")
    return (*read_prompt([""]).measures, *_similarity(empty, empty))


def _check_shapes(weights: Weights, prompts: NDArray[Any]) -> None:
    """Refuse arrays that do not fit together, or that hold no finite numbers.

    Raises:
        ValueError: Names the array.
    """
    d, c = len(response_feature_names()), len(_context_names())
    members, trees, depth = (*weights.tree_feature.shape, 0, 0, 0)[:3]
    expected = {
        "difference_scale": (d,),
        "context_mean": (c,),
        "context_scale": (c,),
        "linear": (members, d),
        "bilinear": (members, d, c),
        "tree_feature": (members, trees, depth),
        "tree_threshold": (members, trees, depth),
        "tree_leaf": (members, trees, 1 << depth),
        "temperature": (),
    }
    for name, shape in expected.items():
        array = getattr(weights, name)
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"{name} has shape {array.shape}, not {shape}, or is not finite")
    positive = weights.difference_scale, weights.context_scale, weights.temperature
    if not members or any(np.any(scale <= 0) for scale in positive):
        raise ValueError("it has no members, or a scale that is not positive")
    tested = weights.tree_feature
    if tested.size and not 0 <= tested.min() <= tested.max() < d + c:
        raise ValueError("tree_feature names features that there are not")
    if prompts.dtype != np.uint8 or prompts.ndim != 2 or prompts.shape[1] != _SHA256_BYTES:
        raise ValueError(f"{_PROMPTS} has shape {prompts.shape}, not one sha256 a row")
