"""Reads and writes AlpacaEval annotations, and the output files of models.

`preference` is 1 where output 1 is better and 2 where output 2 is, values between for weighted
ones; 1.5 and 0 are ties, null and NaN are failures. The annotator is a model: a recorded judge. One
that is a number, or declared to be a person, is a person, as in the sets of AlpacaFarm. A row without
a preference may have a label in words instead.

Models are paired in the order of their files, each with every other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from app.core.names import shown
from app.formats.base import RowInvalid, trim, whole
from app.formats.columns.declared import looks_like_model
from app.formats.columns.flat import VERDICTS, texts_of_sides
from app.formats.columns.verdicts import Heard, is_empty
from app.formats.joining import (
    Fault,
    Join,
    Joined,
    Outcome,
    Piece,
    both_sides,
    by_name,
    name_of,
    plain,
    text_of,
)
from app.formats.writing import Given, Loss, Options, count_lost, count_lost_of_scores
from judges.types import Score

FIELDS: Final = ("instruction", "output_1", "output_2")
_READ: Final = frozenset(
    {
        "instruction", "output_1", "output_2", "generator_1", "generator_2", "annotator",
        "preference", "price_per_example", "time_per_example", "input", "human", "annotator_index",
    }
)  # fmt: skip
# one annotator's own words; rows of other annotators on the same outputs are the same pair
_OF_THE_ANNOTATOR: Final = frozenset({"raw_completion", "annotator_kwargs", "date", "version"})

RESERVED: Final = _READ | _OF_THE_ANNOTATOR


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether the row has the fields of this format."""
    return all(name in row for name in FIELDS)


def prepared(row: Mapping[str, Any], heard: Heard) -> list[dict[str, Any]]:
    """Return the row with its preference read; a person's has become a vote.

    Raises:
        RowInvalid: the preference is unknown.
    """
    column = next((name for name in ("preference", *VERDICTS) if name in row), None)
    if column is None:
        return [dict(row)]
    name = whole(row.get("annotator"))
    if is_empty(name):
        name = whole(row.get("annotator_index"))
    read = {"annotator", "annotator_index", column}
    made = {field: value for field, value in row.items() if field not in read}
    p_a = _p_a(row, column, heard)
    if not _is_person(name, column, heard):
        return [{**made, "annotator": name, "preference": None if p_a is None else 2.0 - p_a}]
    if p_a is None:
        heard.notes[f"{column}s of people that are null, no votes"] += 1
        return [{**made, "human": []}]
    vote: dict[str, Any] = {"annotator": name, "label": _label(p_a)}
    if p_a not in (0.0, 0.5, 1.0):
        vote["preference"] = row["preference"]
    return [{**made, "human": [vote]}]


def _label(p_a: float) -> str:
    return "tie" if p_a == 0.5 else "a" if p_a > 0.5 else "b"


def _is_person(name: object, column: str, heard: Heard) -> bool:
    """Return whether a name is a person's; of those that may be either it is noted.

    In the column `preference` a name is a model's, as in the files of AlpacaEval; a label in words has
    its annotator as elsewhere.
    """
    if is_empty(name):
        return column != "preference"
    is_judge = heard.declared.is_declared_judge(str(name))
    is_number = isinstance(name, int) or (isinstance(name, str) and name.isdigit())
    is_person = not is_judge and (
        is_number
        or heard.declared.is_declared_person(str(name))
        or (column != "preference" and not looks_like_model(str(name)))
    )
    if is_person or not looks_like_model(str(name)):
        heard.note_who("annotator", str(name), is_model=not is_person)
    return is_person


