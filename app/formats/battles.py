"""Reads battles of two models, and writes them for evalica and arena-rank.

Each row is a pair of its own without texts; its id is its line number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.core.inert import inert
from app.core.names import shown
from app.formats.base import RowInvalid
from app.formats.columns.flat import judge_in, note_counts, note_voter, texts_in, voter_in
from app.formats.columns.verdicts import Heard, is_empty
from app.formats.writing import Given, Loss, Options, count_lost, overall_votes
from judges.probability import parse_label

FIELDS: Final = ("left", "right", "winner")
MODEL_FIELDS: Final = ("model_a", "model_b", "winner")
_READ: Final = frozenset(
    {*FIELDS, *MODEL_FIELDS, "annotator", "judge", "id", "group", "recorded_by"}
)
# with these a row says more than who won, and reading it as a battle would lose it
_OTHER_FORMATS: Final = ("conversation_a", "conversation_b", "human")


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether the row has the fields of one of the two spellings and nothing to judge."""
    if any(name in row for name in _OTHER_FORMATS) or ("question_id" in row and "judge" in row):
        return False
    is_battle = all(n in row for n in FIELDS) or all(n in row for n in MODEL_FIELDS)
    return is_battle and not texts_in(row)


def prepared(row: Mapping[str, Any], heard: Heard) -> list[dict[str, Any]]:
    """Return the row with its winner read, and its judge told from a person.

    Raises:
        RowInvalid: the winner cannot be read, or is missing.
    """
    names = FIELDS if "left" in row else MODEL_FIELDS
    winner = heard.label("winner", row.get("winner"), (row.get(names[0]), row.get(names[1])))
    if winner is None:
        raise RowInvalid("winner: is missing")
    made = {**row, "winner": winner}
    note_counts(row, heard)
    if is_empty(made.get("judge")):
        made["judge"] = None
    if not is_empty(made.get("annotator")):
        return [made]
    judge, is_model = judge_in(made, heard)
    if judge is not None and is_model:
        made["recorded_by"] = judge
    elif judge is None and (voter := voter_in(made)) is not None:
        note_voter(voter, heard)
    return [made]


def convert(row: Mapping[str, Any], line: int) -> dict[str, Any]:
    """Return the canonical row without texts; an id of the source moves into the metadata.

    Raises:
        RowInvalid: the winner is unknown, or a field is missing.
    """
    names = FIELDS if "left" in row else MODEL_FIELDS
    try:
        label = parse_label(row.get("winner"))
    except ValueError:
        known = f"{names[0]}, {names[1]}, tie"
        raise RowInvalid(f"winner: {shown(row.get('winner'))} is none of {known}") from None
    who = row.get("judge") if is_empty(row.get("annotator")) else row["annotator"]
    vote = {"annotator": who, "label": label}
    if isinstance(row["winner"], str) and "bad" in row["winner"].lower():
        vote["both_bad"] = True
    said: dict[str, Any] = {"human": [vote]}
    if "recorded_by" in row:
        said = {"judges": {str(row["recorded_by"]): {"label": label}}}
    metadata = {name: value for name, value in row.items() if name not in _READ}
    if "id" in row:
        metadata["source_id"] = row["id"]
    return {
        "id": line,
        "model_a": row.get(names[0]),
        "model_b": row.get(names[1]),
        "group": row.get("group"),
        **said,
        "metadata": metadata,
    }


_EVALICA: Final = {"a": "left", "b": "right", "tie": "tie"}
_ARENA_RANK: Final = {"a": "model_a", "b": "model_b", "tie": "tie"}


def evalica_rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the votes on a pair as evalica reads them."""
    return _rows(given, loss, FIELDS, _EVALICA)


def arena_rank_rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the votes on a pair as arena-rank reads them."""
    return _rows(given, loss, MODEL_FIELDS, _ARENA_RANK)


def _rows(
    given: Given, loss: Loss, fields: tuple[str, ...], winners: dict[str, str]
) -> Iterator[dict[str, Any]]:
    row = given.row
    if row.get("model_a") is None or row.get("model_b") is None:
        loss["pairs without two models"] += 1
        return
    # a battle without a name of its own is called by its line
    is_line = given.is_battle and row["id"].isdigit()
    kept = {"models", "votes", *(("ids",) if is_line else ())}
    count_lost(given, kept, loss)
    votes = overall_votes(given, (), loss)
    if not votes:
        loss["pairs without a vote"] += 1
    for vote in votes:
        values = (inert(row["model_a"]), inert(row["model_b"]), winners[vote["label"]])
        yield dict(zip(fields, values, strict=True))
