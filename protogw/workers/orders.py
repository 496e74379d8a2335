"""What a worker is told at its start, over the socket that it has with the supervisor."""

from __future__ import annotations

import pickle
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a worker is told at its start, by nobody but the supervisor."""

    index: int
    workers: int
    data: dict[str, Any]
    """The config as it was read, with the ports that all have."""
    folder: Path
    """Where the config lies."""
    admin: str
    """The path of the socket on which the worker's own admin address is."""
    log_lock: str
    """A file that is locked while lines of the access log are written."""
    log_json: bool
    log_colour: bool
    level: int


def send_orders(sock: socket.socket, orders: Orders) -> None:
    """Before anything else, over the socket of both."""
    data = pickle.dumps(orders)
    sock.sendall(struct.pack("!Q", len(data)) + data)


def read_orders(sock: socket.socket) -> Orders:
    size = struct.unpack("!Q", _exactly(sock, 8))[0]
    found = pickle.loads(_exactly(sock, size))  # the supervisor's, over a socket that only it has
    assert isinstance(found, Orders)
    return found


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(min(1 << 20, size - len(data)))
        if not piece:
            raise SystemExit(1)  # the supervisor is gone already
        data += piece
    return bytes(data)
