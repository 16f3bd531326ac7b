from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from judges.errors import RecordInvalid
from judges.probability import (
    Preference,
    label_to_p_a,
    mean_preference,
    normalise,
    parse_label,
    swap_label,
)

masses = st.tuples(*[st.floats(0, 1)] * 3).filter(lambda given: sum(given) > 1e-6)


@given(masses)
@example((0.84156518140875, 0.05843481859125001, 0.0))  # between two points of the grid
@example((0.73426819870935, 0.16573180129065004, 0.0))
def test_normalised_masses_mirror_exactly_and_keep_their_proportion(
    given_masses: tuple[float, float, float],
) -> None:
    a, b, tie = given_masses
    said, swapped = normalise(a, b, tie), normalise(b, a, tie)
    assert swapped == said.swapped()
    assert swapped.swapped() == said
    total = a + b + tie
    assert said.p_a == pytest.approx(a / total, abs=3e-12)
    assert said.p_tie == pytest.approx(tie / total, abs=3e-12)
    assert 0 <= said.p_a <= 1
    assert 0 <= said.p_b <= 1


@given(st.lists(masses, min_size=1, max_size=12))
def test_the_mean_mirrors_exactly_and_is_the_mean(rows: list[tuple[float, float, float]]) -> None:
    given_rows = [normalise(*row) for row in rows]
    mean = mean_preference(given_rows)
    assert mean_preference(p.swapped() for p in given_rows) == mean.swapped()
    exact = sum(Fraction(p.p_a) for p in given_rows) / len(given_rows)
    assert mean.p_a == pytest.approx(float(exact), abs=3e-12)
    assert 0 <= mean.p_a <= 1
    assert 0 <= mean.p_b <= 1


@given(st.floats(1e-300, 1e300))
def test_equal_masses_are_exactly_one_half(mass: float) -> None:
    assume(mass + mass < 1e308)
    assert normalise(mass, mass).p_a == 0.5


def test_a_probability_of_12_decimals_is_kept() -> None:
    assert mean_preference([Preference(0.83)]) == (0.83, 0.0)
    assert Preference(0.83).p_b == 0.17
    assert mean_preference([Preference(0.2, 0.1), Preference(0.3, 0.3)]) == (0.25, 0.2)


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
