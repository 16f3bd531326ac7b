"""Leaderboards: models by rank, by other weights, beside people, who beats whom, two compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from app.api.leaderboards import LeaderboardId
from app.core.auth import Scope
from app.core.errors import NotFound, TribunalError
from app.core.http.access import needs
from app.core.http.field_errors import field_errors, named
from app.core.http.parameters import Running
from app.core.lists import Paging
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.judgments import browsing
from app.judgments.browsing import SearchIn
from app.leaderboards import service, stored
from app.leaderboards.schemas import POWERED, ReweightIn, WhatIfQuery
from app.pages import charts
from app.pages.frame import (
    PageRoute,
    as_download,
    checked_form,
    go_to,
    page,
    part,
    single_file,
    with_query,
)
from app.pages.lists import dataset_names

router = APIRouter(include_in_schema=False, route_class=PageRoute)
Body = Mapping[str, Any]
Given = dict[str, list[str]]
# boards may be long: these are read to offer them for comparison
_RECENT: Final = Paging(30, None, "desc")
# more sliders than this are no help
MOST_SLIDERS: Final = 24
# a page holds so many tables by criterion and slice, and so many models that met; its JSON holds all
_MOST_TABLES: Final = 50
_MOST_MET: Final = 50
_OF_THE_PAGE: Final = ("beside", "sliced_by")
# what a page shows more of the same ranking
_BESIDES: Final = {"beside", "matrix"}


@router.get("/leaderboards/{leaderboard_id}")
@needs(Scope.READ)
async def leaderboard_page(
    leaderboard_id: LeaderboardId, request: Request, running: Running
) -> Response:
    """Show models by rank, as they are stored or by the weights of the address."""
    kept = await stored.find(running, leaderboard_id)
    given = _given(request)
    body: Body = kept
    other: Body | None = None
    fault: str | None = None
    try:
        body = await _asked_for(running, kept, given)
        other = await _beside(running, kept, given)
    except ValidationError as error:
        wrong = [{**one, "loc": one["loc"][:1]} for one in error.errors()]
        fault = named(field_errors(wrong, None))
    except TribunalError as error:
        if error.status not in (409, 422):
            raise
        fault = error.detail
    names = await dataset_names(running, [kept["dataset"]])
    is_moved = _is_moved(kept, body, given)
    return await page(
        request,
        "leaderboard",
        status=422 if fault else 200,
        api=_api(leaderboard_id, given),
        fault=fault,
        choices=await _choices(running, kept),
        **_shown(kept, body, other, names[kept["dataset"]], is_moved=is_moved),
        beside=_last(given, "beside"),
        has_matrix="matrix" in given,
        asked={name: texts for name, texts in given.items() if name not in _OF_THE_PAGE},
        is_moved=is_moved,
        # the form was sent, and asks for what is stored
        is_same=bool(request.query_params) and not (is_moved or fault or _BESIDES & given.keys()),
    )


@router.get("/leaderboards/{leaderboard_id}/export")
@needs(Scope.READ)
async def leaderboard_file(
    leaderboard_id: LeaderboardId, request: Request, running: Running
) -> Response:
    """Return a leaderboard as one file that needs nothing else, as stored or as the address asks."""
    kept = await stored.find(running, leaderboard_id)
    given = _given(request)
    body = await _asked_for(running, kept, given)
    other = await _beside(running, kept, given)
    names = await dataset_names(running, [kept["dataset"]])
    shown = _shown(kept, body, other, names[kept["dataset"]], is_moved=_is_moved(kept, body, given))
    text = single_file("leaderboard", running.now(), **shown)
    return as_download(text, kept["id"])


def file_of(board: Body, now: datetime) -> str:
    """Return a leaderboard, as the API tells it, as one file that needs nothing else."""
    return single_file(
        "leaderboard", now, **_shown(board, board, None, board["rests_on"]["dataset"])
    )


def _shown(
    kept: Body, body: Body, other: Body | None, dataset: str, *, is_moved: bool = False
) -> dict[str, Any]:
    """Return what the template shows of a leaderboard: rows by criterion and slice, with charts."""
    sets = [
        (f"criterion: {one['criterion']}", one["rows"]) for one in body.get("by_criterion") or ()
    ]
    sets += [(f"{body['group_by']}: {one['group']}", one["rows"]) for one in body["groups"]]
    weights = body.get("slice_weights") or {}
    slices = [(one["group"], weights.get(one["group"], 1.0)) for one in body["groups"]]
    shown = [(name, rows) for name, rows in sets if rows]
    is_weighable = len(body["criteria"] or ()) > 1
    can_control = not is_weighable and body["method"] == "bradley_terry"
    return {
        "body": body,
        "dataset": dataset,
        "rows": _with_whiskers(body["rows"]),
        "before": {row["model"]: row for row in kept["rows"]} if is_moved else {},
        "first": [row["model"] for row in body["rows"] if row["rank_low"] == 1],
        "sets": [(name, _with_whiskers(rows)) for name, rows in shown[:_MOST_TABLES]],
        "left_out": max(0, len(shown) - _MOST_TABLES),
        "unranked": [one for one in body["groups"] if not one["rows"]][:_MOST_TABLES],
        "criteria": body["criteria"] if is_weighable else {},
        "slices": slices if len(slices) <= MOST_SLIDERS and body["source"] != POWERED else [],
        "can_control": can_control and body["source"] != POWERED,
        "other": other and {row["model"]: row for row in other["rows"]},
        "other_name": other and other["source"],
        "grid": _grid(body["matrix"]) if "matrix" in body else None,
    }


def _given(request: Request) -> Given:
    """Return the parameters of an address; an empty field of a form is none."""
    given: Given = {}
    for name, text in request.query_params.multi_items():
        if text != "":
            given.setdefault(name, []).append(text)
    sliced_by, group_by = _last(given, "sliced_by"), _last(given, "group_by")
    if sliced_by is not None and sliced_by != group_by:
        # the weights are of the slices by another field
        given = {name: texts for name, texts in given.items() if not name.startswith("slice.")}
    return given


def _last(given: Given, name: str) -> str | None:
    return given[name][-1] if name in given else None


def _query(given: Given) -> WhatIfQuery:
    single = {name: texts[-1] for name, texts in given.items() if name not in _OF_THE_PAGE}
    return WhatIfQuery.model_validate({**single, "control": given.get("control", [])})


async def _asked_for(running: Runtime, kept: Body, given: Given) -> Body:
    asked = _query(given)
    if asked.matrix or _moves(kept, asked.changes()):
        return await service.what_if(running, kept["id"], asked)
    return kept


def _is_moved(kept: Body, body: Body, given: Given) -> bool:
    """Return whether a board is ranked otherwise than stored; who beats whom is no other ranking."""
    return body is not kept and _moves(kept, _query(given).changes())


def _moves(kept: Body, changes: ReweightIn | None) -> bool:
    """Return whether anything would be other than it is stored."""
    if changes is None:
        return False
    weights = changes.slice_weights or {}
    before = dict.fromkeys((one["group"] for one in kept["groups"]), 1.0)
    before |= kept.get("slice_weights") or {}
    return (
        (changes.criteria is not None and changes.criteria != kept["criteria"])
        or any(weight != before.get(name) for name, weight in weights.items())
        or (changes.group_by is not None and changes.group_by != kept["group_by"])
        or (changes.control is not None and changes.control != (kept["control"] or []))
    )


async def _beside(running: Runtime, kept: Body, given: Given) -> Body | None:
    """Return the same pairs ranked by another source, by the same weights."""
    source = _last(given, "beside")
    if source is None or source == kept["source"]:
        return None
    asked = _query(given).model_copy(update={"source": source, "matrix": False})
    return await service.what_if(running, kept["id"], asked)


def _api(leaderboard_id: str, given: Given) -> str:
    path = f"/v1/leaderboards/{part(leaderboard_id)}"
    asked = {name: texts for name, texts in given.items() if name not in _OF_THE_PAGE}
    return f"{path}/what-if?{urlencode(asked, doseq=True, errors='replace')}" if asked else path


@dataclass(frozen=True, slots=True)
class _Choices:
    """What can be put beside a leaderboard, and by which fields it can be sliced."""

    boards: Sequence[Body]
    sources: list[str]
    fields: list[str]


async def _choices(running: Runtime, kept: Body) -> _Choices:
    listed = (await stored.page(running, _RECENT))["data"]
    ref = kept["rests_on"]["dataset_id"]
    boards = [
        one for one in listed if one["rests_on"]["dataset_id"] == ref and one["id"] != kept["id"]
    ]
    try:
        dataset = await datasets.look(running, ref)
    except NotFound:
        return _Choices(boards, [], [])
    judges = dict.fromkeys([*dataset["recorded_judges"], *running.registry.judges])
    sources = ["human", *(f"judge:{name}" for name in judges)]
    few = await browsing.search(running, ref, SearchIn(limit=5))
    fields = dict.fromkeys(
        name
        for row in few["data"]
        for name, value in row["metadata"].items()
        if isinstance(value, str | int | float)
    )
    return _Choices(boards, [one for one in sources if one != kept["source"]], [*fields])


def _with_whiskers(rows: Sequence[Body]) -> list[dict[str, Any]]:
    extent = charts.extent_of(row["rating"] for row in rows)
    return [
        {**row, "whisker": charts.whisker(row["rating"], extent, f"rating of {row['model']}")}
        for row in rows
    ]


def _grid(matrix: Body) -> list[tuple[str, list[Body | None]]]:
    """Return a row of cells for each model, one for each opponent; None where two never met.

    Of very many models the first by rank are shown.
    """
    models = matrix["models"][:_MOST_MET]
    met = {(one["first"], one["second"]): one for one in matrix["meetings"]}
    met |= {(second, first): _turned(one) for (first, second), one in met.items()}
    return [(one, [met.get((one, other)) for other in models]) for one in models]


def _turned(meeting: Body) -> dict[str, Any]:
    """Return a meeting as the other model sees it."""
    rate = meeting["win_rate"]
    ends = {
        name: None if rate[end] is None else 1 - rate[end]
        for name, end in (("value", "value"), ("low", "high"), ("high", "low"))
    }
    return {
        **meeting,
        "first": meeting["second"],
        "second": meeting["first"],
        "wins": meeting["losses"],
        "losses": meeting["wins"],
        "win_rate": {**rate, **ends},
    }


@router.post("/leaderboards/{leaderboard_id}/reweight")
@needs(Scope.JUDGE)
async def keep_weights(
    leaderboard_id: LeaderboardId, request: Request, running: Running
) -> Response:
    """Store the leaderboard by the weights of the form, and lead to it."""
    form = await checked_form(request)
    given = {name: text.split(" ") if name == "control" else [text] for name, text in form.items()}
    changes = _query(given).changes() or ReweightIn.model_validate({})
    made = await service.reweight(running, leaderboard_id, changes)
    return go_to(f"/leaderboards/{part(made['id'])}")


@router.get("/leaderboards/{leaderboard_id}/compare")
@needs(Scope.READ)
async def compare_page(
    leaderboard_id: LeaderboardId,
    request: Request,
    running: Running,
    other: Annotated[str, Query(alias="with", max_length=512)],
) -> Response:
    """Show what changed from the earlier to the later of two leaderboards."""
    body = await stored.compare(running, leaderboard_id, other)
    extent = charts.extent_of(
        [{"value": 0.0, "low": 0.0, "high": 0.0}, *(row["win_rate_change"] for row in body["rows"])]
    )
    path = f"/v1/leaderboards/{part(leaderboard_id)}/compare"
    return await page(
        request,
        "compare",
        api=with_query(path, {"with": other}),
        body=body,
        rows=[
            {
                **row,
                "whisker": charts.whisker(
                    row["win_rate_change"], extent, f"change of the win rate of {row['model']}"
                ),
            }
            for row in body["rows"]
        ],
    )
