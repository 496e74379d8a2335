"""One small raw client for each front end: the same calls in every protocol, and everything that came back.

Written from the protocols' specifications on tests/support/raw.py; shares no code with the gateway, so that a fault
cannot hide on both sides.
"""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from google.protobuf import json_format
from google.rpc import status_pb2

from tests.support import kit
from tests.support.raw import Cut, Exchange, Fields, Http1, Http2
from tests.support.websocket_driver import SocketJson, SocketProto

PATHS = {"Unary": "/v1/echo", "Down": "/v1/down", "Up": "/v1/up", "Chat": "/v1/chat", "Absent": "/v1/absent"}
CONNECT_CODES = (
    "canceled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
)


@dataclass(slots=True, kw_only=True)
class Result:
    """What a caller sees: messages, then how it ended."""

    messages: list[Any] = field(default_factory=list)
    code: int | None = None
    """google.rpc.Code; None when the answer ended without a word, which must never be."""
    message: str = ""
    details: list[str] = field(default_factory=list)
    """Type names of the status's details."""
    http: int = 0
    lead: dict[str, str] = field(default_factory=dict)
    trail: dict[str, str] = field(default_factory=dict)


class Driver:
    """Makes calls in one protocol. `started` begins one without waiting for the answer."""

    kind: ClassVar[str]
    name: ClassVar[str]

    def __init__(self, port: int) -> None:
        self.port = port
        self.host = f"127.0.0.1:{port}"
        """Whom requests name as the one that they ask."""
        self.extra: Mapping[str, str] = {}
        """Header fields of every call."""
        self._close: list[Callable[[], None]] = []

    def close(self) -> None:
        for close in self._close:
            close()

    def started(self, method: str, messages: Sequence[Any], *, timeout: float | None = None) -> Exchange:
        raise NotImplementedError

    def call(self, method: str, *messages: Any, timeout: float | None = None) -> Result:
        """One whole call."""
        result = Result()
        try:
            self.read(self.started(method, messages, timeout=timeout), result)
        except Cut as cut:
            result.message = f"cut: {cut}"
        return result

    def read(self, exchange: Exchange, result: Result) -> None:
        raise NotImplementedError

    def _http1(self) -> Http1:
        made = Http1(self.port)
        made.host = self.host
        made.extra = tuple(self.extra.items())
        self._close.append(made.close)
        return made

    def _http2(self) -> Http2:
        made = Http2(self.port)
        made.authority = self.host
        made.extra = tuple(self.extra.items())
        self._close.append(made.close)
        return made


def envelope(flags: int, data: bytes) -> bytes:
    return bytes((flags,)) + len(data).to_bytes(4, "big") + data


def envelopes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        length = int.from_bytes(data[1:5], "big")
        if len(data) < 5 + length:
            raise Cut(f"a message is cut: {data[:20]!r}")
        yield data[0], data[5 : 5 + length]
        data = data[5 + length :]


def _plain(fields: Fields) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in fields:
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


class Grpc(Driver):
    """gRPC over HTTP/2 (PROTOCOL-HTTP2.md of grpc)."""

    kind = "grpc"
    name = "grpc"
    content_type = "application/grpc+proto"
    timeout_field = "grpc-timeout"

    def _open(self, method: str, fields: Fields, body: bytes) -> Exchange:
        return self._http2().request("POST", f"/{kit.SERVICE}/{method}", fields, body)

    def _fields(self, timeout: float | None) -> list[tuple[str, str]]:
        fields = [("content-type", self.content_type), ("te", "trailers"), ("x-call", "v"), ("x-call-bin", "AAE")]
        if timeout is not None:
            fields.append(("grpc-timeout", f"{int(timeout * 1000)}m"))
        return fields

    def started(self, method: str, messages: Sequence[Any], *, timeout: float | None = None) -> Exchange:
        body = b"".join(envelope(0, message.SerializeToString()) for message in messages)
        return self._open(method, self._fields(timeout), body)

    def read(self, exchange: Exchange, result: Result) -> None:
        result.http = exchange.head()
        result.lead = _plain(exchange.headers)
        body = exchange.body()
        trailers = exchange.trailers or exchange.headers
        self._end(result, body, _plain(trailers))

    def _end(self, result: Result, body: bytes, trailers: dict[str, str]) -> None:
        result.messages = [kit.Message.FromString(data) for flags, data in envelopes(body) if not flags & 0x80]
        result.trail = trailers
        if "grpc-status" in trailers:
            result.code = int(trailers["grpc-status"])
        result.message = urllib.parse.unquote(trailers.get("grpc-message", ""))
        if (packed := trailers.get("grpc-status-details-bin")) is not None:
            status = status_pb2.Status.FromString(base64.b64decode(packed + "=="))
            result.details = [detail.type_url.rpartition("/")[2] for detail in status.details]


