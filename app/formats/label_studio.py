"""Reads and writes Label Studio tasks that compare two responses.

Tasks that this module wrote say in `data` which response was put on the left, by which seed;
reading undoes it. People see `data` alone: models, recorded scores and all else that would sway
them is in `meta`. The tag `Pairwise` has no tie, so a `Choices` beside it offers one.

Read are tasks (JSON), flat rows of one annotation each (JSON_MIN, CSV), and the `completions` of
versions before 1.0. An answer is given by `Pairwise`, by `Choices`, or by a rating of either text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from app.core.names import shown
from app.formats.base import RowInvalid
from app.formats.columns.flat import ANSWERS
from app.formats.columns.verdicts import BOTH_BAD, Heard, is_empty, spelt
from app.formats.joining import first_side, side_read, sided, turned
from app.formats.writing import Given, Loss, Options, count_lost

Row = dict[str, Any]
LEFT_IS: Final = "left_is"
META: Final = "tribunal"
CONFIG: Final = """<View>
  <Header value="Which answer is better?"/>
  <Text name="prompt" value="$prompt"/>
  <Pairwise name="pw" toName="left,right"/>
  <View style="display: flex; gap: 1em">
    <View style="flex: 1"><Text name="left" value="$left"/></View>
    <View style="flex: 1"><Text name="right" value="$right"/></View>
  </View>
  <Choices name="tie" toName="prompt" choice="single-radio">
    <Choice value="tie"/>
  </Choices>
</View>
"""
_SIDES: Final = (("left", "right"), ("text1", "text2"), *ANSWERS[1:])
_PROMPTS: Final = ("prompt", "question", "instruction")
_READ: Final = frozenset({"id", "prompt", LEFT_IS, "seed"})
_KEPT: Final = ("created_at", "lead_time")
_KINDS: Final = ("pairwise", "choices", "rating", "number", "textarea")
_LONGEST_ANSWER: Final = 60  # characters


_OF_ANNOTATIONS: Final = (
    "annotation_id", "annotator", "lead_time", "created_at", "updated_at", "agreement", "history",
)  # fmt: skip


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether the row is a task with two texts or with annotations, or a flat annotation."""
    data = row.get("data")
    if not isinstance(data, dict):
        return is_flat(row)
    has_answers = "annotations" in row or "completions" in row
    return has_answers or _texts_in(data) is not None


def is_flat(row: Mapping[str, Any]) -> bool:
    """Return whether the row is one annotation, its task beside it, as JSON_MIN and CSV have it."""
    is_annotation = "annotation_id" in row and ("lead_time" in row or "annotator" in row)
    return is_annotation and _texts_in(row) is not None


def prepared(row: Mapping[str, Any], heard: Heard) -> list[Row]:
    """Return the task in its present form, every annotation with an answer of one kind.

    Raises:
        RowInvalid: annotations or results are none.
    """
    if is_flat(row):
        return [_of_flat(row, heard)]
    made = dict(row)
    if made.get("predictions"):
        heard.notes["Label Studio tasks with predictions of a model, which are not read"] += 1
    if made.get("drafts"):
        heard.notes[
            "Label Studio tasks with drafts, which no one submitted and which are not read"
        ] += 1
    if not made.get("annotations") and made.get("completions") is not None:
        made["annotations"] = made.pop("completions")
    annotations = made.get("annotations")
    if not isinstance(annotations, list):
        return [made]
    sides = _texts_in(made["data"]) or ("left", "right")
    heard.columns = (sides,)
    found = [
        _understood(annotation, sides, heard) if isinstance(annotation, dict) else annotation
        for annotation in annotations
    ]
    return [{**made, "annotations": [one for one in found if one is not None]}]


