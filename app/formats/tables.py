"""Converts rows to and from the cells of CSV and Parquet tables.

A CSV cell is a text; by the name of its column it is read as a text, as JSON or as a number. An
empty cell is nothing, but for texts of a row that has others: there it is an empty text.

A spreadsheet runs a cell that begins like a formula. Such a cell is written with an apostrophe
before it, and a further column `marked_cells` names it, so that reading takes away no apostrophe
that belongs to the text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from app.core.inert import inert, without_mark
from app.core.names import shown
from app.formats.base import RowInvalid
from app.formats.writing import Given, Loss, Options, count_unnamed

COLUMNS: Final = (
    "id", "prompt", "messages", "response_a", "response_b", "responses_a", "responses_b",
    "model_a", "model_b", "criterion", "group", "human", "judges", "metadata",
)  # fmt: skip
# names the cells of a row that were marked
MARKED: Final = "marked_cells"
# tables of battles hold nothing but names, in the columns that their readers expect
_BATTLES: Final = (("left", "right", "winner"), ("model_a", "model_b", "winner"))


def canonical_rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the canonical row."""
    count_unnamed(given, loss)
    yield dict(given.row)


def rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the cells of a pair; UTF-8 has no lone surrogates, they are replaced and counted."""
    count_unnamed(given, loss)
    cells = cells_of(given.row)
    for name, cell in cells.items():
        clean = in_utf8(cell)
        if clean != cell:
            loss["characters that UTF-8 does not have"] += 1
            cells[name] = clean
    yield cells


def cells_of(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the cells of a canonical row, or of some of its fields."""
    row = dict(row)
    prompt = row.get("prompt")
    # turns as a list, and an empty prompt, could not be told from a text and from none
    if prompt == "" or isinstance(prompt, list):
        del row["prompt"]
        turns = prompt or [""]
        row["messages"] = [{"role": "user", "content": turn} for turn in turns]
    return {name: _written_cell(value) for name, value in row.items()}


def in_utf8(text: str) -> str:
    """Return a text with what UTF-8 does not have, lone surrogates, replaced."""
    return text.encode("utf-8", "replace").decode()


def csv_rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the cells of a pair for a CSV file, those that look like formulas marked."""
    for cells in rows(given, options, loss):
        marked = {name: inert(cell) for name, cell in cells.items()}
        changed = [name for name, cell in marked.items() if cell != cells[name]]
        yield marked | ({MARKED: " ".join(changed)} if changed else {})


def _written_cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


_TEXTS: Final = frozenset(
    {
        "prompt", "input", "response_a", "response_b", "instruction", "output", "output_1",
        "output_2", "response", "chosen", "rejected", "question", "response_A", "response_B",
        "output_a", "output_b", "answer_a", "answer_b", "completion_a", "completion_b",
    }
)  # fmt: skip
_JSON: Final = frozenset({"human", "judges", "metadata", "messages", "responses_a", "responses_b"})
# columns of other formats; a table of one's own may have texts in columns of such names
_MAYBE_JSON: Final = frozenset(
    {
        "turns", "choices", "conversation_a", "conversation_b", "games", "outputs", "preferences",
        "probs", "fields", "responses", "data", "annotations", "completions", "meta", "body",
        "messages_a", "messages_b", "judgments", "generations", "ratings", "rating",
        "generation_models", "models", "conversations", "history",
    }
)  # fmt: skip
_JSON_ENDS: Final = (".responses", ".responses.users", ".responses.status")
_NUMBERS: Final = frozenset(
    {
        "preference", "price_per_example", "time_per_example", "turn", "winner_model_a",
        "winner_model_b", "winner_tie", "judge_score", "oracle_label", "draw_idx",
    }
)  # fmt: skip
_NAMES: Final = frozenset(
    {
        "id", "group", "annotator", "annotator_index", "model_a", "model_b", "model_1", "model_2",
        "left", "right", "question_id", "prompt_id", "judge", "generator", "generator_1",
        "generator_2", "label", "winner", "completed_by",
    }
)  # fmt: skip
# without a value the row still has the column: null says that no one decided
_VERDICTS: Final = ("label", "winner", "preference")


def cell_values(
    header: Sequence[str], cells: Sequence[str], places: Sequence[tuple[str, int]]
) -> dict[str, Any]:
    """Return the row of a CSV line as a JSON file would have it.

    Args:
        header: The names of the columns, as the file has them.
        cells: Of one row.
        places: What each column is called in the row, with its place.
    """
    written = _unmarked(header, {n: c for n, c in zip(header, cells, strict=True) if n and c})
    written = {n: written[header[at]] for n, at in places if header[at] in written}
    header = [name for name, _ in places]
    filled = {n: c for n, c in written.items() if n not in _NAMES or not c.isspace()}
    has_texts = any(name in _TEXTS or name in ("messages", "responses_a") for name in filled)
    empty = {
        name: "" for name in header if has_texts and name in _TEXTS and _is_empty_text(name, filled)
    }
    row = {**empty, **{name: _read_cell(name, cell) for name, cell in filled.items()}}
    return _with_lists({**{n: None for n in _VERDICTS if n in header and n not in filled}, **row})


def _unmarked(header: Sequence[str], filled: dict[str, str]) -> dict[str, str]:
    """Return the cells without the marks that writing them added.

    A column `marked_cells` that says something else is the file's own.
    """
    if tuple(header) in _BATTLES:
        return {name: without_mark(cell) for name, cell in filled.items()}
    names = filled.get(MARKED, "").split(" ")
    is_ours = all(without_mark(filled.get(name, "")) != filled.get(name, "") for name in names)
    if not is_ours:
        return filled
    marked = {name: without_mark(filled[name]) for name in names}
    return {name: cell for name, cell in {**filled, **marked}.items() if name != MARKED}


def _is_empty_text(name: str, filled: Mapping[str, str]) -> bool:
    """Return whether an empty cell is an empty text, and not one that stands elsewhere in the row."""
    if name in filled or name == "input":
        return False
    several = f"responses_{name[-1]}" if name.startswith("response_") else "messages"
    return several not in filled


def _read_cell(name: str, cell: str) -> Any:
    if _is_json(name, cell):
        return _parsed(name, cell)
    if name in _NUMBERS:
        return _number(cell)
    return cell


def _is_json(name: str, cell: str) -> bool:
    return name in _JSON or (
        cell[:1] in ("[", "{") and (name in _MAYBE_JSON or name.endswith(_JSON_ENDS))
    )


def _parsed(name: str, cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError) as error:
        if name not in _JSON:
            return cell
        why = "; it is written as Python shows it: use json.dumps" if "'" in cell[:3] else ""
        if name == "human" and not cell.lstrip().startswith(("[", "{")):
            why = (
                "; if the column says which response is better, read it with --map label=human "
                "(parameter `map`)"
            )
        raise RowInvalid(f"{name}: {shown(cell)} is not JSON: {error}{why}") from None


def _with_lists(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose texts that are JSON are lists where the format has lists.

    The chosen and the rejected answer are messages, or several answers on both sides; their prompt
    may be messages; a prompt beside responses to each turn is a list of turns; a judge with the name
    of its prompt is a list. Elsewhere a text is a text, whatever it looks like.
    """
    is_preference = "chosen" in row and "rejected" in row
    begins: dict[str, tuple[str, ...]] = {"judge": ('["',)}
    if is_preference:
        are_several = all(str(row[name]).startswith('["') for name in ("chosen", "rejected"))
        sides = ("[{", '{"', '["') if are_several else ("[{", '{"')
        begins |= {"chosen": sides, "rejected": sides, "prompt": ("[{",)}
    elif "responses_a" in row:
        begins["prompt"] = ('["',)
    for name, signs in begins.items():
        value = row.get(name)
        if isinstance(value, str) and value.startswith(signs):
            row[name] = _parsed(name, value)
    return row


