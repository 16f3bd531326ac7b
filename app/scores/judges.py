"""Resolves the judges that a request names, and loads those of the configuration.

The examples of a judge are part of its fingerprint, so later labels must not change them: only the
labels that came with the dataset count, unless it came without any.

A judge is asked only where the configuration or a request names it: a table that describes one more
judge must not make every request without a cascade pay for it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import httpx
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import Database
from app.core.errors import ConfigurationInvalid, NotFound, Unprocessable
from app.core.models import Dataset
from app.core.names import hint, shown
from app.core.pools import in_thread
from app.datasets import service as datasets
from judges.base import Judge
from judges.configuration import BY, model_folders
from judges.errors import JudgeConfigurationInvalid
from judges.prompting.examples import LabelledPair
from judges.recorded import RecordedJudge
from judges.registry import DEFAULT_CASCADE, STUDENT, Registry, example_datasets
from judges.types import Score
from judges.vllm.engine import EngineHost
from judges.vllm.weights import NOTHING_HASHED, FolderHasher

_MOST_DIFFERENCES: Final = 5
# by the name of each recorded judge, the fingerprints of its scores
Fingerprints = Mapping[str, Collection[str]]


class PairScores(NamedTuple):
    """The scores that came with pairs, pair by pair, and where they are, in words.

    `is_sample` says that further pairs may bring further judges.
    """

    pairs: Sequence[Mapping[str, Score]]
    where: str
    is_sample: bool = False


class Order(Protocol):
    """Judges named one by one, from cheap to strong."""

    @property
    def judges(self) -> Sequence[str]: ...  # noqa: D102


def judge_names(registry: Registry, cascade: str | Order) -> tuple[str, ...]:
    """Return the judges of a configured cascade, or the given ones, from cheap to strong.

    Raises:
        Unprocessable: no cascade has this name, or a judge is named twice.
    """
    if isinstance(cascade, str):
        if cascade not in registry.cascades:
            meant = hint(cascade, sorted(registry.cascades), see="tribunal doctor")
            if "," in cascade:
                listed = json.dumps([name.strip() for name in cascade.split(",")])
                meant = f'; for judges in order write {{"judges": {listed}}} (--judges {cascade})'
            raise Unprocessable.field(["cascade"], f"there is no cascade {shown(cascade)}{meant}")
        return tuple(registry.cascades[cascade])
    names = tuple(cascade.judges)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Unprocessable.field(["cascade", "judges"], f"{twice!r} is named twice")
    return names


def resolve(
    registry: Registry, names: Sequence[str], recorded: Fingerprints, where: str
) -> list[Judge]:
    """Return the judges of these names; one that is not configured answers from recorded scores.

    Args:
        registry: The configured judges.
        names: From cheap to strong.
        recorded: The recorded judges.
        where: Where they are recorded, for the message.

    Raises:
        Unprocessable: a name is neither configured nor recorded, or it is recorded with several
            models or prompts, which are several judges.
    """
    return [
        registry.judges.get(name) or _recorded_judge(registry, name, recorded, where)
        for name in names
    ]


def _recorded_judge(registry: Registry, name: str, recorded: Fingerprints, where: str) -> Judge:
    loc = ["cascade", "judges"]
    if name not in recorded:
        known = dict.fromkeys([*recorded, *registry.judges])
        raise Unprocessable.field(loc, unknown_judge(name, known, where))
    fingerprints = recorded[name]
    if len(fingerprints) > 1:
        raise Unprocessable.field(
            loc,
            f"{name!r} is recorded {where} with {len(fingerprints)} different models or prompts: "
            "give each its own name",
        )
    return RecordedJudge(name, fingerprint=next(iter(fingerprints), None))


def unknown_judge(name: str, known: Iterable[str], where: str) -> str:
    """Say that a judge is neither configured nor recorded `where`, and suggest a known name.

    Args:
        name: The unknown name.
        known: The known names, the likelier ones first.
        where: Where it was looked for, beside the configuration.
    """
    meant = hint(name, known, see="tribunal doctor")
    return f"{shown(name)} is neither configured nor recorded {where}{meant}"


def judges_with(registry: Registry, cascade: str | Order, scores: PairScores) -> list[Judge]:
    """Return the judges of a cascade for pairs that come with their scores.

    A configured cascade may name a judge that no pair records: it fails on every pair. This cannot
    be known from a sample.

    Raises:
        Unprocessable: no cascade has this name, a judge is named twice, or as `resolve`.
    """
    names = judge_names(registry, cascade)
    recorded: dict[str, set[str]] = {}
    if isinstance(cascade, str) and not scores.is_sample:
        recorded = {name: set() for name in names}
    for pair in scores.pairs:
        for name, score in pair.items():
            fingerprints = recorded.setdefault(name, set())
            # a failure names no model
            if score.failure is None:
                fingerprints.add(score.fingerprint)
    return resolve(registry, names, recorded, scores.where)


async def judges_for(
    session: AsyncSession, registry: Registry, dataset: Dataset, names: Sequence[str]
) -> list[Judge]:
    """Return the judges of these names for a dataset."""
    recorded: dict[str, Collection[str]] = dict.fromkeys(dataset.recorded_judges, ())
    for name in names:
        if name in recorded and name not in registry.judges:
            recorded[name] = await datasets.recorded_fingerprints(session, dataset, name)
    return resolve(registry, names, recorded, f"in {shown(dataset.name)}")


def judges_of_certificate(registry: Registry, fingerprints: Mapping[str, str]) -> list[Judge]:
    """Return the judges that a certificate names; those not configured answer from records."""
    return [
        registry.judges[name]
        if name in registry.judges
        else RecordedJudge(name, fingerprint=fingerprint)
        for name, fingerprint in fingerprints.items()
    ]


def changed_fingerprints(
    registry: Registry,
    fingerprints: Mapping[str, str],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Return the judges that are no longer those of these fingerprints, with both.

    Args:
        registry: The judges now.
        fingerprints: By judge, then.
        settings: By judge, what its scores depended on then; None where that was not kept.
    """
    changed = []
    for name, certified in fingerprints.items():
        settings_now: Mapping[str, Any] = {}
        if name in registry.judges:
            spec = registry.judges[name].spec
            configured, settings_now = spec.fingerprint, spec.scored_by
        elif certified.startswith("recorded:"):
            continue
        else:
            configured = "not configured"
        if configured != certified:
            before = (settings or {}).get(name, {})
            found = _differences(before, settings_now) if before and settings_now else []
            changed.append(
                {
                    "judge": name,
                    "certified": certified,
                    "configured": configured,
                    "differences": found,
                }
            )
    return changed


