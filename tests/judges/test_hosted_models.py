from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.core.settings import Settings
from judges.configuration import check_memory, model_folders
from judges.errors import JudgeConfigurationInvalid
from judges.registry import Registry
from judges.vllm.settings import training_prompts_of


def hosted(share: float | None = None, devices: str | None = None, **engine: Any) -> dict[str, Any]:
    if share is not None:
        engine["gpu_memory_utilization"] = share
    table = {"kind": "vllm", "model": "org/model", "engine": engine}
    return table if devices is None else {**table, "devices": devices}


def refused(environ: dict[str, str] | None = None, **judges: dict[str, Any]) -> str:
    with pytest.raises(JudgeConfigurationInvalid) as caught:
        check_memory({"judges": judges}, environ or {})
    return str(caught.value)


@pytest.mark.parametrize(
    "judges",
    [
        {"a": hosted(0.7), "b": hosted(0.3)},
        {"a": hosted(), "b": hosted()},
        {"a": hosted(0.8, "0"), "b": hosted(0.8, "1")},
        {"a": hosted(0.8, "0,1"), "b": hosted(0.7, "1")},
        {"a": hosted(0.8, kv_cache_memory_bytes=2**30), "b": hosted(0.8)},
    ],
    ids=["fits", "one engine for both", "other GPUs", "only the first GPU is used", "in bytes"],
)
def test_engines_that_fit_are_let_through(judges: dict[str, Any]) -> None:
    check_memory({"judges": judges}, {})


def test_engines_that_want_more_than_a_gpu_has_are_named() -> None:
    said = refused(cheap=hosted(0.3), dear=hosted(0.8))
    assert said.startswith("judges.dear.engine.gpu_memory_utilization: on GPU 0 ")
    assert "cheap 0.3 + dear 0.8 want 1.1 of its memory" in said


def test_without_a_share_an_engine_takes_nearly_all() -> None:
    other = {**hosted(), "model": "org/other"}
    assert "a 0.9 + b 0.9 want 1.8" in refused(a=hosted(), b=other)


def test_engines_split_over_gpus_count_on_each() -> None:
    split = hosted(0.6, "2,3", tensor_parallel_size=2)
    assert "on GPU 3 the engines of a 0.6 + b 0.5" in refused(a=split, b=hosted(0.5, "3"))


def test_the_gpus_of_the_process_are_those_that_it_sees() -> None:
    environ = {"CUDA_VISIBLE_DEVICES": "5,6"}
    assert "on GPU 5 " in refused(environ, a=hosted(0.6), b=hosted(0.5, "5"))
    check_memory({"judges": {"a": hosted(0.6), "b": hosted(0.5, "6")}}, environ)


@pytest.mark.parametrize("share", [0, 1.1, "0.5", True])
def test_a_share_is_a_part_of_the_whole(share: Any) -> None:
    assert refused(a=hosted(share)).startswith(
        "judges.a.engine.gpu_memory_utilization: more than 0"
    )


def test_sleep_mode_is_refused_as_nothing_here_uses_it() -> None:
    assert refused(a=hosted(enable_sleep_mode=True)).startswith(
        "judges.a.engine.enable_sleep_mode:"
    )


def test_a_registry_is_not_made_of_engines_that_do_not_fit() -> None:
    with pytest.raises(JudgeConfigurationInvalid, match=r"want 1\.1 of its memory"):
        Registry.from_config({"judges": {"a": hosted(0.6), "b": hosted(0.5)}}, environ={})


def test_only_hosted_judges_have_folders(tmp_path: Path) -> None:
    config = {
        "judges": {
            "a": {"kind": "vllm", "model": str(tmp_path)},
            "b": {"kind": "vllm", "model": str(tmp_path / "none")},
            "c": {"kind": "openai", "model": str(tmp_path), "base_url": "http://127.0.0.1:9/v1"},
        }
    }
    assert model_folders(config) == {str(tmp_path)}


def test_prompts_that_an_adapter_was_trained_on_are_read_or_refused(tmp_path: Path) -> None:
    assert training_prompts_of(None) == training_prompts_of("some/name") == frozenset()
    assert training_prompts_of(str(tmp_path)) == frozenset()
    file = tmp_path / "training_prompts.txt"
    file.write_text(f"{'ab' * 32}\n{'cd' * 32}\n")
    assert training_prompts_of(str(tmp_path)) == {"ab" * 32, "cd" * 32}
    file.write_text("what is it?\n")
    with pytest.raises(JudgeConfigurationInvalid, match="no sha256"):
        training_prompts_of(str(tmp_path))


def test_an_adapter_beside_the_configuration_is_found_and_another_is_a_hub_name(
    tmp_path: Path,
) -> None:
    (tmp_path / "own").mkdir()
    config = tmp_path / "tribunal.toml"
    config.write_text('[judges.a]\nadapter = "own"\n[judges.b]\nadapter = "org/legal"\n')
    judges = Settings(config=config).load_config()["judges"]
    assert judges["a"]["adapter"] == str(tmp_path / "own")
    assert judges["b"]["adapter"] == "org/legal"
