"""What was stored or published stays as it is: the present code against files that are kept.

A test that fails here says that stored data, exported files or requests would mean something else.
If that is wanted, write the files again (see `write.py`) and say so in the changelog.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.golden import database, served, values
from tests.golden.database import in_one_spelling
from tests.golden.fixtures import differences, load, unpack_database


def test_hashes_by_which_stored_data_is_found_again() -> None:
    assert not differences(load("hashes"), values.hashes())


def test_certificates_are_the_same() -> None:
    assert not differences(load("certifications"), values.as_json(values.certifications()))


def test_figures_are_the_same() -> None:
    stored = load("statistics")
    del stored["mean preference"]  # of a function that is gone
    found = differences(stored, values.statistics())
    assert not [one for one in found if not _WIDER_FIGURES.match(one)]


# ends of intervals that covered too little; no value has changed
_WIDER_FIGURES = re.compile(
    r"/leaderboards/[^/]+/rows/\d/win_rate/(low|high): "  # Wilson's for the trials they are worth
    r"|/leaderboards/(win rate|average)/rows/\d/rating/(low|high): "  # the same
    r"|/agreement/rate( of decided)?/(low|high): "  # degrees of freedom of the rarer outcome
    r"|/agreement/cohen, quadratic/low: "  # what rare disagreements leave open
)


async def test_fingerprints_and_cascades_as_they_are_listed(tmp_path: Path) -> None:
    assert not _unintended(load("catalogue"), await served.catalogue(tmp_path))


async def test_exported_files_are_the_same_byte_for_byte(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    assert not differences(load("exports"), await served.exports(tmp_path))


async def test_no_endpoint_parameter_or_field_of_a_request_disappears(tmp_path: Path) -> None:
    async with served.opened(served.settings_in(tmp_path)) as client:
        description = (await client.get("/openapi.json")).json()
    lost = _lost(load("openapi"), served.interface(description))
    assert not [one for one in lost if not one.startswith(_ON_PURPOSE)]


# all lists are newest first, no cursor is longer than an id, and a board can be ranked again by
# slices alone, without weights of criteria; one method may be several that are declared together
_ON_PURPOSE = (
    "/schemas/CalibrationIn/properties/method/type is gone",
    "/schemas/CalibrationIn/properties/method/enum is gone",
    "/schemas/PlanIn/properties/method/type is gone",
    "/schemas/PlanIn/properties/method/enum is gone",
    "/schemas/ReweightIn/required is gone",
    "/schemas/ReweightIn/properties/criteria/",
    "/paths/GET /v1/files/parameters/query order/default: ",
    "/paths/GET /v1/labels/parameters/query after/anyOf: ",
)


# the portfolio of raw confidences has a name of its own; groups that were looked at for few-shot
# examples count, not only those shown
_MEANT = (
    r'/method: "auto" is now "auto_raw"$',
    r"/example_prompts: \d+ is now \d+$",
    # what is advised is said in other words
    r"/advice/text: ",
    r"/refusal/(tried|would_help): ",
    # so is what a line of a health card measures
    r"/health.*/lines/\d+/(title|meaning): ",
    # ends of intervals that covered too little; no value has changed
    r"^/new leaderboard/rows/\d/win_rate/(low|high): ",
    r"^/late report/human/annotator_pairs/\d/agreement(_without_ties)?/(low|high): ",
    r"^/late report/human/annotator_pairs/\d/cohens_kappa/(low|high): ",
    r"^/late report/judges/\d/accuracy_mean_of_orders/(low|high): ",
    r"^/late report/judges/\d/agreement(_consistent|_three_way)?/(low|high): ",
    r"^/late report/judges/\d/cohens_kappa(_three_way)?/(low|high): ",
    r"^/late report/judges/\d/by_difficulty/\d/agreement(_three_way)?/(low|high): ",
    r"^/late report/judges/\d/by_difficulty/\d/cohens_kappa(_three_way)?/(low|high): ",
    r"^/late report/judges/\d/by_votes/\d/agreement/(low|high): ",
    # shares over groups: the rarer outcome says more about how alike rows of a group are
    r"^/late report/judges/\d/reliability/brier_uncertainty/(low|high): ",
)


def _unintended(old: Any, new: Any) -> list[str]:
    found = differences(old, new)
    return [one for one in found if not any(re.search(meant, one) for meant in _MEANT)]


def _lost(old: Any, new: Any, place: str = "") -> list[str]:
    """Return what is gone, changed or newly required; what is new beside it may be there."""
    if isinstance(old, dict) and isinstance(new, dict):
        # prose about a field may be improved, but a field may be called so
        said = () if place.endswith("/properties") else ("description", "title", "examples")
        counted = [name for name in old if name not in said]
        parts = [_lost(old[n], new[n], f"{place}/{n}") for n in counted if n in new]
        gone = [f"{place}/{name} is gone" for name in counted if name not in new]
        if "properties" in old and "required" not in old and "required" in new:
            gone.append(f"{place} now requires {new['required']}")
        return gone + [one for part in parts for one in part]
    if isinstance(old, list) and isinstance(new, list) and place.endswith("/enum"):
        return [f"{place}: {value} is gone" for value in old if value not in new]
    if isinstance(old, list) and isinstance(new, list) and place.endswith("/anyOf"):
        gone = [one for one in old if all(_lost(one, other) for other in new)]
        return [f"{place}: {one} is gone" for one in gone]
    if isinstance(old, list) and isinstance(new, list) and place.endswith("/required"):
        return [f"{place} now requires {name}" for name in new if name not in old]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [lost for i, (o, n) in pairs for lost in _lost(o, n, f"{place}/{i}")]
    return [] if old == new else [f"{place}: {old} is now {new}"]


@pytest.fixture
def golden() -> Any:
    # moments were written in two spellings
    return in_one_spelling(load("database"))


async def test_an_old_database_reads_as_it_was_written(tmp_path: Path, golden: Any) -> None:
    async with _opened(tmp_path, golden) as client:
        read = await database.read_all(client, golden["known"])
    assert not _unintended(golden["stored"], read)


async def test_an_old_database_asks_for_its_key(tmp_path: Path, golden: Any) -> None:
    async with _opened(tmp_path, {"known": {"key": "trib_unknown"}}) as client:
        assert (await client.get("/v1/datasets")).status_code == 401
    other = tmp_path / "other"
    other.mkdir()
    async with _opened(other, golden) as client:
        assert (await client.get("/v1/datasets")).status_code == 200


async def test_the_same_requests_find_what_is_stored(tmp_path: Path, golden: Any) -> None:
    async with _opened(tmp_path, golden) as client:
        again = in_one_spelling(await database.ask_again(client, golden["known"]))
    for answers in (golden["again"], again):
        made = answers["new calibration"]
        made["claim"] = _without_later_use(made["claim"])
    assert not _unintended(golden["again"], again)


def _without_later_use(claim: str) -> str:
    """Return a claim without what it says of earlier certificates from the same labels.

    These words were improved; the numbers in them are fields of their own.
    """
    return claim.split(" It is number ")[0].split(" Some or all of these labels ")[0]


async def test_work_that_was_left_half_done_goes_on(tmp_path: Path, golden: Any) -> None:
    async with _opened(tmp_path, golden, workers=1) as client:
        finished = await database.finish(client, golden["known"])
    assert not _unintended(golden["finished"], in_one_spelling(finished))
    assert finished["half"]["status"] == "completed"
    before, after = _verdicts(tmp_path, golden["known"]["half"])
    assert 0 < len(before) < len(after)
    assert after[: len(before)] == before, "what was done is not done again"


def _verdicts(folder: Path, batch: str) -> list[list[tuple[int, int]]]:
    """Return number and position of the verdicts of a batch, in the golden file and now."""
    query = (
        "SELECT verdicts.seq, position FROM verdicts JOIN batches ON batches.seq = batch_seq"
        " WHERE batches.id = ? ORDER BY position"
    )
    (folder / "spool").mkdir()
    unpack_database(folder / "spool")
    found = []
    for path in (folder / "spool" / "golden.db", folder / "golden.db"):
        with closing(sqlite3.connect(path)) as connection:
            found.append(connection.execute(query, [batch]).fetchall())
    return found


def _opened(
    folder: Path, golden: Any, **changes: Any
) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    unpack_database(folder)
    return served.opened(served.settings_in(folder, **changes), golden["known"]["key"])
