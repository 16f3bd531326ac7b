"""Who may send a request where no keys exist, and what pages of other sites may not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import ValidationError
from sqlalchemy import text
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.core.auth import Scope
from app.core.errors import NotAuthenticated
from app.core.http.access import allow, keep_peer
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.main import create_app
from judges.base import JudgeHealth
from tests.app.core.test_auth import PAGES, bearer, make_key, status
from tests.app.paid_judge import PaidJudge
from tests.app.processes import free_port, tribunal, until
from tests.app.rows import labelled_rows, ndjson, upload
from tests.conftest import client_of

PAIR = {"prompt": "Why?", "response_a": "Because it is so.", "response_b": ""}
PROBES = ("/healthz", "/readyz")


def client_at(app: Any, peer: str, host: str = "127.0.0.1:8000") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(peer, 4711))
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")


@pytest.mark.parametrize(
    "peer", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "0:0:0:0:0:0:0:1"]
)
async def test_without_keys_this_machine_is_answered(service: FastAPI, peer: str) -> None:
    async with client_at(service, peer) as near:
        assert await status(near) == 200


@pytest.mark.parametrize("peer", ["203.0.113.9", "10.0.0.7", "::ffff:10.0.0.7", "fe80::1", "", "x"])
async def test_without_keys_no_other_machine_is_answered(service: FastAPI, peer: str) -> None:
    async with client_at(service, peer) as far:
        assert await status(far) == 403
        for path in PROBES:
            assert await status(far, path=path) == 200
        for path in ("/metrics", "/v1/nothing", "/", *PAGES):
            assert await status(far, path=path) == 403, path
        ready = (await far.get("/readyz")).json()
        assert ready == {"status": "ready"}


async def test_a_peer_that_is_not_known_is_not_answered(service: FastAPI) -> None:
    async def without_peer(scope: Any, receive: Any, send: Any) -> None:
        await service({**scope, "client": None}, receive, send)

    async with client_at(without_peer, "127.0.0.1") as client:
        assert await status(client) == 403


FORWARDED = {
    "x-forwarded-for": "127.0.0.1",
    "X-Forwarded-Host": "localhost",
    "x-forwarded-proto": "https",
    "x-forwarded": "for=127.0.0.1",
    "forwarded": "for=127.0.0.1;host=localhost",
    "x-real-ip": "127.0.0.1",
    "via": "1.1 balancer",
    "true-client-ip": "127.0.0.1",
    "cf-connecting-ip": "127.0.0.1",
    "client-ip": "127.0.0.1",
}


@pytest.mark.parametrize("header", FORWARDED)
async def test_without_keys_nothing_that_a_proxy_sends_is_answered(
    service: FastAPI, header: str
) -> None:
    headers = {header: FORWARDED[header]}
    # from this machine, and from afar behind a server that believes every proxy
    trusting: Any = keep_peer(ProxyHeadersMiddleware(service, "*"))  # type: ignore[arg-type]
    for app, peer in ((service, "127.0.0.1"), (trusting, "203.0.113.9"), (trusting, "127.0.0.1")):
        async with client_at(app, peer) as client:
            assert (await client.get("/v1/judges", headers=headers)).status_code == 403
            assert (await client.get("/healthz", headers=headers)).status_code == 200
            assert (await client.get("/readyz", headers=headers)).json() == {"status": "ready"}
    _, key = await make_key(service)
    async with client_at(trusting, "203.0.113.9") as client:
        keyed = await client.get("/v1/judges", headers={**headers, **bearer(key)})
        assert keyed.status_code == 200


def test_a_real_server_that_trusts_all_proxies_takes_no_forwarded_address_for_its_own(
    tmp_path: Path,
) -> None:
    port = free_port()
    environment = {"FORWARDED_ALLOW_IPS": "*", "TRIBUNAL_WORKERS": "0"}
    arguments = ("serve", "--port", str(port))
    address = f"http://127.0.0.1:{port}"

    def is_up() -> bool:
        try:
            return httpx.get(f"{address}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    with tribunal(tmp_path, "serve", *arguments, environment=environment):
        until(is_up)
        assert httpx.get(f"{address}/v1/judges").status_code == 200
        for forwarded in ("127.0.0.1", "::1", "203.0.113.9", "127.0.0.1, 203.0.113.9"):
            sent = {"x-forwarded-for": forwarded}
            assert httpx.get(f"{address}/v1/judges", headers=sent).status_code == 403
        foreign = {"host": f"attacker.example:{port}"}
        assert httpx.get(f"{address}/v1/judges", headers=foreign).status_code == 403


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8000", "LOCALHOST:8000", "localhost.", "[::1]:8000", "127.0.0.2"],
)
async def test_a_name_of_this_machine_is_answered(service: FastAPI, host: str) -> None:
    async with client_at(service, "127.0.0.1") as client:
        assert (await client.get("/v1/judges", headers={"host": host})).status_code == 200


FOREIGN_HOSTS = [
    "attacker.example", "attacker.example:8000", "127.0.0.1.attacker.example", "localhost.evil.org",
    "0.0.0.0", "[::]:8000", "", "evil@127.0.0.1", "127.0.0.1#evil", "127.0.0.1 evil", "10.0.0.1",
    "notlocalhost", "::1", "[127.0.0.1", "1.0.0.721",
]  # fmt: skip


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
async def test_a_foreign_name_that_was_pointed_at_this_machine_is_not_answered(
    service: FastAPI, host: str
) -> None:
    headers = {"host": host}
    async with client_at(service, "127.0.0.1") as client:
        for path in ("/v1/judges", "/v1/datasets", "/metrics", *PAGES):
            assert (await client.get(path, headers=headers)).status_code == 403, path
        posted = await client.post("/v1/judgments", json={"pairs": [PAIR]}, headers=headers)
        assert posted.status_code == 403
        assert (await client.get("/readyz", headers=headers)).json() == {"status": "ready"}


async def test_two_hosts_are_none(service: FastAPI) -> None:
    async with client_at(service, "127.0.0.1") as client:
        both = [("host", "127.0.0.1"), ("host", "attacker.example")]
        assert (await client.get("/v1/judges", headers=both)).status_code == 403


async def test_names_in_the_settings_are_answered(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIBUNAL_ALLOWED_HOSTS", "Tribunal.internal, other.example")
    allowed = Settings().allowed_hosts
    assert allowed == ("tribunal.internal", "other.example")
    app = create_app(settings.model_copy(update={"allowed_hosts": allowed}))
    async with app.router.lifespan_context(app), client_at(app, "127.0.0.1") as client:
        for host, wanted in (
            ("tribunal.internal:8000", 200),
            ("OTHER.example", 200),
            ("sub.tribunal.internal", 403),
            ("internal", 403),
        ):
            assert (await client.get("/v1/judges", headers={"host": host})).status_code == wanted
        # the name that a proxy in front of it has
        sent = {"origin": "https://tribunal.internal", "host": "127.0.0.1:8000"}
        assert (await client.get("/v1/judges", headers=sent)).status_code == 200


@pytest.mark.parametrize("names", ["*", "a:8000", "http://a", "a b"])
def test_a_setting_that_is_no_name_of_a_host_is_refused(names: str) -> None:
    with pytest.raises(ValidationError, match="not the name of a host"):
        Settings(allowed_hosts=names)


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("signing_key", "0x12", "64 hexadecimal digits"),
        ("trusted_keys", f"ed25519:{'AB' * 32}, ed25519:12", "'12' is not a public key"),
    ],
)
def test_a_setting_that_is_no_key_is_refused(setting: str, value: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings.model_validate({setting: value})
    assert Settings(trusted_keys=f"ed25519:{'AB' * 32},").trusted_keys == ("ab" * 32,)
    assert Settings(trusted_keys=("ab",)).trusted_keys == ("ab",)


def test_a_request_of_nobody_needs_a_key() -> None:
    with pytest.raises(NotAuthenticated, match="send a key"):
        allow({}, Scope.READ)


OTHER_SITES = {
    "origin": {"origin": "https://evil.example"},
    "null": {"origin": "null"},
    "empty": {"origin": ""},
    "port": {"origin": "http://127.0.0.1:3000"},
    "name": {"origin": "http://localhost:8000"},
    "suffix": {"origin": "http://127.0.0.1:8000.evil.example"},
    "user": {"origin": "http://127.0.0.1:8000@evil.example"},
    "scheme": {"origin": "chrome-extension://127.0.0.1:8000"},
    "cross-site": {"sec-fetch-site": "cross-site"},
    "same-site": {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
    "unknown": {"sec-fetch-site": "other"},
    "link": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    "both": {"sec-fetch-site": "same-origin", "origin": "https://evil.example"},
}


@pytest.mark.parametrize("has_key", [False, True], ids=["without keys", "with a key"])
@pytest.mark.parametrize("kind", OTHER_SITES)
async def test_a_page_of_another_site_reads_and_changes_nothing(
    service: FastAPI, kind: str, has_key: bool
) -> None:
    async with client_of(service) as client:
        await upload(client, "rivers", labelled_rows(20))
    key = (await make_key(service))[1] if has_key else None
    async with client_at(service, "127.0.0.1") as client:
        page = {**OTHER_SITES[kind], **bearer(key)}
        sent = [
            await client.post(
                "/v1/datasets?name=evil",
                content=ndjson(labelled_rows(2)),
                headers={**page, "content-type": "text/plain"},
            ),
            await client.post(
                "/v1/files",
                files={"file": ("x", b"{}")},
                data={"purpose": "batch"},
                headers=page,
            ),
            await client.get("/v1/reports/agreement?dataset=rivers", headers=page),
            await client.get("/v1/datasets", headers=page),
            await client.delete("/v1/datasets/rivers", headers=page),
        ]
        assert [answer.status_code for answer in sent] == [403] * 5
        lists = [
            await client.get(f"/v1/{one}", headers=bearer(key)) for one in ("files", "reports")
        ]
        assert [answer.json()["data"] for answer in lists] == [[], []]
        datasets = (await client.get("/v1/datasets", headers=bearer(key))).json()["data"]
        assert [dataset["name"] for dataset in datasets] == ["rivers"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://127.0.0.1:8000"},
        {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"},
        {"origin": "https://tribunal.test", "host": "tribunal.test", "x-forwarded-proto": "https"},
        {"origin": "http://tribunal.test", "host": "tribunal.test:80", "via": "1.1 balancer"},
    ],
)
async def test_the_services_own_pages_may_do_what_their_user_may(
    service: FastAPI, headers: dict[str, str]
) -> None:
    key = (await make_key(service))[1] if "host" in headers else None
    async with client_at(service, "127.0.0.1") as client:
        sent = {**headers, **bearer(key)}
        posted = await client.post("/v1/judgments", json={"pairs": [PAIR]}, headers=sent)
        assert posted.status_code == 200


async def test_a_link_elsewhere_may_lead_to_the_documentation(service: FastAPI) -> None:
    link = OTHER_SITES["link"]
    async with client_at(service, "127.0.0.1") as client:
        assert (await client.get("/docs", headers=link)).status_code == 200
        read = {**link, "sec-fetch-mode": "no-cors"}
        assert (await client.get("/openapi.json", headers=read)).status_code == 403


async def test_answers_are_not_guessed_at_and_not_framed(client: httpx.AsyncClient) -> None:
    for path in ("/docs", "/redoc", "/v1/judges", "/v1/none", "/static/swagger-ui-bundle.js"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["x-frame-options"] == "DENY", path
        assert not [name for name in headers if name.startswith("access-control-")]
        if path in ("/docs", "/redoc"):
            assert "frame-ancestors 'none'" in headers["content-security-policy"]


async def test_readiness_is_bare_without_a_key(service: FastAPI) -> None:
    _, reads = await make_key(service)
    _, labels = await make_key(service, "anna", scopes=frozenset({"label"}))
    async with client_of(service) as client:
        for key in (None, "trib_wrong", labels):
            assert (await client.get("/readyz", headers=bearer(key))).json() == {"status": "ready"}
        told = (await client.get("/readyz", headers=bearer(reads))).json()
        assert told["judges"]["student"]["ready"]
        service.state.runtime.opening = "hashing /srv/secret"
        bare = await client.get("/readyz")
        assert bare.status_code == 503
        assert "secret" not in bare.text
        assert "judges" not in bare.json()
        told = await client.get("/readyz", headers=bearer(reads))
        assert (told.status_code, told.json()["detail"]) == (503, "hashing /srv/secret")
        service.state.runtime.opening = None


async def test_many_probes_ask_a_judge_once(running: Runtime, client: httpx.AsyncClient) -> None:
    class Asked(PaidJudge):
        times = 0

        async def health(self) -> JudgeHealth:
            Asked.times += 1
            await asyncio.sleep(0.01)
            return JudgeHealth(True)

    judges = {**running.registry.judges, "dear": Asked("dear")}
    running.registry = replace(running.registry, judges=judges)
    async with asyncio.TaskGroup() as group:
        probes = [group.create_task(client.get("/readyz")) for _ in range(20)]
    assert all(probe.result().json()["judges"]["dear"]["ready"] for probe in probes)
    assert (await client.get("/v1/judges")).status_code == 200
    assert Asked.times == 1
    running.registry = replace(running.registry, judges={"dear": Asked("dear")})
    assert list((await client.get("/readyz")).json()["judges"]) == ["dear"]
    assert Asked.times == 2


async def test_a_fault_while_a_key_is_looked_up_is_a_problem_like_any_other(
    running: Runtime, client: httpx.AsyncClient
) -> None:
    async with running.db.write() as session:
        await session.execute(text("DROP TABLE api_keys"))
    for path in ("/v1/judges", "/docs"):
        answer = await client.get(path)
        assert answer.status_code >= 500
        assert answer.headers["content-type"] == "application/problem+json"
        assert "api_keys" not in answer.text
    assert (await client.get("/healthz")).status_code == 200
