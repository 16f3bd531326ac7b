"""How an upload differs from what is stored under its name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import Database
from app.core.errors import Conflict
from app.core.names import shown
from app.datasets import service as datasets
from app.datasets.records import PairKey, pair_content
from app.imports.columns import StagedRow
from app.imports.staging import Staging

# the columns of a staged pair, and what users call them
_FIELDS: Final = {
    "id": "id",
    "model_a": "model_a",
    "model_b": "model_b",
    "group_key": "group",
    "metadata": "metadata",
}


class Difference(NamedTuple):
    """The first thing in which an upload and a dataset differ: the old value and the new one."""

    where: str
    old: object
    new: object

    @property
    def text(self) -> str:
        """The difference in words."""
        return f"{self.where} was {shown(self.old)} and is {shown(self.new)}"


async def name_taken(db: Database, staging: Staging, name: str, dataset_ref: str) -> Conflict:
    """Return the refusal of an upload whose name is that of other content."""
    async with db.read() as session:
        found = await _first_difference(session, staging, dataset_ref)
    return Conflict(
        f"name: {shown(name)} is taken by other content ({dataset_ref}): {found.text}. What was "
        "stored stays as it is: for other pairs, or scores of a further judge, give another name "
        "(an export has the labels that people gave since)",
        errors=[{"loc": ["query", "name"], "msg": "is taken by other content"}],
        extra={
            "dataset": dataset_ref,
            "difference": {
                "where": found.where, "old": shown(found.old), "new": shown(found.new),
            },
        },
    )  # fmt: skip


async def _first_difference(
    session: AsyncSession, staging: Staging, dataset_ref: str
) -> Difference:
    dataset = await datasets.find_dataset(session, dataset_ref)
    stored = datasets.keys_in_order(session, dataset)
    async for row in _rows(staging):
        key = await anext(stored, None)
        if key is None:
            break
        where = f"pair {row.position + 1} ({shown(row.pair['id'])})"
        # ids may be made of the texts, so these say more
        if key.content_hash != row.pair["content_hash"]:
            found = await datasets.read_pairs(session, dataset, seqs=[key.seq])
            before = pair_content(found[0][1]) if found else None
            return _of_texts(where, before, row.pair["content"])
        for column, field in _FIELDS.items():
            old, new = _values(column, key, row)
            if old != new:
                return Difference(f"{where}: {field}", old, new)
    if dataset.pairs != staging.rows:
        return Difference("the number of pairs", dataset.pairs, staging.rows)
    judges = sorted(staging.judges)
    if dataset.recorded_judges != judges:
        return Difference("the list of recorded judges", dataset.recorded_judges, judges)
    return Difference("the recorded scores", "as stored", "others")


async def _rows(staging: Staging) -> AsyncIterator[StagedRow]:
    chunks = staging.chunks()
    while chunk := await asyncio.to_thread(next, chunks, None):
        for row in chunk:
            yield row


def _values(column: str, key: PairKey, row: StagedRow) -> tuple[Any, Any]:
    if column == "metadata":
        return key.metadata, json.loads(row.pair["metadata"])
    return getattr(key, _FIELDS[column]), row.pair[column]


def _of_texts(where: str, before: dict[str, Any] | None, content: str | None) -> Difference:
    if before is None or content is None:
        kinds = ("a battle without texts", "a pair with texts")
        return Difference(where, kinds[before is not None], kinds[content is not None])
    old, new = json.loads(json.dumps(before)), json.loads(content)
    for name in ("conversation", "responses_a", "responses_b", "criterion"):
        if old[name] != new[name]:
            word = "prompt" if name == "conversation" else name.replace("responses", "response")
            return Difference(f"{where}: {word}", *_unlike(old[name], new[name]))
    return Difference(where, "the pair as stored", "another one")


def _unlike(old: Any, new: Any) -> tuple[Any, Any]:
    """Return the first entries of two lists that differ."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return next(_unlike(a, b) for a, b in zip(old, new, strict=True) if a != b)
    return old, new
