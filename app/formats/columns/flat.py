"""Flat rows: two answers and perhaps one verdict, each in a column of its own.

Tables of colleagues and of many published sets look so. A column that says who won becomes a vote,
in every container alike; columns with other common names for the texts are read as those texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from app.core.names import shown
from app.formats.base import RowInvalid, message_of, whole
from app.formats.columns.declared import code_of, is_number
from app.formats.columns.verdicts import BOTH_BAD, Heard, is_empty, spelt, with_vote
from judges.records import RECORD_FIELDS

VERDICTS: Final = ("label", "winner", "preference")
PROMPTS: Final = ("prompt", "messages", "question", "instruction", "query", "user_prompt", "input")
# columns that may hold the conversation as messages
_TURNS: Final = ("context", "conversation", "conversations", "dialogue", "history")
VOTER: Final = re.compile(
    r"(annotator|rater|labell?er|worker|user|evaluator|reviewer|coder|participant|respondent|assessor|"
    r"expert)[_ -]?(id|name|email|hash)?|(completed|labell?ed|annotated|rated)[_ -]?by",
    re.IGNORECASE,
)
_COUNT: Final = re.compile(
    r"(counts?|n|weights?|votes|(num|n|number_of)_?(battles|votes|times)|freq(uency)?|times)",
    re.IGNORECASE,
)
_WORDS: Final = (
    "response", "output", "answer", "completion", "generation", "reply", "text", "candidate",
)  # fmt: skip
ANSWERS: Final = (
    ("responses_a", "responses_b"),
    *((f"{word}{joint}{a}", f"{word}{joint}{b}")
      for word in _WORDS for joint in ("_", "", "-") for a, b in ("ab", "AB", "01", "12")),
    *((f"{a}_{word}", f"{b}_{word}")
      for word in _WORDS for a, b in (("a", "b"), ("model_a", "model_b"), ("left", "right"))),
)  # fmt: skip
_SIDE: Final = "a|b|c|d|x|y|left|right|first|second|third|one|two|three"
_NOUNS: Final = (
    "responses?|outputs?|answers?|completions?|generations?|repl(?:y|ies)|texts?|candidates?"
)
MODELS: Final = tuple(
    (f"{word}{joint}{a}", f"{word}{joint}{b}")
    for word in ("model", "generator", "model_name", "model_id")
    for joint in ("_", "")
    for a, b in ("ab", "AB", "01", "12")
)
_TEXT: Final = re.compile(
    r"(user_?|system_?|input_?|orig(inal)?_)?(prompts?|instructions?|questions?|quer(y|ies)|"
    r"conversations?|messages?|dialogues?|context|inputs?)([_-]?(a|b|1|2|text))?|"
    rf"((model_?)?({_SIDE}|[12])[_-])?(orig(inal)?_)?({_NOUNS})([ _-]?({_SIDE}|\d))?|chosen|rejected",
    re.IGNORECASE,
)
# further words for a response, of which a column without a side may be about something else
_TEXT_OF_A_SIDE: Final = re.compile(
    rf"(orig(inal)?_)?({_NOUNS}|summar(y|ies)|translations?|stor(y|ies)|essays?|poems?|captions?|code|"
    r"solutions?|articles?|posts?)([ _-]?(a|b|left|right|first|second|\d))",
    re.IGNORECASE,
)
_OF_A_SIDE: Final = re.compile(
    rf"(?i:.+[ _-]({_SIDE})|.+[ _-]?\d|(model_?)?({_SIDE}|[12])[ _-].+|left|right)|.+[a-z][AB]"
)
_ASKED: Final = re.compile(
    r"(.*[ _-])?(prompt|question|instruction|query|task|article|document|passage|source|post|problem|"
    r"input|context|message)s?([ _-](text|content|body|str|raw))?",
    re.IGNORECASE,
)
# what people write about an answer is none
_REMARK: Final = re.compile(
    r".*(reason|comment|explanation|rationale|critique|feedback|judge?ment|note|remark|justification|"
    r"description|url|link|hash|id$).*",
    re.IGNORECASE,
)
_FURTHER: Final = re.compile(rf"({_NOUNS})[_-]?([c-h]|\d+)", re.IGNORECASE)
_SHORT: Final = 64  # characters of names that are remembered
_LIKE_A_TEXT: Final = (8, 100)  # words, or characters
# texts that a judge should see, and that a pair has no place for
_BESIDE: Final = re.compile(
    r"(system|developer)[ _-]?(prompt|message|instruction)?s?|context|background|passage|document|"
    r"article|history|system_prompt_[ab]",
    re.IGNORECASE,
)
# a column of such a name may say who won; a row without a vote that has one is told of
LIKE_A_VERDICT: Final = re.compile(
    r"(.*[_ -])?(labels?|winners?|preferences?|preferred|prefers?|votes?|verdicts?|choices?|chosen|"
    r"rank(ing|s)?|ratings?|scores?|judge?ments?|completions?|better|best|results?|outcomes?|"
    r"decisions?|selected|selection|annotations?|evaluations?|feedbacks?|opinions?|wins?|won|margins?|"
    r"strength|urteil|gewinner|wahl)([_ -].*)?|"
    r"(annotator|rater|labell?er|human|user|person|worker|expert|reviewer|evaluator)[_ -]?\d+|p_?[ab]|(annotators|raters|labell?ers|voters)",
    re.IGNORECASE,
)
_NOT_VERDICTS: Final = frozenset(
    {"num_correct", "chosen_side", "judge_score", "oracle_label", "scores_a", "scores_b"}
)
# these say which answer was seen where, not which is better
_SHOWN: Final = re.compile(r".*(first|shown|order|position|side|swap|variant).*", re.IGNORECASE)
_VOTE: Final = ("annotator", "criterion")
_MOST_NAMED: Final = 5
_RECORDED: Final = ("label", "label_original", "label_swapped")
_LABELS: Final = ("a", "b", "tie")
_CODES: Final = frozenset({"-1", "0", "1", "2", "true", "false"})
_RECORDS: Final = frozenset({"human", "judges", "metadata"})


def answers_in(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the names of the two columns of answers, None where there are none."""
    return next(((a, b) for a, b in ANSWERS if a in row and b in row), None)


