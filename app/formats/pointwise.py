"""Rows of one response with the scores that people gave it; pairs of models are formed from them.

Every two models that answered the same prompt make a pair. Its votes follow from the scores: of each
person who scored both responses, the higher score wins, and equal ones are a tie. All scores stay in
`metadata`, those without a counterpart too. A judge's ratings become its recorded score.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Final

from app.core.models import OVERALL
from app.core.names import shown
from app.formats.base import RowInvalid, trim, whole
from app.formats.columns.declared import is_number
from app.formats.columns.verdicts import Heard, is_empty
from app.formats.joining import Fault, Join, Joined, Outcome, Piece, both_sides, plain, text_of
from app.formats.writing import Given, Loss, Options, count_lost

#: Between the name of a judge and its criterion, as configured judges of several criteria have it.
BY: Final = ":"
#: Where a pair keeps the scores of its two responses.
SCORES: Final = ("scores_a", "scores_b")
_ASKED: Final = ("prompt", "messages", "input")
_TEXTS: Final = (*_ASKED, "response")
_OTHERS: Final = (
    "response_a", "responses_a", "judge_score", "oracle_label", "chosen", "rejected",
    "instruction", "output",
)  # fmt: skip
_SCORED: Final = ("human", "score", "rating", "model", "judges")
_FLAT: Final = ("score", "rating")
_READ: Final = frozenset(
    {"id", "prompt", "messages", "input", "response", "model", "human", "judges", "group",
     "metadata", "criterion"}
)  # fmt: skip
_WITHOUT_SCORES: Final = (
    "{n} pairs have no label: no row has a score; if one of the columns COLUMNS holds scores, read it with "
    "--map score=... (parameter `map`)"
)
_MOST_NAMED: Final = 5
_ALONE: Final = "prompt: no other model of the upload answers it, so that there is no pair"
_UNSCORED: Final = (
    "{n} pairs have no label: no person gave scores to both responses; the scores are kept"
)


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether the row is one response to a prompt."""
    is_one = "response" in row and ("prompt" in row or "messages" in row)
    return is_one and any(n in row for n in _SCORED) and not any(n in row for n in _OTHERS)


def prepared(row: Mapping[str, Any], heard: Heard) -> list[dict[str, Any]]:
    """Return a row whose scores stand in `human`, or in `judges` where a model gave them.

    Raises:
        RowInvalid: a score is no number.
    """
    made = {name: value for name, value in row.items() if name in _TEXTS or not is_empty(value)}
    made = _with_criteria(made, heard)
    column = next((name for name in _FLAT if name in made), None)
    if column is None or made.get("human"):
        return [made]
    given: dict[str, Any] = {"score": made.pop(column)}
    given |= {name: whole(made.pop(name)) for name in ("annotator", "criterion") if name in made}
    name = given.get("annotator")
    if name is not None and heard.is_model("annotator", str(name)):
        criterion = str(given.get("criterion", OVERALL))
        judge = str(name) if criterion == OVERALL else f"{name}{BY}{criterion}"
        made["judges"] = {judge: {"rating": given["score"]}}
    else:
        made["human"] = [given]
    return [made]


def _with_criteria(row: dict[str, Any], heard: Heard) -> dict[str, Any]:
    """Return a row whose `scores` by criterion are scores of its annotator.

    Pairs keep their scores in a field of this name, so that other `scores` are called otherwise.
    """
    if "scores" not in row:
        return row
    given = row.pop("scores")
    if not isinstance(given, dict) or row.get("human") or any(name in row for name in _FLAT):
        heard.notes[
            "scores: kept as given_scores in {n} rows, as its values are no scores by criterion"
        ] += 1
        return {**row, "given_scores": given}
    who = whole(row.pop("annotator", None))
    if who is not None and heard.is_model("annotator", str(who)):
        records = {f"{who}{BY}{name}": {"rating": score} for name, score in given.items()}
        return {**row, "judges": {**_records(row), **records}}
    scores = [{"annotator": who, "criterion": name, "score": one} for name, one in given.items()]
    return {**row, "human": scores}


def _number(place: str, value: object) -> float:
    """Return a score; a table holds its digits."""
    try:
        found = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if isinstance(value, bool) or not math.isfinite(found):
        raise RowInvalid(f"{place}: {shown(value)} is not a number")
    return found


