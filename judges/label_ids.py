"""Which token ids of a vocabulary mean which label, and their exact log-probabilities read back.

A label may be spelled by several tokens: with a space before it, in another case, as tokenizers of
one kind or the other print a space. Each of them is asked for by its id, so that none is lost below
the most probable ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from judges.errors import JudgeConfigurationInvalid
from judges.label_tokens import LabelMatcher, LabelProbabilities, unparseable
from judges.prompt_tokens import Tokenizer
from judges.types import JudgeFailure

MAX_IDS: Final = 128  # that vLLM returns for one position


@dataclass(frozen=True, slots=True)
class LabelIds:
    """The token ids of each label, in the labels' order."""

    labels: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]

    @property
    def all(self) -> list[int]:
        """Every id, in the labels' order."""
        return [token_id for ids in self.ids for token_id in ids]


def find_label_ids(tokenizer: Tokenizer, labels: Sequence[str]) -> LabelIds:
    """Return the ids of all single tokens that spell each label.

    Raises:
        JudgeConfigurationInvalid: a label is no single token of this vocabulary, or they have more
            spellings than an engine returns.
    """
    matcher = LabelMatcher(labels)
    control = tokenizer.added_tokens_decoder
    found: list[list[int]] = [[] for _ in labels]
    for spelling, token_id in tokenizer.get_vocab().items():
        index = matcher.index(spelling)
        if index is not None and token_id not in control:
            found[index].append(token_id)
    for label, ids in zip(labels, found, strict=True):
        if not ids:
            raise JudgeConfigurationInvalid(
                f"labels: {label!r} is not one token of this model; choose a label that is"
            )
    if sum(map(len, found)) > MAX_IDS:
        raise JudgeConfigurationInvalid(f"labels: they have more than {MAX_IDS} spellings")
    return LabelIds(tuple(labels), tuple(tuple(sorted(ids)) for ids in found))


def read_label_logprobs(
    logprobs: Mapping[int, float], label_ids: LabelIds
) -> LabelProbabilities | JudgeFailure:
    """Return the labels' probabilities from the log-probabilities of their own tokens.

    Args:
        logprobs: Natural log-probability over the whole vocabulary, by token id. A label's token
            that is missing is an error of the engine, not a small probability.
        label_ids: What to read.

    Returns:
        The labels' renormalised probabilities and the mass outside, or an `UNPARSEABLE` failure.
    """
    missing = [token_id for token_id in label_ids.all if token_id not in logprobs]
    if missing:
        return unparseable(f"no log-probability of token {missing[0]}")
    numbers = {token_id: logprobs[token_id] for token_id in label_ids.all}
    wrong = [n for n in numbers.values() if math.isnan(n) or n > 1e-3]
    if wrong:
        return unparseable(f"log-probability {wrong[0]}")
    masses = [math.fsum(math.exp(numbers[i]) for i in ids) for ids in label_ids.ids]
    inside = math.fsum(masses)
    if inside <= 0.0:
        return unparseable("every label has probability 0")
    outside = min(1.0, max(0.0, 1.0 - inside))
    return LabelProbabilities(tuple(mass / inside for mass in masses), outside)
