"""Which judges a request for verdicts means, where no certificate says so."""

from __future__ import annotations

from collections.abc import Sequence

from app import cascades
from app.dialects.canonical import PairIn
from app.errors import Unprocessable
from app.judgments.schemas import JudgmentsIn
from judges.base import Judge
from judges.recorded import RecordedJudge
from judges.registry import DEFAULT_CASCADE, Registry


def judges_of(registry: Registry, request: JudgmentsIn) -> list[Judge]:
    """Return the judges of the cascade that a request names or describes, from cheap to strong.

    A name that is not configured answers from the scores that came with the pairs.

    Raises:
        Unprocessable: there is no such cascade, a judge is named twice, or a judge that the request
            itself names is neither configured nor recorded with any pair.
    """
    if request.cascade is None or isinstance(request.cascade, str):
        names = cascades.judge_names(registry, request.cascade or DEFAULT_CASCADE)
    else:
        names = cascades.judge_names(registry, request.cascade.judges)
        _refuse_unknown(registry, names, request.pairs)
    return [registry.judges.get(name) or _recorded(name, request.pairs) for name in names]


def _refuse_unknown(registry: Registry, names: Sequence[str], pairs: Sequence[PairIn]) -> None:
    for name in names:
        if name not in registry.judges and not any(name in pair.judges for pair in pairs):
            known = dict.fromkeys(
                [*registry.judges, *(one for pair in pairs for one in pair.judges)]
            )
            message = cascades.unknown_judge(name, known, "with any of the pairs")
            raise Unprocessable.field(["cascade", "judges"], message)


def _recorded(name: str, pairs: Sequence[PairIn]) -> Judge:
    scores = [pair.judges[name] for pair in pairs if name in pair.judges]
    fingerprints = {score.fingerprint for score in scores if score.failure is None}
    if len(fingerprints) > 1:
        raise Unprocessable.field(
            ["cascade"],
            f"{name!r} is recorded with {len(fingerprints)} different models or prompts: give "
            "each its own name",
        )
    return RecordedJudge(name, fingerprint=next(iter(fingerprints), None))
