"""Batches from Parquet to Parquet, held against the batch over the same rows as a dataset."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.batches.parquet import files
from app.batches.parquet.files import cuts
from app.batches.worker.loop import Worker
from app.core.models import Score, Verdict
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.imports.parquet import parquet_batches
from tests.app.batches.worker.breaking import breaking_at_the_end
from tests.app.batches.worker.test_ledger import count, noted
from tests.app.chaos.cases import core, rows
from tests.app.paid_judge import PaidJudge, install, without_label
from tests.app.rows import certify, labelled_rows, upload

Row = dict[str, Any]
N = 60


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"workers": 0, "tables_dir": tmp_path, "max_attempts": 2})


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several pieces a shard: reading goes by batches of rows, which a byte fills."""
    monkeypatch.setattr(files, "PIECE_BYTES", 1)
    monkeypatch.setattr("app.imports.parquet._BATCH_ROWS", 5)


def write(path: Path, given: Sequence[Row], *, row_group: int = N) -> Path:
    path.parent.mkdir(exist_ok=True)
    columns = [
        {k: json.dumps(v) if k in ("judges", "human") else v for k, v in row.items()}
        for row in given
    ]
    pq.write_table(pa.Table.from_pylist(columns), path, row_group_size=row_group)
    return path


async def ask(client: httpx.AsyncClient, **options: Any) -> httpx.Response:
    body = {"input": "pairs/*.parquet", "output": "out", "rows_per_part": 20, **options}
    return await client.post("/v1/batches", json=body)


async def start(client: httpx.AsyncClient, **options: Any) -> Row:
    response = await ask(client, **options)
    assert response.status_code == 202, response.text
    batch: Row = response.json()
    return batch


async def work(running: Runtime) -> None:
    while await Worker(running, "here/1/2/token").work():
        pass


async def judged(client: httpx.AsyncClient, running: Runtime, **options: Any) -> Row:
    batch = await start(client, **options)
    await work(running)
    found: Row = (await client.get(f"/v1/batches/{batch['id']}")).json()
    return found


