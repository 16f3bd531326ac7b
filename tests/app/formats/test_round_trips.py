from __future__ import annotations

import csv
import io
import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.datasets.records import PairKey, Vote
from app.datasets.stored_pairs import StoredPair
from app.formats.canonical import parse_row
from app.formats.registry import WRITERS
from app.formats.writing import Loss, Options
from app.imports.body import rows_of
from app.imports.columns import StagedRow
from app.imports.exporting import given_of, sheet_of
from app.imports.reading import Reader, stage
from app.imports.staging import Staging
from app.imports.upload import UploadedFile
from tests.app.imports.uploads import ndjson

Row = dict[str, Any]
MEDIA_TYPES = {
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "evalica": "text/csv",
    "arena_rank": "text/csv",
}

# what tables, spreadsheets and JSON could take for something else
awkward = st.sampled_from(
    [
        "",
        " x ",
        "\n",
        "\t",
        "\r",
        "=1+1",
        "'=1",
        "''=1",
        "'",
        "+1",
        "-1",
        "@a",
        "0",
        "[]",
        "null",
        "NaN",
    ]
)
text = awkward | st.text(max_size=6)
# an import trims the blanks around a name
name = st.text("abcXYZ019 .|-_é=+@'", min_size=1, max_size=6).filter(lambda n: n == n.strip())
label = st.sampled_from(["a", "b", "tie"])
chance = st.floats(0, 1).map(lambda p: round(p, 6))
amount = st.none() | st.floats(0, 9).map(lambda x: round(x, 3))
json_value = st.none() | st.booleans() | st.integers(-9, 9) | text
metadata = st.dictionaries(st.sampled_from(["task", "lang", "n"]), json_value, max_size=3)
vote = st.fixed_dictionaries(
    {"annotator": st.none() | name, "label": label},
    optional={"strength": st.integers(0, 2), "criterion": name, "created_at": text},
)
record = (
    st.none()
    | st.fixed_dictionaries({"p_a": chance}, optional={"cost": amount, "seconds": amount})
    | st.fixed_dictionaries({"p_a": st.floats(0, 0.5), "p_tie": st.floats(0, 0.5)})
    | st.fixed_dictionaries({"label": label, "inconsistent": st.booleans()})
    | st.fixed_dictionaries({"label_original": st.none() | label, "label_swapped": label})
    | st.fixed_dictionaries(
        {"annotators": st.lists(st.tuples(chance, st.none() | chance), min_size=1, max_size=3)},
        optional={"tokens": st.fixed_dictionaries({"prompt": st.integers(0, 9)})},
    )
)
judges = st.dictionaries(name, record, max_size=2)
TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
plain = st.fixed_dictionaries({"prompt": text, "response_a": text, "response_b": text})
texts = (
    plain
    | st.fixed_dictionaries(
        {"messages": st.just(TURNS), "response_a": text, "response_b": text},
    )
    | st.fixed_dictionaries(
        {
            "prompt": st.tuples(text, text).map(list),
            "responses_a": st.tuples(text, text).map(list),
            "responses_b": st.tuples(text, text).map(list),
        }
    )
)
models = st.fixed_dictionaries({"model_a": name, "model_b": name})


def _pair(*parts: st.SearchStrategy[Row]) -> st.SearchStrategy[Row]:
    return st.tuples(*parts).map(lambda found: {k: v for part in found for k, v in part.items()})


said = st.fixed_dictionaries(
    {"human": st.lists(vote, max_size=3), "judges": judges, "metadata": metadata}
)
identity = st.fixed_dictionaries({}, optional={"group": name, "criterion": name})
anything = _pair(texts, st.just({}) | models, said, identity) | _pair(
    models, st.fixed_dictionaries({"human": st.lists(vote, min_size=1, max_size=2)})
)


def _unique(rows: list[Row]) -> list[Row]:
    return [{"id": f"p{number}", **row} for number, row in enumerate(rows)]


class Trip(NamedTuple):
    before: list[StagedRow]
    after: list[StagedRow]
    loss: Loss
    rejected: list[dict[str, Any]]


