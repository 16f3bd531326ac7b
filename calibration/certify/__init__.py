"""Thresholds with a guarantee: `certify_cascade` and what it returns."""

from __future__ import annotations

from calibration.certify.certificate import Certificate, RiskBound, TestedPath
from calibration.certify.certify import CertifyOptions, certify_cascade
from calibration.certify.columns import Decisions, Heard, Rule, asked_by
from calibration.certify.evidence import Counts, shared_counts
from calibration.certify.paths import LARGE, default_shares
from calibration.certify.preferences import Pairs, certify_pairs, certify_preferences
from calibration.certify.prepare import METHODS, Method, with_set_aside
from calibration.certify.slices import decide_in_slices

__all__ = [
    "LARGE",
    "METHODS",
    "Certificate",
    "CertifyOptions",
    "Counts",
    "Decisions",
    "Heard",
    "Method",
    "Pairs",
    "RiskBound",
    "Rule",
    "TestedPath",
    "asked_by",
    "certify_cascade",
    "certify_pairs",
    "certify_preferences",
    "decide_in_slices",
    "default_shares",
    "shared_counts",
    "with_set_aside",
]
