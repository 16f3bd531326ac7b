"""Convert log-probabilities to label probabilities.

Several tokens may spell one label, for example with a leading space or in another case. Their
probabilities are summed and renormalised over the labels; the mass outside is kept. Where token ids
are known, each spelling is requested by id, so that improbable labels are not lost.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from judges.base import TokenRead, current_exchange
from judges.errors import JudgeConfigurationInvalid
from judges.prompting.tokens import Tokenizer
from judges.types import FailureKind, JudgeFailure

LABEL_OUTSIDE: Final = "label_outside_top_logprobs"
LABEL_BOUND: Final = "label_bound"
NO_LOGPROBS: Final = "no_logprobs"

_MAX_LOGPROB: Final = 1e-6  # a single-precision log-softmax may slightly exceed 0
_MAX_TOTAL: Final = 1.01
_SPACES: Final = (
    " \t\r\n\u2581\u0120\u010a"  # the last three: space and newline markers of tokenizers
)
_QUOTES: Final = "[](){}*\"'`.: \t\r\n"


@dataclass(frozen=True, slots=True)
class LabelProbabilities:
    """Probability of each label.

    Attributes:
        shares: Renormalised probabilities, in label order.
        outside_mass: Probability of anything but a label; None if unknown.
        bound: Upper bound on the probability, before renormalisation, of a label missing from the
            returned tokens; None if none is missing.
        flags: Flags raised for this answer.
    """

    shares: tuple[float, ...]
    outside_mass: float | None
    bound: float | None = None
    flags: tuple[str, ...] = ()


class LabelMatcher:
    """Match tokens and short texts to labels.

    Surrounding white space is ignored. Case is ignored unless two labels differ only by case.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        folded = {label.casefold(): index for index, label in enumerate(labels)}
        self.is_any_case = len(folded) == len(self.labels)
        exact = {label: index for index, label in enumerate(labels)}
        self._indices = folded if self.is_any_case else exact

    def index(self, token: str) -> int | None:
        """Return the position of the label that the token spells, or None."""
        word = token.strip(_SPACES)
        return self._indices.get(word.casefold() if self.is_any_case else word)

    def index_of_text(self, text: str) -> int | None:
        """Return the label that `text` spells, ignoring brackets, quotes and a full stop."""
        index = self.index(text)
        return self.index(text.strip(_QUOTES)) if index is None else index


class TokenLogprob(NamedTuple):
    """One entry of a list of likely tokens.

    Attributes:
        token: The token's text.
        logprob: Its natural log-probability as sent, whatever that is.
        identity: What tells apart two tokens of one text, such as their bytes; None if not sent.
    """

    token: str
    logprob: object
    identity: str | None = None


def read_label_probabilities(
    top_logprobs: Iterable[tuple[str, object] | TokenLogprob] | Mapping[str, object],
    matcher: LabelMatcher,
    *,
    in_quotes: bool = False,
) -> LabelProbabilities | JudgeFailure:
    """Return the probability of each label from the top tokens of one position.

    A missing label counts as 0 and is flagged. The probability of the least probable returned
    token is kept as its upper bound. Other tokens whose log-probability cannot be read are ignored.

    Args:
        top_logprobs: (token, natural log-probability) of the returned tokens. An entry that occurs
            twice counts once; two entries that differ in any part are two tokens.
        matcher: The label matcher.
        in_quotes: Whether a token such as `**A` or `"A` spells a label, too.

    Returns:
        The probabilities, or an `UNPARSEABLE` failure if no token spells a label, or if the
        log-probability of a label is not a finite number of at most 0.
    """
    given = top_logprobs.items() if isinstance(top_logprobs, Mapping) else top_logprobs
    index_of = matcher.index_of_text if in_quotes else matcher.index
    tokens: list[tuple[str, float]] = []
    for token, logprob in {repr(tuple(entry)): entry[:2] for entry in given}.values():
        number = checked_logprob(logprob)
        if number is not None:
            tokens.append((token, math.exp(number)))
        elif index_of(token) is not None:
            return unparseable(f"log-probability {str(logprob)[:40]} of token {token[:40]!r}")
    total = math.fsum(probability for _, probability in tokens)
    if total > _MAX_TOTAL:
        return unparseable(f"the tokens' probabilities add up to {total:.3g}")
    return _shares_of_labels(tokens, index_of, len(matcher.labels), 1.0 - min(total, 1.0))


