"""Simulated annotators: whose labels, how balanced, and never two examples of one group."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.errors import ExamplesInsufficient
from judges.prompting.examples import (
    Example,
    LabelledPair,
    draw_annotators,
    example_prompts,
    examples_hash,
)
from judges.types import Label, Pair
from tests.judges.pairs import pair_of

AB: tuple[Label, Label] = ("a", "b")


def labelled(
    number: int, *votes: tuple[str | None, Label], group: str | None = None
) -> LabelledPair:
    pair = pair_of(f"Question {number}?", f"answer {number}", pair_id=f"p{number}")
    return LabelledPair(pair, votes, group or f"g{number}")


def pool(n: int, people: int = 1) -> list[LabelledPair]:
    """`people` who label all pairs, the first always a for even numbers, the others ever the same."""
    return [
        labelled(i, ("p0", AB[i % 2]), *((f"p{j}", "a") for j in range(1, people)))
        for i in range(n)
    ]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def groups_of(examples: tuple[Example, ...]) -> list[str]:
    return [example.pair.id for example in examples]


def test_individual_sets_hold_one_person_s_own_labels() -> None:
    known = {(i.pair.id, who): label for i in pool(40, people=3) for who, label in i.labels}
    sets = draw_annotators(pool(40, people=3), 3, 5, rng())
    votes = [
        {
            who
            for who in ("p0", "p1", "p2")
            if all(known[e.pair.id, who] == e.label for e in examples)
        }
        for examples in sets
    ]
    assert {"p0"} in votes
    assert {"p1", "p2"} in votes


def test_with_too_few_annotators_the_majority_labels_different_inputs() -> None:
    pairs = [labelled(i, (None, "a"), (None, AB[i % 2]), (None, AB[i % 2])) for i in range(30)]
    sets = draw_annotators(pairs, 5, 4, rng())
    shown = [pair_id for examples in sets for pair_id in groups_of(examples)]
    assert len(shown) == len(set(shown)) == 20
    assert all(e.label == AB[int(e.pair.id[1:]) % 2] for examples in sets for e in examples)


def test_pairs_without_a_majority_and_ties_are_no_examples() -> None:
    pairs = [labelled(0, (None, "a"), (None, "b")), labelled(1, (None, "tie")), labelled(2)]
    with pytest.raises(ExamplesInsufficient, match="0 groups have a majority label, 1 are needed"):
        draw_annotators(pairs, 1, 1, rng())
    assert draw_annotators(pairs, 1, 1, rng(), with_ties=True)[0][0].label == "tie"


@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 5))
def test_labels_are_balanced_where_the_pairs_allow(seed: int, k: int, n: int) -> None:
    for examples in draw_annotators(pool(60), n, k, rng(seed), labels="majority"):
        counts = Counter(example.label for example in examples)
        assert abs(counts["a"] - counts["b"]) <= 1
        assert counts.total() == k


@given(st.integers(0, 1000))
def test_labels_are_balanced_where_each_group_has_both(seed: int) -> None:
    pairs = [labelled(i, (None, AB[i % 2]), group=f"g{i // 2}") for i in range(12)]
    [examples] = draw_annotators(pairs, 1, 6, rng(seed))
    assert Counter(example.label for example in examples) == {"a": 3, "b": 3}


@given(
    st.integers(0, 1000),
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(AB)), min_size=6, max_size=30),
)
def test_no_set_holds_two_examples_of_one_group(seed: int, drawn: list[tuple[int, Label]]) -> None:
    pairs = [labelled(i, (None, label), group=f"g{g}") for i, (g, label) in enumerate(drawn)]
    group_of = {item.pair.id: item.group for item in pairs}
    k = min(4, len(set(group_of.values())))
    for examples in draw_annotators(pairs, 3, k, rng(seed)):
        shown = [group_of[pair_id] for pair_id in groups_of(examples)]
        assert len(shown) == len(set(shown)) == k


def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_the_pairs() -> None:
    pairs = pool(50)
    forward = draw_annotators(pairs, 3, 4, rng(1))
    assert draw_annotators(pairs[::-1], 3, 4, rng(1)) == forward
    assert draw_annotators(pairs, 3, 4, rng(2)) != forward


def test_random_labels_are_fair_coins_on_the_same_kind_of_inputs() -> None:
    one_sided = [labelled(i, (None, "a")) for i in range(400)]
    sets = draw_annotators(one_sided, 10, 40, rng(), labels="random")
    counts = Counter(example.label for examples in sets for example in examples)
    assert 150 < counts["a"] < 250


def test_without_examples_there_is_one_annotator() -> None:
    assert draw_annotators([], 5, 0, rng()) == ((),)


@pytest.mark.parametrize("labels", ["individual", "majority"])
def test_too_few_labels_are_an_error(labels: Literal["individual", "majority"]) -> None:
    with pytest.raises(ExamplesInsufficient, match="are needed"):
        draw_annotators(pool(3), 2, 4, rng(), labels=labels)


@pytest.mark.parametrize(("n", "k"), [(0, 1), (11, 1), (1, -1)])
def test_numbers_out_of_range_are_refused(n: int, k: int) -> None:
    with pytest.raises(ValueError, match="annotators"):
        draw_annotators(pool(30), n, k, rng())


def test_unknown_labels_are_refused() -> None:
    with pytest.raises(
        ValueError, match="labels must be one of auto, individual, majority, random"
    ):
        draw_annotators(pool(30), 2, 1, rng(), labels="minority")  # type: ignore[arg-type]


def test_the_prompts_used_are_told() -> None:
    sets = draw_annotators(pool(30), 2, 3, rng())
    shown: set[Pair] = {example.pair for examples in sets for example in examples}
    assert example_prompts(tuple(sets)) == {pair.prompt_hash for pair in shown}
    assert example_prompts(sets) >= example_prompts(tuple(sets))


def test_the_hash_is_of_what_a_judge_is_shown() -> None:
    sets = draw_annotators(pool(30), 2, 3, rng())
    first, second = sets
    changed = (Example(first[0].pair.swapped(), first[0].label), *first[1:])
    flipped = (Example(first[0].pair, "a" if first[0].label == "b" else "b"), *first[1:])
    variants = [sets, (second, first), (changed, second), (flipped, second), (first + second,)]
    assert len({examples_hash(variant) for variant in variants}) == len(variants)


@pytest.mark.parametrize("ties", [0.0, 0.4])
def test_what_remains_is_as_if_no_example_had_been_drawn(ties: float) -> None:
    """Balanced sets take far more of a rare label than its share; the groups looked at do not."""
    shares = []
    for seed in range(200):
        chance = rng(seed)
        votes: list[Label] = [
            "tie" if chance.uniform() < ties else AB[int(chance.uniform() < 0.15)]
            for _ in range(200)
        ]
        pairs = [labelled(i, ("p", label)) for i, label in enumerate(votes)]
        out = example_prompts(draw_annotators(pairs, 3, 4, chance, labels="majority"))
        left = [one for one in pairs if one.pair.prompt_hash not in out]
        labels = Counter(label for one in left for _, label in one.labels)
        if left:
            shares.append([labels["b"] / len(left), labels["tie"] / len(left)])
    expected = [0.15 * (1 - ties), ties]
    error = np.std(shares, axis=0) / np.sqrt(len(shares))
    assert np.all(np.abs(np.mean(shares, axis=0) - expected) <= 4 * error + 1e-12)


def test_groups_that_were_passed_over_leave_with_those_that_were_chosen() -> None:
    """Only the last pair has the label that is still needed: all before it were looked at."""
    pairs = [labelled(i, ("p", "a")) for i in range(19)] + [labelled(19, ("p", "b"))]
    sets = draw_annotators(pairs, 1, 2, rng(3), labels="majority")
    shown = {example.pair.id for examples in sets for example in examples}
    left = [p.pair.id for p in pairs if p.pair.prompt_hash not in example_prompts(sets)]
    assert len(shown) == 2
    assert "p19" in shown
    assert len(left) < 18


def test_where_no_one_gave_a_label_only_what_is_shown_leaves() -> None:
    """In many data sets the better response always comes first."""
    pairs = [labelled(i, ("p", "a")) for i in range(40)]
    sets = draw_annotators(pairs, 1, 4, rng(), labels="majority")
    assert len(example_prompts(sets)) == 4


def test_sets_without_what_was_looked_at_keep_what_they_show() -> None:
    sets = draw_annotators(pool(40), 2, 3, rng())
    assert example_prompts(tuple(sets)) < example_prompts(sets)
    assert examples_hash(tuple(sets)) == examples_hash(sets)
