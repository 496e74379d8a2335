"""PROXY headers, both versions: read exactly, written so that others read them, refused when anything is wrong."""

from __future__ import annotations

import pytest

from protogw.wire.proxy_protocol import (
    MAX_V1,
    MAX_V2,
    SIGNATURE,
    BadProxyHeader,
    Proxied,
    crc32c,
    read,
    write_v1,
    write_v2,
)

V4 = ("192.0.2.1", 56324), ("198.51.100.7", 443)
V6 = ("2001:db8::1", 56324), ("2001:db8::2", 443)


def v2(body: bytes, *, command: int = 0x21, family: int = 0x11, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return SIGNATURE + bytes((command, family)) + size.to_bytes(2, "big") + body


ADDRESSES = bytes((192, 0, 2, 1, 198, 51, 100, 7)) + (56324).to_bytes(2, "big") + (443).to_bytes(2, "big")


def tlv(kind: int, value: bytes) -> bytes:
    return bytes((kind,)) + len(value).to_bytes(2, "big") + value


@pytest.mark.parametrize("ends", [V4, V6])
@pytest.mark.parametrize("write", [write_v1, write_v2])
def test_what_is_written_is_read_back(write: type, ends: tuple[tuple[str, int], tuple[str, int]]) -> None:
    header = write(*ends)
    assert read(header + b"rest") == (Proxied(*ends), len(header))


def test_version_1_is_written_as_the_specification_has_it() -> None:
    assert write_v1(*V4) == b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"


def test_version_2_is_written_as_the_specification_has_it() -> None:
    assert write_v2(*V4) == v2(ADDRESSES)


def test_ends_of_two_families_are_unknown_in_version_1_and_mapped_in_version_2() -> None:
    assert write_v1(V4[0], V6[1]) == b"PROXY UNKNOWN\r\n"
    found = read(write_v2(V4[0], V6[1]))
    assert found is not None
    assert found[0].source == ("::ffff:c000:201", 56324)


def test_a_scope_is_of_no_use_to_another_machine() -> None:
    assert read(write_v2(("fe80::1%eth0", 1), ("fe80::2", 2))) == (
        Proxied(("fe80::1", 1), ("fe80::2", 2)),
        52,
    )


def test_the_name_that_was_asked_for_travels_in_version_2() -> None:
    found = read(write_v2(*V4, authority="a.example"))
    assert found is not None
    assert found[0].authority == "a.example"


@pytest.mark.parametrize("header", [write_v1(*V6), write_v2(*V6, [(0x05, b"id")])])
def test_a_header_is_whole_only_with_its_last_byte(header: bytes) -> None:
    assert [read(header[:length]) for length in range(len(header))] == [None] * len(header)
    assert read(header) is not None


def test_unknown_and_local_say_nothing_of_the_client() -> None:
    assert read(b"PROXY UNKNOWN ffff:f::1 anything at all\r\n") == (Proxied(), 41)
    assert read(b"PROXY UNKNOWN\r\n") == (Proxied(), 15)
    assert read(v2(b"", command=0x20, family=0)) == (Proxied(), 16)
    assert read(v2(b"", family=0)) == (Proxied(), 16)
    assert read(v2(ADDRESSES, command=0x20)) == (Proxied(), 28)


def test_a_unix_socket_has_no_address_that_means_anything_here() -> None:
    assert read(v2(bytes(216), family=0x31)) == (Proxied(), 232)


def test_tlvs_are_kept_in_order_and_padding_is_not() -> None:
    found = read(v2(ADDRESSES + tlv(0x05, b"unique") + tlv(0x04, bytes(9)) + tlv(0xEA, b"")))
    assert found is not None
    assert found[0].tlvs == ((0x05, b"unique"), (0xEA, b""))


def test_a_checksum_is_verified() -> None:
    header = bytearray(v2(ADDRESSES + tlv(0x03, bytes(4))))
    header[-4:] = crc32c(bytes(header)).to_bytes(4, "big")
    assert read(bytes(header)) is not None
    header[20] ^= 1
    with pytest.raises(BadProxyHeader, match="checksum"):
        read(bytes(header))


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"GET / HTTP/1.1\r\n", "no PROXY header"),
        (b"\x16\x03\x01", "no PROXY header"),
        (b"PROXY\r\n", "no PROXY header"),
        (b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n", "no PROXY header"),
        (b"PROXY \r\n", "malformed"),
        (b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", "malformed"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "malformed"),
        (b"PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n", "malformed"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", "malformed"),
        (b"PROXY TCP4 ::1 ::1 1 2\r\n", "bad address"),
        (b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", "bad address"),
        (b"PROXY TCP6 fe80::1%1 ::1 1 2\r\n", "bad address"),
        (b"PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n", "bad address"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", "bad port"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", "bad port"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", "bad port"),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 ١ 2\r\n".encode(), "bad port"),
        (b"PROXY TCP4 " + b"1" * MAX_V1, "too long"),
        (b"PROXY UNKNOWN " + b"1" * MAX_V1 + b"\r\n", "too long"),
        (v2(ADDRESSES, command=0x11), "unknown version"),
        (v2(ADDRESSES, command=0x22), "unknown version"),
        (v2(ADDRESSES, family=0x13), "unknown family"),
        (v2(ADDRESSES, family=0x41), "unknown family"),
        (v2(ADDRESSES[:-1]), "too short"),
        (v2(b"", length=MAX_V2), "too long"),
        (v2(ADDRESSES + b"\x05\x00"), "inside a TLV"),
        (v2(ADDRESSES + b"\x05\x00\x02x"), "inside a TLV"),
        (v2(ADDRESSES + tlv(0x03, b"")), "checksum"),
    ],
)
def test_what_is_wrong_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(BadProxyHeader, match=said):
        read(data)
