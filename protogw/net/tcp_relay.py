"""Two connected sockets: what one end says, the other hears, until both have ended or either breaks.

Each direction waits for its reader: while the receiving end has no room, the sending one is not read. What comes in
large pieces moves through a pipe inside the kernel (splice(2)), what comes in small ones is copied; see ADR 0017. An
end of stream passes as an end of stream, a reset as a reset.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Final, Protocol

SPLICES: Final = hasattr(os, "splice")
"""Whether this platform has splice(2)."""

if SPLICES:
    import fcntl

COPIED: Final = 64 << 10
"""Bytes read in one go where they are copied."""
_LARGE: Final = 32 << 10
"""A read of at least this many bytes is followed by a splice: below, two more system calls cost more than a copy."""
_SMALL: Final = 8 << 10
"""A splice that moved fewer bytes than this is followed by a copy."""
_PIPE: Final = 1 << 20
"""Bytes moved by one splice at the most."""
_MOST_PIPES: Final = 64
"""Pipes in use at once: receivers that are slow hold one each, full, and what is in it is the kernel's memory."""
_SPARE_PIPES: Final = 16
_GONE: Final = frozenset((errno.EPIPE, errno.ESHUTDOWN, errno.ENOTCONN))


class End(Protocol):
    """One end of a relay. Every method raises OSError when the peer is gone."""

    sock: socket.socket
    plain: bool
    """Bytes pass as they are, so that the kernel may move them."""

    @property
    def more(self) -> bool:
        """There is something to receive of which the socket knows nothing any more."""
        ...

    def receive(self) -> memoryview | bytes | None:
        """What has come, valid until the next `receive` of any end; empty at its end, None while there is nothing."""
        ...

    def send(self, data: memoryview | bytes) -> bool:
        """Send; False when some of it had to be kept, and `flush` must be called when there is room again."""
        ...

    def flush(self) -> bool:
        """Send what was kept; False when there still is something."""
        ...

    def shut(self) -> bool:
        """Say that nothing more will be sent; False when that had to be kept, as by `send`."""
        ...


SCRATCH: Final = bytearray(COPIED)
_VIEW: Final = memoryview(SCRATCH)
"""What is read is sent, or kept by who could not send it, before the next read: one buffer serves every connection."""


class PlainEnd:
    """A socket whose bytes pass as they are."""

    __slots__ = ("_kept", "sock")
    plain = True
    more = False

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._kept = b""

    def receive(self) -> memoryview | None:
        try:
            count = self.sock.recv_into(SCRATCH)
        except (BlockingIOError, InterruptedError):
            return None
        return _VIEW[:count]

    def send(self, data: memoryview | bytes) -> bool:
        try:
            sent = self.sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent == len(data):
            return True
        self._kept = bytes(data[sent:])
        return False

    def flush(self) -> bool:
        kept, self._kept = self._kept, b""
        return not kept or self.send(kept)

    def shut(self) -> bool:
        self.sock.shutdown(socket.SHUT_WR)
        return True


class _Pipes:
    """Empty pipes for those who splice; only a direction whose receiver is slow holds one for longer than a call."""

    def __init__(self) -> None:
        self._spare: list[tuple[int, int]] = []
        self._used = 0

    def take(self) -> tuple[int, int] | None:
        """One of them, or None when there are enough in use or the system has no more."""
        if self._used >= _MOST_PIPES:
            return None
        if self._spare:
            self._used += 1
            return self._spare.pop()
        try:
            pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, _PIPE)
        except OSError:
            pass  # over the user's share of pipe memory: a smaller one does
        self._used += 1
        return pipe

    def give(self, pipe: tuple[int, int], *, empty: bool) -> None:
        """Return one."""
        self._used -= 1
        if empty and len(self._spare) < _SPARE_PIPES:
            self._spare.append(pipe)
        else:
            os.close(pipe[0])
            os.close(pipe[1])


_PIPES = _Pipes()


