"""Reads and writes Argilla records with two responses that people ranked, rated or chose from.

The smaller rank wins and equal ranks are a tie; so do the higher rating and equal ratings of two
questions whose names differ by the number of the response. Only submitted answers are votes. Read
are records whose responses are listed by question, those where every response lists its values, the
tables that Argilla puts on a hub, with a column for each field and question, and text classifications
of versions before 2.0, whose texts are `inputs`.

Which answer is `response1` is drawn by a recorded seed, as the left one of a Label Studio task.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from app.core.names import shown
from app.formats.base import RowInvalid
from app.formats.columns.flat import ANSWERS
from app.formats.columns.verdicts import BOTH_BAD, Heard, is_empty
from app.formats.joining import first_side, side_read, sided, turned
from app.formats.label_studio import aside_of, details_of, shown_prompt, shown_text
from app.formats.writing import Given, Loss, Options, count_lost

FIELDS: Final = ("prompt", "response1", "response2")
QUESTION: Final = "ranking"
RESPONSE1_IS: Final = "response1_is"
# metadata holds numbers and short texts alone, so all else of ours is JSON in one of them
ASIDE: Final = "tribunal"
SETTINGS: Final = {
    "fields": [{"name": name, "type": "text"} for name in FIELDS],
    "questions": [
        {"name": QUESTION, "type": "ranking", "values": ["response1", "response2"]},
    ],
}
_OWN: Final = frozenset({ASIDE, RESPONSE1_IS, "seed"})


_SIDES: Final = (("response1", "response2"), *ANSWERS[1:], ("chosen", "rejected"))
_PROMPTS: Final = ("prompt", "instruction", "question", "input", "query")
_MARK: Final = re.compile(r"(?<![a-zA-Z0-9])(left|right|[abAB])(?![a-zA-Z0-9])|(\d)(?!\d)")
_SECOND: Final = frozenset({("1", "2"), ("0", "1"), ("a", "b"), ("left", "right")})
_LONGEST_LABEL: Final = 60
_OF_RECORDS: Final = ("id", "external_id", "status", "_server_id", "metadata")
_OF_QUESTIONS: Final = (".responses", ".responses.users", ".responses.status", ".suggestion")


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether the row is a record with two responses, whole or one column a field."""
    fields = row.get("fields")
    if isinstance(fields, dict):
        return _sides_in(fields) is not None
    if _is_classified(row):
        return _sides_in(row["inputs"]) is not None
    return is_table(row)


def is_table(row: Mapping[str, Any]) -> bool:
    """Return whether the row is a record with a column for every field and question."""
    return bool(_questions_of_columns(row)) and _sides_in(row) is not None


def _sides_in(fields: Mapping[str, Any]) -> tuple[str, str] | None:
    return next(((a, b) for a, b in _SIDES if a in fields and b in fields), None)


def prepared(row: Mapping[str, Any], heard: Heard) -> list[dict[str, Any]]:
    """Return the record with `response1` and `response2`, its answers as rankings of them.

    Raises:
        RowInvalid: there are more than two responses, or answers are none.
    """
    made = _record_of(row)
    if made.get("suggestions") or made.get("prediction"):
        heard.notes["Argilla records with suggestions of a model, which are not read"] += 1
    fields = made["fields"]
    sides = _sides_in(fields) or ("response1", "response2")
    heard.columns = (sides,)
    others = [name for name in fields if _is_third(name, sides)]
    if others:
        raise RowInvalid(f"fields: {', '.join(map(shown, others))} beside two responses")
    answers: dict[str, list[dict[str, Any]]] = {}
    for response, values in _by_person(made):
        for question, answer in _ranked(response, values, sides, heard):
            answers.setdefault(question, []).append(answer)
    prompt = next((fields[name] for name in _PROMPTS if name in fields), None)
    further = {name: v for name, v in fields.items() if name not in (*_PROMPTS, *sides)}
    if further:
        metadata = made.get("metadata") or {}
        made["metadata"] = {**further, **metadata} if isinstance(metadata, dict) else metadata
    texts = {"response1": fields.get(sides[0]), "response2": fields.get(sides[1])}
    return [{**made, "fields": {"prompt": prompt, **texts}, "responses": answers}]