def _staged(body: bytes, media_type: str = "") -> tuple[list[StagedRow], Reader]:
    staging, reader = Staging.open(Path(":memory:")), Reader()
    stage(staging, reader, rows_of([UploadedFile(io.BytesIO(body), media_type)]))
    found = [row for chunk in staging.chunks() for row in chunk]
    staging.close()
    return found, reader


def _stored(row: Row, number: int) -> StoredPair:
    parsed = parse_row(row, number)
    pair = parsed.pair
    key = PairKey(
        number, number, parsed.id, parsed.group, pair.prompt_hash if pair else None,
        pair.content_hash if pair else None, None, parsed.model_a, parsed.model_b, dict(parsed.metadata),
    )  # fmt: skip
    votes = [Vote(v.annotator, v.label, dict(v.details), v.criterion) for v in parsed.votes]
    return StoredPair(key, pair, votes, parsed.recorded)


def trip(form: str, rows: list[Row], *, labels: bool = True, seed: int = 7) -> Trip:
    """Write rows in a format and read the file."""
    writer, options, loss, file = WRITERS[form], Options(seed, labels), Loss(), io.BytesIO()
    with ExitStack() as stack:
        stack.callback(options.close)
        sheet = sheet_of(writer, file, stack)
        givens = [given_of(_stored(row, number)) for number, row in enumerate(rows, 1)]
        sheet.write([made for one in givens for made in writer.rows(one, options, loss)])
        sheet.finish()
        body = file.getvalue()
    after, reader = _staged(body, MEDIA_TYPES.get(form, ""))
    before, _ = _staged(ndjson(rows))
    return Trip(before, after, loss, reader.rejected)


@pytest.mark.parametrize("form", ["canonical", "csv", "parquet", "label_studio", "argilla"])
@settings(max_examples=40, deadline=None)
@given(rows=st.lists(anything, min_size=1, max_size=4).map(_unique))
def test_what_holds_everything_is_read_as_it_was(form: str, rows: list[Row]) -> None:
    if form in ("label_studio", "argilla"):
        rows = [row for row in rows if "prompt" in row or "messages" in row]
    found = trip(form, rows)
    assert (found.loss, found.rejected) == ({}, [])
    assert found.after == found.before


short = st.sampled_from(["", "x"])
alike = _pair(
    st.fixed_dictionaries({"prompt": short, "response_a": short, "response_b": short}),
    st.just({}) | st.just({"model_a": "m", "model_b": "n"}),
    said,
)


@st.composite
def rows_with_twins(draw: st.DrawFn) -> list[Row]:
    """Rows of which some have the texts and models of the one before, and say something else."""
    rows = draw(st.lists(anything | alike, min_size=1, max_size=3))
    for row in list(rows):
        if draw(st.booleans()):
            rows.append({**row, **draw(st.fixed_dictionaries({}, optional=_SAID))})
    return _unique(rows)


_SAID = {"human": st.lists(vote, min_size=1, max_size=2), "judges": judges, "metadata": metadata}
EMPTY = {"prompt": "", "response_a": "", "response_b": ""}


@pytest.mark.parametrize("form", [form for form in WRITERS if form != "openai_batch"])
@settings(max_examples=50, deadline=None)
@given(rows=rows_with_twins(), labels=st.booleans())
@example(rows=_unique([{**EMPTY, "judges": {"j": {"p_a": 0.5}}, "human": []}] * 2), labels=True)
@example(rows=_unique([{**EMPTY, "judges": {}, "human": []}] * 2), labels=False)
@example(
    rows=_unique([{**EMPTY, "human": [], "metadata": {"n": n}, "judges": {}} for n in (1, 2)]),
    labels=False,
)
@example(
    rows=_unique([{**EMPTY, "human": [], "judges": {"j": {"p_a": p}}} for p in (0.25, 0.75)]),
    labels=False,
)
def test_whatever_a_format_cannot_hold_is_counted(form: str, rows: list[Row], labels: bool) -> None:
    found = trip(form, rows, labels=labels)
    assert all(count > 0 for count in found.loss.values())
    lost_pairs = sum(count for what, count in found.loss.items() if what.startswith("pairs"))
    assert found.rejected == []
    assert len(found.before) - len(found.after) <= lost_pairs
    for part, word in (("votes", "votes"), ("recorded", "scores")):
        before, after = (
            [len(getattr(row, part)) for row in rows] for rows in (found.before, found.after)
        )
        counted = sum(count for what, count in found.loss.items() if word in what)
        assert sum(before) - sum(after) <= counted + lost_pairs * max(before)
    if not found.loss:
        assert [_core(row) for row in found.after] == [_core(row) for row in found.before]


