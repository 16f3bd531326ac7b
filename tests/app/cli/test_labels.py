from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from app.cli import app
from app.cli.people import labels
from tests.app.rows import labelled_rows, ndjson


@pytest.fixture(autouse=True)
def folder(folder: Path, fill: Callable[[Path, Callable[[], None]], None]) -> Path:
    """A working folder with a dataset of 20 pairs."""

    def make() -> None:
        (folder / "rivers.jsonl").write_bytes(ndjson(labelled_rows(20)))
        assert CliRunner().invoke(app, ["import", "rivers.jsonl"]).exit_code == 0

    fill(folder, make)
    return folder


def label(file: str, *options: str, status: int = 0, text: str | None = None) -> Any:
    result = CliRunner().invoke(app, ["label", "rivers", file, *options, "--json"], input=text)
    assert result.exit_code == status, result.output
    return result.stderr if status else json.loads(result.stdout)


def test_csv_and_ndjson_add_the_same_labels(folder: Path) -> None:
    (folder / "new.csv").write_text(
        '\ufeffpair,label,annotator,strength,comment\np0,A,bert,2,"yes,\nit is"\np1,tie,bert,,\n'
    )
    assert label("new.csv") == {
        "dataset": "rivers", "accepted": 2, "replaced": 0, "unchanged": 0, "contradicted": 0,
        "labels": {"a": 1, "b": 0, "tie": 1}, "turned": 0,
    }  # fmt: skip
    rows: list[dict[str, Any]] = [
        {"pair": "p0", "label": "a", "annotator": "bert", "strength": 2, "comment": "yes,\nit is"},
        {"pair": "p1", "label": "b", "annotator": "bert"},
    ]
    again = "\n\n".join(json.dumps(row) for row in rows)
    assert label("-", text=again) == {
        "dataset": "rivers", "accepted": 2, "replaced": 1, "unchanged": 1, "contradicted": 0,
        "labels": {"a": 1, "b": 1, "tie": 0}, "turned": 0,
    }  # fmt: skip


def test_two_labels_of_one_person_that_differ_are_told_of(folder: Path) -> None:
    (folder / "new.csv").write_text("pair,label\np0,a\np0,b\n")
    assert label("new.csv", "--annotator", "me")["contradicted"] == 1
    again = CliRunner().invoke(app, ["label", "rivers", "new.csv", "--annotator", "me"])
    assert "on 1 pairs one person gives two labels" in " ".join(again.output.split())
    assert (
        "0 are new, 0 replace another label of the same person, 2 were stored already"
        in " ".join(again.output.split())
    )


def test_a_misspelt_column_is_told_with_the_one_that_was_meant(folder: Path) -> None:
    (folder / "new.csv").write_text("pair,lable\np0,a\n")
    said = label("new.csv", status=2)
    assert "lable: there is no such column; did you mean label?" in said
    assert "the file has: pair, lable" in said
    assert "tribunal label rivers new.csv --map label=lable --annotator NAME" in said


def test_a_pairs_id_may_be_called_as_exports_call_it(folder: Path) -> None:
    (folder / "new.csv").write_text("id,annotator,label\np0,bert,a\n")
    assert label("new.csv")["accepted"] == 1
    row = json.dumps({"id": "p0", "annotator": "bert", "label": "a"})
    assert label("-", text=row)["unchanged"] == 1


def test_who_said_it_is_asked_for_once_and_never_guessed(folder: Path) -> None:
    (folder / "new.csv").write_text("pair,label\np0,a\n")
    assert "--annotator" in label("new.csv", status=2)
    assert label("new.csv", "--annotator", "carl")["accepted"] == 1
    unknown = json.dumps({"pair": "p0", "label": "a", "annotator": None})
    assert label("-", text=unknown)["accepted"] == 1


