"""Which judges a request means: configured ones by name, recorded ones by what the rows carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from app.datasets import service as datasets
from app.errors import Unprocessable
from app.identifiers import shown
from app.models import Dataset
from app.nearest import hint
from judges.base import Judge
from judges.recorded import RecordedJudge
from judges.registry import Registry


def judge_names(registry: Registry, cascade: str | Sequence[str]) -> tuple[str, ...]:
    """Return the judges of a configured cascade, or the given ones, from cheap to strong.

    Raises:
        Unprocessable: no cascade has this name, or a judge is named twice.
    """
    if isinstance(cascade, str):
        if cascade not in registry.cascades:
            meant = hint(cascade, sorted(registry.cascades), see="tribunal doctor")
            raise Unprocessable.field(["cascade"], f"there is no cascade {shown(cascade)}{meant}")
        return tuple(registry.cascades[cascade])
    names = tuple(cascade)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Unprocessable.field(["cascade", "judges"], f"{twice!r} is named twice")
    return names


def configured_judges(registry: Registry, cascade: str) -> list[Judge]:
    """Return the judges of a configured cascade; those not configured answer from posted scores.

    Raises:
        Unprocessable: no cascade has this name.
    """
    return [registry.resolve(name) for name in judge_names(registry, cascade)]


def unknown_judge(name: str, known: Iterable[str], where: str) -> str:
    """Say that a judge is neither configured nor recorded `where`, and which may have been meant.

    Args:
        name: The name that no judge has.
        known: The names there are, the likelier ones first.
        where: Where it was looked for, beside the configuration.
    """
    meant = hint(name, known, see="tribunal doctor")
    return f"{shown(name)} is neither configured nor recorded {where}{meant}"


async def judges_for(
    session: AsyncSession, registry: Registry, dataset: Dataset, names: Sequence[str]
) -> list[Judge]:
    """Return the judges of these names for a dataset.

    A name that is not configured is a recorded judge of the dataset.

    Raises:
        Unprocessable: a name is neither configured nor recorded in the dataset, or it is recorded
            with several models or prompts, which are several judges.
    """
    return [
        registry.judges[name]
        if name in registry.judges
        else await _recorded_judge(session, registry, dataset, name)
        for name in names
    ]


async def _recorded_judge(
    session: AsyncSession, registry: Registry, dataset: Dataset, name: str
) -> Judge:
    loc = ["cascade", "judges"]
    if name not in dataset.recorded_judges:
        where = f"in {shown(dataset.name)}"
        raise Unprocessable.field(
            loc, unknown_judge(name, [*dataset.recorded_judges, *registry.judges], where)
        )
    fingerprints = await datasets.recorded_fingerprints(session, dataset, name)
    if len(fingerprints) > 1:
        raise Unprocessable.field(
            loc,
            f"{name!r} is recorded with {len(fingerprints)} different models or prompts in "
            f"{dataset.name!r}: give each its own name",
        )
    return RecordedJudge(name, fingerprint=next(iter(fingerprints), None))


def judges_of_certificate(registry: Registry, fingerprints: Mapping[str, str]) -> list[Judge]:
    """Return the judges that a certificate names; those not configured answer from records."""
    return [
        registry.judges[name]
        if name in registry.judges
        else RecordedJudge(name, fingerprint=fingerprint)
        for name, fingerprint in fingerprints.items()
    ]


def changed_fingerprints(
    registry: Registry, fingerprints: Mapping[str, str]
) -> list[dict[str, str]]:
    """Return the judges that are no longer the certified ones, with both fingerprints."""
    changed = []
    for name, certified in fingerprints.items():
        if name in registry.judges:
            configured = registry.judges[name].spec.fingerprint
        elif certified.startswith("recorded:"):
            continue
        else:
            configured = "not configured"
        if configured != certified:
            changed.append({"judge": name, "certified": certified, "configured": configured})
    return changed
