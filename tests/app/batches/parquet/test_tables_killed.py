"""A run from Parquet to Parquet whose process is killed and begun again by the same command."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.app.chaos.cases import CALLS_PER_PAIR, configuration, core, rows
from tests.app.chaos.deployment import slow_judge
from tests.app.processes import PATIENCE_SECONDS, tribunal, until
from tests.app.rows import ndjson

PAIRS = 240


def test_a_killed_run_begun_again_redoes_only_what_was_not_finished(tmp_path: Path) -> None:
    made = rows(PAIRS, 78)
    (tmp_path / "cases.jsonl").write_bytes(ndjson(made))
    columns = [{**row, "judges": json.dumps(row["judges"])} for row in made]
    pq.write_table(pa.Table.from_pylist(columns), tmp_path / "cases.parquet")
    out = tmp_path / "out"
    tables = ("batch", "--input", "*.parquet", "--output", "out", "--rows-per-part", "40", "--json")
    with slow_judge(0.1) as judge:
        environment = {"DATABASE_URL": "sqlite:///ledger.db", "TRIBUNAL_CONFIG": "tribunal.toml"}

        def run(name: str, *verb: str) -> Any:
            config = configuration(judge.address_of(name.partition("-")[0]), 2)
            (tmp_path / "tribunal.toml").write_text(config)
            return tribunal(tmp_path, name, *verb, environment=environment)

        with run("killed", *tables) as killed:
            until(lambda: len(finished_parts(tmp_path)) >= 2 or killed.process.poll() is not None)
            assert killed.process.poll() is None, killed.said
            killed.process.kill()
            killed.process.wait(PATIENCE_SECONDS)
        finished = {path: path.stat().st_mtime_ns for path in finished_parts(tmp_path)}
        assert 2 <= len(finished) < PAIRS / 40
        with run("again", *tables) as again:
            assert again.process.wait(PATIENCE_SECONDS) == 4, again.said
        with run("plain-import", "import", "cases.jsonl") as plain:
            assert plain.process.wait(PATIENCE_SECONDS) == 0, plain.said
        with run("plain", "batch", "cases", "--results", "plain.ndjson") as plain:
            assert plain.process.wait(PATIENCE_SECONDS) == 4, plain.said
        calls = judge.calls()
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    found = [row for path in parts(out) for row in pq.read_table(path).to_pylist()]
    expected = [json.loads(line) for line in (tmp_path / "plain.ndjson").read_text().splitlines()]
    assert [(row["id"], core(row)) for row in found] == [(v["id"], core(v)) for v in expected]
    paid = {row["id"] for path in finished for row in pq.read_table(path).to_pylist()}
    assert not paid & calls["again"].keys()
    asked_first = {case for case in calls["killed"] if case in paid}
    assert asked_first
    assert all(calls["killed"][case] == CALLS_PER_PAIR for case in asked_first)


def finished_parts(folder: Path) -> list[Path]:
    """Return the parts that the ledger knows: one may have been killed between file and ledger."""
    ledger = folder / "ledger.db"
    if not ledger.exists():
        return []
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=30)) as connection:
        has_shards = "SELECT name FROM sqlite_master WHERE name = 'shards'"
        if not connection.execute(has_shards).fetchall():
            return []
        done = "SELECT number FROM shards WHERE state = 'done' ORDER BY number"
        numbers = [number for (number,) in connection.execute(done)]
    return [folder / "out" / f"part-{number:08d}.parquet" for number in numbers]


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))
