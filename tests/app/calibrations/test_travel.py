"""Certificates that travel: exported, verified without database or network, imported elsewhere."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from pydantic import SecretStr
from sqlalchemy import delete

from app.calibrations.document import recomputed, verification_body, verify
from app.calibrations.evidence import EvidenceInvalid
from app.calibrations.signing import SigningKey, signing_key
from app.core.db import Database
from app.core.errors import ConfigurationInvalid
from app.core.models import CertificateEvidence
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.main import create_app
from tests.app.calibrations.test_weighted import two_tasks, unlabelled
from tests.app.processes import TRIBUNAL
from tests.app.rows import certify, labelled_rows, upload
from tests.conftest import client_of

Document = dict[str, Any]
_STRANGER = SigningKey(bytes(32))
JSON = {"content-type": "application/json"}


async def exported(client: httpx.AsyncClient, calibration: str) -> Document:
    answer = await client.get(f"/v1/calibrations/{calibration}/export")
    assert answer.status_code == 200, answer.text
    document: Document = answer.json()
    return document


def faults(document: Document, *trusted: str) -> dict[str, str]:
    return {fault.field: fault.reason for fault in verify(document, trusted).faults}


METHODS: list[dict[str, Any]] = [
    {},
    {"method": "auto_raw", "target_agreement": 0.9, "label_rule": "random_annotator"},
    {"method": "learned_stack"},
    {"method": "sequential"},
    {"method": "simultaneous", "menu": [0.8, 0.9]},
    {"method": "stagewise", "ties": "class"},
    {"method": "weighted", "max_ratio": 2.5, "target_agreement": 0.8},
    {"method": "weighted", "traffic": "traffic", "traffic_features": ["metadata.task"]},
    {"slices": "metadata.task", "slice_rule": "each", "target_agreement": 0.7},
    {"max_shift": 1.5, "target_agreement": 0.75, "part": {"side": "test", "fraction": 0.3}},
    {"scope": "dataset", "max_error": 0.1},
    {"target_agreement": 0.999, "seed": 5},
]


async def test_every_kind_of_certificate_is_computed_again_to_the_last_bit(
    client: httpx.AsyncClient,
) -> None:
    rows = two_tasks(240, 0.3, seed=0)
    said = [
        {"annotator": who, "label": what}
        for who, what in zip("xyz", ["a", "b", "tie"], strict=True)
    ]
    for number, row in enumerate(rows):
        row["group"] = f"group {number // 2 if number < 60 else number}"
        if number % 20 == 0:
            row["human"] = said[: number % 3 + 1]
    await upload(client, "labelled", rows)
    await upload(client, "traffic", unlabelled(two_tasks(60, 0.5, seed=9, prefix="t")))
    seen = set()
    for asked in METHODS:
        made = await certify(client, "labelled", **asked)
        document = await exported(client, made["id"])
        assert document["certificate"]["thresholds"] == made["thresholds"]
        # the file is the same after another program read and wrote it
        assert faults(json.loads(json.dumps(document, indent=1, sort_keys=True))) == {}, asked
        seen.add(made["status"])
    assert seen == {"certified", "not_certifiable"}


@pytest.fixture
async def made(client: httpx.AsyncClient) -> Document:
    """The certificate of two recorded judges on 150 pairs, slice by slice, exported."""
    await upload(client, "rivers", labelled_rows(150))
    asked = {"target_agreement": 0.75, "slices": "metadata.task", "slice_rule": "each"}
    certificate = await certify(client, "rivers", **asked)
    assert certificate["status"] == "certified"
    return await exported(client, certificate["id"])


def changed(document: Document, place: str) -> Document:
    """Return a document with another value in one of its fields."""
    other = copy.deepcopy(document)
    inside = other
    *path, last = place.split(".")
    for name in path:
        inside = inside[name]
    inside[last] = _otherwise(inside[last])
    return other


def _otherwise(value: Any) -> Any:
    if isinstance(value, list) and value:
        return [*value[:-1], _otherwise(value[-1])]
    if isinstance(value, dict) and value:
        name = next(iter(value))
        return {**value, name: _otherwise(value[name])}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{value}?"
    return value + 1


async def test_a_tampered_document_is_refused_and_its_field_named(
    client: httpx.AsyncClient, made: Document
) -> None:
    places = list(made["signature"]["digests"])
    assert len(places) >= 40
    for place in places:
        found = faults(changed(made, place))
        assert set(found) == {place}
        assert place == "object" or found[place] == "was changed after it was signed"
    for name in made["signature"]:
        assert any(
            field.startswith("signature") for field in faults(changed(made, f"signature.{name}"))
        )
    assert faults({**made, "more": 1}) == {"more": "was not signed"}
    lost = {name: value for name, value in made.items() if name != "label_uses"}
    assert set(faults(lost).values()) == {"is missing, and was signed"}
    assert faults({**made, "signature": None}) == {"signature": "is missing"}
    assert "object" in faults([made])  # type: ignore[arg-type]
    answer = await client.post("/v1/calibrations/import", json=changed(made, "certificate.claim"))
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"loc": ["body", "certificate", "claim"], "msg": "was changed after it was signed"}
    ]


FORGED = {
    "certificate.thresholds": "certificate.thresholds.1",
    "certificate.claim": "certificate.claim",
    "certificate.calibration.disagreements": "certificate.calibration.disagreements",
    "certificate.certificates": "certificate.certificates.1",
    "status": "status",
    "request.target_agreement": "request.target_agreement",
    "request.seed": "certificate",
    "judges": "evidence.scores",
    "evidence.pairs.group": "certificate",
    "evidence.pairs.votes": "certificate",
    "evidence.scores.dear": "evidence.scores",
    "evidence.costs.cheap": "certificate",
    "evidence.left_out.unlabelled": "certificate.calibration.unlabelled",
    "label_uses.plans": "certificate.claim",
}


async def test_who_signs_again_does_not_make_it_follow_from_its_evidence(made: Document) -> None:
    del made["signature"]
    for place, named in FORGED.items():
        forged = _STRANGER.sign(changed(made, place), datetime(2026, 1, 1, tzinfo=UTC))
        found = faults(forged)
        assert any(field.startswith(named) for field in found), (place, found)
    # and whoever knows the signer sees at once that it was another
    assert set(faults(forged, "0" * 64)) == {"signature.public_key"}


async def test_evidence_that_does_not_fit_together_is_named(made: Document) -> None:
    assert faults({**made, "signature": {**made["signature"], "digests": []}}) == {
        "signature.digests": "is missing"
    }
    pairs, request = made["evidence"]["pairs"], made["request"]
    n = len(pairs["group"])
    panel = {**request, "label_rule": "panel", "slices": None, "slice_rule": "joint"}
    votes = {**pairs["votes"], "a": [-1] * n}
    first = [[1.0] * n for _ in range(3)]
    first[1][0] = 0.3
    for changes, named in (
        ({"judges": []}, "judges: must have at least one"),
        ({"judges": made["judges"][:1] * 2}, "judges: must have .* different names"),
        ({"costs": {}}, r"evidence\.costs: must name cheap, dear, and no other"),
        ({"pairs": {**pairs, "votes": votes}}, "must hold numbers from 0 on"),
        ({"pairs": {**pairs, "slice": None}}, "goes with a request that names slices"),
        ({"pairs": {**pairs, "label_probability": [1.0]}}, "label_probability: "),
        ({"pairs": {**pairs, "first_votes": first}}, "goes with the label rule panel"),
        ({"pairs": {**pairs, "slice": None}, "request": panel}, "goes with the label rule panel"),
        (
            {"pairs": {**pairs, "slice": None, "first_votes": first[:1]}, "request": panel},
            "first_votes: must have 3 columns",
        ),
        (
            {"pairs": {**pairs, "slice": None, "first_votes": first}, "request": panel},
            "must hold 1, 0, 0.5 or null",
        ),
    ):
        document = copy.deepcopy(made)
        for name, value in changes.items():
            inside = document if name in document else document["evidence"]
            inside[name] = value
        with pytest.raises(EvidenceInvalid, match=named):
            recomputed(document)


async def test_what_no_service_writes_is_refused_though_it_is_signed(
    client: httpx.AsyncClient, made: Document
) -> None:
    prompts = {**made["evidence"]["pairs"], "prompt": ["x" * 65] * 150}
    odd = {**made["evidence"]["pairs"], "prompt": ["\ud800"] * 150}
    for place, value in (
        ("created_at", {"created_at": "yesterday"}),
        ("created_at", {"created_at": "2026-01-01T00:00:00"}),
        ("id", {"id": "x" * 65}),
        ("id", {"id": ""}),
        ("id", {"id": "../labels"}),
        ("id", {"id": "cal_\u202e"}),
        ("created_at", {"created_at": "0001-01-01T00:00:00+23:59"}),
        ("revoked_at", {"revoked_at": "yesterday"}),
        ("suspended_because", {"suspended_because": "a\x00b"}),
        ("suspended_because", {"suspended_because": "a\ud800b"}),
        ("suspended_because", {"suspended_because": "x" * 10_001}),
        ("judges.0.name", {"judges": [{**made["judges"][0], "name": "\ud800"}]}),
        (
            "judges.0.fingerprint",
            {"judges": [{**made["judges"][0], "fingerprint": "recorded:" + "x" * 600}]},
        ),
        ("label_uses.plans", {"label_uses": {**made["label_uses"], "plans": -1}}),
        (
            "label_uses.failure_probability",
            {"label_uses": {**made["label_uses"], "failure_probability": float("nan")}},
        ),
        ("certificate.changes", {"certificate": {**made["certificate"], "changes": {"x": 1}}}),
        (
            "certificate.label_set_uses",
            {"certificate": {**made["certificate"], "label_set_uses": "1"}},
        ),
        ("evidence.pairs.prompt", {"evidence": {**made["evidence"], "pairs": odd}}),
        (
            "certificate.label_set_hash",
            {"certificate": {**made["certificate"], "label_set_hash": [1]}},
        ),
        ("evidence.pairs.prompt", {"evidence": {**made["evidence"], "pairs": prompts}}),
    ):
        document = {name: one for name, one in made.items() if name != "signature"} | value
        signed = signed_by_another(document)
        answer = await client.post(
            "/v1/calibrations/import", content=json.dumps(signed), headers=JSON
        )
        assert answer.status_code == 422, (place, answer.text)
        assert [one["loc"] for one in answer.json()["errors"]] == [["body", *place.split(".")]]


async def test_a_document_that_is_nested_too_deeply_is_refused(
    client: httpx.AsyncClient, made: Document
) -> None:
    deep = {**made, "request": _nested(700)}
    assert set(faults(deep)) == {"object"}
    answer = await client.post("/v1/calibrations/import", json=deep)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "object"]


def _nested(depth: int) -> Document:
    inside: Document = {}
    for _ in range(depth):
        inside = {"x": inside}
    return inside


LIE = "With certainty, all verdicts agree with people for ever."


async def test_what_a_certificate_promises_is_said_in_the_words_of_who_reads_it(
    client: httpx.AsyncClient, made: Document
) -> None:
    honest = verify(made).certificate["claim"]
    assert honest == made["certificate"]["claim"]
    await client.delete("/v1/datasets/rivers?force=true")
    evidence, uses = made["evidence"], made["label_uses"]
    for number, changes in enumerate(
        (
            {"evidence": {**evidence, "made_with": {"tribunal": "0.0.1"}}},
            {"label_uses": {**uses, "failure_probability": None}},
        )
    ):
        own = {**made["certificate"], "claim": f"{honest} {LIE}", "status": None, "id": None}
        signed = signed_by_another(made | {"certificate": own, "id": f"cal_{number}"} | changes)
        body = verification_body(signed, (), datetime(2026, 1, 1, tzinfo=UTC))
        assert (body["verified"], body["claim"]) == (True, honest)
        answer = await client.post("/v1/calibrations/import", json=signed)
        assert answer.status_code == 201, answer.text
        # what is null and was never computed changes nothing of what is shown
        taken = answer.json()
        assert (taken["claim"], taken["status"]) == (honest, "certified")
        page = await client.get(f"/calibrations/{taken['id']}")
        assert page.status_code == 200
        assert LIE not in page.text


async def test_a_document_of_an_earlier_version_is_verified(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(90))
    for target in (0.7, 0.97):
        certificate = await certify(client, "rivers", target_agreement=target)
        document = await exported(client, certificate["id"])
        said = document["certificate"]
        # it did not count all labelled pairs, and advised in other words
        del said["calibration"]["all_labelled"]
        said["advice"]["text"] = "About as many."
        if said["refusal"]:
            said["refusal"] |= {"tried": "Tried.", "would_help": "More labels."}
        old = signed_by_another(document)
        found = verify(old)
        assert found.faults == []
        assert found.certificate["advice"]["text"] == certificate["advice"]["text"]
        assert found.certificate["refusal"] == certificate["refusal"]


@pytest.fixture
async def elsewhere(tmp_path: Path, sqlite_template: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A service with a database of its own."""
    file = tmp_path / "elsewhere.db"
    shutil.copyfile(sqlite_template, file)
    app = create_app(Settings(database_url=f"sqlite:///{file}", spool_dir=tmp_path))
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


