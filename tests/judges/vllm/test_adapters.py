"""LoRA adapters on one resident model: each a judge of its own, as merged weights would answer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal

from benchmarks.hosted.tiny_models import ENGINE
from judges.prompting.label_tokens import find_label_ids
from judges.prompting.templates import load_template
from judges.prompting.tokens import PromptTokens
from judges.registry import Registry
from judges.vllm.engine import EngineHost
from tests.judges.pairs import pair_of
from tests.judges.vllm import oracle
from tests.judges.vllm.conftest import LOADING_SECONDS

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

PAIR = pair_of("Name three colours.", a="Red, green and blue.", b="A dog and a cat.")
RANK, ALPHA, LAYERS = 4, 8, 2


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


@pytest.fixture(scope="module")
def adapters(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    make = tmp_path_factory.mktemp
    return [make_adapter(make("adapter"), folders["qwen2"], seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def judges(
    portal: BlockingPortal, folders: dict[str, Path], adapters: list[Path]
) -> Iterator[dict[str, Any]]:
    host = EngineHost()
    table: dict[str, Any] = {
        "kind": "vllm", "model": str(folders["qwen2"]), "engine": ENGINE, "examples": 0,
        "annotators": 1, "timeout_s": LOADING_SECONDS,
    }  # fmt: skip

    async def make() -> Any:
        config = {
            "base": table,
            **{f"adapter{n}": {**table, "adapter": str(one)} for n, one in enumerate(adapters)},
        }
        registry = Registry.from_config({"judges": config}, engines=host, environ={})
        assert len(host._engines) == 1
        return dict(registry.judges)

    yield portal.call(make)
    portal.call(host.aclose)


def by_hand(folder: Path, adapter: Path | None) -> float:
    """Return p_a by transformers with the adapter merged into the weights."""
    import torch
    from safetensors.torch import load_file

    tokenizer, model = oracle.loaded(folder)
    kept = {name: p.detach().clone() for name, p in model.named_parameters() if "q_proj" in name}
    try:
        with torch.no_grad():
            weights = load_file(adapter / "adapter_model.safetensors") if adapter else {}
            for layer in range(LAYERS) if adapter else ():
                at = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
                change = weights[f"{at}.lora_B.weight"] @ weights[f"{at}.lora_A.weight"]
                model.model.layers[layer].self_attn.q_proj.weight += ALPHA / RANK * change
        template, tokens = (
            load_template("pairwise"),
            PromptTokens(tokenizer, options={"enable_thinking": False}),
        )
        ids = find_label_ids(tokenizer, ("A", "B"))
        found = []
        for is_swapped in (False, True):
            query = tokens.query(template.query(PAIR, swapped=is_swapped).text)
            masses = oracle.label_masses(folder, (*tokens.shared(template.shared()), *query), ids)
            found.append(masses[is_swapped] / math.fsum(masses))
        return sum(found) / 2
    finally:
        with torch.no_grad():
            for name, p in model.named_parameters():
                if name in kept:
                    p.copy_(kept[name])


def test_each_adapter_answers_as_its_merged_weights(
    judges: dict[str, Any], adapters: list[Path], folders: dict[str, Path], portal: BlockingPortal
) -> None:
    prints = {judge.spec.fingerprint for judge in judges.values()}
    assert len(prints) == len(judges)
    # the first of each finds nothing in the cache of another
    for name, adapter in (("base", None), ("adapter0", adapters[0]), ("adapter1", adapters[1])):
        first = portal.call(judges[name].score, PAIR)
        assert first.failure is None, first.failure
        assert first.p_a == pytest.approx(by_hand(folders["qwen2"], adapter), abs=1e-4)
        # the second order may find the beginning of the first
        assert first.usage.cached < first.usage.prompt / 2
    for name, adapter in (("adapter0", adapters[0]), ("base", None)):
        again = portal.call(judges[name].score, PAIR)
        assert again.p_a == pytest.approx(by_hand(folders["qwen2"], adapter), abs=1e-4)
        assert again.usage.cached > again.usage.prompt / 2


def test_the_base_model_alone_has_the_fingerprint_of_before(
    judges: dict[str, Any], folders: dict[str, Path]
) -> None:
    table = {
        "kind": "vllm", "model": str(folders["qwen2"]), "engine": ENGINE, "examples": 0,
        "annotators": 1,
    }  # fmt: skip
    host = EngineHost(is_eager=False)
    alone = Registry.from_config({"judges": {"base": table}}, engines=host, environ={})
    assert alone.judges["base"].spec.fingerprint == judges["base"].spec.fingerprint
