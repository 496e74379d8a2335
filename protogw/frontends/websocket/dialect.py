"""What a session's subprotocol has to say: its messages → actions on calls, and what calls bring → messages. Pure.

A session knows no syntax, and a dialect no socket. An id is the client's own, unique among the calls under way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from protogw.call import Encoding, Metadata, Payload
from protogw.errors import Status
from protogw.frontends.websocket.forms import Types

Message: TypeAlias = str | bytes
Id: TypeAlias = int | str | float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Open:
    """Begin a call. `key` is what its other actions name; the dialect may keep more than an id in it."""

    key: Key
    method: str
    metadata: tuple[tuple[bytes, bytes], ...] = ()
    timeout: float | None = None
    credit: int | None = None
    """Messages that the client takes before it says more; None for any number."""
    message: bytes | None = None
    encoding: Encoding = Encoding.JSON
    end: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """A further message of a call, its last with `end`."""

    id: Id
    message: bytes | None
    encoding: Encoding = Encoding.JSON
    end: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Give a call up."""

    id: Id


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """The client takes so many more messages of a call."""

    id: Id
    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """Who the client is from now on."""

    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """An answer that no call has to be made for."""

    message: Message


Action: TypeAlias = Open | Send | Cancel | Credit | Token | Say


class Key:
    """One call as its dialect knows it. `unary` is set once its method is known."""

    __slots__ = ("id", "unary")

    def __init__(self, id: Id) -> None:
        self.id = id
        self.unary = True


class Dialect(Protocol):
    """One subprotocol of sessions. The messages it returns are sent in their order."""

    grants: bool
    """Clients send a call's messages by credit; without it they may send as many as there is room for."""

    def hello(self, connection: str, calls: int, credit: int) -> Iterable[Message]:
        """The first words: how many calls there may be at once, and how many messages each may be sent unasked."""
        ...

    def read(self, message: Message) -> Sequence[Action]:
        """What a client's message asks for; raises InvalidRequest for one that cannot be answered."""
        ...

    def lead(self, key: Key, metadata: Metadata) -> Iterable[Message]:
        """The metadata that a reply begins with."""
        ...

    def message(self, key: Key, payload: Payload) -> Iterable[Message]:
        """One message of a reply."""
        ...

    def status(self, key: Key, status: Status, trailers: Metadata, types: Types) -> Iterable[Message]:
        """How the call ended; its last word."""
        ...

    def credit(self, key: Key, messages: int) -> Iterable[Message]:
        """The service has taken so many messages of the call."""
        ...

    def leaving(self) -> Iterable[Message]:
        """No further calls are taken; those under way go on."""
        ...

    def pushed(self, message: Message) -> Message:
        """What an operator sends the client, told from the messages of calls."""
        ...
