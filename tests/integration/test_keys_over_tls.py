"""Keys from a server over TLS: whose certificate counts, that no redirect is followed, and what an outage means."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protogw.assembly import KINDS, AssemblyError, build
from protogw.config import load
from tests.support.certificates import Authority
from tests.support.gateway import config_of, gateway, written
from tests.support.plain import Plain, serving
from tests.support.raw import Http1
from tests.support.tokens import jwks, key, token


class Keys(Plain):
    """A key set, and what sends elsewhere for one."""

    def do_GET(self) -> None:
        body = jwks(key()) if self.path == "/jwks" else b""
        self.answer(body, 200 if body else 302, location="/jwks")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def port(authority: Authority) -> Iterator[int]:
    pair = authority.issue("idp", names=["localhost", "127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    with serving(Keys, context) as made:
        yield made


def config(settings: dict[str, Any]) -> dict[str, Any]:
    routes = [{"match": {"path": "/**"}, "to": "none"}]
    upstreams = {"none": {"http": ["127.0.0.1:1"]}}
    return config_of(upstreams, policies={"login": {"jwt": settings}}, use="login", routes=routes)


@pytest.mark.parametrize("case", ["our authority", "the system's authorities", "a redirect"])
def test_keys_are_fetched_from_whom_the_config_trusts(
    case: str, port: int, authority: Authority, tmp_path: Path
) -> None:
    path = "moved" if case == "a redirect" else "jwks"
    settings: dict[str, Any] = {"jwks": f"https://localhost:{port}/{path}"}
    if case != "the system's authorities":
        settings["ca"] = str(authority.path)
    with gateway(config(settings), tmp_path) as running:
        client = Http1(running.port)
        exchange = client.request("GET", "/x", [("authorization", f"Bearer {token().decode()}")])
        exchange.head()
        body = exchange.body()
        client.close()
    # With keys the call gets as far as the upstream, which is not there.
    assert (b"tokens cannot be verified" in body) == (case != "our authority"), body


async def test_a_file_without_certificates_is_found_at_load(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing\n")
    made = config({"jwks": "https://idp.example/jwks", "ca": "ca.pem"})
    with pytest.raises(AssemblyError, match=r"policies\.login: .*ca\.pem"):
        build(load(written(made, tmp_path), KINDS))
