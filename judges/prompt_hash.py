"""The hash by which two prompts are the same prompt, however they are typed.

Folds, few-shot examples and training overlap are decided by it, so that a question which occurs in two
data sets never stands on both sides of a split. The normalisation is NFKC, lower case, runs of non-word
characters to one space; what is hashed is the first user turn with its input.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

_NON_WORD = re.compile(r"\W+")
_LONG_NONSTARTER_RUN = 30
_GRAPHEME_JOINER = "\u034f"
_NON_ASCII_RUN = re.compile(r"[^\x00-\u02ff]{31,}")


def normalise_prompt(text: str) -> str:
    """Return `text` in NFKC, lower case, each run of non-word characters one space, stripped.

    Any string is accepted: empty, with NUL, with lone surrogates. Time is linear in its length.
    """
    composed = unicodedata.normalize("NFKC", _NON_ASCII_RUN.sub(_stream_safe, text))
    return _NON_WORD.sub(" ", composed.lower()).strip()


def prompt_hash(first_user_turn: str, input: str = "") -> str:
    """Return the sha256 (64 hex digits) of the normalised first user turn, its input after a blank line."""
    joined = f"{first_user_turn}\n\n{input}" if input else first_user_turn
    normalised = normalise_prompt(joined)
    return hashlib.sha256(normalised.encode("utf-8", errors="surrogatepass")).hexdigest()


def _stream_safe(run: re.Match[str]) -> str:
    # Normalisation sorts a run of combining marks in quadratic time; Unicode's stream-safe format
    # (UAX #15, section 13) breaks such runs after 30 marks, and the joiner is no word character.
    pieces: list[str] = []
    nonstarters = 0
    for character in run.group():
        nonstarters = nonstarters + 1 if unicodedata.combining(character) else 0
        if nonstarters > _LONG_NONSTARTER_RUN:
            pieces.append(_GRAPHEME_JOINER)
            nonstarters = 1
        pieces.append(character)
    return "".join(pieces)
