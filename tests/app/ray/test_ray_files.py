"""A batch from Parquet to Parquet whose workers Ray places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import create_engine

from tests.app.chaos.cases import core, rows
from tests.app.processes import PATIENCE_SECONDS, tribunal
from tests.app.ray.conftest import QUIET, RayCluster
from tests.app.ray.test_ray_engine import workers

PAIRS = 120
CONFIGURATION = """
[judges.cheap]
kind = "recorded"
[judges.dear]
kind = "recorded"
[cascades.default]
judges = ["cheap", "dear"]
"""


def test_files_judged_on_a_ray_cluster_hold_what_one_process_writes(
    tmp_path: Path, cluster: RayCluster
) -> None:
    (tmp_path / "tribunal.toml").write_text(CONFIGURATION)
    made = rows(PAIRS, 79)
    for name, some in (("a", made[:50]), ("b", made[50:])):
        columns = [{**row, "judges": json.dumps(row["judges"])} for row in some]
        pq.write_table(pa.Table.from_pylist(columns), tmp_path / f"{name}.parquet")
    engine = ("--engine", "ray", "--ray-address", cluster.address, "--ray-workers", "2")
    driver, placed = judged(tmp_path, "placed", *engine)
    _, plain = judged(tmp_path, "plain")
    assert [core(row) for row in placed] == [core(row) for row in plain]
    assert [row["id"] for row in placed] == [row["id"] for row in made]
    held = workers(create_engine(f"sqlite:///{tmp_path}/placed.db"), "done")
    assert held
    assert driver not in {int(name.split("/")[1]) for name in held}


def judged(folder: Path, name: str, *engine: str) -> tuple[int, list[dict[str, Any]]]:
    """Judge the files into a folder of this name; return the process and the rows of the parts."""
    verb = ("batch", "--input", "*.parquet", "--output", name, "--rows-per-part", "20", "--json")
    environment = {**QUIET, "DATABASE_URL": f"sqlite:///{name}.db", "TRIBUNAL_WORKERS": "1"}
    with tribunal(folder, name, *verb, *engine, environment=environment) as run:
        # recorded judges fail on some pairs
        assert run.process.wait(PATIENCE_SECONDS) == 4, run.said
    summary = json.loads((folder / name / "_batch.json").read_text())
    assert (summary["status"], summary["request_counts"]["total"]) == ("completed", PAIRS)
    parts = sorted((folder / name).glob("part-*.parquet"))
    assert len(parts) > 2
    return run.process.pid, [row for part in parts for row in pq.read_table(part).to_pylist()]
