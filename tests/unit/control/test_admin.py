"""The admin address: health for all who ask, everything else for those who name it rightly."""

from __future__ import annotations

import errno
import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from protogw.control.admin import Admin
from protogw.errors import GatewayError

State = dict[str, Any]


@pytest.fixture
def state() -> State:
    return {"ready": True, "draining": False}


@pytest.fixture
async def admin(state: State) -> AsyncIterator[Admin]:
    made = Admin("127.0.0.1", 0, lambda: state, {"config": lambda: {"drain": "30s"}})
    await made.start()
    yield made
    await made.stop()


async def get(
    admin: Admin, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, Any]:
    host, port = admin.address
    data = io.BytesIO(body) if body is not None else None
    if body is not None:
        headers.setdefault("content_type", "application/json")
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"http://{host}:{port}{path}", headers=fields, data=data) as answer,
    ):
        assert answer.headers["cache-control"] == "no-store"
        text = await answer.read()
        return answer.status, await answer.json() if answer.content_type == "application/json" else text


async def test_it_is_alive(admin: Admin) -> None:
    assert await get(admin, "/healthz") == (200, b"ok\n")


async def test_readiness_is_the_gateways(admin: Admin, state: State) -> None:
    assert await get(admin, "/readyz") == (200, {"ready": True, "draining": False})
    state.update(ready=False, draining=True)
    assert await get(admin, "/readyz") == (503, {"ready": False, "draining": True})


async def test_views_are_shown_as_json(admin: Admin) -> None:
    assert await get(admin, "/config") == (200, {"drain": "30s"})
    assert await get(admin, "/") == (200, {"paths": ["/healthz", "/readyz", "/config"]})


@pytest.mark.parametrize("host", ["localhost:9901", "127.0.0.1:9901", "[::1]:9901", "10.1.2.3"])
async def test_addresses_and_localhost_are_names_of_ours(admin: Admin, host: str) -> None:
    assert (await get(admin, "/config", Host=host))[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:9901", "[::1", "127.0.0.1.evil.example"])
async def test_another_name_that_leads_here_is_refused(admin: Admin, host: str) -> None:
    assert (await get(admin, "/config", Host=host))[0] in (400, 421)


async def test_probes_may_use_any_name(admin: Admin) -> None:
    assert (await get(admin, "/readyz", Host="gateway.svc"))[0] == 200


async def test_pages_of_other_origins_are_refused(admin: Admin) -> None:
    _, port = admin.address
    assert (await get(admin, "/config", Origin="http://evil.example"))[0] == 403
    assert (await get(admin, "/config", Origin="null"))[0] == 403
    assert (await get(admin, "/config", Sec_Fetch_Site="cross-site"))[0] == 403
    assert (await get(admin, "/config", Origin=f"http://127.0.0.1:{port}"))[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_nothing_can_be_changed(admin: Admin, method: str) -> None:
    assert (await get(admin, "/config", method=method))[0] == 405


async def test_an_unknown_path_is_told_as_json(admin: Admin) -> None:
    assert await get(admin, "/nosuch") == (404, {"error": "not found"})


async def test_an_address_in_use_is_told_in_one_line(admin: Admin) -> None:
    host, port = admin.address
    other = Admin(host, port, lambda: {"ready": True}, {})
    with pytest.raises(OSError, match=f"admin: cannot listen on {host}:{port}: Address already in use") as raised:
        await other.start()
    assert raised.value.errno == errno.EADDRINUSE


class Texts:
    """Documents that are known beforehand."""

    def names(self) -> list[str]:
        return ["one"]

    async def read(self, name: str, listener: str | None) -> tuple[str, bytes]:
        if name != "one":
            raise KeyError("there is no such document")
        return "text/plain", f"of {listener}".encode()


async def test_documents_are_below_schema(state: State) -> None:
    admin = Admin("127.0.0.1", 0, lambda: state, {}, Texts())
    await admin.start()
    try:
        assert await get(admin, "/") == (200, {"paths": ["/healthz", "/readyz", "/schema"]})
        assert await get(admin, "/schema") == (200, {"paths": ["/schema/one"]})
        assert await get(admin, "/schema/one") == (200, b"of None")
        assert await get(admin, "/schema/one?listener=public") == (200, b"of public")
        assert await get(admin, "/schema/two") == (404, {"error": "there is no such document"})
        assert (await get(admin, "/schema/one", Host="evil.example"))[0] == 421
    finally:
        await admin.stop()


async def test_there_are_no_documents_without_any(admin: Admin) -> None:
    assert (await get(admin, "/schema"))[0] == 404


class Open:
    """A connection that keeps what is done to it."""

    def __init__(self, gone: bool = False) -> None:
        self.pushed: list[str | bytes] = []
        self.dismissed = False
        self._gone = gone

    def describe(self) -> dict[str, Any]:
        return {"id": "a", "path": "/chat"}

    async def push(self, message: str | bytes) -> None:
        if self._gone:
            raise GatewayError("the client is gone")
        self.pushed.append(message)

    def dismiss(self) -> None:
        self.dismissed = True


@pytest.fixture
async def held() -> AsyncIterator[tuple[Admin, dict[str, Open]]]:
    connections = {"a": Open(), "b": Open(gone=True)}
    made = Admin("127.0.0.1", 0, dict, {}, connections=lambda: connections)
    await made.start()
    yield made, connections
    await made.stop()


async def test_open_connections_can_be_seen_pushed_to_and_closed(held: tuple[Admin, dict[str, Open]]) -> None:
    admin, connections = held
    assert (await get(admin, "/@connections"))[1]["connections"][0] == {"id": "a", "path": "/chat"}
    assert await get(admin, "/@connections/a") == (200, {"id": "a", "path": "/chat"})
    assert (await get(admin, "/@connections/a", method="POST", body=b'{"news":1}'))[0] == 200
    binary = {"content_type": "application/octet-stream"}
    assert (await get(admin, "/@connections/a", method="POST", body=b"\xff", **binary))[0] == 200
    assert connections["a"].pushed == ['{"news":1}', b"\xff"]
    assert (await get(admin, "/@connections/a", method="DELETE"))[0] == 200
    assert connections["a"].dismissed


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/@connections/c", b"", 404),
        ("POST", "/@connections/c", b"{}", 404),
        ("POST", "/@connections/a", b"", 400),
        ("POST", "/@connections/a", b"\xff", 400),
        ("POST", "/@connections/b", b"{}", 409),
        ("POST", "/@connections/a", bytes(2 << 20), 413),
        ("POST", "/@connections", b"{}", 405),
        ("PUT", "/@connections/a", b"{}", 405),
    ],
)
async def test_what_cannot_be_done_is_said(held, method: str, path: str, body: bytes, status: int) -> None:
    assert (await get(held[0], path, method=method, body=body))[0] == status


async def test_pages_of_others_cannot_push_or_close(held: tuple[Admin, dict[str, Open]]) -> None:
    admin, connections = held
    for method in ("POST", "DELETE"):
        for fields in ({"Origin": "https://evil.example"}, {"Sec_Fetch_Site": "cross-site"}, {"Host": "evil.example"}):
            assert (await get(admin, "/@connections/a", method=method, body=b"{}", **fields))[0] in (403, 421)
    assert connections["a"].pushed == []
    assert not connections["a"].dismissed


async def test_without_leave_there_is_nothing_to_push_to(admin: Admin) -> None:
    assert (await get(admin, "/@connections"))[0] == 404
    assert (await get(admin, "/@connections/a", method="POST", body=b"{}"))[0] == 405