class GrpcWeb(Grpc):
    """gRPC-Web, binary (PROTOCOL-WEB.md of grpc); over HTTP/1.1 but for bidirectional streams."""

    kind = "grpc-web"
    name = "grpc-web"
    content_type = "application/grpc-web+proto"

    def _open(self, method: str, fields: Fields, body: bytes) -> Exchange:
        kept = [pair for pair in fields if pair[0] != "te"]
        # A reply that begins before the request has ended is beyond what HTTP/1.1 promises.
        connection: Any = self._http2() if method == "Chat" else self._http1()
        made: Exchange = connection.request("POST", f"/{kit.SERVICE}/{method}", kept, self._encode(body))
        return made

    def read(self, exchange: Exchange, result: Result) -> None:
        result.http = exchange.head()
        result.lead = _plain(exchange.headers)
        body = self._decode(exchange.body())
        ends = [data for flags, data in envelopes(body) if flags & 0x80]
        lines = [line.partition(b":") for end in ends for line in end.split(b"\r\n") if line]
        trailers = _plain([(name.decode(), value.strip().decode()) for name, _, value in lines])
        self._end(result, body, trailers if ends else result.lead)

    def _encode(self, body: bytes) -> bytes:
        return body

    def _decode(self, body: bytes) -> bytes:
        return body


class GrpcWebText(GrpcWeb):
    """gRPC-Web in base64."""

    name = "grpc-web-text"
    content_type = "application/grpc-web-text+proto"

    def _encode(self, body: bytes) -> bytes:
        return base64.b64encode(body)

    def _decode(self, body: bytes) -> bytes:
        # Pieces are padded one by one: every quantum stands alone.
        return b"".join(base64.b64decode(body[at : at + 4]) for at in range(0, len(body), 4))


class Connect(Driver):
    """The Connect protocol, in protobuf: streams over HTTP/2, unary calls over HTTP/1.1."""

    kind = "connect"
    name = "connect"
    codec = "proto"

    def started(self, method: str, messages: Sequence[Any], *, timeout: float | None = None) -> Exchange:
        fields = [("connect-protocol-version", "1"), ("x-call", "v"), ("x-call-bin", "AAE")]
        if timeout is not None:
            fields.append(("connect-timeout-ms", str(int(timeout * 1000))))
        target = f"/{kit.SERVICE}/{method}"
        if method in ("Unary", "Look", "Absent"):
            fields.append(("content-type", f"application/{self.codec}"))
            return self._http1().request("POST", target, fields, self._encode(messages[0]))
        fields.append(("content-type", f"application/connect+{self.codec}"))
        body = b"".join(envelope(0, self._encode(message)) for message in messages)
        return self._http2().request("POST", target, fields, body)

    def read(self, exchange: Exchange, result: Result) -> None:
        result.http = exchange.head()
        result.lead = _plain(exchange.headers)
        body = exchange.body()
        if (exchange.get("content-type") or "").startswith("application/connect+"):
            for flags, data in envelopes(body):
                if flags & 2:
                    end = json.loads(data)
                    result.trail = {name: ", ".join(values) for name, values in end.get("metadata", {}).items()}
                    self._status(result, end.get("error"))
                else:
                    result.messages.append(self._decode(data))
            return
        result.trail = {k.removeprefix("trailer-"): v for k, v in result.lead.items() if k.startswith("trailer-")}
        if exchange.status == 200:
            result.code = 0
            result.messages = [self._decode(body)]
        else:
            self._status(result, json.loads(body))

    @staticmethod
    def _status(result: Result, error: dict[str, Any] | None) -> None:
        if error is None:
            result.code = 0
            return
        result.code = CONNECT_CODES.index(error["code"]) + 1
        result.message = error.get("message", "")
        result.details = [detail["type"] for detail in error.get("details", ())]

    def _encode(self, message: Any) -> bytes:
        data: bytes = message.SerializeToString()
        return data

    def _decode(self, data: bytes) -> Any:
        return kit.Message.FromString(data)


