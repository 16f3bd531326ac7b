"""The flaws that the example plants, how grave each is, and how a good answer is spoilt by them.

A severity is a whole number from 0 (no flaw) to 10. It alone decides which response is better.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from examples.sources import Prompt

Item = TypeVar("Item")

#: From a nuisance to nothing at all. Equal numbers are deliberate: such pairs are ties.
SEVERITY: Mapping[str, int] = {
    "padding": 3,  # right, but wrapped in filler that makes it three times as long
    "too_short": 4,  # the first sentence only, without the explanation that was asked for
    "repetition": 4,  # right, then its first sentence three times more
    "truncated": 5,  # breaks off in the middle
    "ignores_constraint": 5,  # answers, but breaks the explicit instruction
    "changes_meaning": 6,  # a fluent rewrite that says something else
    "wrong_number": 7,  # a slip in the working, consistent from there on
    "wrong_fact": 7,  # fluent and false
    "bug": 7,  # code that runs and fails the check
    "refusal": 8,  # declines a harmless task
    "off_topic": 9,  # a good answer to another prompt
    "empty": 10,  # nothing
}

_PLANTED_IN: Mapping[str, frozenset[str]] = {
    "padding": frozenset({"factual", "advice", "summarising", "arithmetic", "reasoning"}),
    "too_short": frozenset({"factual", "advice", "summarising"}),
    "repetition": frozenset(
        {"factual", "advice", "summarising", "arithmetic", "reasoning", "extraction"}
    ),
    "truncated": frozenset(
        {"factual", "advice", "summarising", "arithmetic", "reasoning", "rewriting", "code"}
    ),
}

_LEAST_CHARACTERS: Mapping[str, int] = {"truncated": 60}

_WEIGHT: Mapping[str, float] = {
    "padding": 0.5,
    "repetition": 0.5,
    "too_short": 2.0,
    "truncated": 2.0,
    "off_topic": 0.7,
    "refusal": 0.5,
    "empty": 0.5,
}
_WEIGHT_WRITTEN = 2.5

_OPENINGS = (
    "What a wonderful question! It is one that many people have asked over the years, and it "
    "truly deserves a careful and considered answer. Let us take a moment to look at it together.",
    "Thank you so much for asking. Before I come to the answer itself, I would like to say that "
    "there is a great deal to be said about this topic, and that I will do my very best to help.",
    "There are many ways to approach this, and each of them has something to be said for it. With "
    "that in mind, and without further ado, here is what I would like to share with you.",
    "In today's world it is more important than ever to have clear information. That is why it is "
    "worth looking at the matter from the ground up before we turn to the details.",
)
_CLOSINGS = (
    "I hope that this has been helpful and that it has given you a good overview. As always, it is "
    "worth keeping the bigger picture in mind, because everything is connected in one way or "
    "another. If there is anything else you would like to know, please do not hesitate to ask!",
    "In conclusion, it can be said that this is a fascinating subject with many sides to it. There "
    "would be much more to say, but the points above should serve as a solid start. Please let me "
    "know at any time whether you would like me to go into more depth on any of them.",
    "All in all, as we have seen, there is more to this than one might think at first glance. It "
    "is always a good idea to think about such things with an open mind and to take your time. "
    "Thank you again for your interest, and I wish you a pleasant day ahead.",
)
_REFUSALS = (
    "I'm sorry, but I can't help with that request.",
    "Unfortunately I am not able to assist with this. Please turn to a qualified expert.",
    "I have to decline, since this might be sensitive. Is there something else I can do for you?",
    "As an assistant I cannot give an answer to this question.",
)


@dataclass(frozen=True, slots=True)
class Response:
    """A response and the flaw that was planted in it, if any."""

    text: str
    flaw: str | None

    @property
    def severity(self) -> int:
        """How grave the flaw is: 0 without one."""
        return SEVERITY[self.flaw] if self.flaw else 0


def pick(items: Sequence[Item], rng: np.random.Generator) -> Item:
    """Return one of the items, each equally likely."""
    return items[int(rng.random() * len(items))]


def flaws_possible(prompt: Prompt, wording: int) -> list[str]:
    """Return the flaws that can be planted in one wording of a prompt's answer."""
    answer = prompt.answers[wording]
    return [flaw for flaw in SEVERITY if _is_possible(flaw, prompt, answer)]


def _is_possible(flaw: str, prompt: Prompt, answer: str) -> bool:
    if flaw in prompt.written or flaw in ("refusal", "off_topic", "empty"):
        return True
    if prompt.task not in _PLANTED_IN.get(flaw, frozenset()):
        return False
    if flaw == "too_short":
        return len(_sentences(answer)) > 1
    return len(answer) >= _LEAST_CHARACTERS.get(flaw, 0)


def draw_flaw(prompt: Prompt, wording: int, rng: np.random.Generator) -> str:
    """Return one possible flaw; those written for the prompt are the likelier ones."""
    flaws = flaws_possible(prompt, wording)
    weights = [
        _WEIGHT_WRITTEN if flaw in prompt.written else _WEIGHT.get(flaw, 1.0) for flaw in flaws
    ]
    mark = rng.random() * sum(weights)
    for flaw, weight in zip(flaws, weights, strict=True):
        mark -= weight
        if mark < 0:
            return flaw
    return flaws[-1]


def respond(
    prompt: Prompt,
    wording: int,
    flaw: str | None,
    donors: Sequence[Prompt],
    rng: np.random.Generator,
) -> Response:
    """Return a response with the flaw planted; `donors` give the off-topic answers."""
    answer = prompt.answers[wording]
    if flaw is None:
        return Response(answer, None)
    if flaw in prompt.written:
        written = prompt.written[flaw]
        return Response(written[wording % len(written)], flaw)
    if flaw == "off_topic":
        return Response(_from_elsewhere(prompt, donors, rng), flaw)
    return Response(_spoilt(answer, flaw, rng), flaw)


def _from_elsewhere(prompt: Prompt, donors: Sequence[Prompt], rng: np.random.Generator) -> str:
    tasks = ("factual", "advice") if prompt.is_template else (prompt.task,)
    others = [d for d in donors if d.task in tasks and d.group != prompt.group]
    return pick([d for d in others if not d.is_template], rng).answers[0]


def _spoilt(answer: str, flaw: str, rng: np.random.Generator) -> str:
    match flaw:
        case "padding":
            return f"{pick(_OPENINGS, rng)}\n\n{answer}\n\n{pick(_CLOSINGS, rng)}"
        case "too_short":
            return _sentences(answer)[0]
        case "repetition":
            return " ".join([answer, *[_sentences(answer)[0]] * 3])
        case "truncated":
            return answer[: int(len(answer) * (0.35 + 0.3 * rng.random()))].rsplit(None, 1)[0]
        case "refusal":
            return pick(_REFUSALS, rng)
    return ""


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.?!])\s+(?=[A-Z0-9])", text)
