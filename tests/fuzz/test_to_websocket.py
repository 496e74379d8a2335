"""Whatever a WebSocket service says, a call ends as a reply or an error of the gateway's own kinds."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import orjson
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from protogw_translators.to_websocket import ToWebSocket
from protogw_translators.to_websocket_members import Member
from protogw_translators.to_websocket_messages import Replies, Requests
from protogw_translators.to_websocket_settings import MethodOptions, WebSocketOptions

from protogw.call import Encoding, Payload
from protogw.descriptors.from_asyncapi import load
from protogw.descriptors.model import SchemaError
from protogw.descriptors.numbers import Numbers
from protogw.errors import GatewayError
from tests.support import exchange, feed
from tests.support.socket_upstream import Line, Service

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "text", "type", "error", "done", "header", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)
MARKS: dict[str, Any] = {"ignore": {"type": "a"}, "end": {"done": True}, "last": {"x": "*"}, "error": {"error.code": 5}}


@given(st.binary(max_size=60) | JSON.map(orjson.dumps), st.sampled_from(["json", "proto"]), st.booleans())
def test_a_message_is_read_or_refused(data: bytes, encoding: str, text: bool) -> None:
    options = MethodOptions.model_validate({"encoding": encoding, "correlation": "header.ref", **MARKS})
    reader = Replies(feed.method("Ask"), options, None)
    with contextlib.suppress(GatewayError):
        tree = reader.parse(data, text)
        assert isinstance(reader.key(data, tree), str)
        found = reader.found(data, tree)
        if found is not None and found.payload is not None:
            reader.restored(found.payload, "mine").proto()


@given(
    st.dictionaries(st.sampled_from(["id", "text", "done", "number"]), JSON, max_size=4),
    st.sampled_from(["json", "proto"]),
)
def test_a_request_carries_its_id_or_is_refused(said: dict[str, Any], encoding: str) -> None:
    options = MethodOptions.model_validate({"encoding": encoding, "correlation": "id"})
    writer = Requests(feed.method("Ask"), options, None)
    payload = Payload(orjson.dumps(said), Encoding.JSON, feed.method("Ask").input.codec)
    with contextlib.suppress(GatewayError):
        frame, own = writer.keyed(payload, "k-1")
        member = Member(feed.method("Ask").input, "id")
        sent = member.of(orjson.loads(frame.data)) if frame.text else member.of_proto(frame.data)
        assert sent == "k-1"
        assert own == (said.get("id") or "")


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=40), max_size=4), st.sampled_from(["Ask", "Watch"]), st.booleans())
def test_bytes_on_a_socket_end_as_a_reply_or_an_error(pieces: list[bytes], name: str, good: bool) -> None:
    async def script(service: Service) -> None:
        if good:
            service.send({"text": "a"})
        for piece in pieces:
            service.raw(piece)
        service.cut()

    async def run() -> None:
        options = WebSocketOptions.model_validate({"ping": "0s"})
        translator = ToWebSocket("feed:9", message_limit=1000, settings=options)
        with contextlib.suppress(GatewayError):
            async with asyncio.timeout(5):
                reply = await translator.send(feed.call(name, {"text": "a"}), Line(Service(script)))
                if reply.payloads is not None:
                    async for payload in reply.payloads:
                        payload.proto()

    asyncio.run(run())


BROKEN = st.sampled_from([None, [], {}, "x", 5, {"$ref": "#/channels"}, {"$ref": "nowhere"}, {"oneOf": [None]}, True])


@settings(max_examples=40)
@given(st.data())
def test_a_damaged_document_loads_or_names_its_fault(tmp_path_factory: Any, data: st.DataObject) -> None:
    tree = yaml.safe_load(exchange.DOCUMENT.read_text())
    at: Any = tree
    while isinstance(at, (dict, list)) and at:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(at[key], (dict, list)) or data.draw(st.integers(0, 4)) == 0:
            at[key] = data.draw(BROKEN)
            break
        at = at[key]
    folder: Path = tmp_path_factory.mktemp("damaged")
    path = folder / "a.json"
    path.write_bytes(orjson.dumps(tree))
    faults: tuple[str, ...] = ()
    try:
        load([path], upstream="exchange", numbers=Numbers())
    except SchemaError as error:
        faults = error.faults
    assert all(str(path) in fault for fault in faults)
