"""A synthetic preference task: two responses to "name things found in the TOPIC" are lists of words.

How often a person prefers the first is a logistic function of how many more fitting words it has
(Bradley-Terry), so that the best possible agreement with a person is known for every pair. Where the
responses have a manner, one ends lively and one plainly, and all people of one population like the
same manner: which one, only their labels tell. Words, numbers and labels are all drawn; no person
and no other model took part.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from judges.types import Label, Message, Pair

_WORDS: Final = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
TOPICS: Final[Mapping[str, tuple[str, ...]]] = {
    topic: tuple(words.split()) for topic, words in _WORDS.items()
}
SHORTEST: Final = 4
LONGEST: Final = 12
LOG_ODDS_PER_WORD: Final = 2.0
TASTE_LOG_ODDS: Final = 6.0
MANNERS: Final = (".", "!")  # how a plain response and a lively one end
_NUMBERS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class DrawnPair:
    """A pair and how often people prefer its first response.

    Attributes:
        pair: The pair; its number makes its prompt, and so its group, its own.
        p_a: The probability that a person prefers response a.
    """

    pair: Pair
    p_a: float

    @property
    def best(self) -> float:
        """How often the best possible judge agrees with a person."""
        return max(self.p_a, 1.0 - self.p_a)

    def label(self, rng: np.random.Generator) -> Label:
        """Return what one more person says of the pair."""
        return "a" if rng.random() < self.p_a else "b"


def draw_pair(
    rng: np.random.Generator,
    name: str = "pair",
    *,
    taste: int = 0,
    taste_log_odds: float = TASTE_LOG_ODDS,
) -> DrawnPair:
    """Return a pair on a random topic, its responses of 4 to 12 words of which any share fits.

    Args:
        rng: Source of every draw.
        name: The pair's id.
        taste: 1 where people like the lively response, -1 the plain one, 0 for pairs without manner.
        taste_log_odds: How much they like it.
    """
    topic = str(rng.choice(list(TOPICS)))
    (text_a, fitting_a), (text_b, fitting_b) = (_response(topic, rng) for _ in range(2))
    log_odds = LOG_ODDS_PER_WORD * (fitting_a - fitting_b)
    if taste:
        is_a_lively = bool(rng.random() < 0.5)
        text_a, text_b = text_a + MANNERS[is_a_lively], text_b + MANNERS[not is_a_lively]
        log_odds += taste_log_odds * (taste if is_a_lively else -taste)
    prompt = f"Name things found in the {topic}. ({rng.integers(_NUMBERS):06d})"
    pair = Pair(name, (Message("user", prompt),), (text_a,), (text_b,))
    return DrawnPair(pair, 1.0 / (1.0 + math.exp(-log_odds)))


def draw_pairs(
    rng: np.random.Generator, n: int, name: str = "pair", *, taste: int = 0
) -> list[DrawnPair]:
    """Return `n` pairs of one population, whose ids are `name` and a number."""
    return [draw_pair(rng, f"{name}-{number}", taste=taste) for number in range(n)]


def manner(response: str) -> int:
    """Return 1 for a lively response, -1 for a plain one, 0 for one without manner."""
    return {MANNERS[True]: 1, MANNERS[False]: -1}.get(response[-1:], 0)


def best_agreement(pairs: Sequence[DrawnPair]) -> float:
    """Return how often the best possible judge agrees with one person on these pairs."""
    return math.fsum(drawn.best for drawn in pairs) / len(pairs)


def row(drawn: DrawnPair, rng: np.random.Generator | None = None) -> dict[str, Any]:
    """Return the pair as the service imports it, with one person's label where `rng` is given."""
    pair = drawn.pair
    human = [] if rng is None else [{"annotator": "person", "label": drawn.label(rng)}]
    return {
        "id": pair.id,
        "prompt": pair.conversation[0].content,
        "response_a": pair.responses_a[0],
        "response_b": pair.responses_b[0],
        **({"human": human} if human else {}),
    }


def _response(topic: str, rng: np.random.Generator) -> tuple[str, int]:
    """Return the words of one response and how many of them fit."""
    length = int(rng.integers(SHORTEST, LONGEST + 1))
    fitting = int(rng.binomial(length, rng.random()))
    others = [word for name, words in TOPICS.items() if name != topic for word in words]
    words = [
        *rng.choice(TOPICS[topic], fitting, replace=False),
        *rng.choice(others, length - fitting, replace=False),
    ]
    return " ".join(str(word) for word in rng.permutation(words)), fitting
