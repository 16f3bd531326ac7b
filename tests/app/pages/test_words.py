"""What pages word and draw by themselves: numbers, moments, differences, charts without a value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.pages import charts
from app.pages.pairs import _marked, _sides, _strip
from app.pages.results import _nodes
from app.pages.words import (
    NONE,
    conversation,
    duration,
    general,
    number,
    percents,
    rounded,
    standing,
    when,
)

Json = dict[str, Any]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, NONE), (float("inf"), NONE), (0, "0"), (-0.5, "−0.5"), (1e-7, "1.00 × 10⁻⁷")],
)
def test_a_number_of_any_size_is_short(value: float | None, text: str) -> None:
    assert rounded(value) == text


def test_what_is_not_known_is_a_dash() -> None:
    none: Json = {"value": None, "low": None, "high": None}
    found = (
        number(None),
        general(None),
        percents(None),
        percents(none),
        when(None),
        duration(None),
    )
    assert set(found) == {NONE}
    assert percents({"value": 0.5, "low": None, "high": None}) == "50.0\u00a0%"
    assert percents({"value": 0.5, "low": 0.25, "high": 0.75}) == "50.0\u00a0% (25.0 to 75.0)"


def test_a_moment_is_read_in_any_spelling() -> None:
    moment = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    spelt = ("2026-01-02T03:04:00Z", moment.timestamp(), moment, "2026-01-02T05:04:00+02:00")
    assert {when(one) for one in spelt} == {
        '<time datetime="2026-01-02T03:04:00Z">2026-01-02 03:04</time>'
    }


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"revoked_at": "2026-01-02T03:04:00Z"}, "revoked"),
        ({"expires_at": "2026-01-02T03:04:00Z"}, "expired"),
        ({"expires_at": (datetime.now(UTC) + timedelta(days=1)).isoformat()}, "certified"),
        ({"suspended_because": "an alarm"}, "suspended"),
        ({}, "certified"),
    ],
)
def test_a_certificate_is_worth_what_it_is_now(more: Json, said: str) -> None:
    assert standing({"status": "certified", "revoked_at": None, **more}) == said


def test_the_turns_of_a_pair_are_shown_in_any_form() -> None:
    turn = {"role": "system", "content": "Be brief."}
    assert conversation({"messages": [turn]}) == [turn]
    assert conversation({"prompt": ["one", "two"]}) == [
        {"role": "user", "content": "one"}, {"role": "user", "content": "two"},
    ]  # fmt: skip
    assert conversation({}) == []
    several = {"responses_a": ["x", "y"], "responses_b": ["z", "w"]}
    assert _sides(several) == [["x", "y"], ["z", "w"]]
    assert _sides({"response_a": "x"}) == [["x"], []]


def test_differences_of_long_texts_are_marked_by_line_or_not_at_all() -> None:
    lines = [f"line {n} of many words\n" for n in range(1_000)]
    own, other = "".join(lines), "".join([*lines[:-1], "the last one <differs>\n"])
    assert _marked(other, own, "ins").endswith("<ins>the last one &lt;differs&gt;\n</ins>")
    # too many lines to be compared
    many = "a word\n" * 3_000
    assert _marked(many + "<more>", many, "ins") == many + "&lt;more&gt;"


@pytest.mark.parametrize(
    ("annotators", "p_a", "words"),
    [
        ([], None, None),
        ([], 0.7, "x: 1 answers, mean 0.700 for A"),
        ([[0.8, None]], 0.8, "x: 1 answers, mean 0.800 for A"),
        ([[None, None]], None, None),
    ],
)
def test_a_judge_is_drawn_by_the_answers_that_it_gave(
    annotators: list[list[float | None]], p_a: float | None, words: str | None
) -> None:
    drawn = _strip({"judge": "x", "annotators": annotators, "p_a": p_a})
    assert (words in drawn) if words and drawn else drawn is words


def share(value: float | None, *ends: float) -> Json:
    low, high = ends or (None, None)
    return {"value": value, "low": low, "high": high, "n": 10}


def test_charts_leave_out_what_has_no_value() -> None:
    node = {"coverage": 0.5, "agreement": 0.9, "bound": 0.8, "title": "node"}
    silent = {**node, "coverage": 0.0, "agreement": None}
    found = charts.frontier([silent, node, {**node, "bound": None}], 0.85, 1)
    assert found.count("<circle") == 2
    assert found.count('class="whisker"') == 1
    assert 'data-dot="0"' not in found
    assert 'class="dot chosen" data-dot="1"' in found
    assert charts.frontier([silent], 0.85, None) == ""
    points = [("then", share(0.7, 0.6, 0.8)), ("later", share(None)), ("now", share(0.8))]
    found = charts.series(points, "agreement")
    assert (found.count("<circle"), found.count('class="whisker"')) == (2, 1)
    assert 'class="curve"' in found
    alone = charts.series(points[:1], "agreement")
    assert 'class="curve"' not in alone
    curve = [{"coverage": c, "risk": share(r)} for c, r in ((0.5, 0.1), (1.0, 0.2))]
    certified = {"coverage": 0.6, "risk": 0.12, "upper_bound": None}
    found = charts.risk_coverage(curve, certified)
    assert "certified: answers 60 %, 12 % disagree</title>" in found
    assert "proven at most 20 %" in charts.risk_coverage(curve, {**certified, "upper_bound": 0.2})


def test_the_slider_of_a_certificate_holds_the_bounds_beside_its_own() -> None:
    figures = {
        "coverage": 0.5, "agreement": 0.9, "agreement_lower_bound": 0.8, "cost_per_pair": 1.0,
    }  # fmt: skip
    bound = {"coverage": 0.8, "answered": 10, "disagreements": 2, "agreement_lower_bound": 0.7}
    bounds = [bound, {**bound, "coverage": 0.0, "answered": 0, "disagreements": 0}]
    body = {
        "status": "certified", "target_agreement": 0.9, "max_error": None,
        "calibration": {**figures, "bounds": bounds},
    }  # fmt: skip
    nodes, chosen = _nodes(body)
    assert [(one["coverage"], one["agreement"]) for one in nodes] == [
        (0.0, None), (0.5, 0.9), (0.8, 0.8),
    ]  # fmt: skip
    assert chosen == 1
    assert _nodes({**body, "status": "not_certifiable"})[1] is None
