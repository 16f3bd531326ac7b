"""Lay out prompts as token ids and shorten pairs that do not fit.

The frame comes from the tokenizer's chat template and may contain control tokens; the remaining text
is tokenised separately. The part shared by all pairs comes first and is tokenised once, so that an
engine can cache it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Protocol

from judges.errors import JudgeConfigurationInvalid
from judges.prompting.neutralising import CONTROL_TOKEN
from judges.types import Message, Pair

_SHARED: Final = "TRIBUNALSHAREDPART"
_QUERY: Final = "TRIBUNALPAIRTOBEJUDGED"
_HARMLESS: Final = re.compile(r"(?s:.)|<0x[0-9A-Fa-f]{2}>|\s+")  # characters, bytes, white space


class AddedToken(Protocol):
    """A token added to the vocabulary, independent of its merges."""

    content: str


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is used here."""

    chat_template: Any

    @property
    def added_tokens_decoder(self) -> Mapping[int, AddedToken]:
        """Added tokens by id."""
        ...

    def get_vocab(self) -> Mapping[str, int]:
        """Return the id of each token by its spelling."""
        ...

    def encode(self, text: str, **options: Any) -> list[int]:
        """Return the token ids of a text."""
        ...

    def decode(self, token_ids: Sequence[int], **options: Any) -> str:
        """Return the text of token ids."""
        ...

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        """Render a conversation as one text."""
        ...


