from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.errors import Unprocessable
from app.formats.base import RowInvalid
from app.formats.canonical import ParsedRow
from app.formats.columns.unknown import why_unknown
from app.formats.joining import Piece
from app.formats.registry import DIALECTS, candidates
from app.imports.reading import Reader, stage
from app.imports.staging import Staging
from app.imports.tables import RawRow
from tests.app.formats.hand_written import EXAMPLES
from tests.app.imports.uploads import pairs_of, row, upload

ROWS: dict[str, dict[str, Any]] = {
    "canonical": row(0),
    "alpaca_eval": {
        "instruction": "Name a colour.", "output_1": "Red", "generator_1": "m1",
        "output_2": "Blue", "generator_2": "m2", "annotator": "judge", "preference": 1.25,
    },
    "mt_bench": {
        "question_id": 81, "model_1": "m1", "model_2": "m2", "g1_winner": "model_1",
        "g2_winner": "tie", "judge": ["gpt-4", "pair-v2"], "turn": 1,
    },
    "reward_bench": {"id": 3, "prompt": "Why?", "chosen": "good", "rejected": "bad"},
    "battles": {"left": "m1", "right": "m2", "winner": "left"},
}  # fmt: skip
FURTHER: dict[str, dict[str, Any]] = {
    "canonical": {"model_a": "m1", "model_b": "m2", "human": [{"label": "a"}]},
    "mt_bench": {
        "question_id": 81, "model_a": "m2", "model_b": "m1", "winner": "model_a",
        "judge": "expert_1", "turn": 2,
    },
    "battles": {"model_a": "m1", "model_b": "m2", "winner": "tie"},
}  # fmt: skip
# rows that other rows make pairs of, and those of formats with an example of their own
OTHERS: list[tuple[str, dict[str, Any]]] = [
    (name, rows[0]) for name, example in EXAMPLES.items() for rows in example.files.values()
]


@pytest.mark.parametrize(("name", "given"), [*OTHERS, *ROWS.items(), *FURTHER.items()])
def test_every_format_is_told_by_its_fields(name: str, given: dict[str, Any]) -> None:
    assert [dialect.name for dialect in candidates(given)] == [name]


@pytest.mark.parametrize("name", ROWS)
async def test_the_dataset_says_which_format_it_had(client: httpx.AsyncClient, name: str) -> None:
    answer = await upload(client, [ROWS[name]])
    assert (answer.status_code, answer.json()["dialect"]) == (201, name)
    forced = await upload(client, [ROWS[name]], dialect=name)
    assert (forced.status_code, forced.json()["id"]) == (200, answer.json()["id"])


async def test_the_first_row_that_is_recognised_fixes_the_format(
    client: httpx.AsyncClient,
) -> None:
    rows = [{"what": 1}, ROWS["battles"], ROWS["canonical"], ROWS["battles"]]
    body = (await upload(client, rows)).json()
    assert (body["dialect"], body["pairs"]) == ("battles", 2)
    assert [(each["line"], each["reason"][:40]) for each in body["rejected"]] == [
        (1, "the fields are those of no known format:"),
        (3, "the fields are not those of battles (lef"),
    ]
    assert [each["id"] for each in await pairs_of(client)] == ["2", "4"]


async def test_an_ambiguous_file_is_refused_with_the_candidates_named(
    client: httpx.AsyncClient,
) -> None:
    given = row(0, chosen="x", rejected="y")
    answer = await upload(client, [given])
    assert answer.status_code == 422
    assert "canonical, reward_bench" in answer.json()["detail"]
    assert answer.json()["errors"][0]["loc"] == ["query", "dialect"]
    assert (await upload(client, [given], dialect="canonical")).status_code == 201


async def test_an_unknown_file_is_refused_with_all_formats_named(
    client: httpx.AsyncClient,
) -> None:
    answer = await upload(client, [{"what": 1}])
    assert answer.status_code == 422
    body = answer.json()
    assert "line 1: the fields are those of no known format: 'what'" in body["detail"]
    assert list(body["known_formats"]) == list(DIALECTS)


async def test_an_unknown_name_of_a_format_is_refused(client: httpx.AsyncClient) -> None:
    answer = await upload(client, [row(0)], dialect="csv")
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["query", "dialect"])


async def test_rows_that_lack_the_fields_of_the_forced_format_are_rejected(
    client: httpx.AsyncClient,
) -> None:
    answer = await upload(client, [row(0)], dialect="alpaca_eval")
    assert answer.status_code == 422
    assert "output_1" in answer.json()["rejected"][0]["reason"]


_all = [*ROWS.values(), *FURTHER.values(), *(given for _, given in OTHERS)]
_names = sorted({name for each in _all for name in each})
_scalar = st.none() | st.booleans() | st.integers() | st.floats()
_text = st.text(st.characters(codec=None), max_size=4) | st.sampled_from(
    ["model_1", "model_a", "tie", "tie (inconsistent)", "both_bad", "user", "assistant"]
)
_value = st.recursive(
    _scalar | _text,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner, max_size=2)
    ),
    max_leaves=5,
)
_field = st.sampled_from([*_names, "conversation_a", "conversation_b", "metadata", "x"])


JOINED = [[r for rows in e.files.values() for r in rows] for e in EXAMPLES.values()]


@settings(max_examples=600, deadline=None)
@given(
    base=st.sampled_from([{}, *_all]),
    fields=st.dictionaries(_field, _value, max_size=5),
    dialect=st.sampled_from([None, *DIALECTS.values()]),
)
def test_any_row_in_any_format_is_read_or_rejected(
    base: dict[str, Any], fields: dict[str, Any], dialect: Any
) -> None:
    try:
        parsed = Reader(dialect).read(RawRow(4, value={**base, **fields}))
    except (RowInvalid, Unprocessable) as error:
        str(error).encode("utf-8")
    else:
        assert isinstance(parsed, ParsedRow | Piece)
        if isinstance(parsed, ParsedRow):
            json.dumps(parsed.metadata)


@settings(max_examples=300, deadline=None)
@given(
    base=st.sampled_from(JOINED),
    fields=st.lists(st.dictionaries(_field, _value, max_size=3), min_size=4, max_size=4),
    cut=st.integers(0, 3),
)
def test_any_rows_together_are_joined_or_rejected(
    base: list[dict[str, Any]], fields: list[dict[str, Any]], cut: int
) -> None:
    rows = [
        RawRow(number + 1, value={**row, **(fields[number % 4] if number >= cut else {})},
               file=f"f{number % 3}.json", is_one_of_several=True)
        for number, row in enumerate(base)
    ]  # fmt: skip
    staging, reader = Staging.open(Path(":memory:")), Reader()
    try:
        stage(staging, reader, (raw for raw in rows))
    except Unprocessable as error:
        str(error).encode("utf-8")
    staging.close()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ("Question", "Answer 1", "Answer 2", "better", "who"),
            "prompt=Question,response_a=Answer 1,response_b=Answer 2,annotator=who,label=better",
        ),
        (
            ("Frage", "Text rechts", "Text links", "Urteil", "wer"),
            "prompt=Frage,response_a=Text links,response_b=Text rechts,annotator=wer,label=Urteil",
        ),
    ],
)
def test_columns_of_other_names_are_suggested_with_who_voted(
    names: tuple[str, ...], said: str
) -> None:
    cells = ("What is a tree, in a few words?", "A plant with a trunk of wood.",
             "An animal that eats leaves of grass.", "left", "ann")  # fmt: skip
    assert f'--map "{said}"' in why_unknown(dict(zip(names, cells, strict=True)))
