from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gate.outputs import Outputs, OutputsInvalid, read_outputs, side_by_side

ROWS = [
    {"instruction": "Why?", "output": "Rain.", "generator": "m"},
    {"instruction": "Sum", "input": "1, 2", "output": "3", "generator": "m"},
]


@pytest.mark.parametrize("form", ["array", "lines", "gzip", "one"])
def test_files_in_every_form(tmp_path: Path, form: str) -> None:
    file = tmp_path / "new.json"
    lines = "\n".join(json.dumps(row) for row in ROWS).encode()
    contents = {
        "array": json.dumps(ROWS).encode(),
        "lines": b"\xef\xbb\xbf" + lines + b"\n\n",
        "gzip": gzip.compress(lines),
        "one": json.dumps(ROWS[0]).encode(),
    }
    file.write_bytes(contents[form])
    outputs = read_outputs(file, "new")
    assert [(one.prompt, one.text, one.model) for one in outputs] == [
        ("Why?", "Rain.", "m"),
        ("Sum\n\n1, 2", "3", "m"),
    ][: 1 if form == "one" else 2]
    assert read_outputs(str(file), "new") == outputs


@given(
    st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), min_size=1, max_size=8),
    st.permutations(range(8)),
)
def test_every_output_meets_one_of_the_same_prompt(
    made: list[tuple[str, str]], order: list[int]
) -> None:
    new = [{"prompt": prompt, "output": text} for prompt, text in made]
    old = [{"prompt": made[i][0], "output": f"old {i}"} for i in order if i < len(made)]
    met = side_by_side(new, old)
    assert [(one.prompt, one.new.text) for one in met] == made
    assert all(one.old.prompt == one.prompt for one in met)
    assert {one.old.text for one in met} == {f"old {i}" for i in range(len(made))}


@pytest.mark.parametrize(
    ("new", "old", "said"),
    [
        ({"a": "x", "b": "y"}, {"a": "x"}, "1 outputs of new have none of old .*'b'"),
        ({"a": "x"}, {"a": ["x", "y"]}, "1 outputs of old have none of new"),
        (
            [{"prompt": "a", "output": "x"}] * 2,
            {"a": "x"},
            r"'a' \(stands 2 times in new and 1 in old; outputs to one prompt are paired in",
        ),
        ({"Why? ": "x"}, {"why?": "y"}, r"'Why\? ' \(but for blanks and case it is 'why\?' of old"),
        ([], [], "no output"),
        ([{"instruction": "a"}], {"a": "x"}, r"new, row 1: has no output \(or response"),
        ([{"output": "a"}], {"a": "x"}, "new, row 1: has no instruction"),
        ([{"prompt": "a", "output": None}], {"a": "x"}, "output: None is no text"),
        ({"a": "x"}, {"a": 1}, "old, prompt 'a': output: 1 is no text"),
        (["x"], {"a": "x"}, "row 1: is no object"),
        ("no/such/file.json", {"a": "x"}, r"new \(no/such/file.json\): No such file"),
    ],
)
def test_what_is_wrong_is_named(new: Outputs, old: Outputs, said: str) -> None:
    with pytest.raises(OutputsInvalid, match=said):
        side_by_side(new, old)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b'{"a": "x"}\n{"a"', "line 2: is not JSON"), (b"\xff\xfe", "codec"), (b"3", "neither")],
)
def test_a_file_that_holds_no_outputs_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "new.json"
    file.write_bytes(content)
    wrong: Any = file
    with pytest.raises(OutputsInvalid, match=said):
        read_outputs(wrong, "new")
