"""Makes leaderboards, stores, reweights, compares and lists them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np

from app.calibrations.result import changed_labels_note
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
from app.leaderboards.schemas import LeaderboardIn, ReweightIn, refuse_what_does_not_apply
from app.leaderboards.standings import components_of, standings
from app.leaderboards.stored import find, require
from calibration.errors import CalibrationError

_PROMISES = {
    "suspended": "the promise of these verdicts is suspended",
    "none": "these verdicts carry no promise",
}
# what two leaderboards from the same verdicts have in common
_SAME = ("dataset_content_hash", "label_set_hash", "fingerprints")


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
    """Rank by other weights of the same criteria, from the same votes and scores; asks no judge.

    Raises:
        NotFound: no leaderboard has this id.
        Conflict: the scores or the votes are no longer those that the leaderboard rests on.
        Unprocessable: the leaderboard has not several criteria, or not these.
    """
    with running.pools.reports.admitted():
        async with running.db.read() as session:
            earlier = await require(session, leaderboard_id)
            request = _with_weights(earlier, asked)
            dataset = await session.get_one(Dataset, earlier.dataset_seq)
            as_of = datetime.fromisoformat(earlier.body["as_of"])
            inputs = await Gatherer(session, running.registry, request, dataset, as_of).gather()
        _refuse_other_verdicts(earlier, inputs)
        body = await _ranked(running, inputs, request)
        body |= {"as_of": rfc3339(as_of), "reweighted_from": earlier.id}
        return await _keep(running, dataset, request, body)


def _with_weights(earlier: Leaderboard, asked: ReweightIn) -> LeaderboardIn:
    known = earlier.request.get("criteria") or {}
    if len(known) < 2:
        message = f"leaderboard {earlier.id} does not have several criteria to weigh"
        raise Unprocessable.field(["criteria"], message)
    unknown = [name for name in asked.criteria if name not in known]
    if unknown:
        listed = ", ".join(known)
        message = f"{shown(unknown[0])} is none of its criteria ({listed})"
        raise Unprocessable.field(["criteria"], message)
    weights = {name: asked.criteria.get(name, 0.0) for name in known}
    given = {name: value for name, value in earlier.request.items() if value is not None}
    if earlier.request["source"] != "human":
        given.pop("votes", None)
    request = LeaderboardIn.model_validate({**given, "criteria": weights})
    refuse_what_does_not_apply(request)
    return request


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
        request=request.model_dump(mode="json"),
        body=body,
    )
    async with running.db.write() as session:
        session.add(leaderboard)
    return await find(running, leaderboard.id)


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
