"""serve, worker, doctor, keys and db: what they print, and what they say of a broken setting."""

from __future__ import annotations

import json
import signal
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from tests.app.processes import PATIENCE_SECONDS, free_port, service, tribunal
from tests.judges.openai.case_server import CaseServer, Sent, serving

runner = CliRunner()
ON_THE_DATABASE = [
    ["keys", "list"], ["doctor"], ["db", "check"], ["report", "x"], ["worker"],
    ["serve", "--port", "0"],
]  # fmt: skip


def run(*arguments: str, status: int = 0) -> str:
    result = runner.invoke(app, list(arguments))
    assert result.exit_code == status, f"{result.output}\n{result.exception!r}"
    return result.stdout


def run_json(*arguments: str, status: int = 0) -> Any:
    return json.loads(run(*arguments, "--json", status=status))


def test_keys_are_made_listed_and_revoked() -> None:
    key = run("keys", "create", "ci").strip()
    assert key.startswith("trib_")
    made = run_json("keys", "create", "laptop")
    assert made["key"].startswith(made["prefix"])
    listed = run_json("keys", "list")
    assert [one["name"] for one in listed] == ["ci", "laptop"]
    assert made["id"] in run("keys", "list")
    assert "key" not in listed[0]
    assert run("keys", "revoke", listed[0]["id"]) == ""
    revoked = run_json("keys", "revoke", "laptop")
    assert revoked["id"] == made["id"]
    assert revoked["revoked_at"]
    assert run_json("keys", "revoke", "laptop") == revoked, "once is enough"
    run("keys", "revoke", "nobody", status=1)


def test_two_keys_in_use_share_no_name() -> None:
    run("keys", "create", "ci")
    result = runner.invoke(app, ["keys", "create", " ci "])
    assert result.exit_code == 1
    assert "there is a key 'ci' already" in result.stderr
    run("keys", "revoke", "ci")
    new = run_json("keys", "create", "ci")
    assert run_json("keys", "revoke", "ci")["id"] == new["id"], "the one in use is meant"
    result = runner.invoke(app, ["keys", "revoke", "ci"])
    assert result.exit_code == 1
    assert f"give an id ({run_json('keys', 'list')[0]['id']}, {new['id']})" in result.stderr


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 600])
def test_what_cannot_name_a_key_is_bad_usage(name: str) -> None:
    result = runner.invoke(app, ["keys", "create", name])
    assert result.exit_code == 2
    assert result.stderr.startswith("tribunal: the name")


def test_a_key_has_scopes_an_annotator_and_an_end() -> None:
    assert run_json("keys", "create", "all")["scopes"] == ["admin"]
    reads = run_json("keys", "create", "reads", "--scope", "judge, read", "--expires", "90d")
    assert reads["scopes"] == ["read", "judge"]
    assert reads["annotator"] is None
    lasts = datetime.fromisoformat(reads["expires_at"]) - datetime.fromisoformat(
        reads["created_at"]
    )
    assert lasts == timedelta(days=90)
    twice = run_json("keys", "create", "twice", "--scope", "read", "--scope", "label")
    assert (twice["scopes"], twice["annotator"]) == (["read", "label"], "twice")
    anna = run_json("keys", "create", "k", "--scope", "label", "--annotator", "anna")
    assert (anna["annotator"], anna["last_used_at"]) == ("anna", None)
    table = run("keys", "list")
    for part in ("read,judge", "label of anna", reads["expires_at"][:16], reads["id"]):
        assert part in table


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--scope", "write"], "there is no scope 'write'; there are read, judge, label, admin"),
        (["--scope", "read,"], "there is no scope ''"),
        (["--scope", "Read"], "there is no scope 'Read'"),
        (["--scope", "read", "--annotator", "anna"], "--annotator goes with --scope label"),
        (["--scope", "label", "--annotator", " "], "the annotator must not be empty"),
        (["--expires", "soon"], "'soon' is no length of time; write 30m, 12h, 90d or 8w"),
        (["--expires", "0d"], "'0d' is no length of time"),
        (["--expires", "-1d"], "'-1d' is no length of time"),
        (["--expires", "999999999w"], "'999999999w' is too long"),
    ],
)
def test_a_key_that_cannot_be_made_is_bad_usage(options: list[str], says: str) -> None:
    result = runner.invoke(app, ["keys", "create", "x", *options])
    assert (result.exit_code, says in result.stderr) == (2, True), result.stderr
    run("db", "upgrade")
    assert run_json("keys", "list") == []


