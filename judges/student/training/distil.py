"""Train a student on the soft verdicts of a teacher, and on people's labels where there are any.

    loss = w * CE(people's labels) + (1 - w) * T^2 * KL(teacher at T || student at T)

w and T are chosen by cross-validation by prompt, on people's verdicts if there are enough of them,
else on the teacher's probabilities. The choice and the figures use the same pairs, so the figures of
the chosen setting are a little too good: by less than settings differ from one another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from calibration.arrays import BoolArray, FloatArray
from judges.student.model import Weights, probability_from_logit
from judges.student.training.data import LabelledPair, Sample, measure
from judges.student.training.fit import (
    SMALLEST_SCALE,
    Fitted,
    Recipe,
    Targets,
    fit_targets,
    label_targets,
)
from judges.types import Pair

Progress = Callable[[str], None]

#: A teacher that is certain, as recorded votes are, is taken to be wrong this often.
LEAST_DOUBT: Final = 0.02
#: Fewer decided pairs than this choose no setting: the teacher's probabilities do.
FEWEST_DECIDED: Final = 50
#: Fewer prompts than this cannot be split into folds that teach anything.
FEWEST_PROMPTS: Final = 20


@dataclass(frozen=True, slots=True)
class Setting:
    """w, the weight of people's labels, and T, the temperature."""

    label_weight: float
    temperature: float


#: Settings without people's labels, and those that are tried where there are some.
UNLABELLED: Final = tuple(Setting(0.0, t) for t in (1.0, 2.0, 4.0))
SETTINGS: Final = (
    *UNLABELLED,
    *(Setting(w, t) for w in (0.3, 0.6) for t in (1.0, 2.0, 4.0)),
    Setting(1.0, 1.0),
)


@dataclass(frozen=True, slots=True)
class Material:
    """A pair to learn from: `votes` for a, b and tie; p_a of the teacher, None where it failed."""

    pair: Pair
    group: str
    votes: tuple[int, int, int]
    teacher: float | None
    slices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a student learns from: n pairs, and p_a (n,) of the teacher, nan where it failed."""

    sample: Sample
    teacher: FloatArray

    @property
    def prompts(self) -> int:
        """Number of distinct prompts."""
        return len(np.unique(self.sample.prompts))

    @property
    def is_heard(self) -> BoolArray:
        """Where the teacher gave a probability, shape (n,)."""
        return np.isfinite(self.teacher)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The settings that can be told apart on these pairs."""
        return SETTINGS if self.sample.votes.any() else UNLABELLED

    @property
    def judged_by_people(self) -> bool:
        """Whether people's verdicts choose among settings."""
        return int(self.sample.decided.sum()) >= FEWEST_DECIDED

    @property
    def outcome(self) -> FloatArray:
        """What chooses the setting and scales confidences, shape (n,), nan where nothing does."""
        if self.judged_by_people:
            return np.where(self.sample.decided, self.sample.prefers_a, np.nan)
        return self.teacher


def lesson_of(materials: Sequence[Material]) -> Lesson:
    """Measure pairs. Pairs that share a prompt or a group stay together in every fold."""
    sample = measure(
        [
            LabelledPair(
                "", "", one.pair.user_turns, one.pair.responses_a, one.pair.responses_b,
                *one.votes, one.pair.prompt_hash,
            )
            for one in materials
        ]
    )  # fmt: skip
    together = _together(sample.prompts, np.array([one.group for one in materials]))
    teacher = [np.nan if one.teacher is None else one.teacher for one in materials]
    return Lesson(replace(sample, prompts=together), np.array(teacher, dtype=np.float64))


