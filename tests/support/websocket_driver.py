"""A driver that makes each call over a socket of its own, with the `websockets` client: nothing of ours is in it.

How calls are written is in docs/websocket.md: messages one by one, an empty text message at the request's end; from the
gateway an empty text message and then the status, before the close frame that tells its code too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from google.protobuf import json_format
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.support import kit
from tests.support.raw import Cut

TYPED = 4000
SOCKET_CODES = {1000: 0, 1003: 3, 1007: 3, 1009: 8, 1011: 13, 1013: 14, 4401: 16, 4403: 7}
OF_THEIR_OWN = {16: 4401, 7: 4403}


class SocketExchange:
    """A call under way."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def abandon(self) -> None:
        """Be gone without a word."""
        self.connection.socket.close()

    def received(self) -> tuple[list[str | bytes], int, str]:
        """Everything up to the close frame, and what that says."""
        found: list[str | bytes] = []
        while True:
            try:
                found.append(self.connection.recv(timeout=30))
            except ConnectionClosed as closed:
                if closed.rcvd is None:
                    raise Cut("no close frame") from closed
                return found, closed.rcvd.code, closed.rcvd.reason


class SocketJson:
    """JSON text under protogw.json."""

    kind: ClassVar[str] = "websocket"
    name: ClassVar[str] = "websocket"
    subprotocol: ClassVar[str] = "protogw.json"

    def __init__(self, port: int) -> None:
        self.port = port
        self.extra: Mapping[str, str] = {}
        self._connections: list[ClientConnection] = []

    def close(self) -> None:
        for connection in self._connections:
            connection.socket.close()

    def started(self, method: str, messages: Sequence[Any], *, timeout: float | None = None) -> SocketExchange:
        fields = {"x-call": "v", "x-call-bin": "AAE", **self.extra}
        if timeout is not None:
            fields["grpc-timeout"] = f"{int(timeout * 1000)}m"
        connection = connect(
            f"ws://127.0.0.1:{self.port}/{kit.SERVICE}/{method}",
            additional_headers=fields,
            subprotocols=[Subprotocol(self.subprotocol)],
            max_size=None,
            close_timeout=5,
            proxy=None,
            legacy=True,
        )
        self._connections.append(connection)
        try:
            for message in messages:
                connection.send(self.encode(message))
            connection.send("")
        except ConnectionClosed:
            pass  # refused already; the reader sees why
        return SocketExchange(connection)

    def call(self, method: str, *messages: Any, timeout: float | None = None) -> Any:
        """One whole call."""
        from tests.support.drivers import Result

        result = Result(http=200)
        try:
            self.read(self.started(method, messages, timeout=timeout), result)
        except Cut as cut:
            result.message = f"cut: {cut}"
        return result

    def read(self, exchange: SocketExchange, result: Any) -> None:
        found, code, reason = exchange.received()
        if len(found) < 2 or found[-2] != "":
            # A socket that broke its own rules gets no status, only the code.
            result.code = SOCKET_CODES[code] if code in SOCKET_CODES else code - TYPED
            result.message = reason
            return
        result.messages = [self.decode(message) for message in found[:-2]]
        end = json.loads(found[-1])
        typed = OF_THEIR_OWN.get(end["code"], TYPED + end["code"])
        assert code in (typed, *(one for one, its in SOCKET_CODES.items() if its == end["code"]))
        assert end["message"].startswith(reason.removesuffix("…"))
        result.code = end["code"]
        result.message = end["message"]
        result.details = [detail["@type"].rpartition("/")[2] for detail in end["details"]]
        result.lead = {name: ", ".join(values) for name, values in end["metadata"].items()}
        result.trail = {name: ", ".join(values) for name, values in end["trailers"].items()}

    def encode(self, message: Any) -> str | bytes:
        return json_format.MessageToJson(message, indent=None)

    def decode(self, message: str | bytes) -> Any:
        assert isinstance(message, str)
        return json_format.Parse(message, kit.Message())


class SocketProto(SocketJson):
    """Protobuf in binary messages under protogw.proto."""

    name = "websocket-proto"
    subprotocol = "protogw.proto"

    def encode(self, message: Any) -> str | bytes:
        data: bytes = message.SerializeToString()
        return data

    def decode(self, message: str | bytes) -> Any:
        assert isinstance(message, bytes)
        return kit.Message.FromString(message)