def _differences(
    before: Mapping[str, Any], now: Mapping[str, Any], path: str = ""
) -> list[dict[str, str]]:
    """Return the fields in which two settings differ, with the old and the new value."""
    found = []
    for name in sorted({**before, **now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _differences(old, new, f"{path}{name}.")
        elif old != new:
            found.append({"field": f"{path}{name}", "old": shown(old), "new": shown(new)})
    return found


def changes_in_words(changed: Sequence[Mapping[str, Any]]) -> str:
    """Say which judges changed, and what of them."""
    said = []
    for one in changed:
        fields = [
            f"{d['field']}: {_bare(d['old'])} -> {_bare(d['new'])}" for d in one["differences"]
        ]
        whole = f"fingerprint: {one['certified']} -> {one['configured']}"
        if one["configured"] == "not configured":
            whole = "it is not configured any more"
        said.append(f"{one['judge']} changed ({', '.join(fields[:_MOST_DIFFERENCES]) or whole})")
    return "; ".join(said)


def _bare(spelt: str) -> str:
    """Return a spelling without the quotes round a text."""
    return spelt[1:-1] if len(spelt) > 1 and spelt[0] == spelt[-1] in "'\"" else spelt


async def load_registry(
    config: Mapping[str, Any],
    db: Database,
    transport: httpx.AsyncBaseTransport | None,
    engines: EngineHost,
    hasher: FolderHasher | None,
) -> Registry:
    """Return the judges of a configuration; the models of hosted ones begin to load.

    Without a hasher the judges whose models are in folders wait.

    Raises:
        ConfigurationInvalid: names the key that is wrong.
    """
    try:
        folders = NOTHING_HASHED
        if hasher is not None:
            folders = await in_thread(hasher.read, model_folders(config))
        examples = {
            name: pairs
            for name in example_datasets(config)
            if (pairs := await _labelled_pairs(db, name)) is not None
        }
        return Registry.from_config(
            _with_default_cascade(config),
            transport=transport,
            examples=examples.__getitem__,
            engines=engines,
            folders=folders,
        )
    except JudgeConfigurationInvalid as error:
        raise ConfigurationInvalid(str(error)) from error


def unasked_judges(config: Mapping[str, Any], cascades: Iterable[Iterable[str]]) -> list[str]:
    """Return the configured judges that no cascade asks, in the order of the configuration."""
    asked = {name for judges in cascades for name in judges}
    # one table with several criteria makes several judges
    tables = {name.partition(BY)[0] for name in asked}
    return [name for name in config.get("judges", {}) if name not in asked | tables]


def _with_default_cascade(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Let the embedded judge alone be the default cascade, unless another one is declared."""
    cascades = config.get("cascades", {})
    if not isinstance(cascades, Mapping):
        return config  # refused later, with the path of the key
    default = {DEFAULT_CASCADE: {"judges": [STUDENT]}}
    return {**config, "cascades": {**default, **cascades}}


async def _labelled_pairs(db: Database, name: str) -> list[LabelledPair] | None:
    async with db.read() as session:
        try:
            dataset = await datasets.find_dataset(session, name)
        except NotFound:
            return None
        votes = await datasets.original_votes(session, dataset)
        stored = await datasets.read_pairs(session, dataset, seqs=list(votes))
    return [
        LabelledPair(pair, tuple((v.annotator, v.label) for v in votes[key.seq]), key.group)
        for key, pair in stored
    ]
