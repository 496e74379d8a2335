"""HPACK against the RFC's own examples, the hpack package, and hostile bytes."""

from __future__ import annotations

import random

import hpack
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given, settings
from hypothesis import strategies as st

from protogw.wire import hpack as ours
from protogw.wire import huffman as codes
from protogw.wire.hpack import (
    STATIC,
    Decoder,
    FieldsTooLarge,
    MalformedFields,
    encode,
    encode_integer,
    table_size_update,
)
from protogw.wire.http import Header
from protogw.wire.huffman import HpackError, decode_ahead, decode_huffman

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=40).map(str.encode)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=200).map(str.encode)
FIELDS = st.lists(st.tuples(NAMES | st.sampled_from([name for name, _ in STATIC]), VALUES), max_size=20)


def decoder(header_bytes: int = 1 << 16, header_count: int = 200, table_bytes: int = 4096) -> Decoder[list[Header]]:
    return Decoder(list, header_bytes=header_bytes, header_count=header_count, table_bytes=table_bytes)


@given(FIELDS)
def test_what_is_encoded_is_what_the_hpack_package_decodes(fields: list[Header]) -> None:
    expected = [(bytes(name), bytes(value)) for name, value in hpack.Decoder(1 << 20).decode(encode(fields), raw=True)]
    assert expected == fields


@given(FIELDS)
def test_encoding_touches_no_dynamic_table_and_uses_no_huffman(fields: list[Header]) -> None:
    peer = hpack.Decoder(1 << 20)
    peer.decode(encode(fields), raw=True)
    assert not peer.header_table.dynamic_entries
    assert encode(fields) == encode(tuple(fields)) == encode(tuple(fields))


@given(st.lists(st.tuples(FIELDS, st.booleans(), st.sampled_from([None, 0, 64, 200, 4096])), max_size=8))
def test_what_the_hpack_package_encodes_is_decoded(blocks: list[tuple[list[Header], bool, int | None]]) -> None:
    peer = hpack.Encoder()
    mine = decoder(1 << 20)
    for fields, huffman, size in blocks:
        if size is not None:
            peer.header_table_size = size
        for _ in range(2):
            block = peer.encode(fields, huffman=huffman)
            assert mine.blocks.get(block, mine.decode(block) if block not in mine.blocks else None) == fields


@given(st.binary(max_size=300))
@settings(max_examples=500)
def test_any_string_survives_huffman_coding(text: bytes) -> None:
    coder = hpack.hpack.HuffmanEncoder(
        hpack.huffman_constants.REQUEST_CODES, hpack.huffman_constants.REQUEST_CODES_LENGTH
    )
    assert decode_huffman(coder.encode(text)) == text


@given(st.lists(st.binary(max_size=200), max_size=6))
@settings(max_examples=1000)
def test_random_bytes_are_decoded_or_refused(blocks: list[bytes]) -> None:
    mine = decoder()
    for block in blocks:
        try:
            mine.decode(block)
        except HpackError:
            break
        except (MalformedFields, FieldsTooLarge):
            pass


@given(st.lists(st.binary(max_size=60), max_size=4))
@settings(max_examples=1000)
def test_random_bytes_decode_to_what_the_hpack_package_makes_of_them(blocks: list[bytes]) -> None:
    mine, peer = decoder(1 << 20, 10_000), hpack.Decoder(1 << 20)
    for block in blocks:
        try:
            got = mine.decode(block)
        except HpackError:
            # The package takes integers and paddings that no encoder may write; it refuses nothing that we take.
            return
        except MalformedFields:
            got = None
        expected = [(bytes(name), bytes(value)) for name, value in peer.decode(block, raw=True)]
        assert got is None or got == expected
        assert list(mine._table) == [(bytes(n), bytes(v)) for n, v in peer.header_table.dynamic_entries]