@pytest.mark.both_databases
async def test_an_imported_certificate_is_used_as_where_it_was_made(
    client: httpx.AsyncClient, elsewhere: httpx.AsyncClient
) -> None:
    await upload(elsewhere, "rivers", labelled_rows(150))
    certificate = await certify(elsewhere, "rivers", target_agreement=0.8)
    document = await exported(elsewhere, certificate["id"])
    answer = await client.post("/v1/calibrations/import", json=document)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/calibrations/{certificate['id']}"
    taken = answer.json()
    assert taken["imported"]["signed_by"] == document["signature"]["public_key"]
    kept = set(certificate) - {"labels_changed"}
    assert {name: taken[name] for name in kept} == {name: certificate[name] for name in kept}
    again = await client.post("/v1/calibrations/import", json=document)
    assert (again.status_code, again.json()) == (201, taken)

    rows = unlabelled(labelled_rows(190)[140:])
    asked = {"pairs": rows, "calibration": taken["id"]}
    here, there = [
        (await one.post("/v1/judgments", json=asked)).json()["verdicts"]
        for one in (client, elsewhere)
    ]
    assert here == there
    # it promises nothing on the prompts that it was made from
    assert [one["calibration_pair"] for one in here] == [True] * 10 + [False] * 40
    await upload(client, "new", rows[10:])
    batch = {"dataset": "new", "calibration": taken["id"]}
    assert (await client.post("/v1/batches", json=batch)).status_code == 202
    monitor = await client.post("/v1/monitors", json={"calibration": taken["id"]})
    assert monitor.status_code == 201

    returned = await exported(client, taken["id"])
    assert faults(returned, returned["signature"]["public_key"]) == {}
    assert returned["imported"] == taken["imported"]
    assert returned["evidence"] == document["evidence"]
    # the ledger here knows the labels
    await upload(client, "rivers", labelled_rows(150))
    assert (await certify(client, "rivers", target_agreement=0.7))["label_set_uses"] == 2

    await elsewhere.post(f"/v1/calibrations/{taken['id']}/revoke")
    refused = await client.post(
        "/v1/calibrations/import", json=await exported(elsewhere, taken["id"])
    )
    assert refused.status_code == 409
    assert "was revoked at" in refused.json()["detail"]


