"""A gate decides on prompts that are new to its certificate; this one was made from 0 to 199."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.client import AsyncTribunal
from app.core.settings import Settings
from app.gate import (
    GateResult,
    NotEnoughEvidence,
    NotPreferred,
    OutputsInvalid,
    Question,
    assert_preferred_async,
    check_preferred,
    check_preferred_async,
)
from app.gate.wording import explanation, headline, markdown
from tests.app.gate.capitals import bad, good
from tests.app.gate.conftest import Certified

ALL_KNOWN = 150


def check(service: Certified, new: Any, old: Any, **asked: Any) -> GateResult:
    question = Question(**{"calibration": service.calibration, **asked})
    return check_preferred(service.client, new, old, question)


def stored(service: Certified) -> int:
    return len(list(service.client.judgments.list(limit=1000)))


def test_the_interval_rests_on_the_other_pairs_alone(service_with_certificate: Certified) -> None:
    service = service_with_certificate
    mixed = check(service, good(40, start=180), bad(40, start=180))
    alone = check(service, good(20), bad(20))
    assert mixed.calibration_pairs == 20
    assert mixed.evidence == alone.evidence
    assert (alone.calibration_pairs, alone.evidence.pairs) == (0, 20)
    body = json.loads(json.dumps(mixed.as_json()))
    assert body["calibration_pairs"] == 20
    assert "on 20 pairs (20 calibration pairs left out); over all pairs" in headline(body)
    assert f"20 of 40 pairs are left out: {service.calibration} was made from" in explanation(body)
    assert "| 20 | certified |" in markdown([("mixed", body)])
    assert "left out" not in explanation(alone.as_json())
    assert "labels were given" not in explanation(body)
    later = explanation({**body, "labels_changed": 3})
    assert f"on 3 pairs that {service.calibration} was made from: it rests on" in later


def test_verdicts_the_other_way_on_known_prompts_change_nothing(
    service_with_certificate: Certified,
) -> None:
    new = {**good(20), **bad(ALL_KNOWN, start=0)}
    old = {**bad(20), **good(ALL_KNOWN, start=0)}
    result = check(service_with_certificate, new, old)
    assert (result.outcome, result.calibration_pairs) == ("passed", ALL_KNOWN)


def test_where_no_other_pair_is_left_the_evidence_is_not_enough_and_no_judge_is_asked(
    service_with_certificate: Certified,
) -> None:
    before = stored(service_with_certificate)
    result = check(
        service_with_certificate, good(ALL_KNOWN, start=0), bad(ALL_KNOWN, start=0), about="people"
    )
    assert (result.outcome, result.calibration_pairs) == ("not_enough_evidence", ALL_KNOWN)
    assert (result.evidence.pairs, result.evidence.win_rate) == (0, None)
    assert (result.evidence.low, result.evidence.high, result.people_low) == (0.0, 1.0, None)
    said = explanation(result.as_json())
    assert f"{ALL_KNOWN} of {ALL_KNOWN} pairs are left out" in said
    assert "no pair is left: give outputs to prompts that the certificate does not know" in said
    assert "with probability at least" not in said
    assert stored(service_with_certificate) == before


def test_too_few_others_are_not_enough(service_with_certificate: Certified) -> None:
    result = check(service_with_certificate, good(42, start=160), bad(42, start=160))
    assert (result.outcome, result.calibration_pairs) == ("not_enough_evidence", 40)
    assert result.evidence.pairs == 2


def test_identical_outputs_on_known_prompts_are_left_out_too(
    service_with_certificate: Certified,
) -> None:
    """Else what is left would have more ties than the prompts have."""
    new = {**good(20), **good(30, start=0)}
    old = {**bad(20), **good(30, start=0)}
    result = check(service_with_certificate, new, old)
    assert (result.identical, result.evidence.ties, result.calibration_pairs) == (0, 0, 30)


def test_a_prompt_is_known_however_it_is_typed(service_with_certificate: Certified) -> None:
    new = {asked.upper() + "!!": text for asked, text in good(10, start=0).items()}
    old = {asked.upper() + "!!": text for asked, text in bad(10, start=0).items()}
    assert check(service_with_certificate, new, old).calibration_pairs == 10


def test_more_prompts_than_one_request_holds(service_with_certificate: Certified) -> None:
    result = check(service_with_certificate, good(300, start=100), bad(300, start=100))
    assert (result.calibration_pairs, result.evidence.wins) == (100, 200)


def test_without_a_certificate_every_pair_counts(service_with_certificate: Certified) -> None:
    new, old = good(10, start=0), bad(10, start=0)
    result = check(service_with_certificate, new, old, calibration=None, cascade="default")
    assert (result.calibration_pairs, result.evidence.pairs) == (0, 10)


@pytest.fixture
async def awaited(service_with_certificate: Certified) -> AsyncIterator[AsyncTribunal]:
    settings = Settings(database_url=service_with_certificate.database_url)
    async with AsyncTribunal(settings=settings) as client:
        yield client


async def test_the_awaited_gate_says_the_same(
    awaited: AsyncTribunal, service_with_certificate: Certified
) -> None:
    new, old = good(40, start=180), bad(40, start=180)
    question = Question(calibration=service_with_certificate.calibration)
    result = await check_preferred_async(awaited, new, old, question)
    assert result == check(service_with_certificate, new, old)
    free = await check_preferred_async(awaited, new, old, Question(cascade="default"))
    assert (free.calibration_pairs, free.promise) == (0, "none")


async def test_the_awaited_assertion(
    awaited: AsyncTribunal, service_with_certificate: Certified
) -> None:
    asked: dict[str, Any] = {
        "calibration": service_with_certificate.calibration,
        "tribunal": awaited,
    }
    result = await assert_preferred_async(good(40), bad(40), **asked)
    assert result.outcome == "passed"
    with pytest.raises(NotPreferred):
        await assert_preferred_async(bad(40), good(40), **asked)
    with pytest.raises(NotEnoughEvidence):
        await assert_preferred_async(good(2), bad(2), **asked)
    with pytest.raises(OutputsInvalid):
        await assert_preferred_async(good(2), bad(3), **asked)
