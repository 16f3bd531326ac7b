"""The published variants of rows with a chosen and a rejected answer, and rated generations.

DPO rows with a prompt, with conversations or with both, also as OpenAI's fine-tuning writes them; HH-RLHF transcripts; ShareGPT turns;
instructions with an input; RewardBench 2, whose rows hold several answers on either side; distilabel
rows, whose generations a model has rated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from app.core.names import shown
from app.formats.base import RowInvalid, message_of
from app.formats.columns.flat import note_unseen, of_python
from app.formats.columns.verdicts import Heard, is_empty
from app.formats.joining import both_sides

Row = dict[str, Any]
_BEGINNING: Final = re.compile(r"\s*(Human|Assistant):")
# blanks are looked at only from where they begin, so that many of them take no more time than letters
_TURN: Final = re.compile(r"(?<=\S)(\s+)(Human|Assistant):")
_PYTHON_TURNS: Final = re.compile(r"\s*\[\{'(role|content|from|value)'")
_PROMPTS: Final = ("prompt", "instruction", "question", "query")
_SPEAKERS: Final = ("user", "assistant")
_MOST_PAIRS: Final = 1_000


def prepared(row: Mapping[str, Any], heard: Heard) -> list[Row]:
    """Return the rows, each with one chosen and one rejected answer.

    Raises:
        RowInvalid: the answers cannot be read, or the prompt is not the one that they answer.
    """
    made = _with_turns(_with_models(_of_tuning(row)))
    chosen, rejected = made["chosen"], made["rejected"]
    _check_python(chosen, rejected, heard)
    if chosen == rejected and not is_empty(chosen):
        heard.notes["the chosen answer is the rejected one, too, in {n} rows"] += 1
    if _are_texts(chosen) and _are_texts(rejected):
        made = _with_prompt(made)
        note_unseen(made, heard)
        return _all_pairs(made)
    if _are_texts(chosen) != _are_texts(rejected) and isinstance(chosen, list | str):
        name, other = ("chosen", "rejected") if _are_texts(chosen) else ("rejected", "chosen")
        raise RowInvalid(f"{name}: is a list of answers, but {other} is not")
    made = _with_prompt(made)
    if _are_messages(chosen) and _are_messages(rejected):
        _check_prompt(made)
    note_unseen(made, heard)
    return [made]


def _check_python(chosen: object, rejected: object, heard: Heard) -> None:
    """Refuse conversations, and note lists, that are texts as Python shows them."""
    if not isinstance(chosen, str) or not isinstance(rejected, str):
        return
    if all(_PYTHON_TURNS.match(text) for text in (chosen, rejected)):
        raise RowInvalid(f"chosen: {shown(chosen)} is a list of messages{of_python(chosen)}")
    if all(text.startswith("['") and text.endswith("']") for text in (chosen, rejected)):
        heard.notes[
            "chosen and rejected are lists as Python shows them in {n} rows, and are kept as the texts "
            "that they are: use json.dumps"
        ] += 1


def _with_models(row: Row) -> Row:
    """Return a row with the models of its answers under the names that they have in RewardBench."""
    for side in ("chosen", "rejected"):
        others = (f"{side}-model", f"model_{side}", f"{side}_generator", f"{side}_model_name")
        name = next((one for one in others if isinstance(row.get(one), str)), None)
        if name is not None and f"{side}_model" not in row:
            row[f"{side}_model"] = row.pop(name)
    return row


def _of_tuning(row: Mapping[str, Any]) -> Row:
    """Return a row with the fields that OpenAI's preference fine-tuning calls otherwise."""
    if "preferred_output" not in row or "chosen" in row:
        return dict(row)
    asked = row["input"]
    if not isinstance(asked, dict) or not _are_messages(asked.get("messages")):
        raise RowInvalid("input: is not an object with messages")
    further = {name: value for name, value in asked.items() if name != "messages" and value}
    named = ("input", "preferred_output", "non_preferred_output")
    return {
        **{name: value for name, value in row.items() if name not in named},
        **({"input_details": further} if further else {}),
        "prompt": asked["messages"],
        "chosen": row["preferred_output"],
        "rejected": row["non_preferred_output"],
    }


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)


