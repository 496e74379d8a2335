"""Large JSON that is refused: as quickly as it would be read, with what the parsers say instead of a search."""

from __future__ import annotations

import json

import pytest

from protogw.errors import InvalidRequest
from protogw.wire import protojson_check, protojson_explain
from tests.support import rpc

CODEC = rpc.UNARY.input.codec
PAD = b'"text":"' + b"x" * protojson_check.MAX_EXPLAINED + b'",'

REFUSED = [
    b'{%s"number":1e999}',
    b'{%s"number":1e1000000000}',
    b'{%s"number":' + b"9" * 100_000 + b"}",
    b'{%s"number":NaN}',
    b'{%s"number":12345678901234567890123}',
    b'{%s"number":"1e999"}',
    b'{%s"number":1',
    b'{%s"number":1}}',
    b'{%s"tags":["\\ud800"]}',
    b'{%s"tags":["\xff"]}',
    b'{%s"tags":["a\x00"]}',
    b'{%s"number":1,"number":1}',
    b'{%s"unknown":1}',
    b'{%s"seen":' + b"[" * 100_000 + b"}",
    b'{%s"plan":' * 100_000,
    b'\xef\xbb\xbf{%s"number":1}',
]


@pytest.mark.parametrize("body", REFUSED, ids=[str(body[:30]) for body in REFUSED])
def test_what_is_refused_is_refused_however_much_there_is_of_it(body: bytes) -> None:
    for pad in (b"", PAD):
        with pytest.raises(InvalidRequest) as caught:
            CODEC.from_json(body.replace(b"%s", pad, 1).replace(b"%s", b""))
        assert len(caught.value.message) < 400
        assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "body",
    [
        b"{" + b",".join(b'"k%d":1' % number for number in range(100_000)) + b"}",
        b"{" + b",".join(b'"k%d":1' % number for number in range(100_000)) + b",}",
        b'{"tags":[' + b"1," * 1_000_000 + b"1]}",
        b'{"text":' + b" " * 1_000_000,
    ],
    ids=["keys", "keys and a comma", "numbers for text", "space"],
)
def test_large_bodies_are_not_searched_with_the_slow_parser(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    class Never(json.JSONDecoder):
        def decode(self, s: str, *_: object) -> object:
            raise AssertionError("the slow parser was asked")

    monkeypatch.setattr(protojson_explain, "_DECODER", Never())
    monkeypatch.setattr(protojson_check, "_STRICT", Never())
    with pytest.raises(InvalidRequest):
        CODEC.from_json(body)
