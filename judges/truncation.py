"""Shortening a pair that is longer than a judge's context: the longest texts lose their middles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from judges.types import Message, Pair

_LEFT_OUT: Final = "\n[... {count} characters left out ...]\n"
_FEWEST: Final = 64


def longest_text(pair: Pair) -> int:
    """Return the characters of the longest text that `shortened` may cut."""
    return max(len(text) for text in _texts(pair))


def shortened(pair: Pair, most: int) -> tuple[Pair, tuple[str, ...]]:
    """Return the pair with no text longer than about `most` characters, and flags of what was cut.

    Both responses are cut at the same length, so that swapping them changes nothing else.
    """
    cut = replace(
        pair,
        conversation=tuple(Message(m.role, _cut(m.content, most)) for m in pair.conversation),
        responses_a=tuple(_cut(text, most) for text in pair.responses_a),
        responses_b=tuple(_cut(text, most) for text in pair.responses_b),
    )
    is_cut = {
        "conversation": cut.conversation != pair.conversation,
        "a": cut.responses_a != pair.responses_a,
        "b": cut.responses_b != pair.responses_b,
    }
    return cut, tuple(f"truncated:{name}" for name, was in is_cut.items() if was)


def fit(pair: Pair, has_room: Callable[[Pair], bool]) -> tuple[Pair, tuple[str, ...]] | None:
    """Return the pair cut as little as needed, and flags of what was; None where nothing helps.

    Args:
        pair: What is to be judged.
        has_room: Whether a pair's prompts fit.
    """
    if has_room(pair):
        return pair, ()
    low, high = _FEWEST, longest_text(pair)
    if not has_room(shortened(pair, low)[0]):
        return None
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (middle, high) if has_room(shortened(pair, middle)[0]) else (low, middle)
    return shortened(pair, low)


def _texts(pair: Pair) -> tuple[str, ...]:
    return (*(m.content for m in pair.conversation), *pair.responses_a, *pair.responses_b)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    left_out = _LEFT_OUT.format(count=len(text) - most)
    return f"{text[: most - most // 2]}{left_out}{text[len(text) - most // 2 :]}"