class PlainText:
    """Tokenise text without producing control tokens.

    The tokenizer itself says what they are, so no list of known families is needed. An added token in the text is split after its first character and the parts are tokenised
    separately, so the text does not change. Byte tokens and the unknown token are kept, because
    they only come from plain text.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        unknown = getattr(tokenizer, "unk_token_id", None)
        control = {
            token_id: str(token.content)
            for token_id, token in tokenizer.added_tokens_decoder.items()
            if token_id != unknown and not _HARMLESS.fullmatch(str(token.content))
        }
        self._control_ids = frozenset(control)
        self._spellings = frozenset(filter(None, control.values()))
        self._special = frozenset(
            spelling
            for token_id, spelling in control.items()
            if spelling and getattr(tokenizer.added_tokens_decoder[token_id], "special", True)
        )
        self._lengths: dict[str, set[int]] = {}
        for spelling in self._spellings:
            self._lengths.setdefault(spelling[0], set()).add(len(spelling))
        firsts = "".join(re.escape(first) for first in sorted(self._lengths))
        self._may_start = re.compile(f"[{firsts}]" if firsts else r"(?!)")

    def holds_special(self, text: str) -> bool:
        """Return whether the text spells a special token of this tokenizer."""
        return any(spelling in self._special for _, spelling in self._found(text))

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`."""
        found = self._encoded(text)
        if self._control_ids.isdisjoint(found):
            return found
        return [token_id for part in self._parts(text) for token_id in self._part(part)]

    def _encoded(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _part(self, part: str) -> list[int]:
        found = self._encoded(part)
        if self._control_ids.isdisjoint(found):
            return found
        # Normalisation produced an added token; tokenise single characters, which cannot form one.
        return [token_id for character in part for token_id in self._encoded(character)]

    def _parts(self, text: str) -> Iterator[str]:
        """Split a text so that no part holds an added token of two or more characters."""
        start = 0
        for position, _ in self._found(text):
            if position >= start:
                yield text[start : position + 1]
                start = position + 1
        yield text[start:]

    def _found(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield where added tokens are spelled; one look-up per length, however many there are."""
        for match in self._may_start.finditer(text):
            position = match.start()
            for length in self._lengths[match.group()]:
                spelling = text[position : position + length]
                if spelling in self._spellings:
                    yield position, spelling


@dataclass(frozen=True, slots=True)
class Frame:
    """Token ids around the two parts of a prompt."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]


class PromptTokens:
    """Lay out prompts for one tokenizer.

    Args:
        tokenizer: A Hugging Face tokenizer.
        is_chat: Use the tokenizer's chat template; if False, the verdict completes the bare text.
        options: Additional variables of the chat template, such as `enable_thinking`.

    Raises:
        JudgeConfigurationInvalid: The tokenizer has no chat template, or the template drops or
            repeats a part.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        is_chat: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._plain = PlainText(tokenizer)
        self.is_chat = is_chat
        self._frame = self._chat_frame(options or {}) if is_chat else self._bare_frame()

    def shared(self, text: str) -> tuple[int, ...]:
        """Return the ids of the prefix that all prompts of one simulated annotator share."""
        return (*self._frame.before, *self._plain.encode(text), *self._frame.between)

    def query(self, text: str) -> tuple[int, ...]:
        """Return the ids of one pair in one order, up to the verdict."""
        return (*self._plain.encode(text), *self._frame.after)

    def plain(self, text: str) -> list[int]:
        """Return the ids of a text alone, none of them a control token."""
        return self._plain.encode(text)

    def text_of(self, token_ids: Sequence[int]) -> str:
        """Return the text of token ids, control tokens included."""
        return self._tokenizer.decode(token_ids, skip_special_tokens=False)

    def flags_of(self, pair: Pair) -> tuple[str, ...]:
        """Return the flags of a pair whose texts spell special tokens of this tokenizer."""
        texts = (*_texts(pair), pair.criterion or "")
        return (CONTROL_TOKEN,) if any(map(self._plain.holds_special, texts)) else ()

    @cached_property
    def query_overhead(self) -> int:
        """Number of tokens that each query adds to its text."""
        return len(self._frame.after)

    def _bare_frame(self) -> Frame:
        with_start = list(self._tokenizer.encode("a", add_special_tokens=True))
        alone = list(self._tokenizer.encode("a", add_special_tokens=False))
        start = with_start[: with_start.index(alone[0])] if alone else []
        return Frame(tuple(start), tuple(self._plain.encode("\n\n")), ())

    def _chat_frame(self, options: Mapping[str, Any]) -> Frame:
        if not self._tokenizer.chat_template:
            raise JudgeConfigurationInvalid(
                'endpoint: the model\'s tokenizer has no chat template; use endpoint = "completions"'
            )
        text = self._rendered(options)
        pieces = text.split(_SHARED)
        tail = pieces[-1].split(_QUERY)
        if len(pieces) != 2 or len(tail) != 2:
            raise JudgeConfigurationInvalid("endpoint: the chat template loses or repeats a part")
        before, (between, after) = pieces[0], tail
        return Frame(self._control(before), self._control(between), self._control(after))

    def _rendered(self, options: Mapping[str, Any]) -> str:
        apart = [{"role": "system", "content": _SHARED}, {"role": "user", "content": _QUERY}]
        together = [{"role": "user", "content": f"{_SHARED}\n\n{_QUERY}"}]
        try:
            text = self._apply(apart, options)
        except Exception as refused:  # a template may reject system messages with any error
            try:
                return self._apply(together, options)
            except Exception as error:
                raise JudgeConfigurationInvalid(f"endpoint: chat template: {error}") from refused
        return text if _SHARED in text else self._apply(together, options)

    def _apply(self, messages: list[dict[str, str]], options: Mapping[str, Any]) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **options
            )
        )

    def _control(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False)) if text else ()


class ConversationTokens:
    """Lay out whole conversations for one tokenizer, as a reward model reads them.

    The frame comes from the chat template; the texts are tokenised apart, so that none can become a
    control token.

    Args:
        tokenizer: A Hugging Face tokenizer.
        chat_template: A template in place of the tokenizer's own.
        options: Additional variables of the chat template.

    Raises:
        JudgeConfigurationInvalid: There is no chat template.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        chat_template: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not chat_template and not tokenizer.chat_template:
            raise JudgeConfigurationInvalid(
                "chat_template: needed, since the model's tokenizer has none"
            )
        self._tokenizer = tokenizer
        self._plain = PlainText(tokenizer)
        own = {"chat_template": chat_template} if chat_template else {}
        self._options = {**own, **(options or {})}
        self._frames: dict[tuple[str, ...], tuple[tuple[int, ...], ...]] = {}

    def of(self, messages: Sequence[tuple[str, str]]) -> tuple[int, ...]:
        """Return the ids of a conversation of (role, text) that ends with a response.

        Raises:
            JudgeConfigurationInvalid: The chat template refuses, drops or repeats a message.
        """
        roles = tuple(role for role, _ in messages)
        if roles not in self._frames:
            self._frames[roles] = self._frame(roles)
        first, *others = self._frames[roles]
        ids = list(first)
        for (_, text), after in zip(messages, others, strict=True):
            ids += [*self._plain.encode(text), *after]
        return tuple(ids)

    def _frame(self, roles: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Return the ids before, between and after the texts of messages with these roles."""
        places = [f"{_QUERY}{number:04d}" for number in range(len(roles))]
        shown = [
            {"role": role, "content": place} for role, place in zip(roles, places, strict=True)
        ]
        try:
            text = str(self._tokenizer.apply_chat_template(shown, tokenize=False, **self._options))
        except Exception as error:  # a template may reject messages with any error
            raise JudgeConfigurationInvalid(f"chat_template: {error}") from error
        pieces = re.split("|".join(places), text)
        if len(pieces) != len(places) + 1:
            raise JudgeConfigurationInvalid("chat_template: it loses or repeats a message")
        encode = self._tokenizer.encode
        return tuple(
            tuple(encode(piece, add_special_tokens=False)) if piece else () for piece in pieces
        )


_LEFT_OUT: Final = "\n[... {count} characters left out ...]\n"
_FEWEST: Final = 64


def longest_text(pair: Pair) -> int:
    """Return the length in characters of the longest text that `shortened` may cut."""
    return max(len(text) for text in _texts(pair))


def shortened(pair: Pair, most: int) -> tuple[Pair, tuple[str, ...]]:
    """Cut texts longer than about `most` characters; return the pair and flags of the cuts.

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
    """Cut the pair as little as needed; return it with flags of the cuts, or None if impossible.

    Args:
        pair: The pair to judge.
        has_room: Returns True if a pair's prompts fit.
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
