"""A database as the service leaves it when it dies at work, and what is asked of it later.

`write_database` fills it through the REST API and copies the file while a worker holds a shard.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx

from app.core.db import rfc3339
from tests.golden.served import ROOT, Json, example_rows, opened, settings_in, upload

CASCADE: Final = {"judges": ["student", "simulated-small", "simulated-large"]}
# no name of a machine is kept
_NODE: Final = "golden"
REPEATED: Final = {"idempotency-key": "golden"}
# what a new answer to an old question cannot share with the old answer
OF_ITS_OWN: Final = ("id", "created_at", "as_of")
# reports of another version of the service are other reports, with the same figures
OF_A_VERSION: Final = ("version", "inputs_hash")
# what changes with the clock
OF_THE_CLOCK: Final = ("pairs_per_second", "seconds_left")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
# fields that came later
_NEW: Final = ("notes",)
# when work ended that a test takes to its end
OF_THE_END: Final = (*OF_THE_CLOCK, *OF_A_VERSION, "finalizing_at", "completed_at")
_CERTIFY: Final = {
    "dataset": "old", "cascade": CASCADE, "target_agreement": 0.7, "failure_probability": 0.2,
    "seed": 3,
}  # fmt: skip
_RANK: Final = {"dataset": "old", "source": "human", "seed": 4}
_REPORT: Final = {"dataset": "old", "include": "judge_pairs", "seed": "5"}


async def write_database(folder: Path) -> Json:
    """Leave `golden.db` in this folder; return ids and keys that its questions need."""
    known = await _finished_work(folder)
    _copy(folder / "golden.db", folder / "before.db")
    await _half_a_batch(folder, known)
    await _unfinished_answers(folder, known)
    known["key"] = _made_key(folder)
    _tidy(folder / "golden.db")
    return known


async def _finished_work(folder: Path) -> Json:
    async with opened(settings_in(folder, workers=1, node=_NODE)) as client:
        known: Json = {"dataset": (await upload(client, "old", _old_rows())).json()["id"]}
        await upload(client, "new", example_rows(300, 360))
        await upload(client, "third", example_rows(360, 380))
        await upload(client, "later", example_rows(200, 260))
        await _relabel(client)
        made = await _post(client, "calibrations", _CERTIFY, headers=REPEATED)
        assert made["status"] == "certified", made
        known["calibration"] = made["id"]
        known["leaderboard"] = (await _post(client, "leaderboards", _RANK))["id"]
        report = await client.get("/v1/reports/agreement", params=_REPORT)
        assert report.status_code == 200, report.text
        known["report"] = report.json()["id"]
        judged = {"pairs": _posted_rows(), "calibration": made["id"]}
        await _post(client, "judgments", judged)
        finished = await _post(client, "batches", {"dataset": "third", "calibration": made["id"]})
        known["finished"] = finished["id"]
        await ended(client, f"/v1/batches/{finished['id']}")
        lines = "".join(_request_line(row) for row in _posted_rows())
        sent = await client.post(
            "/v1/files", data={"purpose": "batch"}, files={"file": ("requests.jsonl", lines)}
        )
        assert sent.status_code == 200, sent.text
        known["file"] = sent.json()["id"]
        await _judge_file(client, known)
    await _post_half(folder, known)
    return known


async def _judge_file(client: httpx.AsyncClient, known: Json) -> None:
    asked = {
        "input_file_id": known["file"], "endpoint": "/v1/judgments", "completion_window": "24h",
        "metadata": {"calibration": known["calibration"]},
    }  # fmt: skip
    known["of file"] = (await _post(client, "batches", asked))["id"]
    done = await ended(client, f"/v1/batches/{known['of file']}")
    known["output"] = done["output_file_id"]


def _old_rows() -> list[Json]:
    rows = example_rows(0, 150)
    rows[3]["judges"]["simulated-large"] = None
    rows[4]["human"] = [{"annotator": "sim-1", "label": "tie"}]
    return rows


def _posted_rows() -> list[Json]:
    names = ("id", "prompt", "response_a", "response_b", "judges")
    return [{name: row[name] for name in names} for row in example_rows(400, 404)]


def _request_line(row: Json) -> str:
    asked = {"custom_id": row["id"], "method": "POST", "url": "/v1/judgments", "body": row}
    return json.dumps(asked) + "\n"


async def _relabel(client: httpx.AsyncClient) -> None:
    """Let one person change their mind and another add a vote, so that labels have a history."""
    first, second = _old_rows()[5:7]
    person = first["human"][0]["annotator"]
    labels = [
        {"dataset": "old", "pair": first["id"], "annotator": person, "label": "tie",
         "strength": 1.0, "first_shown": "b", "comment": "on reflection"},
        {"dataset": "old", "pair": second["id"], "annotator": "late", "label": "b"},
    ]  # fmt: skip
    assert (await _post(client, "labels", {"labels": labels}))["replaced"] == 1


async def _post(client: httpx.AsyncClient, what: str, body: Json, **more: Any) -> Json:
    answer = await client.post(f"/v1/{what}", json=body, **more)
    assert answer.status_code in (200, 201, 202), answer.text
    made: Json = answer.json()
    return made


async def _post_half(folder: Path, known: Json) -> None:
    async with opened(settings_in(folder)) as client:
        asked = {"dataset": "new", "calibration": known["calibration"]}
        known["half"] = (await _post(client, "batches", asked))["id"]


async def _half_a_batch(folder: Path, known: Json) -> None:
    """Copy the file while two shards or more are done and a worker holds another."""
    for _ in range(20):
        _copy(folder / "before.db", folder / "running.db")
        url = f"sqlite+aiosqlite:///{folder}/running.db"
        settings = settings_in(folder, database_url=url, workers=1, node=_NODE)
        async with opened(settings):
            while (seen := _shards(folder / "running.db", known["half"])).count("todo"):
                if seen.count("done") >= 2 and "held" in seen:
                    _copy(folder / "running.db", folder / "golden.db")
                    return
                await asyncio.sleep(0)
    raise AssertionError("no worker was met at work")


def _shards(path: Path, batch: str) -> list[str]:
    query = (
        "SELECT CASE WHEN state = 'todo' AND worker IS NOT NULL THEN 'held' ELSE state END"
        " FROM shards JOIN batches ON batches.seq = batch_seq WHERE id = ?"
    )
    with closing(sqlite3.connect(path)) as connection:
        return [state for (state,) in connection.execute(query, [batch])]


async def _unfinished_answers(folder: Path, known: Json) -> None:
    """Ask for a certificate and a report that are answered later, and copy the file at once."""
    path = folder / "golden.db"
    _copy(path, folder / "asked.db")
    settings = settings_in(
        folder,
        database_url=f"sqlite+aiosqlite:///{folder}/asked.db",
        inline_scores=0,
        report_wait_s=0,
    )
    async with opened(settings) as client:
        asked = await client.post("/v1/calibrations", json={**_CERTIFY, "dataset": "later"})
        report = await client.get("/v1/reports/agreement", params={"dataset": "third"})
        assert (report.status_code, asked.status_code) == (202, 202), asked.text
        known["late report"], known["late calibration"] = report.json()["id"], asked.json()["id"]
        _copy(folder / "asked.db", path)
    with closing(sqlite3.connect(path)) as connection:
        for table in ("reports", "certificates"):
            states = {state for (state,) in connection.execute(f"SELECT status FROM {table}")}
            assert states & {"pending", "running"}, f"{table} are finished already: try again"


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def _made_key(folder: Path) -> str:
    environment = {**os.environ, "DATABASE_URL": f"sqlite:///{folder}/golden.db"}
    command = [sys.executable, "-m", "app", "keys", "create", "golden", "--json"]
    made = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, check=True, text=True
    )
    return str(json.loads(made.stdout)["key"])


def _tidy(path: Path) -> None:
    """Make the file small, the held shard's lease one that ended, and the batch one that waits."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("UPDATE batches SET expires_at = '2999-01-01 00:00:00.000000'")
        connection.execute(
            "UPDATE shards SET leased_until = '2020-01-01 00:00:00.000000'"
            " WHERE leased_until IS NOT NULL"
        )
        connection.execute("VACUUM")


