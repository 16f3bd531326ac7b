"""Flat rows: two answers and perhaps one verdict, each in a column of its own.

Tables of colleagues and of many published sets look so. A column that says who won becomes a vote,
in every container alike; columns with other common names for the texts are read as those texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from app.core.names import shown
from app.formats.base import RowInvalid, whole
from app.formats.columns.declared import code_of
from app.formats.columns.verdicts import BOTH_BAD, Heard, is_empty, is_number, spelt, with_vote

VERDICTS: Final = ("label", "winner", "preference")
_PROMPTS: Final = ("prompt", "messages", "question", "instruction", "query", "user_prompt", "input")
_WORDS: Final = (
    "response", "output", "answer", "completion", "generation", "reply", "text", "candidate",
)  # fmt: skip
_ANSWERS: Final = (
    ("responses_a", "responses_b"),
    *((f"{word}{joint}{a}", f"{word}{joint}{b}")
      for word in _WORDS for joint in ("_", "", "-") for a, b in ("ab", "AB", "12")),
    *((f"{a}_{word}", f"{b}_{word}")
      for word in _WORDS for a, b in (("a", "b"), ("model_a", "model_b"), ("left", "right"))),
)  # fmt: skip
_TEXT: Final = re.compile(
    r"(user_?|system_?|input_?)?(prompts?|instructions?|questions?|quer(y|ies)|conversations?|"
    r"messages?|dialogues?|context|inputs?)([_-]?(a|b|1|2))?|"
    r"((model_?)?(a|b|1|2|left|right|first|second)[_-])?"
    r"(responses?|outputs?|answers?|completions?|generations?|repl(y|ies)|texts?|candidates?)"
    r"([_-]?(a|b|x|y|0|1|2|left|right|first|second|one|two))?|chosen|rejected",
    re.IGNORECASE,
)
# a column of such a name may say who won; a row without a vote that has one is told of
_LIKE_A_VERDICT: Final = re.compile(
    r"(.*[_ -])?(labels?|winners?|preferences?|preferred|prefers?|votes?|verdicts?|choices?|chosen|"
    r"rank(ing|s)?|ratings?|scores?|judge?ments?|completions?|better|best|results?|outcomes?|"
    r"decisions?|selected|selection|annotations?|urteil|gewinner|wahl)([_ -].*)?|"
    r"(annotator|rater|labell?er|human|user|person|worker|expert|reviewer|evaluator)[_ -]?\d+",
    re.IGNORECASE,
)
_NOT_VERDICTS: Final = frozenset(
    {"num_correct", "chosen_side", "judge_score", "oracle_label", "scores_a", "scores_b"}
)
# these say which answer was seen where, not which is better
_SHOWN: Final = re.compile(r".*(first|shown|order|position|side|swap|variant).*", re.IGNORECASE)
_VOTE: Final = ("annotator", "criterion")
_FEW: Final = 2  # fields: a prompt and two answers are more
_RECORDED: Final = ("label", "label_original", "label_swapped")
_LABELS: Final = ("a", "b", "tie")
_CODES: Final = frozenset({"-1", "0", "1", "2"})
_RECORDS: Final = frozenset({"human", "judges", "metadata"})


def answers_in(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the names of the two columns of answers, None where there are none."""
    return next(((a, b) for a, b in _ANSWERS if a in row and b in row), None)


def prompt_in(row: Mapping[str, Any]) -> str | None:
    """Return the name of the column of the prompt, None where there is none."""
    return next((name for name in _PROMPTS if not is_empty(row.get(name))), None)


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether the row has a prompt and two answers."""
    return answers_in(row) is not None and any(name in row for name in _PROMPTS)


def texts_in(row: Mapping[str, Any]) -> list[str]:
    """Return the columns that hold texts, by their names."""
    return [
        name
        for name, value in row.items()
        if _TEXT.fullmatch(name) and isinstance(value, str | list) and not is_number(value)
    ]


def like_verdicts(row: Mapping[str, Any]) -> list[str]:
    """Return the columns that may say who won, by their names."""
    return [
        name
        for name, value in row.items()
        if not is_empty(value)
        and _LIKE_A_VERDICT.fullmatch(name)
        and name not in _NOT_VERDICTS
        and name not in _RECORDS
    ]


def spelt_verdicts(row: Mapping[str, Any]) -> dict[str, bool]:
    """Return whether what a column holds is a verdict in words, by the names of filled columns."""
    return {
        name: spelt(value) is not None
        for name, value in row.items()
        if not is_empty(value) and name not in _NOT_VERDICTS and not _SHOWN.fullmatch(name)
    }


def codes_in(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the codes of verdicts that columns may hold, "" for any other value, by their names."""
    return {
        name: code if (code := code_of(value)) in _CODES else ""
        for name, value in row.items()
        if not is_empty(value)
        and not _SHOWN.fullmatch(name)
        and not _LIKE_A_VERDICT.fullmatch(name)
    }