def test_what_the_service_refuses_is_named_by_its_line_and_nothing_is_stored(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "pair,label,annotator\np0,a,bert\np99,a,bert\np1,c,bert\n"
    (folder / "bad.csv").write_text(lines.replace("p1,c", "p1,b"))
    said = label("bad.csv", status=1)
    assert "line 3: pair: the dataset has no pair 'p99'" in said
    assert "none of these labels was stored" in said
    (folder / "worse.csv").write_text(lines)
    assert "line 4: label: " in label("worse.csv", status=1)
    monkeypatch.setattr(labels, "_AT_ONCE", 1)
    assert "1 labels before it are stored" in label("bad.csv", status=1)


def test_every_faulty_row_is_named_at_once_whatever_is_wrong_with_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ["p0,a,bert", "p99,a,bert", "p1,c,bert", "p2,a", "p3,b,", "p4,tie,bert", "p5,c,bert"]
    (folder / "bad.csv").write_text("\n".join(["pair,label,annotator", *rows]) + "\n")
    for at_once in (10_000, 2):
        monkeypatch.setattr(labels, "_AT_ONCE", at_once)
        first, *said, hint = label("bad.csv", status=2).splitlines()
        assert "what these labels mean, for example --coding" in hint
        assert "5 rows are faulty, none of these labels was stored" in first
        assert [line.split(":")[0].strip() for line in said] == [
            "line 3", "lines 4, 8", "line 5", "line 6",
        ]  # fmt: skip
        assert "no pair 'p99'" in said[0]
        assert "'c' is not a label" in said[1]
        assert "3 cells are expected" in said[2]
        assert "names no annotator" in said[3]
    assert label("-", text='{"pair": "p0", "label": "a", "annotator": "bert"}')["unchanged"] == 0


def test_faulty_rows_are_cut_off_and_counted(folder: Path) -> None:
    rows = "".join(f"q{number},a,bert\n" for number in range(130))
    (folder / "bad.csv").write_text("pair,label,annotator\n" + rows)
    first, *said = label("bad.csv", status=1).splitlines()
    assert "130 rows are faulty" in first
    assert [line.split(":")[0].strip() for line in said] == [
        *(f"line {number}" for number in range(2, 22)), "and 110 more",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("pair,annotator\np0,bert\n", "line 1: the column label is needed"),
        ("pair,label,annotater\np0,a,bert\n", "line 1: annotater: there is no such column"),
        (
            "Nr,Verdict\np0,a\n",
            "tribunal label rivers new.csv --map pair=Nr,label=Verdict --annotator NAME",
        ),
        ("pair,label,annotator\np0,a\n", "line 2: 3 cells are expected"),
        ('pair,label,annotator\np0,"a,bert\n', "line 2: "),
        ("pair,label,annotator,strength\np0,a,bert,much\n", "line 2: strength: 'much'"),
        ("pair,label,annotator\n", "holds no label"),
        ("", "new.csv: is empty"),
        ('{"pair": "p0", "annotator": "x"}\n{', "line 2: "),
        ('{"pair": "p0", "annotator": "x"}\n[]', "line 2: is no object"),
        ("{'pair': 'p0', 'annotator': 'x'}", "line 1: not JSON"),
        (
            '[{"pair": "p0", "annotator": "x", "label": "a", "label": "b"}]',
            "names this field twice",
        ),
        ('pair,"label\n', "is not a header: a quote in it is not closed"),
    ],
)
def test_a_file_that_is_wrong_is_bad_usage(folder: Path, content: str, said: str) -> None:
    (folder / "new.csv").write_text(content)
    assert said in label("new.csv", status=2)


@pytest.mark.parametrize(
    "content",
    [
        "sep=\t\npair\tlabel\tannotator\np0\tb\tann\n",
        "\n,,\npair,label,annotator\np0,b,ann\n",
        'pair, label, annotator\np0, "b", ann\n',
        '{\n "pair": "p0",\n "label": "b", "annotator": "ann"\n}\n',
        '[{"pair": "p0", "label": ["B"], "annotator": "ann"},\n]',
    ],
)
def test_a_file_of_labels_is_read_as_an_import_is(folder: Path, content: str) -> None:
    (folder / "new.txt").write_text(content)
    assert label("new.txt")["accepted"] == 1
    assert "1 were stored already" in label_text("new.txt", "ann", "b")


