"""Training end to end on pairs made here: folds never share a prompt, and a plain rule is learned."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from judges.student.model import Weights
from judges.student.training.__main__ import run, train
from judges.student.training.data import LabelledPair, measure, read_pairs
from judges.student.training.evaluate import (
    agreement,
    calibration_error,
    cross_validate,
    prompt_interval,
    wilson_interval,
)
from judges.student.training.fit import (
    Growth,
    Recipe,
    Targets,
    fit_ensemble,
    fit_temperature,
    forest_sum,
    grow_forest,
    split_prompts,
)
from judges.types import prompt_hash

SMALL = Recipe(rounds=1, folds=5, bilinear_steps=15, growth=Growth(trees=10, depth=2))
WORDS = ["river", "stone", "cloud", "tree", "lamp", "paper", "train", "music", "bread", "window"]


def made_pairs(data_set: str, prompts: range, rng: np.random.Generator) -> list[LabelledPair]:
    """Pairs whose better response is the one of more words, six of each prompt."""
    return [made_pair(data_set, number, rng) for number in prompts for _ in range(6)]


def made_pair(data_set: str, number: int, rng: np.random.Generator) -> LabelledPair:
    prompt = f"Describe thing number {number} to me"
    sizes = rng.integers(1, 40, size=2)
    a, b = (" ".join(rng.choice(WORDS, size=size)) + "." for size in sizes)
    votes = (3, 0, 0) if sizes[0] > sizes[1] else (0, 3, 0) if sizes[0] < sizes[1] else (1, 1, 1)
    return LabelledPair(data_set, "", [prompt], [a], [b], *votes, prompt_hash(prompt))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_a_prompt_has_one_fold_in_all_sets(rng: np.random.Generator) -> None:
    pairs = made_pairs("pandalm", range(40), rng) + made_pairs("tulu_human", range(20, 60), rng)
    sample = measure(pairs)
    fold = split_prompts(sample, 5, rng)
    for prompt in np.unique(sample.prompts):
        assert len(np.unique(fold[sample.prompts == prompt])) == 1
    per_fold = [len(np.unique(sample.prompts[fold == number])) for number in range(5)]
    assert per_fold == [12] * 5


def test_a_plain_rule_is_learned_on_held_out_prompts(rng: np.random.Generator) -> None:
    sample = measure(made_pairs("pandalm", range(50), rng))
    found = agreement(cross_validate(sample, SMALL, rng), sample, rng)
    assert found.accuracy > 0.85
    assert found.wilson[0] < found.accuracy
    assert found.by_prompt[0] <= found.accuracy <= found.by_prompt[1]
    assert found.most_confident >= found.accuracy


def test_labels_of_chance_are_not_learned(rng: np.random.Generator) -> None:
    sample = measure(made_pairs("pandalm", range(60), rng))
    flipped = rng.random(len(sample.votes)) < 0.5
    a, b = sample.features_a.copy(), sample.features_b.copy()
    sample.features_a[flipped], sample.features_b[flipped] = b[flipped], a[flipped]
    found = agreement(cross_validate(sample, SMALL, rng), sample, rng)
    assert 0.35 < found.accuracy < 0.65


def test_the_same_seed_gives_the_same_bytes(rng: np.random.Generator) -> None:
    sample = measure(made_pairs("llmfao", range(10), rng))
    first, second = (fit_ensemble(sample, SMALL, np.random.default_rng(3)) for _ in range(2))
    assert first.to_bytes() == second.to_bytes()


def test_training_leaves_out_prompts_of_the_test_sets(rng: np.random.Generator) -> None:
    pairs = made_pairs("pandalm", range(20), rng) + made_pairs("llmbar", range(5), rng)
    pairs += made_pairs("mtbench_human", range(3, 8), rng)
    trained = train(pairs, SMALL, 1, lambda line: None)
    expected = {prompt_hash(f"Describe thing number {n} to me") for n in range(8, 20)}
    assert set(trained.training_prompts) == expected
    assert set(trained.sample.prompts.tolist()) == expected


def test_a_run_writes_weights_prompts_and_card(rng: np.random.Generator, tmp_path: Path) -> None:
    pairs = [
        *made_pairs("pandalm", range(15), rng),
        *made_pairs("mtbench_human", range(30, 40), rng),
        *made_pairs("llmbar", range(50, 60), rng),
    ]
    lines: list[str] = []
    digest = run(pairs, SMALL, 1, tmp_path, lines.append)
    weights = Weights.from_bytes((tmp_path / "weights.npz").read_bytes())
    card = (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8")
    prompts = (tmp_path / "training_prompts.txt").read_text(encoding="ascii").split()
    assert weights.linear.shape[0] == 5
    assert digest in card
    assert len(prompts) == 15
    assert all(prompt in card for prompt in prompts)
    assert lines


def test_the_temperature_of_overconfident_logits_is_found(rng: np.random.Generator) -> None:
    true = rng.normal(0, 1.5, 4000)
    prefers_a = rng.random(4000) < 1 / (1 + np.exp(-true))
    prompts = np.array([f"{n % 400}" for n in range(4000)])
    assert fit_temperature(3 * true[:, None], prefers_a, prompts) == pytest.approx(3, rel=0.15)


def test_a_forest_learns_an_interaction(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(2000, 4))
    label = ((rows[:, 0] > 0.3) & (rows[:, 1] < 0.5)).astype(float)
    growth = Growth(trees=60, depth=2, feature_share=1.0, leaf_penalty=1.0, learning_rate=0.3)
    forest = grow_forest(rows, Targets.of_labels(label, np.ones(2000)), growth, rng)
    fresh = rng.normal(size=(2000, 4))
    expected = (fresh[:, 0] > 0.3) & (fresh[:, 1] < 0.5)
    assert ((forest_sum(forest, fresh) > 0) == expected).mean() > 0.95


def test_a_constant_feature_is_never_decisive(rng: np.random.Generator) -> None:
    rows = np.ones((50, 2))
    growth = Growth(trees=3, feature_share=1.0)
    forest = grow_forest(rows, Targets.of_labels(rng.random(50), np.ones(50)), growth, rng)
    assert np.isfinite(forest.threshold).all()
    assert len(np.unique(forest_sum(forest, np.array([[0.0, 0.0], [1.0, 1.0], [9.0, 9.0]])))) == 1


def test_wilson_interval_of_a_published_example() -> None:
    # GPT-4 on MT-Bench's 1078 decided pairs
    low, high = wilson_interval(953, 1078)
    assert (round(low, 4), round(high, 4)) == (0.8636, 0.9018)


def test_an_interval_by_prompt_is_wider_than_by_pair(rng: np.random.Generator) -> None:
    prompts = np.repeat([f"{n}" for n in range(10)], 50)
    correct = np.repeat([True, False] * 5, 50)
    by_prompt, by_pair = prompt_interval(correct, prompts, rng), wilson_interval(250, 500)
    assert by_prompt[1] - by_prompt[0] > 3 * (by_pair[1] - by_pair[0])


def test_calibration_error_of_hand_made_bins() -> None:
    confidence = np.array([0.5, 0.5, 1.0, 1.0])
    assert calibration_error(confidence, np.array([True, False, True, True])) == 0
    assert calibration_error(confidence, np.array([True, True, True, False])) == pytest.approx(0.5)


def test_rows_are_read_plain_or_packed(tmp_path: Path) -> None:
    human = [{"annotator": None, "label": label} for label in ("A", "A", "tie")]
    single = {
        "prompt": "Sum up.",
        "input": "A text",
        "response_a": "x",
        "response_b": "y",
        "human": human,
    }
    turns = {"prompt": ["Hi", "More"], "responses_a": ["1", "2"], "responses_b": ["3", "4"]}
    line, later = json.dumps(single), json.dumps({**turns, "human": human[1:]})
    (tmp_path / "pandalm").mkdir()
    (tmp_path / "pandalm" / "pairs.jsonl").write_text(line + "\n", encoding="utf-8")
    (tmp_path / "mtbench_human").mkdir()
    packed = gzip.compress((later + "\n").encode())
    (tmp_path / "mtbench_human" / "pairs.jsonl.gz").write_bytes(packed)
    one, two = read_pairs(tmp_path, "pandalm")[0], read_pairs(tmp_path, "mtbench_human")[0]
    assert (list(one.turns), one.votes_a, one.votes_tie, one.plurality) == (
        ["Sum up.\n\nA text"],
        2,
        1,
        "a",
    )
    assert one.prompt_hash == prompt_hash("sum up a text")
    assert (list(two.turns), list(two.responses_b), two.plurality) == (
        ["Hi", "More"],
        ["3", "4"],
        None,
    )
    assert two.prompt_hash == prompt_hash("hi")
