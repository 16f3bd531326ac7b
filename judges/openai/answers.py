"""Find the answer in a reply and read the probabilities of the labels where it stands.

A verdict must come from the model's own answer. A reply may begin with a reasoning span, special
tokens, white space or markdown, so the label is found in the visible text first, then in the
sampled tokens, and both must agree. Where they do not, the reply is a failure, never a guess.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
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
_REFUSING: Final = re.compile(
    r"content.?filter|safety|refus|sensitive|prohibited|recitation|blocklist|spii|guardrail|moderat|toxic",
    re.IGNORECASE,
)
_OVERFLOWING: Final = ("model_context_window_exceeded", "context_length_exceeded")
_CUT: Final = ("length", "max_tokens", "max_output_tokens")
#: At temperature 0 no label's log-probability may lead that of the sampled token by more.
_FAR_AHEAD: Final = math.log(2)
_MOSTLY: Final = 0.5
_MOST_SIDES: Final = 3  # both responses, and neither

_REASONING_NAMES: Final = (
    r"(?:[a-z]+[:_])?(?:think(?:ing)?|thoughts?|reason(?:ing)?|analysis|scratch_?pad|reflection)"
)
_REASONING_ENDS: Final = re.compile(
    rf"</{_REASONING_NAMES}>|\[/THINK\]|\u25c1/think\u25b7|<\|/think(?:ing)?\|>"
    r"|<\|end_of_thought\|>|<\|END_THINKING\|>|<\|inner_suffix\|>|<unused95>|<channel\|>"
    r"|<\|channel\|>\s*final\s*(?:<\|message\|>)?|assistantfinal",
    re.IGNORECASE,
)
_REASONING_STARTS: Final = re.compile(
    rf"<{_REASONING_NAMES}>|\[THINK\]|\u25c1think\u25b7|<\|think(?:ing)?\|>"
    r"|<\|begin_of_thought\|>|<\|START_THINKING\|>|<\|inner_prefix\|>|<unused94>|<\|channel>"
    r"|<\|channel\|>\s*(?:analysis|commentary)|\Aanalysis(?=[A-Z])",
    re.IGNORECASE,
)
# special tokens, and tags around an answer: replaced by as many spaces, so that places stay
_MARKUP: Final = re.compile(
    r"<\|[^|<>\s]{1,64}\|?>|<\|?[^|<>\s]{1,64}\|>|<\uff5c[^<>]{1,64}\uff5c>"
    r"|</?(?:s|bos|eos|pad|start_of_turn|end_of_turn|answer|verdict|final|result|output"
    r"|response|choice|label|winner|preference|decision|judge?ment|selection|b|strong|em)>",
    re.IGNORECASE,
)
# punctuation of other scripts, one character for one: places stay
_NARROW: Final = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | str.maketrans(
    "\u3002\u3001\u3010\u3011\u300c\u300d\u300e\u300f\u300a\u300b\u3000", '.,[]"""""" '
)
_WRAP: Final = (
    r"[\s\u200b\u2060\ufeff*_`\"'\u201c\u201d\u2018\u2019\u00ab\u00bb()\[\]{}:.,;$\\#>!]*"
)
# possessive: a long row of marks is gone through once
_CLOSING: Final = r"[*_`\"'\u201d\u2019\u00bb)\]}]*+"
# before a label these may be a heading, such as "Response A"
_NAMES: Final = ("the", "response", "option", "text", "assistant", "output", "answer", "label",
          "model", "candidate")  # fmt: skip
_WORDS: Final = (
    *_NAMES, "my", "final", "correct", "better", "best", "preferred", "verdict",
    "choice", "decision", "is", "winner", "result", "boxed", "judgment", "judgement",
    "overall", "i", "we", "d", "would", "prefer", "choose", "pick", "select", "go", "with",
    "think", "believe", "say", "that", "sure", "okay", "here", "json",
)  # fmt: skip
# Chinese: answer, reply, choose, better, best, is, final, conclusion, I, think, should
_CHINESE: Final = (
    "\u6b63\u786e\u7b54\u6848", "\u7b54\u6848", "\u56de\u7b54", "\u56de\u590d", "\u54cd\u5e94",
    "\u9009\u62e9", "\u9009\u9879", "\u9009", "\u66f4\u597d", "\u6700\u597d", "\u66f4\u4f18", "\u8f83\u597d",
    "\u7684", "\u662f", "\u4e3a", "\u6700\u7ec8", "\u7ed3\u8bba", "\u6211", "\u8ba4\u4e3a", "\u5e94\u8be5",
)  # fmt: skip
_BETTER: Final = (
    r"\s+(?:wins|(?:is|was)\s+(?:(?:clearly|slightly|significantly|definitely|much|far|marginally"
    r"|overall|noticeably|substantially|obviously|certainly|simply|the)\s+)*"
    r"(?:better|best|preferred|preferable|superior|stronger|winner)"
    r"(?:\s+(?:response|answer|option|one|choice|overall))*)"
    r"(?:\s+than\s+(?:the\s+other(?:\s+(?:one|response|answer))?"
    r"|(?:(?:the\s+)?(?:response|answer|option|assistant)\s+)?(?P<than>{label})(?![^\W_])))?"
    r"|\s*(?:\u6bd4\s*(?:\u56de\u7b54|\u56de\u590d|\u54cd\u5e94)?\s*(?P<bi>{label})\s*)?"
    r"(?:\u66f4\u597d|\u66f4\u4f18|\u66f4\u4f73|\u8f83\u597d|\u80dc\u51fa)"
)
_REASON: Final = re.compile(
    r"(?:because|since|due|as|for|\u56e0\u4e3a|\u7531\u4e8e)", re.IGNORECASE
)
# what a text goes on with that takes the label back, or says what is wrong with it
_AGAINST: Final = re.compile(
    r"\W*+(?:(?:because|since|as|for)\s+)?(?:(?:it|this|that)(?:\s+(?:one|response|answer|option))?\s+)?"
    r"(?:(?:is|was|looks|seems)\s+)?(?:clearly\s+|much\s+|slightly\s+|far\s+)?"
    r"(?:not?|wrong|incorrect|worse|worst|inferior|bad|false|fails?|failed|loses|lost|lacks?|misses)\b",
    re.IGNORECASE,
)
# the same anywhere behind it; {label} stands for the label
_SPEAKS_AGAINST: Final = (
    r"(?<![^\W_])(?:{label}|it|this(?:\s+(?:one|response|answer|option))?)\s+(?:is|was|looks|seems)\s+"
    r"(?:(?:clearly|much|slightly|far|the|a|significantly|actually|overall)\s+)*"
    r"(?:worse|worst|inferior|weaker|weakest|poorer|wrong|incorrect"
    r"|not\s+(?:the\s+)?(?:better|best|correct|right|preferred|stronger))(?![^\W_])"
)
_STATED: Final = re.compile(
    r"(?:confidence|certainty|probability|likelihood)\W{1,5}(?:is\W{1,3}|of\W{1,3})?(\d{1,3}(?:\.\d{1,6})?)(?!\d)",
    re.IGNORECASE,
)
_TAKEN_BACK: Final = re.compile(
    r"\b(?:actually|wait|on second thoughts?|correction|scratch that|i change)\b", re.IGNORECASE
)
_OTHER_WINS: Final = tuple(
    re.compile(
        rf"\b(?:other|{others})\b[^.:;\n]{{0,30}}\b(?:better|best|wins|preferred|superior|stronger)\b",
        re.IGNORECASE,
    )
    for others in ("second|latter", "first|former")
)
# how sure the model says it is, behind the label
_SURE: Final = (
    r"[\s(\[,.:;\u2013\u2014-]*+(?:confidence\s*+(?:is|of|:|=)?\s*+)?(?P<percent>\d{1,3}(?:\.\d{1,6})?)\s?%"
    r"[^\w%]*+(?:(?:confiden(?:t|ce)|sure|certain(?:ty)?)[^\w%]*+)?\Z"
)
_VERBALIZED: Final = re.compile(r"\W*?(\S+?)[\s:,;(-]+(\d{1,3}(?:\.\d{1,6})?)\s*%\W*")
_LONGEST_VERBALIZED: Final = 100
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
    stripped = text.strip()
    # the pattern takes the cube of the length, and a label with a percentage is short
    found = _VERBALIZED.fullmatch(stripped) if len(stripped) <= _LONGEST_VERBALIZED else None
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
    if (reply.finish_reason or "").lower() in _OVERFLOWING:
        detail = f"the prompt does not fit the model's context ({reply.finish_reason})"
        return JudgeFailure(FailureKind.CONTEXT_OVERFLOW, detail)
    if reply.refusal or _REFUSING.search(reply.finish_reason or ""):
        detail = reply.refusal or f"stopped by a content filter ({reply.finish_reason})"
        return JudgeFailure(FailureKind.REFUSED, detail[:_SHOWN_LENGTH])
    return None


def _labels(reply: Reply, reading: Reading) -> LabelProbabilities | JudgeFailure:
    text = visible(reply.text)
    if text is None or (not text.strip() and reply.reasoning):
        return unparseable(_THINKING)
    said = _find_label(text, reading.matcher, is_cut=is_cut(reply))
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


def is_cut(reply: Reply) -> bool:
    """Return whether a limit on its length ended a reply."""
    return (reply.finish_reason or "").lower() in _CUT


def _find_label(text: str, matcher: LabelMatcher, *, is_cut: bool) -> _Said | None:
    """Return the label that a text answers with; None if it says more than that.

    `**A**`, `The better response is A.`, `A (85%)` and `A is better than B` are answers. An
    explanation may follow, if it neither names another label nor speaks against this one.
    `Response A: ...` and `A. Accuracy ...` may begin a list of which the rest is missing: they are
    answers only where they cannot be that.
    """
    found = _pattern(matcher.labels, matcher.is_any_case).match(text.translate(_NARROW))
    if found is None or (index := matcher.index(found["label"])) is None:
        return None
    others = [label for place, label in enumerate(matcher.labels) if place != index]
    than = found["than"] or found["bi"]
    if than is not None and matcher.index(than) in (None, index):
        return None
    rest = found.string[found.end() :]
    if any(_names(rest, label) for label in others) or _is_taken_back(rest, index, matcher):
        return None
    if found["percent"] is not None:
        # less than half would be for another label
        return _Said(index, found.start("label")) if 50 < float(found["percent"]) <= 100 else None
    if not _is_verdict(found) and _is_heading(found, rest, is_cut=is_cut):
        return None
    return _Said(index, found.start("label"))


def _is_taken_back(rest: str, index: int, matcher: LabelMatcher) -> bool:
    """Return whether what follows a label speaks against it."""
    if not rest.strip() or _TAKEN_BACK.search(rest) is not None:
        return bool(rest.strip())
    if len(matcher.labels) > _MOST_SIDES:
        return False  # a rating, which says how much is wrong
    is_other = index < len(_OTHER_WINS) and _OTHER_WINS[index].search(rest) is not None
    against = _SPEAKS_AGAINST.replace("{label}", re.escape(matcher.labels[index]))
    stated = _STATED.search(rest)
    return (
        is_other
        or _AGAINST.match(rest) is not None
        or re.search(against, rest, re.IGNORECASE) is not None
        # a share of 1 or of 100; less than half would be for another label
        or (stated is not None and not _is_more_than_half(float(stated[1])))
    )


def _is_more_than_half(number: float) -> bool:
    return number > (0.5 if number <= 1 else 50)


def _is_verdict(found: re.Match[str]) -> bool:
    """Return whether the words around the label say that it is the answer."""
    lead = found["lead"].casefold()
    named = re.findall(r"[^\W_]+", lead)
    return (
        found["better"] is not None
        or any(word not in _NAMES for word in named)
        or (bool(named) and ":" in lead)
    )


def _is_heading(found: re.Match[str], rest: str, *, is_cut: bool) -> bool:
    """Return whether a label without such words may stand above something that is said of it."""
    has_name = re.search(r"[^\W_]", found["lead"]) is not None
    mark = re.sub(r"[^.:;,\u2013\u2014-]", "", found["mark"])[-1:]
    if not rest.strip():
        return is_cut and (has_name or mark in tuple(":,;"))
    if _REASON.match(rest.lstrip()):
        return False
    if mark in ("", ".") and "\n" in found["mark"]:
        return has_name and is_cut
    return mark != "." or is_cut


def _names(text: str, label: str) -> bool:
    return re.search(rf"(?<![^\W_]){re.escape(label)}(?![^\W_])", text) is not None


@lru_cache(maxsize=64)
def _pattern(labels: tuple[str, ...], is_any_case: bool) -> re.Pattern[str]:
    folded = {label.casefold() for label in labels}
    words = "|".join(word for word in _WORDS if word not in folded)
    spelled = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    label = f"(?{'i' if is_any_case else '-i'}:{spelled})"
    better = _BETTER.replace("{label}", label)
    return re.compile(
        rf"(?P<lead>{_WRAP}(?:(?:(?:{words})(?![^\W_])|{'|'.join(_CHINESE)}){_WRAP})*)"
        rf"(?P<label>{label})(?:{_CLOSING}(?P<better>{better}))?"
        rf"(?P<mark>{_WRAP}+\Z|{_CLOSING}{_SURE}|{_CLOSING}(?:[.:;,]?{_CLOSING}[^\S\n]*\n|[.:;,]\s|\s+[-\u2013\u2014]\s"
        rf"|\s+(?=(?:because|since|due\s+to)\b)))",
        re.IGNORECASE,
    )


def _position_of(said: _Said, text: str, reply: Reply, matcher: LabelMatcher) -> int | None:
    """Return the index of the position where the label that the text names was sampled."""
    tokens = [bare(position.token).translate(_NARROW) for position in reply.positions]
    whole = "".join(tokens)
    start = 0
    has_reasoning = reply.reasoning or text.strip() != reply.text.strip()
    if has_reasoning and not _REASONING_ENDS.search(whole):
        # the server cut the reasoning out of the text, and the tokens do not say where it ends
        start = _MARKUP.sub(lambda match: " " * len(match.group()), whole).rfind(text.strip())
    seen = visible(whole[start:]) if start >= 0 else None
    found = None if seen is None else _find_label(seen, matcher, is_cut=is_cut(reply))
    if found is None or found.label != said.label:
        return None
    index = bisect_right(list(accumulate(map(len, tokens))), start + found.start)
    return index if matcher.index_of_text(tokens[index]) == said.label else None


def _read_position(position: Position, reading: Reading) -> LabelProbabilities | JudgeFailure:
    matcher = reading.matcher
    if not position.top:
        return unparseable("log-probs were asked for, and the list of them is empty")
    position = _narrowed(position)
    if position.is_foreign:
        return unparseable(f"the log-probs lack the sampled token {position.token[:40]!r}")
    in_quotes = matcher.index(position.token) is None
    index_of = matcher.index_of_text if in_quotes else matcher.index
    sampled = index_of(position.token)
    if position.is_one_hot and sampled is not None:
        return _vote(sampled, reading)
    top = position.top or ()
    note_tokens([(entry.token, entry.logprob) for entry in top], matcher.labels, index_of)
    said = read_label_probabilities(top, matcher, in_quotes=in_quotes)
    said = reading.with_enough_mass(said, position.token)
    if isinstance(said, JudgeFailure):
        return said
    if sampled is not None and len({entry.token for entry in top}) == 1:
        return _vote(sampled, reading)  # a list of one token says nothing of the other label
    listed = [entry.logprob for entry in top if index_of(entry.token) is not None]
    if position.is_joined and len(listed) == 1 and (said.outside_mass or 0.0) >= _MOSTLY:
        return unparseable("no label among the most probable tokens but the sampled one")
    if reading.is_greedy and _is_overruled(position, listed):
        return unparseable(
            f"the sampled token {position.token[:40]!r} is far less probable than another label,"
            " at temperature 0"
        )
    return said


def _narrowed(position: Position) -> Position:
    """Return a position with its tokens in letters of the usual width."""
    top = [entry._replace(token=entry.token.translate(_NARROW)) for entry in position.top or ()]
    return replace(position, token=position.token.translate(_NARROW), top=tuple(top))


def _is_overruled(position: Position, of_labels: Sequence[object]) -> bool:
    """Return whether a label is far more probable than the token that was sampled greedily."""
    own = [position.logprob]
    own += [entry.logprob for entry in position.top or () if entry.token == position.token]
    sampled = max((n for n in map(checked_logprob, own) if n is not None), default=None)
    best = max((n for n in map(checked_logprob, of_labels) if n is not None), default=None)
    return sampled is not None and best is not None and best - sampled > _FAR_AHEAD