def label_text(file: str, annotator: str, said: str) -> str:
    """Give a label again by a plain table, and return what is said of it."""
    Path("plain.csv").write_text(f"pair,label,annotator\np0,{said},{annotator}\n")
    return " ".join(CliRunner().invoke(app, ["label", "rivers", "plain.csv"]).output.split())


def test_a_label_that_names_a_column_means_what_stands_in_it(folder: Path) -> None:
    columns = "response_a=answer_2,response_b=answer_1"
    lines = ["pair,annotator,answer_2,answer_1,label"]
    exported = CliRunner().invoke(app, ["export", "rivers", "--format", "canonical"]).stdout
    first = json.loads(exported.splitlines()[0])
    texts = (first["response_a"], first["response_b"])
    lines.append(f'{first["id"]},zoe,"{texts[0]}","{texts[1]}",answer_1')
    (folder / "new.csv").write_text("\n".join(lines) + "\n")
    assert label("new.csv", "--map", columns)["accepted"] == 1
    (folder / "plain.csv").write_text(f"pair,label,annotator\n{first['id']},b,zoe\n")
    assert label("plain.csv")["unchanged"] == 1
    (folder / "new.csv").write_text(
        "\n".join([*lines, lines[1].replace("answer_1", "left")]) + "\n"
    )
    assert "left may mean a side or a column" in label("new.csv", "--map", columns, status=2)


def test_an_unknown_dataset_and_file_are_named(folder: Path) -> None:
    assert "No such file" in label("none.csv", status=2)
    (folder / "new.csv").write_text("pair,label,annotator,dataset\np0,a,bert,lakes\n")
    assert "there is no dataset 'lakes'" in label("new.csv", status=1)


def test_a_table_in_parquet_adds_labels_and_rows_of_other_forms_are_told(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"pair": ["p0", "p1"], "label": ["a", "tie"], "annotator": ["ann", "ann"]})
    pq.write_table(table, folder / "new.parquet")
    assert label("new.parquet")["accepted"] == 2
    (folder / "gaps.csv").write_text("pair,label\np0,b\n\np1,b\n")
    assert label("gaps.csv", "--annotator", "ann")["replaced"] == 2
    row = {"pair": "p0", "human": [{"annotator": "ann", "label": "a"}]}
    (folder / "nested.jsonl").write_bytes(ndjson([row]))
    assert "give every vote a row of its own" in label("nested.jsonl", status=2)
    assert "--by: 'name' is neither pair nor prompt" in label("gaps.csv", "--by", "name", status=2)


def test_a_refusal_that_names_no_label_is_told_as_it_is(
    folder: Path, answers: dict[str, Any]
) -> None:
    (folder / "new.csv").write_text("pair,label\np0,a\n")
    problem = {"detail": "no dataset 'rivers'", "errors": [{"loc": ["body", "x"], "msg": "no"}]}
    answers["POST /v1/labels"] = httpx.Response(404, json={**problem, "status": 404})
    assert "no dataset 'rivers'" in label("new.csv", "--annotator", "ann", status=1)
    answers["POST /v1/labels"] = httpx.Response(404, json={"detail": "no dataset", "status": 404})
    assert "no dataset" in label("new.csv", "--annotator", "ann", status=1)


VOTES = """question;left system;right system;better;who;seconds;remark
"What is 0 plus 0?";{b};{a};left;rater a;108;"hard; to say"
"What is 1 plus 1?";{a};{b};same;rater b;7;
"What is 2 plus 2?";{a};{b};right;rater a;20;
"""


