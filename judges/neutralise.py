"""Judged text is data: what in it would act on a model's prompt is made harmless, and reported.

Only the prompt changes; what is stored and hashed stays as it was posted.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

CONTROL_TOKEN: Final = "injection:control_token"
DELIMITER: Final = "injection:delimiter"
NUL: Final = "text:nul"
LONE_SURROGATE: Final = "text:lone_surrogate"

_SURROGATES: Final = re.compile("[\ud800-\udfff]")
# Matches the first character only: one inserted space breaks the token, and the text stays legible.
_CONTROL_TOKENS: Final = re.compile(
    r"<(?=\|[^|<>\s]{1,64}\|>"
    r"|\uff5c[^\uff5c<>\s]{1,64}\uff5c>"
    r"|/?(?:s|bos|eos|pad|unk|think|tool_call|tool_response|start_of_turn|end_of_turn"
    r"|start_of_image|end_of_image|start_header_id|end_header_id|eot_id|extra_id_\d+)>"
    r"|</?SYS>>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|IMG|THINK)\]|gMASK\])"
)


class Neutralised(NamedTuple):
    """A text as it goes into a prompt, and flags that say what was changed."""

    text: str
    flags: frozenset[str]


def neutralise(text: str) -> Neutralised:
    """Return `text` without NUL, lone surrogates (now U+FFFD) or chat control tokens in one piece."""
    flags = set()
    if _SURROGATES.search(text):
        text = _SURROGATES.sub("\ufffd", text)
        flags.add(LONE_SURROGATE)
    if "\0" in text:  # before the tokens: a NUL inside one must not hide it
        text = text.replace("\0", "")
        flags.add(NUL)
    text, broken = _CONTROL_TOKENS.subn(lambda match: f"{match.group()} ", text)
    if broken:
        flags.add(CONTROL_TOKEN)
    return Neutralised(text, frozenset(flags))
