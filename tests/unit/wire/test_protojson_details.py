"""Error details: any detail can be shown as JSON, and what is shown can be read."""

from __future__ import annotations

import json

import pytest
from google.rpc import error_details_pb2

from protogw.descriptors.model import Type
from protogw.errors import Detail, InvalidRequest
from protogw.wire.protojson_details import detail_from_json, detail_to_json
from tests.support.oracle import compiled
from tests.unit.wire.test_protojson import KIT

GOOGLE = "type.googleapis.com/"
INFO = error_details_pb2.ErrorInfo(reason="GONE", domain="d", metadata={"a": "b"})


def nothing(name: str) -> Type | None:
    return None


def test_googles_details_are_known_without_a_schema() -> None:
    detail = Detail(GOOGLE + "google.rpc.ErrorInfo", INFO.SerializeToString())
    text = detail_to_json(detail, nothing)
    assert json.loads(text) == {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "GONE",
        "domain": "d",
        "metadata": {"a": "b"},
    }
    assert detail_from_json(text, nothing) == detail


def test_an_empty_detail_has_its_type_only() -> None:
    assert detail_to_json(Detail("x/google.rpc.ErrorInfo", b""), nothing) == b'{"@type":"x/google.rpc.ErrorInfo"}'


def test_well_known_types_are_in_value() -> None:
    detail = Detail(GOOGLE + "google.protobuf.Duration", b"\x08\x05")
    text = detail_to_json(detail, nothing)
    assert text == b'{"@type":"type.googleapis.com/google.protobuf.Duration","value":"5s"}'
    assert detail_from_json(text, nothing) == detail


def test_a_services_own_details_are_looked_up_in_its_schema() -> None:
    detail = Detail("example.com/kit.Plain", b"\x0a\x01x")
    text = detail_to_json(detail, compiled(KIT).types.get)
    assert text == b'{"@type":"example.com/kit.Plain","id":"x"}'
    assert detail_from_json(text, compiled(KIT).types.get) == detail


@pytest.mark.parametrize(
    "detail",
    [
        Detail("example.com/nope.Nope", b"\x00\xff"),
        Detail("no slash", b""),
        Detail("", b"\x01"),
        Detail('x/"quoted"', b"a"),
    ],
)
def test_unknown_types_are_shown_in_base64(detail: Detail) -> None:
    shown = json.loads(detail_to_json(detail, nothing))
    assert shown.keys() == {"@type", "value"}
    assert shown["@type"] == detail.type_url


def test_what_does_not_parse_as_its_type_is_shown_in_base64() -> None:
    text = detail_to_json(Detail(GOOGLE + "google.rpc.ErrorInfo", b"\xff"), nothing)
    assert json.loads(text) == {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "value": "/w=="}


def test_unknown_types_are_read_from_base64() -> None:
    assert detail_from_json(b'{"@type":"a/b.C","value":"AP8"}', nothing) == Detail("a/b.C", b"\x00\xff")


def test_a_type_without_a_slash_gets_googles_prefix() -> None:
    assert detail_from_json(b'{"@type":"google.rpc.ErrorInfo","reason":"A"}', nothing).type_url == (
        GOOGLE + "google.rpc.ErrorInfo"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"@type":1}',
        '{"@type":"a/b.C"}',
        '{"@type":"a/b.C","value":1}',
        '{"@type":"a/b.C","value":"*"}',
        '{"@type":"a/b.C","value":"","more":1}',
        '{"@type":"a/google.rpc.ErrorInfo","reason":1}',
        '{"@type":"a/google.protobuf.Duration"}',
        '{"@type":"a/google.protobuf.Duration","value":"x"}',
    ],
)
def test_what_is_no_detail_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        detail_from_json(text.encode(), nothing)
