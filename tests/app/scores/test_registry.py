from __future__ import annotations

import logging
from pathlib import Path

import pytest

from app.core.errors import ConfigurationInvalid
from app.core.settings import Settings
from app.main import create_app
from tests.conftest import client_of

DEAR = '[judges.dear]\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "judge"\n'
PAIR = {"prompt": "Why?", "response_a": "Because it is so.", "response_b": ""}


@pytest.mark.parametrize(
    ("text", "default", "unasked"),
    [
        ("", ["student"], None),
        (DEAR, ["student"], "dear"),
        (f'{DEAR}[judges.own]\nkind = "recorded"\n', ["student"], "dear, own"),
        (f'{DEAR}[cascades.both]\njudges = ["student", "dear"]\n', ["student"], None),
        (f'{DEAR}[cascades.default]\njudges = ["dear"]\n', ["dear"], None),
    ],
)
async def test_a_further_judge_is_asked_only_where_it_is_named(
    settings: Settings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    text: str,
    default: list[str],
    unasked: str | None,
) -> None:
    config = tmp_path / "tribunal.toml"
    config.write_text(text)
    app = create_app(settings.model_copy(update={"config": config}))
    with caplog.at_level(logging.INFO, "app.main"):
        async with app.router.lifespan_context(app), client_of(app) as client:
            cascades = (await client.get("/v1/cascades")).json()["data"]
            answer = (await client.post("/v1/judgments", json={"pairs": [PAIR]})).json()
    assert [row["judges"] for row in cascades if row["name"] == "default"] == [default]
    assert [tier["judge"] for tier in answer["verdicts"][0]["tiers"]] == default
    said = [r.getMessage() for r in caplog.records if "in no cascade" in r.getMessage()]
    assert [line.rpartition(": ")[2] for line in said] == ([unasked] if unasked else [])


async def test_cascades_that_are_no_table_are_still_named(
    settings: Settings, tmp_path: Path
) -> None:
    config = tmp_path / "tribunal.toml"
    config.write_text("cascades = 5\n")
    app = create_app(settings.model_copy(update={"config": config}))
    with pytest.raises(ConfigurationInvalid, match="cascades"):
        async with app.router.lifespan_context(app):
            pass
