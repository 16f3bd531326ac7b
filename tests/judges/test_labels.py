from __future__ import annotations

import pytest

from judges.errors import RecordInvalid
from judges.probability import label_to_p_a, parse_label, swap_label


@pytest.mark.parametrize(
    ("spelled", "label"),
    [
        *[(text, "a") for text in ("a", "A", " a\n", "model_a", "MODEL_A", "left", "1", 1)],
        *[(text, "b") for text in ("b", "B", "model_b", "Right", "2", 2, "response_b")],
        *[(text, "tie") for text in ("tie", "TIE", "both_bad")],
    ],
)
def test_labels_are_read_in_any_case(spelled: object, label: str) -> None:
    assert parse_label(spelled) == label


@pytest.mark.parametrize("spelled", ["", "c", "a b", "A>B", None, True, 1.0, 3, ["a"], "a" * 10**6])
def test_what_is_no_label_is_refused_briefly(spelled: object) -> None:
    with pytest.raises(RecordInvalid, match="not a label") as caught:
        parse_label(spelled)
    assert len(str(caught.value)) < 100


def test_a_tie_is_half_and_swapping_exchanges_a_and_b() -> None:
    assert [label_to_p_a(label) for label in ("a", "tie", "b")] == [1.0, 0.5, 0.0]
    assert [swap_label(label) for label in ("a", "tie", "b")] == ["b", "tie", "a"]
