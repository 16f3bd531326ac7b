from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import Unprocessable
from app.datasets.splits import Part, membership, parse_part

GROUPS = st.lists(st.text(max_size=8), unique=True, min_size=1, max_size=60)


@given(groups=GROUPS, fraction=st.floats(0.01, 0.99), seed=st.integers(0, 2**63 - 1))
def test_the_two_sides_divide_the_groups_exactly(
    groups: list[str], fraction: float, seed: int
) -> None:
    part = Part(fraction=fraction, seed=seed, side="calibration")
    inside = [g for g in groups if membership(part, groups).holds(g)]
    outside = [g for g in groups if membership(part.other, groups).holds(g)]
    assert len(inside) == round(fraction * len(groups))
    assert sorted(inside + outside) == sorted(groups)


def test_the_split_depends_on_the_seed_and_not_on_the_order() -> None:
    groups = [f"g{i}" for i in range(100)]
    one, two = (Part(seed=seed, side="test") for seed in (1, 2))
    chosen = [{g for g in groups if membership(part, groups).holds(g)} for part in (one, two)]
    assert chosen[0] != chosen[1]
    backwards = membership(one, reversed(groups))
    assert {g for g in groups if backwards.holds(g)} == chosen[0]


def test_the_form_of_a_query_string() -> None:
    assert parse_part("calibration:0.5:7") == Part(fraction=0.5, seed=7, side="calibration")


@pytest.mark.parametrize("text", ["", "test", "left:0.5:0", "test:2:0", "test:0.5:-1", "test:x:0"])
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(Unprocessable, match="part"):
        parse_part(text)
