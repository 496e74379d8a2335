"""What a front end is, and what it is given: an exchange to read one request from and to answer on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias, runtime_checkable

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from protogw.call import Call, Payload, Reply
    from protogw.descriptors.catalog import Catalog
    from protogw.descriptors.model import Method, Spelling
    from protogw.errors import GatewayError
    from protogw.wire.http import ByteStream, Header, Peer, RequestHead


class Exchange(Protocol):
    """One HTTP request and the means to answer it, whatever the HTTP version (net/ implements it)."""

    @property
    def head(self) -> RequestHead: ...

    peer: Peer
    extra: tuple[Header, ...]
    """Fields added to whatever answer is sent (CORS, for one); none about framing."""
    call: Call | None
    """Set by the front end once it has made a call, for the log and the deadline. Its notes go with the answer."""
    state: object
    """The front end's own, for `fail` to know how far the answer has come."""
    started: bool
    """The answer's head has been sent."""
    status: int
    """The answer's HTTP status, 0 until sent."""
    bytes_in: int
    bytes_out: int
    request_trailers: tuple[Header, ...]

    @property
    def held_back(self) -> bool:
        """The client waits to be asked for the body (RFC 9110 section 10.1.1), which `whole` and `read` do."""
        ...

    def buffered(self) -> bytes | None:
        """The whole request body if it has all arrived and none was read, else None. Consumes it."""
        ...

    async def whole(self, limit: int) -> bytes:
        """The whole request body; raises BodyTooLarge as soon as it is over `limit` (by Content-Length at once)."""
        ...

    async def read(self) -> bytes:
        """The next piece of the request body, b"" at its end. Reading is what lets the client send more."""
        ...

    def respond(
        self, status: int, headers: Sequence[Header], body: bytes = b"", trailers: Sequence[Header] = ()
    ) -> None:
        """Send a whole answer in one write. Adds the framing fields; with `trailers` they follow the body."""
        ...

    def start(self, status: int, headers: Sequence[Header]) -> None:
        """Send the head of an answer whose body follows."""
        ...

    async def write(self, data: bytes) -> None:
        """Send a piece of the answer's body; waits while the client leaves no room."""
        ...

    def finish(self, data: bytes = b"", trailers: Sequence[Header] = ()) -> None:
        """Send a last piece of the body without waiting, and end the answer."""
        ...

    def switch(self, headers: Sequence[Header]) -> ByteStream:
        """Take the request's `upgrade`: answer with these fields, and use what is returned instead of the body.

        Only while nothing has been answered and if head.upgrade says that the client asked. HTTP/1.1 answers 101,
        HTTP/2 answers 200. To be ended, or aborted, before `serve` returns; `abort` here aborts that too.
        """
        ...

    def when_draining(self, tell: Callable[[], None]) -> None:
        """Have `tell` called once when the connection is to end soon, at once if that is so already."""
        ...

    def abort(self) -> None:
        """End a started answer so that the client sees that it is cut (RST_STREAM, or a close without the end)."""
        ...


class Recorded(Protocol):
    """What the log says of a request, or of one call of a connection that carries many."""

    @property
    def head(self) -> RequestHead: ...

    @property
    def peer(self) -> Peer: ...

    @property
    def call(self) -> Call | None: ...

    @property
    def status(self) -> int: ...

    @property
    def bytes_in(self) -> int: ...

    @property
    def bytes_out(self) -> int: ...


class Recorder(Protocol):
    """Writes one line per request; never waits."""

    def record(self, exchange: Recorded, elapsed_s: float, error: GatewayError | None, front_end: str) -> None:
        """Called once a request has been answered, with the error it was answered with, or its client has gone.

        `front_end` is the kind of the one that answered.
        """
        ...

    def called(self, call: Call, elapsed_s: float, error: GatewayError | None) -> None:
        """Called once a call has ended that was one of any number of a request; the request is recorded too."""
        ...


@runtime_checkable
class RecordsCalls(Protocol):
    """A front end whose requests carry many calls, and which tells of each of them itself: with `record` where a
    connection carries calls that are requests of their own, with `called` where one request is made of several."""

    recorder: Recorder | None
    """Set by the door."""


Handler: TypeAlias = "Callable[[Call], Awaitable[Reply]]"


def late(handle: Handler, ask: Callable[[], Awaitable[Payload]]) -> Handler:
    """The handler for a call whose one message is held back: policies that need its head alone come before `ask`."""

    def handle_late(call: Call) -> Awaitable[Reply]:
        call.late = ask
        return handle(call)

    return handle_late


class FrontEndSettings(BaseModel):
    """A front end's own settings, written under its kind in a listener; each front end subclasses this."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the rest of the config means for a front end."""

    body: int = 64 << 20
    """The largest whole body or single message, in bytes."""
    hidden_query: frozenset[bytes] = frozenset()
    """Query parameters that are some policy's business and no field of a message."""


class FrontEnd(Protocol):
    """Decodes one protocol's requests into calls and encodes replies back.

    Constructed with `(settings, bounds)`: an instance of its own `Settings` and the listener's Bounds.
    """

    kind: ClassVar[str]
    """Its name in a listener's `offer`."""

    Settings: ClassVar[type[FrontEndSettings]]

    def offer(self, catalog: Catalog) -> None:
        """Serve this catalog from now on; called at start and whenever a schema changes."""
        ...

    def accepts(self, head: RequestHead) -> bool:
        """Whether the request is of this protocol; asked in the listener's order, must be cheap."""
        ...

    async def serve(self, exchange: Exchange, handle: Handler) -> None:
        """Read the request, call `handle`, and answer. GatewayError may propagate: `fail` is then called."""
        ...

    def fail(self, exchange: Exchange, error: GatewayError) -> None:
        """Answer with an error, in this protocol, however far the answer has come. Never raises or waits."""
        ...


@runtime_checkable
class Spelled(Protocol):
    """A front end whose clients know fields by other names than the proto's, however their messages come."""

    spelling: ClassVar[Spelling]


@runtime_checkable
class Switching(Protocol):
    """A front end whose requests leave HTTP; `protogw explain` asks it what one would lead to."""

    def leads_to(self, head: RequestHead) -> Method | None:
        """The method that the request is a call of, None when that is not settled by it; raises what it is refused
        with."""
        ...


@runtime_checkable
class Naming(Protocol):
    """A front end whose clients ask for a method by another name than its path; `protogw routes` shows it."""

    def offered_as(self, method: Method) -> str:
        """What a client writes for the method; empty when it cannot be asked for."""
        ...
