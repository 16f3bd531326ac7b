"""Settings and fingerprint of reward judges, and the temperature that turns rewards to probabilities.

A reward model scores one response at a time: p_a = sigmoid((r_a - r_b) / tau), the model of Bradley
and Terry (1952) that such models are trained by. Rewards have no scale of their own, so tau is given
or fitted on labelled pairs, which then leave every calibration sample.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from judges.base import JudgeSpec
from judges.prompting.examples import LabelledPair
from judges.prompting.templates import PromptTemplate
from judges.types import Pair
from judges.vllm.settings import NO_PART_OF_A_SCORE, EngineSettings
from judges.vllm.weights import folder_hash

Input = Literal["response", "pair"]
RewardEndpoint = Literal["classify", "pooling", "score"]
#: Fewer labelled pairs fit no temperature.
FEWEST_FOR_TAU: Final = 10
_DIGITS: Final = 3
_WIDEST: Final = 1e4  # times the spread of the differences of rewards


@dataclass(frozen=True, slots=True)
class FittedOn:
    """The labelled pairs that tau is fitted on: each with the share of labels for a."""

    pairs: tuple[tuple[Pair, float], ...]

    @classmethod
    def of(cls, labelled: Sequence[LabelledPair], groups: int) -> FittedOn:
        """Choose so many groups by their hash, whatever their labels; ties count half."""
        order = sorted({one.group for one in labelled}, key=_by_hash)
        chosen = set(order[:groups])
        return cls(
            tuple(
                (one.pair, float(np.mean([_SHARES[label] for _, label in one.labels])))
                for one in sorted(labelled, key=lambda one: (one.group, one.pair.id))
                if one.group in chosen and one.labels
            )
        )

    @property
    def content_hash(self) -> str:
        """Hash of the pairs and their labels."""
        told = [[pair.content_hash, share] for pair, share in self.pairs]
        return hashlib.sha256(json.dumps(told).encode("ascii")).hexdigest()

    @property
    def prompts(self) -> frozenset[str]:
        """The prompt hashes of the pairs."""
        return frozenset(pair.prompt_hash for pair, _ in self.pairs)


_SHARES: Final = {"a": 1.0, "b": 0.0, "tie": 0.5}


def _by_hash(group: str) -> str:
    return hashlib.sha256(f"tau {group}".encode("utf-8", "backslashreplace")).hexdigest()


@dataclass(frozen=True, slots=True)
class RewardSettings:
    """Settings of a reward judge.

    Attributes:
        name: Name of the judge.
        model: A folder or a model hub name; on a server, the name it is served by.
        revision: Revision of the model.
        engine: Settings of the engine, None for a model on a server.
        endpoint: The path of the server: `classify` and `pooling` take token ids, `score` texts.
        tokenizer: Tokenizer of a model on a server.
        input: `response`: one score for each response; `pair`: a head of two labels over the whole
            prompt of a pair, asked in both orders.
        first_label: For `pair`, which of the two labels says that the first response is better.
        chat_template: A chat template in place of the tokenizer's own.
        template_options: Variables of the chat template.
        tau: The temperature, None to fit it.
        fitted_on: What it is fitted on.
        concurrency: Maximum prompts in flight.
        timeout_s: Timeout of one pair in seconds.
        price_input: USD per million tokens.
        weights: Hash of the model folder; None to compute it for the fingerprint.
    """

    name: str
    model: str
    revision: str | None = None
    engine: EngineSettings | None = None
    endpoint: RewardEndpoint = "classify"
    tokenizer: str | None = None
    input: Input = "response"
    first_label: int = 0
    chat_template: str | None = None
    template_options: Mapping[str, Any] = field(default_factory=dict)
    tau: float | None = 1.0
    fitted_on: FittedOn | None = None
    concurrency: int = 256
    timeout_s: float = 600.0
    price_input: float | None = None
    weights: str | None = None


def reward_spec(settings: RewardSettings, template: PromptTemplate) -> JudgeSpec:
    """Return the judge's specification; `template` lays out whole pairs."""
    fitted = settings.fitted_on
    scored_by: dict[str, Any] = {
        **_model_of(settings),
        "revision": settings.revision,
        "input": settings.input,
        "chat_template": settings.chat_template,
        "template_options": dict(settings.template_options),
        "tau": settings.tau if fitted is None else {"fitted_on": fitted.content_hash},
    }
    if settings.input == "pair":
        scored_by |= {"template": template.content_hash, "first_label": settings.first_label}
        scored_by["tau"] = None
    return JudgeSpec(
        name=settings.name,
        kind="reward",
        model=settings.model,
        scored_by=scored_by,
        price_input=settings.price_input,
        price_output=None if settings.price_input is None else 0.0,
        training_prompts=frozenset() if fitted is None else fitted.prompts,
    )


def _model_of(settings: RewardSettings) -> dict[str, Any]:
    engine = settings.engine
    if engine is None:
        served = {"endpoint": settings.endpoint, "tokenizer": settings.tokenizer}
        return {"model": settings.model, "served": served}
    folder = Path(settings.model)
    is_folder = folder.is_dir()
    kept = sorted(set(engine.options) - NO_PART_OF_A_SCORE)
    return {
        "model": None if is_folder else settings.model,
        "weights": (settings.weights or folder_hash(folder)) if is_folder else None,
        "engine": {name: engine.options[name] for name in kept},
    }


def fit_tau(differences: npt.ArrayLike, shares: npt.ArrayLike) -> float:
    """Return the temperature of the largest likelihood, to three digits.

    Labels are drawn towards each other as in Platt (1999), so that pairs that the rewards separate
    without a fault give a finite temperature. Three digits: the noise of a GPU changes no score.

    Args:
        differences: r_a - r_b, shape (n,).
        shares: Share of the labels for a, shape (n,).

    Raises:
        ValueError: The rewards do not agree with the labels more often than not.

    Example:
        >>> fit_tau([2.0, -2.0, 1.0, -1.0], [1.0, 0.0, 0.0, 0.0]) > 1
        True
    """
    from scipy.optimize import minimize_scalar  # it takes long to import

    d, y = np.asarray(differences, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    n = len(d)
    drawn = (y * n + 1) / (n + 2)
    spread = float(np.sqrt(np.mean(d * d))) if n else 0.0
    # the slope of the log-likelihood where all probabilities are one half
    if spread == 0.0 or float(np.sum(d * (drawn - 0.5))) <= 0:
        raise ValueError("the rewards do not agree with the labels more often than not")

    def loss(log_tau: float) -> float:
        z = d / np.exp(log_tau)
        return float(np.sum(drawn * np.logaddexp(0, -z) + (1 - drawn) * np.logaddexp(0, z)))

    middle, reach = np.log(spread), np.log(_WIDEST)
    found = minimize_scalar(loss, bounds=(middle - reach, middle + reach), method="bounded",
                            options={"xatol": 1e-6})  # fmt: skip
    return float(f"{np.exp(found.x):.{_DIGITS}g}")
