"""Published and recomputed shares of verdicts that change with the order of the responses."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.agreement import agreement_rate
from calibration.labels import MISSING, TIE, A, B
from tests.calibration.recorded_votes import label_lines, pairs, reference, verdicts
from tests.calibration.agreement.test_agreement_on_recorded_votes import JUDGES

WITH_BOTH_ORDERS = [
    entry for entry in JUDGES if entry[2].startswith("llmbar") or entry[0] == "prd_vicuna80"
]


@pytest.mark.parametrize(("data", "judge", "key"), WITH_BOTH_ORDERS)
def test_share_of_order_inconsistent_verdicts(data: str, judge: str, key: str) -> None:
    rows = pairs(data)
    found = agreement_rate(
        verdicts(rows, judge, "label_original"), verdicts(rows, judge, "label_swapped")
    )
    wanted = reference(data, f"{key}_order_inconsistent")
    assert found.value == pytest.approx(1 - wanted.value, abs=wanted.tolerance)
    assert found.n == wanted.n


def test_share_of_order_inconsistent_verdicts_of_gpt4_on_mtbench() -> None:
    lines = label_lines("mtbench_human", "gpt4_pair.jsonl")
    flips = {
        "2400": np.array(["inconsistent" in line["winner"] for line in lines]),
        "1814": np.array(
            [row["judges"]["gpt-4-pair"]["inconsistent"] for row in pairs("mtbench_human")]
        ),
    }
    for name, flipped in flips.items():
        wanted = reference("mtbench_human", f"gpt4_inconsistent_{name}")
        found = agreement_rate(np.full(len(flipped), A), np.where(flipped, B, A))
        assert found.value == pytest.approx(1 - wanted.value, abs=wanted.tolerance)
        assert found.n == wanted.n


FLIPS_OF_THE_PLAIN_PROMPT = {
    "GPT-4": (5, 25), "PaLM2": (20, 95), "LLaMA2": (21, 84),
    "Falcon": (48, 197), "ChatGPT-0301": (22, 155), "ChatGPT": (29, 114),
}  # fmt: skip


@pytest.mark.parametrize("model", FLIPS_OF_THE_PLAIN_PROMPT)
def test_flips_of_the_plain_prompt_on_llmbar(model: str) -> None:
    for subset, flips in zip(
        ("Natural", "Adversarial"), FLIPS_OF_THE_PLAIN_PROMPT[model], strict=True
    ):
        rows = [row for row in pairs("llmbar") if row["subset"].startswith(f"LLMBar/{subset}")]
        one, other = (
            verdicts(rows, f"{model}/Vanilla", f"label_{order}")
            for order in ("original", "swapped")
        )
        unparsed = TIE + 1  # two unparsed verdicts were counted as the same
        one, other = (np.where(each == MISSING, unparsed, each) for each in (one, other))
        found = agreement_rate(one, other)
        assert found.value == pytest.approx(1 - flips / len(rows), abs=1e-9)
