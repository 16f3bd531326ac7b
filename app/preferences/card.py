"""The terms that preference data comes with: what was promised, on what, and whether it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.preferences.rows import CALIBRATION_PAIRS

Body = Mapping[str, Any]


def card(
    batch: Body, certificate: Body | None, counts: Mapping[str, int], marked: int
) -> dict[str, Any]:
    """Return the card of a batch.

    Args:
        batch: As users see it.
        certificate: Likewise; None where the batch was judged without one.
        counts: `rows`, and what was left out by reason.
        marked: Rows that are on calibration pairs, and are marked so.
    """
    left_out = {name: count for name, count in counts.items() if name != "rows"}
    total, accepted = (batch["request_counts"][name] for name in ("total", "accepted"))
    return {
        "object": "preferences_card",
        "batch": batch["id"],
        "dataset": batch["dataset"],
        "promise": batch["promise"],
        "suspended_because": batch["suspended_because"],
        "rows": counts["rows"],
        "left_out": left_out,
        "coverage": accepted / total if total else None,
        # of the batch: what the certificate knows is no evidence of agreement
        "calibration_pairs": batch["calibration_pairs"],
        "rows_on_calibration_pairs": marked,
        "certificate": _terms(certificate) if certificate else None,
        "summary": _summary(batch, certificate, counts["rows"]) + _known(counts, marked),
    }


def _terms(certificate: Body) -> dict[str, Any]:
    found = certificate["calibration"]
    names = (
        "id", "status", "target_agreement", "failure_probability", "method", "claim",
        "label_set_hash", "label_set_uses", "fingerprints", "thresholds", "revoked_at",
    )  # fmt: skip
    tested = ("pairs", "groups", "coverage", "agreement", "agreement_lower_bound")
    return {
        **{name: certificate[name] for name in names},
        "calibration": {name: found[name] for name in tested},
    }


def _summary(batch: Body, certificate: Body | None, rows: int) -> str:
    if certificate is None:
        return f"{rows} preferences without a promise: the batch was judged without a certificate"
    if certificate["revoked_at"] is not None:
        return f"{rows} preferences without a promise: the certificate was revoked"
    if batch["promise"] == "suspended":
        return f"{rows} preferences, the promise suspended: {batch['suspended_because']}"
    if batch["promise"] != "certified":
        return f"{rows} preferences without a promise: certification found none that holds"
    return (
        f"{rows} preferences, certified: {certificate['claim']} The promise is on all accepted "
        "verdicts of the batch on pairs that the certificate does not know, ties included."
    )


def _known(counts: Mapping[str, int], marked: int) -> str:
    """Say what the promise is not on, whatever becomes of the rest."""
    known = "pairs that the certificate knows, which it promises nothing of"
    if marked:
        return f" {marked} of the rows are on {known}: they are marked calibration_pair."
    if left_out := counts[CALIBRATION_PAIRS]:
        return f" Left out: {left_out} on {known}."
    return ""


def markdown(body: Body) -> str:
    """Return a card for people to read."""
    lines = [f"# Preferences of {body['batch']}", "", body["summary"], "", "| | |", "|---|---|"]
    flat = {name: value for name, value in body.items() if name not in ("object", "summary")}
    terms = flat.pop("certificate") or {}
    left_out = flat.pop("left_out")
    flat |= {f"left out: {name}": count for name, count in left_out.items()}
    flat |= {f"certificate: {k}": v for k, v in terms.items() if not isinstance(v, dict | list)}
    flat |= {f"tested on: {k}": v for k, v in terms.get("calibration", {}).items()}
    flat |= {f"fingerprint of {k}": v for k, v in terms.get("fingerprints", {}).items()}
    lines += [f"| {_cell(name)} | {_cell(value)} |" for name, value in flat.items()]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    shown = "none" if value is None else str(value)
    return shown.replace("|", "\\|").replace("\n", " ")