@pytest.mark.parametrize("pool", [None, "pool"])
async def test_an_imported_certificate_counts_once_with_its_pool_or_without(
    client: httpx.AsyncClient, elsewhere: httpx.AsyncClient, pool: str | None
) -> None:
    rows, others = labelled_rows(150), unlabelled(labelled_rows(200)[150:])
    for one in (client, elsewhere):
        await upload(one, "rivers", rows)
        await upload(one, "pool", others)
        await upload(one, "other-pool", others[1:])
    document = await exported(elsewhere, (await certify(elsewhere, "rivers", pool=pool))["id"])
    assert (document["evidence"]["pool"] is None) is (pool is None)
    assert (await client.post("/v1/calibrations/import", json=document)).status_code == 201
    assert (await certify(client, "rivers", pool=pool))["label_set_uses"] == 1
    assert (await certify(client, "rivers", pool="other-pool"))["label_set_uses"] == 2


async def test_only_signers_that_are_trusted_are_imported_where_some_are(
    made: Document, settings: Settings
) -> None:
    app = create_app(settings.model_copy(update={"trusted_keys": (_STRANGER.public,)}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        answer = await client.post("/v1/calibrations/import", json=made)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "signature", "public_key"]


async def test_a_certificate_of_more_pairs_than_a_list_may_have_items_is_taken_in(
    made: Document, settings: Settings
) -> None:
    app = create_app(settings.model_copy(update={"max_list_items": 140}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        answer = await client.post("/v1/calibrations/import", json=made)
        assert answer.status_code == 201, answer.text
        other = await client.post("/v1/judgments", json={"pairs": [{}] * 141})
    assert "TRIBUNAL_MAX_LIST_ITEMS" in other.json()["detail"]
    few = create_app(settings.model_copy(update={"max_body_values": 1_000}))
    async with few.router.lifespan_context(few), client_of(few) as client:
        refused = await client.post("/v1/calibrations/import", json=made)
    assert "TRIBUNAL_MAX_BODY_VALUES" in refused.json()["detail"]


async def test_evidence_that_was_not_kept_is_collected_again_while_it_is_the_same(
    client: httpx.AsyncClient, made: Document, running: Runtime
) -> None:
    async with running.db.write() as session:
        await session.execute(delete(CertificateEvidence))
    again = await exported(client, made["id"])
    assert faults(again) == {}
    assert again["evidence"] == {**made["evidence"], "made_with": {}}
    label = {"dataset": "rivers", "pair": "p3", "annotator": "anna", "label": "tie"}
    assert (await client.post("/v1/labels", json={"labels": [label]})).status_code == 201
    refused = await client.get(f"/v1/calibrations/{made['id']}/export")
    assert refused.status_code == 409
    assert "certify again to export it" in refused.json()["detail"]


async def test_the_signing_key_is_kept_encrypted_where_there_is_a_secret(
    db: Database, settings: Settings
) -> None:
    guarded = settings.model_copy(update={"secret": SecretStr("first")})
    key = await signing_key(guarded, db)
    assert (await signing_key(guarded, db)).public == key.public
    assert key.public in repr(key)
    for other in (settings, settings.model_copy(update={"secret": SecretStr("second")})):
        with pytest.raises(ConfigurationInvalid, match="TRIBUNAL_SECRET"):
            await signing_key(other, db)
    given = settings.model_copy(update={"signing_key": SecretStr("00" * 32)})
    assert (await signing_key(given, db)).public == _STRANGER.public


async def test_bounds_may_differ_in_their_last_digits_and_thresholds_may_not(
    made: Document,
) -> None:
    """Other versions of scipy round the quantiles of the beta distribution otherwise."""
    figures = made["certificate"]["calibration"]
    figures["agreement_lower_bound"] = float(np.nextafter(figures["agreement_lower_bound"], 1))
    found = verify(signed_by_another(made))
    assert found.faults == []
    assert found.notes[0].startswith("1 computed bounds or weights are the same to 12 digits")
    tier = made["certificate"]["certificates"][0]["thresholds"][1]
    tier["threshold"] = float(np.nextafter(tier["threshold"], 1))
    place = "certificate.certificates.0.thresholds.1.threshold"
    assert set(faults(signed_by_another(made))) == {place}


def signed_by_another(document: Document) -> Document:
    rest = {name: value for name, value in document.items() if name != "signature"}
    return _STRANGER.sign(rest, datetime(2026, 1, 1, tzinfo=UTC))


async def learned(client: httpx.AsyncClient) -> Document:
    """A certificate of a learned stack, exported."""
    await upload(client, "rivers", labelled_rows(250, cheap=0.7))
    made = await certify(client, "rivers", method="learned_stack", target_agreement=0.8)
    assert made["columns"] == "learned"
    return await exported(client, made["id"])


async def test_learned_weights_may_differ_as_processors_do_and_by_no_more(
    client: httpx.AsyncClient,
) -> None:
    document = await learned(client)
    weights = document["certificate"]["weights"]
    for one in weights:
        one["log_odds"] = float(np.nextafter(one["log_odds"], 1))
    weights[0]["sign"] += 1e-13
    found = verify(signed_by_another(document))
    assert found.faults == []
    assert found.notes[0].startswith("3 computed bounds or weights")
    weights[0]["sign"] += 1e-10
    assert set(faults(signed_by_another(document))) == {"certificate.weights.0.sign"}


@pytest.mark.slow
@pytest.mark.parametrize("core", ["Prescott", "Nehalem", "Haswell", "SkylakeX"])
async def test_a_learned_stack_is_verified_on_another_processor(
    client: httpx.AsyncClient, tmp_path: Path, core: str
) -> None:
    """OpenBLAS multiplies as it would on that processor; others than x86 know no such names."""
    file = tmp_path / "certificate.json"
    file.write_text(json.dumps(await learned(client)))
    older = "X86_V3 X86_V4 AVX512_ICL" if core in ("Prescott", "Nehalem") else "X86_V4 AVX512_ICL"
    processor = {"OPENBLAS_CORETYPE": core, "NPY_DISABLE_CPU_FEATURES": older}
    # numpy warns where a processor is told to do without what it is said to have
    there = {**os.environ, **processor, "PYTHONWARNINGS": "ignore"}
    ran = await anyio.run_process([*TRIBUNAL, "verify", str(file)], env=there, check=False)
    print(core, ran.stdout.decode().splitlines()[-1])  # noqa: T201
    assert ran.returncode == 0, (ran.stdout + ran.stderr).decode()