def _core(row: StagedRow) -> tuple[Any, ...]:
    """What a row says, whichever side a format puts first."""
    pair = row.pair
    answers = sorted(
        [(str(pair["content_hash"]), str(pair["model_a"])), (str(pair["swapped_hash"]), "b")]
    )
    # a battle's id is its line
    named = None if pair["content"] is None else pair["id"]
    return (named, pair["prompt_hash"], answers[0][0], len(row.votes), len(row.recorded))


question = st.integers(1, 99)
both_orders = st.fixed_dictionaries(
    {"label_original": st.none() | label, "label_swapped": st.none() | label}
)
SMALL: dict[str, st.SearchStrategy[Row]] = {
    "alpaca_eval": _pair(
        plain, models, st.just({"human": []}),
        st.fixed_dictionaries({"metadata": metadata, "judges": st.dictionaries(
            name.filter(lambda one: not one.isdigit()), st.fixed_dictionaries({"p_a": st.none() | chance}, optional={"cost": amount}),
            min_size=1, max_size=2,
        )}),
    ),
    "mt_bench": st.tuples(question, name, name, both_orders).map(lambda q: {
        "id": f"{q[0]}|1|{q[1]}|{q[2]}", "model_a": q[1], "model_b": q[2], "human": [],
        "judges": {"gpt/pair": q[3]}, "metadata": {"question_id": q[0], "turn": 1},
    }),
    "arena_hard": st.tuples(question, name, name, both_orders).map(lambda q: {
        "id": f"u{q[0]}|{q[1]}|{q[2]}", "model_a": q[1], "model_b": q[2], "human": [],
        "group": f"u{q[0]}", "judges": {"gpt": q[3]},
        "metadata": {"uid": f"u{q[0]}", "baseline": q[2]},
    }),
    "cje": st.tuples(question, plain, st.integers(0, 3), st.integers(0, 3)).map(lambda q: {
        **q[1], "id": f"{q[0]}|m1|m2", "model_a": "m1", "model_b": "m2",
        "human": [{"annotator": "oracle", "label": "tie" if q[2] == q[3] else "ab"[q[2] < q[3]]}],
        "judges": {"judge_score": {"label": "a"}},
        "metadata": {
            "prompt_id": q[0], "judge_score_a": 2, "judge_score_b": 1,
            "oracle_label_a": q[2], "oracle_label_b": q[3],
        },
    }),
    "evalica": st.tuples(name, name, label).map(lambda q: {
        "model_a": q[0], "model_b": q[1], "human": [{"annotator": None, "label": q[2]}],
    }),
}  # fmt: skip
SMALL["arena_rank"] = SMALL["evalica"]


@pytest.mark.parametrize("form", SMALL)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_what_a_format_can_hold_it_gives_back(form: str, data: st.DataObject) -> None:
    drawn = data.draw(st.lists(SMALL[form], min_size=1, max_size=3, unique_by=_key))
    found = trip(form, drawn)
    assert (found.loss, found.rejected) == ({}, [])
    after, before = (
        [_without_line(form, row) for row in rows] for rows in (found.after, found.before)
    )
    assert after == (_question_by_question(before) if form == "arena_hard" else before)


def _key(row: Row) -> str:
    return str(row.get("id") or json.dumps(row))


def _without_line(form: str, row: StagedRow) -> StagedRow:
    """A battle's id is its row's, whatever it was called before."""
    if form not in ("evalica", "arena_rank"):
        return row
    pair = {name: row.pair[name] for name in ("model_a", "model_b", "metadata", "content")}
    return StagedRow(row.position, pair, row.recorded, row.votes)


def _question_by_question(rows: list[StagedRow]) -> list[StagedRow]:
    """What is joined on a question comes out beside the first line of that question."""
    questions = list(dict.fromkeys(row.pair["group_key"] for row in rows))
    joined = sorted(rows, key=lambda row: questions.index(row.pair["group_key"]))
    return [replace(row, position=position) for position, row in enumerate(joined)]


