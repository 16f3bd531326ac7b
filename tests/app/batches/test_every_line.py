"""Every line of an uploaded file ends in exactly one of a batch's two files."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.batches.worker.loop import Worker
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.main import create_app
from tests.app.batches.files.lines import envelopes_of, line, send, start
from tests.app.rows import labelled_rows, upload
from tests.conftest import client_of

_KINDS: Final = (
    "whole", "whole", "without a score", "repeated", "broken", "blank", "battle", "bare", "nameless"
)  # fmt: skip
_ROWS: Final = labelled_rows(12)
_JUDGES: Final = {"judges": ["cheap", "dear"]}


def _line(kind: str, number: int) -> bytes:
    row = _ROWS[number]
    match kind:
        case "whole":
            return line(row)
        case "without a score":
            return line({**row, "judges": {"cheap": None, "dear": None}})
        case "repeated":
            return line(_ROWS[0])
        case "broken":
            return line(row)[:-9] + b"\n"
        case "blank":
            return b" \n"
        case "battle":
            return line(row, body={"model_a": "x", "model_b": "y", "human": [{"label": "a"}]})
        case "bare":
            return json.dumps(row).encode("ascii") + b"\n"
        case _:
            return line(row, custom_id="\x00")


def _expected(kinds: list[str]) -> tuple[set[str], set[int]]:
    """Return the ids of the requests and the numbers of the other lines, by the rules alone."""
    ids: set[str] = set()
    others: set[int] = set()
    for number, kind in enumerate(kinds):
        name = "p0" if kind == "repeated" else f"p{number}"
        if kind in ("whole", "without a score", "repeated") and name not in ids:
            ids.add(name)
        elif kind != "blank":
            others.add(number + 1)
    return ids, others


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[asyncio.Runner, httpx.AsyncClient, Runtime]]:
    folder: Path = tmp_path_factory.mktemp("lines")
    app = create_app(
        Settings(
            database_url=f"sqlite+aiosqlite:///{folder}/lines.db",
            spool_dir=folder, workers=0, shard_size=2,
        )
    )  # fmt: skip
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        client = client_of(app)
        runner.run(upload(client, "rivers", labelled_rows(150, seed=4)))
        yield runner, client, app.state.runtime
        runner.run(client.aclose())
        runner.run(lifespan.__aexit__(None, None, None))


async def _run(
    client: httpx.AsyncClient, running: Runtime, content: bytes, certificate: str, shards: int
) -> tuple[dict[str, Any], list[Any], list[Any]]:
    file = (await send(client, content)).json()
    metadata = {"calibration": certificate}
    batch = (await start(client, file["id"], metadata=metadata)).json()
    while shards and await Worker(running, "by hand").work():
        shards -= 1
    address = f"/v1/batches/{batch['id']}"
    await client.post(f"{address}/cancel")
    batch = (await client.get(address)).json()
    output = await envelopes_of(client, batch["output_file_id"])
    return batch, output, await envelopes_of(client, batch["error_file_id"])


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kinds=st.lists(st.sampled_from(_KINDS), min_size=1, max_size=len(_ROWS)),
    shards=st.integers(0, 7),
)
def test_every_line_is_in_one_file_and_in_no_other(
    served: tuple[asyncio.Runner, httpx.AsyncClient, Runtime],
    certificate: str,
    kinds: list[str],
    shards: int,
) -> None:
    runner, client, running = served
    ids, others = _expected(kinds)
    content = b"".join(_line(kind, number) for number, kind in enumerate(kinds))
    if not ids:
        assert runner.run(send(client, content)).status_code == 422
        return
    batch, output, errors = runner.run(_run(client, running, content, certificate, shards))
    numbered = [each for each in errors if each["error"] and "line" in each["error"]]
    assert Counter(each["error"]["line"] for each in numbered) == Counter(others)
    answered = [*output, *(each for each in errors if each not in numbered)]
    assert Counter(each["custom_id"] for each in answered) == Counter(ids)
    assert len({each["id"] for each in (*output, *errors)}) == len(output) + len(errors)
    counts = batch["request_counts"]
    assert counts["total"] == len(output) + len(errors)
    assert counts["completed"] == len(output)
    assert all(each["response"]["status_code"] == 200 for each in output)


@pytest.fixture(scope="module")
def certificate(served: tuple[asyncio.Runner, httpx.AsyncClient, Runtime]) -> str:
    runner, client, _ = served
    body = {"dataset": "rivers", "cascade": _JUDGES, "target_agreement": 0.75}
    made: str = runner.run(client.post("/v1/calibrations", json=body)).json()["id"]
    return made
