from __future__ import annotations

import json
from typing import Any

import pytest

from examples.make_pairs import PAIRS_FILE
from examples.sources import Prompt, load_prompts

Row = dict[str, Any]


@pytest.fixture(scope="session")
def example_rows() -> list[Row]:
    return [json.loads(line) for line in PAIRS_FILE.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def prompts() -> list[Prompt]:
    return load_prompts()