def parts(folder: Path) -> list[Row]:
    return [
        row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


async def verdicts(client: httpx.AsyncClient, running: Runtime, **request: Any) -> list[Row]:
    """Judge a dataset, and return its verdicts."""
    created = await client.post("/v1/batches", json=request)
    assert created.status_code == 202, created.text
    await work(running)
    text = (await client.get(f"/v1/batches/{created.json()['id']}/results")).text
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.both_databases
async def test_verdicts_are_those_of_the_same_rows_as_a_dataset(
    client: httpx.AsyncClient, running: Runtime, tmp_path: Path
) -> None:
    given_rows = labelled_rows(300)
    await upload(client, "rivers", given_rows)
    certificate = await certify(client, "rivers", target_agreement=0.7)
    fresh = rows(N, 3)
    fresh[0]["prompt"] = given_rows[0]["prompt"]
    await upload(client, "cases", fresh)
    write(tmp_path / "pairs/a.parquet", fresh[:25], row_group=7)
    write(tmp_path / "pairs/b.parquet", fresh[25:], row_group=100)
    named: dict[str, Any]
    for number, named in enumerate(
        ({"calibration": certificate["id"]}, {"cascade": {"judges": ["cheap", "dear"]}})
    ):
        as_dataset = await verdicts(client, running, dataset="cases", **named)
        before = await count(running, Verdict)
        batch = await judged(client, running, output=f"out{number}", **named)
        found = parts(tmp_path / f"out{number}")
        assert [row["id"] for row in found] == [row["id"] for row in fresh]
        assert [core(row) for row in found] == [core(row) for row in as_dataset]
        assert batch["request_counts"]["total"] == N
        known = [row["calibration_pair"] for row in found]
        assert known == [row["calibration_pair"] for row in as_dataset]
        assert batch["calibration_pairs"] == sum(known) == ("calibration" in named)
        assert await count(running, Verdict) == before
        summary = json.loads((tmp_path / f"out{number}/_batch.json").read_text())
        assert (summary["status"], summary["promise"]) == ("completed", batch["promise"])


@pytest.mark.both_databases
async def test_a_connection_that_breaks_after_the_last_commit_costs_no_summary(
    client: httpx.AsyncClient, running: Runtime, tmp_path: Path
) -> None:
    install(running, PaidJudge("j"))
    write(tmp_path / "pairs/a.parquet", [{**row, "judges": {}} for row in rows(N, 4)])
    await start(client)
    async with breaking_at_the_end(running) as broken:
        await work(running)
    assert broken.is_set()
    assert json.loads((tmp_path / "out/_batch.json").read_text())["status"] == "completed"
    assert len(parts(tmp_path / "out")) == N


async def test_a_live_judge_s_scores_are_in_the_parts_and_not_in_the_database(
    client: httpx.AsyncClient, running: Runtime, tmp_path: Path
) -> None:
    install(running, PaidJudge("j"))
    write(tmp_path / "pairs/a.parquet", labelled_rows(N))
    batch = await judged(client, running)
    assert batch["cost_usd"] == pytest.approx(0.01 * N)
    assert batch["progress"]["tiers"][0]["obtained"] == N
    assert await count(running, Score) == 0
    scores = [row["scores"][0] for row in parts(tmp_path / "out")]
    assert {score["usage"]["prompt"] for score in scores} == {10}
    assert all(score["obtained"] for score in scores)
    assert not list((tmp_path / "out/.work").iterdir())


async def test_a_worker_that_is_stopped_loses_one_piece_at_most(
    client: httpx.AsyncClient, running: Runtime, tmp_path: Path
) -> None:
    class StopsAt(PaidJudge):
        async def score(self, pair: Any) -> Any:
            if pair.id == "33":
                await asyncio.Event().wait()
            return await super().score(pair)

    stops = StopsAt("j")
    install(running, stops)
    write(tmp_path / "pairs/a.parquet", labelled_rows(N))
    batch = await start(client)
    await Worker(running, "here/1/2/first").work()
    task = asyncio.create_task(Worker(running, "here/1/2/stopped").work())
    async with asyncio.timeout(20):
        # the worker tells nobody
        while sum(stops.asked.values()) < 34 or await noted(running) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    first = (tmp_path / "out/part-00000000.parquet").stat().st_mtime_ns
    assert len(list((tmp_path / "out").glob("part-*"))) == 1
    usual = PaidJudge("j")
    install(running, usual)
    again = await judged(client, running)
    assert again["id"] == batch["id"]
    # rows 1 to 30 were kept in whole pieces, the part of the first 20 is untouched
    assert sum(usual.asked.values()) == N - 30
    assert (tmp_path / "out/part-00000000.parquet").stat().st_mtime_ns == first
    found = parts(tmp_path / "out")
    # what was paid for the piece that was lost is known to nobody
    assert {row["row"] for row in found if row["cost_usd"] is None} == {
        int(row) for row in stops.asked if int(row) > 30
    }
    assert (again["cost_usd"], again["known_usd"]) == (None, pytest.approx(0.01 * N))
    assert again["progress"]["tiers"][0]["obtained"] == N
    assert [row["row"] for row in found] == list(range(1, N + 1))


@pytest.mark.both_databases
async def test_a_finished_run_asked_for_again_asks_nobody(
    client: httpx.AsyncClient, running: Runtime, tmp_path: Path
) -> None:
    judge = PaidJudge("j")
    install(running, judge)
    write(tmp_path / "pairs/a.parquet", labelled_rows(N))
    before = await judged(client, running)
    again = await judged(client, running)
    assert (again["id"], again["status"]) == (before["id"], "completed")
    assert sum(judge.asked.values()) == N
    (tmp_path / "out/part-00000001.parquet").unlink()
    await judged(client, running)
    # a part that was deleted is made again; there is nothing left to take its scores from
    assert sum(judge.asked.values()) == N + 20
    assert len(parts(tmp_path / "out")) == N


@pytest.mark.both_databases
async def test_a_retry_asks_only_on_pairs_that_a_judge_failed_on(
    client: httpx.AsyncClient, running: Runtime, tmp_path: Path
) -> None:
    class FailsOn(PaidJudge):
        async def score(self, pair: Any) -> Any:
            score = await super().score(pair)
            return without_label(score) if pair.id == "17" else score

    install(running, FailsOn("j"))
    write(tmp_path / "pairs/a.parquet", labelled_rows(N))
    batch = await judged(client, running)
    assert batch["request_counts"]["failed"] == 1
    usual = PaidJudge("j")
    install(running, usual)
    retried = await client.post(f"/v1/batches/{batch['id']}/retry")
    assert retried.status_code == 202, retried.text
    await work(running)
    assert dict(usual.asked) == {"17": 1}
    found = (await client.get(f"/v1/batches/{batch['id']}")).json()
    assert found["request_counts"]["completed"] == N
    # the answer of no use was paid for, too
    assert found["cost_usd"] == pytest.approx(0.01 * (N + 1))
    assert found["progress"]["tiers"][0]["obtained"] == N + 1


async def test_a_row_that_cannot_be_read_is_a_failed_verdict_with_its_reason(
    client: httpx.AsyncClient, running: Runtime, tmp_path: Path
) -> None:
    given_rows = labelled_rows(N)
    given_rows[8]["response_b"] = None
    given_rows[9]["id"] = "p8"
    written = write(tmp_path / "pairs/a.parquet", given_rows)
    table = pq.read_table(written)
    judges = table["judges"].to_pylist()
    judges[40] = "{not JSON"
    at = table.column_names.index("judges")
    pq.write_table(table.set_column(at, "judges", pa.array(judges)), written, row_group_size=7)
    batch = await judged(client, running, cascade={"judges": ["cheap", "dear"]})
    found = parts(tmp_path / "out")
    assert len(found) == N
    failed = {row["row"]: row["reason"] for row in found if row["status"] == "failed"}
    assert failed[9] == "response_b: is missing"
    assert "judges" in failed[41]
    assert set(failed) == {9, 41}
    assert (found[8]["id"], found[9]["id"]) == ("p8", "p8")
    assert batch["request_counts"]["failed"] == 2


@pytest.mark.both_databases
async def test_a_worker_without_its_lease_puts_no_part_in_place(
    client: httpx.AsyncClient, running: Runtime, tmp_path: Path
) -> None:
    judge = PaidJudge("j", gate=asyncio.Event())
    install(running, judge)
    write(tmp_path / "pairs/a.parquet", labelled_rows(N))
    batch = await start(client)
    task = asyncio.create_task(Worker(running, "here/1/2/slow").work())
    async with asyncio.timeout(20):
        while await noted(running) < 5:  # noqa: ASYNC110  # the worker tells nobody
            await asyncio.sleep(0.01)
    await client.post(f"/v1/batches/{batch['id']}/cancel")
    assert judge.gate is not None
    judge.gate.set()
    await task
    assert not list((tmp_path / "out").glob("part-*"))
    found = (await client.get(f"/v1/batches/{batch['id']}")).json()
    assert found["request_counts"]["completed"] == 0
    # the piece that was under way is paid for, and nothing after it
    assert found["cost_usd"] == pytest.approx(0.01 * 5)
    assert sum(judge.asked.values()) == 10


async def test_results_lie_in_the_folder(
    client: httpx.AsyncClient, running: Runtime, tmp_path: Path
) -> None:
    write(tmp_path / "pairs/a.parquet", labelled_rows(5))
    batch = await judged(client, running, cascade={"judges": ["cheap"]})
    answer = await client.get(f"/v1/batches/{batch['id']}/results")
    assert answer.status_code == 409
    assert str(tmp_path / "out") in answer.json()["detail"]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"budget_usd": 1.0}, "budget_usd"),
        ({"part": {"fraction": 0.5, "seed": 0, "side": "test"}}, "part"),
        ({"dataset": "rivers"}, "dataset"),
        ({"input": "none/*.parquet"}, "input"),
        ({"input": "../*/pairs/a.parquet"}, "input"),
        ({"output": "../elsewhere"}, "output"),
        ({"output": "pairs/a.parquet"}, "output"),
        ({"cascade": {"judges": ["nobody"]}}, "cascade"),
        ({"input": "pairs/no.txt"}, "input"),
        ({"output": None}, "output"),
    ],
)
async def test_what_cannot_be_done_is_said_of_its_field(
    client: httpx.AsyncClient, tmp_path: Path, options: Row, field: str
) -> None:
    write(tmp_path / "pairs/a.parquet", labelled_rows(5))
    (tmp_path / "pairs/no.txt").write_text("no table")
    outside = tmp_path.parent / "elsewhere_pairs"
    outside.mkdir(exist_ok=True)
    answer = await ask(client, **options)
    assert answer.status_code == 422, answer.text
    assert field in json.dumps(answer.json()["errors"])


