"""Writes a dataset in any format."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import shutil
import tempfile
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import NotAcceptable, Unprocessable
from app.core.inert import finite
from app.core.lists import Cut, Paging
from app.core.models import Dataset
from app.core.names import shown
from app.datasets import stored_pairs
from app.datasets.records import Vote
from app.datasets.stored_pairs import StoredPair
from app.formats import argilla, label_studio
from app.formats.canonical import default_id
from app.formats.registry import WRITERS
from app.formats.tables import MARKED
from app.formats.writing import Given, Loss, Options, Writer
from app.imports.tables import PARQUET
from judges.types import Pair, Score


def canonical_row(stored: StoredPair) -> dict[str, Any]:
    """Return the canonical row of a pair; a battle's has no texts."""
    key = stored.key
    row: dict[str, Any] = {"id": key.id, **(texts_of(stored.pair) if stored.pair else {})}
    for name, value in (("model_a", key.model_a), ("model_b", key.model_b)):
        if value is not None:
            row[name] = value
    return {
        **row,
        "group": key.group,
        "human": [_vote(vote) for vote in stored.votes],
        "judges": {name: _record(score) for name, score in sorted(stored.recorded.items())},
        "metadata": key.metadata,
    }


def texts_of(pair: Pair) -> dict[str, Any]:
    """Return the fields of a canonical row that hold the texts of a pair."""
    texts: dict[str, Any] = {}
    if all(turn.role == "user" for turn in pair.conversation):
        turns = pair.user_turns
        texts["prompt"] = turns[0] if len(turns) == 1 else list(turns)
    else:
        texts["messages"] = [{"role": m.role, "content": m.content} for m in pair.conversation]
    if len(pair.responses_a) == 1:
        texts["response_a"], texts["response_b"] = pair.responses_a[0], pair.responses_b[0]
    else:
        texts["responses_a"], texts["responses_b"] = list(pair.responses_a), list(pair.responses_b)
    return texts | ({"criterion": pair.criterion} if pair.criterion is not None else {})


def _vote(vote: Vote) -> dict[str, Any]:
    return {
        **vote.details,
        "annotator": vote.annotator,
        "label": vote.label,
        "criterion": vote.criterion,
    }


def _record(score: Score) -> dict[str, Any] | None:
    """Return a record in its richest form: both orders of every annotator, else p_a."""
    record = {**_answer(score), **_amounts(score)}
    return None if record == {"p_a": None} else record


def _answer(score: Score) -> dict[str, Any]:
    if score.annotators:
        record: dict[str, Any] = {"annotators": [list(row) for row in score.annotators]}
    elif "inconsistent" in score.flags:
        return {"label": "tie", "inconsistent": True}
    else:
        record = {"p_a": score.p_a}
    has_own_ties = any(len(row) > 2 for row in score.annotators)
    if score.p_tie is not None and not has_own_ties:
        record["p_tie"] = score.p_tie
    if score.ratings is not None:
        record["p_a"], record["ratings"] = score.p_a, list(score.ratings)
    return record


def _amounts(score: Score) -> dict[str, Any]:
    tokens = {"prompt": score.usage.prompt, "completion": score.usage.completion}
    if score.usage.cached:
        tokens["cached"] = score.usage.cached
    flags = dict(flag.split(":", 1) for flag in score.flags if ":" in flag)
    found = {
        "cost": score.cost_usd,
        "seconds": score.seconds,
        "tokens": tokens if any(tokens.values()) else None,
        "criterion": flags.get("criterion"),
    }
    return {name: value for name, value in found.items() if value is not None}


MEDIA_TYPES: Final = {
    "lines": "application/x-ndjson",
    "array": "application/json",
    "csv": "text/csv; charset=utf-8",
    "parquet": PARQUET,
}
ENDINGS: Final = {"lines": "jsonl", "array": "json", "csv": "csv", "parquet": "parquet"}
SETTINGS: Final = ("label_studio_config", "argilla_settings")
_NO_NUMBERS: Final = "pairs with numbers that JSON does not have (NaN, Infinity), now null"
_CHUNK: Final = 500
_PIECE: Final = 2**20


@dataclass(slots=True)
class Written:
    """A finished file, open at its start, and what it cannot hold, counted."""

    file: BinaryIO
    loss: Loss
    size: int

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the file and close it."""
        with self.file:
            while piece := await asyncio.to_thread(self.file.read, _PIECE):
                yield piece


def settings_of(name: str) -> tuple[str, str] | None:
    """Return a labelling tool's configuration and its media type; None for other names."""
    if name == "label_studio_config":
        return label_studio.CONFIG, "application/xml"
    if name == "argilla_settings":
        return json.dumps(argilla.SETTINGS, indent=2) + "\n", "application/json"
    return None


def writer_of(name: str) -> Writer:
    """Return the format of this name.

    Raises:
        Unprocessable: the format is unknown.
        NotAcceptable: the extra that writes it is not installed.
    """
    writer = WRITERS.get(name)
    if writer is None:
        known = ", ".join((*WRITERS, *SETTINGS))
        raise Unprocessable.field(["format"], f"{shown(name)} is none of {known}", place="query")
    if writer.form == "parquet" and find_spec("pyarrow") is None:
        raise NotAcceptable("Parquet needs pyarrow: install tribunal-judge[arrow]")
    return writer


Reasons = Callable[[AsyncSession, Collection[str]], Awaitable[Mapping[str, Any]]]
REASONS: Final = "reasons"
_WITH_REASONS: Final = ("canonical", "csv", "parquet")


