"""With an OpenID provider: its tokens by discovery and by introspection, its keys rotated, and itself down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protogw.commands.serving import readiness
from tests.support import kit
from tests.support.backend import Backend, backend
from tests.support.drivers import Grpc
from tests.support.gateway import Running, config_of, gateway
from tests.support.idp import CLIENT, SECRET, Idp
from tests.support.processes import require_tool, run, until


@pytest.fixture(scope="module")
def service() -> Iterator[Backend]:
    with backend() as made:
        yield made


@pytest.fixture(scope="module")
def idp() -> Iterator[Idp]:
    made = Idp()
    made.start()
    yield made
    made.stop()


def config(service: Backend, folder: Path, policies: dict[str, Any]) -> dict[str, Any]:
    (folder / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    upstream = {"grpc": [f"127.0.0.1:{service.port}"], "schema": "kit.pb"}
    return config_of({"kit": upstream}, policies=policies, use=list(policies))


def ask(running: Running, token: str | None) -> tuple[int, dict[str, Any], str]:
    """What curl gets of a REST call with this token: status, body, and WWW-Authenticate."""
    bearer = ["-H", f"authorization: Bearer {token}"] if token is not None else []
    argv = [require_tool("curl"), "-sS", "--max-time", "20", *bearer, "-w", "\n%{http_code}\n%header{www-authenticate}"]
    text = run([*argv, f"http://127.0.0.1:{running.port}/v1/echo/hello"]).decode()
    body, status, challenge = text.rsplit("\n", 2)
    return int(status), json.loads(body), challenge


def test_a_providers_tokens_are_taken_by_discovery_alone(idp: Idp, service: Backend, tmp_path: Path) -> None:
    login = {
        "issuer": idp.issuer,
        "audience": ["urn:api", "urn:ec"],
        "typ": "at+jwt",
        "consumer": "client_id",
        "headers": {"x-user": "sub", "x-scopes": "scopes", "x-consumer": "consumer"},
    }
    with gateway(config(service, tmp_path, {"login": {"jwt": login}}), tmp_path) as running:
        for resource in ("urn:api", "urn:ec"):
            status, body, _ = ask(running, idp.token(resource))
            assert (status, body.get("text")) == (200, "hello"), body
            told = body["seen"]
            assert (told["x-user"], told["x-scopes"], told["x-consumer"]) == (CLIENT, "read", CLIENT)
            assert "authorization" not in told
        driver = Grpc(running.port)
        driver.extra = {"authorization": f"Bearer {idp.token()}"}
        assert driver.call("Unary", kit.message("hello")).code == 0
        driver.close()
        status, _, challenge = ask(running, idp.token("urn:other"))
        assert (status, 'error="invalid_token"' in challenge) == (401, True)
        status, _, challenge = ask(running, None)
        assert (status, challenge) == (401, 'Bearer realm="protogw"')


def test_rotated_keys_are_fetched_once_and_the_old_ones_forgotten(idp: Idp, service: Backend, tmp_path: Path) -> None:
    login = {"issuer": idp.issuer, "audience": "urn:api"}
    with gateway(config(service, tmp_path, {"login": {"jwt": login}}), tmp_path) as running:
        old = idp.token()
        assert ask(running, old)[0] == 200
        assert running.gateway.offering is not None
        policy: Any = running.gateway.offering._policies["login"]
        before = running.do(lambda: policy.fetches)
        idp.rotate()
        for _ in range(3):
            assert ask(running, idp.token())[0] == 200
        assert running.do(lambda: policy.fetches) == before + 1
        assert ask(running, old)[0] == 401


def test_without_its_provider_a_gateway_is_not_ready_and_refuses_calls(service: Backend, tmp_path: Path) -> None:
    idp = Idp()
    try:
        idp.start()
        token = idp.token()
        idp.stop()
        login = {"issuer": idp.issuer, "audience": "urn:api"}
        with gateway(config(service, tmp_path, {"login": {"jwt": login}}), tmp_path) as running:
            status, body, _ = ask(running, token)
            assert (status, body["message"]) == (503, "tokens cannot be verified now")
            found = running.do(lambda: readiness(running.gateway))
            assert (found["ready"], found["waiting_for_policies"]) == (False, {"login": f"keys of {idp.issuer}"})
            idp.start()
            until(lambda: running.do(lambda: readiness(running.gateway))["ready"], what="the keys")
            assert ask(running, idp.token())[0] == 200
            fresh = idp.token()
            idp.stop()
            assert ask(running, fresh)[0] == 200
    finally:
        idp.stop()


def test_opaque_tokens_are_asked_about_until_they_are_revoked(idp: Idp, service: Backend, tmp_path: Path) -> None:
    opaque = {
        "url": f"{idp.issuer}/token/introspection",
        "client_id": CLIENT,
        "client_secret": SECRET,
        "audience": "urn:opaque",
        "subject": "client_id",
        "remember": "1s",
        "headers": {"x-user": "subject"},
    }
    with gateway(config(service, tmp_path, {"opaque": {"introspection": opaque}}), tmp_path) as running:
        token = idp.token("urn:opaque")
        status, body, _ = ask(running, token)
        assert (status, body.get("seen", {}).get("x-user")) == (200, CLIENT), body
        assert ask(running, "nonsense")[0] == 401
        idp.revoke(token)
        until(lambda: ask(running, token)[0] == 401, what="the revocation")
