"""Asking a `vllm serve` by token ids: the very prompts and the very label tokens of a hosted judge.

The server tokenises nothing, so no text can become a control token there, and it returns the
log-probabilities of the labels' own tokens, however improbable they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from judges.errors import JudgeConfigurationInvalid
from judges.label_ids import LabelIds, find_label_ids, read_label_logprobs
from judges.label_tokens import LabelProbabilities, unparseable
from judges.openai_replies import Reply
from judges.prompt_tokens import PromptTokens, Tokenizer
from judges.prompts import Prompt
from judges.types import JudgeFailure

_TOKEN_ID: Final = "token_id:"
_INSTALL: Final = (
    "endpoint: \"tokens\" needs the package transformers (pip install 'tribunal-judge[vllm]')"
)


@dataclass(frozen=True)
class TokenRequests:
    """How prompts become token ids and replies are read, for one tokenizer and set of labels."""

    tokens: PromptTokens
    label_ids: LabelIds

    def body(self, prompt: Prompt) -> dict[str, Any]:
        """Return the part of a request that says what is asked."""
        wanted = self.label_ids.all
        return {
            "prompt": [*self.tokens.shared(prompt.shared), *self.tokens.query(prompt.query)],
            "logprobs": 1,
            "logprob_token_ids": wanted,
            "allowed_token_ids": wanted,
            "return_tokens_as_token_ids": True,
        }

    def labels(self, reply: Reply) -> LabelProbabilities | JudgeFailure:
        """Return the labels' probabilities, or why the reply does not say them."""
        try:
            logprobs = {
                int(token.removeprefix(_TOKEN_ID)): float(str(logprob))
                for token, logprob in reply.top_logprobs
            }
        except ValueError:
            return unparseable("the log-probabilities are not by token id: is this a vLLM server?")
        return read_label_logprobs(logprobs, self.label_ids)


def token_requests(source: str, revision: str | None, labels: Sequence[str]) -> TokenRequests:
    """Return how to ask a server whose tokenizer is at `source`, a folder or a name on the hub.

    Raises:
        JudgeConfigurationInvalid: it cannot be loaded, or does not know the labels.
    """
    tokenizer = _loaded(source, revision)
    is_chat = bool(tokenizer.chat_template)
    tokens = PromptTokens(tokenizer, is_chat=is_chat, options={"enable_thinking": False})
    return TokenRequests(tokens, find_label_ids(tokenizer, labels))


def _loaded(source: str, revision: str | None) -> Tokenizer:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise JudgeConfigurationInvalid(_INSTALL) from error
    try:
        loaded: Tokenizer = AutoTokenizer.from_pretrained(source, revision=revision or "main")
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise JudgeConfigurationInvalid(f"tokenizer: {source!r}: {reason}") from error
    return loaded
