"""Services made of sockets: one that sinks and sources bytes, and ones that misbehave as they are told."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import h2.config
import h2.connection
import h2.events

Script = Callable[[socket.socket], None]


class Server:
    """Hands every connection to a script, on a thread of its own; the connection ends with the script."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept, name="scripted")
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.settimeout(20)
            self._open.add(connection)
            thread = threading.Thread(target=self._run, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _run(self, connection: socket.socket) -> None:
        try:
            self._script(connection)
        except OSError:
            pass  # the gateway has closed: for most scripts that is the end
        finally:
            self._open.discard(connection)
            connection.close()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        for thread in self._threads:
            thread.join(5)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


class Opaque(Server):
    """HTTP/1.1: POST anything is counted and answered "done"; GET /…/source/N is answered with N bytes.

    When asked to switch, it does, and the bytes follow without being an answer.
    """

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0
        super().__init__(self._serve)

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb", 1 << 16) as file:
            self._answer_all(connection, file)

    def _answer_all(self, connection: socket.socket, file: Any) -> None:
        while request := file.readline():
            length, chunked, switches = 0, False, False
            while (line := file.readline().strip().lower()) != b"":
                if line.startswith(b"content-length:"):
                    length = int(line[15:])
                chunked = chunked or line == b"transfer-encoding: chunked"
                switches = switches or line == b"upgrade: websocket"
            self._read(file, length, chunked)
            verb, target, _ = request.split()
            if verb == b"POST":
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
                continue
            size = int(target.rpartition(b"/")[2])
            if switches:
                connection.sendall(b"HTTP/1.1 101 \r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            else:
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
            piece = bytes(1 << 16)
            while size:
                part = piece[: min(size, len(piece))]
                connection.sendall(part)
                self.sent += len(part)
                size -= len(part)

    def _read(self, file: Any, length: int, chunked: bool) -> None:
        if chunked:
            while size := int(file.readline().split(b";")[0], 16):
                self._take(file, size)
                file.readline()
            file.readline()
        else:
            self._take(file, length)

    def _take(self, file: Any, size: int) -> None:
        while size:
            piece = file.read(min(size, 1 << 16))
            if not piece:
                raise ConnectionResetError
            self.received += len(piece)
            size -= len(piece)


class GrpcPeer:
    """The service's side of one HTTP/2 connection, with h2 to keep the state and `raw` to break the rules."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=False,
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.h2.initiate_connection()
        self.flush()

    def requests(self) -> Iterator[int]:
        """Stream numbers of requests, once each is whole; ends with the connection."""
        while True:
            data = self.socket.recv(1 << 16)
            if not data:
                return
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if isinstance(event, h2.events.StreamEnded):
                    yield event.stream_id
            self.flush()

    def head(self, stream: int, *fields: tuple[str, str], status: str = "200", end: bool = False) -> None:
        kind = () if any(name == "content-type" for name, _ in fields) else (("content-type", "application/grpc"),)
        self.h2.send_headers(stream, [(":status", status), *kind, *fields], end_stream=end)
        self.flush()

    def data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        self.h2.send_data(stream, data, end_stream=end)
        self.flush()

    def trailers(self, stream: int, *fields: tuple[str, str]) -> None:
        self.h2.send_headers(stream, list(fields), end_stream=True)
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def raw(self, data: bytes) -> None:
        self.socket.sendall(data)


def grpc_server(answer: Callable[[GrpcPeer, int], None]) -> Server:
    """A gRPC server that answers every request by `answer(peer, stream)`; returning False closes the connection."""

    def script(connection: socket.socket) -> None:
        peer = GrpcPeer(connection)
        for stream in peer.requests():
            if answer(peer, stream) is False:
                return

    return Server(script)