@pytest.fixture
def plain(folder: Path) -> Path:
    """A dataset of pairs with models, and a colleague's table of votes on them."""
    rows = [
        {"id": f"q{n}", "prompt": f"What is {n} plus {n}?", "response_a": f"It is {2 * n}.",
         "response_b": "I do not know.", "model_a": "oak", "model_b": "elm"}
        for n in range(3)
    ]  # fmt: skip
    (folder / "sums.jsonl").write_bytes(ndjson(rows))
    assert CliRunner().invoke(app, ["import", "sums.jsonl"]).exit_code == 0
    (folder / "votes.csv").write_text("\ufeff" + VOTES.format(a="oak", b="elm"))
    return folder


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(words), env={"TRIBUNAL_OUTPUT": "table"})
    return result.exit_code, result.stdout, result.stderr


def command_in(said: str) -> list[str]:
    """Return the words of the command that a refusal suggests."""
    [line] = [one for one in said.splitlines() if one.startswith("  tribunal label ")]
    return shlex.split(line)[1:]


def votes_of(dataset: str) -> dict[str, list[dict[str, Any]]]:
    exported = CliRunner().invoke(app, ["export", dataset, "--format", "canonical"]).stdout
    return {row["id"]: row["human"] for row in map(json.loads, exported.splitlines())}


def test_the_first_refusal_gives_the_whole_command_and_nothing_of_a_vote_is_lost(
    plain: Path,
) -> None:
    status, _, said = run("label", "sums", "votes.csv")
    assert status == 2
    assert "the file has: question, left system, right system, better, who, seconds, remark" in said
    words = command_in(said)
    assert words[words.index("--map") + 1] == (
        "prompt=question,model_a=left system,model_b=right system,label=better,annotator=who,"
        "comment=remark"
    )
    status, shown, _ = run(*words, "--dry-run")
    assert status == 0
    assert shown.startswith("nothing is stored; 3 labels can be, for sums")
    assert "comment: hard; to say" in shown
    assert votes_of("sums") == {"q0": [], "q1": [], "q2": []}
    status, shown, notes = run(*words)
    assert (status, notes) == (0, "tribunal: votes.csv: kept with each label: seconds\n")
    told = " ".join(shown.split())
    assert "as the pairs are stored: 0 a, 2 b, 1 tie; 1 row has the two sides the other way" in told
    [vote] = votes_of("sums")["q0"]
    assert vote == {
        "seconds": "108", "comment": "hard; to say", "annotator": "rater a", "label": "b",
        "criterion": "overall",
    }  # fmt: skip


def test_numbers_are_suggested_with_a_coding_of_all_of_them(plain: Path) -> None:
    rows = [f"q{n % 3},{code},ann" for n, code in enumerate((-3, -1, 0, 2))]
    (plain / "likert.csv").write_text("\n".join(["item,rating,rater", *rows]) + "\n")
    words = command_in(run("label", "sums", "likert.csv")[2])
    assert words[words.index("--coding") + 1] == "-3=a,-1=a,0=tie,2=b"
    assert run(*words)[0] == 0
    (plain / "named.csv").write_text("\n".join(["pair,label,annotator", *rows]) + "\n")
    assert "for example --coding -3=a,-1=a,0=tie,2=b" in run("label", "sums", "named.csv")[
        2
    ].replace('"', "")


def test_a_table_with_a_column_for_each_person_is_one_label_for_each_cell(plain: Path) -> None:
    (plain / "wide.csv").write_text("id,ann,bob,note\nq0,A,tie,x\nq1,oak,,y\nq2,b,b,z\n")
    words = command_in(run("label", "sums", "wide.csv")[2])
    assert words[-2:] == ["--voters", "ann,bob"]
    status, shown, said = run("label", "sums", "wide.csv", "--voters", "ann,bob")
    assert (status, shown.split(" ")[0]) == (0, "5")
    assert "rows without a label, left out: 1" in said
    found = votes_of("sums")
    assert [(v["annotator"], v["label"], v["note"]) for v in found["q1"]] == [("ann", "a", "y")]
    assert [(v["annotator"], v["label"]) for v in found["q2"]] == [("ann", "b"), ("bob", "b")]
    assert (
        "there is no column carl; there is id, ann"
        in (run("label", "sums", "wide.csv", "--voters", "ann,carl")[2])
    )


