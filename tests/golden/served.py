"""What the service answers: judges and cascades, exported files, the description of endpoints."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from app.core.settings import Settings
from app.main import create_app
from tests.conftest import client_of

Json = dict[str, Any]
ROOT: Final = Path(__file__).parents[2]
NDJSON: Final = {"content-type": "application/x-ndjson"}
FORMATS: Final = (
    "canonical", "csv", "parquet", "alpaca_eval", "mt_bench", "arena_hard", "reward_bench",
    "evalica", "arena_rank", "cje", "label_studio", "argilla", "openai_batch",
    "label_studio_config", "argilla_settings",
)  # fmt: skip
_WITH_LABELS: Final = ("label_studio", "argilla")
# nothing is listening on this port: judges are described, not asked
_NOBODY: Final = "http://127.0.0.1:9/v1"
_CONFIG: Final = """
[judges.student]
kind = "student"
[judges.chat]
kind = "openai"
base_url = "{nobody}"
model = "acme/judge"
annotators = 3
examples = 2
examples_from = "examples"
[judges.completions]
kind = "openai"
base_url = "{nobody}"
model = "acme/judge"
revision = "r1"
endpoint = "completions"
labels = ["A", "B", "C"]
orders = "as_posted"
price_input = 1.0
price_output = 2.0
[judges.verbalized]
kind = "openai"
base_url = "{nobody}"
model = "acme/judge"
confidence = "verbalized"
extra_body = {{ seed = 1 }}
[judges.stopping]
kind = "openai"
base_url = "{nobody}"
model = "acme/judge"
annotators = 5
early_annotators = 2
early_confidence = 0.9
examples = 1
examples_from = "examples"
example_labels = "majority"
[judges.hub]
kind = "vllm"
model = "acme/hosted"
revision = "r1"
overflow = "truncate"
engine = {{ max_model_len = 1024, gpu_memory_utilization = 0.4 }}
[judges.folder]
kind = "vllm"
model = "{folder}"
endpoint = "completions"
thinking_tokens = 8
engine = {{ gpu_memory_utilization = 0.4 }}
[judges.gpt-4]
kind = "recorded"
model = "gpt-4-0613"
prompt_hash = "abc"
[judges.jury]
kind = "recorded"
members = ["simulated-*"]
[cascades.declared]
judges = ["student", "jury", "chat"]
thresholds = [0.9, 0.8, 0.0]
[cascades.default]
judges = ["student"]
"""


@asynccontextmanager
async def opened(settings: Settings, key: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a service that hosts no models."""
    app = create_app(settings, loads_models=False)
    async with app.router.lifespan_context(app), client_of(app) as client:
        if key is not None:
            client.headers["authorization"] = f"Bearer {key}"
        yield client


def settings_in(folder: Path, **changes: Any) -> Settings:
    """Return settings of a service whose files are all in this folder."""
    url = f"sqlite+aiosqlite:///{folder}/golden.db"
    defaults = {"database_url": url, "spool_dir": folder, "shard_size": 10, "workers": 0}
    return Settings(**{**defaults, **changes})


def example_rows(first: int, last: int) -> list[Json]:
    """Return some of the bundled pairs."""
    lines = (ROOT / "examples" / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[first:last]]


async def upload(client: httpx.AsyncClient, name: str, rows: list[Json]) -> httpx.Response:
    """Import rows as a dataset."""
    body = "".join(json.dumps(row) + "\n" for row in rows)
    answer = await client.post("/v1/datasets", params={"name": name}, content=body, headers=NDJSON)
    assert answer.status_code in (200, 201), answer.text
    return answer


async def catalogue(folder: Path) -> Json:
    """Return judges and cascades as the service lists them, and what the student says."""
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "none"}', encoding="utf-8")
    (model / "model.safetensors").write_bytes(bytes(range(256)) * 4)
    config = folder / "tribunal.toml"
    config.write_text(_CONFIG.format(nobody=_NOBODY, folder=model), encoding="utf-8")
    async with opened(settings_in(folder, config=config)) as client:
        await upload(client, "examples", example_rows(0, 60))
        judges = (await client.get("/v1/judges")).json()["data"]
        cascades = (await client.get("/v1/cascades")).json()["data"]
        rows = [_posted(row) for row in example_rows(60, 72)]
        judged = await client.post("/v1/judgments", json={"pairs": rows})
        assert judged.status_code == 200, judged.text
    # a folder lies elsewhere each time, and health is of the moment
    shown = [{**one, "model": str(one["model"]).replace(str(model), "FOLDER")} for one in judges]
    return {
        "judges": [{k: v for k, v in one.items() if k != "health"} for one in shown],
        "cascades": cascades,
        "student": judged.json(),
    }


def _posted(row: Json) -> Json:
    return {name: row[name] for name in ("id", "prompt", "response_a", "response_b")}


