"""Whatever a client says on a socket ends with a close code or an answer: never in silence, nor in a fault of ours."""

from __future__ import annotations

import asyncio
import json

import orjson
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from protogw.errors import InvalidRequest
from protogw.fanin.fields import TextField
from protogw.fanin.hub import Hub, Member, Rules
from protogw.frontends.websocket.calls import Calls
from protogw.frontends.websocket.handshake import Opening, Origins
from protogw.frontends.websocket.jsonrpc import JsonRpc
from protogw.frontends.websocket.settings import WebSocketSettings
from protogw.websocket import SocketClosed
from tests.support.sockets import TALK, Service, front, message, opened, opening

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
KEYS = ["type", "id", "method", "metadata", "timeout_ms", "credit", "end", "binary", "messages", "access_token"]
KINDS = ["open", "message", "end", "cancel", "credit", "token"]
FRAMES = st.builds(
    lambda kind, fields, body: json.dumps({"type": kind, **fields}) + body,
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(KEYS), VALUES | st.sampled_from([1, "chat.v1.Chat/Talk"]), max_size=6),
    st.sampled_from(["", "\n{}", "\n", "\n\n", "\n{"]),
)
REQUESTS = st.builds(
    lambda fields: json.dumps({"jsonrpc": "2.0", **fields}),
    st.dictionaries(st.sampled_from(["jsonrpc", "id", "method", "params"]), VALUES, max_size=4),
)


@given(st.text(max_size=200) | st.binary(max_size=200) | FRAMES)
@example("\ud800")
def test_a_frame_is_read_or_refused(said: str | bytes) -> None:
    try:
        if isinstance(said, str):
            said.encode()
    except UnicodeEncodeError:
        return  # no text frame has it: the socket refuses it before
    try:
        actions = Calls().read(said)
    except InvalidRequest:
        return
    assert len(actions) == 1


@given(st.text(max_size=200) | REQUESTS | st.lists(REQUESTS, max_size=5).map(lambda found: f"[{','.join(found)}]"))
def test_a_request_is_read_or_answered(said: str) -> None:
    for action in JsonRpc().read(said):
        if type(action).__name__ == "Say":
            orjson.loads(action.message)  # type: ignore[union-attr]


@given(st.binary(max_size=100))
def test_a_hub_reads_any_bytes_or_refuses_them(data: bytes) -> None:
    fields = {name: TextField(TALK.input, path) for name, path in (("key", "who.key"), ("subscribe", "join"))}
    hub: Hub[Member] = Hub(Rules(**fields, reply_key=TextField(TALK.output, "to")))
    member = Member("alice")
    hub.join(member)
    try:
        marked = hub.request(member, data)
        hub.recipients(data)
    except InvalidRequest:
        return
    try:
        said = message("Say", marked)
    except DecodeError:
        return  # no message of the type: for the service to refuse
    assert said.who.key == "alice"


FIELDS = st.sampled_from(
    ["origin", "authorization", "sec-websocket-protocol", "grpc-timeout", "x-server-timeout", "cookie", "x-a-bin"]
)
VISIBLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=30)


@given(
    st.lists(st.tuples(FIELDS, VISIBLE), max_size=6),
    st.text(st.sampled_from("abc_tokens=&%20+/?"), max_size=30),
)
def test_an_opening_request_is_understood_or_refused(fields: list[tuple[str, str]], query: str) -> None:
    head = opening(f"/x?{query}")
    head.headers = (*head.headers, *((name.encode(), value.encode("latin-1")) for name, value in fields))
    written = WebSocketSettings(origins=("*",))
    try:
        found = Opening(head, written, Origins(written.origins), ("protogw.json",), "id")
    except InvalidRequest:
        return
    assert b"access_token" not in found.query.split(b"=")
    assert found.metadata.get(b"x-connection-id") == b"id"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FRAMES | st.text(max_size=30) | st.binary(max_size=30), min_size=1, max_size=6))
def test_a_session_lives_through_anything_or_says_why_not(said: list[str | bytes]) -> None:
    async def run() -> None:
        client = await opened(front(), Service(), "/protogw.calls.v1")
        code = 0
        try:
            for one in said:
                await client.send(one)
            await client.send('{"type":"open","id":9007199254740991,"method":"chat.v1.Chat/Ask"}\n{}')
            while True:
                heard = await client.receive()
                if isinstance(heard, str) and '"status","id":9007199254740991' in heard:
                    break
        except SocketClosed as closed:
            code = closed.code
        assert code in (0, 1003, 1007, 1008)
        client.socket.abort()
        await client.error()

    asyncio.run(run())
