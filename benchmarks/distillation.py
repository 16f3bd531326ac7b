"""What soft verdicts teach, and what a student saves before GPT-4's recorded votes on MT-Bench; and what it knows of LLMBar.

    python -m benchmarks.distillation --data ../shared/data

Takes about six minutes on one core. No prompt of MT-Bench or LLMBar is trained on.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from calibration import certify_preferences
from calibration.arrays import FloatArray
from judges.records import score_from_record
from judges.student.model import StudentModel
from judges.student.training.data import Sample, measure, read_pairs
from judges.student.training.distil import Lesson, Setting, distil, hard_twin
from judges.student.training.distilled import Share, agreement_of, gain
from judges.student.training.evaluate import predict_sample
from judges.student.training.fit import Recipe

SETS = ("prd_vicuna80", "pandalm", "llmfao")
UNSEEN = ("mtbench_human", "llmbar")
SEED = 0
DRAWS = 50
TARGETS = (0.7, 0.75, 0.8)


def teacher_of(folder: Path, name: str, only: str = "") -> FloatArray:
    """Return the mean p_a of a set's recorded judges, those of the given name if there are any."""
    return np.array([_mean(row["judges"], only) for row in _rows(folder / name)])


def _mean(judges: dict[str, Any], only: str) -> float:
    named = {name: one for name, one in judges.items() if only and name in (only, "gpt4", "gpt-4")}
    scores = [score_from_record(name, one).p_a for name, one in (named or judges).items()]
    known = [p for p in scores if p is not None]
    return float(np.mean(known)) if known else float("nan")


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    plain = folder / "pairs.jsonl"
    packed = plain.with_name(plain.name + ".gz")
    data = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    yield from map(json.loads, data.splitlines())


def lesson_of(
    folder: Path, names: tuple[str, ...], unseen: frozenset[str], only: str = ""
) -> Lesson:
    """Return the pairs of these sets, without those prompts, and what their teachers say."""
    sample = measure([pair for name in names for pair in read_pairs(folder, name)])
    teacher = np.concatenate([teacher_of(folder, name, only) for name in names])
    kept = ~np.isin(sample.prompts, list(unseen))
    return Lesson(sample.rows(kept), teacher[kept])


def show(what: str, found: Share | None) -> None:
    """Print a share or a difference with its interval."""
    assert found is not None
    print(f"  {what}: {found.value:.4f} [{found.low:.4f}, {found.high:.4f}], {found.pairs} pairs")


def soft_against_hard(lesson: Lesson) -> None:
    """Print how far students agree with their teacher on held-out prompts."""
    soft = distil(lesson, Recipe(), SEED, settings=[Setting(0.0, 1.0)]).unseen
    hard = hard_twin(lesson, Recipe(), SEED)
    people = distil(lesson, Recipe(), SEED, settings=[Setting(1.0, 1.0)]).unseen
    sample, rng = lesson.sample, np.random.default_rng(SEED)
    everything = np.ones(len(hard), dtype=bool)
    for name, p in (("soft verdicts", soft), ("hard verdicts", hard), ("people's labels", people)):
        show(name, agreement_of(p, lesson.teacher, sample.prompts, everything, rng))
    for name, other in (("hard verdicts", hard), ("people's labels", people)):
        show(f"soft - {name}", gain(soft, other, lesson.teacher, sample.prompts, rng))


def replayed(student: FloatArray, gpt: FloatArray, sample: Sample) -> None:
    """Print what certificates by question certify, answer and ask, with and without a student."""
    known = sample.decided
    p_a, label = np.column_stack([student, gpt])[known], sample.prefers_a[known].astype(float)
    groups = np.unique(sample.prompts[known], return_inverse=True)[1]
    for target in TARGETS:
        for name, columns, costs in (
            ("student, GPT-4", p_a, (0.0, 1.0)),
            ("GPT-4 alone", p_a[:, 1:], (1.0,)),
        ):
            outcomes = [_draw(columns, label, groups, target, costs, n) for n in range(DRAWS)]
            certified, coverage, agreement, asked = np.nanmean(np.array(outcomes), axis=0)
            print(
                f"  {target:.2f} {name:15} certified in {certified:.2f} of {DRAWS} draws; where "
                f"certified: answers {coverage:.3f}, agreement {agreement:.3f}, asks GPT-4 {asked:.3f}"
            )


def _draw(  # noqa: PLR0913 - one certificate
    p_a: FloatArray,
    label: FloatArray,
    groups: Any,
    target: float,
    costs: tuple[float, ...],
    seed: int,
) -> tuple[float, float, float, float]:
    found = certify_preferences(
        p_a, label, target_risk=round(1 - target, 12), costs=costs, groups=groups, rng=seed
    )
    if not found.is_certified:
        return 0.0, np.nan, np.nan, np.nan
    said = found.decide(p_a)
    answered = said.answered_by >= 0
    right = (said.label == label)[answered].mean()
    return 1.0, float(answered.mean()), float(right), float(said.asked[:, -1].mean())


def main() -> None:
    """Run both measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    folder = parser.parse_args().data
    tests = {name: measure(read_pairs(folder, name)) for name in UNSEEN}
    unseen = frozenset(np.concatenate([one.prompts for one in tests.values()]).tolist())
    print("Agreement with the teacher, the mean of a set's recorded judges; five folds by prompt:")
    soft_against_hard(lesson_of(folder, SETS, unseen))

    lesson = lesson_of(folder, (*SETS, "tulu_human"), unseen, "gpt-4")
    made = distil(lesson, Recipe(), SEED, lambda line: print(line, file=sys.stderr))
    chosen = made.setting
    print(f"Student of GPT-4: w = {chosen.label_weight:g}, T = {chosen.temperature:g}")
    sample, rng = tests["mtbench_human"], np.random.default_rng(SEED)
    gpt = teacher_of(folder, "mtbench_human", "gpt-4-pair")
    people = np.where(sample.decided, sample.prefers_a, np.nan).astype(float)
    everything = np.ones(len(gpt), dtype=bool)
    student = predict_sample(made.weights, sample)
    show("MT-Bench, with people", agreement_of(student, people, sample.prompts, everything, rng))
    show("MT-Bench, with GPT-4", agreement_of(student, gpt, sample.prompts, everything, rng))
    unlike, shipped = tests["llmbar"], StudentModel.load().weights
    people = np.where(unlike.decided, unlike.prefers_a, np.nan).astype(float)
    everything = np.ones(len(people), dtype=bool)
    for name, weights in (("distilled", made.weights), ("embedded", shipped)):
        p = predict_sample(weights, unlike)
        show(f"LLMBar, {name}", agreement_of(p, people, unlike.prompts, everything, rng))
        for subset in sorted(set(unlike.subsets.tolist())):
            rows = unlike.subsets == subset
            show(f"  {subset}", agreement_of(p, people, unlike.prompts, rows, rng))
    print("Certificates by question on MT-Bench; the distilled student:")
    replayed(student, gpt, sample)
    print("The embedded student, which saw labels of people alone:")
    replayed(predict_sample(shipped, sample), gpt, sample)


if __name__ == "__main__":
    main()
