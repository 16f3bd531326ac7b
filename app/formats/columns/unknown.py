"""What a row of no known format may be, and what its sender can do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.core.names import shown
from app.formats.columns.flat import (
    ANSWERS,
    MODELS,
    PROMPTS,
    like_verdicts,
    of_python,
    of_texts,
    prompt_in,
    texts_in,
)

_FEW: Final = 2  # fields: a prompt and two answers are more
# what files that are one object call the list of their rows
_ROWS: Final = ("rows", "data", "results", "samples", "items", "records", "examples", "pairs")
_MOST_FIELDS: Final = 8  # of an object around rows, where the list has another name
_ANSWER: Final = ("text", "response", "answer", "completion", "content", "output")
_GRADE: Final = ("question_id", "model", "judge", "score")
_BETTER_AND_WORSE: Final = (
    ("accepted", "rejected"), ("preferred", "dispreferred"), ("better", "worse"), ("win", "lose"),
    ("winner", "loser"), ("positive", "negative"), ("y_w", "y_l"), ("chosen_response", "rejected_response"),
    ("response_chosen", "response_rejected"), ("chosen_answer", "rejected_answer"),
    ("good_answer", "bad_answer"), ("good_response", "bad_response"),
)  # fmt: skip
_PLAYERS: Final = (
    ("player_a", "player_b"), ("player_1", "player_2"), ("player1", "player2"),
    ("system_a", "system_b"), ("system_1", "system_2"),
)  # fmt: skip
_TRUTHS: Final = ("true", "false", "0", "1")


def why_unknown(row: Mapping[str, Any]) -> str:
    """Return what a row of no known format may be, and what to do; "" where nothing is known."""
    return next((why for look in _LOOKS if (why := look(row))), "")


def of_object(row: Mapping[str, Any]) -> str:
    """Return why a file that is one JSON object holds no rows as it is; "" where it may."""
    looks = (of_columns, _of_split, _of_rows_by_name, _of_rows)
    return next((why for look in looks if (why := look(row))), "")


def of_columns(row: Mapping[str, Any]) -> str:
    """Return why an object of columns is no row; "" where it is none."""
    columns = [list(value) for value in row.values() if isinstance(value, dict)]
    is_indexed = len(columns) == len(row) > 0 and all(
        names and names == columns[0] and all(name.isdigit() for name in names) for names in columns
    )
    return (
        "the file is one JSON object of columns: write one object a row (in pandas "
        'orient="records")'
        if is_indexed or _are_columns(row)
        else ""
    )


def _are_columns(row: Mapping[str, Any]) -> bool:
    """Return whether all fields are lists of as many values, and are not turns by their names."""
    columns = [value for value in row.values() if isinstance(value, list)]
    is_even = len(columns) == len(row) > _FEW and len({len(values) for values in columns}) == 1
    has_turns = "responses_a" in row or any(isinstance(v, dict) for vs in columns for v in vs)
    return is_even and not has_turns


def _of_split(row: Mapping[str, Any]) -> str:
    if not all(isinstance(row.get(name), list) for name in ("columns", "data")):
        return ""
    return (
        "the file is one JSON object of columns and data: write one object a row (in pandas "
        'orient="records")'
    )


def _of_rows_by_name(row: Mapping[str, Any]) -> str:
    if not row or not all(isinstance(value, dict) for value in row.values()):
        return ""
    if len(row) == 1:
        return (
            f"the row stands inside its field {shown(next(iter(row)))}: write its fields at the top"
        )
    return (
        "the file is one JSON object, and each of its fields holds a row: give a list of the rows"
    )


def _lists(row: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the lists of objects in a row, and in the objects in it, with their places."""
    for name, value in row.items():
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            if not {"role", "from"} & value[0].keys():
                yield f"{place}{name}", value
        elif isinstance(value, dict) and not place:
            yield from _lists(value, f"{name}.")


def _of_rows(row: Mapping[str, Any]) -> str:
    found = dict(_lists(row))
    place = next((one for one in found if one.split(".")[-1] in _ROWS), None)
    if place is None:
        if answers := _of_answers(found):
            return answers
        places = [one for one in found if "." not in one]
        if len(places) != 1 or len(row) > _MOST_FIELDS or texts_in({places[0]: found[places[0]]}):
            return ""
        [place] = places
    inside = ", with the fields of 'row' at the top of each" if "row" in found[place][0] else ""
    return (
        f"if the file is one JSON object, its field {shown(place)} holds the rows: give that "
        f"list alone{inside}"
    )


def _of_answers(lists: Mapping[str, list[dict[str, Any]]]) -> str:
    for place, values in lists.items():
        has_prompt = any(name in values[0] for name in PROMPTS)
        if len(values) > 1 and any(name in values[0] for name in _ANSWER) and not has_prompt:
            return (
                f"the answers stand in the list {shown(place)}: write them as two columns, response_a "
                "and response_b, beside prompt, and who won as label (a, b or tie)"
            )
    return ""


