"""What routes take for the same is spelt the same to policies."""

from __future__ import annotations

from urllib.parse import quote_from_bytes, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.wire.spelling import host_of, network_of, path_of, segments_of


@pytest.mark.parametrize(
    ("authority", "host"),
    [(b"A.Test:80", b"a.test"), (b"[::1]:80", b"[::1]"), (b"[::1]", b"[::1]"), (b"a.test.", b"a.test"), (b"", b"")],
)
def test_the_host_is_compared_without_port_case_and_trailing_dot(authority: bytes, host: bytes) -> None:
    assert host_of(authority) == host


@pytest.mark.parametrize(
    ("path", "spelt"),
    [
        (b"/p/abc", "/p/abc"),
        (b"/p/%61b%63", "/p/abc"),
        (b"/%7Eann/%21%2c", "/~ann/!,"),
        (b"/caf%c3%a9", "/caf%C3%A9"),
        ("/caf\u00e9".encode(), "/caf%C3%A9"),
        (b"/a%2fb/", "/a%2Fb/"),
        (b"/a%20b%3f%25", "/a%20b%3F%25"),
        (b"*", "*"),
        (b"", ""),
    ],
)
def test_a_path_has_one_spelling(path: bytes, spelt: str) -> None:
    assert path_of(path) == spelt


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("not:an:address", "not:an:address"),
    ],
)
def test_all_addresses_that_one_client_has_are_one(host: str, network: str) -> None:
    assert network_of(host) == network


def test_segments_are_decoded_and_hold_encoded_slashes() -> None:
    assert segments_of(b"/v1/%61%2Fb/caf%c3%a9/%ff") == ["v1", "a/b", "caf\u00e9", "\ufffd"]


@given(st.lists(st.binary(max_size=8), max_size=4))
def test_paths_are_spelt_alike_if_their_segments_are_the_same(segments: list[bytes]) -> None:
    written = b"/" + b"/".join(quote_from_bytes(one, "").encode() for one in segments)
    all_encoded = b"/" + b"/".join(b"".join(b"%%%02x" % byte for byte in one) for one in segments)
    spelt = path_of(written)
    assert spelt == path_of(all_encoded) == path_of(spelt.encode())
    assert [unquote_to_bytes(one) for one in spelt.split("/")] == [unquote_to_bytes(one) for one in written.split(b"/")]