@settings(max_examples=30, deadline=None)
@given(pair=_pair(plain, models, st.fixed_dictionaries({"metadata": metadata})), winner=label)
def test_a_chosen_answer_stays_chosen(pair: Row, winner: str) -> None:
    given_row = {"id": "x", **pair, "human": [{"annotator": "gold", "label": winner}]}
    found = trip("reward_bench", [given_row])
    if winner == "tie":
        assert found.loss == {"pairs without a preferred answer": 1}
        return
    assert found.loss.keys() <= {"groups"}
    [after] = found.after
    side = json.loads(after.pair["metadata"])["chosen_side"]
    content = json.loads(after.pair["content"])
    assert content[f"responses_{side}"] == [pair[f"response_{winner}"]]
    assert after.pair[f"model_{side}"] == pair[f"model_{winner}"]
    assert [vote.label for vote in after.votes] == [side]


def test_the_left_answer_is_drawn_by_the_seed_and_undone() -> None:
    rows = _unique([{"prompt": "q", "response_a": "A", "response_b": "B", "human": []}] * 60)
    options, loss = Options(seed=3), Loss()
    givens = [given_of(_stored(row, 1)) for row in rows]
    tasks = [task for one in givens for task in WRITERS["label_studio"].rows(one, options, loss)]
    lefts = [task["data"]["left_is"] for task in tasks]
    assert 15 < lefts.count("a") < 45
    assert all(task["data"]["left"] == task["data"]["left_is"].upper() for task in tasks)
    assert {task["data"]["seed"] for task in tasks} == {3}
    assert "model" not in json.dumps([task["data"] for task in tasks])


def test_a_request_is_the_row_without_what_people_said() -> None:
    row = {"id": "x", "prompt": "q", "response_a": "A", "response_b": "B",
           "human": [{"annotator": "n", "label": "a"}]}  # fmt: skip
    loss = Loss()
    [line] = WRITERS["openai_batch"].rows(given_of(_stored(row, 1)), Options(), loss)
    assert (line["custom_id"], line["method"], line["url"]) == ("x", "POST", "/v1/judgments")
    assert "human" not in line["body"]
    assert {k: line["body"][k] for k in ("prompt", "response_a")} == {
        "prompt": "q",
        "response_a": "A",
    }
    assert loss == {"votes": 1}


FORMULAS = ["=1+1", "+1", "-1", "@a", "\tx", "\rx", "\nx", "\uff1dx"]
MARKED_ALREADY = ["'=1", "''+1", "'@", "'"]


def csv_of(form: str, rows: list[Row]) -> list[dict[str, str]]:
    with ExitStack() as stack:
        sheet = sheet_of(WRITERS[form], file := io.BytesIO(), stack)
        for number, row in enumerate(rows, 1):
            given_row = given_of(_stored(row, number))
            sheet.write(list(WRITERS[form].rows(given_row, Options(), Loss())))
        sheet.finish()
        return list(csv.DictReader(io.StringIO(file.getvalue().decode(), newline="")))


@pytest.mark.parametrize("form", ["csv", "evalica", "arena_rank"])
def test_no_cell_of_a_table_is_a_formula_and_reading_undoes_the_mark(form: str) -> None:
    texts = [*FORMULAS, *MARKED_ALREADY]
    rows: list[Row] = [
        {"id": f"-{n}", "prompt": text, "response_a": text, "response_b": f" {text}",
         "model_a": f"={n}", "model_b": f"'@{n}", "human": [{"annotator": "n", "label": "a"}]}
        for n, text in enumerate(texts)
    ]  # fmt: skip
    cells = [cell for line in csv_of(form, rows) for cell in line.values()]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]
    found = trip(form, rows)
    assert [row.pair["model_a"] for row in found.after] == [row["model_a"] for row in rows]
    assert [row.pair["model_b"] for row in found.after] == [row["model_b"] for row in rows]
    if form == "csv":
        assert found.after == found.before