def _scores(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    given = row.get("human") or []
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise RowInvalid(f"human: {shown(given)} is not a list of scores")
    return [_score(place, one) for place, one in enumerate(given)]


def _score(place: int, given: Mapping[str, Any]) -> dict[str, Any]:
    column = next((name for name in _FLAT if name in given), "score")
    score = _number(f"human.{place}.{column}", given.get(column))
    names = {
        name: _name(f"human.{place}.{name}", given.get(name)) for name in ("annotator", "criterion")
    }
    # in one order, whatever that of the file: the hash of an upload depends on it
    read = {
        "annotator": names["annotator"],
        "score": score,
        "criterion": names["criterion"] or OVERALL,
    }
    return {**read, **{name: given[name] for name in given if name not in (*read, column)}}


def _name(place: str, value: object) -> str | None:
    if is_empty(value):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RowInvalid(f"{place}: {shown(value)} is neither a string nor an integer")
    return trim(str(whole(value)))


def _records(row: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    given = row.get("judges") or {}
    if not isinstance(given, dict):
        raise RowInvalid(f"judges: {shown(given)} is not an object")
    return {trim(str(name)): _record(f"judges.{name}", one) for name, one in given.items()}


def _record(place: str, given: object) -> dict[str, Any]:
    """Return what a judge said of one response; without a rating it failed."""
    record = given if isinstance(given, dict) else {"rating": given}
    column = next((name for name in ("rating", "score") if name in record), None)
    if column is None:
        raise RowInvalid(f"{place}: no rating in it: give rating")
    value = record[column]
    rating = None if is_empty(value) else _number(f"{place}.{column}", value)
    return {**{name: one for name, one in record.items() if name != column}, "rating": rating}


def _kind(row: Mapping[str, Any]) -> str:
    text_of(row, "response")
    _scores(row)
    _records(row)
    return "response"


def _key(row: Mapping[str, Any]) -> object:
    """Return the prompt, without regard to case and white space."""
    return [[name, _plain(row[name])] for name in _ASKED if not is_empty(row.get(name))]


def _plain(asked: object) -> object:
    """Return a text, or all texts of turns, as `plain` does."""
    if isinstance(asked, list):
        return [_plain(one) for one in asked]
    if isinstance(asked, dict):
        return {name: _plain(one) for name, one in asked.items()}
    return plain(asked)


@dataclass(slots=True)
class _Response:
    """What all rows say of one response of one model."""

    model: str
    first: Piece
    pieces: list[Piece] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)

    def add(self, piece: Piece) -> Fault | None:
        """Take a row; return its fault if an earlier one contradicts it."""
        records = _records(piece.row)
        for name, record in records.items():
            if self.records.get(name, record) != record:
                reason = f"judges.{name}: line {self.first.line} records another rating"
                return Fault(piece, reason)
        self.pieces.append(piece)
        # a row that says nothing new is a repetition
        text = json.dumps(piece.row, sort_keys=True)
        if text not in self.said:
            self.said.add(text)
            self.scores += _scores(piece.row)
            self.records |= records
        return None

    @property
    def kept(self) -> dict[str, Any]:
        """The scores as a pair keeps them, with what tells the response apart."""
        told = json.dumps([self.first.key, self.model, self.first.row["response"]])
        return {"response": hashlib.sha256(told.encode()).hexdigest()[:16], "human": self.scores}

    @property
    def further(self) -> dict[str, Any]:
        """The further fields of its rows, those of the first row where they differ."""
        found: dict[str, Any] = {}
        ids: dict[str, None] = {}
        for piece in self.pieces:
            aside = piece.row.get("metadata")
            row = {**(aside if isinstance(aside, dict) else {}), **piece.row}
            found = {**{n: v for n, v in row.items() if n not in _READ}, **found}
            if not is_empty(piece.row.get("id")):
                ids[str(whole(piece.row["id"]))] = None
        if ids:
            found["response_id"] = next(iter(ids)) if len(ids) == 1 else list(ids)
        return found


def _model(piece: Piece) -> str:
    stated = piece.row.get("model")
    return trim(str(whole(stated))) if not is_empty(stated) else piece.file


def _pairs(pieces: Sequence[Piece], kinds: Collection[str]) -> Iterator[Outcome]:
    found: dict[tuple[str, str], _Response] = {}
    for piece in pieces:
        if not (model := _model(piece)):
            yield Fault(piece, "model: is missing, and the file has no name")
            continue
        said = (model, piece.row["response"])
        fault = found.setdefault(said, _Response(model, piece)).add(piece)
        if fault is not None:
            yield fault
    responses = list(found.values())
    yield from _joined(responses)
    for model in {one.model for one in responses}:
        if all(one.model == model for one in responses):
            for piece in (piece for one in responses for piece in one.pieces):
                yield Fault(piece, _ALONE)


def _joined(responses: Sequence[_Response]) -> Iterator[Joined]:
    naming = _naming(responses)
    for a, b in combinations(responses, 2):
        if a.model != b.model:
            row = _row(a, b) | naming(a, b)
            note = "" if row["human"] or row["judges"] else _note(a, b)
            yield Joined(row, (*a.pieces, *b.pieces), note)


def _note(a: _Response, b: _Response) -> str:
    """Return why a pair of responses has no label, and what may be meant to be scores."""
    if a.scores or b.scores:
        return _UNSCORED
    names = [n for n, value in a.further.items() if is_number(value) and n != "response_id"]
    listed = ", ".join(shown(name)[1:-1] for name in names[:_MOST_NAMED])
    return _WITHOUT_SCORES.replace("COLUMNS", listed) if names else ""


def _row(a: _Response, b: _Response) -> dict[str, Any]:
    first, second = a.first.row, b.first.row
    row: dict[str, Any] = {name: first[name] for name in _ASKED if name in first}
    row |= {"response_a": first["response"], "response_b": second["response"]}
    row |= {"model_a": a.model, "model_b": b.model, "human": votes(a.scores, b.scores)}
    if not is_empty(first.get("group")) and first.get("group") == second.get("group"):
        row["group"] = first["group"]
    if not is_empty(first.get("criterion")) and first.get("criterion") == second.get("criterion"):
        row["criterion"] = first["criterion"]
    metadata = both_sides(a.further, b.further, frozenset())
    metadata |= dict(zip(SCORES, (a.kept, b.kept), strict=True))
    row["judges"] = {}
    for name in dict.fromkeys((*a.records, *b.records)):
        records = [one.records.get(name) for one in (a, b)]
        if None in records:  # it was asked about one of the two, which is no score of the pair
            side = "a" if records[0] is not None else "b"
            metadata.setdefault(f"ratings_{side}", {})[name] = records[0] or records[1]
        else:
            row["judges"][name] = _of_both(records)
    return {**row, "metadata": metadata}


def _naming(found: Sequence[_Response]) -> Callable[[_Response, _Response], dict[str, str]]:
    """Return what makes ids of pairs: of the rows' ids where these tell the responses apart."""
    ids = [one.further.get("response_id") for one in found]
    if not all(isinstance(one, str) for one in ids):
        return lambda a, b: {}
    if len(set(ids)) == len(ids):
        return lambda a, b: {"id": f"{a.further['response_id']}|{b.further['response_id']}"}
    if len(set(ids)) == 1 and len({one.model for one in found}) == len(found):
        return lambda a, b: {"id": f"{ids[0]}|{a.model}|{b.model}"}
    return lambda a, b: {}


def _of_both(records: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    one, other = (record or {} for record in records)
    both = {name: value for name, value in one.items() if other.get(name) == value}
    for name in ("cost", "seconds"):
        if name in one and name in other:
            both[name] = one[name] + other[name]
    return {**both, "ratings": [one["rating"], other["rating"]]}


def votes(a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a vote of each person who scored both responses, for each criterion.

    Several scores of one person are averaged, and so are those without a name: nobody's vote.

    Example:
        >>> given = [[{"annotator": "ann", "criterion": "overall", "score": n}] for n in (3, 4)]
        >>> votes(*given)[0]["label"]
        'b'
    """
    sides = []
    for given in (a, b):
        scores: defaultdict[tuple[str | None, str], list[float]] = defaultdict(list)
        for one in given:
            scores[one["annotator"], one["criterion"]].append(one["score"])
        sides.append({key: math.fsum(found) / len(found) for key, found in scores.items()})
    return [
        {
            "annotator": annotator,
            "label": "tie" if score == other else "a" if score > other else "b",
            "criterion": criterion,
            "score_a": score,
            "score_b": other,
        }
        for (annotator, criterion), score in sides[0].items()
        if (other := sides[1].get((annotator, criterion))) is not None
    ]


JOIN: Final = Join(on="prompt", kind=_kind, key=_key, pairs=_pairs)


def rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the two responses of a pair with the scores that people gave, each once in a file."""
    row, metadata = given.row, given.row["metadata"]
    scored = [one for name in SCORES if isinstance(one := metadata.get(name), dict)]
    if len(scored) < len(SCORES) or "response_a" not in row:
        loss["pairs that were not formed of scores of single responses"] += 1
        return
    rated = {name: score for name, score in given.scores.items() if score.ratings is not None}
    kept = {"texts", "models", "votes"}
    if len(rated) == len(given.scores):
        kept.add("recorded scores")
    count_lost(given, kept, loss)
    further = sum("score_a" not in vote for vote in row["human"])
    if further:
        loss["votes that do not follow from scores"] += further
    for place, side in enumerate("ab"):
        one = scored[place]
        asked = {part: row[part] for part in _ASKED if part in row}
        made = {**asked, "response": row[f"response_{side}"], "model": row[f"model_{side}"]}
        if options.is_first(json.dumps(made)):
            name = metadata.get(f"response_id_{side}", metadata.get("response_id"))
            judges = {
                judge: {"rating": score.ratings[place]}
                for judge, score in rated.items()
                if score.ratings is not None
            }
            yield {
                **({"id": name} if isinstance(name, str) else {}),
                **made,
                "human": one.get("human", []),
                **({"judges": judges} if judges else {}),
            }
