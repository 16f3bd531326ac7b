"""The bundled file: what is in it, and that its sources give it byte for byte."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from examples.flaws import SEVERITY
from examples.make_pairs import FLAW_RATE, PAIRS_FILE, as_bytes, main, make_rows
from examples.simulated import FLIP_RATE

Row = dict[str, Any]

README = (PAIRS_FILE.parent / "README.md").read_text(encoding="utf-8")
REAL_NAMES = re.compile(
    r"\b(gpt|chatgpt|openai|claude|anthropic|llama|alpaca|vicuna|mistral|mixtral|gemini|gemma|palm"
    r"|bard|qwen|deepseek|falcon|phi-?\d|command-r|grok|bloom|opt-\d|dolly|koala|tulu|yi-\d)\b",
    re.IGNORECASE,
)


def responses(rows: list[Row]) -> list[tuple[Row, str, str | None]]:
    return [(r, r[f"response_{s}"], r["metadata"][f"flaw_{s}"]) for r in rows for s in "ab"]


def test_file_is_what_its_sources_give_byte_for_byte() -> None:
    assert PAIRS_FILE.read_bytes() == as_bytes(make_rows())


def test_check_passes_on_the_file_and_fails_on_another(tmp_path: Path) -> None:
    other = tmp_path / "pairs.jsonl"
    other.write_bytes(PAIRS_FILE.read_bytes().replace(b"alder", b"elder", 1))
    assert main(["--check"]) == 0
    assert main(["--check", "--output", str(other)]) == 1
    assert main(["--output", str(other)]) == 0
    assert other.read_bytes() == PAIRS_FILE.read_bytes()


def test_file_is_small_and_large_enough(example_rows: list[Row]) -> None:
    assert PAIRS_FILE.stat().st_size < 600_000
    assert len(example_rows) >= 300
    assert len({row["group"] for row in example_rows}) >= 220
    assert min(Counter(row["metadata"]["task"] for row in example_rows).values()) >= 20
    assert len({row["metadata"]["task"] for row in example_rows}) == 9


def test_ids_are_unique_and_every_row_says_it_is_synthetic(example_rows: list[Row]) -> None:
    assert len({row["id"] for row in example_rows}) == len(example_rows)
    assert all(row["metadata"]["synthetic"] is True for row in example_rows)


def test_each_group_is_one_prompt_and_each_prompt_one_group(example_rows: list[Row]) -> None:
    prompts: dict[str, set[str]] = {}
    for row in example_rows:
        text = unicodedata.normalize("NFKC", f"{row['prompt']}\n\n{row.get('input', '')}").lower()
        prompts.setdefault(row["group"], set()).add(re.sub(r"\W+", " ", text).strip())
    assert all(len(texts) == 1 for texts in prompts.values())
    assert len(set.union(*prompts.values())) == len(prompts)


def test_no_pair_compares_a_text_or_a_model_with_itself(example_rows: list[Row]) -> None:
    assert all(row["response_a"] != row["response_b"] for row in example_rows)
    assert all(row["model_a"] != row["model_b"] for row in example_rows)
    assert all({row["model_a"], row["model_b"]} <= set(FLAW_RATE) for row in example_rows)


def test_pairs_of_one_prompt_show_different_responses(example_rows: list[Row]) -> None:
    shown = [(r["group"], frozenset({r["response_a"], r["response_b"]})) for r in example_rows]
    assert len(set(shown)) == len(shown)


def test_no_real_model_is_named() -> None:
    assert REAL_NAMES.findall(PAIRS_FILE.read_text(encoding="utf-8")) == []


def test_severities_are_those_of_the_flaws(example_rows: list[Row]) -> None:
    for row in example_rows:
        metadata = row["metadata"]
        for side in "ab":
            flaw = metadata[f"flaw_{side}"]
            assert metadata["severity"][side] == (SEVERITY[flaw] if flaw else 0)


def test_every_flaw_occurs_and_the_mechanical_ones_are_as_described(
    example_rows: list[Row],
) -> None:
    by_flaw: dict[str | None, list[tuple[Row, str]]] = {}
    for row, text, flaw in responses(example_rows):
        by_flaw.setdefault(flaw, []).append((row, text))
    assert set(by_flaw) == {*SEVERITY, None}
    assert min(len(texts) for texts in by_flaw.values()) >= 5
    assert {text for _, text in by_flaw["empty"]} == {""}
    assert all(len(text) > 400 for _, text in by_flaw["padding"])
    assert all(text.strip() for flaw in SEVERITY if flaw != "empty" for _, text in by_flaw[flaw])


def test_models_differ_in_how_often_they_are_flawed(example_rows: list[Row]) -> None:
    flawed = dict.fromkeys(FLAW_RATE, 0.0)
    shown = Counter(row[f"model_{s}"] for row in example_rows for s in "ab")
    for row in example_rows:
        for side in "ab":
            model = row[f"model_{side}"]
            flawed[model] += (row["metadata"][f"flaw_{side}"] is not None) / shown[model]
    rates = list(flawed.values())
    assert rates == sorted(rates)
    assert all(high - low > 0.05 for low, high in pairwise(rates))


@pytest.mark.parametrize(("flaw", "severity"), SEVERITY.items())
def test_readme_states_the_severity_of_each_flaw(flaw: str, severity: int) -> None:
    assert f"| `{flaw}` | {severity} |" in README


def test_readme_states_the_counts_rates_and_seed(example_rows: list[Row]) -> None:
    groups = len({row["group"] for row in example_rows})
    labels = sum(len(row["human"]) for row in example_rows)
    assert f"| pairs | {len(example_rows)} |" in README
    assert f"| prompts (`group`) | {groups}:" in README
    assert f"| labels | {labels:,}:" in README
    assert "synthetic" in README
    assert "| seed | 20260 |" in README
    flat = " ".join(README.split())
    assert all(f"`{who}` {rate:.2f}".replace(" 0", " ") in flat for who, rate in FLIP_RATE.items())
    assert ", ".join(f"{rate:.2f}"[1:] for rate in FLAW_RATE.values()) in README


def test_rows_are_plain_json_that_reads_back(example_rows: list[Row]) -> None:
    lines = PAIRS_FILE.read_text(encoding="utf-8").splitlines()
    assert [json.dumps(row, ensure_ascii=False) for row in example_rows] == lines
