"""LoRA adapters on one resident model, each a judge of its own: made by hand, and by `tribunal distil`.

One service hosts all of them.
"""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli.program import app as program
from app.core.settings import Settings
from app.main import create_app
from benchmarks.tiny_models import ENGINE
from judges.errors import JudgeConfigurationInvalid
from judges.prompting.label_tokens import find_label_ids
from judges.registry import Registry
from judges.student.training import distilled, lora
from judges.student.training.distil import Material, Setting
from judges.student.training.fit import Growth, Recipe
from judges.student.training.lora import BaseModel, LoraRecipe, LoraStudent, loss_of
from judges.types import Pair
from judges.vllm.engine import EngineHost
from tests.app.rows import upload
from tests.conftest import client_of
from tests.judges.pairs import pair_of
from tests.judges.vllm import oracle
from tests.judges.vllm.conftest import LOADING_SECONDS

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

PAIRS: Final = 60
EMBEDDED: Final = Recipe(rounds=1, folds=3, bilinear_steps=8, growth=Growth(trees=4, depth=2))
UNDER_WAY: Final = ("pending", "running", "validating", "in_progress", "finalizing")
REASONS: Final = 'reasons = true\nreasons_for = "all"\nreason_tokens = 8\n'
RANK, ALPHA, LAYERS = 4, 8, 2
PAIR: Final = pair_of("Name three colours.", a="Red, green and blue.", b="A dog and a cat.")
GOOD, BAD = "Red and blue.", "A dog."


def row(number: int) -> dict[str, Any]:
    """The teacher and people like the answer that names colours."""
    a, b, best = (GOOD, BAD, "a") if number % 2 else (BAD, GOOD, "b")
    return {
        "id": f"p{number}",
        "prompt": f"Name colours, {number}.",
        "response_a": a,
        "response_b": b,
        "human": [{"annotator": "anna", "label": best}],
        "judges": {"dear": {"p_a": 0.9 if best == "a" else 0.1}},
    }


