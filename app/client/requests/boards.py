"""Requests about leaderboards, reports and health cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from app.bodies.common import PageBody
from app.bodies.health import HealthCardBody, HistoryBody, ReportComparisonBody
from app.bodies.leaderboards import LeaderboardBody, LeaderboardComparisonBody
from app.bodies.reports import ReportBody
from app.client.bodies_in import (
    HealthRequest,
    HistoryQuery,
    LeaderboardRequest,
    ListQuery,
    ReportQuery,
    WhatIf,
)
from app.client.calls import Call
from app.client.requests.paths import at, given


def leaderboard(**request: Unpack[LeaderboardRequest]) -> Call[LeaderboardBody]:
    """Rank the models of a dataset."""
    return Call("POST", "/v1/leaderboards", body=request, takes_key=True)


def stored_leaderboard(leaderboard_id: str) -> Call[LeaderboardBody]:
    """Return a leaderboard that was made before."""
    return Call("GET", at("leaderboards", leaderboard_id), is_repeatable=True)


def leaderboards(**query: Unpack[ListQuery]) -> Call[PageBody[LeaderboardBody]]:
    """List leaderboards, newest first."""
    return Call("GET", "/v1/leaderboards", given(**query), is_repeatable=True)


def compare_leaderboards(leaderboard_id: str, other: str) -> Call[LeaderboardComparisonBody]:
    """Say what changed from the earlier to the later of two leaderboards."""
    path = at("leaderboards", leaderboard_id, "compare")
    return Call("GET", path, {"with": other}, is_repeatable=True)


def reweight_leaderboard(
    leaderboard_id: str,
    criteria: Mapping[str, float] | None = None,
    *,
    slice_weights: Mapping[str, float] | None = None,
    group_by: str | None = None,
    control: Sequence[str] | None = None,
) -> Call[LeaderboardBody]:
    """Rank the same verdicts by other weights, slices or control, and keep it; asks no judge."""
    path = at("leaderboards", leaderboard_id, "reweight")
    body = given(criteria=criteria, slice_weights=slice_weights, group_by=group_by, control=control)
    return Call("POST", path, body=body, takes_key=True)


def what_if(leaderboard_id: str, **query: Unpack[WhatIf]) -> Call[LeaderboardBody]:
    """Rank the same verdicts by other weights, slices, control or source; stores nothing."""
    asked: dict[str, Any] = given(**query)
    for kind, field in (("criterion", "criteria"), ("slice", "slice_weights")):
        weights = asked.pop(field, {})
        asked |= {f"{kind}.{name}": weight for name, weight in weights.items()}
    return Call("GET", at("leaderboards", leaderboard_id, "what-if"), asked, is_repeatable=True)


def report(**query: Unpack[ReportQuery]) -> Call[ReportBody]:
    """Return an agreement report."""
    asked: dict[str, Any] = given(**query)
    if isinstance(weights := asked.get("criteria"), Mapping):
        del asked["criteria"]
        named = [f"{name}={weight}" for name, weight in weights.items()]
        others = asked.get("criterion", [])
        asked["criterion"] = [*([others] if isinstance(others, str) else others), *named]
    return Call("GET", "/v1/reports/agreement", asked, is_repeatable=True)


def stored_report(report_id: str) -> Call[ReportBody]:
    """Return a report that was made before."""
    return Call("GET", at("reports", report_id), is_repeatable=True)


def reports(**query: Unpack[ListQuery]) -> Call[PageBody[ReportBody]]:
    """List reports, newest first."""
    return Call("GET", "/v1/reports", given(**query), is_repeatable=True)


def compare_reports(report_id: str, other: str) -> Call[ReportComparisonBody]:
    """Say what changed from a report to another one, with intervals."""
    return Call("GET", at("reports", report_id, "compare"), {"with": other}, is_repeatable=True)


def report_of_batch(batch_id: str) -> Call[ReportBody]:
    """Return how a batch's verdicts agree with the labels there are now."""
    return Call("GET", at("reports", "batches", batch_id), is_repeatable=True)


def history(dataset: str, **query: Unpack[HistoryQuery]) -> Call[HistoryBody]:
    """Follow agreement and coverage over time."""
    asked = {"dataset": dataset, **given(**query)}
    return Call("GET", "/v1/reports/history", asked, is_repeatable=True)


def health(**request: Unpack[HealthRequest]) -> Call[HealthCardBody]:
    """Return a judge's health card, or the unfinished report that it waits for."""
    return Call("POST", "/v1/reports/health", body=given(**request), is_repeatable=True)


def health_of(
    report_id: str, judge: str, *, lines: Mapping[str, float | None] | None = None
) -> Call[HealthCardBody]:
    """Return the health card of a judge of a stored report; None drops a line."""
    moved = {f"line.{name}": "off" if at is None else at for name, at in (lines or {}).items()}
    path = at("reports", report_id, "health")
    return Call("GET", path, {"judge": judge, **moved}, is_repeatable=True)
