"""Finds the pair that a label means, and which way round its person saw the responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from app.core.names import shown
from app.datasets.records import Candidate
from app.formats.base import RowInvalid
from app.formats.columns.verdicts import Heard, VerdictUnread
from app.formats.joining import plain
from judges.types import prompt_hash


@dataclass(frozen=True, slots=True)
class Place:
    """A pair that is labelled.

    Attributes:
        pair_seq: The pair.
        is_turned: Its responses stand the other way round in what the label says.
        models: The names of its models as the label has them; none where they were not read.
    """

    pair_seq: int
    is_turned: bool = False
    models: tuple[str | None, ...] = ()

    def side_of(self, winner: str) -> str:
        """Return what a person says of the two responses: `a`, `b`, `tie` or `both_bad`.

        Raises:
            RowInvalid: it means nothing, or one side while it names the model of the other.
        """
        heard = Heard()
        try:
            said = heard.label("winner", winner, self.models)
        except VerdictUnread as error:
            if heard.unread["winner"].is_torn:
                raise RowInvalid(str(error).removeprefix("winner: ")) from None
            said = None
        if said is None:
            known = ", ".join(str(name) for name in self.models if name is not None)
            names = f" (or the name of a model, {known})" if known else ""
            raise RowInvalid(f"{shown(winner)} is not a label: give a, b or tie{names}")
        return said


@dataclass(frozen=True, slots=True)
class Wanted:
    """A pair as a label names it: the user's turns, and perhaps its models and responses."""

    prompt: str | tuple[str, ...] = ""
    model_a: str | None = None
    model_b: str | None = None
    response_a: str | None = None
    response_b: str | None = None

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
    places = [place for pair in found if (place := place_in(wanted, pair))]
    straight = [place for place in places if not place.is_turned] or places
    if len(straight) == 1:
        return straight[0]
    return _of_several(wanted, len(straight)) if straight else _of_none(wanted, found)


def place_in(wanted: Wanted, pair: Candidate) -> Place | None:
    """Return which way round a pair is meant; None where its models or responses are others."""
    for same in (_exact, plain):
        for is_turned in (False, True):
            if _fits(wanted, _Sides.of(pair, is_turned=is_turned), same):
                models = (pair.model_a, pair.model_b)
                return Place(pair.pair_seq, is_turned, models[::-1] if is_turned else models)
    return None


def others_than(wanted: Wanted, pair: Candidate) -> str:
    """Return why a label cannot mean a pair: its models are others, or its responses."""
    models = {pair.model_a, pair.model_b}
    if wanted.model_a is not None and {wanted.model_a, wanted.model_b} != models:
        return (
            f"the models of this pair are {pair.model_a} and {pair.model_b}, not {wanted.model_a} and "
            f"{wanted.model_b}"
        )
    return "the two responses are not those of this pair"


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


@dataclass(frozen=True, slots=True)
class _Sides:
    """The models and responses of a pair, in one of their two orders."""

    models: tuple[str | None, ...]
    responses: tuple[tuple[str, ...], ...]
    is_turned: bool

    @classmethod
    def of(cls, pair: Candidate, *, is_turned: bool) -> _Sides:
        step = -1 if is_turned else 1
        models = (pair.model_a, pair.model_b)[::step]
        return cls(models, (pair.responses_a, pair.responses_b)[::step], is_turned)


def _fits(wanted: Wanted, sides: _Sides, same: Callable[[str], str]) -> bool:
    """Return whether a label means a pair in this order; without a word of the order, as stored."""
    has_models, has_responses = wanted.model_a is not None, wanted.response_a is not None
    if not (has_models or has_responses):
        return not sides.is_turned
    if has_models and (wanted.model_a, wanted.model_b) != sides.models:
        return False
    said = [same(str(text)) for text in (wanted.response_a, wanted.response_b)]
    return not has_responses or said == [same("\n\n".join(turns)) for turns in sides.responses]


def _of_several(wanted: Wanted, count: int) -> str:
    if wanted.model_a is not None:
        return f"{count} pairs have this prompt and these models: give the id of the pair"
    if wanted.response_a is not None:
        return f"{count} pairs have this prompt and these responses: give the id of the pair"
    return f"{count} pairs have this prompt: name the models, too (model_a, model_b)"


def _of_none(wanted: Wanted, found: Sequence[Candidate]) -> str:
    names = (wanted.model_a, wanted.model_b)
    known = sorted({f"{pair.model_a} and {pair.model_b}" for pair in found})
    there = [{pair.model_a, pair.model_b} for pair in found]
    if wanted.model_a is None or set(names) in there:
        return "no pair of this prompt has these two responses"
    return (
        f"no pair of this prompt is of {names[0]} and {names[1]}; there is {', '.join(known[:5])}"
    )
