"""The pytest plugin: the fixtures `tribunal` and `assert_preferred`, and reports of their results.

A gate has three results. The third, not enough evidence, is neither a pass nor a failure of the
model: it is shown separately, and fails or skips its test as configured.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from app.client import Tribunal
    from app.gate import GateResult

PROPERTY: Final = "tribunal.gate"
_OUTCOME: Final = "tribunal_outcome"
_PLACE: Final = pytest.StashKey[str]()
_REPORTS: Final = pytest.StashKey["GateReports"]()
_COLOURS: Final = {"passed": "green", "failed": "red", "not_enough_evidence": "yellow"}
_ON_TOO_LITTLE: Final = ("fail", "skip")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of a whole run of tests."""
    group = parser.getgroup("tribunal", "gates by certified judges")
    for name, text in {
        "server": "address of a server; none: the service in this process",
        "calibration": "certificate of gates that name none",
        "not-enough-evidence": "whether a gate without enough evidence fails its test (fail, the "
        "default) or skips it (skip)",
    }.items():
        group.addoption(f"--tribunal-{name}", default=None, help=text)
        parser.addini(f"tribunal_{name.replace('-', '_')}", text, default="")
    group.addoption(
        "--tribunal-report", default=None, type=Path, help="write all gates as Markdown here"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Check the options, and start to collect the results of gates."""
    _on_too_little(config)
    reports = GateReports(config)
    config.stash[_REPORTS] = reports
    config.pluginmanager.register(reports, "tribunal-reports")


@pytest.fixture(scope="session")
def tribunal(pytestconfig: pytest.Config) -> Iterator[Tribunal]:
    """A client of the configured server, or of the service in this process."""
    from app.client import Tribunal  # runs without gates need no client

    server = _setting(pytestconfig, "server") or os.environ.get("TRIBUNAL_SERVER")
    pytestconfig.stash[_PLACE] = server or _own_place()
    with Tribunal(server or None, api_key=os.environ.get("TRIBUNAL_API_KEY")) as client:
        yield client


@pytest.fixture
def assert_preferred(
    tribunal: Tribunal, request: pytest.FixtureRequest
) -> Callable[..., GateResult]:
    """The gate `assert_preferred` with this run's client and certificate, kept for the reports.

    `not_enough_evidence` is `fail` or `skip`, by default as configured. A gate that gets no answer
    fails its test with a line that says why.
    """
    from app.gate.check import NotEnoughEvidence, passed

    config = request.config

    def check(
        new: Any, old: Any, *, not_enough_evidence: str | None = None, **asked: Any
    ) -> GateResult:
        __tracebackhide__ = True
        if "calibration" not in asked and "cascade" not in asked:
            asked["calibration"] = _setting(config, "calibration") or None
        reaction = _checked(not_enough_evidence or _on_too_little(config))
        result = _answer(config, tribunal, new, old, asked)
        if isinstance(result, str):
            pytest.fail(f"assert_preferred: {result}", pytrace=False)
        _keep(request, result)
        try:
            return passed(result)
        except NotEnoughEvidence as error:
            if reaction == "skip":
                pytest.skip(str(error))
            raise

    return check


def _answer(
    config: pytest.Config, client: Tribunal, new: Any, old: Any, asked: dict[str, Any]
) -> GateResult | str:
    """Return the result of a gate, or a line that says why no result came back."""
    from app.client import NotFound, TribunalClientError
    from app.gate import OutputsInvalid, Question, check_preferred

    try:
        question = Question(**asked)
    except ValueError as error:
        return str(error)
    try:
        return check_preferred(client, new, old, question)
    except NotFound as error:
        return f"{error}; looked into {config.stash.get(_PLACE, 'the given client')}"
    except (OutputsInvalid, TribunalClientError) as error:
        return str(error)


def _own_place() -> str:
    """Return which database the service in this process will open, and how to name another."""
    from app.core.migrate import database_place, is_missing
    from app.core.settings import Settings

    settings = Settings()
    made = ", which was not there and is empty" if is_missing(settings) else ""
    return (
        f"{database_place(settings)}{made} (DATABASE_URL names another database, "
        "--tribunal-server or TRIBUNAL_SERVER a service)"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Mark the tests that ended because a gate had not enough evidence."""
    report = yield
    if call.excinfo is not None and type(call.excinfo.value).__name__ == "NotEnoughEvidence":
        setattr(report, _OUTCOME, "not_enough_evidence")
    return report


def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport,
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Show the third result separately; it still fails the run of tests."""
    if report.failed and getattr(report, _OUTCOME, None) == "not_enough_evidence":
        return "not enough evidence", "N", ("NOT ENOUGH EVIDENCE", {"yellow": True})
    return None


class GateReports:
    """The results of the gates of all tests, also of those in other processes."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._found: list[tuple[str, dict[str, Any]]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the results of the gates of a test, once its last phase is over."""
        if report.when != "teardown":
            return
        for name, value in report.user_properties:
            if name == PROPERTY:
                self._found.append((report.nodeid, json.loads(str(value))))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print a line for each gate that passed, and an explanation for each other."""
        from app.gate.wording import explanation, headline

        if not self._found:
            return
        terminalreporter.section("preference gates")
        for name, result in self._found:
            is_passed = result["outcome"] == "passed"
            said = headline(result) if is_passed else explanation(result)
            colour = {_COLOURS[result["outcome"]]: True}
            terminalreporter.write_line(f"{name}: {said}", **colour)

    def pytest_sessionfinish(self) -> None:
        """Write the report, once for all processes."""
        from app.gate.wording import markdown

        file: Path | None = self._config.getoption("--tribunal-report")
        if file is not None and not hasattr(self._config, "workerinput"):
            file.write_text(markdown(self._found), encoding="utf-8")


def _keep(request: pytest.FixtureRequest, result: GateResult) -> None:
    """Attach a result to its test, for the reports here and for JUnit's XML."""
    body, evidence = result.as_json(), result.evidence
    request.node.user_properties += [
        (PROPERTY, json.dumps(body)),
        ("tribunal.outcome", result.outcome),
        ("tribunal.promise", result.promise),
        ("tribunal.win_rate", evidence.win_rate),
        ("tribunal.low", evidence.low),
        ("tribunal.high", evidence.high),
        ("tribunal.pairs", evidence.pairs),
        ("tribunal.abstained", evidence.abstained),
        ("tribunal.calibration_pairs", result.calibration_pairs),
    ]


def _setting(config: pytest.Config, name: str) -> str:
    """Return an option of the command line, else of the configuration."""
    given = config.getoption(f"--tribunal-{name}")
    return str(given if given is not None else config.getini(f"tribunal_{name.replace('-', '_')}"))


def _on_too_little(config: pytest.Config) -> str:
    return _checked(_setting(config, "not-enough-evidence") or "fail")


def _checked(reaction: str) -> str:
    if reaction not in _ON_TOO_LITTLE:
        raise pytest.UsageError(f"tribunal: not_enough_evidence is fail or skip, not {reaction!r}")
    return reaction
