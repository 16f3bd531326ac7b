"""Reports on very many annotators, judges or slices: bounded, and what is left out is counted."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator
from itertools import combinations
from typing import Any

import httpx
import numpy as np
import pytest

from app.core.settings import Settings
from app.main import create_app
from app.reports.agreement import MOST_COMPARED, human_agreement
from app.reports.panel import People
from calibration.intervals import Groups
from calibration.labels import MISSING, vote_counts
from tests.app.rows import upload
from tests.conftest import client_of

Json = dict[str, Any]


def _people(votes: list[tuple[int, int, int]], n_pairs: int) -> People:
    """Lay out votes of (pair, annotator, label code)."""
    rows, by, codes = np.array(votes, dtype=np.int64).reshape(-1, 3).T
    names = tuple(f"p{number}" for number in range(int(by.max(initial=-1)) + 1))
    return People(vote_counts(rows, codes, n_pairs), rows, by, codes, names)


def _figures(people: People, most: int) -> Json:
    groups = Groups.of(np.arange(len(people.counts)).astype(str), 0.95)
    return human_agreement(people, groups, most)


def test_couples_are_those_of_a_count_by_hand() -> None:
    rng = np.random.default_rng(0)
    votes = [(int(p), int(a), int(c)) for p, a, c in rng.integers(0, [40, 9, 3], (300, 3))]
    people = _people(votes, 40)
    last = {(annotator, pair): code for pair, annotator, code in votes}
    shared = {
        (f"p{one}", f"p{other}"): sum(
            (one, pair) in last and (other, pair) in last for pair in range(40)
        )
        for one, other in combinations(range(9), 2)
    }
    same = {
        (f"p{one}", f"p{other}"): sum(
            last.get((one, pair), MISSING) == last.get((other, pair), MISSING - 1)
            for pair in range(40)
        )
        for one, other in combinations(range(9), 2)
    }
    found = _figures(people, 1_000)
    couples = {tuple(one["annotators"]): one for one in found["annotator_pairs"]}
    assert list(couples) == [names for names, n in shared.items() if n]
    assert {names: one["n"] for names, one in couples.items()} == {
        k: n for k, n in shared.items() if n
    }
    for names, one in couples.items():
        assert one["agreement"]["value"] == pytest.approx(same[names] / shared[names])
    assert not {"annotator_pairs_left_out", "annotators_not_compared"} & found.keys()
    few = _figures(people, 5)
    kept = [one["n"] for one in few["annotator_pairs"]]
    assert Counter(kept) == Counter(sorted(shared.values(), reverse=True)[:5])
    assert few["annotator_pairs_left_out"] == len(couples) - 5


@pytest.mark.parametrize("labelled", [0, 1])
def test_no_couple_without_company(labelled: int) -> None:
    found = _figures(_people([(0, 0, 1)] * labelled, 2), 10)
    assert found["annotator_pairs"] == []
    assert not {"annotator_pairs_left_out", "annotators_not_compared"} & found.keys()


def test_very_many_annotators_take_memory_for_their_votes_alone() -> None:
    n = 20_000
    votes = [(pair, annotator, annotator % 3) for annotator in range(n)
             for pair in (0, annotator, (annotator + 1) % n)]  # fmt: skip
    people = _people(votes, n)
    tracemalloc.start()
    found = _figures(people, 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # a table of all annotators and pairs takes 3 GB
    assert peak < 200 * 2**20
    assert len(found["annotator_pairs"]) == 20
    assert found["annotators_not_compared"] == n - MOST_COMPARED
    assert found["annotator_pairs_left_out"] == MOST_COMPARED * (MOST_COMPARED - 1) // 2 - 20


@pytest.fixture
async def bounded(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    few = settings.model_copy(update={"max_couples": 5, "max_slices": 5})
    app = create_app(few)
    async with app.router.lifespan_context(app), client_of(app) as client:
        rows = [
            {
                "id": f"q{number}", "prompt": f"{number}", "response_a": "a", "response_b": "b",
                "model_a": "x", "model_b": "y", "metadata": {"number": number},
                "human": [{"annotator": f"p{one}", "label": "a"} for one in range(2_000)][: 2_000 if number == 0 else 4],
                "judges": {f"j{one}": {"p_a": 0.75} for one in range(4)},
            }
            for number in range(8)
        ]  # fmt: skip
        await upload(client, "many", rows)
        yield client


async def test_a_pair_that_very_many_people_labelled_is_reported(
    bounded: httpx.AsyncClient,
) -> None:
    response = await bounded.get("/v1/reports/agreement", params={"dataset": "many"})
    assert response.status_code == 200, response.text
    human = response.json()["human"]
    assert human["annotators"] == 2_000
    assert [one["annotators"] for one in human["annotator_pairs"]] == [
        ["p0", "p1"], ["p0", "p2"], ["p0", "p3"], ["p1", "p2"], ["p1", "p3"],
    ]  # fmt: skip
    assert human["annotators_not_compared"] == 2_000 - MOST_COMPARED


async def test_more_couples_of_judges_than_allowed_are_refused_by_name(
    bounded: httpx.AsyncClient,
) -> None:
    asked = {"dataset": "many", "include": "judge_pairs"}
    response = await bounded.get("/v1/reports/agreement", params=asked)
    assert response.status_code == 422
    assert "6 couples of judges" in response.json()["detail"]
    assert "TRIBUNAL_MAX_COUPLES" in response.json()["detail"]
    few = await bounded.get("/v1/reports/agreement", params={**asked, "judges": "j0,j1"})
    assert few.status_code == 200


async def test_more_models_than_allowed_are_refused_by_name(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"max_models": 5}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        rows = [
            {"model_a": f"m{n}", "model_b": "x", "human": [{"annotator": "p", "label": "tie"}]}
            for n in range(6)
        ]
        await upload(client, "models", rows)
        response = await client.post(
            "/v1/leaderboards", json={"dataset": "models", "source": "human"}
        )
        assert response.status_code == 422
        assert "7 models, at most 5 are allowed (TRIBUNAL_MAX_MODELS)" in response.text


async def test_more_slices_than_allowed_are_refused_by_name(bounded: httpx.AsyncClient) -> None:
    field = "metadata.number"
    board = {"dataset": "many", "source": "human", "group_by": field}
    certify = {"dataset": "many", "cascade": {"judges": ["j0"]}, "target_agreement": 0.7}
    for response in (
        await bounded.get("/v1/reports/agreement", params={"dataset": "many", "group_by": field}),
        await bounded.post("/v1/leaderboards", json=board),
        await bounded.post("/v1/calibrations", json={**certify, "slices": field}),
    ):
        assert response.status_code == 422, response.text
        assert "8 values, at most 5 are allowed (TRIBUNAL_MAX_SLICES)" in response.json()["detail"]