def convert(row: Mapping[str, Any], line: int) -> dict[str, Any]:
    """Return the canonical row; the annotator's raw completion is not kept.

    Raises:
        RowInvalid: the preference is unknown.
    """
    converted = {
        "prompt": row["instruction"],
        "response_a": row["output_1"],
        "response_b": row["output_2"],
        "model_a": row.get("generator_1"),
        "model_b": row.get("generator_2"),
        "metadata": {k: v for k, v in row.items() if k not in _READ | _OF_THE_ANNOTATOR},
    }
    if row.get("input"):
        converted["input"] = row["input"]
    if "human" in row:
        converted["human"] = row["human"]
    if "preference" in row:
        annotator = row.get("annotator")
        if isinstance(annotator, bool) or not isinstance(annotator, str | int):
            raise RowInvalid(f"annotator: {shown(annotator)} is no name, but there is a preference")
        converted["judges"] = {str(annotator): _record(row)}
    return converted


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    preference = row["preference"]
    return {
        "p_a": None if preference is None else 2.0 - preference,
        "cost": row.get("price_per_example"),
        "seconds": row.get("time_per_example"),
    }


def _p_a(row: Mapping[str, Any], column: str, heard: Heard) -> float | None:
    """Return the probability of a that a preference says; None where it says nothing.

    Raises:
        RowInvalid: it is unknown, with all preferences of the upload.
    """
    value = row[column]
    number = _number(value) if column == "preference" and not heard.is_declared(value) else None
    if number is not None and (number == 0 or 1 <= number <= 2):
        heard.preferences.add(number)
        return 0.5 if number == 0 else 2.0 - number
    said = heard.label(column, value, (row.get("generator_1"), row.get("generator_2")))
    return None if said is None else {"a": 1.0, "b": 0.0}.get(said, 0.5)


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        return None
    return None if isinstance(value, bool) or math.isnan(number) else number


_KEPT: Final = ("texts", "models", "recorded scores", "metadata of pairs")
_KNOWN_BY: Final = ("instruction", "output_1", "generator_1", "output_2", "generator_2")


def rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the annotations of a pair; one without a judge is a row without a preference."""
    if not given.is_plain:
        loss["pairs that are not one prompt with two answers"] += 1
        return
    row = given.row
    count_lost(given, _KEPT, loss)
    count_lost_of_scores(given, loss)
    further = {name: value for name, value in row["metadata"].items() if name not in RESERVED}
    if len(further) < len(row["metadata"]):
        loss["metadata named like fields of the format"] += 1
    base = {
        **further,
        "instruction": row["prompt"],
        "output_1": row["response_a"],
        "generator_1": row.get("model_a"),
        "output_2": row["response_b"],
        "generator_2": row.get("model_b"),
    }
    if not given.scores and _is_alone(base, options, loss):
        yield base
    for name, score in _writable(given, base, options, loss):
        if name.isdigit():
            loss["recorded scores of judges called by a number, which are read as people's"] += 1
        yield {
            **base,
            "annotator": name,
            "preference": None if score.p_a is None else 2.0 - score.p_a,
            "price_per_example": score.cost_usd,
            "time_per_example": score.seconds,
        }


def _is_alone(base: Mapping[str, Any], options: Options, loss: Loss) -> bool:
    """Return whether no earlier pair has these texts and models; reading takes such pairs for one."""
    if options.is_first(_key(base)):
        options.is_first(_key(base, whole=True))
        return True
    loss["pairs with the texts and models of an earlier one"] += 1
    return False


def _key(base: Mapping[str, Any], judge: str | None = None, *, whole: bool = False) -> str:
    known_by = [base[name] for name in _KNOWN_BY]
    return json.dumps([known_by, list(base.items()) if whole else judge])


def _writable(
    given: Given, base: Mapping[str, Any], options: Options, loss: Loss
) -> Iterator[tuple[str, Score]]:
    """Yield the scores that reading keeps.

    Pairs that are taken for one have one score of each judge, and must not differ otherwise.
    """
    if not given.scores:
        return
    is_read = _is_alone(base, options, loss) or options.has_seen(_key(base, whole=True))
    for name, score in given.scores.items():
        if is_read and options.is_first(_key(base, name)):
            yield name, score
        else:
            loss["recorded scores of pairs with the texts and models of an earlier one"] += 1


OUTPUT_FIELDS: Final = ("instruction", "output")
_HOW: Final = "tribunal import a.json b.json"
_READ_OUTPUTS: Final = frozenset({*OUTPUT_FIELDS, "generator", "input"})


def is_output(row: Mapping[str, Any]) -> bool:
    """Return whether the row is one model's answer."""
    is_one = all(name in row for name in OUTPUT_FIELDS) and "output_1" not in row
    return is_one and len(texts_of_sides(row)) < 2