def _of_cells(row: Mapping[str, Any]) -> str:
    if len(row) != 1:
        return ""
    [name] = row
    sign = next((sign for sign in ";\t|" if sign in name), None)
    if sign is not None:
        return f"the columns seem to be separated by {'tab' if sign == chr(9) else repr(sign)}"
    signs = Counter(re.findall(r"[^\w\s'\".-]+", name)).most_common(1)
    if not signs or signs[0][1] < _FEW:
        return ""
    what = "say so with --delimiter" if len(signs[0][0]) == 1 else "a separator is one character"
    return f"the columns seem to be separated by {signs[0][0]!r}: {what} (parameter `delimiter`)"


def _of_python(row: Mapping[str, Any]) -> str:
    names = [name for name, value in row.items() if of_python(value)]
    return f"{shown(names[0])} is a list{of_python(row[names[0]])}" if names else ""


def _of_one_answer(row: Mapping[str, Any]) -> str:
    if {"prompt", "completion", "label"} <= row.keys() and str(row["label"]).lower() in _TRUTHS:
        return (
            "these are answers marked good or bad one by one (KTO), not two answers to compare: "
            "give a pair a row, prompt, chosen, rejected"
        )
    return ""


def of_grades(row: Mapping[str, Any]) -> str:
    """Return why a judge's score of one answer is no row; "" where it is none."""
    if not all(name in row for name in _GRADE) or "response" in row:
        return ""
    return (
        "this is a judge's score of one answer without the answer (MT-Bench, single): give a row for each "
        "answer with prompt, response, model, score and the judge as annotator"
    )


def _of_preferences(row: Mapping[str, Any]) -> str:
    """Return the declaration of a row whose better and worse answer have other names."""
    found = next(
        (
            (good, bad)
            for good, bad in _BETTER_AND_WORSE
            if isinstance(row.get(good), str | list) and isinstance(row.get(bad), str | list)
        ),
        None,
    )
    if found is None or prompt_in(row) is None:
        return ""
    return (
        f"if {shown(found[0])} holds the better answer and {shown(found[1])} the other one, give --map "
        f'"chosen={found[0]},rejected={found[1]}" (parameter `map`)'
    )


def _of_battles(row: Mapping[str, Any]) -> str:
    """Return the declaration of a row of two models whose columns have other names."""
    if {"winner", "loser"} <= row.keys() and not texts_in(row):
        return "a battle has two models and who won: model_a, model_b and winner"
    models = next(((a, b) for a, b in (*MODELS, *_PLAYERS) if a in row and b in row), None)
    verdicts = like_verdicts(row)
    if models is None or not verdicts or texts_in(row):
        return ""
    return (
        "if these are battles of two models, give --map "
        f'"model_a={models[0]},model_b={models[1]},winner={verdicts[0]}" (parameter `map`)'
    )


def _of_responses(row: Mapping[str, Any]) -> str:
    if not {"prompt", "response"} <= row.keys():
        return ""
    return (
        "a row of one response needs its model beside prompt and response, and score with annotator, or "
        "human (docs/data-formats.md, scores of single responses)"
    )


def _of_argilla(row: Mapping[str, Any]) -> str:
    fields = row.get("fields")
    if not isinstance(fields, dict):
        return ""
    return (
        f"the fields of this Argilla record ({', '.join(map(shown, fields))}) hold no two "
        "responses of one name and two numbers, as response1 and response2"
    )


def _of_names_nearly_known(row: Mapping[str, Any]) -> str:
    """Return the declaration where names differ from known ones by case and blanks alone."""
    names = {re.sub(r"[\s_-]+", "_", name.strip()).casefold(): name for name in row}
    prompt = next((names[name] for name in PROMPTS if name in names), None)
    answers = next(((names[a], names[b]) for a, b in ANSWERS if a in names and b in names), None)
    if prompt is None or answers is None:
        return ""
    said = {"prompt": prompt, "response_a": answers[0], "response_b": answers[1]}
    said |= {name: names[name] for name in ("model_a", "model_b", "annotator") if name in names}
    verdicts = like_verdicts(row)
    if verdicts:
        said["label"] = verdicts[0]
    if any(not name.isprintable() or set(name) & set(',"=') for name in said.values()):
        return ""
    declared = ",".join(f"{field}={name}" for field, name in said.items())
    return f'if its columns mean what their names say, give --map "{declared}" (parameter `map`)'


def _of_texts(row: Mapping[str, Any]) -> str:
    texts = texts_in(row)
    return of_texts(texts, row) if texts else ""


def _of_anything(row: Mapping[str, Any]) -> str:
    if len(row) < 3:  # a prompt and two answers
        return ""
    return (
        "if its columns have other names, say which is which with "
        "--map prompt=...,response_a=...,response_b=...,label=... (parameter `map`)"
    )


_LOOKS: Final = (
    _of_cells, _of_python, of_columns, _of_split, _of_rows_by_name, _of_one_answer, of_grades, _of_argilla,
    _of_preferences, _of_battles, _of_responses, _of_rows, _of_names_nearly_known, _of_texts,
    _of_anything,
)  # fmt: skip
