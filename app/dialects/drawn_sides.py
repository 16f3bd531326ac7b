"""Which answer people are shown first: drawn by a seed that is written beside it.

The draw depends on seed and id alone, so it is the same wherever and whenever it is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from app.dialects.reasons import RowInvalid
from app.identifiers import shown

_OTHER = {"a": "b", "b": "a", "tie": "tie"}


def first_side(seed: int, pair_id: str) -> str:
    """Return the side, `a` or `b`, whose answer is shown first (left)."""
    digest = hashlib.sha256(f"{seed}\n{pair_id}".encode()).digest()
    return "ab"[digest[0] & 1]


def side_read(fields: Mapping[str, Any], name: str) -> str:
    """Return the side that a file says was shown first; `a` where it says nothing.

    Raises:
        RowInvalid: it says something else than `a` or `b`.
    """
    side = fields.get(name, "a")
    if side not in ("a", "b"):
        raise RowInvalid(f"{name}: {shown(side)} is neither a nor b")
    return str(side)


def turned(label: str, first: str) -> str:
    """Return a label between what was said of first and second and what it says of a and b.

    The two directions are the same exchange.
    """
    return label if first == "a" else _OTHER[label]


def sided(first: str, one: object, other: object) -> dict[str, Any]:
    """Return the two responses from those shown first and second."""
    a, b = (one, other) if first == "a" else (other, one)
    return {"response_a": a, "response_b": b}
