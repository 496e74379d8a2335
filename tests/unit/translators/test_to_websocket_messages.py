"""A method's messages as a socket carries them: ids put in and found, marks told apart."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from protogw_translators.to_websocket_members import Mark, Member
from protogw_translators.to_websocket_messages import Replies, Requests
from protogw_translators.to_websocket_settings import MethodOptions, WebSocketOptions, settled

from protogw.call import Encoding, Payload
from protogw.errors import BadUpstream, Code, InvalidRequest
from tests.support import feed


def settings(**said: Any) -> MethodOptions:
    return MethodOptions.model_validate(said)


def requests(name: str = "Ask", **said: Any) -> Requests:
    return Requests(feed.method(name), settings(**said), None)


def replies(name: str = "Ask", **said: Any) -> Replies:
    return Replies(feed.method(name), settings(**said), None)


def read(reader: Replies, data: bytes, *, text: bool = True) -> Any:
    return reader.found(data, reader.parse(data, text))


def test_json_of_a_client_passes_untouched() -> None:
    sent = Payload(b'{ "text" : "a" }', Encoding.JSON, feed.method("Ask").input.codec)
    assert requests().encode(sent) == (b'{ "text" : "a" }', True)


def test_protobuf_of_a_client_is_written_as_json() -> None:
    sent = Payload(b"\x12\x01a", Encoding.PROTO, feed.method("Ask").input.codec)
    assert requests().encode(sent) == (b'{"text":"a"}', True)


def test_binary_messages_are_protobuf() -> None:
    assert requests(encoding="proto").encode(feed.payload("Ask", text="a")) == (b"\x12\x01a", False)


@pytest.mark.parametrize(
    ("sent", "expected", "own"),
    [
        (b'{"text":"a"}', b'{"id":"k-1","text":"a"}', ""),
        (b"{}", b'{"id":"k-1"}', ""),
        (b"{ }", b'{"id":"k-1" }', ""),
        (b'{"id":"mine","text":"a"}', b'{"id":"k-1","text":"a"}', "mine"),
        (b'{"id":"","text":"a"}', b'{"id":"k-1","text":"a"}', ""),
        (b'{"\\u0069d":"mine"}', b'{"id":"k-1"}', "mine"),
    ],
)
def test_an_id_is_put_into_json_and_the_clients_own_remembered(sent: bytes, expected: bytes, own: str) -> None:
    made = Payload(sent, Encoding.JSON, feed.method("Ask").input.codec)
    assert requests(correlation="id").keyed(made, "k-1") == ((expected, True), own)


def test_a_nested_id_is_put_where_it_belongs() -> None:
    writer = requests(correlation={"request": "header.ref", "reply": "id"})
    frame, own = writer.keyed(feed.payload("Ask", text="a"), "k-1")
    assert (orjson.loads(frame.data), own) == ({"text": "a", "header": {"ref": "k-1"}}, "")
    frame, own = writer.keyed(feed.payload("Ask", header={"ref": "mine", "seq": "5"}), "k-1")
    assert (orjson.loads(frame.data), own) == ({"header": {"ref": "k-1", "seq": "5"}}, "mine")


@pytest.mark.parametrize("member", ["id", "header.ref"])
def test_an_id_is_put_into_protobuf(member: str) -> None:
    writer = requests(encoding="proto", correlation=member)
    frame, own = writer.keyed(feed.payload("Ask", id="mine", header={"ref": "mine", "seq": "5"}), "k-1")
    assert own == "mine"
    said = feed.tree(Payload(frame.data, Encoding.PROTO, feed.method("Ask").input.codec))
    expected = {"id": "mine", "header": {"ref": "mine", "seq": "5"}}
    if member == "id":
        expected["id"] = "k-1"
    else:
        expected["header"] = {"ref": "k-1", "seq": "5"}
    assert said == expected


def test_a_number_is_written_as_a_number() -> None:
    frame, own = requests("Count", correlation="id").keyed(feed.payload("Count", id="77", text="a"), "5")
    assert (orjson.loads(frame.data), own) == ({"id": 5, "text": "a"}, "77")
    frame, own = requests("Count", correlation="id", encoding="proto").keyed(feed.payload("Count", id="-7"), "5")
    assert (feed.tree(Payload(frame.data, Encoding.PROTO, feed.method("Count").input.codec)), own) == (
        {"id": "5"},
        "-7",
    )


@pytest.mark.parametrize("value", ["0", "1", "-1", str(1 << 40), str(-(1 << 63))])
def test_zigzag_numbers_come_back_as_they_were(value: str) -> None:
    member = Member(feed.method("Ask").input, "header.seq", needed=True)
    assert member.of_proto(member.proto(value)) == value
    printed = feed.tree(Payload(member.proto(value), Encoding.PROTO, feed.method("Ask").input.codec))
    assert printed.get("header", {}).get("seq", "0") == value


def test_a_message_is_checked_before_it_goes_where_it_could_harm_others() -> None:
    for bad in (b'{"text":1}', b"{", b'{"text":"a"}{}', b'{"nosuch":1}'):
        with pytest.raises(InvalidRequest):
            requests(correlation="id").keyed(Payload(bad, Encoding.JSON, feed.method("Ask").input.codec), "k")


@pytest.mark.parametrize(
    ("member", "message"),
    [("nosuch", "is not a member"), ("done", "neither a text nor a whole number"), ("header", "neither a text")],
)
def test_a_member_that_cannot_hold_an_id_is_refused(member: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        requests(correlation=member, encoding="proto")


def test_a_reply_finds_its_call_by_its_id_in_either_form() -> None:
    reader = replies(correlation={"request": "id", "reply": "header.ref"})
    assert reader.key(b"", {"header": {"ref": "k-1"}}) == "k-1"
    assert reader.key(b"", {"header": None}) == ""
    assert reader.key(b"", [1]) == ""
    assert reader.key(b"", {"header": {"ref": True}}) == ""
    binary = replies(encoding="proto", correlation="id")
    assert binary.key(b"\x0a\x01k", None) == "k"
    assert binary.key(b"", None) == ""
    with pytest.raises(BadUpstream, match="truncated"):
        binary.key(b"\x0a\x05k", None)


def test_the_clients_id_is_put_back_into_its_reply() -> None:
    reader = replies(correlation="id")
    found = read(reader, b'{"id":"k-1","text":"a"}')
    assert feed.tree(reader.restored(found.payload, "mine")) == {"id": "mine", "text": "a"}
    binary = replies(correlation="id", encoding="proto")
    found = read(binary, b"\x0a\x01k\x12\x01a", text=False)
    assert feed.tree(binary.restored(found.payload, "mine")) == {"id": "mine", "text": "a"}


def test_an_object_that_is_an_error_and_nothing_else_is_the_calls_status() -> None:
    found = read(replies(), b'{"error":{"code":5,"message":"none","details":[]}}')
    assert (found.payload, found.final.code, found.final.message) == (None, Code.NOT_FOUND, "none")
    assert read(replies(), b'{"error":"no","id":"1"}').payload is not None


@pytest.mark.parametrize("encoding", ["json", "proto"])
def test_messages_are_known_by_their_marks(encoding: str) -> None:
    reader = replies(
        encoding=encoding,
        ignore={"type": ["hello", "beat"]},
        end={"type": "complete"},
        last={"done": True},
        error={"type": "failed", "text": "*"},
    )

    def said(**fields: Any) -> Any:
        made = feed.payload("Ask", **fields)
        data = made.proto() if encoding == "proto" else made.data
        return read(reader, data, text=encoding == "json")

    assert said(type="hello") is None
    assert said(type="beat", text="x") is None
    assert said(type="complete").payload is None
    assert said(type="complete").final.code is Code.OK
    assert (said(text="a").final, said(done=True).final.code) == (None, Code.OK)
    assert said(done=True).payload is not None
    assert said(type="failed", text="out of paper").final.code is Code.UNKNOWN
    assert said(type="failed").final is None


def test_a_mark_is_exact_about_types() -> None:
    assert not Mark({"a": (1,)}).on({"a": True})
    assert not Mark({"a": (0,)}).on({"a": False})
    assert not Mark({"a": ("*",)}).on({"a": None})
    assert Mark({"a.b": ("*",)}).on({"a": {"b": 0}})
    assert not Mark({"a.b": ("*",)}).on({"a": [1]})
    assert not Mark({"a": (1,), "b": (2,)}).on({"a": 1})


def test_what_is_no_json_is_the_services_fault() -> None:
    for bad in (b"", b"hello", b'{"a":', b"NaN"):
        with pytest.raises(BadUpstream, match="not JSON"):
            read(replies(), bad)


def test_a_text_message_where_protobuf_is_spoken_is_the_services_fault() -> None:
    with pytest.raises(BadUpstream, match="text, where protobuf is expected"):
        replies(encoding="proto").parse(b"{}", True)


def test_what_is_written_for_a_method_goes_before_what_is_written_for_the_upstream() -> None:
    upstream = WebSocketOptions.model_validate(
        {"encoding": "proto", "correlation": "id", "methods": {"a.B/C": {"encoding": "json", "half_close": "close"}}}
    )
    chosen = settled(upstream, "a.B/C", {"correlation": None, "cancel": "x"})
    assert (chosen.encoding, chosen.half_close, chosen.cancel, chosen.sockets) == ("json", "close", "x", "per_call")
    assert chosen.correlation is not None
    assert settled(upstream, "a.B/D", {}).encoding == "proto"
