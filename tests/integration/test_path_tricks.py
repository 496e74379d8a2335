"""Paths that try to be others: whichever way a closed path or method is written, no policy is passed by."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.support import kit
from tests.support.backend import Backend, backend
from tests.support.gateway import config_of, gateway
from tests.support.plain import Plain, serving

TRICKS = [
    b"/admin",
    b"/admin/",
    b"/admin/x",
    b"/%61dmin/x",
    b"/%61%64%6d%69%6e/x",
    b"/%61DMIN/../admin/x",
    b"//admin/x",
    b"///admin/x",
    b"/pub//admin/x",
    b"/pub/../admin/x",
    b"/pub/%2e%2e/admin/x",
    b"/pub/%2E%2e/admin/x",
    b"/pub/.%2e/admin/x",
    b"/pub/..%2fadmin/x",
    b"/pub/..%2Fadmin/x",
    b"/pub%2f..%2fadmin/x",
    b"/%2fadmin/x",
    b"/%2Fadmin/x",
    b"/admin%2fx",
    b"/./admin/x",
    b"/%2e/admin/x",
    b"/pub/..;/admin/x",
    b"/pub/..;a=b/admin/x",
    b"/;/admin/x",
    b"/admin;/x",
    b"/admin;a=b/x",
    b"/admin%3b/x",
    b"/admin%00/x",
    b"/admin/x%00",
    b"/%00/admin/x",
    b"/admin\x00/x",
    b"/admin%09/x",
    b"/admin%0a/x",
    b"/pub\\..\\admin\\x",
    b"/pub/..%5cadmin/x",
    b"/pub%5c..%5cadmin/x",
    b"/%252e%252e/admin/x",
    b"/pub/%252e%252e/admin/x",
    b"/pub/..%252fadmin/x",
    b"/%2561dmin/x",
    b"/%c0%ae%c0%ae/admin/x",
    b"/pub/%c0%ae%c0%ae/admin/x",
    b"/admin?x",
    b"/admin/x?/pub/",
    b"/admin#/pub",
    b"/pub#/../admin/x",
    b"/admin/x%23",
    b"/adm%69n%2e/x",
    b"http://gw.test/admin/x",
    b"http://gw.test//admin/x",
    b"HTTP://gw.test/admin/x",
    b"http://gw.test@evil/admin/x",
    b"*",
    b"admin/x",
]


class Recording(Plain):
    """Keeps each path that it is asked for; bodies are left unread, so a connection is for one request."""

    protocol_version = "HTTP/1.0"
    paths: list[str]

    def do_GET(self) -> None:
        self.paths.append(self.path)
        self.answer(b"ok")

    do_POST = do_DELETE = do_GET


@pytest.fixture(scope="module")
def behind() -> Iterator[tuple[int, list[str]]]:
    paths: list[str] = []
    with serving(type("Kept", (Recording,), {"paths": paths})) as port:
        yield port, paths


@pytest.fixture(scope="module")
def service() -> Iterator[Backend]:
    with backend() as made:
        yield made


CLOSED = {"authorize": {"rules": [{"deny": True}]}}
BY_PATH = {"authorize": {"rules": [{"match": {"path": ["/admin", "/admin/**"]}, "deny": True}, {"anonymous": True}]}}
BY_METHOD = {"authorize": {"rules": [{"match": "kit.v1.Echo/Unary", "deny": True}, {"anonymous": True}]}}


@pytest.fixture(scope="module", params=["by route", "by rule", "by prefix cut off"])
def port(
    request: pytest.FixtureRequest,
    behind: tuple[int, list[str]],
    service: Backend,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[int]:
    """A gateway whose /admin is closed, and so is one method: by the route's policies, or by rules of a policy."""
    folder = tmp_path_factory.mktemp("tricks")
    (folder / "kit.pb").write_bytes(kit.DESCRIPTOR_SET)
    admin = [{"match": {"path": path}, "to": "www", "use": ["closed"]} for path in ("/admin", "/admin/**")]
    if request.param == "by route":
        routes, use = [*admin, {"match": {"path": "/**"}, "to": "www", "use": []}], ["by_method"]
    elif request.param == "by rule":
        routes, use = [{"match": {"path": "/**"}, "to": "www"}], ["by_path", "by_method"]
    else:
        cut = {"match": {"path": "/pub/**"}, "to": "www", "use": [], "rewrite": {"path": "/api/{**}"}}
        routes, use = [*admin, cut], ["by_method"]
    config = config_of(
        {
            "www": {"http": [f"http://127.0.0.1:{behind[0]}"]},
            "kit": {"grpc": [f"127.0.0.1:{service.port}"], "schema": "kit.pb"},
        },
        policies={"closed": CLOSED, "by_path": BY_PATH, "by_method": BY_METHOD},
        use=use,
        routes=routes,
    )
    with gateway(config, folder) as running:
        yield running.port