def _record_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record of the present form: of a table's row, or of a text classification."""
    if isinstance(row.get("fields"), dict):
        return dict(row)
    if not _is_classified(row):
        return _of_columns(row)
    said = {"value": row["annotation"], "user_id": row.get("annotation_agent")}
    status = "submitted" if row.get("status") in (None, "Validated") else row["status"]
    made = {name: row[name] for name in (*_OF_RECORDS, "prediction") if not is_empty(row.get(name))}
    answers = [] if is_empty(row["annotation"]) else [{**said, "status": status}]
    return {**made, "fields": row["inputs"], "responses": {"annotation": answers}}


def _is_classified(row: Mapping[str, Any]) -> bool:
    """Return whether the row is a text classification of a version before 2.0."""
    return isinstance(row.get("inputs"), dict) and "annotation" in row


def _is_third(name: str, sides: tuple[str, str]) -> bool:
    stem = sides[0][:-1]
    return name not in sides and name.startswith(stem) and name[len(stem) :].isalnum()


def _by_person(row: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield every response with its values by question: those of one person come together."""
    responses = row.get("responses") or []
    if not isinstance(responses, dict):
        for response in _objects("responses", responses):
            values = response.get("values") or {}
            pairs = values.items() if isinstance(values, dict) else ()
            yield response, {q: v.get("value") if isinstance(v, dict) else v for q, v in pairs}
        return
    people: dict[tuple[str, str, int], tuple[dict[str, Any], dict[str, Any]]] = {}
    for question, answers in responses.items():
        seen: Counter[tuple[str, str]] = Counter()
        for answer in _objects(f"responses.{question}", answers):
            who = (str(answer.get("user_id")), str(answer.get("status")))
            seen[who] += 1
            _, values = people.setdefault((*who, seen[who]), (answer, {}))
            values[str(question)] = answer.get("value")
    yield from people.values()


def _ranked(
    response: dict[str, Any], values: Mapping[str, Any], sides: tuple[str, str], heard: Heard
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield, by question, a response's answers that say which is better, each as a ranking."""
    base = {name: value for name, value in response.items() if name not in ("values", "value")}
    status = response.get("status") or "submitted"
    if str(status).lower() != "submitted":
        heard.notes[f"{status} responses"] += 1
        return
    ratings = {q: v for q, v in values.items() if _is_rating(v)}
    for one, other in _paired(list(ratings)):
        a, b = ratings.pop(one), ratings.pop(other)
        label = "tie" if a == b else "a" if a > b else "b"
        yield one, {**base, "value": _ranking(label)}
    for question, value in values.items():
        if isinstance(value, list) and not _may_rank(value, sides):
            heard.notes[
                f"lists given to the question {question!r} that rank no response, not read"
            ] += 1
        elif isinstance(value, list) and len(value) != 1:
            yield question, {**base, "value": _with_own_names(value, sides)}
        elif question in ratings or not _is_rating(value):
            said = _label_said(question, value, heard)
            if said is not None:
                yield question, {**base, "value": _ranking(said)}


def _may_rank(value: list[Any], sides: tuple[str, str]) -> bool:
    """Return whether a list is a ranking, or one choice, and not several labels or marked spans."""
    known = {*sides, "response1", "response2"}
    names = [one.get("value") if isinstance(one, dict) else one for one in value]
    has_ranks = any(isinstance(one, dict) and "rank" in one for one in value)
    is_choice = len(value) == 1 and not isinstance(value[0], dict)
    return has_ranks or is_choice or any(name in known for name in names if isinstance(name, str))


def _label_said(question: str, value: object, heard: Heard) -> str | None:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]
    if isinstance(value, list):
        raise RowInvalid(
            f"responses.{question}: {shown(value)} does not rank response1 and response2"
        )
    if isinstance(value, str) and (len(value) > _LONGEST_LABEL or "\n" in value):
        heard.notes[f"texts written to the question {question!r}, not kept"] += 1
        return None
    if not isinstance(value, str | int | float):
        return None
    return heard.answer(f"the question {question!r}", value)


