"""Finds the pair that a label names by its prompt and models, as people's tables do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.core.names import shown
from app.datasets.records import Candidate
from app.formats.joining import plain
from judges.types import prompt_hash


@dataclass(frozen=True, slots=True)
class Place:
    """A pair that is labelled; `is_turned`: its responses stand the other way round."""

    pair_seq: int
    is_turned: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """A pair as a label names it: the user's turns, and perhaps the two models."""

    prompt: str | tuple[str, ...]
    model_a: str | None = None
    model_b: str | None = None

    @property
    def turns(self) -> tuple[str, ...]:
        """Return the user's turns."""
        return (self.prompt,) if isinstance(self.prompt, str) else self.prompt

    @property
    def prompt_hash(self) -> str:
        """Return the hash by which pairs of this prompt are found."""
        return prompt_hash(self.turns[0])


def place_of(wanted: Wanted, pairs: Mapping[str, Sequence[Candidate]]) -> Place | str:
    """Return the one pair that is meant, or why it cannot be told.

    Args:
        wanted: What a label says of it.
        pairs: The pairs of the dataset by the hash of their prompt.
    """
    found = _of_prompt(wanted, pairs.get(wanted.prompt_hash, ()))
    if not found:
        return f"no pair of the dataset has the prompt {shown(wanted.turns[0])}"
    if wanted.model_a is not None:
        return _of_models(wanted, found)
    if len(found) > 1:
        return f"{len(found)} pairs have this prompt: name the models, too (model_a, model_b)"
    return Place(found[0].pair_seq)


def _of_prompt(wanted: Wanted, pairs: Sequence[Candidate]) -> list[Candidate]:
    """Return the pairs of this prompt: to the letter, else but for blanks and case.

    A prompt without its further turns stands for all of them.
    """
    for same in (_exact, plain):
        asked = [same(turn) for turn in wanted.turns]
        said = [(pair, [same(turn) for turn in pair.turns]) for pair in pairs]
        whole = [pair for pair, turns in said if turns == asked]
        first = [pair for pair, turns in said if len(asked) == 1 and turns[:1] == asked]
        if whole or first:
            return whole or first
    return []


def _exact(text: str) -> str:
    return text


def _of_models(wanted: Wanted, found: Sequence[Candidate]) -> Place | str:
    names = (wanted.model_a, wanted.model_b)
    straight = [pair for pair in found if (pair.model_a, pair.model_b) == names]
    turned = [pair for pair in found if (pair.model_b, pair.model_a) == names]
    if straight or turned:
        same = straight or turned
        if len(same) > 1:
            return f"{len(same)} pairs have this prompt and these models: give the id of the pair"
        return Place(same[0].pair_seq, is_turned=not straight)
    known = sorted({f"{pair.model_a} and {pair.model_b}" for pair in found})
    return (
        f"no pair of this prompt is of {names[0]} and {names[1]}; there is {', '.join(known[:5])}"
    )
