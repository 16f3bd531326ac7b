"""The benchmarks of hosted judges, as far as they can be seen without an engine."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from benchmarks.hosted.cascade_table import Alone, Found, TierFigures, table
from benchmarks.hosted.cascade_throughput import main
from benchmarks.hosted.judge_workload import made_pair, made_sets
from benchmarks.hosted.made_models import SHAPES, flops, layer_weights
from benchmarks.hosted.vllm_bench import TokenCounts, arguments
from judges.types import TokenUsage


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """The sizes of a model of 8 billion weights."""
    names = (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads",
    )  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(dict(zip(names, SHAPES["8b"], strict=True))))
    return str(tmp_path)


def test_pairs_are_the_same_each_time_and_differ_from_each_other() -> None:
    assert made_pair(3, 60) == made_pair(3, 60)
    assert made_pair(3, 60).responses_a != made_pair(4, 60).responses_a
    shown = {example.pair.id for examples in made_sets(60) for example in examples}
    assert len(shown) == 15


def test_a_model_s_layers_are_counted(folder: str) -> None:
    # Llama 3.1 8B: 8.03e9 weights, of which 2 * 128256 * 4096 are embeddings
    assert layer_weights(folder) == pytest.approx(8.03e9 - 2 * 128_256 * 4096, rel=1e-3)
    assert flops(folder, 10) == 20 * layer_weights(folder)


def test_a_command_line_says_counts_and_engine_options(folder: str) -> None:
    engine = {"dtype": "float32", "enforce_eager": True, "enable_prefix_caching": False}
    words = arguments(folder, engine, TokenCounts(prompts=240, shared=1500, own=600))
    assert words[:4] == ["--model", folder, "--dataset-name", "prefix_repetition"]
    after = dict(itertools.pairwise(words))
    assert (after["--num-prompts"], after["--prefix-repetition-num-prefixes"]) == ("240", "5")
    assert after["--dtype"] == "float32"
    assert {"--no-enable-prefix-caching", "--enforce-eager"} <= set(words)


def test_a_table_has_a_column_for_each_judge_and_one_for_the_cascade(folder: str) -> None:
    small = TierFigures("small", folder, 1.0, 0.5, TokenUsage(8000, 80, cached=6000), Alone(1, 2))
    large = TierFigures("large", folder, 0.5, 0.5, TokenUsage(4000, 40, cached=3000), Alone(2, 1))
    found = Found([2.0, 3.0], 10, [small, large])
    rows = {
        cells[0]: cells[1:]
        for line in table(found, 989).splitlines()
        for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
    }
    assert rows[""] == ["small", "large", "cascade"]
    assert rows["pairs answered"] == ["50.0%", "50.0%", "100.0%"]
    assert rows["pairs/s"] == ["", "", "4.00"]
    assert rows["pairs/s, rounds from .. to"] == ["", "", "3.33 .. 5.00"]
    assert rows["from the prefix cache"] == ["75.0%", "75.0%", "75.0%"]
    assert rows["over LLM.generate"] == ["", "", "0.60"]
    assert rows["over vllm bench (wanted 0.6)"] == ["", "", "0.60"]
    used = 2 * layer_weights(folder) * 3000 / 5 / 989e12
    assert found.utilisation(989) == pytest.approx(used)


def test_one_shape_without_the_other_is_bad_usage() -> None:
    with pytest.raises(SystemExit, match="goes with --small-shape"):
        main(["--shape", "8b"])
