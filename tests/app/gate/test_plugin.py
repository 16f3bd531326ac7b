"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.app.gate.conftest import Certified

pytest_plugins = ["pytester"]

TESTS = """
from tests.app.gate.capitals import bad, good

def test_better(assert_preferred):
    assert assert_preferred(good(40), bad(40), CALIBRATION).evidence.wins == 40

def test_worse(assert_preferred):
    assert_preferred(bad(40), good(40), CALIBRATION)

def test_too_few(assert_preferred):
    assert_preferred(good(2), bad(2), CALIBRATION)
"""


@pytest.fixture
def gates(
    pytester: pytest.Pytester,
    folder: Path,
    service_with_certificate: Certified,
    monkeypatch: pytest.MonkeyPatch,
) -> pytest.Pytester:
    monkeypatch.chdir(pytester.path)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    calibration = f"calibration={service_with_certificate.calibration!r}"
    pytester.makepyfile(TESTS.replace("CALIBRATION", calibration))
    return pytester


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    # the run around this one has loaded the plugin already
    quiet = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
    return pytester.runpytest_inprocess("-p", "app.pytest_plugin", *quiet, *options)


def test_the_third_result_is_shown_apart_and_fails_the_run(gates: pytest.Pytester) -> None:
    result = run(gates)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    outcomes = result.parseoutcomes()
    assert (outcomes["passed"], outcomes["failed"]) == (1, 1)
    assert "1 not enough evidence" in result.stdout.str()
    result.stdout.fnmatch_lines(
        [
            "*preference gates*",
            "*::test_better: passed on the verdicts: the new model wins 100.0% against the old model on 40 pairs*",
            "*::test_worse: failed on the verdicts: *",
            "*certificate cal_*: with probability at least 0.9 at least 90.0% of the verdicts*",
            "*::test_too_few: not enough evidence on the verdicts: *",
            "about 4 pairs such as these would be enough to pass",
        ]
    )


def test_it_may_skip_instead(gates: pytest.Pytester) -> None:
    result = run(gates, "--tribunal-not-enough-evidence", "skip")
    result.assert_outcomes(passed=1, failed=1, skipped=1)
    gates.makeini("[pytest]\ntribunal_not_enough_evidence = skip")
    run(gates).assert_outcomes(passed=1, failed=1, skipped=1)


def test_reports_for_people_and_machines(gates: pytest.Pytester) -> None:
    run(gates, "--tribunal-report", "gates.md", "--junitxml", "junit.xml")
    page = (gates.path / "gates.md").read_text()
    assert page.count("**passed**") == page.count("**failed**") == 1
    assert page.count("**not enough evidence**") == 1
    cases = ET.parse(gates.path / "junit.xml").iter("testcase")
    outcomes = {
        case.get("name"): found.get("value")
        for case in cases
        for found in case.iter("property")
        if found.get("name") == "tribunal.outcome"
    }
    assert outcomes == {
        "test_better": "passed", "test_worse": "failed", "test_too_few": "not_enough_evidence",
    }  # fmt: skip


def test_a_certificate_for_the_whole_run(
    gates: pytest.Pytester, service_with_certificate: Certified
) -> None:
    gates.makepyfile(TESTS.replace(", CALIBRATION", ""))
    without = run(gates)
    assert "give calibration" in without.stdout.str()
    given = run(gates, "--tribunal-calibration", service_with_certificate.calibration)
    assert given.parseoutcomes()["passed"] == 1


def test_the_client_is_a_fixture_and_other_tests_start_no_service(gates: pytest.Pytester) -> None:
    gates.makepyfile("def test_it(tribunal):\n    assert tribunal.get('/readyz')")
    run(gates).assert_outcomes(passed=1)
    gates.makepyfile("def test_it():\n    assert True")
    result = run(gates, "--tribunal-server", "127.0.0.1:9")
    result.assert_outcomes(passed=1)
    assert "preference gates" not in result.stdout.str()


def test_another_reaction_is_bad_usage(gates: pytest.Pytester) -> None:
    result = run(gates, "--tribunal-not-enough-evidence", "shrug")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "fail or skip, not 'shrug'" in result.stderr.str()


FAULTS = """
def test_unknown(assert_preferred):
    assert_preferred({"a": "x"}, {"a": "y"}, calibration="cal_none")

def test_no_question(assert_preferred):
    assert_preferred({"a": "x"}, {"a": "y"})

def test_no_file(assert_preferred):
    assert_preferred("none.json", {"a": "y"}, cascade="default")
"""


def test_what_keeps_a_gate_from_an_answer_is_one_line(
    gates: pytest.Pytester, service_with_certificate: Certified
) -> None:
    gates.makepyfile(FAULTS)
    result = run(gates)
    result.assert_outcomes(failed=3)
    place = service_with_certificate.database_url.removeprefix("sqlite:///")
    result.stdout.fnmatch_lines(
        [
            "*_ test_unknown _*",
            "assert_preferred: 404: there is no calibration 'cal_none'; there is 'cal_*; looked into "
            f"{place} (DATABASE_URL names another database, *",
            "*_ test_no_question _*",
            "assert_preferred: give calibration, *",
            "*_ test_no_file _*",
            "assert_preferred: new (none.json): No such file or directory",
            "*short test summary info*",
        ],
        consecutive=True,
    )


def test_a_database_that_was_not_there_is_called_empty(
    gates: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/other.db")
    gates.makepyfile(FAULTS)
    result = run(gates, "-k", "unknown")
    result.stdout.fnmatch_lines([f"*looked into {tmp_path}/other.db, which was not there *"])


def test_pairs_that_the_certificate_knows_are_shown(
    gates: pytest.Pytester, service_with_certificate: Certified
) -> None:
    gates.makepyfile(
        "from tests.app.gate.capitals import bad, good\n"
        "def test_it(assert_preferred):\n"
        "    new, old = good(40, start=180), bad(40, start=180)\n"
        f"    assert_preferred(new, old, calibration={service_with_certificate.calibration!r})\n"
    )
    result = run(gates, "--junitxml", "junit.xml")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["*test_it: passed on the verdicts: *(20 calibration pairs left out)*"]
    )
    found = [one.attrib for one in ET.parse(gates.path / "junit.xml").iter("property")]
    assert {"name": "tribunal.calibration_pairs", "value": "20"} in found