def _together(prompts: NDArray[np.str_], groups: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return one name for all pairs that are linked by prompts and groups, shape (n,)."""
    _, prompt = np.unique(prompts, return_inverse=True)
    _, group = np.unique(groups, return_inverse=True)
    size = int(prompt.max()) + 1
    total = size + int(group.max()) + 1
    links = coo_array((np.ones(len(prompt)), (prompt, size + group)), shape=(total, total))
    _, component = connected_components(links, directed=False)
    return component[prompt].astype(str)


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting with its log loss on prompts that its students had not seen."""

    setting: Setting
    log_loss: float


@dataclass(frozen=True, slots=True)
class Distilled:
    """A student, p_a (n,) of each pair by members that never saw its prompt, and how it was chosen."""

    weights: Weights
    unseen: FloatArray
    setting: Setting
    trials: tuple[Trial, ...]


def distil(
    lesson: Lesson,
    recipe: Recipe,
    seed: int,
    progress: Progress = lambda line: None,
    settings: Sequence[Setting] | None = None,
) -> Distilled:
    """Choose w and T by cross-validation, and train the student with them.

    Args:
        lesson: Pairs with the teacher's probabilities and people's votes.
        recipe: How members are trained; one round of folds tries each setting.
        seed: Of the folds and of the trees.
        progress: Is told what is done.
        settings: What to choose from, by default what the lesson can tell apart.
    """
    tried = lesson.settings if settings is None else tuple(settings)
    trials = []
    once = replace(recipe, rounds=1)
    for number, setting in enumerate(tried if len(tried) > 1 else (), start=1):
        found = _fit(lesson, soft_targets(lesson, setting), once, seed)
        trials.append(Trial(setting, log_loss(found.unseen, lesson.outcome)))
        progress(
            f"setting {number} of {len(tried)}: w = {setting.label_weight:g}, "
            f"T = {setting.temperature:g}, log loss {trials[-1].log_loss:.4f}"
        )
    best = min(trials, key=lambda trial: trial.log_loss).setting if trials else tried[0]
    fitted = _fit(lesson, soft_targets(lesson, best), recipe, seed + 1, progress)
    return Distilled(fitted.weights, fitted.unseen, best, tuple(trials))


def hard_twin(
    lesson: Lesson, recipe: Recipe, seed: int, progress: Progress = lambda line: None
) -> FloatArray:
    """Return p_a (n,) on unseen prompts of the same student, trained on the teacher's hard verdicts.

    A pair without a preference of the teacher teaches it nothing. Folds are those of `distil`.
    """
    p = lesson.teacher
    says = lesson.is_heard & (p != 0.5)
    targets = Targets.of_labels(np.where(says, p > 0.5, 0.5).astype(float), says / says.mean())
    return _fit(lesson, targets, recipe, seed + 1, progress).unseen


def soft_targets(lesson: Lesson, setting: Setting) -> Targets:
    """Return the targets of a setting; all weights together have mean 1, as penalties suppose."""
    labels = label_targets(lesson.sample)
    w, heard = setting.label_weight, lesson.is_heard
    weight, soft_weight = w * labels.weight, (1.0 - w) * heard
    scale = 1.0 / max(float((weight + soft_weight).mean()), SMALLEST_SCALE)
    p = np.where(heard, lesson.teacher, 0.5)
    return Targets(
        labels.label,
        weight * scale,
        softened(p, setting.temperature),
        np.asarray(soft_weight * scale, dtype=np.float64),
        setting.temperature,
    )


def softened(p: FloatArray, temperature: float) -> FloatArray:
    """Return a teacher's probabilities at a temperature; certainty leaves `LEAST_DOUBT`.

    Example:
        >>> softened(np.array([0.5, 0.9, 1.0]), 2.0).round(3)
        array([0.5  , 0.75 , 0.875])
    """
    sure = p.clip(LEAST_DOUBT, 1.0 - LEAST_DOUBT)
    return probability_from_logit(np.log(sure / (1.0 - sure)) / temperature)


def log_loss(p_a: FloatArray, outcome: FloatArray) -> float:
    """Return the mean log loss over pairs with an outcome, which may be a share."""
    known = np.isfinite(outcome)
    p, y = p_a[known].clip(1e-12, 1 - 1e-12), outcome[known]
    return float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())


def _fit(
    lesson: Lesson,
    targets: Targets,
    recipe: Recipe,
    seed: int,
    progress: Progress = lambda line: None,
) -> Fitted:
    rng = np.random.default_rng(seed)
    return fit_targets(lesson.sample, targets, lesson.outcome, recipe, rng, progress)
