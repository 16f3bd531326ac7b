"""Datasets, the pair browser, and one pair a screen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from itertools import chain
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from markupsafe import Markup

from app.api import batches as batches_api
from app.api import calibrations as calibrations_api
from app.api import leaderboards as leaderboards_api
from app.api import reports as reports_api
from app.api.datasets import Ref
from app.core.auth import Scope
from app.core.http.access import needs
from app.core.http.parameters import Running
from app.core.lists import Paging
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.datasets import similar
from app.judgments import authority, browsing
from app.judgments.browsing import SearchIn, WantedIn
from app.judgments.in_words import said_together
from app.pages import charts
from app.pages.frame import PageRoute, page, part, with_query
from app.pages.words import conversation

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_IN_PATH: Final = ("path", "ref")
_WORDS: Final = re.compile(r"\s+|\w+|[^\w\s]")
# comparing texts takes time with the product of their lengths
_MOST_WORDS: Final = 3_000
_FEW: Final = Paging(100, None, "desc")
# boards and reports may be long
_RECENT: Final = Paging(30, None, "desc")
PairId = Annotated[str, Path(max_length=2_048)]


@router.get("/datasets/{ref}")
@needs(Scope.READ)
async def dataset_page(ref: Ref, request: Request, running: Running) -> Response:
    """Show what a dataset holds, and what was made from it."""
    dataset = await _dataset(running, ref)
    refs = (dataset["id"], dataset["name"])
    certificates = (await calibrations_api.list_calibrations(running, _FEW))["data"]
    batches = (await batches_api.list_batches(running, _FEW))["data"]
    boards = (await leaderboards_api.list_leaderboards(running, _RECENT))["data"]
    reports = (await reports_api.list_reports(running, _RECENT))["data"]
    return await page(
        request,
        "dataset",
        api=f"/v1/datasets/{part(dataset['name'])}",
        dataset=dataset,
        certificates=[one for one in certificates if one["request"].get("dataset") in refs],
        batches=[one for one in batches if one["dataset"] in refs],
        leaderboards=[one for one in boards if one["dataset"] in refs],
        reports=[one for one in reports if one["dataset"] in refs],
    )


async def _dataset(running: Runtime, ref: str) -> dict[str, Any]:
    async with running.db.read() as session:
        return datasets.show(await datasets.find_dataset(session, ref, _IN_PATH))


@router.get("/datasets/{ref}/pairs")
@needs(Scope.READ)
async def pairs_page(ref: Ref, request: Request, running: Running) -> Response:
    """Browse pairs by what people, judges and cascades said of them."""
    # an empty field of the form is no filter
    given = {name: value for name, value in request.query_params.items() if value != ""}
    asked = SearchIn.model_validate(given) if given else SearchIn()
    dataset = await _dataset(running, ref)
    found = await browsing.search(running, ref, asked)
    judges = [*dict.fromkeys([*dataset["recorded_judges"], *running.registry.judges])]
    address = f"/datasets/{part(dataset['name'])}/pairs"
    return await page(
        request,
        "pairs",
        api=with_query(f"/v1{address}".replace("/pairs", "/search"), given),
        dataset=dataset,
        found=found,
        asked=asked,
        given=given,
        judges=judges,
        address=address,
        next=with_query(address, given, after=found["last_id"]) if found["has_more"] else None,
        wanted=_wanted(given, asked),
    )


def _wanted(given: Mapping[str, str], asked: WantedIn) -> dict[str, str]:
    """Return what a pair's address holds of a search, so that its neighbours are found by it."""
    # only an order by confidence depends on where the search began
    dropped = {"limit"} if asked.sort != "position" else {"limit", "after"}
    return {name: value for name, value in given.items() if name not in dropped}


