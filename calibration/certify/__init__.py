"""Thresholds with a guarantee: `certify_cascade` and what it returns."""

from __future__ import annotations

from calibration.certify.certificate import Certificate, RiskBound, TestedPath
from calibration.certify.certify import CertifyOptions, certify_cascade
from calibration.certify.columns import Decisions, Heard, Pairs, Rule, asked_by, heard
from calibration.certify.evidence import Counts, shared_counts
from calibration.certify.panel import FirstVotes, Panel
from calibration.certify.paths import (
    LARGE,
    LEARNING_SHARES,
    STARTS_LARGE,
    default_shares,
    stacked_starts,
)
from calibration.certify.preferences import certify_pairs, certify_preferences, stacked_evidence
from calibration.certify.prepare import METHODS, Method, risk_before_shift, with_set_aside
from calibration.certify.slices import decide_in_slices

__all__ = [
    "LARGE",
    "LEARNING_SHARES",
    "METHODS",
    "STARTS_LARGE",
    "Certificate",
    "CertifyOptions",
    "Counts",
    "Decisions",
    "FirstVotes",
    "Heard",
    "Method",
    "Pairs",
    "Panel",
    "RiskBound",
    "Rule",
    "TestedPath",
    "asked_by",
    "certify_cascade",
    "certify_pairs",
    "certify_preferences",
    "decide_in_slices",
    "default_shares",
    "heard",
    "risk_before_shift",
    "shared_counts",
    "stacked_evidence",
    "stacked_starts",
    "with_set_aside",
]
