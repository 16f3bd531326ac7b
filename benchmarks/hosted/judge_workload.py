"""What a hosted judge is measured on: pairs of random words, annotators with examples, prompts.

Each pair is judged by 5 simulated annotators of 3 examples in both orders: 10 prompts whose
beginnings of about 1,500 tokens are shared by all pairs, and whose pairs have about 600.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from judges.base import Judge
from judges.prompting.examples import Example, ExampleSets
from judges.prompting.templates import PromptTemplate, load_template
from judges.prompting.tokens import PromptTokens
from judges.types import Message, Pair, TokenUsage

ANNOTATORS: Final = 5
EXAMPLES: Final = 3
PROMPTS_A_PAIR: Final = 2 * ANNOTATORS
_QUERY_TOKENS: Final = 500  # of a pair's words; the template adds about 100
_WORDS: Final = [
    "river",
    "stone",
    "light",
    "garden",
    "engine",
    "paper",
    "winter",
    "copper",
    "window",
    "market",
    "number",
    "silver",
    "forest",
    "station",
    "letter",
    "mirror",
    "island",
    "bridge",
    "planet",
    "button",
]


@dataclass(frozen=True)
class Round:
    """How long one side took for the pairs of a round, and what it read."""

    seconds: float
    pairs: int
    usage: TokenUsage = field(default_factory=TokenUsage)

    @property
    def rate(self) -> float:
        """Pairs per second."""
        return self.pairs / self.seconds


def made_pair(number: int, words: int) -> Pair:
    """Return the pair of this number: random words, the same each time."""
    rng = np.random.default_rng([7, number])

    def text(count: int) -> str:
        return " ".join(_WORDS[index] for index in rng.integers(0, len(_WORDS), count))

    answer = words * 2 // 5
    prompt = f"{number}: {text(words // 5)}?"
    return Pair(str(number), (Message("user", prompt),), (text(answer),), (text(answer),))


def made_sets(words: int) -> ExampleSets:
    """Return the annotators' examples, half as long as the pairs."""
    return tuple(
        tuple(
            Example(made_pair(10**6 + 10 * j + i, words // 2), "a" if (i + j) % 2 else "b")
            for i in range(EXAMPLES)
        )
        for j in range(ANNOTATORS)
    )


def words_for(tokenizer: Any) -> int:
    """Return the words of a pair whose part of a prompt has about 600 tokens."""
    return round(_QUERY_TOKENS * len(_WORDS) / len(tokenizer.encode(" ".join(_WORDS))))


class Prompts:
    """The prompts of pairs as a hosted judge asks them."""

    def __init__(self, tokenizer: Any, words: int) -> None:
        self.template: PromptTemplate = load_template("pairwise")
        self.sets = made_sets(words)
        self._tokens = PromptTokens(tokenizer, options={"enable_thinking": False})
        self._shared = [self._tokens.shared(self.template.shared(one)) for one in self.sets]

    def of(self, pair: Pair) -> list[list[int]]:
        """Return a pair's prompts as token ids."""
        queries = self._queries(pair)
        return [[*shared, *query] for shared in self._shared for query in queries]

    def lengths(self, pairs: Sequence[Pair]) -> tuple[int, int]:
        """Return the mean length in tokens of what all pairs share, and of what they do not."""
        own = [len(query) for pair in pairs for query in self._queries(pair)]
        return round(np.mean([len(ids) for ids in self._shared])), round(np.mean(own))

    def _queries(self, pair: Pair) -> list[tuple[int, ...]]:
        texts = [self.template.query(pair, swapped=swapped).text for swapped in (False, True)]
        return [self._tokens.query(text) for text in texts]


async def together(judge: Judge, pairs: Sequence[Pair]) -> Round:
    """Let a judge score pairs, all at once.

    Raises:
        RuntimeError: It failed on one.
    """
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(judge.score(pair)) for pair in pairs]
    seconds = time.perf_counter() - started
    scores = [task.result() for task in tasks]
    failures = [score.failure for score in scores if score.failure is not None]
    if failures:
        raise RuntimeError(f"{len(failures)} pairs failed, first: {failures[0].detail}")
    return Round(seconds, len(pairs), sum((s.usage for s in scores), TokenUsage()))
