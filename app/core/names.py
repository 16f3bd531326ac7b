"""Valid names, and hints for unknown ones.

A text may hold anything. A name must fit every database, every log and an index.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from app.core.inert import TURNING, UNSTORABLE, is_printable, printable
from judges.errors import SLIP, nearest

MAX_LENGTH: Final = 512
_SHOWN_LENGTH: Final = 60
_UNSTORABLE: Final = re.compile(f"[{UNSTORABLE}]")
_TURNING: Final = re.compile(f"[{TURNING}]")


def fault_of(name: str) -> str | None:
    """Return what is wrong with a new name, or None."""
    fault = storing_fault(name)
    if fault is None and (found := _TURNING.search(name)):
        kind = "line break" if found.group() in "\u2028\u2029" else "mark of writing direction"
        return f"{shown(name)} holds a {kind} (U+{ord(found.group()):04X}), which no name may hold"
    return fault


def storing_fault(name: str) -> str | None:
    """Return what keeps a name, an old one too, from being stored, or None."""
    if not name:
        return "must not be empty"
    if len(name) > MAX_LENGTH:
        return f"has {len(name)} characters, at most {MAX_LENGTH} are allowed"
    found = _UNSTORABLE.search(name)
    if found is not None:
        kind = "a lone surrogate" if found.group() >= "\ud800" else "a control character"
        return f"{shown(name)} holds {kind}"
    return None


def is_name(text: str) -> bool:
    """Return whether anything can have this name, old ones included; if not, no look-up is needed."""
    return storing_fault(text) is None


def shown(value: object) -> str:
    """Return a short spelling of any value that every log and JSON body can hold."""
    text = value[: _SHOWN_LENGTH + 1] if isinstance(value, str) else value
    try:
        spelt = repr(text) if not isinstance(text, str) or is_printable(text) else ascii(text)
    except (RecursionError, ValueError):
        return f"a value of type {type(value).__name__}"
    spelt = printable(spelt)
    return spelt if len(spelt) <= _SHOWN_LENGTH + 2 else f"{spelt[:_SHOWN_LENGTH]}..."


def alike(names: Iterable[str]) -> list[list[str]]:
    """Return the sets of names that differ by case or blanks alone, each sorted."""
    found: dict[str, set[str]] = {}
    for name in names:
        key = "".join(unicodedata.normalize("NFKC", name).split()).casefold()
        found.setdefault(key, set()).add(name)
    return [sorted(spellings) for spellings in found.values() if len(spellings) > 1]


_MOST_NAMES: Final = 5


def hint(name: str, known: Iterable[str], *, see: str, is_id: bool = False) -> str:
    """Return the end of a message about an unknown name: the nearest known one, or the known ones.

    Args:
        name: The unknown name.
        known: The known ones.
        see: How to list them all.
        is_id: Whether these are random ids, which are meant only where nearly all of it agrees.
    """
    names = list(known)
    near = nearest(name, names, alike=SLIP) if is_id else nearest(name, names)
    if near is not None:
        return f"; did you mean {shown(near)}?"
    if not names:
        return f"; there is none yet ({see})"
    first = [shown(one) for one in names][:_MOST_NAMES]
    more = f" and {len(names) - len(first)} more" if len(names) > len(first) else ""
    return f"; there is {', '.join(first)}{more} ({see})"