@router.get("/pairs/{ref}/{pair}")
@needs(Scope.READ)
async def pair_page(
    ref: Ref,
    pair: PairId,
    request: Request,
    running: Running,
    marked: Annotated[bool, Query()] = False,
) -> Response:
    """Show all that is known of one pair.

    `marked` marks where the responses differ; all else in the address is the search by which its
    neighbours are found.
    """
    query = request.query_params.items()
    given = {name: value for name, value in query if value != "" and name != "marked"}
    found = await browsing.pair_detail(running, ref, pair, WantedIn.model_validate(given))
    row = found["pair"]
    metadata = row["metadata"]
    for verdict in found["verdicts"][:1]:
        verdict["together"] = said_together(verdict)
        verdict["thresholds"] = await authority.thresholds_of(running, verdict, metadata)
    thresholds = found["verdicts"][0]["thresholds"] if found["verdicts"] else {}
    sides = _sides(row)
    address = f"/pairs/{part(found['dataset'])}/{part(pair)}"
    return await page(
        request,
        "pair",
        api=with_query(f"/v1/datasets/{part(found['dataset'])}/pairs/{part(pair)}", given),
        found=found,
        given=given,
        row=row,
        conversation=conversation(row),
        sides=[_differences(*sides), _differences(*reversed(sides), is_second=True)]
        if marked
        else sides,
        marked=marked,
        address=address,
        thresholds=thresholds,
        strips={one["judge"]: _strip(one) for one in found["scores"]},
    )


@router.get("/pairs/{ref}/{pair}/similar")
@needs(Scope.READ)
async def similar_page(ref: Ref, pair: PairId, request: Request, running: Running) -> Response:
    """Show the pairs of the same prompt or group, and the nearest by their features."""
    found = await similar.similar(running, ref, pair)
    dataset = await _dataset(running, ref)
    name = dataset["name"]
    return await page(
        request,
        "similar",
        api=f"/v1/datasets/{part(name)}/pairs/{part(pair)}/similar",
        found=found,
        dataset=dataset,
        pair=pair,
    )


def _sides(row: Mapping[str, Any]) -> list[Sequence[Any]]:
    """Return the turns of both responses; a battle has none."""
    if "responses_a" in row:
        return [row["responses_a"], row["responses_b"]]
    return [[row[name]] if name in row else [] for name in ("response_a", "response_b")]


def _differences(
    own: Sequence[Any], other: Sequence[Any], *, is_second: bool = False
) -> list[Markup]:
    """Return the turns of a response with what the other response does not say marked."""
    element = "ins" if is_second else "del"
    return [_marked(one, two, element) for one, two in zip(own, other, strict=False)]


def _marked(own: str, other: str, element: str) -> Markup:
    words, others = _WORDS.findall(own), _WORDS.findall(other)
    if len(words) + len(others) > _MOST_WORDS:
        # line by line: texts of any length, in little time
        words, others = own.splitlines(keepends=True), other.splitlines(keepends=True)
    if len(words) + len(others) > _MOST_WORDS:
        return Markup.escape(own)
    blocks = SequenceMatcher(None, words, others, autojunk=False).get_matching_blocks()
    pieces, place = [], 0
    for start, _, size in blocks:
        # a space between two words that differ is part of the difference
        if size and "".join(words[start : start + size]).isspace():
            continue
        pieces += [
            ("".join(words[place:start]), True),
            ("".join(words[start : start + size]), False),
        ]
        place = start + size
    return Markup("").join(
        Markup("<{}>{}</{}>").format(Markup(element), text, Markup(element)) if is_new else text
        for text, is_new in pieces
        if text
    )


def _strip(score: Mapping[str, Any]) -> Markup | None:
    """Draw what a judge's annotators said; a judge that tells one number gets one dot."""
    if score["p_a"] is None:
        return None
    rows = score["annotators"] or [[score["p_a"]]]
    said = [p for p in chain.from_iterable(row[:2] for row in rows) if p is not None]
    words = f"{score['judge']}: {len(said)} answers, mean {score['p_a']:.3f} for A"
    return charts.annotators(rows, None, words)