def prompt_in(row: Mapping[str, Any]) -> str | None:
    """Return the name of the column of the prompt, None where there is none."""
    asked = next((name for name in PROMPTS if not is_empty(row.get(name))), None)
    return asked or next((name for name in _TURNS if _turns(row.get(name))), None)


def _turns(value: object) -> list[dict[str, Any]]:
    """Return the messages that a value is; none where it is something else."""
    if not isinstance(value, list):
        return []
    are_turns = all(isinstance(v, dict) and ("role" in v or "from" in v) for v in value)
    return value if are_turns else []


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether the row has a prompt and two answers."""
    has_prompt = any(name in row for name in PROMPTS) or prompt_in(row) is not None
    return answers_in(row) is not None and has_prompt


def voter_in(row: Mapping[str, Any]) -> str | None:
    """Return the name of a column that seems to say who voted, None where there is none."""
    return next(
        (
            name
            for name, value in row.items()
            if VOTER.fullmatch(name) and not is_empty(value) and len(str(value)) <= _LIKE_A_TEXT[1]
        ),
        None,
    )


def judge_in(row: Mapping[str, Any], heard: Heard) -> tuple[str | None, bool]:
    """Return whom the column `judge` names, and whether it is a model; a list is a model's name."""
    judge = row.get("judge")
    if isinstance(judge, list) and judge and all(isinstance(part, str) for part in judge):
        name = "/".join(judge)
        heard.note_who("judge", name, is_model=True)
        return name, True
    if isinstance(judge, bool) or not isinstance(judge, str | int) or is_empty(judge):
        return None, False
    return str(judge), heard.is_model("judge", str(judge))


def texts_in(row: Mapping[str, Any]) -> list[str]:
    """Return the columns that hold texts, by their names or by what they hold."""
    return [
        name
        for name, value in row.items()
        if (isinstance(value, str) and _is_text(name, value))
        or (isinstance(value, list | dict) and value and _TEXT.fullmatch(name))
    ]


def _is_text(name: str, value: str) -> bool:
    kind = _kind_of_short(name) if len(name) <= _SHORT else _kind(name)
    if kind is not None:
        return kind and not is_number(value)
    words, characters = _LIKE_A_TEXT
    return len(value) > characters or "\n" in value or len(value.split()) >= words


def _kind(name: str) -> bool | None:
    """Return whether a column of this name holds texts; None where its values tell."""
    if _TEXT.fullmatch(name) or _TEXT_OF_A_SIDE.fullmatch(name):
        return True
    may_be = (_OF_A_SIDE.fullmatch(name) or _ASKED.fullmatch(name)) and not _REMARK.fullmatch(name)
    return None if may_be else False


