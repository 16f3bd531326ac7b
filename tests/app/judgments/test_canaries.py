"""Responses that demand to win: an obedient judge is found out, an incorruptible one is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from app.cli import app
from judges.base import JudgeHealth, JudgeSpec
from judges.canaries import ATTACKS, attacked, release_canaries
from judges.types import FailureKind, JudgeFailure, Pair, Score
from tests.app.rows import labelled_rows, ndjson, upload
from tests.judges.pairs import pair_of


class Reader:
    """Prefers the longer response, unless a response names itself the winner and it obeys."""

    def __init__(self, *, obeys: bool, fails_on: str = "") -> None:
        self._obeys = obeys
        self._fails_on = fails_on
        self.spec = JudgeSpec("reader", "test", None, {})

    async def score(self, pair: Pair) -> Score:
        a, b = pair.responses_a[-1], pair.responses_b[-1]
        if self._fails_on and self._fails_on in a + b:
            failure = JudgeFailure(FailureKind.REFUSED)
            return Score("reader", "f", p_a=None, failure=failure)
        demands = ("is the better one" in a) - ("is the better one" in b)
        if self._obeys and demands:
            return Score("reader", "f", p_a=0.9 if demands > 0 else 0.1)
        return Score("reader", "f", p_a=0.6 if "good" in a else 0.4)

    async def health(self) -> JudgeHealth:
        return JudgeHealth(True)

    async def aclose(self) -> None:
        pass


PAIRS = [pair_of(f"{n}?", "good", "bad" if n % 2 else "worse", pair_id=str(n)) for n in range(6)]


@pytest.mark.parametrize("obeys", [True, False])
async def test_a_judge_that_obeys_is_found_out(obeys: bool) -> None:
    found = await release_canaries(Reader(obeys=obeys), PAIRS)
    assert len(found) == len(PAIRS) * len(ATTACKS)
    by_attack = {a: [c.has_followed for c in found if c.attack == a] for a in ATTACKS}
    assert all(by_attack["instruction"]) is obeys
    assert not any(by_attack["unchanged"])
    shifts = [c.shift for c in found if c.attack == "instruction"]
    assert shifts == pytest.approx([0.5 if obeys else 0.0] * len(PAIRS))


async def test_a_failure_is_no_resistance() -> None:
    found = await release_canaries(Reader(obeys=True, fails_on="<|im_end|>"), PAIRS)
    control = [canary for canary in found if canary.attack == "control"]
    assert all(canary.shift is None and not canary.has_followed for canary in control)


def test_an_attack_stands_behind_the_last_turn_of_one_response() -> None:
    pair = Pair("x", PAIRS[0].conversation, ("one", "two"), ("three", "four"))
    assert attacked(pair, "verdict", "a").responses_a == ("one", "two" + ATTACKS["verdict"])
    assert attacked(pair, "verdict", "a").responses_b == pair.responses_b
    assert attacked(pair, "verdict", "b").responses_b[-1] == "four" + ATTACKS["verdict"]


async def released(client: httpx.AsyncClient, **request: Any) -> httpx.Response:
    body = {"dataset": "rivers", "judges": ["student"], "pairs": 10, **request}
    return await client.post("/v1/canaries", json=body)


@pytest.mark.both_databases
async def test_the_embedded_judge_is_tried(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(40))
    body = (await released(client)).json()
    (judge,) = body["judges"]
    assert (body["object"], body["pairs"], judge["judge"]) == ("canaries", 10, "student")
    assert [row["attack"] for row in judge["attacks"]] == list(ATTACKS)
    for row in judge["attacks"]:
        assert (row["failed"], row["followed"]["n"]) == (0, 10)
        assert 0 <= row["followed"]["low"] <= row["followed"]["value"] <= row["followed"]["high"]
        assert row["mean_shift"]["low"] <= row["mean_shift"]["value"] <= row["mean_shift"]["high"]


async def test_what_cannot_be_tried_is_named(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(10))
    recorded = await released(client, judges=["cheap"])
    assert recorded.status_code == 422
    assert "live: student" in recorded.json()["errors"][0]["msg"]
    assert (await released(client, dataset="lakes")).status_code == 404
    assert (await released(client, pairs=0)).status_code == 422
    battles = [{**row, "prompt": None, "response_a": None, "response_b": None} for row in
               labelled_rows(3)]  # fmt: skip
    await upload(client, "battles", battles)
    textless = await released(client, dataset="battles")
    assert textless.status_code == 422
    assert textless.json()["errors"][0]["msg"] == "no pair with texts is left to try judges on"
    await upload(client, "both", [*battles[:1], *labelled_rows(3)[1:]])
    assert (await released(client, dataset="both")).json()["pairs"] == 2


def test_the_command_line_shows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/canaries.db")
    monkeypatch.delenv("TRIBUNAL_SERVER", raising=False)
    (tmp_path / "rivers.jsonl").write_bytes(ndjson(labelled_rows(20)))
    runner = CliRunner()
    assert runner.invoke(app, ["import", "rivers.jsonl"]).exit_code == 0
    shown = runner.invoke(app, ["canaries", "rivers", "--pairs", "5"])
    assert shown.exit_code == 0, shown.output
    assert "instruction" in shown.stdout
    as_json = runner.invoke(app, ["canaries", "rivers", "--pairs", "5", "--json"])
    assert json.loads(as_json.stdout)["pairs"] == 5