def test_an_apostrophe_of_a_table_from_elsewhere_belongs_to_its_text() -> None:
    body = (
        "id,prompt,response_a,response_b,marked_cells\r\n"
        "'-5,'-5' is what?,'=SUM(1),=1,\r\nx,q,'=1,a,my own note\r\n"
    )
    first, second = _staged(body.encode(), "text/csv")[0]
    assert first.pair["id"] == "'-5"
    assert json.loads(first.pair["content"])["responses_a"] == ["'=SUM(1)"]
    assert json.loads(second.pair["content"])["responses_a"] == ["'=1"]
    assert json.loads(second.pair["metadata"]) == {"marked_cells": "my own note"}


def test_what_rows_say_beyond_a_format_is_counted() -> None:
    given_row = {"id": "x", "prompt": "q", "response_a": "A", "response_b": "B", "human": []}
    named = {**given_row, "metadata": {"instruction": "r"}, "judges": {"j": {"p_a": 1}}}
    found = trip("alpaca_eval", [named])
    assert found.loss["metadata named like fields of the format"] == 1
    found = trip("csv", [{**given_row, "prompt": "\ud800", "metadata": {"n": 1}}])
    assert found.loss == {"characters that UTF-8 does not have": 1}
    assert json.loads(found.after[0].pair["content"])["conversation"] == [["user", "?"]]
    used = {"p_a": 0.5, "tokens": {"prompt": 9, "completion": 1, "cached": 4}}
    found = trip("canonical", [{**given_row, "judges": {"j": used}}])
    assert (found.loss, found.after) == ({}, found.before)


def test_a_score_of_a_model_that_only_its_hash_names_is_counted() -> None:
    row = {"id": "x", "prompt": "q", "response_a": "A", "response_b": "B", "human": [],
           "judges": {"j": {"p_a": 1}}}  # fmt: skip
    one, loss = given_of(_stored(row, 1)), Loss()
    hashed = {"j": replace(one.scores["j"], fingerprint="of another prompt")}
    list(WRITERS["canonical"].rows(replace(one, scores=hashed), Options(), loss))
    assert loss == {"models and prompts of recorded scores": 1}


def compared(a: str, b: str, **metadata: Any) -> Row:
    """Return a pair as scores of single responses make it."""
    return {
        "id": f"1|{a}|{b}", "group": "1", "prompt": "q", "response_a": a, "response_b": b,
        "model_a": a, "model_b": b, "metadata": metadata,
    }  # fmt: skip


def test_scores_of_single_responses_are_written_once_and_the_rest_is_counted() -> None:
    def scored(model: str, number: int) -> Row:
        return {"response": model, "human": [{"annotator": "ann", "score": number}]}

    vote = {"annotator": "ann", "label": "b", "score_a": 0, "score_b": 1}
    rated = {"j": {"label": "b", "ratings": [0, 1]}}
    rows: list[Row] = [
        {**compared(a, b, scores_a=scored(a, n), scores_b=scored(b, n + 1)),
         "human": [vote], "judges": rated}
        for n, (a, b) in enumerate([("x", "y"), ("y", "z")])
    ]  # fmt: skip
    rows[0]["human"] = [vote, {"annotator": "bob", "label": "a"}]
    rows[1]["judges"] = {**rated, "k": {"p_a": 0.5}}
    loss, options = Loss(), Options()
    given_rows = [given_of(_stored(row, n)) for n, row in enumerate(rows, 1)]
    written = [made for one in given_rows for made in WRITERS["pointwise"].rows(one, options, loss)]
    assert [(one["model"], one["human"][0]["score"]) for one in written] == [
        ("x", 0), ("y", 1), ("z", 2),
    ]  # fmt: skip
    assert loss["votes that do not follow from scores"] == 1
    # of the second pair one judge gave no rating
    assert loss["recorded scores"] == 2

    scores = {"x": 3, "y": 2, "z": 1}
    rows = [
        compared(a, b, judge_score_a=scores[a], judge_score_b=scores[b])
        | {"human": [], "judges": {"judge_score": {"label": "a"}}}
        for a, b in (("x", "y"), ("x", "z"), ("y", "z"))
    ]
    found = trip("cje", rows)
    assert [pair.pair["model_b"] for pair in found.after] == ["y", "z", "z"]
    assert found.rejected == []