def test_the_examples_of_rfc_7541_with_huffman_coding() -> None:
    """Appendix C.4 and C.6."""
    mine = decoder()
    host = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")]
    assert mine.decode(bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff")) == host
    assert mine.decode(bytes.fromhex("828684be5886a8eb10649cbf")) == [*host, (b"cache-control", b"no-cache")]
    block = bytes.fromhex("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf")
    assert mine.decode(block)[-1] == (b"custom-key", b"custom-value")
    small = decoder(table_bytes=256)
    start = "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839"
    for block in (
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        start + "bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ):
        fields = small.decode(bytes.fromhex(block))
    assert fields == [
        (b":status", b"200"),
        (b"cache-control", b"private"),
        (b"date", b"Mon, 21 Oct 2013 20:13:22 GMT"),
        (b"location", b"https://www.example.com"),
        (b"content-encoding", b"gzip"),
        (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ]
    assert small._size == 215


def literal(name: bytes, value: bytes, first: int = 0x40) -> bytes:
    return bytes((first, len(name))) + name + encode_integer(len(value), 7) + value


def test_a_block_that_leaves_the_table_alone_gives_the_same_object_until_the_table_changes() -> None:
    mine = decoder()
    mine.decode(literal(b"a", b"1"))
    first = mine.decode(b"\xbe")
    assert mine.blocks[b"\xbe"] is first
    mine.decode(literal(b"b", b"2"))
    assert b"\xbe" not in mine.blocks
    assert mine.decode(b"\xbe") == [(b"b", b"2")]
    assert mine.decode(b"\xbf") is first  # the same list, though its block is another now


def test_what_is_kept_is_bounded() -> None:
    mine = decoder()
    for number in range(1000):
        mine.decode(literal(b"a", b"%d" % number, 0x00))
    assert len(mine.blocks) <= 32
    assert len(mine._known) <= 32
    for number in range(5000):
        for _ in range(2):
            encode(((b"x", b"%d" % number),))
        encode([(b"n%d" % number, b"1")])
    assert len(ours._encoded_names) <= 1024
    assert len(ours._encoded_lists) <= 1024
    assert len(ours._names) <= 4096 + len(STATIC)
    mine.forget()
    assert not mine.blocks


def test_sensitive_values_are_sent_never_to_be_indexed_and_are_not_remembered() -> None:
    for name in (b"authorization", b"cookie", b"set-cookie", b"x-api-key"):
        for _ in range(3):
            field = encode(((name, b"secret-value-1"),))
            assert field[0] & 0xF0 == 0x10
        assert ((name, b"secret-value-1"),) not in ours._encoded_lists


@pytest.mark.parametrize(
    "pair",
    [
        (b"a", b"b\r\nc: d"),
        (b"a", b"b\nc"),
        (b"a", b"b\0"),
        (b"a", b" b"),
        (b"a", b"b\t"),
        (b"A", b"b"),
        (b"a b", b"c"),
        (b"a:", b"c"),
        (b"", b"c"),
        (b":colour", b"red"),
    ],
)
def test_fields_that_no_peer_may_be_sent_are_not_encoded(pair: Header) -> None:
    with pytest.raises(ValueError, match=r"field name|control characters"):
        encode([pair])


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ("80", "index 0"),
        ("be", "past the table"),
        ("ff8080808001", "past the table|too large"),
        ("7e00", "past the table"),
        ("00", "cut short"),
        ("0001", "cut short"),
        ("00016105", "cut short"),
        ("0001610561", "cut short"),
        ("00ffffffffff0f", "too large"),
        ("007fffffffffffffffffff7f", "too large"),
        ("ffffffffffffffffff01", "too large"),
        ("ff80808080808080808000", "too large"),
        ("3fe21f", "larger than allowed"),
        ("8220", "after a field"),
        ("0081ff00", "padding|code"),
        ("00016182fffe", "code|padding"),
        ("00016181ff", "padding"),
        ("0001618108", "padding"),
        ("00016184ffffffff", "code"),
        ("000161843fffffff", "code|padding"),
    ],
)
def test_broken_blocks_lose_the_compression_state(block: str, reason: str) -> None:
    with pytest.raises(HpackError, match=reason):
        decoder().decode(bytes.fromhex(block))


@pytest.mark.parametrize(
    "block",
    [
        literal(name, value)
        for name, value in [
            (b"A", b"b"),
            (b"", b"b"),
            (b"a b", b"c"),
            (b"a", b"b\r\nc"),
            (b"a", b"\x00"),
            (b"a", b" b"),
            (b"a", b"b\t"),
            (b":x", b"y"),
        ]
    ],
)
def test_fields_with_forbidden_bytes_are_malformed_also_when_the_table_brings_them_back(block: bytes) -> None:
    mine = decoder()
    mine.decode(literal(b"good", b"one"))
    with pytest.raises(MalformedFields):
        mine.decode(block)
    with pytest.raises(MalformedFields):
        mine.decode(b"\xbe")
    assert mine.decode(b"\xbf") == [(b"good", b"one")]


def test_a_list_over_the_limit_is_refused_and_the_state_stays_good() -> None:
    mine = decoder(header_bytes=10_000)
    mine.decode(literal(b"x", b"a" * 4000))
    with pytest.raises(FieldsTooLarge):
        mine.decode(b"\xbe" * 3)
    with pytest.raises(FieldsTooLarge):
        mine.decode(b"\xbe" * 60_000)
    assert mine.decode(b"\xbe\xbe") == [(b"x", b"a" * 4000)] * 2
    with pytest.raises(FieldsTooLarge):
        mine.decode(b"\x82" * 201)


def test_the_table_obeys_its_size_and_evicts_the_oldest() -> None:
    mine = decoder()
    for number in range(500):
        mine.decode(literal(b"n", b"%04d" % number))
        assert mine._size <= 4096
    assert mine._size == len(mine._table) * 37
    mine.decode(table_size_update(74))
    assert [value for _, value in mine._table] == [b"0499", b"0498"]
    mine.decode(literal(b"n", b"x" * 100))
    assert not mine._table
    mine.decode(table_size_update(0) + table_size_update(4096) + literal(b"n", b"1"))
    assert len(mine._table) == 1


def test_decoding_is_linear_in_the_block() -> None:
    """An index of one octet for an entry of 4000 bytes costs a reference, not a copy."""
    mine = decoder()
    mine.decode(literal(b"x", b"a" * 4000))
    with pytest.raises(FieldsTooLarge):
        mine.decode(b"\xbe" * (1 << 16))


def test_huffman_states_are_found_as_they_are_needed() -> None:
    numbers = random.Random(3)
    for _ in range(2000):
        data = numbers.randbytes(20)
        try:
            decode_huffman(data)
        except HpackError:
            pass
    assert len(codes._states) <= 257
    assert len(codes.strings) <= 4096


def _coded(text: bytes) -> bytes:
    return HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(text)


def _literal(data: bytes) -> bytes:
    return b"\x01" + encode_integer(len(data), 7, 0x80) + data


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.binary(max_size=3))
def test_strings_decoded_ahead_are_those_decoded_one_by_one(texts: list[bytes], rest: bytes) -> None:
    codes.strings.clear()
    coded = [_coded(text) for text in texts]
    found = decode_ahead(b"".join(map(_literal, coded)) + rest, 0)
    for data, text in zip(coded, texts, strict=True):
        assert found[data] == text
        codes.strings.clear()
        assert decode_huffman(data) == text


@given(st.binary(min_size=1, max_size=40))
def test_no_code_is_taken_ahead_that_would_be_refused_by_itself(data: bytes) -> None:
    codes.strings.clear()
    ahead = decode_ahead(_literal(data), 0).get(data)
    codes.strings.clear()
    try:
        alone = decode_huffman(data)
    except HpackError:
        assert ahead is None
    else:
        assert ahead in (None, alone)


@pytest.mark.parametrize("data", [b"\x00", b"\x07\xff", b"\xff\xff\xff\xff", b"\x1e"])
def test_wrong_padding_and_an_end_of_string_are_refused_in_a_block(data: bytes) -> None:
    codes.strings.clear()
    with pytest.raises(HpackError):
        decoder().decode(_literal(data))


def test_without_native_code_blocks_decode_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    block = _literal(_coded(b"gw.test")) + _literal(_coded(b"x" * 400))
    codes.strings.clear()
    native = decoder().decode(block)
    codes.strings.clear()
    monkeypatch.setattr(codes, "_native", None)
    assert decoder().decode(block) == native
