"""The dialect protogw.calls.v1: a JSON object on the first line of each message, a call's message in the rest.

In text messages the rest is JSON, in binary ones protobuf; neither is looked into on the way. What each object says is
in docs/websocket.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from protogw.call import Encoding, Metadata, Payload
from protogw.errors import InvalidRequest, Status
from protogw.frontends.enveloped import written
from protogw.frontends.websocket.dialect import Action, Cancel, Credit, Id, Key, Message, Open, Send, Token
from protogw.frontends.websocket.forms import Types, metadata_json, status_json
from protogw.wire.metadata import forwardable

MAX_HEAD = 64 << 10
MAX_ID = (1 << 53) - 1
MAX_CREDIT = 1 << 30

_NAME = re.compile(r"[0-9a-z_.-]{1,256}\Z")
_KEYS: Mapping[str, frozenset[str]] = {
    "open": frozenset(("type", "id", "method", "metadata", "timeout_ms", "credit", "end", "binary")),
    "message": frozenset(("type", "id", "end")),
    "end": frozenset(("type", "id")),
    "cancel": frozenset(("type", "id")),
    "credit": frozenset(("type", "id", "messages")),
    "token": frozenset(("type", "access_token")),
}


class CallsKey(Key):
    """`binary`: the client asked for protobuf, by sending it or in so many words."""

    __slots__ = ("binary",)

    def __init__(self, id: Id, binary: bool) -> None:
        super().__init__(id)
        self.binary = binary


class Calls:
    """protogw.calls.v1."""

    grants = True

    def hello(self, connection: str, calls: int, credit: int) -> Iterable[Message]:
        return (_line({"type": "hello", "connection": connection, "calls": calls, "credit": credit}),)

    def read(self, message: Message) -> Sequence[Action]:
        data = message.encode() if isinstance(message, str) else message
        head, feed, rest = data.partition(b"\n")
        fields = _head(head)
        body = rest if feed else None
        encoding = Encoding.JSON if isinstance(message, str) else Encoding.PROTO
        kind = fields["type"]
        if kind == "token":
            token = fields.get("access_token")
            if not isinstance(token, str):
                raise InvalidRequest("access_token: is missing")
            return (Token(token=token),)
        id = _whole(fields, "id", 1, MAX_ID)
        if body is not None and kind not in ("open", "message"):
            raise InvalidRequest(f"{kind}: has no message")
        if kind == "cancel":
            return (Cancel(id=id),)
        if kind == "credit":
            return (Credit(id=id, messages=_whole(fields, "messages", 1, MAX_CREDIT)),)
        if kind == "end":
            return (Send(id=id, message=None, end=True),)
        end = _truth(fields, "end")
        if kind == "message":
            return (Send(id=id, message=body or b"", encoding=encoding, end=end),)
        return (self._open(fields, id, body, encoding, end),)

    @staticmethod
    def _open(fields: Mapping[str, Any], id: int, body: bytes | None, encoding: Encoding, end: bool) -> Open:
        method = fields.get("method")
        if not isinstance(method, str):
            raise InvalidRequest("method: is missing")
        binary = _truth(fields, "binary") if "binary" in fields else encoding is Encoding.PROTO
        return Open(
            key=CallsKey(id, binary),
            method=method,
            metadata=_metadata(fields.get("metadata", {})),
            timeout=_whole(fields, "timeout_ms", 0, 1 << 40) / 1000 if "timeout_ms" in fields else None,
            credit=_whole(fields, "credit", 0, MAX_CREDIT) if "credit" in fields else None,
            message=body,
            encoding=encoding,
            end=end,
        )

    def lead(self, key: Key, metadata: Metadata) -> Iterable[Message]:
        return ((b'{"type":"head","id":%d,"metadata":%b}' % (_id(key), metadata_json(metadata))).decode(),)

    def message(self, key: Key, payload: Payload) -> Iterable[Message]:
        head = b'{"type":"message","id":%d}\n' % _id(key)
        if isinstance(key, CallsKey) and key.binary:
            return (head + written(payload, Encoding.PROTO),)
        return ((head + written(payload, Encoding.JSON)).decode(),)

    def status(self, key: Key, status: Status, trailers: Metadata, types: Types) -> Iterable[Message]:
        said = status_json(status, types)[1:]
        return ((b'{"type":"status","id":%d,%b,"trailers":%b}' % (_id(key), said, metadata_json(trailers))).decode(),)

    def credit(self, key: Key, messages: int) -> Iterable[Message]:
        return (_line({"type": "credit", "id": key.id, "messages": messages}),)

    def leaving(self) -> Iterable[Message]:
        return (_line({"type": "leaving"}),)

    def pushed(self, message: Message) -> Message:
        head = _line({"type": "push"})
        return f"{head}\n{message}" if isinstance(message, str) else head.encode() + b"\n" + message


def _id(key: Key) -> int:
    assert isinstance(key.id, int)
    return key.id


def _line(fields: Mapping[str, Any]) -> str:
    return orjson.dumps(fields).decode()


def _head(line: bytes) -> dict[str, Any]:
    """The object of a first line, with keys that its type has; raises InvalidRequest."""
    if len(line) > MAX_HEAD:
        raise InvalidRequest(f"the first line is over {MAX_HEAD} bytes")
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise InvalidRequest("the first line is not JSON") from None
    kind = fields.get("type") if isinstance(fields, dict) else None
    known = _KEYS.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise InvalidRequest(f"the first line is not an object whose type is {', '.join(_KEYS)}")
    for name in fields:
        if name not in known:
            raise InvalidRequest(f"{kind}: {name[:64]}: unknown key")
    found: dict[str, Any] = fields
    return found


def _whole(fields: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidRequest(f"{name}: not a whole number from {least} to {most}")
    return value


def _truth(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name}: neither true nor false")
    return value


def _metadata(written: object) -> tuple[tuple[bytes, bytes], ...]:
    """Fields as a client writes them, a text or a list of texts each; raises InvalidRequest."""
    if not isinstance(written, dict):
        raise InvalidRequest("metadata: not an object")
    pairs: list[tuple[bytes, bytes]] = []
    for name, value in written.items():
        low = name.lower()
        values = value if isinstance(value, list) else [value]
        if not _NAME.match(low) or not all(isinstance(one, str) and one.isascii() for one in values):
            raise InvalidRequest(f"metadata: {name[:64]}: not a field")
        pairs.extend((low.encode(), one.strip().encode()) for one in values)
    return forwardable(pairs)