def _are_messages(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _with_turns(row: Row) -> Row:
    """Return a row whose conversations are lists of messages with role and content."""
    chosen, rejected = row["chosen"], row["rejected"]
    if isinstance(chosen, str) and isinstance(rejected, str):
        return _with_transcripts(row, chosen, rejected)
    for name in ("chosen", "rejected"):
        value = row[name]
        if isinstance(value, dict):
            row[name] = message_of(name, value).get("content")
        elif _are_messages(value):
            row[name] = [message_of(f"{name}.{at}", one) for at, one in enumerate(value)]
    if _are_messages(row.get("conversations")) and is_empty(row.get("prompt")):
        turns = row.pop("conversations")
        row["prompt"] = [message_of(f"conversations.{at}", one) for at, one in enumerate(turns)]
    return row


def _with_transcripts(row: Row, chosen: str, rejected: str) -> Row:
    """Read dialogues that are one text, `Human:` and `Assistant:` in turn, as messages."""
    prompt = row.get("prompt")
    if _is_transcript(chosen) and _is_transcript(rejected):
        if isinstance(prompt, str) and _plain(chosen).startswith(_plain(prompt)):
            del row["prompt"]
        return {**row, "chosen": _turns(chosen), "rejected": _turns(rejected)}
    if isinstance(prompt, str) and _is_transcript(prompt):
        turns = _turns(prompt)
        if turns[-1] == {"role": "assistant", "content": ""}:
            return {**row, "prompt": turns[:-1], "chosen": chosen, "rejected": rejected}
    return row


def _is_transcript(text: str) -> bool:
    found = _BEGINNING.match(text)
    return found is not None and found[1] == "Human" and "Assistant:" in text


def _turns(text: str) -> list[Row]:
    begins = [found for found in [_BEGINNING.match(text)] if found]
    begins += [found for found in _TURN.finditer(text) if "\n\n" in found[1]]
    ends = [found.start() for found in begins[1:]] + [len(text)]
    names = {"Human": "user", "Assistant": "assistant"}
    return [
        {"role": names[found.groups()[-1]], "content": text[found.end() : end].strip()}
        for found, end in zip(begins, ends, strict=True)
    ]


def _with_prompt(row: Row) -> Row:
    """Return a row whose instruction, input, history and system prompt are its prompt."""
    name = next((name for name in _PROMPTS if not is_empty(row.get(name))), None)
    if name is None and isinstance(row.get("input"), str) and row["input"]:
        name = "input"
    if name is None:
        return row
    prompt = row.pop(name)
    text = row.pop("input", None) if name != "input" and isinstance(row.get("input"), str) else None
    if text and isinstance(prompt, str):
        prompt = f"{prompt}\n\n{text}"
    if _are_messages(row["chosen"]):
        return {**row, "prompt": prompt}
    before = [*_system(row), *_history(row)]
    if before and isinstance(prompt, str):
        prompt = [*before, {"role": "user", "content": prompt}]
    return {**row, "prompt": prompt}


def _system(row: Row) -> list[Row]:
    system = row.get("system")
    if not isinstance(system, str) or not system:
        return []
    del row["system"]
    return [{"role": "system", "content": system}]


def _history(row: Row) -> list[Row]:
    history: Any = row.get("history")
    if not isinstance(history, list) or not history:
        return []
    if not all(_are_texts(one) and len(one) == len(_SPEAKERS) for one in history):
        return []
    del row["history"]
    return [
        {"role": role, "content": text}
        for one in history
        for role, text in zip(_SPEAKERS, one, strict=True)
    ]


def _plain(text: object) -> str:
    return " ".join(str(text).split())


def _check_prompt(row: Row) -> None:
    """Refuse a prompt that the conversation contradicts; it would be lost."""
    prompt: Any = row.get("prompt")
    before = row["chosen"][:-1]
    if is_empty(prompt) or not before:
        return
    said = [_plain(turn.get("content")) for turn in before]
    users = [_plain(turn.get("content")) for turn in before if turn.get("role") == "user"]
    if _are_messages(prompt):
        is_same = [_plain(turn.get("content")) for turn in prompt] == said
    else:
        known = {*users[:1], *users[-1:], " ".join(users), " ".join(said)}
        is_same = _plain(prompt) in known
    if not is_same:
        raise RowInvalid(
            f"prompt: {shown(prompt)} is not what the turns before the answers in chosen say "
            f"({shown(users[-1] if users else '')}): leave one of them out, or make them the same"
        )


def _all_pairs(row: Row) -> list[Row]:
    """Return a pair for every chosen answer with every rejected one, in one group."""
    chosen, rejected = row["chosen"], row["rejected"]
    if len(chosen) * len(rejected) > _MOST_PAIRS:
        raise RowInvalid(f"chosen, rejected: more than {_MOST_PAIRS} pairs in one row")
    models = row.get("models")
    names = models if isinstance(models, list) and len(models) == len(chosen + rejected) else None
    rest = {k: v for k, v in row.items() if k not in ("chosen", "rejected", "id")}
    if names:
        del rest["models"]
    row_id, is_one = row.get("id"), len(chosen) == len(rejected) == 1
    pairs = []
    for i, good in enumerate(chosen):
        for j, bad in enumerate(rejected):
            pair = {**rest, "chosen": good, "rejected": bad}
            if row_id is not None:
                pair["id"] = row_id if is_one else f"{row_id}|{i}|{j}"
                pair.setdefault("group", row_id)
            if names:
                pair |= {"chosen_model": names[i], "rejected_model": names[len(chosen) + j]}
            pairs.append(pair)
    return pairs


GENERATIONS: Final = ("instruction", "generations")


# lists of answers as objects (UltraFeedback, Nectar): the texts in them, and the verdicts on them
_LISTS: Final = ("completions", "answers")
_TEXTS: Final = ("response", "answer", "text", "completion")
_SCORES: Final = ("overall_score", "rating", "score")


def unfolded(row: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Row]]:
    """Return a row whose answers are objects in a list with them as generations.

    What else each object says of its answer comes apart; nothing where the row is as it was.
    """
    for name in _LISTS:
        answers = row.get(name)
        if not isinstance(answers, list) or not all(isinstance(one, dict) for one in answers):
            continue
        text = next((key for key in _TEXTS if all(key in one for one in answers)), None)
        if text is None or "generations" in row or not _are_texts([one[text] for one in answers]):
            continue
        score = next((key for key in _SCORES if all(key in one for one in answers)), None)
        made: Row = {key: value for key, value in row.items() if key != name}
        made["generations"] = [one[text] for one in answers]
        if all(one.get("model") is not None for one in answers):
            made["generation_models"] = [one["model"] for one in answers]
        if score is not None:
            made |= {"ratings": [one[score] for one in answers], **_rated_by(row, score)}
        elif all(_rating(one.get("rank")) is not None for one in answers):
            ranks = [-float(one["rank"]) for one in answers]
            made |= {"ratings": ranks, **_rated_by(row, "rank")}
        read = {text, "model", score}
        return made, [{k: v for k, v in one.items() if k not in read} for one in answers]
    return row, []


