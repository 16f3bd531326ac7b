"""What a distilled student is worth, measured on prompts that its members had not seen, and its card.

All intervals are 95 % and resample prompts. An agreement counts a probability of one half as wrong;
pairs on which the other side has no preference do not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from calibration import certify_preferences
from calibration.arrays import BoolArray, FloatArray
from calibration.errors import CalibrationError
from judges.student.model import StudentModel, mean_probability, student_file
from judges.student.training.data import Sample
from judges.student.training.distil import (
    FEWEST_PROMPTS,
    Material,
    Progress,
    Setting,
    Trial,
    distil,
    hard_twin,
    lesson_of,
)
from judges.student.training.evaluate import prompt_interval
from judges.student.training.fit import Recipe

WEIGHTS_FILE: Final = "student.npz"
CARD_FILE: Final = "MODEL_CARD.md"
ALL: Final = "all"
#: Random halves of the prompts on which certificates are replayed.
SPLITS: Final = 20
#: With fewer labelled prompts than this a half of them certifies nothing.
FEWEST_TO_REPLAY: Final = 40
_COSTS: Final = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Share:
    """A share of pairs, or a difference of shares, with its interval."""

    pairs: int
    prompts: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Row:
    """How far one judge agrees with another, or with people, on the pairs of a slice."""

    slice: str
    judge: str
    reference: str
    share: Share


@dataclass(frozen=True, slots=True)
class Side:
    """Replayed certificates of one cascade, means over random halves of the prompts.

    Attributes:
        certified: Share of halves whose certificate certifies something.
        coverage: Share of the other half's pairs that are answered; nothing certified answers none.
        agreement: Agreement with people on what is answered; None where nothing is.
        relative_cost: Cost over that of asking the teacher about every pair.
    """

    certified: float
    coverage: float
    agreement: float | None
    relative_cost: float


@dataclass(frozen=True, slots=True)
class Saving:
    """The student before its teacher, against the teacher alone, at the same target."""

    target_agreement: float
    pairs: int
    prompts: int
    with_student: Side
    teacher_alone: Side


@dataclass(frozen=True, slots=True)
class Opinions:
    """p_a (n,) of everyone who is compared; nan where one said nothing or learnt from the prompt."""

    student: FloatArray
    teacher: FloatArray
    hard: FloatArray
    embedded: FloatArray


def agreements(
    opinions: Opinions, sample: Sample, slices: Mapping[str, BoolArray], rng: np.random.Generator
) -> list[Row]:
    """Return who agrees with whom, on all pairs and on those of each slice."""
    people = np.where(sample.decided, sample.prefers_a, np.nan).astype(np.float64)
    pairs = [
        ("student", opinions.student, "teacher", opinions.teacher),
        ("same student, hard labels", opinions.hard, "teacher", opinions.teacher),
        ("embedded student", opinions.embedded, "teacher", opinions.teacher),
        ("teacher", opinions.teacher, "people", people),
        ("student", opinions.student, "people", people),
        ("same student, hard labels", opinions.hard, "people", people),
        ("embedded student", opinions.embedded, "people", people),
    ]
    return compared(pairs, sample, slices, rng)


def compared(
    pairs: Sequence[tuple[str, FloatArray, str, FloatArray]],
    sample: Sample,
    slices: Mapping[str, BoolArray],
    rng: np.random.Generator,
) -> list[Row]:
    """Return how far each judge agrees with its reference, on all pairs and on those of each slice.

    Args:
        pairs: A judge's name and p_a (n,), and its reference's.
        sample: The n pairs.
        slices: Which pairs are in a slice, by its name.
        rng: Draws the intervals.
    """
    everything = np.ones(len(sample.prompts), dtype=bool)
    return [
        Row(name, judge, reference, share)
        for name, rows in {ALL: everything, **slices}.items()
        for judge, p, reference, outcome in pairs
        if (share := agreement_of(p, outcome, sample.prompts, rows, rng)) is not None
    ]


def agreement_of(
    p: FloatArray,
    outcome: FloatArray,
    prompts: NDArray[np.str_],
    rows: BoolArray,
    rng: np.random.Generator,
) -> Share | None:
    """Return how often p takes the side of an outcome, None without pairs to compare."""
    counted = rows & np.isfinite(p) & _has_side(outcome)
    return _share(takes_side(p, outcome)[counted], prompts[counted], rng)


def gain(
    p: FloatArray,
    other: FloatArray,
    outcome: FloatArray,
    prompts: NDArray[np.str_],
    rng: np.random.Generator,
) -> Share | None:
    """Return by how much p agrees more with an outcome than another does, on the same pairs."""
    counted = np.isfinite(p) & np.isfinite(other) & _has_side(outcome)
    difference = takes_side(p, outcome) - takes_side(other, outcome)
    return _share(difference[counted], prompts[counted], rng)


def takes_side(p: FloatArray, outcome: FloatArray) -> FloatArray:
    """Return 1 where p prefers what the outcome prefers, else 0, shape (n,)."""
    said: FloatArray = (((p > 0.5) == (outcome > 0.5)) & (p != 0.5)).astype(np.float64)
    return said


def _has_side(outcome: FloatArray) -> BoolArray:
    has_side: BoolArray = np.isfinite(outcome) & (outcome != 0.5)
    return has_side


def _share(values: FloatArray, prompts: NDArray[np.str_], rng: np.random.Generator) -> Share | None:
    if not len(values):
        return None
    low, high = prompt_interval(values, prompts, rng)
    return Share(len(values), len(np.unique(prompts)), float(values.mean()), low, high)


def saving(
    student: FloatArray,
    teacher: FloatArray,
    sample: Sample,
    target_agreement: float,
    rng: np.random.Generator,
) -> Saving | None:
    """Certify on random halves of the prompts and replay on the others; None with too few labels.

    The certificates are those of the service's default method. The student costs nothing.
    """
    known = sample.decided
    prompts, index = np.unique(sample.prompts[known], return_inverse=True)
    if len(prompts) < FEWEST_TO_REPLAY:
        return None
    p_a = np.column_stack([student, teacher])[known]
    label = sample.prefers_a[known].astype(np.float64)
    both: list[tuple[float, float, float, float]] = []
    alone: list[tuple[float, float, float, float]] = []
    for _ in range(SPLITS):
        half = rng.permutation(len(prompts)) < len(prompts) // 2
        calibrates = half[index]
        seed = int(rng.integers(2**31))
        for judges, outcomes in ((p_a, both), (p_a[:, 1:], alone)):
            costs = _COSTS[-judges.shape[1] :]
            outcomes.append(
                _replayed(judges, label, index, calibrates, (target_agreement, costs, seed))
            )
    return Saving(target_agreement, len(label), len(prompts), _side(both), _side(alone))


def _replayed(
    p_a: FloatArray,
    label: FloatArray,
    groups: NDArray[Any],
    calibrates: BoolArray,
    how: tuple[float, Sequence[float], int],
) -> tuple[float, float, float, float]:
    """Return whether it is certified, then coverage, agreement (nan) and cost on the other half."""
    target, costs, seed = how
    other = ~calibrates
    try:
        found = certify_preferences(
            p_a[calibrates], label[calibrates], target_risk=round(1 - target, 12), costs=costs,
            groups=groups[calibrates], pool=p_a[other], rng=seed,
        )  # fmt: skip
    except CalibrationError:
        return 0.0, 0.0, np.nan, 0.0
    if not found.is_certified:
        return 0.0, 0.0, np.nan, 0.0
    said = found.decide(p_a[other])
    answered = said.answered_by >= 0
    right = said.label[answered] == label[other][answered]
    cost = (said.asked * np.array(costs)).sum(axis=1).mean() / costs[-1]
    return 1.0, float(answered.mean()), float(right.mean()) if answered.any() else np.nan, cost


def _side(outcomes: Sequence[tuple[float, float, float, float]]) -> Side:
    certified, coverage, agreement, cost = np.array(outcomes).T
    known = agreement[np.isfinite(agreement)]
    return Side(
        float(certified.mean()),
        float(coverage.mean()),
        float(known.mean()) if len(known) else None,
        float(cost.mean()),
    )


@dataclass(frozen=True, slots=True)
class Card:
    """All that the card of a distilled student says; `saving` None: too few labels to replay."""

    dataset: str
    teacher: str
    teacher_fingerprint: str | None
    part: str | None
    seed: int
    weights_hash: str
    members: int
    pairs: int
    prompts: int
    labelled: int
    decided: int
    failed: int
    without_text: int
    setting: Setting
    trials: tuple[Trial, ...]
    chosen_by: str
    rows: tuple[Row, ...]
    soft_over_hard: Share | None
    saving: Saving | None

    def as_json(self) -> dict[str, Any]:
        """Return the card's figures by name."""
        return {"object": "student", **asdict(self)}


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be learned from whom, as the card names it; `recipe` says how members are trained."""

    dataset: str
    teacher: str
    teacher_fingerprint: str | None = None
    part: str | None = None
    target_agreement: float = 0.85
    without_text: int = 0
    seed: int = 0
    recipe: Recipe = Recipe()  # noqa: RUF009 - frozen


class NothingToLearn(ValueError):
    """The pairs are too few, or the teacher says the same of all of them."""


def make_student(
    materials: Sequence[Material], task: Task, progress: Progress = lambda line: None
) -> tuple[bytes, Card]:
    """Train a student and measure it; return its file, for `StudentModel.load_file`, and its card.

    Raises:
        NothingToLearn: There are too few prompts, or the teacher has no preference anywhere.
    """
    heard = [one for one in materials if one.teacher is not None]
    useful = [one for one in materials if one.teacher is not None or any(one.votes)]
    if not any(one.teacher != 0.5 for one in heard):
        raise NothingToLearn(
            f"the teacher prefers no response on any of {len(materials)} pairs; it failed on "
            f"{len(materials) - len(heard)}"
        )
    lesson = lesson_of(useful)
    if lesson.prompts < FEWEST_PROMPTS:
        raise NothingToLearn(
            f"{lesson.prompts} prompts are too few to learn from: at least {FEWEST_PROMPTS} are needed"
        )
    learned = distil(lesson, task.recipe, task.seed, progress)
    progress("the same student on hard verdicts, to compare")
    hard = hard_twin(lesson, task.recipe, task.seed)
    embedded = _embedded(useful)
    prompts = frozenset(one.pair.prompt_hash for one in useful)
    data = student_file(learned.weights, prompts)
    rng = np.random.default_rng(task.seed)
    sample, opinions = lesson.sample, Opinions(learned.unseen, lesson.teacher, hard, embedded)
    progress("certificates are replayed")
    card = Card(
        dataset=task.dataset,
        teacher=task.teacher,
        teacher_fingerprint=task.teacher_fingerprint,
        part=task.part,
        seed=task.seed,
        weights_hash=hashlib.sha256(data).hexdigest(),
        members=len(learned.weights.linear),
        pairs=len(useful),
        prompts=len(prompts),
        labelled=int((sample.votes > 0).sum()),
        decided=int(sample.decided.sum()),
        failed=len(materials) - len(heard),
        without_text=task.without_text,
        setting=learned.setting,
        trials=learned.trials,
        chosen_by="people's verdicts" if lesson.judged_by_people else "the teacher's probabilities",
        rows=tuple(agreements(opinions, sample, slices_of(useful), rng)),
        soft_over_hard=gain(learned.unseen, hard, lesson.teacher, sample.prompts, rng),
        saving=saving(learned.unseen, lesson.teacher, sample, task.target_agreement, rng),
    )
    return data, card


def _embedded(materials: Sequence[Material]) -> FloatArray:
    """Return p_a of the embedded student, nan where it learnt from the prompt, shape (n,)."""
    model = StudentModel.load()
    return np.array(
        [
            np.nan
            if one.pair.prompt_hash in model.training_prompt_hashes
            else mean_probability(
                model.predict(one.pair.user_turns, one.pair.responses_a, one.pair.responses_b)
            )
            for one in materials
        ]
    )


def slices_of(materials: Sequence[Material]) -> dict[str, BoolArray]:
    """Return which pairs have a value of a field, shape (n,), by both."""
    named = sorted({(field, value) for one in materials for field, value in one.slices.items()})
    return {
        f"{field} = {value}": np.array([one.slices.get(field) == value for one in materials])
        for field, value in named
    }


def render(card: Card) -> str:
    """Return the card in Markdown."""
    return "\n".join([*_summary(card), *_choice(card), *_agreement(card), *_saving(card), *_LIMITS])


def _summary(card: Card) -> Iterator[str]:
    yield f"# A student of {card.teacher}\n"
    yield "Made by `tribunal distil`; not edited by hand.\n"
    part = f", part {card.part}" if card.part else ""
    yield f"- Trained on: dataset {card.dataset}{part}, {card.pairs} pairs of {card.prompts} prompts"
    named = f" ({card.teacher_fingerprint})" if card.teacher_fingerprint else ""
    yield f"- Teacher: {card.teacher}{named}; without an answer on {card.failed} pairs"
    yield f"- Labels of people: on {card.labelled} pairs, of which {card.decided} are decided"
    if card.without_text:
        yield f"- Left out: {card.without_text} pairs without texts"
    yield f"- Weights: `student.npz`, sha256 `{card.weights_hash}`, {card.members} members"
    yield f"- Seed: {card.seed}"
    yield (
        "- The weights hold the hash of every prompt that they were trained on. The judge's "
        "fingerprint covers them, and no certificate of this judge is calibrated on those prompts.\n"
    )


def _choice(card: Card) -> Iterator[str]:
    yield "## How it learnt\n"
    yield "Loss: w x cross-entropy of people's labels + (1 - w) x T^2 x KL(teacher at T || student at T)."
    yield f"Chosen: w = {card.setting.label_weight:g}, T = {card.setting.temperature:g}.\n"
    if card.trials:
        yield f"Log loss of {card.chosen_by} in cross-validation by prompt:\n"
        yield "| w | T | log loss |"
        yield "|---|---|---|"
        for trial in card.trials:
            one = trial.setting
            yield f"| {one.label_weight:g} | {one.temperature:g} | {trial.log_loss:.4f} |"
        yield ""


def _agreement(card: Card) -> Iterator[str]:
    yield "## Agreement on prompts that the members had not seen\n"
    yield "Intervals are 95 %, by prompt. The embedded student is compared on prompts it did not learn from.\n"
    yield from agreement_table(card.rows)
    if card.soft_over_hard is not None:
        one = card.soft_over_hard
        yield (
            f"Soft verdicts instead of hard ones change its agreement with the teacher by "
            f"{one.value:+.3f} ({one.low:+.3f} to {one.high:+.3f}).\n"
        )


def agreement_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a table in Markdown, and an empty one."""
    yield "| pairs of | judge | agrees with | pairs | prompts | agreement | interval |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        one = row.share
        yield (
            f"| {_cell(row.slice)} | {row.judge} | {row.reference} | {one.pairs} | {one.prompts} | "
            f"{one.value:.3f} | {one.low:.3f}-{one.high:.3f} |"
        )
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _saving(card: Card) -> Iterator[str]:
    yield "## What does it save?\n"
    yield from saving_table(card.saving, "student")


