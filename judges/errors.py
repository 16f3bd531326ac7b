"""Errors of making and asking judges, and the known name that an unknown one may stand for.

    JudgeError
    +-- JudgeConfigurationInvalid   a judge or cascade is described wrongly; names the key
    |   +-- ExamplesInsufficient    too few labelled pairs for the few-shot examples asked for
    +-- JudgeUnavailable            the judge as a whole cannot answer now (not a single pair)
    +-- RecordInvalid               a recorded score or a label cannot be read; names the field
    AnswerLater                     no error: the pair waits for a batch of the judge's provider

A judge that fails on one pair does not raise: it returns a `Score` whose `failure` is a
`JudgeFailure`, because a failure is data that must be stored, counted and escalated.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

_ALIKE: Final = 0.6
# so alike that one is the other misspelt, as `judge` and `judges`, but not `prompt_id` and `prompt`;
# for names that are often somewhat alike: fields and random ids
SLIP: Final = 0.85
# comparing two texts takes time that grows with the product of their lengths
_LONGEST: Final = 128


def nearest(name: str, known: Iterable[str], *, alike: float = _ALIKE) -> str | None:
    """Return the known name most like `name` in any case, None if none is alike enough."""
    names = {one.lower(): one for one in known}
    near = get_close_matches(name[:_LONGEST].lower(), names, n=1, cutoff=alike)
    return names[near[0]] if near else None


class JudgeError(Exception):
    """Any error of this package."""


class JudgeConfigurationInvalid(JudgeError, ValueError):
    """A judge or a cascade is described wrongly; the message names the key."""


class JudgeUnavailable(JudgeError):
    """The judge cannot answer at all at the moment."""


class ExamplesInsufficient(JudgeConfigurationInvalid):
    """The labelled pairs are too few, or of too few groups, for the examples asked for."""


class RecordInvalid(JudgeError, ValueError):
    """A recorded score or a label cannot be read; the message begins with the field's path."""


class AnswerLater(Exception):
    """A judge's questions about a pair wait for a batch of its provider."""
