"""Agreement as others published it, from their votes and verdicts through the REST interface."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from app.core.settings import Settings
from app.main import create_app
from calibration.agreement import macro_scores
from tests.app.development_sets import reference, upload_set
from tests.conftest import client_of
from tests.data_sets import data_dir

Figures = dict[str, Any]


@pytest.fixture(scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    data_dir()
    folder = tmp_path_factory.mktemp("published")
    app = create_app(Settings(database_url=f"sqlite:///{folder}/test.db"))
    async with app.router.lifespan_context(app), client_of(app) as opened:
        yield opened


async def imported(client: httpx.AsyncClient, name: str) -> None:
    known = (await client.get("/v1/datasets")).json()["data"]
    if name not in [dataset["name"] for dataset in known]:
        await upload_set(client, name)


async def report(client: httpx.AsyncClient, name: str, **asked: Any) -> Figures:
    await imported(client, name)
    answer = await client.get("/v1/reports/agreement", params={"dataset": name, **asked})
    assert answer.status_code in (200, 202), answer.text
    made: Figures = answer.json()
    while made["status"] in ("pending", "running"):
        await asyncio.sleep(0.5)
        made = (await client.get(f"/v1/reports/{made['id']}")).json()
    assert made["status"] == "completed", made["error"]
    return made


def judges(made: Figures) -> dict[str, Figures]:
    return {one["judge"]: one for one in made["judges"]}


def near(number: Figures) -> Any:
    return pytest.approx(number["value"], abs=number["tolerance"])


def published(name: str) -> Figures:
    found: Figures = json.loads((data_dir() / name).read_text(encoding="utf-8"))
    return found


async def test_peer_reviewers_to_the_last_digit(client: httpx.AsyncClient) -> None:
    table = published("prd_vicuna80/published.json")["vs_human_3way_both_orders"]
    found = judges(await report(client, "prd_vicuna80"))
    assert set(table) == {"gpt-4", "claude", "gpt-3.5"}
    for name, numbers in table.items():
        judge = found[name.replace("-", "").replace(".", "")]
        fleiss = judge["fleiss_kappa_with_human"]
        assert fleiss["value"] == pytest.approx(numbers["fleiss"], abs=1e-15), name
        assert fleiss["n"] == 1600
        assert fleiss["low"] < fleiss["value"] < fleiss["high"]
        accuracy = judge["accuracy_mean_of_orders"]["value"]
        assert accuracy == pytest.approx(numbers["accuracy"], abs=1e-15), name


async def test_peer_reviewers_as_the_reference_has_them(client: httpx.AsyncClient) -> None:
    expected = reference("prd_vicuna80")
    made = await report(client, "prd_vicuna80")
    assert made["human"]["krippendorff_alpha"]["value"] == near(expected["human_480_alpha_nominal"])
    for name, judge in judges(made).items():
        accuracy = judge["accuracy_mean_of_orders"]
        assert accuracy["value"] == near(expected[f"{name}_vs_human_accuracy"]), name
        assert accuracy["n"] == 1600
        fleiss = judge["fleiss_kappa_with_human"]["value"]
        assert fleiss == near(expected[f"{name}_vs_human_fleiss"]), name
        decided = judge["agreement_consistent"]["value"]
        assert decided == near(expected[f"{name}_decided_accuracy"]), name
        consistency = judge["position_consistency"]["value"]
        assert consistency == pytest.approx(1 - expected[f"{name}_order_inconsistent"]["value"])


async def test_people_and_gpt4_on_mt_bench(client: httpx.AsyncClient) -> None:
    expected = reference("mtbench_human")
    made = await report(client, "mtbench_human", group_by="metadata.turn")
    human = made["human"]
    assert human["krippendorff_alpha"]["value"] == pytest.approx(0.4855, abs=1e-4)
    assert human["krippendorff_alpha"]["value"] == near(expected["human_alpha_nominal"])
    assert human["fleiss_kappa"]["value"] == near(expected["human_fleiss_generalised"])
    assert human["percent_agreement"]["value"] == near(expected["human_agreement_3way"])
    assert (human["annotators"], human["labels"]) == (65, 3355)
    gpt4 = judges(made)["gpt-4-pair"]
    assert gpt4["agreement"]["value"] == near(expected["gpt4_decided_accuracy"])
    assert gpt4["agreement"]["n"] == 1078
    assert gpt4["agreement_three_way"]["value"] == near(expected["gpt4_with_ties_agreement"])
    assert gpt4["cohens_kappa"]["value"] == near(expected["gpt4_ties_excluded_cohen_kappa"])
    kappa = gpt4["cohens_kappa_three_way"]
    assert kappa["value"] == near(expected["gpt4_with_ties_cohen_kappa"])
    # by question, as the groups are: .460 to .547, wider than the .473 to .536 by pair
    assert kappa["low"] == pytest.approx(0.460, abs=0.01)
    assert kappa["high"] == pytest.approx(0.547, abs=0.01)
    inconsistent = expected["gpt4_inconsistent_1814"]["value"]
    assert gpt4["position_consistency"]["value"] == pytest.approx(1 - inconsistent)
    for part in made["groups"]:
        turn = judges(part)["gpt-4-pair"]
        of_turn = expected[f"gpt4_turn{part['group']}_cohen_kappa"]
        assert turn["cohens_kappa_three_way"]["value"] == near(of_turn)
    for model in ("GPT-4", "ChatGPT", "LLaMA2", "PaLM2"):
        number = expected[f"llmbar_{model}_vanilla_norules_decided_accuracy"]
        found = judges(made)[f"llmbar:{model}/Vanilla_NoRules"]["agreement_consistent"]
        assert (found["value"], found["n"]) == (near(number), number["n"])


async def test_every_published_accuracy_of_instruction_following(
    client: httpx.AsyncClient,
) -> None:
    """491 accuracies of 65 judges on 12 subsets, and how many verdicts kept to both orders."""
    table = published("llmbar/published_statistics.json")
    made = await report(client, "llmbar", group_by="subset")
    by_subset = {part["group"]: judges(part) for part in made["groups"]}
    checked = 0
    for subset, rows in table["statistics"].items():
        for name, numbers in rows.items():
            judge = by_subset[subset][name]
            accuracy = judge["accuracy_mean_of_orders"]
            percent = 100 * accuracy["value"]
            assert percent == pytest.approx(numbers["correct_average_pct"], abs=0.05), (
                subset,
                name,
            )
            assert accuracy["n"] == 2 * table["pairs"][subset]
            # two unparsed verdicts count as the same there; here they are a failure
            kept = judge["position_consistency"]
            same = round((kept["value"] or 0.0) * kept["n"]) + judge["failures"]
            assert same == numbers["consistent"], (subset, name)
            checked += 1
    assert checked == 491


async def test_people_agree_as_published(client: httpx.AsyncClient) -> None:
    figures = {
        "human_alpha_nominal": "krippendorff_alpha",
        "human_fleiss_generalised": "fleiss_kappa",
        "human_agreement_3way": "percent_agreement",
        "human_agreement_no_ties": "percent_agreement_without_ties",
        "human_leave_one_out": "leave_one_out_agreement",
    }
    for name in ("tulu_human", "pandalm"):
        expected = reference(name)
        human = (await report(client, name))["human"]
        for number, figure in figures.items():
            assert human[figure]["value"] == near(expected[number]), (name, figure)
            assert human[figure]["n"] == expected[number]["n"], (name, figure)


@pytest.mark.parametrize(
    ("name", "scores"),
    [
        ("gpt-3.5-turbo", (0.587919, 0.573623, 0.575538)),
        ("pandalm-7b", (0.573831, 0.574969, 0.574305)),
    ],
)
async def test_pandalms_classifier_scores_follow_from_the_confusion(
    client: httpx.AsyncClient, name: str, scores: tuple[float, float, float]
) -> None:
    """Macro precision, recall and F1 as published to four digits, an unparsed verdict a tie."""
    judge = judges(await report(client, "pandalm"))[name]
    rows = judge["confusion"].values()
    table = np.array([[row["a"], row["b"], row["tie"] + row["failed"]] for row in rows])
    assert tuple(macro_scores(table)) == pytest.approx(scores, abs=1e-6)
    accuracy = reference("pandalm")[f"{name}_accuracy_unparsed_as_tie"]
    assert np.trace(table) / table.sum() == near(accuracy)


async def test_pandalms_three_annotators(client: httpx.AsyncClient) -> None:
    expected = reference("pandalm")
    made = await report(client, "pandalm")
    kappas = {
        "_".join(couple["annotators"]): couple["cohens_kappa"]["value"]
        for couple in made["human"]["annotator_pairs"]
    }
    assert set(kappas) == {"1_2", "1_3", "2_3"}
    for couple, kappa in kappas.items():
        assert kappa == near(expected[f"cohen_kappa_{couple}"])
    gpt35 = judges(made)["gpt-3.5-turbo"]
    assert gpt35["agreement"]["value"] == near(expected["gpt-3.5-turbo_decided_accuracy"])
    assert gpt35["failures"] == 25
    assert gpt35["coverage"] == pytest.approx(974 / 999)


async def test_pandalms_annotators(client: httpx.AsyncClient) -> None:
    human = (await report(client, "pandalm"))["human"]
    kappas = {
        tuple(couple["annotators"]): couple["cohens_kappa"] for couple in human["annotator_pairs"]
    }
    expected = {("1", "2"): 0.85, ("1", "3"): 0.88, ("2", "3"): 0.86}
    assert {pair: round(one["value"], 2) for pair, one in kappas.items()} == expected
    assert all(one["low"] < one["value"] < one["high"] for one in kappas.values())


async def test_gpt4_is_right_the_more_people_agree(client: httpx.AsyncClient) -> None:
    expected = reference("mtbench_human")
    made = await report(client, "mtbench_human", judges="gpt-4-pair")
    gpt4 = judges(made)["gpt-4-pair"]
    rows = {row["difficulty"]: row["agreement"] for row in gpt4["by_difficulty"]}
    for difficulty, number in (("unanimous", "unanimous_2plus"), ("single_vote", "single_vote"),
                               ("split", "split")):  # fmt: skip
        accuracy = expected[f"gpt4_decided_accuracy_{number}"]
        assert (rows[difficulty]["value"], rows[difficulty]["n"]) == (near(accuracy), accuracy["n"])
    assert gpt4["fall_with_difficulty"]["low"] > 0.05
    for figure, number in (("cohens_kappa", "gpt4_ties_excluded_cohen_kappa"),
                           ("cohens_kappa_three_way", "gpt4_with_ties_cohen_kappa")):  # fmt: skip
        assert gpt4[figure]["value"] == near(expected[number])


async def test_crowds_of_four_and_five(client: httpx.AsyncClient) -> None:
    expected = reference("llmfao")
    made = await report(client, "llmfao", judges="gpt-4")
    rows = {
        f"{row['for_plurality']}/{row['votes']}": row["agreement"]
        for row in judges(made)["gpt-4"]["by_votes"]
    }
    for votes in ("5/5", "4/5", "3/5", "4/4", "3/4", "2/4"):
        number = expected[f"gpt-4_decided_accuracy_votes_{votes}"]
        assert (rows[votes]["value"], rows[votes]["n"]) == (near(number), number["n"]), votes


async def test_a_health_card_of_a_known_judge(client: httpx.AsyncClient) -> None:
    """That GPT-4 leans to its own answers by about ten points was said of these votes before."""
    asked = {"dataset": "mtbench_human", "judge": "gpt-4-pair", "own": "gpt-4-pair=gpt-4"}
    await imported(client, "mtbench_human")
    answer = await client.get("/v1/reports/health", params=asked)
    assert answer.status_code == 200, answer.text
    lines = {line["name"]: line for line in answer.json()["lines"]}
    own = lines["self_preference"]["figure"]
    assert own["low"] > 0
    assert own["value"] == pytest.approx(0.1, abs=0.03)
    assert lines["agreement"]["outcome"] == "pass"
    assert lines["order_flip_rate"]["figure"]["value"] == pytest.approx(290 / 1814)
    assert lines["position_lean"]["figure"]["n"] == 0  # a flag alone does not say which way
