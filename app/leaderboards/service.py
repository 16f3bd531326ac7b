"""Makes leaderboards, stores, reweights, compares and lists them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import numpy as np

from app.calibrations.wording import changed_labels_note
from app.core.db import rfc3339
from app.core.errors import Conflict, Unprocessable
from app.core.limits import Limits, too_many
from app.core.models import Dataset, Leaderboard, new_id
from app.core.names import alike, shown
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.datasets import slices
from app.datasets.records import PairKey
from app.leaderboards.gathering import Gatherer, Inputs, known_pairs_note, no_preference_note
from app.leaderboards.rows import left_out_note
from app.leaderboards.schemas import (
    POWERED,
    LeaderboardIn,
    ReweightIn,
    WhatIfQuery,
    refuse_what_does_not_apply,
)
from app.leaderboards.standings import components_of, matrix, standings
from app.leaderboards.stored import as_shown, find, require
from calibration.errors import CalibrationError

_PROMISES = {
    "suspended": "the promise of these verdicts is suspended",
    "none": "these verdicts carry no promise",
}
# what two leaderboards from the same verdicts have in common
_SAME = ("dataset_content_hash", "label_set_hash", "fingerprints")
# a table of more models is not read, and takes time with their square
_MATRIX: Final = 30


async def create(running: Runtime, request: LeaderboardIn) -> dict[str, Any]:
    """Rank the models of a dataset and store the result.

    Raises:
        Unprocessable: the request cannot be honoured; names the field.
    """
    refuse_what_does_not_apply(request)
    moment = running.now()
    with running.pools.reports.admitted():
        async with running.db.read() as session:
            dataset = await datasets.find_dataset(session, request.dataset)
            inputs = await Gatherer(session, running.registry, request, dataset).gather()
        body = {**await _ranked(running, inputs, request), "as_of": rfc3339(moment)}
        return await _keep(running, dataset, request, body)


async def reweight(running: Runtime, leaderboard_id: str, asked: ReweightIn) -> dict[str, Any]:
    """Rank the same votes and scores by other weights, slices or control, and store the result.

    Asks no judge.

    Raises:
        NotFound: no leaderboard has this id.
        Conflict: the scores or the votes are no longer those that the leaderboard rests on.
        Unprocessable: the leaderboard has not several criteria, or not these.
    """
    with running.pools.reports.admitted():
        again = await _gathered_again(running, leaderboard_id, asked)
        _refuse_other_verdicts(again.earlier, again.inputs)
        body = await _ranked(running, again.inputs, again.request)
        body |= {"as_of": rfc3339(again.as_of), "reweighted_from": again.earlier.id}
        return await _keep(running, again.dataset, again.request, body)


async def what_if(running: Runtime, leaderboard_id: str, asked: WhatIfQuery) -> dict[str, Any]:
    """Return what a leaderboard would be by other weights, slices, control or source; stores nothing.

    It has the id of the leaderboard that it was asked of, and its date where it counts the same
    verdicts. With `matrix` it says who won how often
    against whom, for the first models. Asks no judge.

    Raises:
        NotFound: no leaderboard has this id.
        Conflict: the scores or the votes are no longer those that the leaderboard rests on.
        Unprocessable: the weights do not fit the leaderboard.
    """
    with running.pools.reports.admitted():
        again = await _gathered_again(running, leaderboard_id, asked.changes(), asked.source)
        earlier, request = again.earlier, again.request
        if request.source == earlier.request["source"]:
            _refuse_other_verdicts(earlier, again.inputs)
        try:
            body = await _ranked(running, again.inputs, request)
            if asked.matrix:
                models = [row["model"] for row in body["rows"][:_MATRIX]]
                met = await running.pools.reports.run_for_client(
                    matrix, again.inputs, request, models
                )
                body |= {"matrix": {"models": models, "meetings": met}}
        except CalibrationError as error:
            raise _unprocessable(error) from error
    body |= {"as_of": rfc3339(again.as_of), "reweighted_from": earlier.id, "stored": False}
    # the same votes and verdicts in another light are of the same day
    hashes = {one["rests_on"].get("verdicts_hash") for one in (body, earlier.body)}
    is_same = len(hashes) == 1 and request.source == earlier.request["source"]
    moment = earlier.created_at if is_same else running.now()
    made = Leaderboard(
        id=earlier.id, created_at=moment, request=_stored_request(request), body=body
    )
    async with running.db.read() as session:
        return (await as_shown(session, [made]))[0]


class _Again(NamedTuple):
    """A stored leaderboard with what it was made from, read again as it was then."""

    earlier: Leaderboard
    dataset: Dataset
    request: LeaderboardIn
    as_of: datetime
    inputs: Inputs


async def _gathered_again(
    running: Runtime, leaderboard_id: str, asked: ReweightIn | None, source: str | None = None
) -> _Again:
    async with running.db.read() as session:
        earlier = await require(session, leaderboard_id)
        request = _changed(earlier, asked, source)
        dataset = await session.get_one(Dataset, earlier.dataset_seq)
        as_of = datetime.fromisoformat(earlier.body["as_of"])
        inputs = await Gatherer(session, running.registry, request, dataset, as_of).gather()
    return _Again(earlier, dataset, request, as_of, inputs)


def _changed(earlier: Leaderboard, asked: ReweightIn | None, source: str | None) -> LeaderboardIn:
    given = {name: value for name, value in earlier.request.items() if value is not None}
    if source is not None and source != given["source"]:
        # a certificate and what follows from it belong to the verdicts of the other source
        for name in ("calibration", "judge", "certified_only", "soft"):
            given.pop(name, None)
        given["source"] = source
    if given["source"] not in ("human", POWERED):
        given.pop("votes", None)
    if asked is not None:
        if asked.criteria is not None:
            given["criteria"] = _weights(earlier, asked.criteria)
        if asked.group_by is not None and asked.group_by != given.get("group_by"):
            given.pop("slice_weights", None)
        more = asked.model_dump(exclude={"criteria"}, exclude_none=True)
        given |= {name: value for name, value in more.items() if value != []}
        if asked.control == []:
            given.pop("control", None)
    request = LeaderboardIn.model_validate(given)
    refuse_what_does_not_apply(request)
    return request


def _weights(earlier: Leaderboard, asked: Mapping[str, float]) -> dict[str, float]:
    known = earlier.request.get("criteria") or {}
    if len(known) < 2:
        message = f"leaderboard {earlier.id} does not have several criteria to weigh"
        raise Unprocessable.field(["criteria"], message)
    unknown = [name for name in asked if name not in known]
    if unknown:
        listed = ", ".join(known)
        message = f"{shown(unknown[0])} is none of its criteria ({listed})"
        raise Unprocessable.field(["criteria"], message)
    return {name: asked.get(name, 0.0) for name in known}


def _refuse_unknown_slices(request: LeaderboardIn, names: Sequence[str | None]) -> None:
    known = sorted({name for name in names if name is not None})
    unknown = [name for name in request.slice_weights or {} if name not in known]
    if unknown:
        listed = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
        message = f"{shown(unknown[0])} is no slice by {request.group_by} ({listed})"
        raise Unprocessable.field(["slice_weights"], message)


def _refuse_other_verdicts(earlier: Leaderboard, inputs: Inputs) -> None:
    before = earlier.body["rests_on"]
    now = inputs.rests_on
    changed = [name for name in _SAME if before.get(name) != now.get(name)]
    if changed:
        said = [
            f"{name} was {shown(before.get(name))} and is {shown(now.get(name))}"
            for name in changed
        ]
        if before.get("labels") != now.get("labels"):
            said.append(f"there were {before.get('labels')} labels and are {now.get('labels')}")
        raise Conflict(
            f"leaderboard {earlier.id} rests on what is no longer stored ({', '.join(said)}): post a "
            "new one with these weights",
            extra={"changed": changed},
        )


def _refuse_many_models(keys: Sequence[PairKey], limits: Limits) -> None:
    count = len({model for key in keys for model in (key.model_a, key.model_b)} - {None})
    if count > limits.models:
        many = too_many(count, "models", limits.models, "models")
        raise Unprocessable.field(["dataset"], f"it has {many}")


async def _ranked(running: Runtime, inputs: Inputs, request: LeaderboardIn) -> dict[str, Any]:
    run = running.pools.reports.run_for_client
    _refuse_unknown_baseline(request, inputs.keys)
    limits = running.settings.limits
    _refuse_many_models(inputs.keys, limits)
    if request.group_by is not None:
        names = slices.slice_names(inputs.keys, request.group_by)
        slices.refuse_unknown_field(names, request.group_by, ("body", "group_by"))
        slices.refuse_many(names, limits, ("body", "group_by"))
        _refuse_unknown_slices(request, names)
    try:
        body = await run(standings, inputs, request)
    except CalibrationError as error:
        raise _unprocessable(error) from error
    promise = inputs.promise
    state = None if promise is None else promise.state
    because = None if promise is None else promise.because
    warnings = list(body["warnings"])
    if state in _PROMISES:
        warnings.insert(0, f"{_PROMISES[state]}: {because}")
    if promise is not None and state != "none":
        rests_on = inputs.rests_on
        changed = changed_labels_note(rests_on["calibration"], rests_on["labels_changed"])
        notes = (known_pairs_note(rests_on), changed)
        warnings = [*(note for note in notes if note), *warnings]
    told = no_preference_note(inputs.rests_on)
    warnings += [told] if told else []
    left_out = left_out_note(body)
    counts = {name: body[name] for name in ("pairs", "comparisons", "abstained")}
    verdicts_hash = await run(_verdicts_hash, inputs)
    return {
        **body,
        "warnings": warnings,
        "notes": [*warnings, *([left_out] if left_out else []), *_alike(inputs.keys)],
        "promise": state,
        "suspended_because": because if state == "suspended" else None,
        "rests_on": {**inputs.rests_on, **counts, "verdicts_hash": verdicts_hash},
    }


def _alike(keys: Sequence[PairKey]) -> list[str]:
    """Return a note on each set of models whose names look like spellings of one."""
    models = {name for key in keys for name in (key.model_a, key.model_b) if name}
    return [
        f"{' and '.join(map(shown, names))} differ by case or blanks alone and are ranked as "
        f"{len(names)} models: if they are one, give it one name and import again"
        for names in alike(models)
    ]


def _verdicts_hash(inputs: Inputs) -> str:
    """Hash every counted result with its pair."""
    names = [key.content_hash or key.id for key in inputs.keys]
    made = hashlib.sha256()
    for criterion, outcomes in sorted(inputs.outcomes.items()):
        made.update(f"{criterion}\n".encode("ascii", "backslashreplace"))
        counted = "\n".join(names[row] for row in outcomes.row.tolist())
        made.update(counted.encode("ascii", "backslashreplace"))
        made.update(np.ascontiguousarray(outcomes.score, dtype="<f8").tobytes())
    return made.hexdigest()


async def _keep(
    running: Runtime, dataset: Dataset, request: LeaderboardIn, body: dict[str, Any]
) -> dict[str, Any]:
    leaderboard = Leaderboard(
        id=new_id("lb"),
        created_at=running.now(),
        dataset_seq=dataset.seq,
        request=_stored_request(request),
        body=body,
    )
    async with running.db.write() as session:
        session.add(leaderboard)
    return await find(running, leaderboard.id)


def _stored_request(request: LeaderboardIn) -> dict[str, Any]:
    asked = request.model_dump(mode="json")
    if asked["slice_weights"] is None:
        del asked["slice_weights"]
    return asked


def _refuse_unknown_baseline(request: LeaderboardIn, keys: Sequence[PairKey]) -> None:
    models = {model for key in keys for model in (key.model_a, key.model_b)}
    if request.baseline is not None and request.baseline not in models:
        message = f"{shown(request.baseline)} is not among the models of the dataset"
        raise Unprocessable.field(["baseline"], message)


def _unprocessable(error: CalibrationError) -> Unprocessable:
    components = components_of(error)
    return Unprocessable(
        str(error),
        errors=[{"loc": ["body", "dataset"], "msg": str(error)}],
        extra={"components": components} if components else None,
    )