# the columns of a table are the same in every row
_kind_of_short: Final = lru_cache(maxsize=4096)(_kind)


def texts_of_sides(row: Mapping[str, Any]) -> list[str]:
    """Return the columns that hold a text of one side, by their names."""
    return [name for name in texts_in(row) if _OF_A_SIDE.fullmatch(name)]


def unseen_in(row: Mapping[str, Any]) -> list[str]:
    """Return the columns with texts that belong to a pair and that no judge sees, by their names."""
    return [
        name
        for name, value in row.items()
        if value and isinstance(value, str | list) and _BESIDE.fullmatch(name)
    ]


def further_answers(row: Mapping[str, Any]) -> list[str]:
    """Return the columns of third and further answers, by their names."""
    return [
        name
        for name, value in row.items()
        if isinstance(value, str) and value and _FURTHER.fullmatch(name) and not is_number(value)
    ]


def like_verdicts(row: Mapping[str, Any]) -> list[str]:
    """Return the columns that may say who won, by their names."""
    return [
        name
        for name, value in row.items()
        if not is_empty(value)
        and LIKE_A_VERDICT.fullmatch(name)
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
        if not is_empty(value) and not _SHOWN.fullmatch(name) and not LIKE_A_VERDICT.fullmatch(name)
    }


def second_verdicts(row: Mapping[str, Any]) -> list[str]:
    """Return the columns that seem to say who won, in a row that has votes already."""
    return [name for name in like_verdicts(row) if spelt(row[name]) is not None]


def lowered(row: Mapping[str, Any], heard: Heard) -> tuple[dict[str, Any], bool]:
    """Return a row with its texts and its vote in canonical fields, and whether it had a vote.

    Raises:
        RowInvalid: the verdict cannot be read, or the row is a battle and has texts.
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
    note_counts(made, heard)
    if "annotator" not in vote:
        judge, is_model = judge_in(made, heard)
        if judge is not None and is_model:
            return _with_record(_without(made, "judge"), judge, said), False
        if judge is not None:
            vote["annotator"] = made.pop("judge")
        elif (voter := voter_in(made)) is not None:
            note_voter(voter, heard)
    made = with_vote(made, said, vote.get("annotator"))
    made["human"][-1].update(vote)
    return made, True


def note_counts(row: Mapping[str, Any], heard: Heard) -> None:
    """Note a column that seems to say how many votes a row stands for: it is one."""
    for name, value in row.items():
        if _COUNT.fullmatch(name) and is_number(value) and str(value) not in ("1", "1.0"):
            heard.notes[
                f"{shown(name)[1:-1]}: does not count votes, in {{n}} rows: every row is one vote, so write "
                "one for each"
            ] += 1


def note_voter(column: str, heard: Heard) -> None:
    """Note that votes have no annotator, and that a column seems to name them."""
    name = shown(column)[1:-1]
    heard.notes[
        f"{name}: looks like the name of who voted and is kept as metadata in {{n}} rows; if it is, read "
        f"it with --map annotator={name} (parameter `map`)"
    ] += 1


def _without(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


def _with_record(row: dict[str, Any], judge: str, said: str) -> dict[str, Any]:
    records = row.get("judges") or {}
    if not isinstance(records, dict):
        raise RowInvalid(f"judges: {shown(records)} is not an object")
    return {**row, "judges": {**records, judge: {"label": "tie" if said == BOTH_BAD else said}}}


def _with_texts(row: Mapping[str, Any], heard: Heard) -> dict[str, Any]:
    """Return a row with its texts and models under their canonical names.

    Raises:
        RowInvalid: it has texts, and no two answers among them.
    """
    made, found, heard.columns = dict(row), answers_in(row), ()
    if found is None:
        _check_battle(row)
        return made
    if found[0] not in ("response_a", "responses_a"):
        heard.columns = (found,)
        for side, name in zip("ab", found, strict=True):
            value = made.pop(name)
            is_turns = isinstance(value, list) and not _turns(value)
            made[f"responses_{side}" if is_turns else f"response_{side}"] = value
        heard.notes[f"{found[0]} and {found[1]} are read as the two responses in {{n}} rows"] += 1
    asked = None if "prompt" in made or "messages" in made else prompt_in(made)
    if asked is not None:
        made["prompt"] = made.pop(asked)
        heard.notes[f"{asked} is read as the prompt in {{n}} rows"] += 1
    if _turns(made.get("prompt")) and "messages" not in made:
        made["messages"] = made.pop("prompt")
    return _with_models(_with_turns(made), heard)


def _with_turns(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose messages have role and content, and whose responses are texts.

    A response may be a message, or a conversation that ends with it.
    """
    if turns := _turns(row.get("messages")):
        row["messages"] = [_message(f"messages.{n}", one) for n, one in enumerate(turns)]
    sides = [row.get(name) for name in ("response_a", "response_b")]
    ends = [_turns(side if isinstance(side, list) else [side]) for side in sides]
    if not all(ends):
        return row
    talks = [[_message("response", one) for one in end] for end in ends]
    row["response_a"], row["response_b"] = (talk[-1].get("content") for talk in talks)
    before = [talk[:-1] for talk in talks]
    if before[0] != before[1]:
        raise RowInvalid("response_b: the turns before the last differ from those of response_a")
    if before[0] and is_empty(row.get("prompt")) and "messages" not in row:
        row["messages"] = before[0]
    elif before[0]:
        raise RowInvalid("response_a: holds turns before the answer: leave them out, or the prompt")
    return row


