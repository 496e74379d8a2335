"""Whose word about a client's address is believed, and what services behind are told of it."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.wire.forwarded import Proxies, address, forwarded
from protogw.wire.http import HTTP_1_1, Peer, RequestHead

PROXIES = Proxies([ipaddress.ip_network(text) for text in ("10.0.0.0/8", "fd00::/8", "203.0.113.7")])
PROXY, STRANGER = Peer("10.0.0.1", 4000), Peer("198.51.100.9", 4000)


def head(*fields: tuple[str, str], authority: str = "www.example.com") -> RequestHead:
    pairs = tuple((name.encode(), value.encode("latin-1")) for name, value in fields)
    return RequestHead(b"GET", b"/", b"", authority.encode(), pairs, HTTP_1_1)


def told(peer: Peer, *fields: tuple[str, str]) -> dict[str, str]:
    """What the service is told."""
    asked = head(*fields)
    said = forwarded(PROXIES.see(asked, peer), asked.authority)
    assert len(said) == len(dict(said))
    return {name.decode(): value.decode("latin-1") for name, value in said}


def test_without_proxies_it_is_the_connection_that_counts() -> None:
    assert forwarded(Peer("192.0.2.7", 5, tls=True), b"a") == (
        (b"x-forwarded-for", b"192.0.2.7"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"a"),
    )
    assert len(forwarded(Peer("192.0.2.7", 5), b"")) == 2


CLAIMS = (
    ("x-forwarded-for", "192.0.2.1"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "evil.test"),
    ("forwarded", "for=192.0.2.2"),
    ("x-real-ip", "192.0.2.3"),
)


def test_a_stranger_is_not_believed() -> None:
    assert PROXIES.see(head(*CLAIMS), STRANGER) is STRANGER
    assert told(STRANGER, *CLAIMS) == {
        "x-forwarded-for": "198.51.100.9",
        "x-forwarded-proto": "http",
        "x-forwarded-host": "www.example.com",
    }


def test_a_trusted_proxy_is_believed_and_added_to() -> None:
    peer = PROXIES.see(head(*CLAIMS), PROXY)
    assert (peer.host, peer.port, peer.tls) == ("192.0.2.1", 0, True)
    assert told(PROXY, *CLAIMS, ("x-forwarded-port", "443")) == {
        "x-forwarded-for": "192.0.2.1, 10.0.0.1",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "evil.test",
        "x-forwarded-port": "443",
        "forwarded": 'for=192.0.2.2, for=10.0.0.1;proto=http;host="www.example.com"',
        "x-real-ip": "192.0.2.1",
    }


def test_a_trusted_proxy_that_says_nothing_is_the_client() -> None:
    assert PROXIES.see(head(), PROXY) is PROXY
    assert told(PROXY)["x-forwarded-for"] == "10.0.0.1"


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("1.1.1.1, 192.0.2.1", "192.0.2.1"),
        ("1.1.1.1, 192.0.2.1, 10.9.9.9", "192.0.2.1"),
        ("192.0.2.1, 203.0.113.7, 10.9.9.9", "192.0.2.1"),
        ("10.8.8.8, 10.9.9.9", "10.8.8.8"),
        ("192.0.2.1:5678", "192.0.2.1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("unknown", "10.0.0.1"),
        ("192.0.2.1, unknown, 10.9.9.9", "10.9.9.9"),
        ("192.0.2.1, , 10.9.9.9", "10.9.9.9"),
        ("'; drop table", "10.0.0.1"),
        ("é", "10.0.0.1"),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_no_trusted_proxys(chain: str, client: str) -> None:
    assert PROXIES.see(head(("x-forwarded-for", chain)), PROXY).host == client


def test_fields_of_one_name_are_one_chain() -> None:
    fields = (("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "10.2.2.2"))
    assert PROXIES.see(head(*fields), PROXY).host == "192.0.2.1"
    assert told(PROXY, *fields)["x-forwarded-for"] == "192.0.2.1, 10.2.2.2, 10.0.0.1"


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("for=192.0.2.1;proto=https, for=10.1.1.1", "192.0.2.1"),
        ('For="[2001:db8::1]:443"', "2001:db8::1"),
        ("for=_hidden", "10.0.0.1"),
        ("proto=https", "10.0.0.1"),
        ("xfor=192.0.2.1", "10.0.0.1"),
    ],
)
def test_forwarded_names_the_client_where_nothing_else_does(value: str, client: str) -> None:
    assert PROXIES.see(head(("forwarded", value)), PROXY).host == client


def test_a_real_ip_names_the_client_where_nothing_else_does() -> None:
    assert PROXIES.see(head(("x-real-ip", "192.0.2.1")), PROXY).host == "192.0.2.1"
    twice = head(("x-real-ip", "192.0.2.1"), ("x-real-ip", "192.0.2.2"))
    assert PROXIES.see(twice, PROXY).host == "10.0.0.1"


@pytest.mark.parametrize(
    "fields", [(("x-forwarded-proto", "gopher"),), (("x-forwarded-proto", "https"), ("x-forwarded-proto", "http"))]
)
def test_a_scheme_that_is_none_or_two_is_not_believed(fields: tuple[tuple[str, str], ...]) -> None:
    assert not PROXIES.see(head(*fields), PROXY).tls
    assert told(PROXY, *fields)["x-forwarded-proto"] == "http"


def test_a_host_that_is_none_is_not_passed_on() -> None:
    assert told(PROXY, ("x-forwarded-host", "a b"))["x-forwarded-host"] == "www.example.com"


def test_who_a_certificate_names_stays() -> None:
    peer = Peer("10.0.0.1", 4, tls=True, identity="dns:proxy")
    seen = PROXIES.see(head(("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "http")), peer)
    assert (seen.host, seen.tls, seen.identity) == ("192.0.2.1", False, "dns:proxy")


@given(st.lists(st.tuples(st.sampled_from(["x-forwarded-for", "forwarded", "x-real-ip"]), st.text(max_size=40))))
def test_nothing_that_is_said_does_more_than_name_an_address(fields: list[tuple[str, str]]) -> None:
    pairs = [(name, value.encode("utf-8", "replace").decode("latin-1")) for name, value in fields]
    peer = PROXIES.see(head(*pairs), PROXY)
    assert address(peer.host.encode()) is not None
