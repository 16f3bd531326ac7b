"""Reading the labels that people, judges and other projects' files give: always `a`, `b` or `tie`."""

from __future__ import annotations

from typing import Final

from judges.errors import RecordInvalid
from judges.types import Label

_SPELLINGS: Final[dict[str, Label]] = {
    **dict.fromkeys(("a", "model_a", "response_a", "left", "1"), "a"),
    **dict.fromkeys(("b", "model_b", "response_b", "right", "2"), "b"),
    **dict.fromkeys(("tie", "both_bad", "bothbad", "tie (bothbad)"), "tie"),
}
_P_A: Final[dict[Label, float]] = {"a": 1.0, "tie": 0.5, "b": 0.0}
_SWAPPED: Final[dict[Label, Label]] = {"a": "b", "b": "a", "tie": "tie"}
_SHOWN_LENGTH: Final = 40


def parse_label(value: object) -> Label:
    """Return the label that `value` spells, in any case and with any white space around it.

    Raises:
        RecordInvalid: when it spells none.
    """
    is_text = isinstance(value, str | int) and not isinstance(value, bool)
    label = _SPELLINGS.get(str(value).strip().lower()) if is_text else None
    if label is None:
        raise RecordInvalid(f"{repr(value)[:_SHOWN_LENGTH]} is not a label: give a, b or tie")
    return label


def label_to_p_a(label: Label) -> float:
    """Return the probability of a that a bare label stands for: 1, one half for a tie, or 0."""
    return _P_A[label]


def swap_label(label: Label) -> Label:
    """Return the label of the same pair with its two responses swapped."""
    return _SWAPPED[label]
