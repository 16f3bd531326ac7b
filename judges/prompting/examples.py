"""Draw few-shot examples for simulated annotators (Jung, Brahman, Choi 2025).

Each of the N annotators gets its own set of K labelled examples. The mean over sets is the judge's
confidence. *Individual* sets hold the labels of one person. *Majority* sets hold majority labels and
differ in their inputs. Drawn sets are frozen: the judge depends on their content, not their origin.

Sets are balanced by label, so the groups that they use leave the sample *by label*, and what remains
would look better or worse than it is. Groups are therefore looked at in a random order until a set
is full, and every group that was looked at leaves the sample with those that were chosen. When to
stop depends only on groups that leave, so the groups that remain are as they would be without it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from judges.errors import ExamplesInsufficient
from judges.types import Label, Pair

ExampleLabels = Literal["auto", "individual", "majority", "random"]
MAX_ANNOTATORS: Final = 10

_CHOICES: Final[tuple[Label, ...]] = ("a", "b")


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """A pair with its human labels.

    Attributes:
        pair: The pair.
        labels: (annotator, label) tuples; the annotator is None if unknown.
        group: The unit of exchangeability; a set holds at most one example per group.
    """

    pair: Pair
    labels: tuple[tuple[str | None, Label], ...]
    group: str


@dataclass(frozen=True, slots=True)
class Example:
    """One few-shot example, shown in its posted order."""

    pair: Pair
    label: Label


ExampleSets = tuple[tuple[Example, ...], ...]


class DrawnSets(tuple[tuple[Example, ...], ...]):
    """Example sets with the prompts of every group that was looked at to draw them."""

    looked_at: frozenset[str]

    def __new__(cls, sets: ExampleSets, looked_at: frozenset[str] = frozenset()) -> DrawnSets:
        """Return sets that remember these prompt hashes."""
        made = super().__new__(cls, sets)
        made.looked_at = looked_at
        return made


@dataclass(frozen=True, slots=True)
class _Candidate:
    group: str
    example: Example


def draw_annotators(  # noqa: PLR0913 - the size of the draw, its chance and two declared options
    labelled: Iterable[LabelledPair],
    n: int,
    k: int,
    rng: np.random.Generator,
    *,
    labels: ExampleLabels = "auto",
    with_ties: bool = False,
) -> DrawnSets:
    """Draw the example sets of `n` simulated annotators.

    The labels of each set are balanced as far as the pairs allow. Sets share groups only if there
    are too few. The result does not depend on the order of `labelled`.

    Args:
        labelled: The pairs to draw from.
        n: Number of annotators; with `k = 0` all would be identical, so one is returned.
        k: Number of examples per annotator.
        rng: Random generator.
        labels: `individual` uses one annotator's own labels per set. `majority` uses the most
            frequent label of each pair and skips pairs without one. `random` replaces majority
            labels by coin flips (an ablation). `auto` is `individual` if `n` annotators have
            labelled `k` groups each, else `majority`.
        with_ties: Allow ties as examples.

    Raises:
        ExamplesInsufficient: Fewer than `k` groups have a usable label, or fewer than `n`
            annotators have labelled `k` groups.
        ValueError: `n` or `k` is out of range, or `labels` is unknown.
    """
    if not 1 <= n <= MAX_ANNOTATORS or k < 0:
        raise ValueError(f"annotators must be 1 to {MAX_ANNOTATORS} and examples 0 or more")
    if labels not in get_args(ExampleLabels):
        raise ValueError(f"labels must be one of {', '.join(get_args(ExampleLabels))}")
    if k == 0:
        return DrawnSets(((),))
    pairs = sorted(labelled, key=lambda item: (item.group, item.pair.id, item.pair.content_hash))
    people = _people_with(_by_annotator(pairs, with_ties), k)
    if labels == "individual" or (labels == "auto" and len(people) >= n):
        sources = _choose_people(people, n, k, rng)
    else:
        sources = [_common_candidates(pairs, k, with_ties)] * n
    kinds = _CHOICES if not with_ties else (*_CHOICES, "tie")
    sets, walks = _draw_sets(sources, k, kinds, rng)
    if labels == "random":
        sets = _with_random_labels(sets, rng)
    groups = _looked_at(pairs, walks, rng)
    return DrawnSets(sets, frozenset(p.pair.prompt_hash for p in pairs if p.group in groups))


def example_prompts(sets: ExampleSets) -> frozenset[str]:
    """Return the prompt hashes of all examples, and of what was looked at to draw them.

    Exclude their groups from judging and certifying.
    """
    shown = frozenset(example.pair.prompt_hash for examples in sets for example in examples)
    return shown | sets.looked_at if isinstance(sets, DrawnSets) else shown


def examples_hash(sets: ExampleSets) -> str:
    """Hash the content and order of the example sets."""
    digest = hashlib.sha256()
    for examples in sets:
        digest.update(f"set {len(examples)}\n".encode("ascii"))
        for example in examples:
            digest.update(f"{example.pair.content_hash} {example.label}\n".encode("ascii"))
    return digest.hexdigest()


def _choose_people(
    people: list[list[_Candidate]], n: int, k: int, rng: np.random.Generator
) -> list[list[_Candidate]]:
    if len(people) < n:
        raise ExamplesInsufficient(
            f"{len(people)} annotators labelled {k} or more groups, {n} are needed"
        )
    return [people[index] for index in rng.permutation(len(people))[:n]]


def _common_candidates(pairs: Sequence[LabelledPair], k: int, with_ties: bool) -> list[_Candidate]:
    common = list(_majority(pairs, with_ties))
    if (groups := len({candidate.group for candidate in common})) < k:
        raise ExamplesInsufficient(f"{groups} groups have a majority label, {k} are needed")
    return common


def _by_annotator(pairs: Sequence[LabelledPair], with_ties: bool) -> dict[str, list[_Candidate]]:
    people: dict[str, list[_Candidate]] = {}
    for item in pairs:
        for annotator, label in item.labels:
            if annotator is not None and (with_ties or label != "tie"):
                candidate = _Candidate(item.group, Example(item.pair, label))
                people.setdefault(annotator, []).append(candidate)
    return people


def _people_with(people: dict[str, list[_Candidate]], k: int) -> list[list[_Candidate]]:
    eligible = (name for name in sorted(people) if len({c.group for c in people[name]}) >= k)
    return [people[name] for name in eligible]


def _majority(pairs: Sequence[LabelledPair], with_ties: bool) -> Iterator[_Candidate]:
    for item in pairs:
        votes = Counter(label for _, label in item.labels).most_common(2)
        if not votes or (len(votes) == 2 and votes[0][1] == votes[1][1]):
            continue
        if with_ties or votes[0][0] != "tie":
            yield _Candidate(item.group, Example(item.pair, votes[0][0]))


def _with_random_labels(sets: ExampleSets, rng: np.random.Generator) -> ExampleSets:
    return tuple(
        tuple(Example(example.pair, _CHOICES[int(rng.integers(2))]) for example in examples)
        for examples in sets
    )


def _draw_sets(
    sources: Sequence[list[_Candidate]],
    k: int,
    kinds: tuple[Label, ...],
    rng: np.random.Generator,
) -> tuple[ExampleSets, list[_Walk]]:
    used: set[str] = set()
    sets, walks = [], []
    for index, own in enumerate(sources):
        shuffled = [own[position] for position in rng.permutation(len(own))]
        # If k is not a multiple of the number of labels, rotate which label gets the remainder.
        turn = [kinds[(index + step) % len(kinds)] for step in range(k)]
        chosen, walk = _balanced(shuffled, Counter(turn), used)
        used.update(candidate.group for candidate in chosen)
        sets.append(tuple(chosen[position].example for position in rng.permutation(k)))
        walks.append(walk)
    return tuple(sets), walks


@dataclass(frozen=True, slots=True)
class _Walk:
    """The groups that were looked at for one set, and all that could have been."""

    looked_at: frozenset[str]
    candidates: frozenset[str]


def _looked_at(
    pairs: Sequence[LabelledPair], walks: Sequence[_Walk], rng: np.random.Generator
) -> frozenset[str]:
    """Return every group that leaves the sample.

    Groups without a usable label, such as ties, were passed over by their label, too: as many of
    them leave as if they had had a place in the order of the walk.
    """
    walked = frozenset().union(*(walk.looked_at for walk in walks))
    candidates = frozenset().union(*(walk.candidates for walk in walks))
    others = sorted({item.group for item in pairs} - candidates)
    is_passed = rng.uniform(size=len(others)) < len(walked) / len(candidates)
    return walked | {group for group, out in zip(others, is_passed.tolist(), strict=True) if out}


def _balanced(
    shuffled: Sequence[_Candidate], quota: Counter[Label], used: set[str]
) -> tuple[list[_Candidate], _Walk]:
    """Choose candidates from distinct groups, by label quota, preferring unused groups."""
    fresh_first = sorted(shuffled, key=lambda candidate: candidate.group in used)
    wanted = quota.total()
    # no walk ever meets a label that no one gave: any group does instead
    given = {candidate.example.label for candidate in shuffled}
    quota = Counter({label: count for label, count in quota.items() if label in given})
    chosen: dict[str, _Candidate] = {}
    looked_at = 0
    for candidate in fresh_first:
        if not quota.total():
            break
        looked_at += 1
        label = candidate.example.label
        if candidate.group not in chosen and quota[label] > 0:
            chosen[candidate.group] = candidate
            quota[label] -= 1
    for place, candidate in enumerate(fresh_first):
        if len(chosen) < wanted:
            chosen.setdefault(candidate.group, candidate)
            looked_at = max(looked_at, place + 1)
    groups = [candidate.group for candidate in fresh_first]
    return list(chosen.values()), _Walk(frozenset(groups[:looked_at]), frozenset(groups))
