"""Agreement and coverage over time, and differences of two reports.

Every point says what it rests on, and what of that is not as it was in the point before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from app.core.errors import Unprocessable
from app.core.models import Report
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.reports import service as queries
from app.reports.schemas import HistoryIn
from calibration.estimate import Estimate, difference_of

Body = Mapping[str, Any]

_JUDGE_FIGURES: Final = (
    "agreement", "agreement_three_way", "agreement_consistent", "cohens_kappa",
    "cohens_kappa_three_way", "gwets_ac1", "answer_share", "position_consistency", "failure_share",
)  # fmt: skip
_CASCADE_FIGURES: Final = (
    "agreement", "agreement_three_way", "cohens_kappa", "cohens_kappa_three_way", "coverage",
)  # fmt: skip
_HUMAN_FIGURES: Final = (
    "percent_agreement", "leave_one_out_agreement", "krippendorff_alpha", "fleiss_kappa",
)  # fmt: skip
_WATCHED: Final = (
    "label_set_hash", "dataset_content_hash", "fingerprints", "calibration", "part", "revision",
)  # fmt: skip


async def history(running: Runtime, asked: HistoryIn) -> dict[str, Any]:
    """Return a series of points for each judge and each certificate of a dataset."""
    async with running.db.read() as session:
        dataset = await datasets.find_dataset(session, asked.dataset, ("query", "dataset"))
        series: dict[tuple[str, str], list[dict[str, Any]]] = {}
        async for report in queries.completed(session, dataset.seq):
            for of, name, point in _points(queries.show(report)):
                if _is_wanted(asked, of, name):
                    _append(series.setdefault((of, name), []), point)
    return {
        "object": "history",
        "dataset": dataset.id,
        "series": [
            {"of": of, "name": name, "points": points} for (of, name), points in series.items()
        ],
    }


def _is_wanted(asked: HistoryIn, of: str, name: str) -> bool:
    if asked.judge is None and asked.calibration is None:
        return True
    return name == (asked.judge if of == "judge" else asked.calibration)


def _append(points: list[dict[str, Any]], point: dict[str, Any]) -> None:
    before = points[-1]["rests_on"] if points else point["rests_on"]
    point["changed"] = sorted(_changes(before, point["rests_on"]))
    points.append(point)


def _points(body: Body) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield each judge and the cascade of a report; those of slices are in the report itself."""
    rests = body["rests_on"]
    for judge in body.get("judges", ()):
        name = judge["judge"]
        fingerprints = {name: rests["fingerprints"].get(name)}
        yield "judge", name, _point(body, judge, _JUDGE_FIGURES, fingerprints)
    if body.get("cascade") is not None:
        name = body["calibration"] or "none"
        yield (
            "cascade",
            name,
            _point(body, body["cascade"], _CASCADE_FIGURES, rests["fingerprints"]),
        )


def _point(
    body: Body, figures: Body, names: Sequence[str], fingerprints: Mapping[str, Any]
) -> dict[str, Any]:
    rests = {name: body["rests_on"].get(name) for name in _WATCHED}
    return {
        "report": body["id"],
        "object": body["object"],
        "batch": body.get("batch"),
        "created_at": body["created_at"],
        "pairs": body["pairs"],
        **{name: figures[name] for name in names if name in figures},
        "rests_on": {**rests, "fingerprints": fingerprints},
    }


def comparison(report: Report, other: Report) -> dict[str, Any]:
    """Return what changed from one report to another, figure by figure, with intervals.

    Raises:
        Unprocessable: one of them is not made yet.
    """
    before, after = queries.show(report), queries.show(other)
    for one in (report, other):
        if one.status != "completed":
            raise Unprocessable(f"report {one.id} is {one.status}: there is nothing to compare yet")
    rests = [body["rests_on"] for body in (before, after)]
    earlier = {judge["judge"]: judge for judge in before.get("judges", ())}
    return {
        "object": "report_comparison",
        "report": report.id,
        "with": other.id,
        "changed": _changes(*rests),
        "interval": "as of independent samples: on the same pairs too wide rather than too narrow",
        "human": _differences(before["human"], after["human"], _HUMAN_FIGURES),
        "judges": [
            {
                "judge": judge["judge"],
                **_differences(earlier[judge["judge"]], judge, _JUDGE_FIGURES),
            }
            for judge in after.get("judges", ())
            if judge["judge"] in earlier
        ],
        "cascade": _differences(before["cascade"], after["cascade"], _CASCADE_FIGURES)
        if before["cascade"] and after["cascade"]
        else None,
    }


def _changes(before: Body, after: Body) -> dict[str, dict[str, Any]]:
    return {
        name: {"before": before.get(name), "after": after.get(name)}
        for name in {**before, **after}
        if before.get(name) != after.get(name) and name != "inputs_hash"
    }


def _differences(before: Body, after: Body, names: Sequence[str]) -> dict[str, Any]:
    return {
        name: {
            "before": before[name],
            "after": after[name],
            "difference": asdict(difference_of(Estimate(**after[name]), Estimate(**before[name]))),
        }
        for name in names
        if name in before and name in after
    }