def _number(cell: str) -> Any:
    """Return a number; what is none is left to the format, which knows if it may be a text."""
    try:
        value = float(cell)
    except ValueError:
        return cell
    return int(value) if value.is_integer() else value


def column_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a Parquet file as a JSON file would have it.

    A null is nothing; inside a struct, too, whose fields every row has to have.
    """
    values = {name: _column(name, value) for name, value in row.items() if value is not None}
    undecided = {name: None for name in _VERDICTS if name in row and name not in values}
    return _with_lists({**undecided, **values})


def _column(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return _read_cell(name, value)
    plain = _plain(name, value)
    # a column of integers with a gap comes as one of floats
    if (name in _NAMES or name in _NUMBERS) and isinstance(plain, float) and plain.is_integer():
        return int(plain)
    if name == "judges" and isinstance(plain, dict):
        before = {_key(name, judge): said for judge, said in value.items()}
        return {judge: _all_null(before[judge], said) for judge, said in plain.items()}
    return plain


def _all_null(before: Any, said: Any) -> Any:
    """Return None for a record of nothing but nulls: a failure, unlike an absent record."""
    return None if before and not said else said


def _decoded(name: str, value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise RowInvalid(f"{name}: its bytes are no text in UTF-8") from None


def _number_of(value: Decimal) -> int | float | str:
    """Return a decimal as a number, or as its digits where a number would lose some of them."""
    if not value.is_finite():
        return float(value)
    if value == value.to_integral_value():
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)


def _simple(value: datetime | date | time | timedelta | Decimal | UUID) -> int | float | str:
    """Return a moment as text, a duration in seconds, a decimal as a number."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return _number_of(value)
    return str(value) if isinstance(value, UUID) else value.isoformat()


def _key(name: str, key: Any) -> str:
    """Return the key of a map, which may be a date or a number, as text."""
    plain = _plain(name, key)
    return plain if isinstance(plain, str) else json.dumps(plain)


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        items = value.items()
        return {_key(name, key): _plain(name, each) for key, each in items if each is not None}
    if isinstance(value, list | tuple):
        return [_plain(name, each) for each in value]
    if isinstance(value, datetime | date | time | timedelta | Decimal | UUID):
        return _simple(value)
    if isinstance(value, float) and math.isnan(value) and name in _TEXTS:
        return None
    if isinstance(value, bytes):
        return _decoded(name, value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise RowInvalid(f"{name}: a value of type {type(value).__name__} is neither text nor number")