def _of_flat(row: Mapping[str, Any], heard: Heard) -> Row:
    """Return the task of a flat row; the columns whose values are answers are its controls."""
    texts = (*(_texts_in(row) or ()), *_PROMPTS)
    aside = (*texts, *_OF_ANNOTATIONS, "id")
    columns = {k: v for k, v in row.items() if k not in (*aside, LEFT_IS, "seed")}
    said = {name: _flat_answer(name, value, heard) for name, value in columns.items()}
    labels = [label for label in said.values() if label is not None]
    if not labels:
        heard.notes[
            "{n} Label Studio rows (JSON_MIN or CSV) have an answer in none of their columns: export "
            "the project as JSON, or name the column with --map label=COLUMN (parameter `map`)"
        ] += 1
    result = [{"type": "choices", "value": {"choices": [label]}} for label in labels]
    annotation: Row = {"completed_by": row.get("annotator"), "result": result}
    annotation |= {name: row[name] for name in _KEPT if not is_empty(row.get(name))}
    left = {name: value for name, value in columns.items() if said[name] is None}
    data = {k: row[k] for k in (*texts, "id", LEFT_IS, "seed") if k in row} | left
    if not is_empty(row.get("annotation_id")):
        annotation[META] = {"annotation_id": row["annotation_id"]}
    return {"data": data, "annotations": [annotation] if labels else []}


def _flat_answer(name: str, value: object, heard: Heard) -> str | None:
    if isinstance(value, str) and value.startswith("{"):
        value = _object_in(value)
    if isinstance(value, dict) and "selected" in value:
        value = value["selected"]
    choices = value if isinstance(value, list) else _choices(value)
    if len(choices) == 1:
        value = choices[0]
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    return heard.answer(f"the control {name!r}", value, is_quiet=True)


def _object_in(cell: str) -> object:
    """Return the object that a cell of a table spells as JSON, else the cell."""
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


def _choices(value: object) -> list[Any]:
    """Return what was chosen of a control; none where its value is not that of choices."""
    chosen = value.get("choices") if isinstance(value, dict) else None
    return chosen if isinstance(chosen, list) else [] if is_empty(chosen) else [chosen]


def _understood(annotation: Row, sides: tuple[str, str], heard: Heard) -> Row | None:
    """Return an annotation with its answer as a choice; None where it says nothing understood."""
    results = annotation.get("result")
    if annotation.get("was_cancelled") or not isinstance(results, list):
        return annotation
    objects = [result for result in results if isinstance(result, dict)]
    pairwise = [result for result in objects if result.get("type") == "pairwise"]
    chosen = [
        (str(result.get("from_name") or "choices"), choice)
        for result in objects
        if result.get("type") == "choices"
        for choice in _choices(result.get("value"))
    ]
    labels = [
        label
        for name, choice in chosen
        if (label := heard.answer(f"the control {name!r}", choice)) is not None
    ]
    made = {**annotation, **_comment(objects, annotation)}
    rated = None if labels or pairwise else _rated(objects, sides, heard)
    answers = [*labels, *([rated] if rated else [])]
    if not answers and not pairwise:
        answers = _written(objects, heard)
    unread = _note_unread(objects, heard)
    said = [*pairwise, *({"type": "choices", "value": {"choices": [one]}} for one in answers)]
    is_unread = not said and (bool(chosen) or unread or _has_rating(objects) or made != annotation)
    return None if is_unread else {**made, "result": said}


def _written(results: Sequence[Row], heard: Heard) -> list[str]:
    """Return what is written to text controls, where nothing else says which text is better."""
    found = []
    for result in results:
        for text in _texts_written(result):
            name = f"the control {str(result.get('from_name'))!r}"
            if len(text) > _LONGEST_ANSWER or "\n" in text:
                heard.notes[
                    f"texts written to {name}, not kept, as there is no vote with them"
                ] += 1
            elif (label := heard.answer(name, text)) is not None:
                found.append(label)
    return found


def _note_unread(results: Sequence[Row], heard: Heard) -> bool:
    """Note the results of controls of other kinds; return whether there is one."""
    unread = [result for result in results if result.get("type") not in _KINDS]
    for result in unread:
        name = f"the control {str(result.get('from_name'))!r}"
        heard.notes[f"answers of {name} ({result.get('type')}), a kind that is not read"] += 1
    return bool(unread)


def _texts_written(result: Row) -> list[str]:
    value = result.get("value")
    text = value.get("text") if isinstance(value, dict) else None
    if result.get("type") != "textarea" or not text:
        return []
    return [str(one) for one in (text if isinstance(text, list) else [text])]


def _comment(results: Sequence[Row], annotation: Row) -> Row:
    """Return what is kept of texts that a person wrote beside the answer."""
    texts = [text for result in results for text in _texts_written(result)]
    details = annotation.get(META)
    if not texts:
        return {}
    return {META: {**(details if isinstance(details, dict) else {}), "comment": "\n".join(texts)}}


