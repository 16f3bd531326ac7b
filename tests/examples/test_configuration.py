"""The example's configuration is accepted, and so is every block that is commented out."""

from __future__ import annotations

import tomllib
from typing import Any

from examples.make_pairs import PAIRS_FILE
from examples.simulated import LARGE, SMALL
from judges.configuration import read_cascade, read_judge

TEXT = (PAIRS_FILE.parent / "tribunal.toml").read_text(encoding="utf-8")


def with_blocks_uncommented() -> dict[str, Any]:
    lines = TEXT.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("# ----"))
    blocks = [
        line.removeprefix("# ") for line in lines[start:] if line.startswith("# [") or " = " in line
    ]
    return tomllib.loads("\n".join([*lines[:start], *blocks]))


def test_demo_cascade_ends_with_the_recorded_judges() -> None:
    configuration = tomllib.loads(TEXT)
    assert configuration["cascades"]["demo"]["judges"] == ["student", SMALL, LARGE]
    assert configuration["judges"] == {"student": {"kind": "student"}}


def test_blocks_to_uncomment_are_accepted() -> None:
    configuration = with_blocks_uncommented()
    kinds = {name: read_judge(name, table).kind for name, table in configuration["judges"].items()}
    assert kinds == {
        "student": "student",
        "hosted": "openai",
        "small": "openai",
        "jury": "recorded",
    }


def test_cascades_name_judges_that_exist() -> None:
    configuration = with_blocks_uncommented()
    known = {*configuration["judges"], SMALL, LARGE}
    assert set(configuration["cascades"]) == {"default", "demo", "live"}
    for name, table in configuration["cascades"].items():
        assert set(read_cascade(name, table).judges) <= known