def second_verdicts(row: Mapping[str, Any]) -> list[str]:
    """Return the columns that seem to say who won, in a row that has votes already."""
    return [name for name in like_verdicts(row) if spelt(row[name]) is not None]


def lowered(row: Mapping[str, Any], heard: Heard) -> tuple[dict[str, Any], bool]:
    """Return a row with its texts and its vote in canonical fields, and whether it had a vote.

    Raises:
        RowInvalid: the verdict cannot be read.
    """
    made = _with_coded_records(_with_texts(row, heard), heard)
    column = next((name for name in VERDICTS if name in made), None)
    if column is None or made.get("human"):
        return _with_coded_votes(made, heard), False
    names = (made.get("model_a"), made.get("model_b"))
    said = heard.label(column, made.pop(column), names)
    vote = {name: made.pop(name) for name in _VOTE if name in made}
    if said is None:
        return made, True
    vote = {name: whole(value) for name, value in vote.items() if not is_empty(value)}
    judge = made.get("judge")
    if "annotator" not in vote and isinstance(judge, str | int) and not isinstance(judge, bool):
        del made["judge"]
        if heard.is_model("judge", str(judge)):
            return _with_record(made, str(judge), said), False
        vote["annotator"] = judge
    made = with_vote(made, said, vote.get("annotator"))
    made["human"][-1].update(vote)
    return made, True


def _with_record(row: dict[str, Any], judge: str, said: str) -> dict[str, Any]:
    records = row.get("judges") or {}
    if not isinstance(records, dict):
        raise RowInvalid(f"judges: {shown(records)} is not an object")
    return {**row, "judges": {**records, judge: {"label": "tie" if said == BOTH_BAD else said}}}


def _with_texts(row: Mapping[str, Any], heard: Heard) -> dict[str, Any]:
    """Return a row with its texts under their canonical names."""
    made = dict(row)
    found = answers_in(row)
    if found is None:
        return made
    if found[0] not in ("response_a", "responses_a"):
        for side, name in zip("ab", found, strict=True):
            value = made.pop(name)
            made[f"responses_{side}" if isinstance(value, list) else f"response_{side}"] = value
        heard.notes[f"{found[0]} and {found[1]} are read as the two responses in {{n}} rows"] += 1
    asked = None if "prompt" in made or "messages" in made else prompt_in(made)
    if asked is not None:
        made["prompt"] = made.pop(asked)
        heard.notes[f"{asked} is read as the prompt in {{n}} rows"] += 1
    return made


def _with_coded_votes(row: dict[str, Any], heard: Heard) -> dict[str, Any]:
    """Return a row whose votes, in a list, are read as those in columns are."""
    human = row.get("human")
    if not isinstance(human, list):
        return row
    names = (row.get("model_a"), row.get("model_b"))
    votes = []
    for vote in human:
        if isinstance(vote, dict) and _is_coded(vote.get("label"), heard):
            said = heard.label_or_text("human.label", vote["label"], names)
            if said is not None:
                votes.append({**vote, "label": said})
        else:
            votes.append(vote)
    return {**row, "human": votes}


def _with_coded_records(row: dict[str, Any], heard: Heard) -> dict[str, Any]:
    """Return a row whose recorded labels are read as verdicts in columns are."""
    records = row.get("judges")
    if not isinstance(records, dict):
        return row
    names = (row.get("model_a"), row.get("model_b"))
    read: dict[str, Any] = {}
    for judge, record in records.items():
        if isinstance(record, dict):
            coded = [name for name in _RECORDED if _is_coded(record.get(name), heard)]
            said = {n: heard.label_or_text(f"judges.{n}", record[n], names) for n in coded}
            said = {name: "tie" if one == BOTH_BAD else one for name, one in said.items()}
            record = {**record, **said} if said else record
        read[judge] = record
    return {**row, "judges": read}