def _has_rating(results: Sequence[Row]) -> bool:
    return any(_rating(result) is not None for result in results)


def _rating(result: Row) -> float | None:
    value, kind = result.get("value"), result.get("type")
    found = value.get(kind) if isinstance(value, dict) and kind in ("rating", "number") else None
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def _rated(results: Sequence[Row], sides: tuple[str, str], heard: Heard) -> str | None:
    """Return the side that is rated higher; what rates something else is told of."""
    found: dict[str, float] = {}
    for result in results:
        rating = _rating(result)
        if rating is None:
            continue
        side = _side_of(result, sides)
        if side is None or side in found:
            heard.answer(f"the control {str(result.get('from_name'))!r}", rating)
        else:
            found[side] = rating
    if len(found) == 1:
        heard.notes["annotations that rate one of the two texts alone, no votes"] += 1
    if len(found) < len(sides):
        return None
    return "tie" if found["a"] == found["b"] else "a" if found["a"] > found["b"] else "b"


def _side_of(result: Row, sides: tuple[str, str]) -> str | None:
    names = [str(result.get(field) or "") for field in ("to_name", "source", "from_name")]
    for name in names:
        plain = name.lstrip("$")
        if plain in sides:
            return "ab"[sides.index(plain)]
        label = spelt(plain)
        if label in ("a", "b"):
            return label
    return None


def convert(row: Mapping[str, Any], line: int) -> dict[str, Any]:
    """Return the canonical row; cancelled annotations are no votes.

    Raises:
        RowInvalid: a field cannot be read.
    """
    data, aside = row["data"], _aside(row)
    first = side_read(data, LEFT_IS)
    human = [vote for _, vote in _votes(row, first) if vote is not None]
    if aside is not None and "prompt" not in aside and "messages" not in aside:
        aside = {**aside, **_texts(data, first)}
    if aside is not None:
        return {**aside, "human": human}
    further = {k: v for k, v in data.items() if k not in {*_READ, *(_texts_in(data) or ())}}
    return {
        "id": data.get("id", row.get("id")),
        **_texts(data, first),
        "human": human,
        "metadata": further,
    }


def notes(row: Mapping[str, Any]) -> dict[str, int]:
    """Count the annotations that are no votes: cancelled ones, and those without an answer."""
    counts: dict[str, int] = {}
    for why, vote in _votes(row, "a"):
        if vote is None:
            counts[why] = counts.get(why, 0) + 1
    return counts


