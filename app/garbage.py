"""Spares the garbage collector what it would go through for nothing."""

from __future__ import annotations

import gc
from typing import Final

# how many new objects, and how many rounds of the generation before, begin a round of each
_ROUNDS: Final = (50_000, 20, 50)


def spare_what_is_loaded() -> None:
    """Leave everything that is loaded by now out of later collections, and collect less often.

    The objects of a service that has started stay, and those of a shard live until it is stored:
    going through them again and again is work for nothing. Reference counts free nearly all others.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_ROUNDS)