class Direction:
    """What goes from one end to the other."""

    __slots__ = ("_ending", "_from", "_held", "_large", "_loop", "_pipe", "_relay", "_spliced", "_to", "bytes", "ended")

    def __init__(self, relay: Relay, source: End, sink: End, *, splice: bool) -> None:
        self.bytes = 0
        """Received from the one end; when the relay has ended in good order, all of it was sent to the other."""
        self.ended = False
        self._relay = relay
        self._loop = relay.loop
        self._from = source
        self._to = sink
        self._spliced = splice and source.plain and sink.plain
        self._large = False
        self._ending = False
        self._pipe: tuple[int, int] | None = None
        self._held = 0
        """Bytes in the pipe."""

    def start(self, early: bytes = b"") -> None:
        """Begin with what was read before there was a relay, and go on with what comes; raises OSError."""
        self.bytes += len(early)
        if early and not self._to.send(early):
            self._loop.add_writer(self._to.sock.fileno(), self._writable)
        else:
            self._resume()

    def _resume(self) -> None:
        self._loop.add_reader(self._from.sock.fileno(), self._readable)
        if self._from.more:
            self._readable()

    def _readable(self) -> None:
        try:
            if not (self._large and self._splice()):
                self._copy()
        except OSError as error:
            self._relay.broke(error)

    def _copy(self) -> None:
        source = self._from
        while (data := source.receive()) is not None:
            count = len(data)
            if not count:
                self._end()
                return
            self.bytes += count
            if not self._to.send(data):
                self._wait()
                return
            if not source.more:
                self._large = count >= _LARGE and self._spliced
                return

    def _splice(self) -> bool:
        """Move what has come through a pipe; False when there is none to be had."""
        pipe = self._pipe = _PIPES.take()
        if pipe is None:
            return False
        try:
            count = os.splice(self._from.sock.fileno(), pipe[1], _PIPE)
        except (BlockingIOError, InterruptedError):
            self._release()
            return True
        if not count:
            self._release()
            self._end()
            return True
        self.bytes += count
        self._held = count
        if not self._drain_pipe():
            self._wait()
        elif count < _SMALL:
            self._large = False
        return True

    def _drain_pipe(self) -> bool:
        """Send what is in the pipe, and return it when it is empty."""
        assert self._pipe is not None
        source, sink = self._pipe[0], self._to.sock.fileno()
        while self._held:
            try:
                self._held -= os.splice(source, sink, self._held)
            except (BlockingIOError, InterruptedError):
                return False
        self._release()
        return True

    def _release(self) -> None:
        if self._pipe is not None:
            _PIPES.give(self._pipe, empty=not self._held)
            self._pipe = None

    def _wait(self) -> None:
        """The receiver has no room: read nothing until it has."""
        self._loop.remove_reader(self._from.sock.fileno())
        self._loop.add_writer(self._to.sock.fileno(), self._writable)

    def _writable(self) -> None:
        self._relay.moved = True
        try:
            # What was copied went out before anything was spliced: only one of the two ever holds something.
            if not (self._drain_pipe() if self._pipe is not None else self._to.flush()):
                return
            self._loop.remove_writer(self._to.sock.fileno())
            if self._ending:
                self._ended()
            else:
                self._resume()
        except OSError as error:
            self._relay.broke(error)

    def _end(self) -> None:
        self._loop.remove_reader(self._from.sock.fileno())
        self._ending = True
        if self._to.shut():
            self._ended()
        else:
            self._loop.add_writer(self._to.sock.fileno(), self._writable)

    def _ended(self) -> None:
        self.ended = True
        self._relay.direction_ended()

    def stop(self) -> None:
        """Let go of loop and pipe."""
        self._loop.remove_reader(self._from.sock.fileno())
        self._loop.remove_writer(self._to.sock.fileno())
        self._release()


class Relay:
    """Carries both directions between a client and a service. It owns both sockets, and closes them at the end.

    `on_end` is told once why it ended.
    """

    __slots__ = ("_client", "_on_end", "_seen", "_service", "_since", "down", "ended", "loop", "moved", "up")

    def __init__(self, client: End, service: End, on_end: Callable[[str], None], *, splice: bool = SPLICES) -> None:
        self.loop = asyncio.get_running_loop()
        self.ended = False
        self.moved = False
        """Something was sent since the last sweep that was not just received."""
        self._client = client
        self._service = service
        self._on_end = on_end
        self.up = Direction(self, client, service, splice=splice)
        """From the client to the service."""
        self.down = Direction(self, service, client, splice=splice)
        self._seen = 0
        self._since = self.loop.time()

    def start(self, early: bytes = b"") -> None:
        """Begin; `early` is what the client said already."""
        try:
            self.down.start()
            if not self.ended:
                self.up.start(early)
        except OSError as error:
            self.broke(error)

    def idle_s(self, now: float) -> float:
        """How long nothing has moved; call it regularly, since movement is noticed only here."""
        total = self.up.bytes + self.down.bytes
        if total != self._seen or self.moved:
            self._seen = total
            self.moved = False
            self._since = now
        return now - self._since

    def direction_ended(self) -> None:
        if self.up.ended and self.down.ended:
            self.end("closed", reset=False)

    def broke(self, error: OSError) -> None:
        """One end is gone: the other hears of it in the same way."""
        self.end("reset" if error.errno in _RESETS else "broken", reset=True)

    def end(self, why: str, *, reset: bool) -> None:
        """Close both sockets; with `reset`, so that the other ends know that something is missing. Harmless later."""
        if self.ended:
            return
        self.ended = True
        self.up.stop()
        self.down.stop()
        for end in (self._client, self._service):
            close(end.sock, reset=reset)
        self._on_end(why)


_RESETS: Final = frozenset((errno.ECONNRESET, errno.ECONNABORTED, *_GONE))

_LINGER_NOT: Final = struct.pack("ii", 1, 0)


def close(sock: socket.socket, *, reset: bool) -> None:
    """Close; with `reset`, the other end's next read fails instead of finding an end."""
    if reset:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        except OSError:
            pass  # it is gone already
    sock.close()


def refuse(sock: socket.socket, words: bytes) -> None:
    """Say why, as far as there is room for it, to a client that is then closed in good order."""
    try:
        sock.send(words)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # it is closed either way
