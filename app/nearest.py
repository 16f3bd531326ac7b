"""What is said after a name that nothing has: the nearest one there is, else what there is."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from app.identifiers import MAX_LENGTH, shown

# ids are drawn at random: two that look somewhat alike have nothing to do with each other
ALIKE_IDS: Final = 0.85
_ALIKE: Final = 0.6
_MOST_NAMES: Final = 5


def hint(name: str, known: Iterable[str], *, see: str, alike: float = _ALIKE) -> str:
    """Return the end of a message that there is no such name.

    Args:
        name: The name that nothing has.
        known: The names there are.
        see: How to see them all.
        alike: From which similarity on a name may have been meant, 1 for the same name.
    """
    names = {one.lower(): one for one in known}
    near = get_close_matches(name[:MAX_LENGTH].lower(), names, n=1, cutoff=alike)
    if near:
        return f"; did you mean {shown(names[near[0]])}?"
    if not names:
        return f"; there is none yet ({see})"
    first = [shown(one) for one in names.values()][:_MOST_NAMES]
    more = f" and {len(names) - len(first)} more" if len(names) > len(first) else ""
    return f"; there is {', '.join(first)}{more} ({see})"