def note_tokens(
    tokens: Iterable[tuple[str, object]],
    labels: Sequence[str],
    index_of: Callable[[str], int | None],
) -> None:
    """Note the tokens at the place of an answer with what they spell, if someone listens."""
    if (told := current_exchange()) is None:
        return
    read = []
    for token, logprob in tokens:
        index = index_of(token)
        label = None if index is None else labels[index]
        read.append(TokenRead(token, checked_logprob(logprob), label))
    told.tokens = tuple(
        sorted(
            read, key=lambda one: -math.inf if one.logprob is None else one.logprob, reverse=True
        )
    )


def read_sampled_label(text: str, matcher: LabelMatcher) -> LabelProbabilities | JudgeFailure:
    """Assign all probability to the label that `text` spells, for use without log-probs."""
    index = matcher.index_of_text(text)
    if index is None:
        return unparseable(f"the answer {text[:80]!r} is no label")
    shares = tuple(float(position == index) for position in range(len(matcher.labels)))
    return LabelProbabilities(shares, None, flags=(NO_LOGPROBS,))


def _shares_of_labels(
    tokens: Sequence[tuple[str, float]],
    index_of: Callable[[str], int | None],
    count: int,
    unseen: float,
) -> LabelProbabilities | JudgeFailure:
    spellings: list[list[float]] = [[] for _ in range(count)]
    for token, probability in tokens:
        if (index := index_of(token)) is not None and probability > 0.0:
            spellings[index].append(probability)
    masses = [math.fsum(probabilities) for probabilities in spellings]
    inside = math.fsum(masses)
    if inside <= 0.0:
        shown = ", ".join(repr(token)[:20] for token, _ in tokens[:5])
        return unparseable(f"no label among the most probable tokens ({shown})")
    shares = tuple(mass / inside for mass in masses)
    outside = min(1.0, max(0.0, 1.0 - inside))
    if all(spellings):
        return LabelProbabilities(shares, outside)
    bound = min(min(probability for _, probability in tokens if probability > 0.0), unseen)
    return LabelProbabilities(shares, outside, bound, (LABEL_OUTSIDE,))


def checked_logprob(logprob: object) -> float | None:
    """Return a finite log-probability of at most 0, or None if `logprob` is none."""
    if isinstance(logprob, bool) or not isinstance(logprob, int | float):
        return None
    is_possible = -sys.float_info.max <= logprob <= _MAX_LOGPROB  # False for NaN
    return min(float(logprob), 0.0) if is_possible else None


def unparseable(detail: str) -> JudgeFailure:
    """Return an `UNPARSEABLE` failure for an answer without a label."""
    return JudgeFailure(FailureKind.UNPARSEABLE, detail)


MAX_IDS: Final = 128  # vLLM's limit for one position


@dataclass(frozen=True, slots=True)
class LabelIds:
    """Token ids of each label, in label order."""

    labels: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]

    @property
    def all(self) -> list[int]:
        """All ids, in label order."""
        return [token_id for ids in self.ids for token_id in ids]


def find_label_ids(tokenizer: Tokenizer, labels: Sequence[str]) -> LabelIds:
    """Return the ids of all single tokens that spell each label.

    Raises:
        JudgeConfigurationInvalid: A label is not a single token of this vocabulary, or the labels
            have more spellings than the engine can return.
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
    """Return the label probabilities from the log-probabilities of the labels' own tokens.

    Args:
        logprobs: Natural log-probability over the whole vocabulary, by token id. A missing label
            token is an engine error, not a small probability.
        label_ids: Token ids of the labels.

    Returns:
        The renormalised probabilities and the mass outside, or an `UNPARSEABLE` failure.
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
