from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.app.imports.uploads import upload
from tests.data_sets import data_dir


class Counts(NamedTuple):
    pairs: int
    groups: int
    labels: int
    annotators: int
    judges: int


EXPECTED = {
    "mtbench_human/pairs.jsonl.gz": Counts(1814, 80, 3355, 65, 9),
    "prd_vicuna80/pairs.jsonl.gz": Counts(800, 80, 1760, 0, 5),
    "prd_vicuna80/lfqa.pairs.jsonl": Counts(140, 140, 260, 0, 0),
    "llmfao/pairs.jsonl.gz": Counts(2139, 13, 8931, 124, 2),
    # two of the 1005 prompts differ in punctuation alone
    "llmbar/pairs.jsonl.gz": Counts(1134, 1004, 1134, 1, 65),
    "pandalm/pairs.jsonl": Counts(999, 170, 2997, 3, 2),
    "tulu_human/pairs.jsonl": Counts(996, 332, 1141, 16, 0),
    "mtbench_human/human.jsonl": Counts(1814, 80, 3355, 65, 0),
    "mtbench_human/gpt4_pair.jsonl": Counts(2400, 80, 0, 0, 1),
}


def _file(name: str) -> Path:
    path = data_dir() / name
    return path if path.exists() else path.with_name(path.name.removesuffix(".gz"))


@pytest.mark.parametrize("name", EXPECTED)
async def test_every_published_row_is_imported_and_again_changes_nothing(
    client: httpx.AsyncClient, name: str
) -> None:
    body = _file(name).read_bytes()
    first = await upload(client, body)
    found = first.json()
    assert (first.status_code, found["rejected"]) == (201, [])
    assert Counts(
        found["pairs"], found["groups"], found["labels"], found["annotators"],
        len(found["recorded_judges"]),
    ) == EXPECTED[name]  # fmt: skip
    again = await upload(client, body)
    assert (again.status_code, again.json()) == (200, found)
