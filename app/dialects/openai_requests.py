"""Writing the lines of an OpenAI Batch input file: one request to judge each pair."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.dialects.writing import Given, Loss, Options, count_lost

_URL = "/v1/judgments"


def rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the request for a pair; what people said of it is not sent to be judged."""
    if given.is_battle:
        loss["pairs without texts"] += 1
        return
    row = given.row
    kept = {"ids", "groups", "texts", "models", "criteria of pairs", "recorded scores"}
    count_lost(given, {*kept, "metadata of pairs"}, loss)
    body = {name: value for name, value in row.items() if name != "human"}
    yield {"custom_id": row["id"], "method": "POST", "url": _URL, "body": body}
