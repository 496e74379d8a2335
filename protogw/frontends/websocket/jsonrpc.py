"""The dialect JSON-RPC 2.0 (jsonrpc.org/specification): a call is a request, its reply the result.

`method` is `package.Service/Method`, `params` the request message. What JSON-RPC has no words for is said as the
Language Server Protocol does, in notifications whose method begins with "$/": `$/message` for a message of a stream, to
or from the service, `$/end` for the end of a request's stream, `$/cancelRequest`, `$/token`, `$/leaving`, `$/push`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson

from protogw.call import Encoding, Metadata, Payload
from protogw.errors import Code, InvalidRequest, Status, UnsupportedMedia
from protogw.frontends.enveloped import written
from protogw.frontends.websocket.dialect import Action, Cancel, Id, Key, Message, Open, Say, Send, Token
from protogw.frontends.websocket.forms import Types, status_json
from protogw.wire.json_rpc import (
    INVALID_REQUEST,
    MAX_BATCH,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    Malformed,
    Request,
    error_code,
    read_request,
)


class _Batch:
    """Answers that go out together, once the last is there."""

    __slots__ = ("answers", "missing")

    def __init__(self) -> None:
        self.missing = 0
        self.answers: list[bytes] = []


class _Called(Key):
    """A request under way. Without `wants` it is a notification, which is never answered."""

    __slots__ = ("batch", "result", "wants")

    def __init__(self, id: Id, wants: bool, batch: _Batch | None) -> None:
        super().__init__(id)
        self.wants = wants
        self.batch = batch
        self.result = b"null"


class JsonRpc:
    """JSON-RPC 2.0."""

    grants = False

    def __init__(self) -> None:
        self._unnamed = 0

    def hello(self, connection: str, calls: int, credit: int) -> Iterable[Message]:
        return ()

    def read(self, message: Message) -> Sequence[Action]:
        if isinstance(message, bytes):
            raise UnsupportedMedia("JSON-RPC is text")
        try:
            found = orjson.loads(message)
        except orjson.JSONDecodeError:
            return (_refused(None, PARSE_ERROR, "not JSON"),)
        if not isinstance(found, list):
            return self._request(found, None)
        if not found or len(found) > MAX_BATCH:
            return (_refused(None, INVALID_REQUEST, f"a batch holds 1 to {MAX_BATCH} requests"),)
        batch = _Batch()
        actions: list[Action] = []
        for one in found:
            for action in self._request(one, batch):
                if isinstance(action, Say):
                    batch.answers.append(_bytes(action.message))
                else:
                    actions.append(action)
        if batch.answers and not batch.missing:
            actions.append(Say(message=_array(batch)))
        return actions

    def _request(self, found: object, batch: _Batch | None) -> Sequence[Action]:
        try:
            request = read_request(found)
        except Malformed as fault:
            return (_refused(fault.id, INVALID_REQUEST, str(fault)),)
        if request.method.startswith("$/"):
            return self._extension(request)
        if not request.wants:
            # A call of its own all the same, under an id that no client can write.
            self._unnamed += 1
            key = _Called(f"\0{self._unnamed}", False, None)
        else:
            key = _Called(request.id, True, batch)
            if batch is not None:
                batch.missing += 1
        params = orjson.dumps(request.params) if request.params is not None else None
        return (Open(key=key, method=request.method, message=params, end=False),)

    def _extension(self, request: Request) -> Sequence[Action]:
        params = request.params if isinstance(request.params, dict) else {}
        id: Id = params.get("id")
        method = request.method
        if method == "$/cancelRequest":
            return (Cancel(id=id),)
        if method == "$/end":
            return (Send(id=id, message=None, end=True),)
        if method == "$/message":
            return (Send(id=id, message=orjson.dumps(params.get("message", {}))),)
        if method == "$/token" and isinstance(params.get("access_token"), str):
            return (Token(token=params["access_token"]),)
        if request.wants:
            return (_refused(request.id, METHOD_NOT_FOUND, f"{method}: no such method"),)
        return ()  # what a notification asks for in vain is never told (section 4.1)

    def lead(self, key: Key, metadata: Metadata) -> Iterable[Message]:
        return ()

    def message(self, key: Key, payload: Payload) -> Iterable[Message]:
        assert isinstance(key, _Called)
        if not key.wants:
            return ()
        data = written(payload, Encoding.JSON)
        if key.unary:
            key.result = data
            return ()
        return (_notification("$/message", b'{"id":%b,"message":%b}' % (orjson.dumps(key.id), data)),)

    def status(self, key: Key, status: Status, trailers: Metadata, types: Types) -> Iterable[Message]:
        assert isinstance(key, _Called)
        if not key.wants:
            return ()
        id = orjson.dumps(key.id)
        if status.code == Code.OK:
            answer = b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (id, key.result)
        else:
            answer = _error(id, error_code(status.code), status.message, status_json(status, types) + b"}")
        batch = key.batch
        if batch is None:
            return (answer.decode(),)
        batch.answers.append(answer)
        batch.missing -= 1
        return (_array(batch),) if not batch.missing else ()

    def credit(self, key: Key, messages: int) -> Iterable[Message]:
        return ()

    def leaving(self) -> Iterable[Message]:
        return (_notification("$/leaving", b"{}"),)

    def pushed(self, message: Message) -> Message:
        if isinstance(message, bytes):
            raise InvalidRequest("JSON-RPC carries text only")
        try:
            orjson.loads(message)
        except orjson.JSONDecodeError:
            raise InvalidRequest("JSON-RPC carries JSON only") from None
        return _notification("$/push", b'{"message":%b}' % message.encode())


def _refused(id: Id, code: int, text: str) -> Say:
    return Say(message=_error(orjson.dumps(id), code, text, None).decode())


def _error(id: bytes, code: int, text: str, data: bytes | None) -> bytes:
    more = b',"data":%b' % data if data is not None else b""
    message = orjson.dumps(text.encode("utf-8", "replace").decode())
    return b'{"jsonrpc":"2.0","id":%b,"error":{"code":%d,"message":%b%b}}' % (id, code, message, more)


def _notification(method: str, params: bytes) -> str:
    return (b'{"jsonrpc":"2.0","method":"%b","params":%b}' % (method.encode(), params)).decode()


def _array(batch: _Batch) -> str:
    return (b"[%b]" % b",".join(batch.answers)).decode()


def _bytes(message: Message) -> bytes:
    return message.encode() if isinstance(message, str) else message


__all__ = ["JsonRpc"]
