"""Sign-in with a cookie, tokens of forms, and what a cookie alone does not open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI

from app.core import auth
from app.core.http.sessions import COOKIE
from app.core.runtime import Runtime
from tests.app.core.test_auth import bearer, make_key
from tests.app.pages.markup import check
from tests.conftest import client_of

OWN = {"sec-fetch-site": "same-origin"}
PAIR = {"prompt": "Why?", "response_a": "Because it is so.", "response_b": ""}


async def sign_in(client: httpx.AsyncClient, key: str, query: str = "") -> httpx.Response:
    token = check(await client.get("/signin")).token
    return await client.post(f"/signin{query}", data={"key": key, "csrf": token})


@pytest.mark.both_databases
async def test_a_key_is_exchanged_for_a_cookie_that_opens_the_pages(service: FastAPI) -> None:
    _, key = await make_key(service)
    async with client_of(service) as client:
        led = await client.get("/datasets?after=x")
        assert led.status_code == 303
        assert led.headers["location"] == "/signin?next=/datasets%3Fafter%3Dx"
        answer = await sign_in(client, key, "?next=/datasets")
        assert (answer.status_code, answer.headers["location"]) == (303, "/datasets")
        cookie = answer.headers["set-cookie"].lower()
        assert all(word in cookie for word in ("httponly", "samesite=strict", "max-age=43200"))
        assert "secure" not in cookie
        assert key not in cookie
        shown = check(await client.get("/datasets"))
        assert "Sign out" in shown.text_of("button")
        assert (await client.get("/docs")).status_code == 200
        away = await client.post("/signout", data={"csrf": shown.token})
        assert away.headers["location"] == "/signin"
        assert (await client.get("/")).headers["location"] == "/signin"


async def test_over_https_the_cookie_is_secure(service: FastAPI) -> None:
    _, key = await make_key(service)
    async with client_of(service) as client:
        client.base_url = httpx.URL("https://127.0.0.1")
        assert "Secure" in (await sign_in(client, key)).headers["set-cookie"]


async def test_a_wrong_key_signs_nobody_in(service: FastAPI) -> None:
    key_id, key = await make_key(service)
    running: Runtime = service.state.runtime
    async with client_of(service) as client:
        for wrong in ("", "trib_wrong", "ü\ud800x".encode("utf-8", "replace").decode()):
            answer = await sign_in(client, wrong)
            assert answer.status_code == 401
            assert COOKIE not in answer.headers.get("set-cookie", "")
            assert "role" in str(check(answer).all("div")[1].attributes)
        async with running.db.write() as session:
            await auth.revoke_key(session, key_id, running.now())
        assert "revoked" in check(await sign_in(client, key)).text_of("main")


async def test_a_session_ends_with_its_time_and_with_its_key(service: FastAPI) -> None:
    key_id, key = await make_key(service)
    running: Runtime = service.state.runtime
    start = running.now()
    async with client_of(service) as client:
        await sign_in(client, key)
        running.now = lambda: start + timedelta(hours=11)
        assert (await client.get("/datasets")).status_code == 200
        running.now = lambda: start + timedelta(hours=13)
        assert (await client.get("/datasets")).status_code == 303
        running.now = lambda: start
        assert (await client.get("/datasets")).status_code == 200
        async with running.db.write() as session:
            await auth.revoke_key(session, key_id, start)
        assert (await client.get("/datasets")).status_code == 303


@pytest.mark.parametrize("change", ["", "x", "key", "later", "long", "\u00e9"])
async def test_a_cookie_that_this_service_did_not_sign_opens_nothing(
    service: FastAPI, change: str
) -> None:
    _, key = await make_key(service)
    other, _ = await make_key(service, "other")
    async with client_of(service) as client:
        cookie = (await sign_in(client, key)).cookies[COOKIE]
        name, ends, rest = cookie.split(".", 2)
        forged = {
            "key": f"{other}.{ends}.{rest}",
            "later": f"{name}.{int(ends) + 9}.{rest}",
            "long": cookie + "0" * 10_000,
        }.get(change, change)
        client.cookies.clear()
        sent = httpx.Headers({b"cookie": f"{COOKIE}={forged}".encode()})
        assert (await client.get("/datasets", headers=sent)).status_code == 303


async def test_the_cookie_alone_opens_no_endpoint_of_the_api(service: FastAPI) -> None:
    _, key = await make_key(service)
    async with client_of(service) as client:
        await sign_in(client, key)
        origin = {"origin": "http://127.0.0.1"}
        typed = {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}
        for sent in ({}, typed, {"referer": "http://elsewhere.test/"}):
            assert (await client.get("/v1/datasets", headers=sent)).status_code == 401, sent
            posted = await client.post("/v1/judgments", json={"pairs": [PAIR]}, headers=sent)
            assert posted.status_code == 401, sent
        for foreign in (
            {"origin": "http://elsewhere.test"},
            {"origin": "null"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {**OWN, "origin": "http://elsewhere.test"},
        ):
            assert (await client.get("/v1/datasets", headers=foreign)).status_code == 403, foreign
        for own in (OWN, origin, {"referer": "http://127.0.0.1/datasets"}):
            assert (await client.get("/v1/datasets", headers=own)).status_code == 200, own
            posted = await client.post("/v1/judgments", json={"pairs": [PAIR]}, headers=own)
            assert posted.status_code == 200, own


async def test_a_form_without_its_token_is_refused(service: FastAPI) -> None:
    _, key = await make_key(service)
    form = {**PAIR, "by": "default", "response_b": "So."}
    async with client_of(service) as client, client_of(service) as stranger:
        before = check(await client.get("/signin")).token
        await sign_in(client, key)
        token = check(await client.get("/judges")).token
        assert token != before
        foreign = check(await stranger.get("/signin")).token
        for wrong in ({}, {"csrf": ""}, {"csrf": before}, {"csrf": foreign}, {"csrf": "ü"}):
            answer = await client.post("/judges", data={**form, **wrong})
            assert answer.status_code == 403, wrong
            assert "load its page again" in check(answer).text_of("main")
        assert (await client.post("/judges", data={**form, "csrf": token})).status_code == 200
        sent = {"origin": "http://elsewhere.test"}
        refused = await client.post("/judges", data={**form, "csrf": token}, headers=sent)
        assert refused.status_code == 403


@pytest.mark.parametrize(
    "wanted",
    [
        "//elsewhere.test",
        "/\\elsewhere.test",
        "https://elsewhere.test",
        "javascript:alert(1)",
        "/a\nb",
    ],
)
async def test_signing_in_leads_nowhere_else(service: FastAPI, wanted: str) -> None:
    _, key = await make_key(service)
    async with client_of(service) as client:
        token = check(await client.get("/signin", params={"next": wanted})).token
        form = {"key": key, "csrf": token}
        answer = await client.post("/signin", params={"next": wanted}, data=form)
        assert answer.headers["location"] == "/"


async def test_a_key_in_the_header_opens_pages_and_shows_what_it_lacks(service: FastAPI) -> None:
    _, reads = await make_key(service, "reads", scopes=frozenset({auth.Scope.READ}))
    _, labels = await make_key(service, "labels", scopes=frozenset({auth.Scope.LABEL}))
    async with client_of(service) as client:
        assert (await client.get("/datasets", headers=bearer(reads))).status_code == 200
        refused = await client.get("/datasets", headers=bearer(labels))
        assert refused.status_code == 403
        assert "needs a key with the scope read" in check(refused).text_of("main")
        assert (await client.get("/datasets", headers=bearer("trib_wrong"))).status_code == 401


async def test_a_link_from_elsewhere_leads_to_a_page_and_to_sign_in(service: FastAPI) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    async with client_of(service) as client:
        assert (await client.get("/datasets", headers=link)).status_code == 200
        assert (await client.post("/judges", headers=link, data=PAIR)).status_code == 403
        await make_key(service)
        assert (await client.get("/datasets", headers=link)).status_code == 303
        assert (await client.get("/signin", headers=link)).status_code == 200


async def test_without_keys_nobody_needs_to_sign_in(client: httpx.AsyncClient) -> None:
    assert "has no keys" in check(await client.get("/signin")).text_of("main")
    token = check(await client.get("/judges")).token
    answer = await client.post("/signin", data={"key": "trib_x", "csrf": token})
    assert answer.status_code == 401


async def test_whoever_has_no_key_sends_a_form_of_a_few_bytes(service: FastAPI) -> None:
    _, _key = await make_key(service)
    kinds = {
        "application/x-www-form-urlencoded": b"key=" + b"a" * 20_000,
        "multipart/form-data; boundary=x": b'--x\r\ncontent-disposition: form-data; name="key"\r\n\r\n'
        + b"a" * 20_000
        + b"\r\n--x--\r\n",
    }

    async def drops(body: bytes) -> AsyncIterator[bytes]:
        yield body[:10_000]
        yield body[10_000:]

    async with client_of(service) as client:
        for media_type, body in kinds.items():
            for path in ("/signin", "/signout"):
                for sent in (body, drops(body)):
                    headers = {"content-type": media_type}
                    answer = await client.post(path, content=sent, headers=headers)
                    assert answer.status_code == 413, (path, media_type, answer.text)
