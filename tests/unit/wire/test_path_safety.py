from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.errors import InvalidRequest
from protogw.wire.path_safety import check_path

ALWAYS_REFUSED = [
    b"",
    b"*",
    b"a/b",
    b"//",
    b"/a//b",
    b"//evil.test/x",
    b"/a/../b",
    b"/..",
    b"/a/..",
    b"/a/./b",
    b"/.",
    b"/a/%2e%2e/b",
    b"/a/%2E./b",
    b"/a/.%2e/b",
    b"/a/..%2fb",
    b"/a/%2e%2e%2fb",
    b"/a/..;/b",
    b"/a/..;x=1/b",
    b"/a/.;/b",
    b"/a\\b",
    b"/a%5cb",
    b"/a%5c..%5cb",
    b"/a%00b",
    b"/%zz",
    b"/a%",
    b"/a%2",
    b"/%ff",
    b"/%c0%af",
    b"/%e0%80%af",
    b"/\xc3\xa9",
    b"/a b",
    b"/a\tb",
    b"/a\x00b",
    b"/a?b",
    b"/a#b",
]
REFUSED_WHEN_FORWARDED = [
    b"/a%2fb",
    b"/a%2Fb",
    b"/a;x=1/b",
    b"/a;b",
    b"/a%3bb",
    b"/a/%252e%252e/b",
    b"/a/%252e/b",
    b"/a%252fb",
    b"/a%255cb",
    b"/a%2500",
    b"/%2561dmin",
    b"/%252541dmin",
    b"/a%255Fb",
    b"/a%0d%0ab",
    b"/a%09b",
    b"/a%7fb",
]
ALLOWED = [
    b"/",
    b"/a",
    b"/a/",
    b"/a/b.c/d..e/...",
    b"/..a/.b",
    b"/.well-known/x",
    b"/%61dmin",
    b"/a%20b",
    b"/caf%C3%A9",
    b"/a:b@c!$&'()*+,=-._~",
    b"/100%25",
    b"/50%2520off",
    b"/100%25of",
    b"/caf%25C3%25A9",
    b"/A/b",
    b"/pkg.v1.Service/Method",
]


@pytest.mark.parametrize("path", ALWAYS_REFUSED)
@pytest.mark.parametrize("forwarded", [True, False])
def test_a_path_that_can_be_read_in_two_ways_is_refused(path: bytes, forwarded: bool) -> None:
    with pytest.raises(InvalidRequest, match="path: ") as raised:
        check_path(path, forwarded=forwarded)
    assert raised.value.status.code == 3


@pytest.mark.parametrize("path", REFUSED_WHEN_FORWARDED)
def test_a_path_that_goes_upstream_is_held_to_more(path: bytes) -> None:
    with pytest.raises(InvalidRequest):
        check_path(path)
    check_path(path, forwarded=False)


@pytest.mark.parametrize("path", ALLOWED)
def test_an_unambiguous_path_passes(path: bytes) -> None:
    check_path(path)
    check_path(path, forwarded=False)


@given(st.lists(st.sampled_from([b"/", b".", b"%2e", b"%2F", b"%5C", b"\\", b";", b"a", b"%25", b"%252e", b"%00"])))
def test_no_path_that_passes_leads_out_of_its_place(parts: list[bytes]) -> None:
    path = b"/" + b"".join(parts)
    try:
        check_path(path)
    except InvalidRequest:
        return
    for _ in range(3):
        segments = path.replace(b"\\", b"/").split(b"/")
        assert not {b".", b".."} & {segment.partition(b";")[0] for segment in segments[1:]}
        assert b"" not in segments[1:-1]
        assert b"\0" not in path
        path = unquote_to_bytes(path)


@pytest.mark.parametrize("piece", [b"/a", b"%2e", b"/..;", b"%25", b"a" * 50, b"/"])
def test_a_long_path_takes_linear_time(piece: bytes) -> None:
    for forwarded in (True, False):
        try:
            check_path(b"/" + piece * 20_000, forwarded=forwarded)
        except InvalidRequest:
            pass