def _rated_by(row: Mapping[str, Any], field: str) -> Row:
    """Return the name of the judge of ratings in this field, where the row does not name it."""
    return {} if row.get("labelling_model") else {"labelling_model": field}


def has_generations(row: Mapping[str, Any]) -> bool:
    """Return whether a row holds several generations of one instruction, as distilabel's do."""
    row, _ = unfolded(row)
    generations = row.get("generations")
    is_several = _are_texts(generations) and len(generations or ()) > 1
    return is_several and any(name in row for name in ("instruction", "input", "prompt"))


def generation_pairs(row: Mapping[str, Any], heard: Heard) -> list[Row]:
    """Return a canonical row for every two generations, with the verdict of their ratings.

    Raises:
        RowInvalid: there are not as many ratings as generations.
    """
    return list(_generation_pairs(*unfolded(row)))


def _generation_pairs(row: Mapping[str, Any], details: Sequence[Row]) -> Iterator[Row]:
    texts: Sequence[str] = row["generations"]
    ratings = row.get("ratings", row.get("rating"))
    models = row.get("generation_models", row.get("model_names"))
    names = models if isinstance(models, list) and len(models) == len(texts) else None
    if ratings is not None and (not isinstance(ratings, list) or len(ratings) != len(texts)):
        raise RowInvalid(f"ratings: {shown(ratings)} are not {len(texts)} ratings")
    judge = row.get("labelling_model") or row.get("model_name") or "distilabel"
    read = {
        "instruction", "input", "prompt", "system", "generations", "ratings", "rating",
        "generation_models", "model_names", "id", "labelling_model", "model_name",
    }  # fmt: skip
    prompt = next(row[name] for name in ("instruction", "prompt", "input") if name in row)
    base: Row = {"metadata": {k: v for k, v in row.items() if k not in read}}
    base |= _asked(row, prompt)
    for i, j in combinations(range(len(texts)), 2):
        made = {**base, "response_a": texts[i], "response_b": texts[j]}
        if details:
            made["metadata"] = {**base["metadata"], **both_sides(details[i], details[j], ())}
        if row.get("id") is not None:
            made |= {"id": f"{row['id']}|{i}|{j}", "group": row["id"]}
        if names is not None:
            made |= {"model_a": names[i], "model_b": names[j]}
        if ratings is not None:
            made["judges"] = {str(judge): _record(ratings[i], ratings[j])}
        yield made


def _asked(row: Mapping[str, Any], prompt: object) -> Row:
    if isinstance(prompt, str) and _is_transcript(prompt):
        said = _turns(prompt)
        asked = said[:-1] if not said[-1]["content"] else said
    else:
        asked = [{"role": "user", "content": prompt}]
    turns = [*_system(dict(row)), *asked]
    if len(turns) == 1:
        return {"prompt": turns[0]["content"]}
    return {"messages": turns}


def _record(one: object, other: object) -> Row | None:
    """Return the verdict of two ratings; None, a failure, where one is missing."""
    a, b = _rating(one), _rating(other)
    if a is None or b is None:
        return None
    return {"label": "tie" if a == b else "a" if a > b else "b"}


def _rating(value: object) -> float | None:
    try:
        found = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(found) else found