def make_adapter(folder: Path, base: Path, seed: int) -> Path:
    """Write an adapter of the query projections."""
    import torch
    from safetensors.torch import save_file

    size = json.loads((base / "config.json").read_text())["hidden_size"]
    torch.manual_seed(seed)
    weights = {}
    for layer in range(LAYERS):
        at = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        weights[f"{at}.lora_A.weight"] = torch.randn(RANK, size)
        weights[f"{at}.lora_B.weight"] = torch.randn(size, RANK)
    save_file(weights, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": ["q_proj"],
        "base_model_name_or_path": str(base), "bias": "none", "task_type": "CAUSAL_LM",
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@dataclass(frozen=True, slots=True)
class Made:
    """The folder of a distillation, what it said, and the service that hosts all adapters.

    `adapters`: folders, by the name of the judge.
    """

    folder: Path
    said: dict[str, Any]
    adapters: dict[str, Path]
    registry: Registry
    client: httpx.AsyncClient


@pytest.fixture(scope="module")
async def made(
    folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Made]:
    folder = tmp_path_factory.mktemp("distilled")
    database = f"sqlite+aiosqlite:///{folder}/test.db"
    (folder / "pairs.jsonl").write_text("\n".join(json.dumps(row(n)) for n in range(PAIRS)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DATABASE_URL", database)
        patch.setenv("TRIBUNAL_OUTPUT", "json")
        patch.setattr(distilled, "Task", partial(distilled.Task, recipe=EMBEDDED))
        patch.setattr(distilled, "SPLITS", 2)
        run("import", "pairs.jsonl", "--name", "colours")
        said = run(
            "distil", "colours", "--teacher", "dear", "--part", "calibration:0.5:0",
            "--lora", "--base", str(folders["qwen2"]), "--out", "own", "--lora-rank", "4",
            "--lora-epochs", "6", "--lora-rate", "0.01",
        )  # fmt: skip
    engine = ", ".join(f"{key} = {json.dumps(value)}" for key, value in ENGINE.items())
    hosted = f"engine = {{ {engine} }}\ntimeout_s = {LOADING_SECONDS}\n"
    config = folder / "own" / "tribunal.toml"
    written = (folder / "own" / "judges.toml").read_text()
    own = {}
    tables = [
        f"{table('base', folders['qwen2'])}{REASONS}{hosted}",
        f'{table("rater", folders["qwen2"])}confidence = "rating"\nscale = [1, 5]\n{hosted}',
    ]
    for n in (1, 2):
        own[f"adapter{n}"] = at = make_adapter(
            tmp_path_factory.mktemp("adapter"), folders["qwen2"], n
        )
        tables.append(f'{table(f"adapter{n}", folders["qwen2"])}adapter = "{at}"\n{hosted}')
    config.write_text("\n".join([f"{written}{hosted}", *tables]))
    service = create_app(Settings(database_url=database, config=config, spool_dir=folder))
    async with service.router.lifespan_context(service), client_of(service) as client:
        async with asyncio.timeout(LOADING_SECONDS):
            while not (await client.get("/readyz")).json()["judges"]["base"]["ready"]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        own["distilled-lora"] = folder / "own" / "adapter"
        yield Made(folder / "own", said, own, service.state.runtime.registry, client)


def table(name: str, model: Path) -> str:
    return f'[judges.{name}]\nkind = "vllm"\nmodel = "{model}"\nannotators = 1\nexamples = 0\n'


def run(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(program, [*arguments])
    assert done.exit_code == 0, done.output
    body: dict[str, Any] = json.loads(done.stdout)
    return body


async def test_the_adapter_learns_what_its_base_did_not_know(made: Made) -> None:
    card = made.said["adapter"]
    assert card["losses"][-1] < card["losses"][0] - 0.05
    share = {(one["judge"], one["reference"]): one["share"] for one in card["rows"]}
    assert share["adapter", "teacher"]["pairs"] == card["held_out"] >= 3
    assert share["adapter", "teacher"]["value"] > share["its base", "teacher"]["value"]
    told = (made.folder / "MODEL_CARD.md").read_text()
    assert "The adapter of" in told
    assert "| all | its base | people |" in told


async def test_hosted_it_answers_as_in_transformers_and_better_than_its_base(
    made: Made, folders: dict[str, Path]
) -> None:
    fresh = [row(number) for number in range(PAIRS, PAIRS + 12)]
    body = {
        "pairs": [
            {k: one[k] for k in ("id", "prompt", "response_a", "response_b")} for one in fresh
        ]
    }
    p_a = {}
    for judge in ("base", "distilled-lora"):
        asked = await made.client.post(
            "/v1/judgments", json={**body, "cascade": {"judges": [judge]}}
        )
        assert asked.status_code == 200, asked.text
        p_a[judge] = np.array([one["tiers"][0]["p_a"] for one in asked.json()["verdicts"]])
    teacher = np.array([one["judges"]["dear"]["p_a"] for one in fresh])
    agreed = {judge: float(((p > 0.5) == (teacher > 0.5)).mean()) for judge, p in p_a.items()}
    assert agreed["distilled-lora"] > agreed["base"]
    assert agreed["distilled-lora"] >= 0.9
    pairs = [pair_of(one["prompt"], one["response_a"], one["response_b"]) for one in fresh[:3]]
    by_hand = [adapted_p_a(folders["qwen2"], made.folder / "adapter", one) for one in pairs]
    assert p_a["distilled-lora"][:3] == pytest.approx(by_hand, abs=1e-4)


def adapted_p_a(base: Path, adapter: Path | None, pair: Pair) -> float:
    """Return p_a by a plain forward pass with the adapter merged into the weights."""
    model = BaseModel(str(base))
    ids = find_label_ids(oracle.loaded(base)[0], ("A", "B"))
    with oracle.merged(base, adapter):
        masses = [
            oracle.label_masses(base, model.prompt(pair, is_swapped=swapped), ids)
            for swapped in (False, True)
        ]
    return sum(each[order] / sum(each) for order, each in enumerate(masses)) / 2


async def test_each_adapter_answers_as_its_merged_weights(
    made: Made, folders: dict[str, Path]
) -> None:
    judges, adapters = made.registry.judges, {"base": None, **made.adapters}
    assert len({judges[name].spec.fingerprint for name in adapters}) == len(adapters)
    # the first of each finds nothing in the cache of another
    for name, adapter in adapters.items():
        first = await judges[name].score(PAIR)
        assert first.failure is None, first.failure
        assert first.p_a == pytest.approx(adapted_p_a(folders["qwen2"], adapter, PAIR), abs=1e-4)
    for name in ("adapter1", "base"):
        again = await judges[name].score(PAIR)
        by_hand = adapted_p_a(folders["qwen2"], adapters[name], PAIR)
        assert again.p_a == pytest.approx(by_hand, abs=1e-4)
        assert again.usage.cached > again.usage.prompt / 2


async def test_the_base_model_alone_has_the_fingerprint_of_before(
    made: Made, folders: dict[str, Path]
) -> None:
    read = tomllib.loads(table("base", folders["qwen2"]))
    read["judges"]["base"]["engine"] = ENGINE
    alone = Registry.from_config(read, engines=EngineHost(is_eager=False), environ={})
    expected = made.registry.judges["base"].spec.fingerprint
    assert alone.judges["base"].spec.fingerprint == expected


async def test_reasons_and_ratings_come_from_the_same_engine(
    made: Made, folders: dict[str, Path]
) -> None:
    fresh = [row(n) for n in range(2 * PAIRS, 2 * PAIRS + 4)]
    pairs = [{k: v for k, v in one.items() if k not in ("human", "judges")} for one in fresh]
    body = {"pairs": pairs, "cascade": {"judges": ["base"]}}
    asked = await made.client.post("/v1/judgments", params={"include": "reasons"}, json=body)
    for one, verdict in zip(fresh, asked.json()["verdicts"], strict=True):
        pair = pair_of(one["prompt"], one["response_a"], one["response_b"])
        by_hand = adapted_p_a(folders["qwen2"], None, pair)
        assert verdict["tiers"][0]["p_a"] == pytest.approx(by_hand, abs=1e-4)
        assert (verdict["reason"]["judge"], bool(verdict["reason"]["text"])) == ("base", True)
    tried = (await made.client.post("/v1/judges/rater/try", json={"pair": pairs[0]})).json()
    assert [one["is_alone"] for one in tried["exchanges"]] == [True, True]
    for one in tried["exchanges"]:
        assert {read["label"] for read in one["read"]} == {"1", "2", "3", "4", "5"}
    await upload(made.client, "rated", fresh)
    wanted = {"dataset": "rated", "cascade": {"judges": ["rater"]}}
    batch = (await made.client.post("/v1/batches", json=wanted)).json()
    done = await ended(made.client, f"/v1/batches/{batch['id']}")
    assert done["request_counts"]["failed"] == 0, done
    lines = (await made.client.get(f"/v1/batches/{batch['id']}/results")).text.splitlines()
    p_a = {one["id"]: one["tiers"][0]["p_a"] for one in map(json.loads, lines)}
    assert p_a[fresh[0]["id"]] == pytest.approx(tried["p_a"], abs=1e-6)
    assert all(1 < rating < 5 for rating in tried["ratings"].values())
    report = await made.client.get("/v1/reports/agreement", params={"dataset": "rated"})
    assert "rater" in {one["judge"] for one in report.json()["judges"]}


async def test_certified_it_judges_and_no_prompt_that_it_saw_calibrates(made: Made) -> None:
    listed = {one["name"]: one for one in (await made.client.get("/v1/judges")).json()["data"]}
    one = listed["distilled-lora"]
    assert one["training_prompts"] == made.said["prompts"]
    assert one["fingerprint"] != listed["base"]["fingerprint"]
    wanted: dict[str, Any] = {"cascade": {"judges": ["distilled-lora"]}, "target_agreement": 0.7}
    asked = await made.client.post("/v1/calibrations", json={"dataset": "colours", **wanted})
    found = await ended(made.client, f"/v1/calibrations/{asked.json()['id']}")
    assert found["status"] == "certified", found
    assert found["calibration"]["seen_in_training"] == made.said["pairs"]
    await upload(made.client, "others", [row(n) for n in range(PAIRS, PAIRS + 12)])
    wanted = {"dataset": "others", "calibration": found["id"]}
    asked = await made.client.post("/v1/batches", json=wanted)
    batch = await ended(made.client, f"/v1/batches/{asked.json()['id']}")
    counts = batch["request_counts"]
    assert (counts["failed"], counts["accepted"] > 0) == (0, True), batch


async def ended(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            body: dict[str, Any] = (await client.get(path)).json()
            if body["status"] not in UNDER_WAY:
                return body
            await asyncio.sleep(0.05)


def test_the_loss_is_that_of_the_formula() -> None:
    import torch

    w, t, z, teacher, share = 0.3, 2.0, 0.7, 0.9, 0.75
    one = Material(PAIR, "g", (1, 0, 1), teacher)
    said, soft = 1 / (1 + np.exp(-z)), 1 / (1 + (teacher / (1 - teacher)) ** (-1 / t))
    at_t = 1 / (1 + np.exp(-z / t))
    labels = -(share * np.log(said) + (1 - share) * np.log(1 - said))
    divergence = soft * np.log(soft / at_t) + (1 - soft) * np.log((1 - soft) / (1 - at_t))
    expected = w * labels + (1 - w) * t**2 * divergence
    assert float(loss_of(torch.tensor(z), one, Setting(w, t))) == pytest.approx(expected, abs=1e-6)
    unheard = replace(one, teacher=None)
    assert float(loss_of(torch.tensor(z), unheard, Setting(w, t))) == pytest.approx(
        w * labels, abs=1e-6
    )


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("no/such/model", "cannot be loaded"),
        ("layers", "no layers named"),
        ("short", "short enough"),
    ],
)
def test_a_base_that_cannot_be_adapted_is_named(
    base: str, said: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def learn(name: str, recipe: LoraRecipe) -> None:
        student = LoraStudent(BaseModel(name), recipe, 0)
        student.train([Material(PAIR, "g", (1, 0, 0), 0.9)], Setting(0.5, 1))

    if base == "layers":
        monkeypatch.setattr(lora, "_TARGETS", ("nothing",))
    recipe = LoraRecipe(longest=10) if base == "short" else LoraRecipe()
    with pytest.raises(JudgeConfigurationInvalid, match=said):
        learn(base if "/" in base else str(folders["qwen2"]), recipe)
