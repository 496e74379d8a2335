"""Places that calls hold while they last, given back exactly once however a call ends: what limits of how many calls
run at once share.

A unary call ends with its reply, a stream with its last message or when its reader lets go of it, a tunnel when both
directions have ended. A reply that is dropped unread gives its place back when it is dropped.

A client that holds its message back (`Expect: 100-continue`) is not asked for it while there is no place, but has none
while it sends: places are there for the service's sake, which until then does nothing, and slow clients could hold all
of them by a header field. So whoever was asked may still find that there is none. (Envoy's adaptive concurrency takes
the place by the head, for it does not wait for messages; where a message streams through here, that is so too.)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from protogw.call import PassingPayloads, Payload, Reply
from protogw.policies.tunnels import PassingTunnel
from protogw.wire.http import ByteStream


class Slot:
    """One place. `free` may be called again."""

    __slots__ = ("_give_back",)

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def free(self) -> None:
        """Give the place back."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()

    __del__ = free

    def __enter__(self) -> Slot:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Free where there is no reply; else it is the reply's to do (`held`)."""
        if kind is not None:
            self.free()


def held(reply: Reply, slot: Slot) -> Reply:
    """The reply, which frees the slot once it has ended."""
    if reply.payloads is not None:
        reply.payloads = _Held(reply.payloads, slot)
    elif reply.tunnel is not None:
        reply.tunnel = _HeldTunnel(reply.tunnel, slot)
    else:
        slot.free()
    return reply


class _Held(PassingPayloads):
    __slots__ = ("_slot",)

    def __init__(self, payloads: AsyncIterator[Payload], slot: Slot) -> None:
        super().__init__(payloads)
        self._slot = slot

    async def __anext__(self) -> Payload:
        try:
            return await self._payloads.__anext__()
        except BaseException:
            self._slot.free()
            raise

    async def aclose(self) -> None:
        self._slot.free()
        await super().aclose()


class _HeldTunnel(PassingTunnel):
    """Both directions of a tunnel that holds a slot."""

    __slots__ = ("_ended", "_read_out", "_slot")

    def __init__(self, inner: ByteStream, slot: Slot) -> None:
        super().__init__(inner)
        self._slot = slot
        self._ended = False
        self._read_out = False

    async def read(self) -> bytes:
        try:
            data = await super().read()
        except BaseException:
            self._slot.free()
            raise
        if not data:
            self._read_out = True
            if self._ended:
                self._slot.free()
        return data

    def end(self) -> None:
        super().end()
        self._ended = True
        if self._read_out:
            self._slot.free()

    def abort(self) -> None:
        self._slot.free()
        super().abort()
