"""Logs and metrics.

Tracebacks show no values of variables: those may be people's texts or passwords.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily

from app.core.outages import in_words
from app.core.settings import Settings


def configure_logging(settings: Settings) -> None:
    """Send all logs to standard error, as JSON if the settings say so."""
    renderers: list[structlog.typing.Processor] = (
        [
            structlog.processors.ExceptionRenderer(_traceback_of),
            structlog.processors.JSONRenderer(),
        ]
        if settings.log_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=_write_traceback
            )
        ]
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    # what cannot be written would be printed with all that it repeats
    logging.raiseExceptions = False
    root = logging.getLogger()
    root.handlers = [handler]
    # it logs every retry of every call; the outcomes are counted and reported once
    logging.getLogger("stamina").setLevel(logging.ERROR)
    root.setLevel(settings.log_level.upper())
    for noisy in ("httpx", "httpcore", "aiosqlite", "alembic.runtime.plugins"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _write_traceback(out: TextIO, exc_info: Any) -> None:
    out.write("\n" + _traceback_of(exc_info))


def _traceback_of(exc_info: Any) -> str:
    """Write an error, the lines it passed, and what it came from."""
    return "\n".join(_lines_of(exc_info[1]))


def _lines_of(error: BaseException) -> Iterator[str]:
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _lines_of(before)
        yield "after which came:"
    yield "".join(traceback.format_tb(error.__traceback__)).rstrip() or "no traceback"
    yield in_words(error)
    if isinstance(error, BaseExceptionGroup):
        for number, one in enumerate(error.exceptions, 1):
            yield f"{number}:"
            yield from (f"    {line}" for line in _lines_of(one))


METRICS = CollectorRegistry()

requests_total = Counter(
    "tribunal_http_requests_total", "Requests by route and status.", ["route", "status"],
    registry=METRICS,
)  # fmt: skip
verdicts_total = Counter(
    "tribunal_verdicts_total", "Verdicts by status and promise; in batches it is pending until they have ended.", ["status", "promise"],
    registry=METRICS,
)  # fmt: skip
scores_total = Counter(
    "tribunal_scores_total", "Scores obtained by judge and outcome.", ["judge", "outcome"],
    registry=METRICS,
)  # fmt: skip
reasons_total = Counter(
    "tribunal_reasons_total",
    "Reasons asked for by judge and outcome: ok, contradicts, or why none came.",
    ["judge", "outcome"],
    registry=METRICS,
)
cost_usd_total = Counter(
    "tribunal_cost_usd_total",
    "Money spent on scores and reasons, in USD, as far as it is known.",
    ["judge"],
    registry=METRICS,
)
batches_total = Counter(
    "tribunal_batches_total", "Batches that ended, by status and what their verdicts promise.",
    ["status", "promise"], registry=METRICS,
)  # fmt: skip
tokens_total = Counter(
    "tribunal_tokens_total",
    "Tokens by judge: prompt, those of it served from a prefix cache, and completion.",
    ["judge", "kind"],
    registry=METRICS,
)
request_seconds = Histogram(
    "tribunal_http_request_seconds", "Time to answer, by route.", ["route"], registry=METRICS
)


def exposition(
    batches: Iterable[Mapping[str, Any]] = (), monitors: Iterable[Mapping[str, Any]] = ()
) -> bytes:
    """Return the text that Prometheus reads.

    Args:
        batches: Those that run, as users see them.
        monitors: Those that watch, as users see them.
    """
    families = [*_progress(batches), *_watched(monitors)]
    return generate_latest(METRICS) + generate_latest(_Gauges(families))


class _Gauges(CollectorRegistry):
    """Values that are read where they are stored, whichever process made them."""

    def __init__(self, families: Sequence[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Yield the values."""
        yield from self._families


def _progress(batches: Iterable[Mapping[str, Any]]) -> list[Metric]:
    pairs = GaugeMetricFamily(
        "tribunal_batch_pairs", "Pairs of each unfinished batch.", labels=["batch", "status"]
    )
    judges = GaugeMetricFamily(
        "tribunal_batch_judge_pairs",
        "Pairs of each unfinished batch that a judge was asked about, answered, failed on, or was asked"
        " about when a worker stopped (cut_off).",
        labels=["batch", "judge", "outcome"],
    )
    cost = GaugeMetricFamily(
        "tribunal_batch_cost_usd",
        "Cost of each unfinished batch so far, in USD; none where it is unknown.",
        labels=["batch"],
    )
    rate = GaugeMetricFamily(
        "tribunal_batch_pairs_per_second", "Speed of each unfinished batch.", labels=["batch"]
    )
    for batch in batches:
        named, counts, progress = batch["id"], batch["request_counts"], batch["progress"]
        waiting = counts["total"] - counts["completed"] - counts["failed"]
        for status, count in (*_outcomes(counts), ("waiting", waiting)):
            pairs.add_metric([named, status], count)
        for tier in progress["tiers"]:
            for outcome in ("asked", "accepted", "failed"):
                judges.add_metric([named, tier["judge"], outcome], tier[outcome])
            if cut_off := tier.get("cut_off"):
                judges.add_metric([named, tier["judge"], "cut_off"], cut_off)
        for family, value in ((cost, batch["cost_usd"]), (rate, progress["pairs_per_second"])):
            if value is not None:
                family.add_metric([named], value)
    return [pairs, judges, cost, rate]


def _watched(monitors: Iterable[Mapping[str, Any]]) -> list[Metric]:
    labels = ["monitor", "calibration"]
    evidence = GaugeMetricFamily(
        "tribunal_monitor_e_value", "Evidence that the promise is broken.", labels=labels
    )
    risk = GaugeMetricFamily(
        "tribunal_monitor_risk", "Share of audited verdicts that people disagree with.",
        labels=labels,
    )  # fmt: skip
    alarm = GaugeMetricFamily(
        "tribunal_monitor_alarm", "1 where the alarm was raised.", labels=labels
    )
    audits = GaugeMetricFamily(
        "tribunal_monitor_audits", "Audits of accepted verdicts.", labels=[*labels, "state"]
    )
    canaries = GaugeMetricFamily(
        "tribunal_monitor_canary_e_value", "Evidence that a judge has changed.", labels=labels
    )
    for one in monitors:
        named = [one["id"], one["calibration"]]
        canaries.add_metric(named, one["canaries"]["e_value"])
        evidence.add_metric(named, one["e_value"])
        alarm.add_metric(named, float(one["alarm"] is not None))
        if one["risk"]["value"] is not None:
            risk.add_metric(named, one["risk"]["value"])
        for state in ("drawn", "answered"):
            audits.add_metric([*named, state], one["audits"][state])
    return [evidence, risk, alarm, audits, canaries]


def _outcomes(counts: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    for status in ("accepted", "abstained", "failed"):
        yield status, counts[status]
