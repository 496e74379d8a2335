"""One end of a relay that speaks TLS: its handshake, and what is encrypted on its way out, decrypted on its way in.

Not the event loop's TLS, which cannot end one direction and keep the other: here a close_notify passes as an end of
stream and the other way stays open (RFC 8446 section 6.1).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Final

from protogw.net.tcp_relay import COPIED, SCRATCH

_VIEW: Final = memoryview(SCRATCH)


class TlsEnd:
    """A socket whose bytes are encrypted. Await `handshake` first; see tcp_relay.End for the rest."""

    __slots__ = ("_decrypted", "_incoming", "_kept", "_outgoing", "_shut", "_tls", "more", "sock")
    plain = False

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_name: str | None = None) -> None:
        """With `server_name`, the client's end, which verifies that name; without, the server's."""
        self.sock = sock
        self.more = False
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_name is None, server_hostname=server_name
        )
        self._kept = b""
        self._decrypted = b""
        self._shut = False

    async def handshake(self) -> None:
        """Agree on keys; raises OSError (ssl.SSLError among them). The caller limits the time."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._say(loop)
                data = await loop.sock_recv(self.sock, COPIED)
                if not data:
                    raise ConnectionAbortedError("closed during the TLS handshake") from None
                self._incoming.write(data)
            except ssl.SSLError:
                await self._say(loop)  # the alert says to the peer what is wrong
                raise
            else:
                await self._say(loop)
                self.more = True  # the last flight may have brought the first data along
                return

    async def _say(self, loop: asyncio.AbstractEventLoop) -> None:
        data = self._outgoing.read()
        if data:
            await loop.sock_sendall(self.sock, data)

    def receive(self) -> bytes | None:
        if self._decrypted:
            data, self._decrypted = self._decrypted, b""
            return data
        if not self.more:
            try:
                count = self.sock.recv_into(SCRATCH)
            except (BlockingIOError, InterruptedError):
                return None
            if count:
                self._incoming.write(_VIEW[:count])
            else:
                self._incoming.write_eof()
        return self._decrypt()

    def _decrypt(self) -> bytes | None:
        pieces: list[bytes] = []
        size = 0
        self.more = False
        while size < COPIED:
            try:
                piece = self._tls.read(COPIED)
            except ssl.SSLWantReadError:
                break
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                # Who leaves without a close_notify has left nonetheless: servers and clients do it every day.
                piece = b""
            if not piece:
                if not pieces:
                    return b""
                self.more = True  # the end is told by the next call
                break
            pieces.append(piece)
            size += len(piece)
        else:
            self.more = True
        return (b"".join(pieces) if len(pieces) != 1 else pieces[0]) or None

    def send(self, data: memoryview | bytes) -> bool:
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]
        return self._push(self._outgoing.read())

    def _push(self, data: bytes) -> bool:
        try:
            sent = self.sock.send(data) if data else 0
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent < len(data):
            self._kept = data[sent:]
            return False
        if self._shut:
            self.sock.shutdown(socket.SHUT_WR)
        return True

    def flush(self) -> bool:
        kept, self._kept = self._kept, b""
        return self._push(kept)

    def shut(self) -> bool:
        # What has come is taken out first: it would else be read, and lost, in the search for the peer's own goodbye.
        while self.more and (data := self._decrypt()) is not None:
            self._decrypted += data
            if not data:
                break
        else:
            data = None
        self.more = bool(self._decrypted) or data == b""
        self._shut = True
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            pass  # the peer has not ended its direction yet
        except ssl.SSLError:
            pass  # nor will it: it has ended without a word
        return self._push(self._outgoing.read())
