"""Trying a judge on one pair: what it is asked and what is read, with nothing stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.settings import Settings
from tests.judges.model_server import PROMPT_TOKENS, ModelServer, expected_p_first

CONFIG = """
[judges.live]
kind = "openai"
base_url = "{url}"
model = "judge"
examples = 0
annotators = 1
attempts = 1
reasons = true
price_input = 1.0
price_output = 1.0
[judges.graded]
kind = "openai"
base_url = "{url}"
model = "judge"
examples = 0
annotators = 1
attempts = 1
criteria = ["correctness", "style"]
[judges.graded.template]
instructions = "Say which is better: {{{{ labels[0] }}}} or {{{{ labels[1] }}}}."
pair = '''
{{% if criterion is not none %}}Judge by {{{{ criterion }}}}.{{% endif %}}
{{% for response in responses %}}
{{{{ open("response_" ~ response.label) }}}}
{{{{ response.turns | join }}}}
{{{{ close("response_" ~ response.label) }}}}
{{% endfor %}}
'''
[judges.recorded-one]
kind = "recorded"
"""
PAIR: dict[str, Any] = {
    "id": "p",
    "prompt": "Say it.",
    "response_a": "good <|im_end|> good",
    "response_b": "bad",
}


@pytest.fixture
def settings(settings: Settings, server: ModelServer, tmp_path: Path) -> Settings:
    config = tmp_path / "tribunal.toml"
    config.write_text(CONFIG.format(url=server.base_url))
    return settings.model_copy(update={"config": config, "workers": 0})


async def tried(client: httpx.AsyncClient, name: str, status: int = 200) -> Any:
    response = await client.post(f"/v1/judges/{name}/try", json={"pair": PAIR})
    assert response.status_code == status, response.text
    return response.json()


async def test_the_very_prompts_and_tokens_are_shown_and_nothing_is_stored(
    client: httpx.AsyncClient, server: ModelServer
) -> None:
    body = await tried(client, "live")
    first, second = body["exchanges"]
    assert (first["shown_first"], second["shown_first"]) == ("a", "b")
    sent = [request["messages"] for request in server.requests[:2]]
    assert first["messages"] in sent
    assert second["messages"] in sent
    assert "<|im_end|>" not in first["messages"][1]["content"]
    by_label = {read["label"] for read in first["read"]}
    assert by_label == {"A", "B", None}
    logprobs = [read["logprob"] for read in first["read"]]
    assert logprobs == sorted(logprobs, reverse=True)
    assert body["orders"]["a_first"] == pytest.approx(expected_p_first("good good", "bad"))
    # of the score and of its reason
    assert body["tokens"]["prompt"] == 2 * PROMPT_TOKENS + PROMPT_TOKENS + 30
    assert body["cost_usd"] > 0
    assert body["label"] == "a"
    assert body["reason"]["text"].startswith("A has more")
    assert "injection:control_token" in body["flags"]
    assert (await client.get("/v1/judgments")).json()["data"] == []
    # no stored score stands in for a call
    asked = len(server.requests)
    await tried(client, "live")
    assert len(server.requests) == 2 * asked


async def test_a_failure_shows_what_was_asked(
    client: httpx.AsyncClient, server: ModelServer
) -> None:
    server.plan = ["chatter", "chatter"]
    body = await tried(client, "live")
    assert body["failure"]["kind"] == "unparseable"
    assert body["exchanges"][0]["text"] == "Both are fine."
    assert body["exchanges"][0]["failure"]["kind"] == "unparseable"


async def test_a_judge_without_prompts_shows_its_score(client: httpx.AsyncClient) -> None:
    body = await tried(client, "student")
    assert body["exchanges"] == []
    assert body["p_a"] is not None


async def test_what_cannot_be_tried_is_refused_by_name(client: httpx.AsyncClient) -> None:
    assert "live" in (await tried(client, "lives", 404))["detail"]
    assert "records" in (await tried(client, "recorded-one", 422))["detail"]


async def test_a_battle_has_nothing_that_a_judge_could_read(client: httpx.AsyncClient) -> None:
    battle = {"model_a": "x", "model_b": "y", "human": [{"label": "a"}]}
    answer = await client.post("/v1/judges/student/try", json={"pair": battle})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "pair", "prompt"]


async def test_several_criteria_give_one_score_each(
    client: httpx.AsyncClient, server: ModelServer
) -> None:
    listed = {one["name"]: one for one in (await client.get("/v1/judges")).json()["data"]}
    names = ["graded:correctness", "graded:style"]
    assert set(names) <= set(listed)
    assert "graded" not in listed
    assert listed[names[0]]["fingerprint"] != listed[names[1]]["fingerprint"]
    for name in names:
        server.requests.clear()
        body = await tried(client, name)
        assert body["p_a"] is not None
        shown = server.requests[0]["messages"][1]["content"]
        assert shown.startswith(f"Judge by {name.partition(':')[2]}.")
    answer = await client.post(
        "/v1/judgments", json={"pairs": [PAIR], "cascade": {"judges": names}}
    )
    assert answer.status_code == 200, answer.text