def rich_rows() -> list[Json]:
    """Return pairs of every kind that a dataset holds."""
    votes: list[Json] = [
        {"annotator": "ann1", "label": "a"},
        {"annotator": "ann2", "label": "b", "strength": 2, "comment": "closer"},
        {"annotator": None, "label": "tie"},
    ]
    orders = {"label_original": "a", "label_swapped": "b", "cost": 0.5}
    several = {"annotators": [[0.7, 0.6], [0.8, None]], "tokens": {"prompt": 9, "completion": 2}}
    plain = {"response_a": "First.", "response_b": "Second.", "model_a": "m1", "model_b": "m2"}
    scored = {"judge_score_a": 0.25, "judge_score_b": 0.75}
    return [
        {"id": "p1", "prompt": "One?", **plain, "group": "g1", "human": votes,
         "judges": {"orders": orders, "several": several, "failing": None},
         "metadata": {"task": "t1", "question_id": "q1", "nested": {"x": [1, None]}}},
        {"id": "p2", "prompt": "Two, \"quoted\"\nand broken?", **plain, "group": "g1",
         "human": [votes[0], {**votes[0], "annotator": "ann2"},
                   {"annotator": "ann1", "label": "b", "criterion": "style"}],
         "judges": {"orders": {"label_original": "a", "label_swapped": "a"}, "several": None,
                    "bare": {"p_a": 0.3, "cost": 0.1, "seconds": 1.5}},
         "metadata": {"task": "t2", "uid": "u2", **scored}},
        {"prompt": "Ids from content?", **plain, "human": [{"annotator": "gold", "label": "b"}],
         "judges": {"flags": {"label": "tie", "inconsistent": True}}},
        {"prompt": "Ids from content?", **plain, "model_b": "m3", "human": [votes[2]],
         "judges": {"bare": {"p_a": 0.2, "p_tie": 0.5}}},
        {"id": "turns", "prompt": ["Hello", "And now?"], "responses_a": ["x", "y"],
         "responses_b": ["v", "w"], "model_a": "m1", "model_b": "m3", "human": votes[:1]},
        {"id": "talk", "messages": [{"role": "system", "content": "Be brief."},
                                    {"role": "user", "content": "\u00c4nderung \U0001f642?"}],
         "response_a": "", "response_b": "Ja", "criterion": "tone", "human": votes[1:],
         "metadata": {"prompt_id": "pp"}},
        {"id": "battle", "model_a": "m1", "model_b": "m2", "human": [votes[2], votes[0]]},
        {"id": "bare", "prompt": "No votes?", "response_a": "yes", "response_b": "no"},
    ]  # fmt: skip


def battle_rows() -> list[Json]:
    """Return comparisons without texts."""
    labels = ("a", "b", "tie")
    return [
        {"model_a": f"m{number % 3}", "model_b": f"m{(number + 1) % 3}", "group": f"g{number // 2}",
         "human": [{"annotator": f"ann{number % 2}", "label": labels[number % 3]}]}
        for number in range(9)
    ]  # fmt: skip


async def exports(folder: Path) -> Json:
    """Return two datasets in every format; Parquet as its schema and rows, which versions share."""
    found: Json = {}
    async with opened(settings_in(folder)) as client:
        for name, rows in (("rich", rich_rows()), ("battles", battle_rows())):
            await upload(client, name, rows)
            pairs = (await client.get(f"/v1/datasets/{name}/pairs")).json()["data"]
            found[f"{name}: ids"] = [[pair["id"], pair["group"]] for pair in pairs]
            for form in FORMATS:
                for labels in (False, True) if form in _WITH_LABELS else (False,):
                    asked = {"format": form, "labels": labels, "seed": 3}
                    answer = await client.get(f"/v1/datasets/{name}/export", params=asked)
                    found[f"{name}: {form}, {labels}"] = _written(form, answer)
    return found


def _written(form: str, answer: httpx.Response) -> Json:
    content = answer.content
    if form == "parquet":
        import pyarrow.parquet as parquet

        table = parquet.read_table(io.BytesIO(content))
        content = json.dumps([str(table.schema.remove_metadata()), table.to_pylist()]).encode()
    return {
        "status": answer.status_code,
        "type": answer.headers["content-type"],
        "loss": json.loads(answer.headers.get("x-tribunal-loss", "null")),
        "content": content.decode(),
    }


def interface(description: Json) -> Json:
    """Return the part of /openapi.json that callers rely on: addresses, parameters, bodies."""
    paths = {
        f"{method.upper()} {path}": {
            "operation": said["operationId"],
            "parameters": {
                f"{one['in']} {one['name']}": one["schema"] for one in said.get("parameters", [])
            },
            "required": [one["name"] for one in said.get("parameters", []) if one.get("required")],
            "body": {
                kind: content.get("schema", {})
                for kind, content in said.get("requestBody", {}).get("content", {}).items()
            },
        }
        for path, methods in description["paths"].items()
        for method, said in methods.items()
    }
    return {"paths": paths, "schemas": _asked(description, paths)}


def _asked(description: Json, paths: Json) -> Json:
    """Return the schemas that requests refer to, by name."""
    schemas, found = description["components"]["schemas"], dict[str, Any]()
    waiting = _references(paths)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = schemas[name]
            waiting |= _references(schemas[name])
    return found


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {str(value["$ref"]).rpartition("/")[2]} if "$ref" in value else set()
        return own.union(*(_references(one) for one in value.values()))
    if isinstance(value, list):
        return set().union(*(_references(one) for one in value))
    return set()