def _kind(row: Mapping[str, Any]) -> str:
    if isinstance(row.get("output"), list):
        raise RowInvalid(
            "output: is a list of answers; give one answer a row and a file a model, or a pair a "
            "row with chosen and rejected"
        )
    for field in OUTPUT_FIELDS:
        text_of(row, field)
    if row.get("generator") is not None:
        name_of(row, "generator")
    return "answer"


def _generator(piece: Piece) -> str:
    generator = piece.row.get("generator")
    return piece.file if generator in (None, "") else trim(str(generator))


def _of_one_model(pieces: Sequence[Piece]) -> str:
    """Return why answers to one instruction, all of one generator, make no pair."""
    if len(pieces) == 1:
        return f"no other model answers this instruction: give the files of two models ({_HOW})"
    files = " and ".join(dict.fromkeys(piece.file_name for piece in pieces if piece.file_name))
    return (
        f"all answers to this instruction ({files or 'several'}) are of the same generator, "
        f"{shown(_generator(pieces[0]))}: give the files of two models ({_HOW})"
    )


_ALIKE: Final = "prompts that differ only in case or blanks between the files, joined"


def _pairs(pieces: Sequence[Piece], kinds: Collection[str]) -> Iterator[Outcome]:
    """Yield the pairs of answers to one instruction.

    Answers whose instructions differ only in case or blanks meet where no other answer has the very
    same instruction.
    """
    exact: dict[object, list[Piece]] = {}
    for piece in pieces:
        exact.setdefault(_exact(piece.row), []).append(piece)
    alone = [same for same in exact.values() if len({_generator(piece) for piece in same}) == 1]
    generators = [_generator(piece) for same in alone for piece in same]
    are_alike = len(alone) > 1 and len(set(generators)) == len(generators) and "" not in generators
    for same in exact.values():
        if same not in alone or not are_alike:
            yield from _of_one_prompt(same, "")
    if are_alike:
        yield from _of_one_prompt([piece for same in alone for piece in same], _ALIKE)


def _exact(row: Mapping[str, Any]) -> tuple[Any, Any]:
    return row["instruction"], row.get("input") or ""


def _of_one_prompt(pieces: Sequence[Piece], note: str) -> Iterator[Outcome]:
    generators = {_generator(piece) for piece in pieces}
    if len(generators) == 1 and "" not in generators:
        yield from (Fault(piece, _of_one_model(pieces)) for piece in pieces)
        return
    named, faults = by_name(
        [piece for piece in pieces if _generator(piece)], _generator, "an answer of"
    )
    yield from faults
    for piece in pieces:
        if not _generator(piece):
            yield Fault(piece, "generator: is missing, and the file has no name")
    for (name_a, a), (name_b, b) in combinations(named.items(), 2):
        row = {
            "prompt": a.row["instruction"],
            "input": a.row.get("input"),
            "response_a": a.row["output"],
            "response_b": b.row["output"],
            "model_a": name_a,
            "model_b": name_b,
            "metadata": both_sides(a.row, b.row, _READ_OUTPUTS),
        }
        filled = {name: value for name, value in row.items() if value is not None}
        yield Joined(filled, (a, b), note)


OUTPUTS_JOIN: Final = Join(
    on="instruction",
    kind=_kind,
    key=lambda row: [plain(text) for text in _exact(row)],
    pairs=_pairs,
)
