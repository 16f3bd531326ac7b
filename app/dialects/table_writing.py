"""Writing canonical rows as tables: names as columns, what is no text as JSON in a cell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from app.dialects.writing import Given, Loss, Options, count_unnamed

COLUMNS: Final = (
    "id", "prompt", "messages", "response_a", "response_b", "responses_a", "responses_b",
    "model_a", "model_b", "criterion", "group", "human", "judges", "metadata",
)  # fmt: skip


def canonical_rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the canonical row."""
    count_unnamed(given, loss)
    yield dict(given.row)


def rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the cells of a pair; UTF-8 has no lone surrogates, they are replaced and counted."""
    count_unnamed(given, loss)
    row = dict(given.row)
    prompt = row.get("prompt")
    # turns as a list, and an empty prompt, could not be told from a text and from none
    if prompt == "" or isinstance(prompt, list):
        del row["prompt"]
        turns = prompt or [""]
        row["messages"] = [{"role": "user", "content": turn} for turn in turns]
    cells = {name: _written_cell(value) for name, value in row.items()}
    for name, cell in cells.items():
        clean = cell.encode("utf-8", "replace").decode()
        if clean != cell:
            loss["characters that UTF-8 does not have"] += 1
            cells[name] = clean
    yield cells


def _written_cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
