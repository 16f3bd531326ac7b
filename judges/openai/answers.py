"""Find the answer in a reply and read the probabilities of the labels where it stands.

A verdict must come from the model's own answer. A reply may begin with a reasoning span, special
tokens, white space or markdown, so the label is found in the visible text first, then in the
sampled tokens, and both must agree. Where they do not, the reply is a failure, never a guess.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from judges.openai.replies import Position, Reply, bare
from judges.prompting.label_tokens import (
    NO_LOGPROBS,
    LabelMatcher,
    LabelProbabilities,
    checked_logprob,
    note_tokens,
    read_label_probabilities,
    unparseable,
)
from judges.types import FailureKind, JudgeFailure

_SHOWN_LENGTH: Final = 300
_REFUSING: Final = ("content_filter", "safety", "refusal", "sensitive", "prohibited_content")
#: At temperature 0 no label's log-probability may lead that of the sampled token by more.
_FAR_AHEAD: Final = math.log(2)
_MOSTLY: Final = 0.5

_REASONING_NAMES: Final = r"(?:[a-z]+:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|analysis)"
_REASONING_ENDS: Final = re.compile(
    rf"</{_REASONING_NAMES}>|\[/THINK\]|\u25c1/think\u25b7|<\|/think(?:ing)?\|>"
    r"|<\|end_of_thought\|>|<\|END_THINKING\|>|<channel\|>"
    r"|<\|channel\|>\s*final\s*(?:<\|message\|>)?|assistantfinal",
    re.IGNORECASE,
)
_REASONING_STARTS: Final = re.compile(
    rf"<{_REASONING_NAMES}>|\[THINK\]|\u25c1think\u25b7|<\|think(?:ing)?\|>"
    r"|<\|begin_of_thought\|>|<\|START_THINKING\|>|<\|channel>"
    r"|<\|channel\|>\s*(?:analysis|commentary)|\Aanalysis(?=[A-Z])",
    re.IGNORECASE,
)
# special tokens, and tags around an answer: replaced by as many spaces, so that places stay
_MARKUP: Final = re.compile(
    r"<\|[^|<>\s]{1,64}\|?>|<\|?[^|<>\s]{1,64}\|>|<\uff5c[^<>]{1,64}\uff5c>"
    r"|</?(?:s|bos|eos|pad|start_of_turn|end_of_turn|answer|verdict|final|result|output)>",
    re.IGNORECASE,
)
_WRAP: Final = r"[\s*_`\"'\u201c\u201d\u2018\u2019\u00ab\u00bb()\[\]{}:.,;$\\#>]*"
_CLOSING: Final = r"[*_`\"'\u201d\u2019\u00bb)\]}]*"
_WORDS: Final = (
    "the", "my", "final", "correct", "better", "best", "preferred", "answer", "verdict",
    "response", "choice", "decision", "is", "winner", "output", "label", "option", "result",
    "boxed", "text", "assistant", "judgment", "judgement",
)  # fmt: skip
_VERBALIZED: Final = re.compile(r"\W*?(\S+?)[\s:,;(-]+(\d{1,3}(?:\.\d{1,6})?)\s*%\W*")
_THINKING: Final = (
    "the model was still thinking: give it more max_tokens, or switch its thinking off"
)


@dataclass(frozen=True, slots=True)
class Reading:
    """How replies are read.

    Attributes:
        matcher: The labels.
        least_mass: The labels together must have at least this probability.
        is_greedy: The tokens were asked for at temperature 0.
    """

    matcher: LabelMatcher
    least_mass: float = 0.0
    is_greedy: bool = True

    def with_enough_mass(
        self, said: LabelProbabilities | JudgeFailure, token: str
    ) -> LabelProbabilities | JudgeFailure:
        """Return `said`, or a failure if its labels have too little probability together."""
        if isinstance(said, JudgeFailure) or said.outside_mass is None:
            return said
        mass = 1.0 - said.outside_mass
        if mass >= self.least_mass:
            return said
        return unparseable(
            f"the labels have a probability of {mass:.2g} together, less than min_label_mass"
            f" {self.least_mass:g}; the model said {token[:40]!r}"
        )


class _Said(NamedTuple):
    """A label, by its place among the labels, and the place of its first character in a text."""

    label: int
    start: int


def labels_of_reply(reply: Reply, reading: Reading) -> LabelProbabilities | JudgeFailure:
    """Return the label probabilities of a reply, or the failure."""
    if (refused := _refused(reply)) is not None:
        return refused
    said = _labels(reply, reading)
    if isinstance(said, JudgeFailure) and reply.finish_reason:
        return JudgeFailure(said.kind, f"{said.detail}; it ended by {reply.finish_reason[:40]!r}")
    return said


def verbalized_labels(reply: Reply, matcher: LabelMatcher) -> LabelProbabilities | JudgeFailure:
    """Return the stated label with its percentage; the other labels share the rest equally."""
    if (refused := _refused(reply)) is not None:
        return refused
    text = visible(reply.text)
    if text is None:
        return unparseable(_THINKING)
    found = _VERBALIZED.fullmatch(text.strip())
    index = matcher.index_of_text(found.group(1)) if found else None
    percent = float(found.group(2)) if found else 0.0
    if index is None or percent > 100:
        return unparseable(f"{text.strip()[:80]!r} is no label with a percentage")
    rest = (100.0 - percent) / (len(matcher.labels) - 1)
    shares = tuple(
        (percent if position == index else rest) / 100.0 for position in range(len(matcher.labels))
    )
    return LabelProbabilities(shares, None)


def visible(text: str) -> str | None:
    """Return a text with its reasoning and special tokens blanked; None if it is all reasoning.

    Every character that stays keeps its place.
    """
    end = max((match.end() for match in _REASONING_ENDS.finditer(text)), default=0)
    if _REASONING_STARTS.search(text, end):
        return None
    blanked = _MARKUP.sub(lambda match: " " * len(match.group()), text[end:])
    return " " * end + blanked


def _refused(reply: Reply) -> JudgeFailure | None:
    if reply.refusal or (reply.finish_reason or "").lower() in _REFUSING:
        detail = reply.refusal or f"stopped by a content filter ({reply.finish_reason})"
        return JudgeFailure(FailureKind.REFUSED, detail[:_SHOWN_LENGTH])
    return None


def _labels(reply: Reply, reading: Reading) -> LabelProbabilities | JudgeFailure:
    text = visible(reply.text)
    if text is None or (not text.strip() and reply.reasoning):
        return unparseable(_THINKING)
    said = _find_label(text, reading.matcher)
    if not any(position.top is not None for position in reply.positions):
        return unparseable(_no_label(text)) if said is None else _vote(said.label, reading)
    if said is None:
        return _only_token(text, reply.positions, reading)
    at = _position_of(said, text, reply, reading.matcher)
    if at is None:
        return unparseable(
            f"the log-probs do not hold the answer {text.strip()[:80]!r}: they are of other text"
        )
    return _read_position(reply.positions[at], reading)


def _no_label(text: str) -> str:
    shown = text.strip()[:80]
    return f"the answer {shown!r} is no label" if shown else "the answer is empty"


def _vote(index: int, reading: Reading) -> LabelProbabilities:
    shares = tuple(float(place == index) for place in range(len(reading.matcher.labels)))
    return LabelProbabilities(shares, None, flags=(NO_LOGPROBS,))


def _only_token(
    text: str, positions: Sequence[Position], reading: Reading
) -> LabelProbabilities | JudgeFailure:
    """Read an answer of one token that is no label: the labels may still be probable there."""
    told = [position for position in positions if _seen(position.token)]
    if not any(re.fullmatch(_WRAP, _seen(position.token)) is None for position in told):
        return unparseable(f"{_no_label(text)}; it ends before one: give it more max_tokens")
    if len(told) > 1 or _seen(told[0].token) != text.strip():
        return unparseable(_no_label(text))
    return _read_position(told[0], reading)


def _seen(token: str) -> str:
    """Return what a reader sees of a token: nothing of a special one."""
    return (visible(bare(token)) or "").strip()


def _find_label(text: str, matcher: LabelMatcher) -> _Said | None:
    """Return the label that a text answers with; None if it says more than that.

    `**A**` and `The better response is A.` are answers. An explanation may follow after a full stop
    or a new line, if it does not name another label.
    """
    found = _pattern(matcher.labels, matcher.is_any_case).match(text)
    if found is None:
        return None
    index = matcher.index(found.group("label"))
    others = [label for place, label in enumerate(matcher.labels) if place != index]
    rest = text[found.end("label") :]
    if index is None or any(_names(rest, label) for label in others):
        return None
    return _Said(index, found.start("label"))


def _names(text: str, label: str) -> bool:
    return re.search(rf"(?<![^\W_]){re.escape(label)}(?![^\W_])", text) is not None


@lru_cache(maxsize=64)
def _pattern(labels: tuple[str, ...], is_any_case: bool) -> re.Pattern[str]:
    folded = {label.casefold() for label in labels}
    words = "|".join(word for word in _WORDS if word not in folded)
    spelled = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    case = "i" if is_any_case else "-i"
    return re.compile(
        rf"{_WRAP}(?:(?:{words})(?![^\W_]){_WRAP})*(?P<label>(?{case}:{spelled}))"
        rf"(?:{_WRAP}\Z|{_CLOSING}(?:\s*\n|[.:;,]\s))",
        re.IGNORECASE,
    )


def _position_of(said: _Said, text: str, reply: Reply, matcher: LabelMatcher) -> int | None:
    """Return the index of the position where the label that the text names was sampled."""
    tokens = [bare(position.token) for position in reply.positions]
    whole = "".join(tokens)
    start = 0
    has_reasoning = reply.reasoning or text.strip() != reply.text.strip()
    if has_reasoning and not _REASONING_ENDS.search(whole):
        # the server cut the reasoning out of the text, and the tokens do not say where it ends
        start = _MARKUP.sub(lambda match: " " * len(match.group()), whole).rfind(text.strip())
    seen = visible(whole[start:]) if start >= 0 else None
    found = _find_label(seen, matcher) if seen is not None else None
    if found is None or found.label != said.label:
        return None
    ends = 0
    for index, token in enumerate(tokens):
        ends += len(token)
        if ends > start + found.start:
            return index if matcher.index_of_text(token) == said.label else None
    return None


def _read_position(position: Position, reading: Reading) -> LabelProbabilities | JudgeFailure:
    matcher = reading.matcher
    if not position.top:
        return unparseable("log-probs were asked for, and the list of them is empty")
    if position.is_foreign:
        return unparseable(f"the log-probs lack the sampled token {position.token[:40]!r}")
    in_quotes = matcher.index(position.token) is None
    index_of = matcher.index_of_text if in_quotes else matcher.index
    sampled = index_of(position.token)
    if position.is_one_hot and sampled is not None:
        return _vote(sampled, reading)
    note_tokens([(entry.token, entry.logprob) for entry in position.top], matcher.labels, index_of)
    said = read_label_probabilities(position.top, matcher, in_quotes=in_quotes)
    said = reading.with_enough_mass(said, position.token)
    if isinstance(said, JudgeFailure):
        return said
    listed = [entry.logprob for entry in position.top if index_of(entry.token) is not None]
    if position.is_joined and len(listed) == 1 and (said.outside_mass or 0.0) >= _MOSTLY:
        return unparseable("no label among the most probable tokens but the sampled one")
    if reading.is_greedy and _is_overruled(position, listed):
        return unparseable(
            f"the sampled token {position.token[:40]!r} is far less probable than another label,"
            " at temperature 0"
        )
    return said


def _is_overruled(position: Position, of_labels: Sequence[object]) -> bool:
    """Return whether a label is far more probable than the token that was sampled greedily."""
    own = [position.logprob]
    own += [entry.logprob for entry in position.top or () if entry.token == position.token]
    sampled = max((n for n in map(checked_logprob, own) if n is not None), default=None)
    best = max((n for n in map(checked_logprob, of_labels) if n is not None), default=None)
    return sampled is not None and best is not None and best - sampled > _FAR_AHEAD