async def write(
    session: AsyncSession,
    dataset: Dataset,
    writer: Writer,
    options: Options,
    reasons: Reasons | None = None,
) -> Written:
    """Write a dataset to a file without a name; the caller closes it.

    Args:
        session: A transaction.
        dataset: The dataset.
        writer: The format.
        options: How it is written.
        reasons: Returns, by content hash, why judges prefer what they do, for a field of that name.

    Raises:
        Unprocessable: the format holds no reasons.
    """
    if reasons is not None and writer.name not in _WITH_REASONS:
        message = f"reasons go into {', '.join(_WITH_REASONS)}, not into {writer.name}"
        raise Unprocessable.field(["include"], message, place="query")
    if reasons is not None and writer.columns:
        writer = replace(writer, columns=(*writer.columns, REASONS))
    with ExitStack() as stack:
        file = cast(BinaryIO, tempfile.TemporaryFile(dir=options.folder))  # noqa: SIM115
        stack.enter_context(file)
        stack.callback(options.close)
        sheet = sheet_of(writer, file, stack, options.folder)
        loss: Loss = Loss()
        async for chunk in _chunks(session, dataset, reasons):
            rows = [row for given in chunk for row in writer.rows(given, options, loss)]
            loss[_NO_NUMBERS] += sum(given.has_lost_numbers for given in chunk)
            await asyncio.to_thread(sheet.write, rows)
        await asyncio.to_thread(sheet.finish)
        size = file.tell()
        file.seek(0)
        options.close()
        stack.pop_all()
        return Written(file, +loss, size)


async def _chunks(
    session: AsyncSession, dataset: Dataset, reasons: Reasons | None
) -> AsyncIterator[list[Given]]:
    after: str | None = None
    while True:
        found = await stored_pairs.stored_page(session, dataset, Paging(_CHUNK, after, "asc"))
        chunk = found[:_CHUNK]
        if chunk:
            givens = [given_of(stored) for stored in chunk]
            hashes = [stored.key.content_hash for stored in chunk]
            known = [one for one in hashes if one is not None]
            told = await reasons(session, known) if reasons is not None and known else {}
            yield [
                given
                if of is None or of not in told
                else replace(given, row={**given.row, REASONS: told[of]})
                for given, of in zip(givens, hashes, strict=True)
            ]
        if len(found) <= _CHUNK and not isinstance(found, Cut):
            return
        after = chunk[-1].key.id


def given_of(stored: StoredPair) -> Given:
    """Return a stored pair as writers take it.

    Numbers that JSON does not have, such as NaN in the metadata, are null, as in every answer.
    """
    key = stored.key
    derived = set()
    if key.content_hash and key.id == default_id(key.content_hash, key.model_a, key.model_b):
        derived.add("id")
    if key.group == (key.prompt_hash or key.id):
        derived.add("group")
    row = canonical_row(stored)
    clean = finite(row)
    return Given(clean, stored.recorded, frozenset(derived), has_lost_numbers=clean != row)


class Sheet:
    """Rows on their way into a file."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows, one JSON object a line."""
        self.file.writelines(json.dumps(row).encode("ascii") + b"\n" for row in rows)

    def finish(self) -> None:
        """Write the end of the file."""


class _Array(Sheet):
    is_first = True

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            self.file.write((b"[\n" if self.is_first else b",\n") + json.dumps(row).encode("ascii"))
            self.is_first = False

    def finish(self) -> None:
        self.file.write(b"[]\n" if self.is_first else b"\n]\n")


class _Csv(Sheet):
    """A table; the column that names marked cells is there only where a cell was marked."""

    def __init__(self, file: BinaryIO, columns: Sequence[str], folder: Path | None) -> None:
        super().__init__(file)
        self.columns = columns
        self._folder = folder
        self._has_marks = False
        self._add([columns])

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        lines = []
        for row in rows:
            marked = row.get(MARKED)
            self._has_marks = self._has_marks or marked is not None
            cells = [row.get(name, "") for name in self.columns]
            lines.append(cells if marked is None else [*cells, marked])
        self._add(lines)

    def _add(self, lines: Iterable[Sequence[str]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(lines)
        self.file.write(text.getvalue().encode("utf-8", "replace"))

    def finish(self) -> None:
        """Give every line the further cell if any line has it."""
        if not self._has_marks:
            return
        with tempfile.TemporaryFile(dir=self._folder) as copy:
            self.file.seek(0)
            shutil.copyfileobj(self.file, copy, _PIECE)
            copy.seek(0)
            self.file.seek(0)
            self.file.truncate()
            text = io.TextIOWrapper(copy, "utf-8", newline="")
            lines = csv.reader(text)
            self._add([[*next(lines), MARKED]])
            width = len(self.columns) + 1
            while some := list(islice(lines, _CHUNK)):
                self._add([line if len(line) == width else [*line, ""] for line in some])


@dataclass(slots=True)
class _Parquet(Sheet):
    file: BinaryIO
    columns: Sequence[str]
    stack: ExitStack
    _writer: Any = field(default=None)

    def __post_init__(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema([(name, pa.string()) for name in self.columns])
        self._writer = self.stack.enter_context(pq.ParquetWriter(self.file, schema))

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        import pyarrow as pa

        columns = {name: [row.get(name) for row in rows] for name in self.columns}
        self._writer.write_table(pa.table(columns, schema=self._writer.schema))

    def finish(self) -> None:
        self._writer.close()


def sheet_of(writer: Writer, file: BinaryIO, stack: ExitStack, folder: Path | None = None) -> Sheet:
    """Return what writes the rows of a format into a file; temporary ones go into the folder."""
    if writer.form == "lines":
        return Sheet(file)
    if writer.form == "array":
        return _Array(file)
    if writer.form == "csv":
        return _Csv(file, writer.columns, folder)
    return _Parquet(file, writer.columns, stack)
