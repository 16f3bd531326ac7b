"""The embedded judge; it needs no model server and costs nothing."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable

from judges.base import JudgeHealth, JudgeSpec
from judges.probability import mean_preference, normalise
from judges.student.model import StudentModel
from judges.types import Pair, Score


class StudentJudge:
    """Score pairs with the student ensemble; scoring never fails.

    Each member of the ensemble counts as one annotator. Members do not depend on the response
    order, so both orders of an annotator hold the same value.
    """

    def __init__(
        self,
        name: str = "student",
        *,
        model: StudentModel | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._model = StudentModel.load() if model is None else model
        self._clock = clock
        self._spec = JudgeSpec(
            name=name,
            kind="student",
            model="student",
            scored_by={
                "weights": self._model.weights_hash,
                # They determine which pairs may calibrate, so a certificate depends on them too.
                "training_prompts": _hash(self._model.training_prompt_hashes),
            },
            price_input=0.0,
            price_output=0.0,
            is_local=True,
            training_prompts=self._model.training_prompt_hashes,
        )
        self._fingerprint = self._spec.fingerprint

    @property
    def spec(self) -> JudgeSpec:
        """The judge's specification."""
        return self._spec

    async def score(self, pair: Pair) -> Score:
        """Return the mean of the ensemble, with its members as annotators."""
        started = self._clock()
        members = self._member_probabilities(pair)
        preferences = [normalise(p, 1.0 - p) for p in members]
        return Score(
            self._spec.name,
            self._fingerprint,
            p_a=mean_preference(preferences).p_a,
            annotators=tuple((p.p_a, p.p_a) for p in preferences),
            cost_usd=0.0,
            seconds=self._clock() - started,
        )

    async def health(self) -> JudgeHealth:
        """Report ready: the weights are in memory."""
        return JudgeHealth(is_ready=True)

    async def aclose(self) -> None:
        """Do nothing: no resources are held."""

    def _member_probabilities(self, pair: Pair) -> list[float]:
        p_a = self._model.predict(pair.user_turns, pair.responses_a, pair.responses_b)
        return [float(p) for p in p_a]


def _hash(prompts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(prompts)).encode("ascii")).hexdigest()