async def ended(client: httpx.AsyncClient, path: str) -> Json:
    """Wait until what is at this address has come to an end, and return it."""
    for _ in range(2_000):
        answer = await client.get(path)
        assert answer.status_code in (200, 202), answer.text
        body: Json = answer.json()
        if body["status"] not in ("validating", "in_progress", "finalizing", "pending", "running"):
            return body
        await asyncio.sleep(0.01)
    raise AssertionError(f"{path} has not ended")


def addresses(known: Json) -> list[str]:
    """Return what can be read and does not change while nothing is at work."""
    calibration, finished = known["calibration"], known["finished"]
    return [
        "/v1/datasets",
        f"/v1/datasets/{known['dataset']}",
        "/v1/datasets/old/pairs?limit=1000",
        "/v1/datasets/old/export",
        "/v1/labels?dataset=old&history=true&limit=1000",
        f"/v1/calibrations/{calibration}",
        f"/v1/leaderboards/{known['leaderboard']}",
        "/v1/leaderboards",
        f"/v1/reports/{known['report']}",
        f"/v1/reports/{known['report']}/health?judge=simulated-small&format=json",
        "/v1/reports/history?dataset=old",
        "/v1/judgments?limit=1000&dataset=third",
        "/v1/judgments?limit=1000",
        f"/v1/batches/{finished}",
        f"/v1/batches/{finished}/results",
        f"/v1/batches/{finished}/preferences?promise=any",
        f"/v1/batches/{finished}/preferences/card?promise=any",
        f"/v1/batches/{known['half']}",
        "/v1/files",
        f"/v1/files/{known['file']}",
        f"/v1/files/{known['file']}/content",
        f"/v1/files/{known['output']}/content",
        f"/v1/batches/{known['of file']}",
        "/v1/judges",
        "/v1/cascades",
    ]