def saving_table(found: Saving | None, judge: str) -> Iterator[str]:
    """Yield what a judge before its teacher saves, in Markdown."""
    if found is None:
        yield (
            f"Unknown: fewer than {FEWEST_TO_REPLAY} prompts have pairs on which people decided.\n"
        )
        return
    yield (
        f"Certificates for {100 * found.target_agreement:g} % agreement on half of the prompts, replayed "
        f"on the other half; means over {SPLITS} splits of {found.pairs} pairs of {found.prompts} prompts.\n"
    )
    yield "| cascade | certified | coverage | agreement | calls of the teacher a pair |"
    yield "|---|---|---|---|---|"
    for name, side in (
        (f"{judge}, then teacher", found.with_student),
        ("teacher alone", found.teacher_alone),
    ):
        agreed = "-" if side.agreement is None else f"{side.agreement:.3f}"
        yield (
            f"| {name} | {side.certified:.2f} | {side.coverage:.3f} | {agreed} | "
            f"{side.relative_cost:.3f} |"
        )
    yield ""


_LIMITS: Final = (
    "## Limits of use\n",
    "- It reads form, not truth: length, layout, wording, repetition, overlap with the prompt. Where its",
    "  teacher knows better, it does not; only a certificate on labels of other prompts says how often.",
    "- Its errors are its teacher's and its own. It must not be the reward of a training run.",
    "- The setting was chosen on the same pairs as the figures, so they are a little too good.\n",
)
