"""The prompts: right answers are right, flawed ones are flawed as claimed."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest

from examples.flaws import SEVERITY, flaws_possible
from examples.sources import FOLDER, WRITTEN_FLAWS, Prompt, load_prompts, whole_number

WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
EQUATION = re.compile(r"(\d+(?: [-+*/] \d+)+) = (\d+)")


def entries(task: str) -> list[dict[str, Any]]:
    source = tomllib.loads((FOLDER / f"{task}.toml").read_text(encoding="utf-8"))
    listed: list[dict[str, Any]] = source["prompt"]
    return listed


def runs(code: str, check: str) -> bool:
    names: dict[str, Any] = {}
    try:
        exec(code, names)
        exec(check, names)
    except (AssertionError, AttributeError, TypeError, IndexError, ZeroDivisionError):
        return False
    return True


def of_task(prompts: list[Prompt], task: str) -> list[Prompt]:
    return [prompt for prompt in prompts if prompt.task == task]


def test_groups_are_unique_and_most_tasks_are_written_out(prompts: list[Prompt]) -> None:
    assert len({prompt.group for prompt in prompts}) == len(prompts)
    assert sum(not prompt.is_template for prompt in prompts) >= 120


def test_no_text_is_blank_or_left_with_an_open_slot(prompts: list[Prompt]) -> None:
    for prompt in prompts:
        flawed = [text for texts in prompt.written.values() for text in texts]
        texts = [prompt.text, *prompt.answers, *flawed]
        assert all(text.strip() == text != "" for text in texts)
        assert len(set(texts)) == len(texts)
        if prompt.is_template:
            assert not any(re.search(r"[{}]", text) for text in [*texts, prompt.input or ""])


def test_every_answer_can_be_spoilt_in_several_ways(prompts: list[Prompt]) -> None:
    for prompt in prompts:
        for wording in range(len(prompt.answers)):
            possible = flaws_possible(prompt, wording)
            assert {"refusal", "off_topic", "empty"} < set(possible) <= set(SEVERITY)
            assert set(possible) & set(WRITTEN_FLAWS)


def test_arithmetic_answers_are_what_the_formula_gives(prompts: list[Prompt]) -> None:
    for prompt in of_task(prompts, "arithmetic"):
        expression, answer = str(prompt.facts["expression"]), prompt.facts["answer"]
        assert eval(expression) == answer
        known = set(re.findall(r"\d+", prompt.text))
        fixed = {"1", "2", "3", "100"}
        assert set(re.findall(r"\d+", expression)) <= known | fixed
        assert all(re.search(rf"\b{answer}\b", text) for text in prompt.answers)


def test_arithmetic_slips_change_the_result(prompts: list[Prompt]) -> None:
    for prompt in of_task(prompts, "arithmetic"):
        pairs = zip(prompt.answers, prompt.written["wrong_number"], strict=True)
        for right, wrong in pairs:
            # the same words, other numbers: nothing on the surface gives the slip away
            assert re.sub(r"\d+", "#", right) == re.sub(r"\d+", "#", wrong)
            assert right != wrong
            answer = str(prompt.facts["answer"])
            lost = re.findall(r"\d+", right).count(answer) - re.findall(r"\d+", wrong).count(answer)
            assert lost > 0


def test_every_equation_in_a_right_answer_holds(prompts: list[Prompt]) -> None:
    found = 0
    for prompt in of_task(prompts, "arithmetic"):
        for text in prompt.answers:
            for left, right in EQUATION.findall(text):
                assert eval(left) == int(right), text
                found += 1
    assert found > 100


def test_weekday_answers_are_right_and_the_flawed_ones_wrong(prompts: list[Prompt]) -> None:
    asked = [p for p in prompts if p.group.startswith("reasoning-days-")]
    for prompt in asked:
        today = next(day for day in WEEK if f"today is {day}," in prompt.text)
        days = int(re.findall(r"\d+", prompt.text)[0])
        right = WEEK[(WEEK.index(today) + days) % 7]
        assert prompt.answers[0].startswith(f"{right}.")
        assert not prompt.written["wrong_fact"][0].startswith(f"{right}.")
    assert len(asked) == 6


def test_invoices_add_up_and_the_cheapest_tent_is_cheapest(prompts: list[Prompt]) -> None:
    for prompt in prompts:
        if prompt.group.startswith("extraction-total-"):
            net, tax, gross = map(float, re.findall(r"\d+\.\d\d", prompt.input or ""))
            assert net * 0.2 == tax
            assert net + tax == gross
            assert f"{gross:.2f}" in prompt.answers[0]
        if prompt.group.startswith("extraction-cheapest-"):
            prices = map(int, re.findall(r"\d+", prompt.input or ""))
            assert f"at {min(prices)} euros" in prompt.answers[0]


def test_extracted_facts_stand_in_the_text(prompts: list[Prompt]) -> None:
    for prompt in of_task(prompts, "extraction"):
        assert prompt.input is not None
        for number in re.findall(r"\d[\d .:]*\d", prompt.answers[0].replace("\n", ";")):
            assert number in prompt.input


@pytest.mark.parametrize("entry", entries("code"), ids=lambda entry: str(entry["id"]))
def test_good_code_passes_its_check_and_buggy_code_fails(entry: dict[str, Any]) -> None:
    assert runs(entry["good"], entry["check"])
    assert not runs(entry["bug"], entry["check"])


@pytest.mark.parametrize("entry", entries("instructions"), ids=lambda entry: str(entry["id"]))
def test_good_answers_keep_the_constraint_and_flawed_ones_break_it(entry: dict[str, Any]) -> None:
    def keeps(key: str) -> bool:
        return bool(eval(entry["check"], {"json": json}, {"text": entry[key]}))

    assert keeps("good")
    assert "also_good" not in entry or keeps("also_good")
    assert not keeps("ignores_constraint")


def test_formulas_of_whole_numbers_refuse_everything_else() -> None:
    assert whole_number("(a + 2) * 3 - 7 // 2 % 2", {"a": 4}) == 17
    for formula in ("b + 1", "a / 2", "a ** 2", "abs(a)", "a + 1.5"):
        with pytest.raises(KeyError):
            whole_number(formula, {"a": 4})


def test_prompts_come_in_the_same_order_each_time() -> None:
    assert load_prompts() == load_prompts()