def test_a_name_is_free_once_its_key_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    from app.cli.operator import upkeep

    run("keys", "create", "ci", "--expires", "1m")
    later = datetime.now(UTC) + timedelta(minutes=2)
    monkeypatch.setattr(upkeep, "now", lambda: later)
    new = run_json("keys", "create", "ci")
    assert run_json("keys", "revoke", "ci")["id"] == new["id"], "the one in use is meant"


def test_the_database_goes_up_and_down_and_is_checked() -> None:
    head = run_json("db", "upgrade")["revision"]
    assert run_json("db", "check") == {"status": "current", "revision": head, "detail": None}
    assert head in run("db", "check")
    assert run_json("db", "downgrade", "base") == {"status": "downgraded", "revision": None}
    assert run_json("db", "check", status=1)["status"] == "differs"
    result = runner.invoke(app, ["db", "upgrade", "--revision", "nonsense"])
    assert result.exit_code == 1
    assert "nonsense" in result.stderr.splitlines()[0]


def test_doctor_says_what_is_well_and_what_is_not(folder: Path) -> None:
    assert "student" in run("doctor")
    body = run_json("doctor")
    assert body["is_well"]
    assert [judge["name"] for judge in body["judges"]] == ["student"]
    (folder / "tribunal.toml").write_text("[judges.small]\nkind = 'openai'\nmodle = 'x'\n")
    result = runner.invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["configuration"]["status"] == "wrong"
    assert "model" in result.stderr


def test_doctor_makes_no_database_and_upgrades_none(folder: Path) -> None:
    assert "there is none yet" in run("doctor")
    assert run_json("doctor")["database"]["status"] == "none"
    assert not (folder / "cli.db").exists()
    (folder / "cli.db").touch()
    assert run_json("doctor")["database"]["status"] == "empty"
    run("db", "upgrade", "--revision", "0001")
    assert run_json("doctor")["database"]["status"] == "old"
    assert "revision 0001" in run("db", "downgrade", "0001"), "it is as old as it was"
    run("db", "upgrade")
    assert run_json("doctor")["database"]["status"] == "ok"
    with sqlite3.connect(folder / "cli.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    body = run_json("doctor", status=1)
    assert (body["database"]["status"], body["is_well"]) == ("newer", False)


@pytest.mark.parametrize(
    "arguments", [["keys", "list"], ["keys", "revoke", "x"], ["db", "check"], ["db", "downgrade", "base"]],
    ids=" ".join,
)  # fmt: skip
def test_a_verb_that_looks_at_a_database_makes_none(folder: Path, arguments: list[str]) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 1
    assert f"there is no database {folder}/cli.db" in result.stderr
    assert not (folder / "cli.db").exists()


def test_doctor_asks_the_server_that_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "there").mkdir()
    (folder / "there" / "tribunal.toml").write_text(
        "[judges.here]\nkind = 'student'\n[cascades.default]\njudges = ['here']\n"
    )
    port = free_port()
    monkeypatch.setenv("TRIBUNAL_SERVER", f"http://127.0.0.1:{port}")
    assert "no server answers at" in runner.invoke(app, ["doctor"]).stderr
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{folder}/there/served.db")
    with service(folder / "there", port, workers=0):
        monkeypatch.setenv("DATABASE_URL", "mysql://a.wrong.setting/of-this-process")
        body = run_json("doctor")
        assert [one["name"] for one in body["judges"]] == ["here", "student"]
        assert body["cascades"] == {"default": ["here"]}
        assert "database" not in body
        assert f"server      ok    http://127.0.0.1:{port}" in run("doctor")