def ask(port: int, target: bytes, verb: bytes = b"GET") -> int:
    """One request with exactly these bytes as its target; the status, 0 when there is none."""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        body = b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{}" if verb == b"POST" else b"\r\n"
        client.sendall(verb + b" " + target + b" HTTP/1.1\r\nhost: gw.test\r\nconnection: close\r\n" + body)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    return int(answer.split()[1]) if answer else 0


@pytest.mark.parametrize("target", TRICKS)
def test_a_closed_path_stays_closed(port: int, behind: tuple[int, list[str]], target: bytes) -> None:
    paths = behind[1]
    paths.clear()
    status = ask(port, target)
    for reached in paths:
        # What went through is one that no reading makes the closed path: it came byte for byte, and has no such parts.
        assert "admin" not in reached.lower()
    assert status in (400, 401, 403, 404) or paths


@pytest.mark.parametrize(
    "target", [b"/pub/x", b"/pub/a%20b", b"/pub/%61", b"/pub/a.b", b"/pub/..a", b"/pub/", b"/pub/%ef%bc%8e%ef%bc%8e/x"]
)
def test_an_open_path_goes_on_byte_for_byte(port: int, behind: tuple[int, list[str]], target: bytes) -> None:
    paths = behind[1]
    paths.clear()
    assert ask(port, target) == 200
    assert paths in ([target.decode()], [target.decode().replace("/pub/", "/api/")])


def test_paths_differ_by_case(port: int, behind: tuple[int, list[str]]) -> None:
    behind[1].clear()
    assert ask(port, b"/Admin/x") in (200, 404)
    assert behind[1] in (["/Admin/x"], [])


@pytest.mark.parametrize("verb", b"GET POST HEAD get PUT DELETE OPTIONS CONNECT TRACE X".split())
def test_no_verb_opens_a_closed_path(port: int, behind: tuple[int, list[str]], verb: bytes) -> None:
    behind[1].clear()
    assert ask(port, b"/admin/x", verb) >= 400
    assert not behind[1]


METHOD_TRICKS = [
    b"/v1/echo",
    b"/v1/echo/x",
    b"/v1/%65cho/x",
    b"/v1//echo/x",
    b"//v1/echo/x",
    b"/v1/look/../echo/x",
    b"/v1/look/%2e%2e/echo/x",
    b"/v1/echo/x;a",
    b"/v1/echo/%00",
    b"/v1/echo/x%2f..",
    b"/V1/Echo/x",
    b"/v1/echo/x/",
    b"/kit.v1.Echo/Unary",
    b"/kit.v1.Echo/Unary/",
    b"//kit.v1.Echo/Unary",
    b"/kit.v1.Echo//Unary",
    b"/kit.v1.Echo/./Unary",
    b"/kit.v1.Echo/Look/../Unary",
    b"/kit.v1.Echo%2fUnary",
    b"/kit.v1.Echo/%55nary",
    b"/%6bit.v1.Echo/Unary",
    b"/kit.v1.Echo/unary",
    b"/KIT.V1.ECHO/UNARY",
    b"/kit.v1.Echo/Unary%00",
    b"/kit.v1.Echo/Unary;x",
    b"/kit.v1.Echo/Unary?encoding=json&message=%7B%7D&connect=v1",
    b"http://gw.test/kit.v1.Echo/Unary",
]


@pytest.mark.parametrize("port", ["by rule"], indirect=True)
@pytest.mark.parametrize("target", METHOD_TRICKS)
@pytest.mark.parametrize("verb", [b"GET", b"POST"])
def test_a_closed_method_stays_closed(port: int, service: Backend, verb: bytes, target: bytes) -> None:
    before = service.counts.started
    ask(port, target, verb)
    assert service.counts.started == before


@pytest.mark.parametrize("port", ["by rule"], indirect=True)
def test_other_methods_are_open(port: int, service: Backend) -> None:
    before = service.counts.started
    assert ask(port, b"/v1/look/x") == 200
    assert service.counts.started == before + 1
