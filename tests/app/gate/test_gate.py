from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from app.client import Conflict, InProcessTransport, NotFound, Tribunal
from app.core.settings import Settings
from app.gate import (
    GateResult,
    NotEnoughEvidence,
    NotPreferred,
    OutputsInvalid,
    Question,
    assert_preferred,
    check_preferred,
)
from app.gate.wording import explanation, markdown
from tests.app.gate.capitals import bad, good
from tests.app.gate.conftest import Certified


def check(service: Certified, new: Any, old: Any, **asked: Any) -> GateResult:
    question = Question(**{"calibration": service.calibration, **asked})
    return check_preferred(service.client, new, old, question)


def test_three_results(service_with_certificate: Certified) -> None:
    service = service_with_certificate
    assert check(service, good(40), bad(40)).outcome == "passed"
    assert check(service, bad(40), good(40)).outcome == "failed"
    half = {**good(4), **bad(4, start=700)}
    other = {**bad(4), **good(4, start=700)}
    assert check(service, half, other).outcome == "not_enough_evidence"


def test_swapping_the_models_mirrors_the_answer(service_with_certificate: Certified) -> None:
    new = {**good(30), **bad(10, start=800)}
    old = {**bad(30), **good(10, start=800)}
    one = check(service_with_certificate, new, old).evidence
    other = check(service_with_certificate, old, new).evidence
    assert (one.wins, one.losses) == (other.losses, other.wins) == (30, 10)
    assert one.low == pytest.approx(1 - other.high)


def test_identical_outputs_are_ties_that_nobody_is_asked_about(
    service_with_certificate: Certified,
) -> None:
    result = check(service_with_certificate, good(20), good(20))
    assert (result.identical, result.evidence.ties, result.evidence.win_rate) == (20, 20, 0.5)
    assert result.cost_usd == 0
    assert result.outcome == "not_enough_evidence"


def test_several_outputs_to_one_prompt_are_one_group(service_with_certificate: Certified) -> None:
    new = {asked: [text] * 5 for asked, text in good(6).items()}
    old = {asked: [text] * 5 for asked, text in bad(6).items()}
    result = check(service_with_certificate, new, old)
    assert (result.evidence.pairs, result.evidence.groups) == (30, 6)
    alone = check(service_with_certificate, good(6), bad(6))
    assert result.evidence.low == pytest.approx(alone.evidence.low)


def test_about_people_every_verdict_is_charged_what_the_certificate_allows(
    service_with_certificate: Certified,
) -> None:
    by_verdicts = check(service_with_certificate, good(100), bad(100))
    by_people = check(service_with_certificate, good(100), bad(100), about="people")
    assert by_verdicts.people_low == by_people.evidence.low
    assert by_people.evidence.low == pytest.approx(by_verdicts.evidence.low - 0.1)
    assert "people prefer it: that" not in explanation(by_verdicts.as_json())
    high = check(service_with_certificate, good(100), bad(100), about="people", min_win=0.95)
    assert high.outcome == "not_enough_evidence"
    assert "with the 10.0% errors that the certificate allows taken off" in explanation(
        high.as_json()
    )


def test_verdicts_that_pass_and_leave_people_open_say_so_in_the_first_line(
    service_with_certificate: Certified,
) -> None:
    result = check(service_with_certificate, good(100), bad(100), min_win=0.95)
    assert result.people_low is not None
    assert (result.outcome, result.people_low < 0.95) == ("passed", True)
    first = explanation(result.as_json()).splitlines()[0]
    assert first.startswith("passed on the verdicts: ")
    assert f"does not show that people prefer it: that is at least {result.people_low:.1%}" in first


def test_more_pairs_than_one_request_holds(service_with_certificate: Certified) -> None:
    result = check(service_with_certificate, good(300), bad(300))
    assert result.evidence.wins == 300


class Suspending(InProcessTransport):
    """The service whose answers are changed on the way: its promises are suspended."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        body = json.loads(await response.aread())
        if "verdicts" in body:
            verdicts = [{**verdict, "promise": "suspended"} for verdict in body["verdicts"]]
            body = {"verdicts": verdicts, "suspended_because": "student failed on 3 of 5 pairs"}
        return httpx.Response(response.status_code, json=body)


def test_a_suspended_promise_is_no_evidence(service_with_certificate: Certified) -> None:
    settings = Settings(database_url=service_with_certificate.database_url)
    with Tribunal(transport=Suspending(settings)) as client:
        question = Question(calibration=service_with_certificate.calibration)
        result = check_preferred(client, good(40), bad(40), question)
    assert result.outcome == "not_enough_evidence"
    assert result.people_low is None
    assert "student failed on 3 of 5 pairs" in explanation(result.as_json())


def test_without_a_certificate_the_answer_says_so(service_with_certificate: Certified) -> None:
    result = check(service_with_certificate, good(40), bad(40), calibration=None, cascade="default")
    assert (result.outcome, result.promise, result.people_low) == ("passed", "none", None)
    assert "promise nothing" in explanation(result.as_json())


def test_a_certificate_that_promises_no_probability_is_no_evidence(
    service_with_certificate: Certified,
) -> None:
    made = service_with_certificate.client.certify(
        dataset="capitals", cascade={"judges": ["student"]}, target_agreement=0.8, method="average"
    )
    result = check(service_with_certificate, good(40), bad(40), calibration=made["id"])
    assert (result.outcome, result.promise) == ("not_enough_evidence", "none")
    assert "promises nothing (it is not certified, or its method" in explanation(result.as_json())


def test_a_refusal_of_the_service_is_an_error_and_no_result(
    service_with_certificate: Certified,
) -> None:
    with pytest.raises(NotFound):
        check(service_with_certificate, good(3), bad(3), calibration="cal_none")
    client = service_with_certificate.client
    made = client.certify(dataset="capitals", cascade={"judges": ["student"]}, target_agreement=0.8)
    client.post(f"/v1/calibrations/{made['id']}/revoke")
    with pytest.raises(Conflict):
        check(service_with_certificate, good(3), bad(3), calibration=made["id"])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "certificate"),
        ({"calibration": "c", "cascade": "d"}, "certificate"),
        ({"calibration": "c", "min_win": 1.0}, "min_win"),
        ({"calibration": "c", "alpha": 0.5}, "alpha"),
        ({"calibration": "c", "about": "everybody"}, "about"),
        ({"cascade": "default", "about": "people"}, "only a certificate"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Question(**asked)


def test_as_an_assertion(service_with_certificate: Certified) -> None:
    client, calibration = service_with_certificate.client, service_with_certificate.calibration
    result = assert_preferred(good(40), bad(40), calibration=calibration, tribunal=client)
    assert result.evidence.wins == 40
    with pytest.raises(NotPreferred, match=r"at least 90\.0% of the verdicts given agree"):
        assert_preferred(bad(40), good(40), calibration=calibration, tribunal=client)
    with pytest.raises(NotEnoughEvidence, match="about 4 pairs such as these"):
        assert_preferred(good(2), bad(2), calibration=calibration, tribunal=client)
    with pytest.raises(OutputsInvalid):
        assert_preferred(good(2), bad(3), calibration=calibration, tribunal=client)


def test_a_report_in_markdown_has_a_row_and_a_reason_each(
    service_with_certificate: Certified,
) -> None:
    body = check(service_with_certificate, bad(40), good(40)).as_json()
    page = markdown([("a | b", json.loads(json.dumps(body)))])
    row = next(line for line in page.splitlines() if "**failed**" in line)
    assert row.startswith("| a \\| b | **failed** | 0.0% | 0.0% |")
    assert service_with_certificate.calibration in page
