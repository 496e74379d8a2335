"""Forward auth: what the service is asked, what its answers do, and that no answer lets nobody through."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.errors import Code, Forbidden, GatewayError, LimitReached, Overloaded, Status, Unauthenticated
from protogw.fetching import Fetcher
from protogw.identity import Identity
from protogw.policies import ext_authz_pb2
from protogw.policies.forward_auth import ForwardAuth, ForwardAuthSettings
from protogw.policies.tools import PolicyTools
from protogw.stores.registry import Stores
from protogw.wire.http import HTTP_1_1, Header, Peer, RequestHead
from tests.support import rpc
from tests.support.asked import Server, asked_server

SENT = (
    (b"authorization", b"Bearer x"),
    (b"cookie", b"a=1"),
    (b"cookie", b"b=2"),
    (b"x-many", b"1"),
    (b"x-many", b"2"),
    (b"x-forwarded-for", b"6.6.6.6"),
    (b"content-type", b"application/json"),
    (b"x-odd", b"\xff"),
)


def call(*fields: Header, method: Any = rpc.UNARY) -> Call:
    head = RequestHead(b"POST", b"/v1/echo", b"a=%20b", b"gw.test:80", fields or SENT, HTTP_1_1)
    payload = Payload(b'{"text":"x"}', Encoding.JSON, rpc.UNARY.input.codec)
    peer = Peer("192.0.2.1", 7, tls=True, identity="uri:spiffe://a/b")
    metadata = Metadata(fields or SENT)
    return Call(method, metadata, front_end="rest", peer=peer, started=0.0, head=head, payload=payload)


async def forward(call: Call) -> Reply:
    return Reply()


@pytest.fixture
async def service() -> AsyncIterator[tuple[Server, Any]]:
    async with asked_server() as made:
        yield made


def over_http(service: tuple[Server, Any], **settings: Any) -> ForwardAuth:
    server, tools = service
    made = ForwardAuth(ForwardAuthSettings.model_validate({"http": f"{server.url}/verify?x=1", **settings}))
    made.equip(tools)
    return made


# --- over HTTP --------------------------------------------------------------------------------------------------------


async def test_the_service_is_told_what_was_asked_for_and_by_whom(service: tuple[Server, Any]) -> None:
    await over_http(service)(call(), forward)
    (asked,) = service[0].asked
    assert asked.line == "GET /verify?x=1 HTTP/1.1"
    told = {name: value for name, value in asked.fields.items() if name.startswith(("x-", "auth", "cook", "content"))}
    assert told == {
        "authorization": "Bearer x",
        "cookie": "a=1; b=2",
        "x-many": "1, 2",
        "x-odd": "!",
        "x-forwarded-method": "POST",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "gw.test:80",
        "x-forwarded-uri": "/v1/echo?a=%20b",
        "x-forwarded-for": "192.0.2.1",
        "x-forwarded-call": "kit.v1.Echo/Unary",
    }


async def test_only_the_fields_that_are_named_are_sent(service: tuple[Server, Any]) -> None:
    await over_http(service, send="Authorization")(call(), forward)
    fields = service[0].asked[0].fields
    assert "authorization" in fields
    assert not {"cookie", "x-many"} & set(fields)


async def test_fields_of_the_answer_go_on_if_they_are_named(service: tuple[Server, Any]) -> None:
    service[0].fields = [("X-User", "ann"), ("X-Other", "no"), ("X-Role", "a\x01b")]
    made = call()
    policy = over_http(service, take=["x-user", "x-role"])
    await policy(made, forward)
    assert policy.written_headers == {b"x-user", b"x-role"}
    assert made.metadata.get_all(b"x-user") == [b"ann"]
    assert made.metadata.get(b"x-other") is None


async def test_the_answer_says_who_calls(service: tuple[Server, Any]) -> None:
    service[0].fields = [("x-user", "ann"), ("x-groups", "staff, root"), ("x-scopes", "read write")]
    made = call()
    where = {"subject": "header.X-User", "groups": "header.x-groups", "scopes": "header.x-scopes"}
    await over_http(service, **where, headers={"x-who": "subject"})(made, forward)
    who: Identity = made.identity
    assert (who.subject, who.scheme, who.groups, who.scopes) == (
        "ann",
        "forward_auth",
        {"staff", "root"},
        {"read", "write"},
    )
    assert made.metadata.get(b"x-who") == b"ann"


async def test_an_answer_that_should_name_the_caller_and_does_not_is_a_refusal(service: tuple[Server, Any]) -> None:
    with pytest.raises(Unauthenticated, match="names no caller"):
        await over_http(service, subject="header.x-user")(call(), forward)


async def test_a_service_that_names_nobody_leaves_who_calls_as_it_is(service: tuple[Server, Any]) -> None:
    made, before = call(), Identity(subject="ann", scheme="jwt")
    made.identity = before
    await over_http(service)(made, forward)
    assert made.identity is before


async def refused(policy: ForwardAuth, made: Call | None = None) -> GatewayError:
    async def never(call: Call) -> Reply:
        raise AssertionError("the call went on")

    with pytest.raises(GatewayError) as caught:
        await policy(made or call(), never)
    return caught.value


@pytest.mark.parametrize(
    ("status", "fields", "code", "http", "told"),
    [
        (401, [("WWW-Authenticate", "Negotiate")], Code.UNAUTHENTICATED, None, [b"www-authenticate", b"Negotiate"]),
        (401, [], Code.UNAUTHENTICATED, None, [b"www-authenticate", b"Bearer"]),
        (403, [("x-secret", "s")], Code.PERMISSION_DENIED, None, []),
        (302, [("Location", "https://login.test/?a")], Code.UNAUTHENTICATED, 302, [b"location"]),
        (404, [], Code.NOT_FOUND, 404, []),
        (418, [], Code.PERMISSION_DENIED, 418, []),
        (429, [("retry-after", "7")], Code.RESOURCE_EXHAUSTED, None, [b"retry-after", b"7"]),
    ],
)
async def test_what_is_no_2xx_is_a_refusal_of_its_kind(
    service: tuple[Server, Any], status: int, fields: Any, code: Code, http: int | None, told: list[bytes]
) -> None:
    service[0].status, service[0].fields, service[0].body = status, fields, b"not   you\n"
    error = await refused(over_http(service))
    assert (error.status.code, error.http_status, error.message) == (code, http, "not you")
    said = [part for pair in error.headers for part in pair]
    assert said[: len(told)] == told
    assert b"x-secret" not in said


async def test_a_refusal_says_when_to_come_back(service: tuple[Server, Any]) -> None:
    service[0].status, service[0].fields = 429, [("retry-after", "7")]
    error = await refused(over_http(service))
    assert isinstance(error, LimitReached)
    assert error.retry_after_s == 7.0


@pytest.mark.parametrize("body", [b"<html>" + b"x" * 5000, b"", b"a\x1b[31m", b"\xff\xfe"])
async def test_words_that_are_no_plain_short_text_are_not_passed_on(service: tuple[Server, Any], body: bytes) -> None:
    service[0].status, service[0].body = 403, body
    assert (await refused(over_http(service))).message in ("refused by the authorization service", "\ufffd\ufffd")


async def test_a_page_of_html_is_not_passed_on(service: tuple[Server, Any]) -> None:
    service[0].status, service[0].body, service[0].fields = 403, b"<b>no</b>", [("content-type", "text/html")]
    assert (await refused(over_http(service))).message == "refused by the authorization service"


@pytest.mark.parametrize("status", [500, 502, 503, 304, 100])
async def test_a_broken_service_lets_nobody_through(service: tuple[Server, Any], status: int) -> None:
    service[0].status = status
    policy = over_http(service, timeout="300ms")
    error = await refused(policy)
    assert isinstance(error, Overloaded)
    assert error.status.code is Code.UNAVAILABLE
    assert policy._unanswered.value == 1


async def test_a_slow_service_lets_nobody_through(service: tuple[Server, Any]) -> None:
    service[0].status = None
    assert isinstance(await refused(over_http(service, timeout="50ms")), Overloaded)


async def test_a_service_that_is_gone_lets_nobody_through_and_the_log_says_so_once(
    service: tuple[Server, Any], caplog: pytest.LogCaptureFixture
) -> None:
    policy = ForwardAuth(ForwardAuthSettings.model_validate({"http": "http://127.0.0.1:1/x?token=secret"}))
    policy.equip(service[1])
    with caplog.at_level(logging.WARNING, "protogw"):
        for _ in range(3):
            assert isinstance(await refused(policy), Overloaded)
    (line,) = caplog.messages
    assert line.startswith("policies.outside: there is no verdict, calls are refused: http://127.0.0.1:1/x: ")
    assert "secret" not in line


async def test_calls_are_let_through_without_a_verdict_only_where_that_is_written(service: tuple[Server, Any]) -> None:
    service[0].status = 500
    made = call()
    await over_http(service, on_error="open")(made, forward)
    assert made.identity is None


# --- over gRPC --------------------------------------------------------------------------------------------------------


class Checks:
    """A pool of services that answer all alike."""

    def __init__(self, answer: Any = None, status: Status | None = None, error: GatewayError | None = None) -> None:
        self.answer = answer if answer is not None else ext_authz_pb2.CheckResponse()
        self.status = status
        self.error = error
        self.asked: list[Any] = []
        self.calls: list[Call] = []
        self.name = self.kind = "outside"

    def connect(self, name: str, kind: str, addresses: Any, tls: bool, ca: Any) -> Any:
        self.made = (kind, addresses, tls, ca)
        return self

    async def send(self, call: Call) -> Reply:
        assert call.payload is not None
        self.calls.append(call)
        self.asked.append(ext_authz_pb2.CheckRequest.FromString(call.payload.proto()))
        if self.error is not None:
            raise self.error
        if self.status is not None:
            return Reply(status=self.status)
        data = self.answer if isinstance(self.answer, bytes) else self.answer.SerializeToString()
        return Reply(payload=Payload(data, Encoding.PROTO))


def over_grpc(checks: Checks, **settings: Any) -> ForwardAuth:
    made = ForwardAuth(ForwardAuthSettings.model_validate({"grpc": "auth.test:9000", **settings}))
    made.equip(PolicyTools("outside", Stores(), Fetcher(), {}, {}, connect=checks.connect))
    return made


def option(key: str, value: str | bytes, append: bool | None = None) -> Any:
    made = ext_authz_pb2.HeaderValueOption()
    made.header.key = key
    if isinstance(value, bytes):
        made.header.raw_value = value
    else:
        made.header.value = value
    if append is not None:
        made.append.value = append
    return made


async def test_a_check_says_all_about_the_call() -> None:
    checks = Checks()
    await over_grpc(checks, context={"zone": "eu"}, body="1KiB")(call(), forward)
    assert checks.made == ("grpc", [("auth.test", 9000)], False, None)
    assert checks.calls[0].method is not None
    assert checks.calls[0].method.path == b"/envoy.service.auth.v3.Authorization/Check"
    assert checks.calls[0].deadline is not None
    attributes = checks.asked[0].attributes
    http = attributes.request.http
    assert (http.method, http.path, http.host, http.scheme) == ("POST", "/v1/echo?a=%20b", "gw.test:80", "https")
    assert (http.protocol, http.body, http.size) == ("HTTP/1.1", '{"text":"x"}', 12)
    assert dict(http.headers)["cookie"] == "a=1; b=2"
    assert dict(http.headers)["x-odd"] == "!"
    assert attributes.source.address.socket_address.address == "192.0.2.1"
    assert attributes.source.address.socket_address.port_value == 7
    assert attributes.source.principal == "spiffe://a/b"
    assert dict(attributes.context_extensions) == {"zone": "eu", "method": "kit.v1.Echo/Unary", "front_end": "rest"}
    assert attributes.request.time.seconds > 1_600_000_000


async def test_messages_are_shown_only_up_to_the_size_that_is_written() -> None:
    checks = Checks()
    await over_grpc(checks)(call(), forward)
    await over_grpc(checks, body=5)(call(), forward)
    assert [(one.attributes.request.http.body, one.attributes.request.http.size) for one in checks.asked] == [
        ("", -1),
        ("", -1),
    ]


@pytest.mark.parametrize(("body", "encoding"), [("1KiB", Encoding.PROTO), (0, Encoding.JSON)])
async def test_a_message_goes_on_as_it_was_shown(body: str | int, encoding: Encoding) -> None:
    made = call()
    assert made.payload is not None
    assert made.payload.encoding is Encoding.JSON
    await over_grpc(Checks(), body=body)(made, forward)
    assert made.payload.encoding is encoding


async def test_an_ok_sets_adds_and_removes_fields_and_tells_the_client() -> None:
    answer = ext_authz_pb2.CheckResponse()
    fine = answer.ok_response
    fine.headers.extend([option("X-User", "ann"), option("x-raw", b"\xc3\xa9"), option("x-not-named", "z")])
    fine.headers.extend([option("x-role", "a", True), option("x-role", "b", True), option(":path", "/evil")])
    fine.headers_to_remove.extend(["Authorization", "content-type", "host"])
    fine.response_headers_to_add.extend([option("x-rate", "5"), option("content-length", "0")])
    made = call()
    reply = await over_grpc(Checks(answer), take=["x-user", "x-role", "x-raw"])(made, forward)
    assert made.metadata.get_all(b"x-user") == [b"ann"]
    assert made.metadata.get_all(b"x-raw") == [b"\xc3\xa9"]
    assert made.metadata.get_all(b"x-role") == [b"a", b"b"]
    assert made.metadata.get(b"authorization") is None
    assert made.metadata.get(b"content-type") == b"application/json"
    assert made.metadata.get(b"x-not-named") is None
    assert reply.metadata.pairs == ((b"x-rate", b"5"),)


@pytest.mark.parametrize("where", ["answer", "ok_response"])
async def test_the_metadata_of_an_ok_may_say_who_calls(where: str) -> None:
    answer = ext_authz_pb2.CheckResponse()
    metadata = answer.dynamic_metadata if where == "answer" else answer.ok_response.dynamic_metadata
    metadata.update({"user": {"id": "ann"}, "roles": ["staff"]})
    made = call()
    await over_grpc(Checks(answer), subject="metadata.user.id", groups="metadata.roles")(made, forward)
    assert (made.identity.subject, made.identity.groups) == ("ann", {"staff"})
    assert made.identity.claims["roles"] == ["staff"]


@pytest.mark.parametrize(
    ("code", "http", "meant"),
    [
        (7, 0, Code.PERMISSION_DENIED),
        (16, 0, Code.UNAUTHENTICATED),
        (7, 401, Code.UNAUTHENTICATED),
        (0, 403, Code.PERMISSION_DENIED),
        (7, 200, Code.PERMISSION_DENIED),
    ],
)
async def test_a_denial_is_a_refusal_of_its_kind(code: int, http: int, meant: Code) -> None:
    answer = ext_authz_pb2.CheckResponse()
    answer.status.code = code
    if http:
        answer.denied_response.status.code = http
        answer.denied_response.headers.append(option("location", "/login"))
        answer.denied_response.headers.append(option("x-debug", "1"))
        answer.denied_response.body = "go away"
    error = await refused(over_grpc(Checks(answer)))
    assert error.status.code is meant
    assert (b"x-debug", b"1") not in error.headers
    assert ((b"location", b"/login") in error.headers) is (http != 0)
    assert error.message == ("go away" if http else "refused by the authorization service")


@pytest.mark.parametrize(
    "checks",
    [
        Checks(status=Status(Code.UNIMPLEMENTED, "no such method")),
        Checks(error=Overloaded("full")),
        Checks(error=Forbidden("certificate")),
        Checks(answer=b"\xff\xff"),
    ],
)
async def test_no_verdict_over_grpc_lets_nobody_through(checks: Checks) -> None:
    error = await refused(over_grpc(checks))
    assert isinstance(error, Overloaded)
    assert "cannot be asked" in error.message


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({}, "either http or grpc"),
        ({"http": "http://a/", "grpc": "a:1"}, "either http or grpc"),
        ({"http": "ftp://a/"}, "is not an address"),
        ({"http": "http://user:pw@a/"}, "is not an address"),
        ({"grpc": "a"}, "pattern"),
        ({"http": "http://a/", "body": 5}, "are for grpc"),
        ({"http": "http://a/", "subject": "metadata.x"}, "only gRPC"),
        ({"http": "http://a/", "subject": "x-user"}, "where it is"),
        ({"http": "http://a/", "take": "authorization"}, "means something"),
        ({"http": "http://a/", "take": "x-forwarded-for"}, "means something"),
        ({"http": "http://a/", "headers": {"x-who": "subject"}}, "headers need subject"),
    ],
)
def test_settings_that_make_no_sense_are_told(written: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ForwardAuthSettings.model_validate(written)


def test_addresses_may_be_of_either_family() -> None:
    checks = Checks()
    over_grpc(checks, grpc=["a.b:1", "[::1]:2"])
    assert checks.made[1] == [("a.b", 1), ("::1", 2)]