class ConnectJson(Connect):
    """The Connect protocol in JSON."""

    name = "connect-json"
    codec = "json"

    def _encode(self, message: Any) -> bytes:
        return json_format.MessageToJson(message, indent=None).encode()

    def _decode(self, data: bytes) -> Any:
        return json_format.Parse(data, kit.Message())


class Rest(Driver):
    """JSON over HTTP/1.1 as kit.proto's annotations say; streams as NDJSON."""

    kind = "rest"
    name = "rest"
    accept = "application/x-ndjson"

    def started(self, method: str, messages: Sequence[Any], *, timeout: float | None = None) -> Exchange:
        fields = [("x-call", "v"), ("x-call-bin", "AAE"), ("te", "trailers")]
        if timeout is not None:
            fields.append(("x-server-timeout", str(timeout)))
        if method in ("Down", "Chat"):
            fields.append(("accept", self.accept))
        lines = [json_format.MessageToJson(message, indent=None).encode() for message in messages]
        verb = "GET" if method == "Absent" else "POST"
        if method in ("Up", "Chat"):
            fields.append(("content-type", "application/x-ndjson"))
            body = b"".join(line + b"\n" for line in lines)
        else:
            fields.append(("content-type", "application/json"))
            body = b"" if verb == "GET" else lines[0]
        return self._connection().request(verb, PATHS[method], fields, body)

    def _connection(self) -> Any:
        return self._http1()

    def read(self, exchange: Exchange, result: Result) -> None:
        result.http = exchange.head()
        result.lead = _plain(exchange.headers)
        body = exchange.body()
        result.trail = _plain(exchange.trailers)
        if exchange.status != 200:
            self._status(result, json.loads(body))
            return
        result.code = 0
        kind = (exchange.get("content-type") or "").partition(";")[0]
        for record in self._records(kind, body):
            if "error" in record:
                self._status(result, record["error"])
            else:
                result.messages.append(json_format.ParseDict(record, kit.Message()))

    @staticmethod
    def _records(kind: str, body: bytes) -> Iterator[dict[str, Any]]:
        if kind == "application/x-ndjson":
            yield from map(json.loads, body.splitlines())
        elif kind == "text/event-stream":
            for event in body.decode().split("\n\n"):
                data = "\n".join(
                    line.removeprefix("data:").removeprefix(" ")
                    for line in event.split("\n")
                    if line.startswith("data:")
                )
                name = next((line[6:].strip() for line in event.split("\n") if line.startswith("event:")), "message")
                if data and name != "end":
                    record = json.loads(data)
                    yield {"error": record.get("error", record)} if name == "error" else record
        else:
            found = json.loads(body)
            yield from found if isinstance(found, list) else (found,)

    @staticmethod
    def _status(result: Result, status: dict[str, Any]) -> None:
        result.code = status["code"]
        result.message = status.get("message", "")
        result.details = [detail["@type"].rpartition("/")[2] for detail in status.get("details", ())]


class RestArray(Rest):
    """The same with streams as a JSON array, over HTTP/2."""

    name = "rest-array-h2"
    accept = "application/json"

    def _connection(self) -> Any:
        return self._http2()


class RestEvents(Rest):
    """The same with streams as server-sent events."""

    name = "rest-sse"
    accept = "text/event-stream"


DRIVERS: tuple[type[Any], ...] = (
    Rest,
    RestArray,
    RestEvents,
    Grpc,
    GrpcWeb,
    GrpcWebText,
    Connect,
    ConnectJson,
    SocketJson,
    SocketProto,
)
