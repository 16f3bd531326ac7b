from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest

from app.core.db import Database
from app.core.errors import NotFound
from app.core.models import Dataset
from app.datasets import service
from app.datasets.records import Vote
from app.datasets.score_columns import score_from_row, score_values
from app.datasets.splits import Part
from app.imports.importing import Wanted, import_dataset
from app.imports.upload import UploadedFile
from judges.recorded import score_from_record
from judges.types import FailureKind, JudgeFailure, Score
from tests.app.imports.uploads import ndjson, row

pytestmark = pytest.mark.both_databases

MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
BATTLE = {"model_a": "m1", "model_b": "m3", "human": [{"annotator": "ann", "label": "b"}]}


async def _imported(db: Database, rows: list[dict[str, Any]]) -> Dataset:
    files = [UploadedFile(io.BytesIO(ndjson(rows)))]
    outcome = await import_dataset(db, files, Wanted("set"), MOMENT)
    assert outcome.rejected == []
    return outcome.dataset


async def test_keys_carry_the_hashes_of_both_orders_and_no_texts(db: Database) -> None:
    dataset = await _imported(db, [row(0, metadata={"task": "x"}), BATTLE])
    async with db.read() as session:
        first, battle = await service.pair_keys(session, dataset)
        [(key, pair)] = await service.read_pairs(session, dataset)
    assert key == first
    assert (first.position, first.id, first.metadata) == (0, "p0", {"task": "x"})
    assert first.content_hash == pair.content_hash
    assert first.swapped_hash == pair.swapped().content_hash
    assert first.prompt_hash == first.group == pair.prompt_hash
    assert (battle.id, battle.group, battle.position) == ("2", "2", 1)
    assert battle.content_hash is battle.swapped_hash is battle.prompt_hash is None


async def test_the_two_parts_share_no_group_and_make_the_whole(db: Database) -> None:
    dataset = await _imported(db, [row(number) for number in range(60)])
    part = Part(fraction=0.3, seed=5, side="calibration")
    async with db.read() as session:
        mine = await service.pair_keys(session, dataset, part)
        other = await service.pair_keys(session, dataset, part.other)
        everything = await service.pair_keys(session, dataset)
    assert len({key.group for key in mine}) == 9
    assert not {key.group for key in mine} & {key.group for key in other}
    assert sorted(mine + other, key=lambda key: key.position) == everything


async def test_pairs_are_read_by_seq_by_position_or_all(db: Database) -> None:
    rows = [row(number, judges={"j": {"p_a": number / 2000}}) for number in range(1300)]
    dataset = await _imported(db, rows)
    async with db.read() as session:
        everything = await service.read_pairs(session, dataset)
        some = await service.read_pairs(session, dataset, positions=(10, 13))
        seqs = [key.seq for key, _ in everything]
        chosen = await service.read_pairs(session, dataset, seqs=list(reversed(seqs)))
        none = await service.read_pairs(session, dataset, seqs=[])
    assert [key.position for key, _ in everything] == list(range(1300))
    assert [pair.id for _, pair in some] == ["p10", "p11", "p12"]
    assert chosen == everything
    assert none == []
    assert everything[1200][1].recorded["j"].p_a == 0.6


async def test_votes_come_by_criterion_and_without_history(db: Database) -> None:
    votes = [
        {"annotator": "x", "label": "A", "strength": 2},
        {"annotator": "x", "label": "both_bad", "criterion": "tone"},
    ]
    dataset = await _imported(db, [row(0, human=votes), row(1, human=[])])
    async with db.read() as session:
        [(seq, overall)] = (await service.votes(session, dataset)).items()
        tone = (await service.votes(session, dataset, "tone"))[seq]
        every = (await service.votes(session, dataset, None))[seq]
    assert overall == [Vote("x", "a", {"strength": 2})]
    assert tone == [Vote("x", "tie", {"both_bad": True}, "tone")]
    assert every == overall + tone


async def test_recorded_scores_are_found_by_name_and_by_pattern(db: Database) -> None:
    records = {"GPT-4/a": {"p_a": 0.9}, "GPT-4/b": None, "gpt-4/c": {"label": "B"}, "x[1]": None}
    dataset = await _imported(db, [row(0, judges=records), row(1)])

    async def found(patterns: list[str] | None) -> set[str]:
        async with db.read() as session:
            scores = await service.recorded_scores(session, dataset, patterns)
        return set(*scores.values()) if scores else set()

    assert await found(None) == set(records)
    assert await found(["GPT-4/*"]) == {"GPT-4/a", "GPT-4/b"}
    assert await found(["x[1]", "*/c"]) == {"x[1]", "gpt-4/c"}
    assert await found(["nobody", ""]) == set()


async def test_a_dataset_is_found_by_id_before_name(db: Database) -> None:
    dataset = await _imported(db, [row(0)])
    files = [UploadedFile(io.BytesIO(ndjson([row(1)])))]
    await import_dataset(db, files, Wanted(dataset.id), MOMENT)
    async with db.read() as session:
        assert (await service.find_dataset(session, dataset.id)).seq == dataset.seq
        for ref in ("nothing", "", "a\x00b", "\ud800", "x" * 10_000):
            with pytest.raises(NotFound):
                await service.find_dataset(session, ref)


SCORES = [
    score_from_record("j", {"annotators": [[0.1, None, 0.2], [0.3, 0.4, 0.5]], "model": "m"}),
    score_from_record("j", {"p_a": 0.1, "p_tie": 0.3, "tokens": {"prompt": 3}, "cost": 0.5}),
    score_from_record("j", {"label_original": None, "label_swapped": None}),
    Score("j", "f", None, failure=JudgeFailure(FailureKind.TIMEOUT, "late"), flags=("x",)),
]


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("score", SCORES)
def test_a_score_is_the_same_after_its_row(score: Score, is_mirrored: bool) -> None:
    class Row:
        def __init__(self) -> None:
            for name, value in score_values(score, is_mirrored=is_mirrored).items():
                setattr(self, name, value)

    expected = score.mirrored() if is_mirrored else score
    assert score_from_row(Row()) == expected  # type: ignore[arg-type]


def test_what_a_text_column_refuses_is_spelled_out() -> None:
    failure = JudgeFailure(FailureKind.UNPARSEABLE, "said a\x00b\ud800")
    values = score_values(Score("j", "f", None, failure=failure))
    assert values["failure_detail"] == r"said a\x00b\ud800"
