"""Published and recomputed agreement figures of public data sets of human preferences."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.agreement import (
    agreement_rate,
    cohens_kappa,
    confusion,
    fleiss_kappa,
    krippendorffs_alpha,
    leave_one_out_agreement,
    macro_scores,
    percent_agreement,
)
from calibration.arrays import IntArray
from calibration.estimate import Estimate
from calibration.intervals import Groups
from calibration.labels import (
    MISSING,
    TIE,
    A,
    B,
    mean_sign,
    mirrored,
    plurality,
    rating_counts,
    vote_counts,
)
from tests.calibration.recorded_votes import CODE, human_counts, pairs, reference, verdicts
from tests.data_sets import data_dir

HUMAN_SETS = [
    "mtbench_human",
    "prd_vicuna80",
    "prd_vicuna80/lfqa",
    "llmfao",
    "pandalm",
    "tulu_human",
]
LLMBAR_ON_MTBENCH = ["GPT-4", "ChatGPT", "LLaMA2", "PaLM2"]
PRD_JUDGES = ["gpt4", "claude", "gpt35", "bard", "vicuna-13b"]
JUDGES = [
    *[
        ("mtbench_human", f"llmbar:{m}/Vanilla_NoRules", f"llmbar_{m}_vanilla_norules")
        for m in LLMBAR_ON_MTBENCH
    ],
    ("mtbench_human", "gpt-4-pair", "gpt4"),
    *[("prd_vicuna80", judge, judge) for judge in PRD_JUDGES],
    ("llmfao", "gpt-4", "gpt-4"),
    ("llmfao", "gpt-3.5-turbo-instruct", "gpt-3.5-turbo-instruct"),
    ("pandalm", "gpt-3.5-turbo", "gpt-3.5-turbo"),
    ("pandalm", "pandalm-7b", "pandalm-7b"),
]
WITH_THREE_WAY = [entry for entry in JUDGES if not entry[2].startswith("llmbar")]


def check(found: Estimate, data: str, key: str) -> None:
    wanted = reference(data, key)
    assert found.value == pytest.approx(wanted.value, abs=wanted.tolerance)
    assert found.n == wanted.n


def voted(data: str) -> tuple[IntArray, str]:
    """Vote counts and the prefix of their figures; only the pairs with three votes of PRD."""
    counts = human_counts(pairs(data))
    if data == "prd_vicuna80":
        return counts[counts.sum(axis=1) == 3], "human_480"
    return counts, "human"


@pytest.mark.parametrize("data", HUMAN_SETS)
def test_alpha_and_fleiss_of_human_votes(data: str) -> None:
    counts, prefix = voted(data)
    check(krippendorffs_alpha(counts), data, f"{prefix}_alpha_nominal")
    check(fleiss_kappa(counts), data, f"{prefix}_fleiss_generalised")


@pytest.mark.parametrize("data", HUMAN_SETS)
def test_agreement_of_human_votes_with_and_without_ties(data: str) -> None:
    counts, prefix = voted(data)
    check(percent_agreement(counts), data, f"{prefix}_agreement_3way")
    if data != "prd_vicuna80/lfqa":  # its votes have no ties
        check(percent_agreement(counts[:, :TIE]), data, f"{prefix}_agreement_no_ties")


@pytest.mark.parametrize("data", HUMAN_SETS)
def test_one_vote_against_the_majority_of_the_others(data: str) -> None:
    counts, prefix = voted(data)
    check(leave_one_out_agreement(counts), data, f"{prefix}_leave_one_out")


def test_cohens_kappa_of_annotator_pairs_of_pandalm() -> None:
    data = pairs("pandalm")
    votes = np.array([[CODE[vote["label"]] for vote in row["human"]] for row in data])
    for i, j in ((1, 2), (1, 3), (2, 3)):
        check(cohens_kappa(votes[:, i - 1], votes[:, j - 1]), "pandalm", f"cohen_kappa_{i}_{j}")


@pytest.mark.parametrize("metric", ["nominal", "ordinal", "interval", "ratio"])
def test_alpha_of_codings(metric: str) -> None:
    table = np.genfromtxt(data_dir() / "evalica_golden" / "codings.csv", delimiter=",")
    counts, values = rating_counts(table.T)
    found = krippendorffs_alpha(counts, metric=metric, values=values)  # type: ignore[arg-type]
    wanted = reference("evalica_golden", f"codings_alpha_{metric}")
    assert found.value == pytest.approx(wanted.value, abs=wanted.tolerance)


def test_alpha_of_part_of_speech_tags() -> None:
    lines = (data_dir() / "evalica_golden" / "gcl.csv").read_text().splitlines()
    tags = [(unit, tag) for line in lines for unit, tag in enumerate(line.split(",")) if tag]
    counts = vote_counts([u for u, _ in tags], [int(t == "NN") for _, t in tags], 4, 2)
    check(krippendorffs_alpha(counts), "evalica_golden", "gcl_alpha_nominal")


@pytest.mark.parametrize(("data", "judge", "key"), JUDGES)
def test_decided_accuracy_of_judges(data: str, judge: str, key: str) -> None:
    rows = pairs(data)
    found = agreement_rate(plurality(human_counts(rows)), verdicts(rows, judge), among=(A, B))
    check(found, data, f"{key}_decided_accuracy")


@pytest.mark.parametrize(("data", "judge", "key"), WITH_THREE_WAY)
def test_three_way_accuracy_of_judges(data: str, judge: str, key: str) -> None:
    rows = pairs(data)
    human, judged = plurality(human_counts(rows)), verdicts(rows, judge)
    silent = (judged == MISSING) & (human != MISSING)
    found = agreement_rate(human, np.where(silent, TIE + 1, judged))
    check(found, data, f"{key}_accuracy_3way")


WILSON = [
    ("mtbench_human", "gpt-4-pair", 0.8636, 0.9018, 953, 184),
    ("mtbench_human", "llmbar:GPT-4/Vanilla_NoRules", 0.8385, 0.9372, 132, 20),
    ("mtbench_human", "llmbar:ChatGPT/Vanilla_NoRules", 0.8273, 0.9453, 91, 66),
    ("mtbench_human", "llmbar:LLaMA2/Vanilla_NoRules", 0.8011, 0.9241, 98, 55),
    ("mtbench_human", "llmbar:PaLM2/Vanilla_NoRules", 0.7659, 0.8962, 101, 47),
    ("prd_vicuna80", "gpt4", 0.8228, 0.8868, 392, 228),
    ("prd_vicuna80", "claude", 0.8265, 0.8946, 337, 295),
    ("prd_vicuna80", "gpt35", 0.8128, 0.8794, 377, 241),
    ("prd_vicuna80", "bard", 0.7978, 0.8861, 216, 430),
    ("prd_vicuna80", "vicuna-13b", 0.6620, 0.7712, 185, 428),
    ("llmfao", "gpt-4", 0.7186, 0.7714, 778, 16),
    ("llmfao", "gpt-3.5-turbo-instruct", 0.6005, 0.6611, 613, 88),
    ("pandalm", "gpt-3.5-turbo", 0.7876, 0.8398, 692, 45),
    ("pandalm", "pandalm-7b", 0.7455, 0.8026, 635, 75),
]


@pytest.mark.parametrize(("data", "judge", "low", "high", "right", "judge_ties"), WILSON)
def test_wilson_interval_and_counts_of_decided_accuracy(
    data: str, judge: str, low: float, high: float, right: int, judge_ties: int
) -> None:
    rows = [row for row in pairs(data) if judge in row["judges"]]
    human, judged = plurality(human_counts(rows)), verdicts(rows, judge)
    found = agreement_rate(human, judged, among=(A, B))
    assert (found.low, found.high) == pytest.approx((low, high), abs=5.1e-5)
    assert np.trace(confusion(human, judged)[:TIE, :TIE]) == right
    silent_as_tie = np.where(judged == MISSING, TIE, judged)
    assert confusion(human, silent_as_tie)[:TIE, TIE].sum() == judge_ties


def mtbench(selected: str = "with_ties") -> tuple[IntArray, IntArray, IntArray]:
    """People (no plurality = tie), GPT-4 and question of MT-Bench pairs."""
    rows = pairs("mtbench_human")
    if selected.startswith("turn"):
        rows = [row for row in rows if row["turn"] == int(selected[-1])]
    human = plurality(human_counts(rows))
    human = np.where(human == MISSING, TIE, human)
    judged = verdicts(rows, "gpt-4-pair")
    question = np.array([row["question_id"] for row in rows])
    if selected == "ties_excluded":
        kept = (human != TIE) & (judged != TIE)
        return human[kept], judged[kept], question[kept]
    return human, judged, question


@pytest.mark.parametrize("selected", ["with_ties", "ties_excluded", "turn1", "turn2"])
def test_gpt4_against_people_on_mtbench(selected: str) -> None:
    human, judged, _ = mtbench(selected)
    check(agreement_rate(human, judged), "mtbench_human", f"gpt4_{selected}_agreement")
    check(cohens_kappa(human, judged), "mtbench_human", f"gpt4_{selected}_cohen_kappa")


@pytest.mark.parametrize(
    ("selected", "low", "high", "tolerance"),
    [("with_ties", 0.4719, 0.5378, 0.01), ("ties_excluded", 0.7258, 0.8045, 0.012)],
)
def test_kappa_interval_by_pair_is_the_published_one(
    selected: str, low: float, high: float, tolerance: float
) -> None:
    human, judged, _ = mtbench(selected)
    found = cohens_kappa(human, judged, np.arange(len(human)))
    assert (found.low, found.high) == pytest.approx((low, high), abs=tolerance)


def test_kappa_interval_by_question_is_wider_than_by_pair() -> None:
    human, judged, question = mtbench()
    found = cohens_kappa(human, judged, Groups.of(question))
    assert (found.low, found.high) == pytest.approx((0.460, 0.547), abs=0.006)


@pytest.mark.parametrize("judge", PRD_JUDGES)
def test_prd_accuracy_and_fleiss_as_seen_on_screen(judge: str) -> None:
    rows = pairs("prd_vicuna80")
    human = mean_sign(human_counts(rows))
    shown_human = np.concatenate([human, mirrored(human)])
    swapped = mirrored(verdicts(rows, judge, "label_swapped"))
    shown_judge = np.concatenate([verdicts(rows, judge, "label_original"), swapped])
    check(agreement_rate(shown_human, shown_judge), "prd_vicuna80", f"{judge}_vs_human_accuracy")
    unit = np.tile(np.arange(len(shown_human)), 2)
    counts = vote_counts(unit, np.concatenate([shown_human, shown_judge]), len(shown_human))
    check(fleiss_kappa(counts), "prd_vicuna80", f"{judge}_vs_human_fleiss")


@pytest.mark.parametrize("votes", ["5/5", "4/5", "3/5", "4/4", "3/4", "2/4"])
def test_llmfao_accuracy_rises_with_human_agreement(votes: str) -> None:
    rows = pairs("llmfao")
    counts = human_counts(rows)
    top, total = (int(part) for part in votes.split("/"))
    chosen = (counts.max(axis=1) == top) & (counts.sum(axis=1) == total)
    found = agreement_rate(plurality(counts)[chosen], verdicts(rows, "gpt-4")[chosen], among=(A, B))
    check(found, "llmfao", f"gpt-4_decided_accuracy_votes_{votes}")


@pytest.mark.parametrize("votes", ["unanimous_2plus", "single_vote", "split"])
def test_mtbench_accuracy_by_kind_of_vote(votes: str) -> None:
    rows = pairs("mtbench_human")
    counts = human_counts(rows)
    total, is_unanimous = counts.sum(axis=1), counts.max(axis=1) == counts.sum(axis=1)
    kinds = {
        "unanimous_2plus": is_unanimous & (total > 1),
        "single_vote": total == 1,
        "split": ~is_unanimous,
    }
    human, judged = plurality(counts), verdicts(rows, "gpt-4-pair")
    found = agreement_rate(human[kinds[votes]], judged[kinds[votes]], among=(A, B))
    check(found, "mtbench_human", f"gpt4_decided_accuracy_{votes}")


MACRO = [
    ("gpt-3.5-turbo", (0.587919, 0.573623, 0.575538)),
    ("pandalm-7b", (0.573831, 0.574969, 0.574305)),
]


@pytest.mark.parametrize(("judge", "macro"), MACRO)
def test_pandalm_scores_with_unparsed_as_tie(judge: str, macro: tuple[float, float, float]) -> None:
    rows = pairs("pandalm")
    human, judged = plurality(human_counts(rows)), verdicts(rows, judge)
    judged = np.where(judged == MISSING, TIE, judged)
    assert macro_scores(confusion(human, judged)) == pytest.approx(macro, abs=1e-6)
    check(agreement_rate(human, judged), "pandalm", f"{judge}_accuracy_unparsed_as_tie")
