from __future__ import annotations

import hashlib
from typing import Any

import httpx
import pytest

from app.calibrations.inputs import hash_of_test
from app.calibrations.schemas import CalibrationIn
from app.datasets.records import PairKey
from app.labels.sets import marks, request_hash
from tests.app.calibrations.test_weighted import unlabelled
from tests.app.rows import Row, certify, labelled_rows, upload

pytestmark = pytest.mark.both_databases


async def uses(client: httpx.AsyncClient, dataset: str, **options: Any) -> tuple[int, int]:
    certificate = await certify(client, dataset, **options)
    return certificate["label_set_uses"], certificate["label_set_plans"]


async def plan(client: httpx.AsyncClient, targets: list[float]) -> None:
    body = {
        "dataset": "rivers",
        "cascade": {"judges": ["cheap", "dear"]},
        "target_agreements": targets,
    }
    assert (await client.post("/v1/plans", json=body)).status_code == 200


async def test_the_same_request_is_the_same_test(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(200))
    assert [await uses(client, "rivers") for _ in range(2)] == [(1, 0), (1, 0)]
    assert await uses(client, "rivers", seed=1) == (2, 0)
    assert await uses(client, "rivers", cascade={"judges": ["dear"]}) == (3, 0)


@pytest.mark.parametrize(
    ("asked", "is_new"),
    [
        ({"target_agreement": 0.9}, True),
        ({"scope": "dataset", "max_error": 0.05}, False),
        ({"target_agreement": 0.9, "method": "auto_raw"}, False),
        ({"target_agreement": 0.9, "method": "weighted"}, False),
    ],
)
def test_only_auto_with_margins_is_another_test_than_before(asked: Any, is_new: bool) -> None:
    """A certificate that was made before there were margins counts beside the new one."""
    request = CalibrationIn(dataset="rivers", **asked)
    found = hash_of_test(request, ["f", "f"], "labels", "scores")
    before = {**request.model_dump(mode="json"), "scores": "scores"}
    for name in ("max_shift", "traffic", "traffic_features", "max_ratio"):
        del before[name]
    if asked.get("method", "auto") in ("auto", "weighted"):
        before["columns"] = "stacked"
    assert (found != request_hash(before, ["f", "f"], "labels")) is is_new


async def test_changed_scores_make_another_test_of_the_same_labels(
    client: httpx.AsyncClient,
) -> None:
    """Who may record scores until a certificate comes out tests the labels each time."""
    rows = labelled_rows(200)
    await upload(client, "rivers", rows)
    first = await certify(client, "rivers")
    await upload(client, "same", rows)
    assert await uses(client, "same") == (1, 0)
    await upload(client, "rescored", rescored(rows))
    again = await certify(client, "rescored")
    assert again["fingerprints"] == first["fingerprints"]
    assert (again["label_set_uses"], again["label_set_plans"]) == (2, 0)


def rescored(rows: list[Row]) -> list[Row]:
    """Return the rows with another score of the cheap judge on the first."""
    record = rows[0]["judges"]["cheap"]
    cheap = {**record, "p_a": record["p_a"] / 2}
    return [{**rows[0], "judges": {**rows[0]["judges"], "cheap": cheap}}, *rows[1:]]


async def test_another_pool_makes_another_test_of_the_same_labels(
    client: httpx.AsyncClient,
) -> None:
    """Who may change the pool until a certificate comes out tests the labels each time."""
    rows, others = labelled_rows(200), unlabelled(labelled_rows(260)[200:])
    await upload(client, "rivers", rows)
    assert await uses(client, "rivers") == (1, 0)
    await upload(client, "pool", others)
    assert await uses(client, "rivers", pool="pool") == (2, 0)
    await upload(client, "same-pool", others[::-1])
    assert await uses(client, "rivers", pool="same-pool") == (2, 0)
    await upload(client, "with-pool", [*rows, *others])
    assert await uses(client, "with-pool") == (2, 0)
    await upload(client, "other-pool", rescored(others))
    assert await uses(client, "rivers", pool="other-pool") == (3, 0)
    await upload(client, "smaller-pool", [*rows, *others[1:]])
    assert await uses(client, "smaller-pool") == (4, 0)
    # too few pairs to say anything are no pool
    await upload(client, "no-pool", [*rows, *others[:20]])
    assert await uses(client, "no-pool") == (4, 0)