def test_rows_of_json_keep_what_is_no_field_of_labels(plain: Path) -> None:
    row = {"pair": "q0", "label": "a", "annotator": "ann", "id": 7, "seconds": 3, "lables": None}
    (plain / "one.jsonl").write_bytes(ndjson([row]))
    assert "did you mean" not in run("label", "sums", "one.jsonl")[2]
    [vote] = votes_of("sums")["q0"]
    assert (vote["source_id"], vote["seconds"]) == (7, 3)
    (plain / "far.jsonl").write_bytes(ndjson([{"question": "What is 1 plus 1?", "winner": "oak"}]))
    words = command_in(run("label", "sums", "far.jsonl")[2])
    assert words[-4:] == ["--map", "prompt=question", "--annotator", "NAME"]
    assert run(*words)[0] == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("My votes,,\npair,label,annotator\n", "if it is a title, remove it"),
        ("| id | label |\n|---|---|\n| q0 | a |\n", "a table in Markdown: save it as CSV"),
        ("pair,label,label\nq0,a,b\n", "names a column twice: 'label'"),
        ("q0,a,ann\nq1,b,ann\n", "seems to be a row: write the names of the columns above it"),
        ('{"votes": [{"pair": "q0", "label": "a"}]}', "its field 'votes' holds the rows"),
        ('{"pair": {"0": "q0"}, "label": {"0": "a"}}', "one object a row"),
        ("id,score_a,score_b,annotator\nq0,3,5,ann\n", "no column seems to hold who won"),
        (
            "id,label,left_model,right_model\nq0,left,elm,oak\n",
            "left_model and right_model seem to",
        ),
        ("id,label\nq0,NaN\nq1,A=B\nq2,p=q\n", """--coding '{"NaN": "none", "p=q": "?"}'"""),
        ("id,label\nq0,TRUE\nq1,FALSE\n", "--coding TRUE=a,FALSE=b"),
        ("id,label\nq0,gleich\n", "--coding gleich=tie"),
    ],
)
def test_a_table_that_cannot_be_read_says_what_to_do(plain: Path, content: str, said: str) -> None:
    (plain / "x.csv").write_text(content)
    status, _, told = run("label", "sums", "x.csv", "--annotator", "me")
    assert status in (1, 2)
    assert said in told.replace('--coding "TRUE=a,FALSE=b"', "--coding TRUE=a,FALSE=b").replace(
        '"gleich=tie"', "gleich=tie"
    )
    assert votes_of("sums") == {"q0": [], "q1": [], "q2": []}


def test_a_table_with_a_column_for_each_criterion_is_a_label_by_each(plain: Path) -> None:
    (plain / "two.csv").write_text("id,style,truth,annotator\nq0,A,B,ann\nq1,tie,oak,ann\n")
    words = command_in(run("label", "sums", "two.csv")[2])
    assert words[-2:] == ["--criteria", "style,truth"]
    assert (
        "the file has a column for the annotator, too"
        in (run("label", "sums", "two.csv", "--voters", "style,truth")[2])
    )
    assert run(*words)[0] == 0
    found = [(v["annotator"], v["criterion"], v["label"]) for v in votes_of("sums")["q0"]]
    assert found == [("ann", "style", "a"), ("ann", "truth", "b")]
    (plain / "raters.csv").write_text("id,rater_1,rater_2\nq0,1,2\n")
    words = command_in(run("label", "sums", "raters.csv")[2])
    assert words[-4:] == ["--coding", "1=a,2=b", "--voters", "rater_1,rater_2"]
