"""A small file, or several that belong together, in every format; and a row of each that is broken."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Example:
    """Files of one format.

    Args:
        files: Rows by the name of their file.
        pairs: How many pairs they make.
        labels: How many votes.
        judges: Which recorded judges.
        broken: A row that cannot be read, for the last file.
        word: What the reason says of it.
    """

    files: dict[str, list[Row]]
    pairs: int
    labels: int
    judges: tuple[str, ...]
    broken: Row
    word: str


def _turn(role: str, content: Any) -> Row:
    return {"role": role, "content": content}


def _talk(*texts: str) -> list[Row]:
    return [_turn(("user", "assistant")[n % 2], text) for n, text in enumerate(texts)]


def _output(model: str, number: int) -> Row:
    return {
        "instruction": f"Describe stone {number}.", "output": f"{model} calls it grey",
        "generator": model, "dataset": "stones",
    }  # fmt: skip


def _answer(model: str, number: int) -> Row:
    turns = [f"{model} on bread {number}", f"{model} on butter {number}"]
    return {
        "question_id": number, "answer_id": f"{model}{number}", "model_id": model,
        "choices": [{"index": 0, "turns": turns}], "tstamp": 1.0,
    }  # fmt: skip


def _question(number: int) -> Row:
    turns = [f"Is bread {number} warm?", "And the butter?"]
    return {"question_id": number, "category": "food", "turns": turns}


def _judgement(number: int, turn: int, first: str, second: str) -> Row:
    return {
        "question_id": number, "model_1": "m1", "model_2": "m2", "g1_winner": first,
        "g2_winner": second, "judge": ["gpt-9", "pair"], "turn": turn, "tstamp": 2.0,
    }  # fmt: skip


def _hard_answer(model: str, uid: str) -> Row:
    messages = [
        _turn("user", f"Plan garden {uid}"),
        _turn("assistant", {"answer": f"{model}: dig"}),
    ]
    return {"uid": uid, "ans_id": f"{model}-{uid}", "model": model, "messages": messages}


def _games(uid: str, judge: str, first: str | None, second: str | None) -> Row:
    return {
        "uid": uid, "category": "hard", "judge": judge, "model": "m1", "baseline": "base",
        "games": [{"score": first}, {"score": second}],
    }  # fmt: skip


def _selective(number: int, first: float, second: float, **people: int) -> Row:
    return {
        "instruction": f"Praise tree {number}", "outputs": ["It is tall.", "It is old."],
        "preferences": people, "probs": [first, second],
    }  # fmt: skip


def _draw(number: int, judge: float | None, oracle: float | None) -> Row:
    return {
        "prompt_id": f"w{number}", "prompt": f"Name wind {number}", "response": f"gust {judge}",
        "judge_score": judge, "oracle_label": oracle,
    }  # fmt: skip


def _annotation(selected: str, who: Any, **fields: Any) -> Row:
    result = [{"from_name": "pw", "type": "pairwise", "value": {"selected": selected}}]
    return {"completed_by": who, "was_cancelled": False, "result": result, **fields}


_TIE = [{"from_name": "tie", "type": "choices", "value": {"choices": ["tie"]}}]
_TASK = {"data": {"id": "t1", "prompt": "Which shell?", "left": "round", "right": "long",
                  "left_is": "b", "seed": 0}}  # fmt: skip


def _ranked(first: int, second: int) -> list[Row]:
    return [{"value": "response1", "rank": first}, {"value": "response2", "rank": second}]


_RECORD = {"id": "r1", "fields": {"prompt": "Which cup?", "response1": "blue", "response2": "red"}}


def _scored(model: str, ann: object, bob: object, **more: Any) -> Row:
    given = [{"annotator": name, "score": score} for name, score in (("ann", ann), ("bob", bob))]
    return {
        "id": f"q-{model}", "prompt": "Name a fish.", "response": f"{model} says a trout.",
        "model": model, "human": [one for one in given if one["score"] is not None], **more,
    }  # fmt: skip


EXAMPLES: dict[str, Example] = {
    "alpaca_eval_outputs": Example(
        {
            "first.json": [_output("m1", 1), _output("m1", 2), _output("m1", 3)],
            "second.json": [_output("m2", 3), _output("m2", 1), _output("m2", 2)],
        },
        3, 0, (), {"instruction": "Describe stone 4.", "output": 4}, "output",
    ),
    "alpaca_eval": Example(
        {"annotations.json": [{
            "instruction": "Name a star.", "output_1": "Vega", "generator_1": "m1",
            "output_2": "Deneb", "generator_2": "m2", "annotator": "judge", "preference": 1.25,
        }]},
        1, 0, ("judge",),
        {"instruction": "x", "output_1": "y", "output_2": "z", "annotator": None, "preference": 1},
        "annotator",
    ),
    "mt_bench": Example(
        {
            "question.jsonl": [_question(81), _question(82)],
            "m1.jsonl": [_answer("m1", 81), _answer("m1", 82)],
            "m2.jsonl": [_answer("m2", 81), _answer("m2", 82)],
            "gpt-9_pair.jsonl": [
                _judgement(81, 1, "model_1", "model_1"), _judgement(82, 2, "tie", "error"),
            ],
            "votes.jsonl": [{
                "question_id": 81, "model_a": "m2", "model_b": "m1", "winner": "model_a",
                "judge": "expert_4", "turn": 1,
            }],
        },
        2, 1, ("gpt-9/pair",),
        {"question_id": 81, "model_a": "m1", "model_b": ["m2"], "winner": "m1", "judge": "x"},
        "model_b",
    ),
    "arena_hard": Example(
        {
            "question.jsonl": [
                {"uid": uid, "category": "hard", "subcategory": "plots", "prompt": f"Plan {uid}"}
                for uid in ("g1", "g2")
            ],
            "m1.jsonl": [_hard_answer("m1", "g1"), _hard_answer("m1", "g2")],
            "base.jsonl": [_hard_answer("base", "g1"), _hard_answer("base", "g2")],
            "judged.jsonl": [
                _games("g1", "gpt-9", "B>>A", "A>B"), _games("g2", "gpt-9", None, "A=B"),
                _games("g1", "other", "A>B", "B>A"),
            ],
        },
        2, 0, ("gpt-9", "other"), {**_games("g2", "other", "A>B", None), "games": [{}]}, "games",
    ),
    "lmarena_55k": Example(
        {"train.csv": [
            {"id": 30, "model_a": "m1", "model_b": "m2", "prompt": json.dumps(["Hi", "Why?"]),
             "response_a": json.dumps(["Hello", "So"]), "response_b": json.dumps(["Hey", None]),
             "winner_model_a": 0, "winner_model_b": 0, "winner_tie": 1},
        ]},
        1, 1, (),
        {"id": 31, "model_a": "m1", "model_b": "m2", "prompt": "[]", "response_a": '["x"]',
         "response_b": '["y"]', "winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0},
        "prompt",
    ),
    "lmarena_140k": Example(
        {"votes.jsonl": [
            {"id": "v1", "model_a": "m1", "model_b": "m2", "winner": "both_bad",
             "conversation_a": _talk("Hi", "Hello"),
             "conversation_b": [_turn("user", [{"type": "text", "text": "Hi"}]),
                                _turn("assistant", "Hey")],
             "evaluation_order": 1, "language": "en", "is_code": False},
        ]},
        1, 1, (),
        {"model_a": "m1", "model_b": "m2", "winner": "tie", "conversation_a": _talk("a", "b"),
         "conversation_b": _talk("x", "c")},
        "conversation_b",
    ),
    "reward_bench": Example(
        {"rows.jsonl": [
            {"id": 1, "prompt": "Why rain?", "chosen": "clouds", "rejected": "no", "subset": "sky"},
            {"chosen": _talk("u", "good"), "rejected": _talk("u", "bad")},
        ]},
        2, 2, (), {"id": 3, "prompt": "x", "chosen": ["y"], "rejected": "z"}, "chosen",
    ),
    "judge_bench": Example(
        {"data.jsonl": [
            {"pair_id": "j1", "original_id": "o1", "source": "sums", "question": "1 + 1?",
             "response_model": "m", "response_A": "2", "response_B": "3", "label": "A>B"},
        ]},
        1, 1, (),
        {"pair_id": "j2", "question": "x", "response_A": "y", "response_B": None, "label": "A>B"},
        "response_b",
    ),
    "battles": Example(
        {"arena.csv": [
            {"left": "m1", "right": "m2", "winner": "left"},
            {"left": "m2", "right": "m1", "winner": "tie"},
        ]},
        2, 2, (), {"left": "m1", "right": "m2", "winner": ""}, "winner",
    ),
    "selective_evaluation": Example(
        {
            "small.jsonl": [_selective(1, 0.3, 0.1, ann=1), _selective(2, 0.0, 0.0, ann=2)],
            "dear.jsonl": [_selective(1, 0.9, 0.1, ann=1, bob=2), _selective(2, 0.2, 0.6, ann=2)],
        },
        2, 3, ("dear", "small"), {**_selective(3, 0.5, 0.5, ann=1), "outputs": ["x"]}, "outputs",
    ),
    "cje": Example(
        {
            "base.jsonl": [_draw(1, 0.4, 0.5), _draw(2, 0.7, 1.0), _draw(3, 0.1, None)],
            "new.jsonl": [_draw(1, 0.9, 0.8), _draw(2, None, 1.0), _draw(3, 0.2, 0.2)],
        },
        3, 2, ("judge_score",), _draw(4, 0.1, None) | {"oracle_label": "good"}, "oracle_label",
    ),
    "pointwise": Example(
        {"scores.jsonl": [
            _scored("x", 4, 2, judges={"gpt-4": {"rating": 7}}),
            _scored("y", 4, 3, judges={"gpt-4": {"rating": 8}}),
            _scored("z", 1, None),
        ]},
        3, 4, ("gpt-4",), _scored("v", "good", 1), "human.0.score",
    ),
    "label_studio": Example(
        {"project.json": [
            _TASK | {"id": 9, "annotations": [
                _annotation("left", 3, lead_time=4.5), _annotation("right", {"email": "bo@x"}),
                {"completed_by": 5, "was_cancelled": False, "result": _TIE},
                {"completed_by": 6, "was_cancelled": True, "result": []},
            ]},
        ]},
        1, 3, (), _TASK | {"annotations": [_annotation("middle", 3)]}, "selected",
    ),
    "argilla": Example(
        {"records.json": [
            _RECORD | {"responses": {"ranking": [
                {"user_id": "ann", "status": "submitted", "value": _ranked(2, 1)},
                {"user_id": "bob", "status": "draft", "value": _ranked(1, 2)},
            ]}},
            _RECORD | {"id": "r2", "responses": [
                {"user_id": "ann", "status": "submitted",
                 "values": {"ranking": {"value": _ranked(1, 1)}}},
            ]},
        ]},
        2, 2, (),
        _RECORD | {"id": "r3", "responses": {"ranking": [{"value": _ranked(1, 1)[:1]}]}},
        "responses.ranking: ",
    ),
    "canonical": Example(
        {
            "pairs.csv": [
                {"id": "c1", "prompt": 'Say "a, b"', "response_a": "a,\nb", "response_b": "",
                 "judges": '{"gpt": {"p_a": 0.75}}', "metadata": '{"task": "quotes"}'},
                {"id": "c2", "prompt": "Why?", "response_a": "so", "response_b": "no",
                 "judges": "", "metadata": ""},
            ],
            "votes.csv": [
                {"id": "c1", "annotator": "ann", "label": "a"},
                {"id": "c1", "annotator": "", "label": "B"},
                {"id": "c1", "annotator": "", "label": "B"},
            ],
        },
        2, 3, ("gpt",), {"id": "c2", "annotator": "ann", "label": ""}, "label",
    ),
}  # fmt: skip


def content(name: str, rows: list[Row]) -> bytes:
    """Return rows as a file of this name holds them."""
    if name.endswith(".csv"):
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
        return text.getvalue().encode()
    if name.endswith(".json"):
        return json.dumps(rows, indent=1).encode()
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