def _ranking(label: str) -> list[dict[str, Any]]:
    one, other = _RANKS["tie" if label == BOTH_BAD else label]
    return [{"value": "response1", "rank": one}, {"value": "response2", "rank": other}]


def _is_rating(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _with_own_names(value: Any, sides: tuple[str, str]) -> Any:
    """Return a ranking with the responses called as here."""
    own = dict(zip(sides, ("response1", "response2"), strict=True))
    return [
        {**entry, "value": own.get(str(entry.get("value")), entry.get("value"))}
        if isinstance(entry, dict)
        else own.get(str(entry), entry)
        for entry in value
    ]


def _paired(questions: Sequence[str]) -> list[tuple[str, str]]:
    """Return the questions that are the same but for a mark of the first and the second."""
    marked: dict[str, dict[str, str]] = {}
    for question in questions:
        marks = list(_MARK.finditer(question))
        if marks:
            mark = marks[0]
            skeleton = f"{question[: mark.start()]}#{question[mark.end() :]}"
            marked.setdefault(skeleton, {})[mark.group().lower()] = question
    return [
        (names[one], names[other])
        for names in marked.values()
        for one, other in sorted(_SECOND)
        if names.keys() == {one, other}
    ]


def _questions_of_columns(row: Mapping[str, Any]) -> list[str]:
    """Return the questions of a record that has a column for every field and question."""
    flat = [name.removesuffix(".responses") for name in row if name.endswith(".responses")]
    if flat or "external_id" not in row:
        return flat
    return [name for name, value in row.items() if _is_column_of_answers(value)]


def _is_column_of_answers(value: object) -> bool:
    if isinstance(value, dict):
        return {"user_id", "value"} <= value.keys()
    is_list = isinstance(value, list) and bool(value)
    return is_list and all(isinstance(v, dict) and "value" in v and "user_id" in v for v in value)  # type: ignore[attr-defined]


def _of_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    questions = _questions_of_columns(row)
    responses = {question: _answers_in(row, question) for question in questions}
    made = {name: row[name] for name in _OF_RECORDS if row.get(name) is not None}
    if isinstance(made.get("metadata"), str):
        made["metadata"] = _parsed_metadata(made["metadata"])
    fields = {
        name: value
        for name, value in row.items()
        if name not in _OF_RECORDS
        and name not in questions
        and not any(name.startswith(f"{q}.") or name.startswith(f"{q}-") for q in questions)
        and value is not None
    }
    return {**made, "fields": fields, "responses": responses}


def _parsed_metadata(text: str) -> Any:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {"metadata": text}
    return found if isinstance(found, dict) else {"metadata": found}


def _answers_in(row: Mapping[str, Any], question: str) -> list[dict[str, Any]]:
    said = row.get(question)
    if isinstance(said, list) and f"{question}.responses" not in row:
        return said
    if isinstance(said, dict):
        columns = (said.get("value"), said.get("user_id"), said.get("status"))
    else:
        ends = ("", ".users", ".status")
        columns = tuple(row.get(f"{question}.responses{end}") for end in ends)  # type: ignore[assignment]
    values, users, states = (one if isinstance(one, list) else [] for one in columns)
    return [
        {
            "value": value,
            "user_id": users[at] if at < len(users) else None,
            "status": states[at] if at < len(states) else "submitted",
        }
        for at, value in enumerate(values)
    ]


def convert(row: Mapping[str, Any], line: int) -> dict[str, Any]:
    """Return the canonical row of a prepared record.

    Raises:
        RowInvalid: a field cannot be read.
    """
    fields, metadata = row["fields"], row.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise RowInvalid(f"metadata: {shown(metadata)} is not an object")
    aside = _aside(metadata)
    first = side_read(metadata, RESPONSE1_IS)
    converted: dict[str, Any] = {
        "id": row.get("id", row.get("external_id")),
        "metadata": {name: value for name, value in metadata.items() if name not in _OWN},
        **aside,
        "human": list(_votes(row, first)),
    }
    if "prompt" not in aside and "messages" not in aside:
        texts = sided(first, fields["response1"], fields["response2"])
        converted |= {"prompt": fields.get("prompt"), **texts}
    return converted


def _aside(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what records written by this module hold besides their texts."""
    text = metadata.get(ASIDE)
    if text is None:
        return {}
    try:
        aside = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        aside = None
    if not isinstance(aside, dict):
        raise RowInvalid(f"metadata.{ASIDE}: {shown(text)} is not a JSON object")
    return aside


def _votes(row: Mapping[str, Any], first: str) -> Iterator[dict[str, Any]]:
    """Yield the vote of every answer, each a ranking since the record was prepared."""
    for question, answers in row["responses"].items():
        for answer in answers:
            kept = answer.get(ASIDE)
            label = _label(f"responses.{question}", answer["value"])
            yield {
                **(kept if isinstance(kept, dict) else {}),
                "annotator": answer.get("user_id"),
                "label": turned(label, first),
            }


def _objects(place: str, values: object) -> list[dict[str, Any]]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise RowInvalid(f"{place}: {shown(values)} is not a list of responses")
    return values


def _label(place: str, ranking: list[Any]) -> str:
    ranks: dict[str, int] = {}
    for number, entry in enumerate(ranking):
        # without ranks the list itself is the order
        name: object = entry
        rank: object = number
        if isinstance(entry, dict):
            name, rank = entry.get("value"), entry.get("rank")
        if isinstance(rank, bool) or not isinstance(rank, int) or not isinstance(name, str):
            raise RowInvalid(f"{place}: {shown(entry)} is no rank of a response")
        ranks[name] = rank
    if ranks.keys() != {"response1", "response2"}:
        raise RowInvalid(f"{place}: {shown(ranking)} does not rank response1 and response2")
    one, other = ranks["response1"], ranks["response2"]
    return "tie" if one == other else "a" if one < other else "b"


_RANKS = {"a": (1, 2), "b": (2, 1), "tie": (1, 1)}


def rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the record of a pair."""
    if given.is_battle:
        loss["pairs without texts"] += 1
        return
    row = given.row
    first = first_side(options.seed, row["id"])
    kept = {"ids", "groups", "texts", "models", "criteria of pairs", "recorded scores"}
    votes = {"votes"} if options.labels else set()
    count_lost(given, {*kept, "metadata of pairs", *votes}, loss)
    answers = [_response(vote, first) for vote in row["human"]] if options.labels else []
    yield {
        "id": row["id"],
        "fields": {
            "prompt": shown_prompt(row),
            "response1": shown_text(row, first),
            "response2": shown_text(row, "b" if first == "a" else "a"),
        },
        "metadata": {
            RESPONSE1_IS: first,
            "seed": options.seed,
            ASIDE: json.dumps(aside_of(given)),
        },
        "responses": {QUESTION: answers} if answers else {},
    }


def _response(vote: Mapping[str, Any], first: str) -> dict[str, Any]:
    ranks = _RANKS[turned(vote["label"], first)]
    return {
        "user_id": vote["annotator"],
        "status": "submitted",
        "value": [
            {"value": f"response{number}", "rank": rank} for number, rank in enumerate(ranks, 1)
        ],
        ASIDE: details_of(vote),
    }
