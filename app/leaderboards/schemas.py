"""Which fields of a request belong together.

A field that would change nothing is an error that names it.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.errors import Unprocessable
from app.leaderboards.schemas import LeaderboardIn

Fault = tuple[str, str]


def refuse_what_does_not_apply(request: LeaderboardIn) -> None:
    """Check the fields against each other.

    Raises:
        Unprocessable: names every field that the rest of the request leaves without a meaning.
    """
    found = [*_of_source(request), *_of_criteria(request), *_of_method(request)]
    if request.is_powered:
        found += _of_powered(request)
    errors = [{"loc": ["body", name], "msg": message} for name, message in found]
    if errors:
        detail = "; ".join(f"{name}: {message}" for name, message in found)
        raise Unprocessable(detail, errors=errors)


def _chosen(*faults: tuple[bool, str, str]) -> Iterable[Fault]:
    return [(name, message) for is_fault, name, message in faults if is_fault]


def _of_source(request: LeaderboardIn) -> Iterable[Fault]:
    is_human, is_cascade = request.source == "human", request.source == "cascade"
    has_certificate = request.calibration is not None
    has_votes = is_human or request.is_powered
    return _chosen(
        (
            is_cascade and not has_certificate,
            "calibration",
            "the source cascade needs the id of a certificate",
        ),
        (
            has_certificate and not (is_cascade or request.is_powered),
            "calibration",
            "a certificate is for the sources cascade and prediction_powered",
        ),
        (
            request.judge is not None and not request.is_powered,
            "judge",
            "a judge to correct is for the source prediction_powered; write judge:<name> as source",
        ),
        (
            request.certified_only and not is_cascade,
            "certified_only",
            "only the source cascade has verdicts of a certificate",
        ),
        (
            "votes" in request.model_fields_set and not has_votes,
            "votes",
            "only the sources human and prediction_powered have votes",
        ),
        (
            is_human and request.soft,
            "soft",
            "votes have no p_a: soft is for the sources cascade, judge:<name>, prediction_powered",
        ),
    )


def _of_criteria(request: LeaderboardIn) -> Iterable[Fault]:
    if request.criteria is None:
        return []
    is_several = request.has_several_criteria
    return _chosen(
        (
            not any(request.criteria.values()),
            "criteria",
            "give at least one criterion a weight above 0",
        ),
        (
            request.source == "cascade",
            "criteria",
            "a certificate's verdicts are of one criterion: use human or judge:<name>",
        ),
        (
            is_several and request.is_powered,
            "criteria",
            "verdicts are corrected by one criterion at a time: name one",
        ),
        (
            is_several and bool(request.control),
            "control",
            "length and style are controlled for one criterion at a time",
        ),
    )


def _of_method(request: LeaderboardIn) -> Iterable[Fault]:
    is_strength = request.method == "bradley_terry"
    is_davidson = request.ties == "davidson"
    return _chosen(
        (
            request.options is not None and request.method != "elo",
            "options",
            "constants are for the method elo",
        ),
        (
            request.baseline is not None and request.method != "win_rate",
            "baseline",
            "a baseline is for the method win_rate",
        ),
        (
            is_davidson and not is_strength,
            "ties",
            "davidson is for the method bradley_terry",
        ),
        (
            is_davidson and request.soft,
            "ties",
            "davidson needs wins, ties and losses: leave soft out",
        ),
        (
            bool(request.control) and not is_strength,
            "control",
            "length and style can be controlled for with the method bradley_terry",
        ),
    )


def _of_powered(request: LeaderboardIn) -> Iterable[Fault]:
    return _chosen(
        (
            request.judge is not None and request.calibration is not None,
            "judge",
            "give a judge or a certificate whose verdicts are corrected, not both",
        ),
        (
            request.method not in ("bradley_terry", "win_rate"),
            "method",
            "prediction_powered is for bradley_terry and win_rate",
        ),
        (
            request.ties != "half",
            "ties",
            "prediction_powered counts a tie as half a win for each side",
        ),
        (
            bool(request.control),
            "control",
            "prediction_powered ratings cannot be controlled for length or style",
        ),
    )
