"""A tokenizer of single characters, and an engine whose model reads what it is shown.

Both do in this process, at once, what a model's tokenizer and vLLM do: every id can be told apart
in a prompt, and the answers are functions of the prompt's text.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import jinja2

from judges.vllm.settings import EngineAnswer, EngineUnavailable, Pooled

CHAT: Final = (
    "{% for one in messages %}<|{{ one.role }}|>{{ one.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_PRINTABLE: Final = {chr(code): code for code in range(32, 127)}


@dataclass
class Added:
    content: str
    special: bool = True


class Spelling:
    """Encodes characters, and the longest added token that begins at a place."""

    unk_token_id = None

    def __init__(
        self,
        *added: Added,
        chat_template: str | None = None,
        vocabulary: Mapping[str, int] = _PRINTABLE,
    ) -> None:
        self.added_tokens_decoder: Mapping[int, Added] = {-1 - n: a for n, a in enumerate(added)}
        self.chat_template: Any = chat_template
        self._vocabulary = vocabulary

    def get_vocab(self) -> Mapping[str, int]:
        return self._vocabulary

    def encode(self, text: str, **options: Any) -> list[int]:
        return list(self._ids(text))

    def decode(self, token_ids: Sequence[int], **options: Any) -> str:
        added = self.added_tokens_decoder
        shown = [one for one in token_ids if one >= 0 or not options.get("skip_special_tokens")]
        return "".join(added[one].content if one < 0 else chr(one) for one in shown)

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        template = jinja2.Template(options.pop("chat_template", self.chat_template))
        return template.render(messages=conversation, **options)

    def _ids(self, text: str) -> Iterator[int]:
        place = 0
        by_length = sorted(
            self.added_tokens_decoder.items(), key=lambda item: -len(item[1].content)
        )
        while place < len(text):
            for token_id, token in by_length:
                if text.startswith(token.content, place):
                    yield token_id
                    place += len(token.content)
                    break
            else:
                yield ord(text[place])
                place += 1


def chatting(*more: Added, **options: Any) -> Spelling:
    """A tokenizer of a chat model."""
    roles = [Added(f"<|{name}|>") for name in ("system", "user", "assistant", "end")]
    return Spelling(*roles, *more, **{"chat_template": CHAT, **options})


def p_first(first: str, second: str) -> float:
    """What the model says of these two texts: it counts good words, and leans to what comes first."""
    return 1 / (1 + math.exp(-0.7 * (first.count("good") - second.count("good")) - 0.3))


@dataclass
class CountingEngine:
    """An opened engine; `says` is what its model writes where it may write anything, `head` what it pools.

    Attributes:
        asked: How often each prompt was asked, with the adapter's name.
        fault: Why it cannot answer any more.
        gate: Answers wait for it.
    """

    tokenizer: Any = field(default_factory=chatting)
    max_tokens: int = 100_000
    says: Callable[[str], str] = lambda _: "A (80%)"
    head: Callable[[str], tuple[float, ...]] = lambda text: (float(text.count("good")),)
    asked: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    fault: str | None = None
    gate: asyncio.Event | None = None
    is_closed: bool = False

    @property
    def is_dead(self) -> bool:
        return self.is_closed or self.fault == "dead"

    async def ask(
        self,
        token_ids: Sequence[int],
        *,
        wanted: Sequence[int],
        length: int,
        stop: Sequence[int],
        adapter: str | None = None,
    ) -> EngineAnswer:
        text = await self._read(token_ids, adapter)
        if wanted:
            found = {token: self._logprob(text, token) for token in wanted}
            return EngineAnswer((max(found, key=lambda one: found[one]),), found, len(token_ids), 0)
        written = self.tokenizer.encode(self.says(text))
        ends = [place for place, token in enumerate(written) if token in stop]
        kept = tuple(written[: min(length, *(place + 1 for place in ends), len(written))])
        return EngineAnswer(kept, {}, len(token_ids), 0)

    async def pool(self, token_ids: Sequence[int]) -> Pooled:
        text = await self._read(token_ids, None)
        return Pooled(self.head(text), len(token_ids), 0)

    def close(self) -> None:
        self.is_closed = True

    async def _read(self, token_ids: Sequence[int], adapter: str | None) -> str:
        if self.fault is not None:
            raise EngineUnavailable(self.fault)
        text: str = self.tokenizer.decode(token_ids)
        self.asked[text, adapter] += 1
        if self.gate is not None:
            await self.gate.wait()
        return text

    def _logprob(self, text: str, token: int) -> float:
        """A tenth of the mass lies elsewhere; a label in capitals has it all, or a rating's digit."""
        shown = re.findall(r"<response_([AB])[^>]*>\n(.*?)\n</response_", text, re.DOTALL)
        if not shown:
            rated: str = re.findall(r"<response[^>]*>\n(.*?)\n</response", text, re.DOTALL)[-1]
            return -1.0 - abs(int(chr(token)) - min(9, rated.count("good")))
        first, second = shown[-2][1], shown[-1][1]
        p = {"A": p_first(first, second), "B": 1 - p_first(first, second)}.get(chr(token), 0.0)
        return math.log(0.9 * p) if p else -math.inf
