"""What the command line shows of judges that explain themselves, and of one that is tried."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from app.cli import app as program
from tests.app.judgments import test_reasons, test_trying
from tests.app.judgments.test_reasons import pair
from tests.app.judgments.test_trying import PAIR
from tests.app.rows import ndjson
from tests.judges.model_server import ModelServer


def test_the_command_line_shows_and_writes_reasons(folder: Path, server: ModelServer) -> None:
    (folder / "tribunal.toml").write_text(
        test_reasons.CONFIG.format(url=server.base_url, wanted="all")
    )
    (folder / "pairs.jsonl").write_bytes(ndjson([pair(0), pair(1)]))
    runner = CliRunner()
    shown = runner.invoke(program, ["judge", "pairs.jsonl"])
    assert shown.exit_code == 0, shown.output
    assert "p0: live says: A has more good words, so A is better." in shown.stdout
    assert runner.invoke(program, ["import", "pairs.jsonl"]).exit_code == 0
    ended = runner.invoke(
        program, ["batch", "pairs", "--results", "v.ndjson", "--with", "reasons,texts"]
    )
    assert ended.exit_code == 0, ended.output
    assert "2 reasons" not in ended.stdout  # they were stored already
    [first, _] = [json.loads(x) for x in (folder / "v.ndjson").read_text().splitlines()]
    assert first["reason"]["judge"] == "live"
    assert first["prompt"] == "Say 0."
    wrong = runner.invoke(program, ["batch", "pairs", "--results", "v", "--with", "reason"])
    assert wrong.exit_code == 2
    assert "give texts or reasons" in wrong.output


def test_the_command_line_shows_a_try(folder: Path, server: ModelServer) -> None:
    (folder / "tribunal.toml").write_text(test_trying.CONFIG.format(url=server.base_url))
    (folder / "pair.json").write_text(json.dumps(PAIR, indent=1))
    runner = CliRunner()
    shown = runner.invoke(program, ["judges", "try", "live", "pair.json"])
    assert shown.exit_code == 0, shown.output
    for part in ("annotator 0, a shown first", "--- user", "label A", "cost 0.000", "live says:"):
        assert part in shown.stdout
    (folder / "two.json").write_text(json.dumps([PAIR, PAIR]))
    two = runner.invoke(program, ["judges", "try", "live", "two.json"])
    assert two.exit_code == 2
    assert "holds 2 rows" in two.output
    server.plan = ["401", "401"]
    failed = runner.invoke(program, ["judges", "try", "live", "pair.json"])
    assert failed.exit_code == 4
