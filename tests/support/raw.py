"""Plain clients on blocking sockets: HTTP/1.1 by hand, HTTP/2 through h2. They show everything and hide nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings

Fields = Sequence[tuple[str, str]]
TIMEOUT_S = 10.0


class Cut(Exception):
    """The peer ended the connection or stream before the answer was whole."""


class Exchange:
    """One request and its answer as it comes; the same for both versions of HTTP."""

    status: int
    headers: list[tuple[str, str]]
    trailers: list[tuple[str, str]]
    interim: list[int]
    """The interim responses that came before the answer."""

    def asked(self) -> None:
        """Wait until the peer asks for the body that it is to expect (RFC 9110 section 10.1.1)."""
        raise NotImplementedError

    def send(self, data: bytes, *, end: bool = False) -> None:
        raise NotImplementedError

    def head(self) -> int:
        """Wait for the status and fields; the status."""
        raise NotImplementedError

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes; raises Cut when it is not whole."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Go away without waiting for the answer."""
        raise NotImplementedError

    def body(self) -> bytes:
        return b"".join(self.pieces())

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


class Http1(Exchange):
    """A connection of its own for one request after another."""

    def __init__(self, port: int, *, host: str = "127.0.0.1") -> None:
        self.host = f"{host}:{port}"
        self.socket = socket.create_connection((host, port), TIMEOUT_S)
        self.extra: Fields = ()
        """Fields of every request, beside its own."""
        self._buffer = b""
        self._chunked = False
        self._verb = ""

    def request(self, verb: str, target: str, fields: Fields = (), body: bytes | None = None) -> Http1:
        """Send a request; with `body` None and a verb that has one, it is sent in chunks by `send`."""
        fields = (*fields, *self.extra)
        self.interim = []
        self._verb = verb
        self._chunked = body is None and verb in ("POST", "PUT", "PATCH")
        lines = [f"{verb} {target} HTTP/1.1", f"host: {self.host}", *(f"{name}: {value}" for name, value in fields)]
        if self._chunked:
            lines.append("transfer-encoding: chunked")
        elif body is not None and (body or verb in ("POST", "PUT", "PATCH")):
            lines.append(f"content-length: {len(body)}")
        try:
            self.socket.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before it was all sent: the answer must be there to read nonetheless
        return self

    def send(self, data: bytes, *, end: bool = False) -> None:
        wire = b"%x\r\n%s\r\n" % (len(data), data) if data else b""
        self.socket.sendall(wire + b"0\r\n\r\n" if end else wire)

    def asked(self) -> None:
        line = self._until(b"\r\n\r\n")
        assert line.startswith(b"HTTP/1.1 100 "), line
        self.interim.append(100)

    def head(self) -> int:
        while True:
            lines = self._until(b"\r\n\r\n").split(b"\r\n")
            self.status = int(lines[0].split()[1])
            self.headers = _fields(lines[1:])
            if self.status >= 200:
                self.trailers = []
                return self.status
            self.interim.append(self.status)

    def pieces(self) -> Iterator[bytes]:
        if self._verb == "HEAD" or self.status in (204, 304):
            return
        if "chunked" in (self.get("transfer-encoding") or ""):
            while size := int(self._until(b"\r\n").split(b";")[0], 16):
                yield self._exactly(size)
                self._exactly(2)
            while line := self._until(b"\r\n"):
                self.trailers += _fields([line])
        elif (length := self.get("content-length")) is not None:
            left = int(length)
            while left:
                piece = self._some(left)
                left -= len(piece)
                yield piece
        else:
            try:
                while True:
                    yield self._some(1 << 16)
            except Cut:
                return

    def abandon(self) -> None:
        self.socket.close()

    close = abandon

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._more()
        found, _, self._buffer = self._buffer.partition(end)
        return found

    def _some(self, most: int) -> bytes:
        if not self._buffer:
            self._more()
        piece, self._buffer = self._buffer[:most], self._buffer[most:]
        return piece

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        piece, self._buffer = self._buffer[:size], self._buffer[size:]
        return piece

    def _more(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise Cut(f"the connection ended with {self._buffer[:200]!r} unread")
        self._buffer += data


def _fields(lines: Sequence[bytes]) -> list[tuple[str, str]]:
    pairs = (line.decode("latin-1").partition(":") for line in lines)
    return [(name.lower(), value.strip()) for name, _, value in pairs]


class Http2:
    """A connection with any number of streams."""

    def __init__(self, port: int, *, host: str = "127.0.0.1", window: int = 1 << 20) -> None:
        self.authority = f"{host}:{port}"
        self.socket = socket.create_connection((host, port), TIMEOUT_S)
        self.extra: Fields = ()
        """Fields of every request, beside its own."""
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        codes = h2.settings.SettingCodes
        wanted = {codes.INITIAL_WINDOW_SIZE: window, codes.ENABLE_PUSH: 0}
        self.h2.local_settings = h2.settings.Settings(client=True, initial_values=wanted)
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window((1 << 30) - 65535)
        self.streams: dict[int, Stream] = {}
        self.goaways: list[int] = []
        """The last stream that each GOAWAY named."""
        self._buffer = b""
        self.flush()

    def request(self, verb: str, target: str, fields: Fields = (), body: bytes | None = None) -> Stream:
        """Send a request; with `body` None it stays open for `send`."""
        number = self.h2.get_next_available_stream_id()
        pseudo = [(":method", verb), (":scheme", "http"), (":path", target), (":authority", self.authority)]
        stream = self.streams[number] = Stream(self, number)
        self.h2.send_headers(number, [*pseudo, *fields, *self.extra], end_stream=body == b"")
        self.flush()
        if body:
            stream.send(body, end=True)
        return stream

    def switch(self, target: str, protocol: str, fields: Fields = ()) -> Stream:
        """Ask to go on as another protocol (RFC 8441), once the peer has said that this can be asked."""
        while self.h2.remote_settings.enable_connect_protocol != 1:
            self.receive()
        number = self.h2.get_next_available_stream_id()
        asked = [(":method", "CONNECT"), (":protocol", protocol), (":scheme", "http"), (":path", target)]
        stream = self.streams[number] = Stream(self, number)
        self.h2.send_headers(number, [*asked, (":authority", self.authority), *fields])
        self.flush()
        return stream

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def receive(self) -> None:
        """Take in what has come; waits for something."""
        data = self.socket.recv(1 << 16)
        if not data:
            raise Cut("the connection ended")
        for event in self.h2.receive_data(b"".join(self._frames(data))):
            stream = self.streams.get(getattr(event, "stream_id", 0) or 0)
            if stream is not None:
                stream.on(event)
        self.flush()

    def _frames(self, data: bytes) -> Iterator[bytes]:
        """Whole frames, without GOAWAY: h2 takes nothing after one, though streams go on (RFC 9113 section 6.8)."""
        self._buffer += data
        while len(self._buffer) >= 9:
            end = 9 + int.from_bytes(self._buffer[:3], "big")
            if len(self._buffer) < end:
                return
            frame, self._buffer = self._buffer[:end], self._buffer[end:]
            if frame[3] == 7:
                self.goaways.append(int.from_bytes(frame[9:13], "big"))
            else:
                yield frame

    def until_closed(self) -> None:
        """Take in everything until the peer ends the connection."""
        try:
            while True:
                self.receive()
        except Cut:
            pass

    def close(self) -> None:
        self.socket.close()


class Stream(Exchange):
    """One stream of an Http2."""

    def __init__(self, connection: Http2, number: int) -> None:
        self._connection = connection
        self.number = number
        self.status = 0
        self.headers = []
        self.trailers = []
        self.interim = []
        self._data: list[bytes] = []
        self._ended = False
        self.reset: int | None = None

    def on(self, event: Any) -> None:
        match event:
            case h2.events.InformationalResponseReceived():
                self.interim.append(int(dict(event.headers)[":status"]))
            case h2.events.ResponseReceived():
                self.headers = list(event.headers)
                self.status = int(dict(self.headers)[":status"])
            case h2.events.TrailersReceived():
                self.trailers = list(event.headers)
            case h2.events.DataReceived():
                self._data.append(event.data)
                if event.flow_controlled_length and not event.stream_ended:
                    self._connection.h2.acknowledge_received_data(event.flow_controlled_length, self.number)
            case h2.events.StreamEnded():
                self._ended = True
            case h2.events.StreamReset():
                self.reset = int(event.error_code)

    def send(self, data: bytes, *, end: bool = False) -> None:
        h2c = self._connection.h2
        while data:
            room = min(h2c.local_flow_control_window(self.number), h2c.max_outbound_frame_size)
            if self._ended or self.reset is not None:
                return
            if room <= 0:
                self._connection.receive()
                continue
            piece, data = data[:room], data[room:]
            h2c.send_data(self.number, piece, end_stream=end and not data)
            self._connection.flush()
            if end and not data:
                return
        if end:
            h2c.end_stream(self.number)
        self._connection.flush()

    def asked(self) -> None:
        while not self.interim:
            assert not self.status, self.headers
            self._check()
            self._connection.receive()

    def head(self) -> int:
        while not self.status:
            self._check()
            self._connection.receive()
        return self.status

    def pieces(self) -> Iterator[bytes]:
        while True:
            while self._data:
                yield self._data.pop(0)
            if self._ended:
                return
            self._check()
            self._connection.receive()

    def abandon(self) -> None:
        self._connection.h2.reset_stream(self.number, 8)  # CANCEL
        self._connection.flush()

    def _check(self) -> None:
        if self.reset is not None:
            raise Cut(f"the stream was reset with {self.reset}")