def _is_coded(value: object, heard: Heard) -> bool:
    """Return whether a label is none of those that every row may have: those are sides."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or is_empty(value):
        return False
    return value not in _LABELS or heard.is_coded(value)


def without_numbers(row: Mapping[str, Any], heard: Heard) -> Mapping[str, Any]:
    """Return a row of votes, for a pair of another row, with its label read by the coding.

    Another text stays as it is: it may be the name of a model of the pair.

    Raises:
        RowInvalid: the label cannot be read.
    """
    if "human" in row:
        return _with_coded_votes(dict(row), heard)
    column = next(name for name in VERDICTS if name in row)
    if is_empty(row[column]):
        raise RowInvalid(f"{column}: is missing")
    rest = {name: value for name, value in row.items() if name != column}
    if isinstance(row[column], str) and not heard.is_coded(row[column]):
        return {**rest, "label": row[column]}
    said = heard.label(column, row[column])
    del rest["id"]
    # a value that is declared to be no vote is none here, as in the row of a pair
    return {"id": row["id"], "human": [{**rest, "label": said}] if said is not None else []}


def why_unknown(row: Mapping[str, Any]) -> str:
    """Return what a row of no known format may be, and what to do; "" where nothing is known."""
    return next((why for look in _LOOKS if (why := look(row))), "")


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
    return (
        "the file is one JSON object, and each of its fields holds a row: give a list of the rows"
    )


def _of_rows(row: Mapping[str, Any]) -> str:
    lists = [
        name
        for name, value in row.items()
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value)
    ]
    is_table = (
        len(lists) == 1 and len(row) <= 8 and not {"role", "from"} & set(row[lists[0]][0])
    )  # a header's worth of other fields
    if not is_table or _TEXT.fullmatch(lists[0]):
        return ""
    return (
        f"if the file is one JSON object, its field {shown(lists[0])} holds the rows: give that "
        "list alone"
    )


def _of_cells(row: Mapping[str, Any]) -> str:
    if len(row) != 1:
        return ""
    [name] = row
    sign = next((sign for sign in ";\t|" if sign in name), None)
    if sign is None:
        return ""
    return f"the columns seem to be separated by {'tab' if sign == chr(9) else repr(sign)}"


def _of_one_answer(row: Mapping[str, Any]) -> str:
    if {"prompt", "completion", "label"} <= row.keys() and isinstance(row["label"], bool):
        return (
            "these are answers marked good or bad one by one (KTO), not two answers to compare: "
            "give a pair a row, prompt, chosen, rejected"
        )
    return ""


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
    prompt = next((names[name] for name in _PROMPTS if name in names), None)
    answers = next(((names[a], names[b]) for a, b in _ANSWERS if a in names and b in names), None)
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
    if not texts:
        return ""
    verdicts = [name for name in like_verdicts(row) if name not in texts]
    more = f",label={verdicts[0]}" if verdicts else ""
    return (
        f"the row has texts ({', '.join(map(shown, texts))}) but no prompt with two answers: say "
        f"which columns they are with --map prompt=...,response_a=...,response_b=...{more} "
        "(parameter `map`)"
    )


def _of_anything(row: Mapping[str, Any]) -> str:
    if len(row) < 3:  # a prompt and two answers
        return ""
    return (
        "if its columns have other names, say which is which with "
        "--map prompt=...,response_a=...,response_b=...,label=... (parameter `map`)"
    )


_LOOKS: Final = (
    _of_cells, of_columns, _of_split, _of_rows_by_name, _of_one_answer, _of_argilla, _of_rows,
    _of_names_nearly_known, _of_texts, _of_anything,
)  # fmt: skip


def turns_in(cell: object) -> object:
    """Return the list of turns that a text spells as JSON, else the value."""
    if not isinstance(cell, str) or not cell.lstrip().startswith("["):
        return cell
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    return found if isinstance(found, list) else cell


def of_python(cell: object) -> str:
    """Return why a text is no list of turns, if it is a list as Python shows it, else ""."""
    if not isinstance(cell, str) or not cell.lstrip("[ \n").startswith("{'"):
        return ""
    return "; it is written as Python shows it: use json.dumps"
