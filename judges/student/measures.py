"""Measure prompts and responses.

Prompt measures are the same for both responses, so they only weight the differences between the
responses. Every measure is bounded or logarithmic and takes time linear in the response. Long
responses are read through a window (start and end); their true length is kept.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

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
    """A parsed prompt: its words and what it asks for."""

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
    """Return `text`, cut to its first and last characters if longer than the window."""
    if len(text) <= HEAD_CHARACTERS + TAIL_CHARACTERS:
        return text
    return text[:HEAD_CHARACTERS] + "\n" + text[-TAIL_CHARACTERS:]


def words_of(text: str) -> list[str]:
    """Return the words of `text` in lower case."""
    return _WORD.findall(text.lower())


def read_prompt(turns: Sequence[str]) -> Prompt:
    """Parse the last user turn, using the earlier turns as context."""
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


_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)")
_BULLET = re.compile(r"^[ \t]*[-*•+] +\S", re.MULTILINE)
_NUMBERED = re.compile(r"^[ \t]*\(?\d{1,3}[.):] *\S", re.MULTILINE)
_HEADER = re.compile(r"^#{1,6} |^\*\*[^*\n]{1,80}\*\*:?\s*$", re.MULTILINE)
_CAPITALISED = re.compile(r"\b[A-Z][a-z]+")
_REFUSAL = re.compile(
    r"\b(?:as an? (?:\w+ )?(?:ai|language model|assistant|artificial)|i(?:'m| am|’m) (?:sorry|afraid|unable|"
    r"not able)|i (?:can ?not|can't|can’t|do not|don't|don’t) (?:\w+ )?(?:have|know|provide|help|assist|"
    r"answer|understand|access|personal)|unable to|not possible|apologi[sz]e|no information|not provided|"
    r"please provide|could you (?:please )?(?:provide|clarify))"
)
_OPENER = re.compile(
    r"(?:sure|certainly|of course|absolutely|here(?:'s| is| are|’s)|great|thank)\b"
)
_CONCLUSION = re.compile(
    r"\b(?:overall|in conclusion|in summary|to summarize|ultimately|in short)\b"
)
_CONNECTIVE = re.compile(
    r"\b(?:because|therefore|however|additionally|furthermore|moreover|thus|since|while|although|"
    r"for example|for instance|such as|first|second|finally|then|next)\b"
)
_LEAK = re.compile(
    r"###|<\||\|>|</s>|\[/?inst\]|\b(?:human|user|assistant|instruction|input|output|question|answer|"
    r"response|bot|ai) ?:",
)
_LINK = re.compile(r"https?://|www\.")
_FORMULA = re.compile(r"\d\s*[-+*/×÷=^]\s*\d|=\s*\d|\\[a-z]+\{")
_SECOND_PERSON = frozenset({"you", "your", "yours", "yourself"})
_FIRST_PERSON = frozenset({"i", "me", "my", "mine", "we", "our", "us"})
_CLOSERS = frozenset(".!?\"'”’)]}`>*:|。！？")


@dataclass(frozen=True, slots=True)
class Reading:
    """A parsed response: text window, words, lines and true length."""

    text: str
    lower: str
    words: list[str]
    lines: list[str]
    characters: int
    scale: float

    @property
    def vocabulary(self) -> frozenset[str]:
        """The distinct words."""
        return frozenset(self.words)


def read_response(response: str) -> Reading:
    """Parse a response's window; `scale` is the true length divided by the length read."""
    text = windowed(response)
    lines = [line.strip() for line in text.split("\n")]
    characters = len(response)
    return Reading(
        text=text,
        lower=text.lower(),
        words=words_of(text),
        lines=[line for line in lines if line],
        characters=characters,
        scale=characters / max(len(text), 1),
    )


