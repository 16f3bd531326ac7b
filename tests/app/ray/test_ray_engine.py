"""A batch whose workers Ray places, on a cluster that loses a node."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from typer.testing import CliRunner

from app.cli import app
from app.core.settings import Settings
from app.ray.cluster import Handed
from tests.app.chaos.cases import configuration, core, rows
from tests.app.chaos.deployment import JudgeProcess, slow_judge
from tests.app.processes import PATIENCE_SECONDS, tribunal, until
from tests.app.ray.conftest import QUIET, RayCluster
from tests.app.rows import ndjson

PAIRS = 360


@pytest.mark.slow
def test_a_ray_run_that_loses_a_node_ends_with_the_verdicts_of_the_plain_run(
    tmp_path: Path, cluster: RayCluster
) -> None:
    (tmp_path / "cases.jsonl").write_bytes(ndjson(rows(PAIRS, 77)))
    with slow_judge(0.3) as judge:
        plain = verdicts(tmp_path, "plain", judge, ())
        ledger = create_engine(f"sqlite:///{tmp_path}/ray.db")
        environment = prepared(tmp_path, "ray", judge)
        batch = ("batch", "cases", "--results", "ray.ndjson", "--json")
        placed = ("--engine", "ray", "--ray-address", cluster.address, "--ray-workers", "3")
        with tribunal(tmp_path, "ray", *batch, *placed, environment=environment) as driver:
            until(
                lambda: (
                    driver.process.poll() is not None
                    or (len(workers(ledger, "todo")) >= 3 and shards(ledger, "done") >= 3)
                )
            )
            assert driver.process.poll() is None, driver.said
            cluster.remove_node()
            assert shards(ledger, "todo") > 0
            status = driver.process.wait(PATIENCE_SECONDS)
    assert status == 4, driver.said  # recorded judges fail on some pairs
    assert read(tmp_path / "ray.ndjson") == plain
    assert len(plain) == PAIRS
    with ledger.connect() as connection:
        assert connection.scalar(text("select max(attempts) from shards")) > 1


def prepared(folder: Path, name: str, judge: JudgeProcess) -> dict[str, str]:
    """Import the cases into a database of their own; return the environment of its processes."""
    config = folder / f"{name}.toml"
    config.write_text(configuration(judge.address_of(name), 4))
    environment = {
        **QUIET, "DATABASE_URL": f"sqlite:///{name}.db", "TRIBUNAL_CONFIG": config.name,
        "TRIBUNAL_SHARD_SIZE": "20", "TRIBUNAL_WORKERS": "1",
    }  # fmt: skip
    with tribunal(folder, f"{name}-import", "import", "cases.jsonl", environment=environment) as it:
        assert it.process.wait(PATIENCE_SECONDS) == 0, it.said
    return environment


def verdicts(folder: Path, name: str, judge: JudgeProcess, placed: tuple[str, ...]) -> Any:
    """Run a batch to its end, and return what its verdicts say."""
    environment = prepared(folder, name, judge)
    verb = ("batch", "cases", "--results", f"{name}.ndjson", "--json", *placed)
    with tribunal(folder, name, *verb, environment=environment) as running:
        assert running.process.wait(PATIENCE_SECONDS) == 4, running.said
    return read(folder / f"{name}.ndjson")


def read(file: Path) -> dict[str, Any]:
    found = [json.loads(line) for line in file.read_text().splitlines()]
    by_id = {verdict["id"]: core(verdict) for verdict in found}
    assert len(by_id) == len(found), "a pair has two verdicts"
    return by_id


def workers(ledger: Engine, state: str) -> set[str]:
    """Return the processes that hold shards of this state: each at its own where it is todo."""
    query = text("select distinct worker from shards where worker is not null and state = :state")
    with ledger.connect() as connection:
        found = connection.scalars(query, {"state": state})
        return {str(name).rpartition("/")[0] for name in found}


def shards(ledger: Engine, state: str) -> int:
    query = text("select count(*) from shards where state = :state")
    with ledger.connect() as connection:
        return int(connection.scalar(query, {"state": state}) or 0)


def test_a_worker_elsewhere_is_handed_the_configuration_and_whole_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "judges.toml").write_text('[cascades.default]\njudges = ["student"]\n')
    given = Settings(
        database_url="sqlite:///ledger.db", config=Path("judges.toml"), shard_size=7, node="here"
    )
    handed = Handed.of(given)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    opened = handed.opened(elsewhere)
    assert opened.load_config() == {"cascades": {"default": {"judges": ["student"]}}}
    assert opened.database_url == f"sqlite+aiosqlite:///{tmp_path}/ledger.db"
    assert (opened.shard_size, opened.node) == (7, None)


def test_a_password_is_handed_over_whole() -> None:
    url = "postgresql+asyncpg://judge:secret@db/tribunal"
    assert Handed.of(Settings(database_url=url)).settings["database_url"] == url


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--engine", "spark"), "none of: ray"),
        (("--ray-workers", "2"), "need --engine ray"),
    ],
)
def test_an_engine_that_cannot_be_meant_is_bad_usage(options: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(app, ["batch", "rivers", *options])
    assert result.exit_code == 2
    assert said in result.output


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    result = CliRunner().invoke(app, ["batch", "rivers", "--engine", "ray"])
    assert result.exit_code == 1
    assert "tribunal-judge[ray]" in result.output