def test_doctor_finds_an_address_without_its_end(folder: Path) -> None:
    lost = Sent({"error": "Unexpected endpoint or method. (GET /models)"})
    with serving(CaseServer(lambda _: lost, models=lost)) as server:
        address = server.base_url.removesuffix("/v1")
        (folder / "tribunal.toml").write_text(
            f"[judges.local]\nkind = 'openai'\nmodel = 'm'\nbase_url = '{address}'\n"
        )
        result = runner.invoke(app, ["doctor", "--json"])
    judges = {judge["name"]: judge for judge in json.loads(result.stdout)["judges"]}
    assert (result.exit_code, judges["local"]["is_ready"]) == (1, False)
    assert "base_url" in judges["local"]["detail"]


@pytest.mark.parametrize("verb", ["doctor", "serve"])
def test_a_proxy_that_cannot_be_used_is_one_message(
    folder: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks://u:secret@127.0.0.1:1080/")
    (folder / "tribunal.toml").write_text(
        "[judges.small]\nkind = 'openai'\nmodel = 'm'\nbase_url = 'http://127.0.0.1:9/v1'\n"
    )
    result = runner.invoke(app, [verb])
    assert result.exit_code == 1
    assert "ALL_PROXY" in result.output
    assert "Traceback" not in result.output
    assert "secret" not in result.output


@pytest.mark.parametrize("arguments", ON_THE_DATABASE, ids=" ".join)
def test_a_database_that_is_away_is_one_line(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u:secret@127.0.0.1:{free_port()}/x")
    result = runner.invoke(app, arguments)
    assert result.exit_code == 1, result.output
    last = result.stderr.splitlines()[-1]
    assert last.startswith("tribunal: DATABASE_URL postgresql+asyncpg://u:***@127")
    assert "Traceback" not in result.stderr
    assert "secret" not in result.output


@pytest.mark.parametrize("arguments", ON_THE_DATABASE, ids=" ".join)
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "DATABASE_URL",
            "mysql://u:secret@x",
            "DATABASE_URL: it must start with sqlite:// or postgresql://, not mysql",
        ),
        ("DATABASE_URL", "postgresql://x:port/y", "DATABASE_URL: it is not the address"),
        ("TRIBUNAL_WORKERS", "many", "TRIBUNAL_WORKERS: Input should be a valid integer"),
        ("TRIBUNAL_LOG_LEVEL", "loud", "TRIBUNAL_LOG_LEVEL: 'loud' is none of critical"),
    ],
)
def test_a_wrong_setting_is_named(
    arguments: list[str], name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    result = runner.invoke(app, arguments)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith(f"tribunal: {said}")
    assert len(result.stderr.splitlines()) == 1
    assert "secret" not in result.stderr


@pytest.mark.parametrize("verb", [["serve", "--port", "0"], ["worker"], ["plan", "x"]])
def test_a_wrong_judge_is_named_before_anything_starts(folder: Path, verb: list[str]) -> None:
    (folder / "tribunal.toml").write_text("[judges.small]\nkind = 'openai'\nmodle = 'x'\n")
    result = runner.invoke(app, verb)
    assert result.exit_code == 1, result.output
    assert "modle" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_ctrl_c_ends_a_server_and_a_port_serves_one(folder: Path) -> None:
    port = free_port()
    with service(folder, port, workers=1) as server:
        result = runner.invoke(app, ["serve", "--port", str(port)])
        assert result.exit_code == 1, result.output
        assert result.stderr.splitlines()[-1] == f"tribunal: cannot listen on 127.0.0.1:{port}"
        assert server.interrupted() == 0
    assert "Traceback" not in server.said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_that_is_told_to_end_ends_well(folder: Path, number: signal.Signals) -> None:
    with tribunal(folder, "worker", "worker") as worker:
        worker.wait_until_said("working on the batches")
        worker.process.send_signal(number)
        assert worker.process.wait(PATIENCE_SECONDS) == 0
    assert "Traceback" not in worker.said