async def read_all(client: httpx.AsyncClient, known: Json) -> Json:
    """Return the answer at every address, with lists in the order of creation."""
    found = {path: _body(await client.get(_turned(path))) for path in addresses(known)}
    return dict(in_one_spelling(found))


def _turned(path: str) -> str:
    # lists were oldest first when the golden database was written
    name, _, query = path.removeprefix("/v1/").partition("?")
    is_list = name in ("datasets", "labels", "leaderboards", "judgments", "files")
    return f"/v1/{name}?{query}&order=asc" if is_list else path


def _body(answer: httpx.Response) -> Json:
    assert answer.status_code == 200, f"{answer.url}: {answer.text}"
    kind = answer.headers["content-type"]
    if kind != "application/json":
        return {"type": kind, "body": answer.text}
    return {"type": kind, "body": without(answer.json(), (*OF_THE_CLOCK, *_NEW))}


async def ask_again(client: httpx.AsyncClient, known: Json) -> Json:
    """Return the answers to the requests that the database was filled by, and to new ones."""
    report = await client.get("/v1/reports/agreement", params=_REPORT)
    repeated = await client.post("/v1/calibrations", json=_CERTIFY, headers=REPEATED)
    other = await client.post("/v1/calibrations", json={**_CERTIFY, "seed": 9}, headers=REPEATED)
    same = await upload(client, "old", _old_rows())
    stored = (await client.get(f"/v1/reports/{known['report']}")).json()
    of_batch = await client.get(f"/v1/reports/batches/{known['finished']}")
    if report.json()["rests_on"]["version"] == stored["rests_on"]["version"]:
        assert report.json()["id"] == known["report"]
    assert repeated.json()["id"] == known["calibration"]
    assert (other.status_code, same.status_code) == (409, 200), other.text
    assert same.json()["id"] == known["dataset"]
    judged = {"pairs": _posted_rows(), "calibration": known["calibration"]}
    return {
        "report": _others(report.json()),
        "report of a batch": _others(of_batch.json()),
        "calibration": repeated.json(),
        "judgments": await _post(client, "judgments", judged),
        "known prompts": await _post(
            client,
            f"calibrations/{known['calibration']}/known-prompts",
            {"prompts": [row["prompt"] for row in (*example_rows(0, 3), *example_rows(420, 423))]},
        ),
        # what "auto" was when the database was written
        "new calibration": _others(
            await _post(client, "calibrations", {**_CERTIFY, "method": "auto_raw"})
        ),
        "new leaderboard": _others(await _post(client, "leaderboards", _RANK)),
    }


def _others(made: Json) -> Json:
    own = {name: value for name, value in made.items() if name not in OF_ITS_OWN}
    return {
        name: without(value, (*OF_A_VERSION, *_NEW))
        for name, value in own.items()
        if name not in _NEW
    }


async def finish(client: httpx.AsyncClient, known: Json) -> Json:
    """Return what becomes of the work that was left, when it has come to its end."""
    paths = {
        "half": f"/v1/batches/{known['half']}",
        "late report": f"/v1/reports/{known['late report']}",
        "late calibration": f"/v1/calibrations/{known['late calibration']}",
    }
    found = {name: without(await ended(client, path), OF_THE_END) for name, path in paths.items()}
    results = await client.get(f"/v1/batches/{known['half']}/results")
    return {**found, "results": [json.loads(line) for line in results.text.splitlines()]}


def in_one_spelling(value: Any) -> Any:
    """Return an answer with every moment as all answers spell it now."""
    if isinstance(value, dict):
        return {name: in_one_spelling(one) for name, one in value.items()}
    if isinstance(value, list):
        return [in_one_spelling(one) for one in value]
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        return rfc3339(datetime.fromisoformat(value))
    return value


def without(value: Any, names: tuple[str, ...]) -> Any:
    """Return an answer without the fields of these names, wherever they are."""
    if isinstance(value, dict):
        return {name: without(one, names) for name, one in value.items() if name not in names}
    return [without(one, names) for one in value] if isinstance(value, list) else value