@pytest.mark.parametrize("looked", ["/v1/plans", "/v1/experiments"])
async def test_a_look_with_a_pool_is_the_test_that_is_certified(
    client: httpx.AsyncClient, looked: str
) -> None:
    await upload(client, "rivers", [*labelled_rows(200), *unlabelled(labelled_rows(260)[200:])])
    body: dict[str, Any] = {
        "dataset": "rivers",
        "cascade": {"judges": ["cheap", "dear"]},
        "target_agreements": [0.8],
    }
    if looked == "/v1/experiments":
        body["splits"] = 2
    assert (await client.post(looked, json=body)).status_code == 200
    assert await uses(client, "rivers", target_agreement=0.8) == (1, 0)
    assert await uses(client, "rivers", target_agreement=0.9) == (2, 0)


async def test_other_traffic_makes_another_test_of_the_same_labels(
    client: httpx.AsyncClient,
) -> None:
    rows = unlabelled(labelled_rows(260)[200:])
    await upload(client, "rivers", labelled_rows(200))
    named = {
        "traffic": rows,
        "same": rows,
        "rescored": rescored(rows),
        "shorter": [{**rows[0], "response_a": "no"}, *rows[1:]],
    }
    found = {}
    for name, pairs in named.items():
        await upload(client, name, pairs)
        found[name] = await uses(client, "rivers", method="weighted", traffic=name)
    assert found == {"traffic": (1, 0), "same": (1, 0), "rescored": (2, 0), "shorter": (3, 0)}


async def test_plans_count_until_they_are_certified(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(200))
    await plan(client, [0.7, 0.8, 0.9])
    assert await uses(client, "rivers", target_agreement=0.8) == (1, 2)
    await plan(client, [0.8])
    certificate = await certify(client, "rivers", target_agreement=0.7)
    assert (certificate["label_set_uses"], certificate["label_set_plans"]) == (2, 1)
    assert "2 certificates and 1 target of a plan or experiment were made" in certificate["claim"]
    assert "All 3 hold at once with probability at least 0.7." in certificate["claim"]


async def test_copies_of_the_labels_are_the_same_labels(client: httpx.AsyncClient) -> None:
    rows = labelled_rows(300)
    first = await upload(client, "rivers", rows)
    await certify(client, "rivers")
    await upload(client, "copy", rows[1:])
    assert await uses(client, "copy", seed=1) == (2, 0)
    await upload(client, "half", rows[150:])
    assert await uses(client, "half") == (3, 0)
    await upload(client, "others", labelled_rows(350, seed=0)[300:])
    assert await uses(client, "others") == (1, 0)
    deleted = await client.delete(f"/v1/datasets/{first['id']}", params={"force": True})
    assert deleted.status_code == 204
    await upload(client, "again", rows)
    assert await uses(client, "again", seed=2) == (4, 0)


async def test_many_tests_leave_no_probability_together(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(300))
    for seed in range(11):
        certificate = await certify(client, "rivers", target_agreement=0.7, seed=seed)
        if seed == 9:  # ten tenths do not add up to 1 in floating point
            assert "All 10 hold at once with no known probability" in certificate["claim"]
    assert "All 11 hold at once with no known probability" in certificate["claim"]


@pytest.mark.parametrize("n", [0, 3, 500])
def test_marks_are_the_smallest_hashes(n: int) -> None:
    hashes = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(n)]
    keys = [PairKey(0, 0, "p", "g", None, one, None, None, None, {}) for one in hashes]
    battle = PairKey(0, 0, "b", "g", None, None, None, None, None, {})
    assert marks([*keys, *keys, battle]) == [one[:32] for one in sorted(hashes)[:64]]