def response_measures(
    reading: Reading, prompt: Prompt, earlier: Sequence[Reading]
) -> dict[str, float]:
    """Return all measures of a response by name, in a fixed order."""
    return {
        **_size(reading, earlier),
        **_shape(reading),
        **_wording(reading),
        **_repetition(reading, earlier),
        **_ending(reading),
        **_relation(reading, prompt),
        **_obedience(reading, prompt),
    }


def _size(reading: Reading, earlier: Sequence[Reading]) -> dict[str, float]:
    characters = reading.characters
    word_count = len(reading.words) * reading.scale
    conversation = characters + sum(turn.characters for turn in earlier)
    return {
        "log_characters": math.log1p(characters),
        "log_words": math.log1p(word_count),
        "log_conversation": math.log1p(conversation),
        "saturated_100": math.tanh(characters / 100),
        "saturated_400": math.tanh(characters / 400),
        "saturated_1500": math.tanh(characters / 1500),
        "linear_length": min(characters, 6000) / 1000,
        "empty": float(word_count == 0),
        "few_words": float(word_count <= 3),
    }


def _shape(reading: Reading) -> dict[str, float]:
    text, characters = reading.text, max(len(reading.text), 1)
    bullets, numbered = len(_BULLET.findall(text)), len(_NUMBERED.findall(text))
    paragraphs = text.count("\n\n") + 1
    sentences = max(len(_SENTENCE_END.findall(text)), 1)
    return {
        "log_lines": math.log1p(len(reading.lines)),
        "log_paragraphs": math.log1p(paragraphs),
        "log_bullets": math.log1p(bullets),
        "log_numbered": math.log1p(numbered),
        "is_list": float(bullets + numbered >= 2),
        "headers": math.log1p(len(_HEADER.findall(text))),
        "bold": math.log1p(text.count("**") // 2),
        "code_blocks": min(text.count("```") // 2, 4) / 2,
        "table_cells": math.log1p(text.count("|")),
        "log_sentences": math.log1p(sentences * reading.scale),
        "log_sentence_words": math.log1p(len(reading.words) / sentences),
        "symbols": sum(map(text.count, "{}()[];=<>/\\_")) / characters,
        "digits": sum(map(text.count, "0123456789")) / characters,
        "punctuation": sum(map(text.count, ".,;:!?")) / characters,
        "newlines": text.count("\n") / characters,
        "non_ascii": sum(map("\x7f".__lt__, text)) / characters,
    }


def _wording(reading: Reading) -> dict[str, float]:
    words, lower = reading.words, reading.lower
    count = max(len(words), 1)
    return {
        "mean_word_length": min(sum(map(len, words)) / count, 12.0),
        "long_words": sum(len(word) >= 8 for word in words) / count,
        "stop_words": sum(map(STOP_WORDS.__contains__, words)) / count,
        "refusal": float(_REFUSAL.search(lower) is not None),
        "refusal_at_start": float(_REFUSAL.search(lower[:120]) is not None),
        "opener": float(_OPENER.match(lower.lstrip()) is not None),
        "conclusion": float(_CONCLUSION.search(lower) is not None),
        "connectives": math.log1p(len(_CONNECTIVE.findall(lower))),
        "leaks": math.log1p(len(_LEAK.findall(lower))),
        "links": math.log1p(len(_LINK.findall(lower))),
        "formulas": math.log1p(len(_FORMULA.findall(lower))),
        "log_numbers": math.log1p(len(_NUMBER.findall(lower))),
        "capitalised": math.log1p(len(_CAPITALISED.findall(reading.text))),
        "second_person": sum(map(_SECOND_PERSON.__contains__, words)) / count,
        "first_person": sum(map(_FIRST_PERSON.__contains__, words)) / count,
        "questions": math.log1p(lower.count("?")),
        "exclamations": math.log1p(lower.count("!")),
        "quotes": math.log1p(lower.count('"') + lower.count("“")),
        "colons": math.log1p(lower.count(":")),
    }


def _repetition(reading: Reading, earlier: Sequence[Reading]) -> dict[str, float]:
    words, lines = reading.words, reading.lines
    data = reading.text.encode("utf-8", errors="surrogatepass")
    head = words[:150]
    four_grams = list(zip(words, words[1:], words[2:], words[3:], strict=False))
    before = set[str]().union(*(turn.words for turn in earlier))
    common = Counter(lines).most_common(1)
    return {
        "compression": len(zlib.compress(data, 6)) / (len(data) + 20),
        "type_token": len(set(head)) / max(len(head), 1),
        "log_vocabulary": math.log1p(len(set(words))),
        "distinct_bigrams": len(set(pairwise(words))) / max(len(words) - 1, 1),
        "repeated_four_grams": 1 - len(set(four_grams)) / max(len(four_grams), 1),
        "repeated_lines": 1 - len(set(lines)) / max(len(lines), 1),
        "commonest_line": math.log1p((common[0][1] if common else 1) - 1),
        "said_before": sum(map(before.__contains__, words)) / max(len(words), 1),
    }


def _ending(reading: Reading) -> dict[str, float]:
    stripped = reading.text.rstrip()
    last = stripped[-1:]
    return {
        "ends_closed": float(last in _CLOSERS) if last else 0.0,
        "ends_in_sentence": float(last != "" and last in ".!?。！？"),
        "ends_in_word": float(last.isalnum()),
        "ends_in_question": float(last == "?"),
        "ends_in_colon": float(last != "" and last in ":,-("),
        "open_code_block": float(reading.text.count("```") % 2),
        "starts_lower": float(reading.text.lstrip()[:1].islower()),
        "starts_odd": float(reading.text.lstrip()[:1] in tuple(",.;:)?-")),
    }


def _relation(reading: Reading, prompt: Prompt) -> dict[str, float]:
    vocabulary = reading.vocabulary
    content = vocabulary - STOP_WORDS
    shared = content & prompt.content_words
    three_grams = set(zip(reading.words, reading.words[1:], reading.words[2:], strict=False))
    copied = len(three_grams & prompt.three_grams)
    return {
        "prompt_covered": len(shared) / max(len(prompt.content_words), 1),
        "from_prompt": len(shared) / max(len(content), 1),
        "new_words": math.log1p(len(content - prompt.content_words)),
        "copied": copied / max(len(three_grams), 1),
        "prompt_copied": copied / max(len(prompt.three_grams), 1),
        "log_length_over_prompt": math.log1p(reading.characters) - prompt.log_characters,
        "starts_with_prompt": float(
            len(reading.words) > 2 and reading.words[:3] == prompt.words[:3]
        ),
        "last_line_covered": len(shared & prompt.last_line_words)
        / max(len(prompt.last_line_words), 1),
        "numbers_kept": len(set(_NUMBER.findall(reading.lower)) & prompt.numbers)
        / max(len(prompt.numbers), 1),
    }


def _obedience(reading: Reading, prompt: Prompt) -> dict[str, float]:
    text = reading.text.strip()
    items = len(_BULLET.findall(text)) + len(_NUMBERED.findall(text))
    wanted = prompt.items_wanted
    words = len(reading.words) * reading.scale
    return {
        "missed_items": min(abs(items - wanted), 10) / 10 if wanted else 0.0,
        "has_wanted_items": float(wanted > 0 and items == wanted),
        "over_word_limit": math.log1p(max(words - prompt.word_limit, 0))
        if prompt.word_limit
        else 0.0,
        "wanted_code": float(prompt.wants_code) * float("```" in text or "    " in text),
        "wanted_json": float(prompt.wants_json) * (float(text[:1] in "[{") if text else -1.0),
        "bare_json": float(prompt.wants_json) * float(text[:1] in "[{" and text[-1:] in "]}"),
        "short_wanted_length": float(prompt.wants_short) * math.log1p(words),
        "closed_wanted_length": float(prompt.wants_choice) * math.log1p(words),
    }