def _message(place: str, turn: Mapping[str, Any]) -> dict[str, Any]:
    """Return a turn with role and content; a content in parts of text is one text."""
    made = message_of(place, turn)
    parts = made.get("content")
    if isinstance(parts, list) and all(isinstance(one, dict) and "text" in one for one in parts):
        made["content"] = "\n".join(str(one["text"]) for one in parts)
    return made


def _check_battle(row: Mapping[str, Any]) -> None:
    """Refuse a row of two models with texts that no judge would see."""
    if any(name in row for name in ("prompt", "messages", "response_a", "response_b")):
        return
    if texts := texts_in(row):
        raise RowInvalid(of_texts(texts, row))


def _with_models(row: dict[str, Any], heard: Heard) -> dict[str, Any]:
    """Return a row with its models under their canonical names; note texts that no judge sees."""
    found = next(((a, b) for a, b in MODELS if a in row and b in row), None)
    if found not in (None, ("model_a", "model_b")) and not {"model_a", "model_b"} & row.keys():
        a, b = found
        heard.columns = (*heard.columns, found)
        row["model_a"], row["model_b"] = row.pop(a), row.pop(b)
        heard.notes[f"{a} and {b} are read as the two models in {{n}} rows"] += 1
    for name in further_answers(row)[:_MOST_NAMED]:
        heard.notes[
            f"{name}: is a further response and is kept as metadata in {{n}} rows; a row holds two: give "
            "every two of them a row of their own"
        ] += 1
    note_unseen(row, heard)
    return row


def note_unseen(row: Mapping[str, Any], heard: Heard) -> None:
    """Note which texts of a row belong to its prompt and will not be seen by judges."""
    for name in unseen_in(row)[:_MOST_NAMED]:
        heard.notes[
            f"{name}: looks like a text that belongs to the prompt and is kept as metadata in {{n}} "
            "rows, where no judge sees it; to show it, write it into prompt (or messages)"
        ] += 1


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
            for name in sorted(record.keys() - RECORD_FIELDS)[:_MOST_NAMED]:
                heard.notes[f"judges: {shown(name)} is not kept, in {{n}} records"] += 1
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


def of_texts(texts: Sequence[str], row: Mapping[str, Any]) -> str:
    """Return why a row with texts, and without two answers to a prompt, is not read."""
    verdicts = [name for name in like_verdicts(row) if name not in texts]
    more = f",label={verdicts[0]}" if verdicts else ""
    is_battle = {"model_a", "model_b"} <= row.keys() or {"left", "right"} <= row.keys()
    without = "; a battle of two models has no texts: leave them out" if is_battle else ""
    return (
        f"the row has texts ({', '.join(map(shown, texts[:_MOST_NAMED]))}) but no prompt with two "
        "answers: say which columns they are with --map prompt=...,response_a=...,response_b=..."
        f"{more} (parameter `map`){without}"
    )


_PYTHON: Final = "; it is written as Python shows it: use json.dumps"
_OF_PYTHON: Final = re.compile(r"[\[\s]*\{'|\s*\['")


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
    return _PYTHON if isinstance(cell, str) and _OF_PYTHON.match(cell) else ""