def _aside(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a task written by this module holds in `meta`."""
    meta = row.get("meta")
    aside = meta.get(META) if isinstance(meta, dict) else None
    return aside if isinstance(aside, dict) else None


def _texts_in(data: Mapping[str, Any]) -> tuple[str, str] | None:
    return next(((a, b) for a, b in _SIDES if a in data and b in data), None)


def _texts(data: Mapping[str, Any], first: str) -> dict[str, Any]:
    names = _texts_in(data)
    if names is None:
        raise RowInvalid(
            "data: the two texts are in none of the fields known (left, right; text1, text2; response, "
            "answer, output and the like with _a and _b, or with 1 and 2)"
        )
    prompt = next((data[name] for name in _PROMPTS if name in data), None)
    return {"prompt": prompt, **sided(first, data[names[0]], data[names[1]])}


def _votes(row: Mapping[str, Any], first: str) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yield every annotation: its vote, or the reason why it has none."""
    annotations = row.get("annotations") or []
    if not isinstance(annotations, list):
        raise RowInvalid(f"annotations: {shown(annotations)} is not a list")
    for number, annotation in enumerate(annotations):
        if not isinstance(annotation, dict):
            raise RowInvalid(f"annotations.{number}: {shown(annotation)} is not an object")
        if annotation.get("was_cancelled"):
            yield "cancelled annotations", None
            continue
        said = _said(number, annotation)
        if said is None:
            yield "annotations without an answer", None
            continue
        kept = {name: annotation[name] for name in _KEPT if annotation.get(name) is not None}
        vote = {**kept, "annotator": _person(annotation), "label": turned(said, first)}
        yield "", vote | _details(annotation)


def _details(annotation: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tasks written by this module keep of a vote besides its answer."""
    details = annotation.get(META)
    return details if isinstance(details, dict) else {}


def _person(annotation: Mapping[str, Any]) -> Any:
    who = annotation.get("completed_by")
    if isinstance(who, dict):
        return who.get("email") or who.get("id")
    return who


def _said(number: int, annotation: Mapping[str, Any]) -> str | None:
    """Return the label as seen from the left; a tie counts before a side, which it replaces."""
    results = annotation.get("result") or []
    if not isinstance(results, list):
        raise RowInvalid(f"annotations.{number}.result: {shown(results)} is not a list")
    found = [_answer(number, result) for result in results if isinstance(result, dict)]
    sides = [label for label in found if label is not None]
    if "tie" in sides:
        return "tie"
    if len(set(sides)) > 1:
        raise RowInvalid(f"annotations.{number}.result: both sides are selected")
    return sides[0] if sides else None


def _answer(number: int, result: Mapping[str, Any]) -> str | None:
    value = result.get("value")
    kind = result.get("type")
    if kind not in ("pairwise", "choices") or not isinstance(value, dict):
        return None
    if kind == "choices":
        labels = [spelt(choice) for choice in _choices(value)]
        if "tie" in labels or BOTH_BAD in labels:
            return "tie"
        return labels[0] if labels and len(set(labels)) == 1 else None
    selected = value.get("selected")
    if selected not in ("left", "right"):
        place = f"annotations.{number}.result.value.selected"
        raise RowInvalid(f"{place}: {shown(selected)} is neither left nor right")
    return "a" if selected == "left" else "b"


_SELECTED = {"a": "left", "b": "right"}


def rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the task of a pair."""
    if given.is_battle:
        loss["pairs without texts"] += 1
        return
    row = given.row
    left = first_side(options.seed, row["id"])
    sides = (left, "b" if left == "a" else "a")
    kept = {"ids", "groups", "texts", "models", "criteria of pairs", "recorded scores"}
    votes = {"votes"} if options.labels else set()
    count_lost(given, {*kept, "metadata of pairs", *votes}, loss)
    shown = [shown_text(row, side) for side in sides]
    yield {
        "data": {
            "id": row["id"],
            "prompt": shown_prompt(row),
            "left": shown[0],
            "right": shown[1],
            LEFT_IS: left,
            "seed": options.seed,
        },
        "meta": {META: aside_of(given)},
        "annotations": [_annotation(v, left) for v in row["human"]] if options.labels else [],
    }


def aside_of(given: Given) -> dict[str, Any]:
    """Return all of a pair that is not shown, and any text that is not shown unchanged."""
    left_out = {"human"}
    if given.is_plain:
        left_out |= {"prompt", "response_a", "response_b"}
    return {name: value for name, value in given.row.items() if name not in left_out}


def shown_prompt(row: Mapping[str, Any]) -> str:
    """Return the prompt, or the conversation with who said what."""
    prompt = row.get("prompt")
    if isinstance(prompt, str):
        return prompt
    turns = row.get("messages") or [{"role": "user", "content": text} for text in prompt or ()]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def shown_text(row: Mapping[str, Any], side: str) -> str:
    """Return one answer, or the answers to all turns."""
    several: Sequence[str] | None = row.get(f"responses_{side}")
    if several is None:
        return str(row[f"response_{side}"])
    return "\n\n".join(f"{number}. {text}" for number, text in enumerate(several, 1))


def details_of(vote: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a vote says besides who and which."""
    return {name: value for name, value in vote.items() if name not in ("annotator", "label")}


def _annotation(vote: Mapping[str, Any], left: str) -> dict[str, Any]:
    label = turned(vote["label"], left)
    if label == "tie":
        tie = {"from_name": "tie", "to_name": "prompt", "type": "choices"}
        result = {**tie, "value": {"choices": ["tie"]}}
    else:
        selected = {"selected": _SELECTED[label]}
        result = {"from_name": "pw", "to_name": "left", "type": "pairwise", "value": selected}
    who = {} if vote["annotator"] is None else {"completed_by": vote["annotator"]}
    return {**who, "was_cancelled": False, "result": [result], META: details_of(vote)}
