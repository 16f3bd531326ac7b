"""Real files in the formats that are read, where the development data is at hand."""

from __future__ import annotations

import csv

import httpx
import pytest

from tests.app.formats.test_files import send
from tests.app.imports.uploads import pairs_of
from tests.data_sets import data_dir


@pytest.mark.parametrize(("name", "battles"), [("simple", 16), ("food", 30), ("llmfao", 8931)])
async def test_the_comparisons_of_evalica_are_read_in_order(
    client: httpx.AsyncClient, name: str, battles: int
) -> None:
    file = data_dir() / "evalica_golden" / f"{name}.csv"
    body = (await send(client, {file.name: file.read_bytes()})).json()
    assert (body["dialect"], body["rejected"]) == ("battles", [])
    assert (body["pairs"], body["labels"]) == (battles, battles)
    with file.open(newline="") as lines:
        first = next(csv.DictReader(lines))
    found = (await pairs_of(client))[0]
    assert (found["model_a"], found["model_b"]) == (first["left"], first["right"])


async def test_votes_and_verdicts_of_mt_bench_are_joined(client: httpx.AsyncClient) -> None:
    folder = data_dir() / "mtbench_human"
    files = {name: (folder / name).read_bytes() for name in ("human.jsonl", "gpt4_pair.jsonl")}
    body = (await send(client, files)).json()
    # 586 of the 2400 verdicts are on pairs without a vote
    assert (body["pairs"], body["labels"], body["rejected"]) == (2400, 3355, [])
    assert (body["groups"], body["annotators"], len(body["recorded_judges"])) == (80, 65, 1)


async def test_a_table_of_real_pairs_gives_them_back(client: httpx.AsyncClient) -> None:
    file = data_dir() / "tulu_human" / "pairs.jsonl"
    first = (await send(client, {file.name: file.read_bytes()})).json()
    for form in ("csv", "parquet"):
        table = await client.get("/v1/datasets/set/export", params={"format": form})
        assert table.headers["x-tribunal-loss"] == "{}"
        again = await send(client, {f"pairs.{form}": table.content})
        assert (again.status_code, again.json()["id"]) == (200, first["id"])
        assert again.json()["labels"] == first["labels"]