async def test_a_folder_of_another_run_is_refused(
    client: httpx.AsyncClient, running: Runtime, tmp_path: Path
) -> None:
    write(tmp_path / "pairs/a.parquet", labelled_rows(5))
    cheap = {"judges": ["cheap"]}
    await judged(client, running, cascade=cheap)
    assert (await ask(client, cascade={"judges": ["dear"]})).status_code == 409
    assert (await ask(client, cascade=cheap, rows_per_part=2)).status_code == 409
    shutil.copytree(tmp_path / "out", tmp_path / "copied")
    answer = await ask(client, cascade=cheap, output="copied")
    assert answer.status_code == 409
    assert "does not know" in answer.json()["detail"]
    write(tmp_path / "pairs/a.parquet", labelled_rows(5, seed=1))
    assert (await ask(client, cascade=cheap)).status_code == 409


async def test_a_service_without_a_folder_of_tables_touches_no_files(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    running.settings = running.settings.model_copy(update={"tables_dir": None})
    answer = await ask(client)
    assert answer.status_code == 422
    assert "TRIBUNAL_TABLES_DIR" in answer.text


BAD_PATHS = {
    "a NUL": "o\0x",
    "a long name": "x" * 300,
    "many folders": "a/" * 400 + "b",
    "very many folders": "a/" * 2_000 + "b",
    "a line": "a\nb",
    "up": "../pairs",
    "up on the way": "pairs/../../pairs",
    "elsewhere": "/etc",
    "a circle of links": "circle",
    "a link to elsewhere": "elsewhere/x",
}


@pytest.mark.parametrize("field", ["input", "output"])
@pytest.mark.parametrize("name", BAD_PATHS)
async def test_a_path_that_names_no_place_in_the_folder_is_refused(
    client: httpx.AsyncClient, tmp_path: Path, name: str, field: str
) -> None:
    write(tmp_path / "pairs/a.parquet", labelled_rows(2))
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "elsewhere").symlink_to("/var")
    answer = await ask(client, **{field: BAD_PATHS[name]})
    assert answer.status_code == 422, answer.text
    assert len(answer.content) < 3_000
    assert [error["loc"][1] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize(
    "form", ["{outside}/{name}", "../outside/{name}", "link/{name}", "link/*{name}*"]
)
async def test_it_does_not_show_whether_a_file_is_outside_of_the_folder(
    client: httpx.AsyncClient, running: Runtime, tmp_path: Path, form: str
) -> None:
    inside, outside = tmp_path / "tables", tmp_path / "outside"
    inside.mkdir()
    running.settings = running.settings.model_copy(update={"tables_dir": inside})
    write(outside / "there.parquet", labelled_rows(2))
    (inside / "link").symlink_to(outside)
    said = [
        (await ask(client, input=form.format(outside=outside, name=f"{name}.parquet"))).text
        for name in ("there", "never")
    ]
    assert said[0].replace("there", "never") == said[1]
    assert '"status":422' in said[0]


def test_a_part_has_the_columns_of_earlier_versions(tmp_path: Path) -> None:
    """A run that was started by an earlier version is continued: its parts must fit together."""
    written = tmp_path / "piece.parquet"
    files.write_piece(written, [])
    found = pq.read_schema(written)
    tier = (
        "struct<judge: string, p_a: double, p_tie: double, confidence: double, accepted: bool,"
        " failure: struct<kind: string, detail: string>, flags: list<element: string>>"
    )
    plain = {
        "file": "string", "row": "int64", "id": "string", "content_hash": "string",
        "status": "string", "label": "string", "confidence": "double", "judge": "string",
        "tiers": f"list<element: {tier}>", "calibration": "string", "calibration_pair": "bool",
        "cost_usd": "double", "cached": "bool", "reason": "string",
    }  # fmt: skip
    assert found.names == [*plain, "scores"]
    assert {name: str(found.field(name).type) for name in plain} == plain
    files.write_piece(written, [], has_models=True)
    assert pq.read_schema(written).names == [*plain, "scores", "model_a", "model_b"]
    earlier = {"files": [], "output": "verdicts", "dialect": "canonical"}
    assert not files.Tables.from_json(earlier).has_models
    assert files.Tables.from_json(files.Tables((), "verdicts", "canonical").as_json()).has_models


@given(st.lists(st.integers(0, 30), max_size=12), st.integers(1, 25))
def test_cuts_cover_every_row_once_in_order(row_groups: list[int], size: int) -> None:
    ranges = list(cuts(row_groups, size))
    assert [row for first, last in ranges for row in range(first, last)] == list(
        range(sum(row_groups))
    )
    assert all(last - first <= size for first, last in ranges)
    assert all(before[1] == after[0] for before, after in pairwise(ranges))


@pytest.mark.parametrize(("first", "last"), [(0, 40), (0, 1), (6, 8), (7, 14), (13, 40), (39, 40)])
def test_a_slice_holds_its_rows_with_their_numbers(tmp_path: Path, first: int, last: int) -> None:
    path = write(tmp_path / "pairs/a.parquet", labelled_rows(40), row_group=7)
    found = [row for some, _ in parquet_batches(path, first, last) for row in some]
    assert [row.line for row in found] == list(range(first + 1, last + 1))
    assert [row.value["id"] for row in found] == [f"p{number}" for number in range(first, last)]


# A fresh process: the peak of this one belongs to other tests, and `ru_maxrss` would inherit it.
PROGRAM = """
import asyncio, sys
from pathlib import Path
from app.batches.parquet.batch import create
from app.batches.schemas import TablesBatchIn
from app.batches.worker.loop import Worker
from app.core.settings import Settings
from app.main import open_runtime

async def main(folder, *names):
    settings = Settings(database_url=f"sqlite:///{folder}/memory.db", tables_dir=Path(folder))
    async with open_runtime(settings) as running:
        for name in names:
            cascade = {"judges": ["cheap"]}
            asked = {"input": f"{name}.parquet", "output": name, "cascade": cascade}
            await create(running, TablesBatchIn.model_validate({**asked, "rows_per_part": 100_000}))
            assert await Worker(running, "here/1/2/token").work()
            assert not await Worker(running, "here/1/2/token").work()
            print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])

asyncio.run(main(*sys.argv[1:]))
"""


def test_memory_does_not_grow_with_the_file_nor_with_the_shard(tmp_path: Path) -> None:
    for name, n in (("warm", 1_500), ("small", 1_500), ("large", 9_000)):
        made = [{**row, "response_a": row["response_a"] * 80} for row in labelled_rows(n)]
        write(tmp_path / f"{name}.parquet", made, row_group=100_000)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), "warm", "small", "large"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    _, after_small, after_large = map(int, done.stdout.split())
    assert len(parts(tmp_path / "large")) == 9_000
    assert after_large < 1.3 * after_small
