"""What can be read off a prompt without a model: what kind of answer it asks for.

A prompt is symmetric in the two responses, so these measures only say how much each difference
between the responses should count.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

HEAD_CHARACTERS = 8000
TAIL_CHARACTERS = 4000

_COMMON = (
    "a about after all also am an and any are as at be because been but by can could did do does for from "
    "had has have he her his how i if in into is it its just like may me might more most my no not of on "
    "one only or other our out over she should so some such than that the their them then there these "
    "they this those to too up us very was we were what when where which while who why will with would "
    "you your"
)
STOP_WORDS = frozenset(_COMMON.split())
_WORD = re.compile(r"\w+(?:['’]\w+)?")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SHORT = re.compile(
    r"\b(?:short|brief|briefly|concise|concisely|only|one word|single word|one sentence|just the|summari[sz]e|"
    r"summary|headline|title|in (?:a|one|two|\d+) (?:sentence|word)s?|directly|simple)\b"
)
_CHOICE = re.compile(
    r"\b(?:yes or no|true or false|positive or negative|which of|whether|classify|categori[sz]e|label|"
    r"identify|extract|multiple[- ]choice|choose|select|detect|determine if|is it|is this|reply with|"
    r"answer with|find out)\b"
)
_CODE = re.compile(
    r"\b(?:code|function|python|java|javascript|c\+\+|sql|html|css|program|script|regex|algorithm|implement|"
    r"bash|command|api|array|json|xml|latex|excel)\b"
)
_JSON = re.compile(r"\bjson\b")
_MATH = re.compile(
    r"\b(?:how many|how much|calculate|compute|solve|equation|sum|probability|average|percent|total|area|"
    r"number of|value of|prove|integer|triangle|math)\b"
)
_WRITE = re.compile(
    r"\b(?:write|compose|draft|create|craft|generate|story|poem|essay|letter|email|blog|article|describe|"
    r"paragraph|speech|haiku|song|review|post|script|imagine|joke)\b"
)
_REWRITE = re.compile(
    r"\b(?:rewrite|rephrase|paraphrase|edit|correct|translate|convert|turn|change|improve|fix|format|make|"
    r"transform|replace)\b"
)
_LIST = re.compile(
    r"\b(?:list|bullet|points|steps|ideas|examples|suggestions?|tips|ways|names|recommend)\b"
)
_EXPLAIN = re.compile(
    r"\b(?:explain|why|how|what|discuss|analy[sz]e|compare|difference|evaluate|describe)\b"
)
_ROLE = re.compile(r"\b(?:you are|act as|pretend|imagine you|role|persona|as a|take on|embrace)\b")
_ONE_TO_TEN = "one two three four five six seven eight nine ten"
_NUMBER_WORDS = {word: value for value, word in enumerate(_ONE_TO_TEN.split(), start=1)}
_ITEMS = re.compile(
    r"\b(\d{1,2}|one|two|three|four|five|six|seven|eight|nine|ten)(?: [\w-]+){0,2} (?:points?|bullets?|items?|"
    r"ideas|examples|tips|ways|reasons|steps|arguments|questions|names|sentences|suggestions|things|books|"
    r"titles|words|facts|options|methods|bullet-points?|alternatives|recommendations|places|activities)\b"
)
_WORD_LIMIT = re.compile(
    r"\b(?:less than|fewer than|under|within|no more than|at most|up to|maximum of|in)? ?(\d{1,4})[ -]words?\b"
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as read: its words, and what it asks for."""

    words: list[str]
    content_words: frozenset[str]
    three_grams: frozenset[tuple[str, ...]]
    last_line_words: frozenset[str]
    numbers: frozenset[str]
    log_characters: float
    items_wanted: int
    word_limit: int
    wants_short: bool
    wants_choice: bool
    wants_code: bool
    wants_json: bool
    measures: dict[str, float]


def windowed(text: str) -> str:
    """Return `text`, or its first and last characters where it is longer than the window."""
    if len(text) <= HEAD_CHARACTERS + TAIL_CHARACTERS:
        return text
    return text[:HEAD_CHARACTERS] + "\n" + text[-TAIL_CHARACTERS:]


def words_of(text: str) -> list[str]:
    """Return the words of `text` in lower case."""
    return _WORD.findall(text.lower())


def read_prompt(turns: Sequence[str]) -> Prompt:
    """Read the last user turn in the light of the ones before it."""
    last = turns[-1] if turns else ""
    text = windowed(last)
    lower, words = text.lower(), words_of(text)
    content = frozenset(words) - STOP_WORDS
    lines = [line for line in lower.split("\n") if line.strip()]
    log_characters = math.log1p(len(last))
    wants_short = _SHORT.search(lower) is not None
    limit = _WORD_LIMIT.search(lower)
    return Prompt(
        words=words,
        content_words=content,
        three_grams=frozenset(zip(words, words[1:], words[2:], strict=False)),
        last_line_words=frozenset(words_of(lines[-1]) if lines else ()) - STOP_WORDS,
        numbers=frozenset(_NUMBER.findall(lower)),
        log_characters=log_characters,
        items_wanted=_items_wanted(lower),
        word_limit=int(limit.group(1)) if limit else 0,
        wants_short=wants_short,
        wants_choice=_CHOICE.search(lower) is not None,
        wants_code=_CODE.search(lower) is not None,
        wants_json=_JSON.search(lower) is not None,
        measures=_measures(lower, lines, turns),
    )


def _items_wanted(lower: str) -> int:
    found = _ITEMS.search(lower)
    if found is None:
        return 0
    number = found.group(1)
    return int(number) if number.isascii() and number.isdigit() else _NUMBER_WORDS.get(number, 0)


def _measures(lower: str, lines: Sequence[str], turns: Sequence[str]) -> dict[str, float]:
    has = {
        "asks_short": _SHORT,
        "asks_choice": _CHOICE,
        "asks_code": _CODE,
        "asks_mathematics": _MATH,
        "asks_writing": _WRITE,
        "asks_rewriting": _REWRITE,
        "asks_list": _LIST,
        "asks_explanation": _EXPLAIN,
        "asks_role": _ROLE,
    }
    return {
        **{name: float(pattern.search(lower) is not None) for name, pattern in has.items()},
        "log_prompt": math.log1p(sum(len(turn) for turn in turns[-1:])),
        "question_mark": float("?" in lower),
        "ends_with_question": float(lower.rstrip()[-1:] == "?"),
        "has_paragraphs": float("\n\n" in lower.strip()),
        "log_prompt_lines": math.log1p(len(lines)),
        "later_turn": float(len(turns) > 1),
        "prompt_digits": math.log1p(len(_NUMBER.findall(lower))),
    }
