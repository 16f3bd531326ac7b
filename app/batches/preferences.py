"""Accepted verdicts as preferences to train on, and the card that states their terms."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.batches import service as batches
from app.batches import stored
from app.calibrations import stored as calibrations
from app.calibrations.service import KnownPairs
from app.core.errors import Conflict
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.scores.judges import judges_of_certificate
from judges.types import Pair

# reasons for which a verdict is left out; the card counts each
ABSTAINED: Final = "abstained"
FAILED: Final = "failed"
TIES: Final = "ties"
SEVERAL_TURNS: Final = "answers to several turns"
CALIBRATION_PAIRS: Final = "calibration pairs"
LEFT_OUT: Final = (ABSTAINED, FAILED, TIES, SEVERAL_TURNS, CALIBRATION_PAIRS)


def left_out_because(verdict: Mapping[str, Any], pair: Pair) -> str | None:
    """Return why a verdict is not a preference, None if it is one."""
    if verdict["status"] != "accepted":
        return str(verdict["status"])
    if verdict["label"] == "tie":
        return TIES
    # the earlier answers differ, so the two sides have no prompt in common
    return SEVERAL_TURNS if len(pair.responses_a) > 1 else None


def preference(
    verdict: Mapping[str, Any], pair: Pair, *, is_calibration_pair: bool
) -> dict[str, Any]:
    """Return the row: the answer that the verdict prefers, and the other.

    `prompt` is a text, or the list of messages that the answers continue. Nothing is promised about
    a pair that the certificate knows.
    """
    is_a = verdict["label"] == "a"
    answers = (pair.responses_a[0], pair.responses_b[0])
    models = (pair.model_a, pair.model_b)
    turns = [{"role": turn.role, "content": turn.content} for turn in pair.conversation]
    is_plain = len(turns) == 1 and turns[0]["role"] == "user"
    return {
        "prompt": turns[0]["content"] if is_plain else turns,
        "chosen": answers[0] if is_a else answers[1],
        "rejected": answers[1] if is_a else answers[0],
        "chosen_model": models[0] if is_a else models[1],
        "rejected_model": models[1] if is_a else models[0],
        "confidence": verdict["confidence"],
        "judge": verdict["judge"],
        "pair": verdict["id"],
        "calibration_pair": is_calibration_pair,
        "promise": "none" if is_calibration_pair else verdict["promise"],
    }


Body = Mapping[str, Any]


def card(
    batch: Body, certificate: Body | None, counts: Mapping[str, int], marked: int
) -> dict[str, Any]:
    """Return the card of a batch.

    Args:
        batch: As users see it.
        certificate: As users see it; None if the batch was judged without one.
        counts: `rows`, and what was left out by reason.
        marked: Rows on calibration pairs, which are marked as such.
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
        # of the whole batch
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
        "max_error": certificate.get("max_error"),
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
    """Say which rows the promise does not cover."""
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


_CHUNK: Final = 500
Verdict = dict[str, Any]
Batch = dict[str, Any]


async def trusted_rows(
    running: Runtime, batch_id: str, *, any_promise: bool
) -> AsyncIterator[dict[str, Any]]:
    """Return the preferences of a batch.

    Raises:
        Conflict: it still runs, or promises nothing and `any_promise` was not asked for.
    """
    batch = await stored.find(running, batch_id)
    verdicts = await batches.results(running, batch_id)
    if batch["promise"] != "certified" and not any_promise:
        why = batch["suspended_because"] or "its verdicts carry no promise"
        raise Conflict(
            f"batch {batch_id} is not certified now ({why}): promise=any gives its preferences "
            "all the same, and the card says so",
            errors=[{"loc": ["query", "promise"], "msg": "any is needed for this batch"}],
        )
    return _rows(running, batch, verdicts, any_promise=any_promise)


async def card_of(running: Runtime, batch_id: str, *, any_promise: bool) -> dict[str, Any]:
    """Return the terms of a batch's preferences, also of one that promises nothing."""
    batch = await stored.find(running, batch_id)
    verdicts = await batches.results(running, batch_id)
    counts = Counter(dict.fromkeys(("rows", *LEFT_OUT), 0))
    marked = 0
    async for one in _with_pairs(running, batch, verdicts):
        why = one.left_out_because(any_promise=any_promise)
        counts[why or "rows"] += 1
        marked += why is None and one.is_known
    certificate = None
    if batch["calibration"] is not None:
        async with running.db.read() as session:
            found = await calibrations.require(session, batch["calibration"])
            certificate = calibrations.show(found)
    return card(batch, certificate, counts, marked)


@dataclass(frozen=True, slots=True)
class _Judged:
    """A verdict with its pair; `is_known`: the certificate knows the pair."""

    verdict: Verdict
    pair: Pair
    is_known: bool

    def left_out_because(self, *, any_promise: bool) -> str | None:
        """Return why it is left out, None if it is not."""
        why = left_out_because(self.verdict, self.pair)
        return CALIBRATION_PAIRS if why is None and self.is_known and not any_promise else why


async def _rows(
    running: Runtime, batch: Batch, verdicts: AsyncIterator[Verdict], *, any_promise: bool
) -> AsyncIterator[dict[str, Any]]:
    async for one in _with_pairs(running, batch, verdicts):
        if one.left_out_because(any_promise=any_promise) is None:
            yield preference(one.verdict, one.pair, is_calibration_pair=one.is_known)


async def _with_pairs(
    running: Runtime, batch: Batch, verdicts: AsyncIterator[Verdict]
) -> AsyncIterator[_Judged]:
    """Yield every verdict with its pair, a chunk in memory at a time."""
    knows = await _known_pairs(running, batch)
    chunk: list[Verdict] = []
    async for verdict in verdicts:
        chunk.append(verdict)
        if len(chunk) == _CHUNK:
            for found in await _found(running, batch["dataset"], knows, chunk):
                yield found
            chunk = []
    for found in await _found(running, batch["dataset"], knows, chunk):
        yield found


async def _known_pairs(running: Runtime, batch: Batch) -> KnownPairs | None:
    """Return what the certificate of a batch knows, None without a certificate."""
    if batch["calibration"] is None:
        return None
    async with running.db.read() as session:
        dataset = await datasets.find_dataset(session, batch["dataset"])
        certificate = await calibrations.require(session, batch["calibration"])
        judges = judges_of_certificate(running.registry, certificate.body["fingerprints"])
        return await KnownPairs.of(session, certificate.seq, dataset, judges)


async def _found(
    running: Runtime, dataset: str, knows: KnownPairs | None, chunk: list[Verdict]
) -> list[_Judged]:
    async with running.db.read() as session:
        stored = await datasets.find_dataset(session, dataset)
        seqs = await datasets.pair_seqs(session, stored, [verdict["id"] for verdict in chunk])
        pairs = await datasets.read_pairs(session, stored, seqs=list(seqs.values()))
    by_id = {key.id: (pair, knows is not None and knows.holds(key)) for key, pair in pairs}
    return [_Judged(verdict, *by_id[verdict["id"]]) for verdict in chunk if verdict["id"] in by_id]
