"""Counters for Prometheus. The names are part of what users build alerts on."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

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
cost_usd_total = Counter(
    "tribunal_cost_usd_total", "Money spent on scores, in USD.", ["judge"], registry=METRICS
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


def exposition() -> bytes:
    """Return the text that Prometheus reads."""
    return generate_latest(METRICS)
