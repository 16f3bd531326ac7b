"""What `judge` shows of both orders, and what the exit statuses of the judging verbs say."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from tests.app.processes import free_port
from tests.app.rows import labelled_rows, ndjson

PAIR = {"id": "q1", "prompt": "Why?", "response_a": "the first river", "response_b": "another"}
CONFIG = """
[judges.far]
kind = "openai"
base_url = "http://127.0.0.1:{port}/v1"
model = "m"
{more}
[cascades.default]
judges = ["far"]
"""


class Model(BaseHTTPRequestHandler):
    """Prefers what is shown first: .81 if that is response a of the pair, .77 otherwise."""

    has_logprobs = True

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        asked = request["messages"][-1]["content"]
        shown_first = asked[asked.rindex("<response_A") : asked.rindex("</response_A")]
        p = 0.81 if "the first river" in shown_first else 0.77
        tops = [{"token": "A", "logprob": math.log(p)}, {"token": "B", "logprob": math.log(1 - p)}]
        position = {**tops[0], "top_logprobs": tops}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        choice["message"] = {"role": "assistant", "content": "A"}
        choice["logprobs"] = {"content": [position]} if self.has_logprobs else None
        body = json.dumps({"id": "x", "model": "m", "choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Speechless(Model):
    has_logprobs = False


@pytest.fixture
def model(request: pytest.FixtureRequest, folder: Path) -> Iterator[None]:
    """A judge behind HTTP that is configured in the folder."""
    kind: type[Model] = getattr(request, "param", Model)
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    more = "" if kind.has_logprobs else "top_logprobs = 0"
    (folder / "tribunal.toml").write_text(CONFIG.format(port=server.server_port, more=more))
    yield
    server.shutdown()
    server.server_close()


def run(*arguments: str, typed: str | None = None, status: int = 0, shows: str = "table") -> Result:
    runner = CliRunner(env={"TRIBUNAL_OUTPUT": shows})
    result = runner.invoke(app, list(arguments), input=typed)
    assert result.exit_code == status, f"{result.output}\n{result.exception!r}"
    return result


def test_judge_shows_both_orders_and_names_a_flip(model: None) -> None:
    said = run("judge", "-", typed=json.dumps(PAIR)).stdout
    heading, row, *_ = said.splitlines()
    assert heading.split()[-1] == "promise"
    assert "a first" in heading
    assert "a second" in heading
    assert [cell for cell in row.split() if cell in (".81", ".23")] == [".81", ".23"]
    assert "q1: far flipped: a first .81, second .23" in said
    (verdict,) = json.loads(run("judge", "-", typed=json.dumps(PAIR), shows="json").stdout)[
        "verdicts"
    ]
    assert verdict["tiers"][0]["orders"] == {"a_first": 0.81, "a_second": 0.23}


def test_an_agreement_of_both_orders_is_no_flip(folder: Path) -> None:
    said = run("judge", "-", typed=json.dumps(PAIR)).stdout
    assert "a second" in said
    assert "flipped" not in said


@pytest.mark.parametrize("model", [Speechless], indirect=True)
def test_judge_shows_the_flag_of_a_server_without_log_probabilities(model: None) -> None:
    said = run("judge", "-", typed=json.dumps(PAIR)).stdout
    heading, row, *_ = said.splitlines()
    assert "flags" in heading
    assert "no_logprobs" in row
    assert "no_logprobs: the judge's server gave no log-probabilities" in said
    assert "q1: far flipped: a first 1.00, second .00" in said


@pytest.fixture
def uncertified(folder: Path) -> str:
    """A certificate that certifies nothing."""
    (folder / "rows.jsonl").write_bytes(ndjson(labelled_rows(30, cheap=0.5, dear=0.52)))
    run("import", "rows.jsonl")
    made = run("certify", "rows", "--judges", "cheap,dear", shows="json", status=3)
    return str(json.loads(made.stdout)["id"])


def test_a_certificate_that_certifies_nothing_is_status_3(folder: Path, uncertified: str) -> None:
    said = run("batch", "rows", "--calibration", uncertified, status=3).stdout
    assert f"no judge was asked: {uncertified} certifies nothing" in said
    (folder / "few.jsonl").write_bytes(ndjson(labelled_rows(2)))
    said = run("judge", "few.jsonl", "--calibration", uncertified, status=3).stdout
    assert f"no judge was asked: {uncertified} certifies nothing" in said
    run("batch", "rows", "--judges", "cheap,dear")


def test_a_health_card_with_a_failed_line_is_status_1(folder: Path) -> None:
    (folder / "rows.jsonl").write_bytes(ndjson(labelled_rows(120)))
    run("import", "rows.jsonl")
    said = run("report", "rows", "--health", "dear", "--line", "agreement=0.99", status=1).stdout
    assert "1 failed" in said
    said = run("report", "rows", "--health", "dear").stdout
    assert " 0 failed" in said


def outputs(generator: str) -> str:
    rows = [
        {"instruction": f"question {n}", "output": f"{generator} says {n}", "generator": generator}
        for n in range(3)
    ]
    return json.dumps(rows)


def test_a_gate_without_an_answer_is_status_5(folder: Path) -> None:
    (folder / "new.json").write_text(outputs("new"))
    (folder / "old.json").write_text(outputs("old"))
    gate = ("gate", "new.json", "old.json", "--cascade", "default")
    away = f"http://127.0.0.1:{free_port()}"
    run(*gate, "--server", away, status=5)
    run("gate", "new.json", "old.json", "--cascade", "nowhere", status=5)
    run("gate", "new.json", "missing.json", "--cascade", "default", status=2)
    (folder / "tribunal.toml").write_text(CONFIG.format(port=free_port(), more="attempts = 1"))
    ended = run(*gate, status=5)
    said = ended.stdout
    assert "no judge could be asked on 3" in said, ended.output
