"""A batch's results in the form that a request accepts: NDJSON, CSV or Parquet."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from app.errors import NotAcceptable
from app.identifiers import shown

Verdicts = AsyncIterator[dict[str, Any]]
COLUMNS: Final = (
    "id", "status", "label", "confidence", "judge", "tiers", "calibration", "promise",
    "calibration_pair", "cost_usd", "cached",
)  # fmt: skip
_PIECE: Final = 2**20
_ROW_GROUP: Final = 5_000


@dataclass(frozen=True, slots=True)
class Form:
    """One form of the results; `aliases` are other names of its media type."""

    media_type: str
    write: Callable[[Verdicts, Path | None], AsyncIterator[str | bytes]]
    aliases: tuple[str, ...] = ()
    needs: tuple[str, str] | None = None

    @property
    def is_at_hand(self) -> bool:
        """Whether the package that writes it is installed."""
        return self.needs is None or find_spec(self.needs[0]) is not None

    def quality(self, ranges: Sequence[tuple[str, float]]) -> float:
        """Return how welcome the form is, 0 to 1: the most specific range that covers it counts."""
        names = (self.media_type, *self.aliases)
        kinds = {f"{name.partition('/')[0]}/*" for name in names}
        for covered in (set(names), kinds, {"*/*"}):
            found = [quality for name, quality in ranges if name in covered]
            if found:
                return max(found)
        return 0.0


async def _ndjson(verdicts: Verdicts, folder: Path | None) -> AsyncIterator[str]:
    async for verdict in verdicts:
        yield json.dumps(verdict) + "\n"


async def _csv(verdicts: Verdicts, folder: Path | None) -> AsyncIterator[str]:
    yield _line(COLUMNS)
    async for verdict in verdicts:
        yield _line([_cell(verdict.get(name)) for name in COLUMNS])


def _line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


async def _parquet(verdicts: Verdicts, folder: Path | None) -> AsyncIterator[bytes]:
    """The end of a Parquet file says where everything is: it is written to disk first."""
    with tempfile.TemporaryFile(dir=folder) as file:
        await _write_parquet(verdicts, cast(BinaryIO, file))
        file.seek(0)
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece


async def _write_parquet(verdicts: Verdicts, file: BinaryIO) -> None:
    # an extra: whoever asks for no Parquet needs none of it
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(pa)
    with pq.ParquetWriter(file, schema) as writer:

        def write(rows: list[dict[str, Any]]) -> None:
            writer.write_table(pa.Table.from_pylist(rows, schema))

        rows: list[dict[str, Any]] = []
        async for verdict in verdicts:
            rows.append(verdict)
            if len(rows) == _ROW_GROUP:
                await asyncio.to_thread(write, rows)
                rows = []
        await asyncio.to_thread(write, rows)


def _schema(pa: Any) -> Any:
    text, number, flag = pa.string(), pa.float64(), pa.bool_()
    failure = pa.struct({"kind": text, "detail": text})
    tier = pa.struct(
        {
            "judge": text, "p_a": number, "p_tie": number, "confidence": number, "accepted": flag,
            "failure": failure, "flags": pa.list_(text),
        }
    )  # fmt: skip
    kinds = {"confidence": number, "cost_usd": number, "tiers": pa.list_(tier)}
    kinds |= dict.fromkeys(("calibration_pair", "cached"), flag)
    return pa.schema([(name, kinds.get(name, text)) for name in COLUMNS])


NDJSON: Final = Form(
    "application/x-ndjson",
    _ndjson,
    ("application/ndjson", "application/jsonl", "application/x-jsonlines"),
)
FORMS: Final = (
    NDJSON,
    Form("text/csv", _csv),
    Form("application/vnd.apache.parquet", _parquet, needs=("pyarrow", "arrow")),
)


def form_for(accept: str | None) -> Form:
    """Return the form that an `Accept` header likes best; NDJSON where all are alike.

    Raises:
        NotAcceptable: it accepts none, or only one whose extra is not installed.
    """
    if not (accept or "").strip():
        return NDJSON
    ranges = [_range(text) for text in (accept or "").split(",")]
    welcome = [form for form in FORMS if form.quality(ranges) > 0]
    ready = [form for form in welcome if form.is_at_hand]
    if ready:
        return max(ready, key=lambda form: form.quality(ranges))
    raise NotAcceptable(_refusal(accept, welcome), headers={"Vary": "Accept"})


def _refusal(accept: str | None, welcome: Sequence[Form]) -> str:
    for form in welcome:
        if form.needs is not None:
            return (
                f"Accept: {form.media_type} needs {form.needs[0]}: "
                f"install tribunal-judge[{form.needs[1]}]"
            )
    known = ", ".join(form.media_type for form in FORMS)
    return f"Accept: {shown(accept)} is none of {known}"


def _range(text: str) -> tuple[str, float]:
    """Read one media range with its quality; what cannot be read as a quality is none."""
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            return name, _quality(value)
    return name, 1.0


def _quality(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and 0 <= value <= 1 else 0.0
