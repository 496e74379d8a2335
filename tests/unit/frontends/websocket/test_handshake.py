"""What the request that opens a socket says, and which are refused."""

from __future__ import annotations

import pytest

from protogw.errors import InvalidRequest
from protogw.frontends.origins import ForeignOrigin, Origins
from protogw.frontends.websocket.handshake import JSON, PROTO, Opening
from protogw.frontends.websocket.settings import WebSocketSettings
from tests.support.sockets import opening

KNOWN = (JSON, PROTO)
TOKEN = "eyJhbGciOiJub25lIn0.e30."


def read(path: str = "/x", subprotocols: tuple[str, ...] = (), *fields: tuple[str, str], **settings: object) -> Opening:
    written = WebSocketSettings.model_validate(settings)
    return Opening(opening(path, subprotocols, *fields), written, Origins(written.origins), KNOWN, "id-1")


@pytest.mark.parametrize(
    "origin",
    ["http://gw.test", "https://gw.test", "https://gw.test:443", "http://gw.test:80", "HTTPS://GW.test"],
)
def test_a_page_of_the_gateways_own_host_may_connect(origin: str) -> None:
    assert read("/x", (), ("origin", origin)).subprotocol == ""


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "https://gw.test.evil.example",
        "https://evilgw.test",
        "https://gw.test:8443",
        "https://gw.test:80",
        "gw.test",
        "",
        "https://gw.test/",
    ],
)
def test_a_page_of_another_origin_is_refused_before_the_socket_is_open(origin: str) -> None:
    with pytest.raises(ForeignOrigin) as caught:
        read("/x", (), ("origin", origin))
    assert caught.value.http_status == 403


def test_origins_may_be_listed_also_all_below_one_or_all_there_are() -> None:
    listed = ("same", "https://app.example", "https://*.apps.example")
    for good in ("https://app.example", "https://a.apps.example", "http://gw.test"):
        read("/x", (), ("origin", good), origins=listed)
    for bad in ("https://apps.example", "http://app.example", "https://evilapps.example"):
        with pytest.raises(ForeignOrigin):
            read("/x", (), ("origin", bad), origins=listed)
    read("/x", (), ("origin", "https://evil.example"), origins=("*",))


def test_two_origins_are_none() -> None:
    with pytest.raises(ForeignOrigin):
        read("/x", (), ("origin", "http://gw.test"), ("origin", "http://gw.test"))


def test_cookies_without_an_origin_are_refused_and_a_client_that_is_no_page_is_not() -> None:
    with pytest.raises(ForeignOrigin):
        read("/x", (), ("cookie", "session=1"))
    assert read().token is None


def test_the_first_known_subprotocol_is_answered() -> None:
    assert read("/x", ("other", PROTO, JSON)).answer == PROTO
    with pytest.raises(InvalidRequest, match=r"only protogw\.json, protogw\.proto"):
        read("/x", ("other",))


def test_a_token_among_the_subprotocols_is_metadata_and_never_answered() -> None:
    found = read("/x", ("bearer", TOKEN, JSON))
    assert found.metadata.get(b"authorization") == b"Bearer " + TOKEN.encode()
    assert found.answer == JSON
    alone = read("/x", ("bearer", TOKEN))
    assert (alone.answer, alone.subprotocol) == ("bearer", "")
    assert all(TOKEN.encode() not in value for name, value in alone.metadata if name != b"authorization")


def test_a_token_in_the_query_is_metadata_and_goes_no_further() -> None:
    found = read(f"/x?a=1&access_token={TOKEN}&b=2")
    assert found.query == b"a=1&b=2"
    assert found.metadata.get(b"authorization") == b"Bearer " + TOKEN.encode()
    assert read(f"/x?%61ccess_token={TOKEN}").query == b""


@pytest.mark.parametrize(
    ("path", "subprotocols", "fields"),
    [
        (f"/x?access_token={TOKEN}", ("bearer", TOKEN), ()),
        (f"/x?access_token={TOKEN}", (), (("authorization", "Bearer x"),)),
        (f"/x?access_token={TOKEN}&access_token=b", (), ()),
        ("/x?access_token=a%20b", (), ()),
        ("/x?access_token=a%0d%0ab", (), ()),
        ("/x?access_token=", (), ()),
        ("/x", (JSON, "bearer"), ()),
    ],
)
def test_tokens_that_contradict_each_other_or_are_none_are_refused(path, subprotocols, fields) -> None:
    with pytest.raises(InvalidRequest):
        read(path, subprotocols, *fields)


def test_a_place_for_tokens_can_be_closed() -> None:
    with pytest.raises(InvalidRequest):
        read(f"/x?access_token={TOKEN}", token=("header",))
    with pytest.raises(InvalidRequest):
        read("/x", ("bearer", TOKEN), token=("header",))
    assert read("/x", (), ("authorization", "Basic eA=="), token=("query",)).metadata.get(b"authorization") is None


def test_metadata_is_the_fields_without_those_of_the_handshake() -> None:
    found = read("/x", (JSON,), ("x-user", "7"), ("x-connection-id", "mine"), ("x-blob-bin", "AAE="))
    assert dict(found.metadata) == {b"x-user": b"7", b"x-blob-bin": b"AAE", b"x-connection-id": b"id-1"}


def test_a_deadline_is_read_as_from_any_request() -> None:
    assert read("/x", (), ("grpc-timeout", "250m")).timeout == 0.25
    assert read("/x", (), ("x-server-timeout", "1.5")).timeout == 1.5
    for name, value in (("grpc-timeout", "1"), ("x-server-timeout", "soon")):
        with pytest.raises(InvalidRequest):
            read("/x", (), (name, value))
