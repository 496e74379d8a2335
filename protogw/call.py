"""The neutral call: what every front end decodes into and every translator encodes out of.

Knows no protocol. Values in Metadata are as HTTP carries them: `-bin` values are base64 text, since every
protocol here carries them so; `Metadata.binary` decodes.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import enum
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, runtime_checkable

from protogw.errors import OK, DeadlineExceeded, GatewayError, InvalidRequest, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protogw.descriptors.model import Codec, Method
    from protogw.wire.http import ByteStream, Header, Peer, RequestHead, ResponseHead


class Encoding(enum.Enum):
    """How a payload's bytes are written."""

    PROTO = "proto"
    JSON = "json"
    RAW = "raw"


class Metadata:
    """Multi-valued fields with lower-case names; never changed in place, so it may be shared between calls.

    `made` is what a translator last wrote these pairs as: the translator, what else went into it, and the bytes.
    """

    __slots__ = ("made", "pairs")

    def __init__(self, pairs: tuple[Header, ...] = ()) -> None:
        self.pairs = pairs
        self.made: tuple[object, object, bytes] | None = None

    def get(self, name: bytes) -> bytes | None:
        """The first value of `name` (lower case), or None."""
        for key, value in self.pairs:
            if key == name:
                return value
        return None

    def get_all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.pairs if key == name]

    def cookie(self, name: bytes) -> bytes | None:
        """The first cookie of this name (RFC 6265 section 4.2), or None."""
        for key, value in self.pairs:
            if key == b"cookie":
                for pair in value.split(b";"):
                    known, equals, text = pair.partition(b"=")
                    if equals and known.strip() == name:
                        return text.strip().strip(b'"')
        return None

    def binary(self, name: bytes) -> bytes | None:
        """The decoded first value of a `-bin` field; raises InvalidRequest when it is not base64."""
        value = self.get(name)
        if value is None:
            return None
        try:
            return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
        except binascii.Error as error:
            raise InvalidRequest(f"{name.decode('latin-1')}: not base64") from error

    def adding(self, *pairs: Header) -> Metadata:
        return Metadata(self.pairs + pairs)

    def setting(self, name: bytes, value: bytes) -> Metadata:
        return Metadata((*(pair for pair in self.pairs if pair[0] != name), (name, value)))

    def without(self, names: Iterable[bytes]) -> Metadata:
        gone = frozenset(names)
        return Metadata(tuple(pair for pair in self.pairs if pair[0] not in gone))

    def __iter__(self) -> Iterator[Header]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Metadata) and self.pairs == other.pairs

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Metadata({self.pairs!r})"


NO_METADATA = Metadata()

MESSAGES_A_TURN = 256
"""Messages of one stream that are carried before other calls get their turn: a piece of a body may hold 50,000."""


class Payload:
    """One message: its bytes, the encoding they are in, and the codec of its type.

    Bytes stay as they came until someone asks for the other encoding.
    """

    __slots__ = ("codec", "data", "encoding")

    def __init__(self, data: bytes, encoding: Encoding, codec: Codec | None = None) -> None:
        self.data = data
        self.encoding = encoding
        self.codec = codec

    def proto(self) -> bytes:
        """The protobuf bytes; raises InvalidRequest naming the field when JSON does not fit the type."""
        if self.encoding is Encoding.PROTO:
            return self.data
        assert self.codec is not None
        return self.codec.from_json(self.data)

    def json(self) -> bytes:
        """The JSON bytes; raises InvalidRequest when the protobuf bytes do not parse."""
        if self.encoding is Encoding.JSON:
            return self.data
        assert self.codec is not None
        return self.codec.to_json(self.data)

    def settled(self) -> Payload:
        """The message as whoever reads its fields reads it, for everyone after: JSON has more than one reading (names
        that differ in case, members that no field has), and a service must not be given another than what was decided
        on. Raises InvalidRequest when it does not fit its type."""
        if self.encoding is not Encoding.JSON or self.codec is None:
            return self
        return Payload(self.proto(), Encoding.PROTO, self.codec)

    def __repr__(self) -> str:
        return f"<Payload {self.encoding.value} {len(self.data)} bytes>"


class GzipPayload(Payload):
    """A message that came gzipped: `gzipped` is how it came, so that it may travel on so; `data` is what is in it."""

    __slots__ = ("gzipped",)

    def __init__(self, data: bytes, encoding: Encoding, codec: Codec | None, gzipped: bytes) -> None:
        super().__init__(data, encoding, codec)
        self.gzipped = gzipped


class PayloadStream(AsyncGenerator[Payload, None]):
    """A stream's messages, by a class that says what the next one is and how to let go of the rest.

    Not a generator function: closing it closes what is beneath even when nothing was read from it yet.
    """

    __slots__ = ()

    @abstractmethod
    async def __anext__(self) -> Payload: ...

    @abstractmethod
    async def aclose(self) -> None: ...

    async def asend(self, value: None) -> Payload:
        return await self.__anext__()

    async def athrow(self, *error: Any) -> Payload:
        await self.aclose()
        raise error[0]


class PassingPayloads(PayloadStream):
    """Another stream's messages on their way, by a class that says what becomes of each.

    Letting go of the rest is letting go of that stream; who has more to let go of does that, and this.
    """

    __slots__ = ("_payloads",)

    def __init__(self, payloads: AsyncIterator[Payload]) -> None:
        self._payloads = payloads

    async def aclose(self) -> None:
        if isinstance(self._payloads, AsyncGenerator):
            await self._payloads.aclose()


@runtime_checkable
class FromClient(Protocol):
    """A request's messages as a front end reads them."""

    @property
    def waiting(self) -> bool:
        """It is the client's turn: what it has sent is read, and there may be more."""
        ...


def awaits_client(payloads: AsyncIterator[Payload] | None) -> bool:
    """Whether a request has not all come, and what is missing is the client's to send."""
    while isinstance(payloads, PassingPayloads):
        payloads = payloads._payloads
    return isinstance(payloads, FromClient) and payloads.waiting


class Tries:
    """What is known of a call that is tried more than once; kept by whoever tries, read by those who carry it."""

    __slots__ = ("expired", "number", "tried")

    def __init__(self) -> None:
        self.number = 1
        """Which try this is, of as many as there are."""
        self.tried: set[str] = set()
        """The endpoints that have had the call, by their label: others go first."""
        self.expired = False
        """This try took longer than one may, and is cancelled for that."""


PATIENCE_S = 1.0
"""A client's own deadline that left a service less than this says nothing of the service when it passes."""

GZIP_REQUEST, GZIP_REPLY = 1, 2
"""Bits of Call.gzip: the request's messages may be GzipPayloads; the client takes a reply's messages gzipped."""


class NoteNames(tuple[bytes, ...]):
    """Names of fields. `made` is what a transport has made of them."""

    made: bytes | None = None


Notes: TypeAlias = tuple[NoteNames, tuple[int, ...]]
"""The names of fields, always the same, and their values: numbers, which no message can be split with."""

VALIDATORS = "validators"
"""Attribute of a call: fields by which a service is asked whether an answer still holds. Whoever sets it takes a reply
that is Unchanged and has no message; a translator whose protocol knows no such question leaves it alone."""


PARTIAL = "partial"
"""Attribute of a call: whoever made it can tell the client of single fields that a reply lacks (Reply.withheld), so a
policy need not refuse the whole call for them."""


ASKED_BY = "asked_by"
"""Attribute of a call that is one of several of a request: equal for all of them, and for no other request's."""


RENEWED = "renewed"
"""Attribute of a call whose client can say anew who it is while it runs: a function that returns the metadata that it
would be made with now."""


class Withheld(Protocol):
    """What messages of one type lack because the caller may not see it, whether or not a message had it."""

    @property
    def fields(self) -> Mapping[int, Status]:
        """The fields that are withheld, by number, and why."""
        ...

    @property
    def below(self) -> Mapping[int, Withheld]:
        """What is withheld in the messages that other fields hold; a map's are in field 2 of its entries."""
        ...


class Call:
    """One call on its way through the gateway. Unary and server-stream calls carry `payload`; others `payloads`.

    `method` is None for opaque HTTP, whose head is in `head`. `timeout` is what the client asked for, in
    seconds, counted from `started` (loop time); `deadline` (loop time) is fixed once by the gateway.
    """

    composite: ClassVar[bool] = False
    """It stands for several (Composite)."""

    __slots__ = (
        "_task",
        "_timer",
        "attributes",
        "cut",
        "deadline",
        "front_end",
        "gzip",
        "head",
        "identity",
        "late",
        "metadata",
        "method",
        "notes",
        "payload",
        "payloads",
        "peer",
        "reply",
        "route",
        "started",
        "timeout",
        "trace",
        "tries",
        "upstream",
        "watched",
        "whole",
    )

    def __init__(
        self,
        method: Method | None,
        metadata: Metadata,
        *,
        front_end: str,
        peer: Peer,
        started: float,
        head: RequestHead | None = None,
        payload: Payload | None = None,
        payloads: AsyncIterator[Payload] | None = None,
        timeout: float | None = None,
        gzip: int = 0,
    ) -> None:
        self.method = method
        self.metadata = metadata
        self.front_end = front_end
        self.peer = peer
        self.started = started
        self.head = head
        self.payload = payload
        self.payloads = payloads
        self.timeout = timeout
        self.gzip = gzip
        self.late: Callable[[], Awaitable[Payload]] | None = None
        """Asks for the one message, which the client holds back until then: so long `payload` is None."""
        self.deadline: float | None = None
        self.cut: GatewayError | None = None
        """What the gateway itself has cancelled the running task for, and the call ends with."""
        self.identity: Any = None
        self.attributes: dict[str, Any] | None = None
        self.route: Any = None
        self.reply: Reply | None = None
        """What it was answered with, for the log; set by the gateway."""
        self.upstream = ""
        self.notes: Notes | None = None
        """What a policy has for the client beside whatever the answer is: fields that are others for each call. Apart,
        so that what is made of a reply's own fields is made once."""
        self.tries: Tries | None = None
        self.trace: Any = None
        """What is noted of it for its trace; None for nearly every call, which is not recorded."""
        self.whole: Composite | None = None
        """The request that it is one of several calls of, where that is so."""
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None
        self.watched: asyncio.TimerHandle | asyncio.Task[None] | None = None
        """What may end the call before its deadline; goes with the call."""

    def noted(self) -> tuple[Header, ...]:
        """The notes as fields."""
        if self.notes is None:
            return ()
        names, numbers = self.notes
        return tuple(zip(names, [b"%d" % number for number in numbers], strict=True))

    @property
    def expired(self) -> bool:
        """The deadline has passed."""
        return isinstance(self.cut, DeadlineExceeded)

    async def arrive(self) -> None:
        """Have the message here; raises GatewayError when it is none, or does not come."""
        ask, self.late = self.late, None
        if ask is not None:
            self.payload = await ask()

    def arm(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        """Fix the deadline `timeout` seconds after `started`; at it, the running task is cancelled as expired."""
        self.deadline = self.started + timeout
        self._task = asyncio.current_task()
        self._timer = loop.call_later(max(0.0, self.deadline - loop.time()), self._expire)

    def hurried(self, seconds: float, patience: float = PATIENCE_S) -> bool:
        """Whether the deadline is the client's own and left whoever carries the call only these seconds, less than
        `patience`, or the client has not sent all of its request. Its passing is nobody's fault then: else who asks for
        a millisecond, or begins to send and stops, could speak for all others."""
        if self.payloads is not None and awaits_client(self.payloads):
            return True
        wanted, deadline = self.timeout, self.deadline
        if wanted is None or deadline is None or seconds >= patience:
            return False
        return deadline >= self.started + wanted

    def fork(self) -> Call:
        """Another call for the same: what is set on one is not on the other. Its deadline is the first's to keep."""
        other = Call(
            self.method,
            self.metadata,
            front_end=self.front_end,
            peer=self.peer,
            started=self.started,
            head=self.head,
            payload=self.payload,
            payloads=self.payloads,
            timeout=self.timeout,
            gzip=self.gzip,
        )
        other.deadline = self.deadline
        other.identity = self.identity
        other.attributes = None if self.attributes is None else dict(self.attributes)
        other.route = self.route
        other.notes = self.notes
        other.tries = self.tries
        other.trace = self.trace
        other.whole = self.whole
        return other

    def disarm(self) -> None:
        """Forget the deadline's timer: the call has ended, or is to go on without a deadline."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._task = None

    def ended(self) -> None:
        """Whoever made the call is done with it: nothing may cut it any more."""
        self.disarm()
        if self.watched is not None:
            self.watched.cancel()
            self.watched = None

    def end(self, error: GatewayError, task: asyncio.Task[Any]) -> None:
        """Cancel the task that carries the call, which then ends with this error."""
        if self.cut is None:
            self.cut = error
            task.cancel()

    def _expire(self) -> None:
        self._timer = None
        if self._task is not None and self.cut is None:
            self.cut = DeadlineExceeded()
            self._task.cancel()

    def __repr__(self) -> str:
        what = self.method.full_name if self.method is not None else repr(self.head)
        return f"<Call {what} from {self.front_end}>"


class Fields(Protocol):
    """What a request that is made of several calls asks for; the same object for equal requests."""

    def names(self) -> frozenset[str]:
        """The fields of the types that it names, `Type.field`."""
        ...


class Composite(Call):
    """A request that is made of any number of calls: stands for all of them where requests are recorded.

    `kind` is what sort of request it is, `name` what its client calls it; `fields` what it asks for, which several may
    share. `reply` has the status of the first call that failed.
    """

    composite: ClassVar[bool] = True

    __slots__ = ("calls", "decided", "fields", "kind", "name")

    def __init__(self, first: Call, kind: str, name: str, fields: Fields | None = None) -> None:
        super().__init__(
            first.method,
            first.metadata,
            front_end=first.front_end,
            peer=first.peer,
            started=first.started,
            head=first.head,
        )
        self.kind = kind
        self.name = name
        self.fields = fields
        self.calls = 1
        self.decided = False
        """Whether it is traced has been decided."""

    def part_ended(self, call: Call, status: Status) -> None:
        """One of its calls has ended so."""
        if self.reply is None or (self.reply.status.code == 0 and status.code != 0):
            self.reply = Reply(status=status)
        self.upstream = self.upstream or call.upstream
        self.identity = self.identity or call.identity


class Reply:
    """The answer to a call. A unary reply carries `payload`; a stream carries `payloads`.

    While `payloads` is being read, `status` and `trailers` are not yet known; they are final once the iteration
    has ended. A status other than OK is a reply, not an exception; a failure of transport raises GatewayError,
    also out of the iteration. With `gzip`, its messages may be GzipPayloads. `head` is set for opaque HTTP only: the
    upstream's own status and fields. `tunnel` is set when the upstream has switched to the protocol that such a request
    asked for: both directions, which are their receiver's to end. `withheld` is what policies have taken out of its
    messages for this caller: such a reply is no answer to anybody else.
    """

    __slots__ = ("gzip", "head", "metadata", "payload", "payloads", "status", "trailers", "tunnel", "withheld")

    def __init__(
        self,
        metadata: Metadata = NO_METADATA,
        *,
        payload: Payload | None = None,
        payloads: AsyncIterator[Payload] | None = None,
        status: Status = OK,
        trailers: Metadata = NO_METADATA,
        head: ResponseHead | None = None,
        gzip: bool = False,
        tunnel: ByteStream | None = None,
    ) -> None:
        self.metadata = metadata
        self.payload = payload
        self.payloads = payloads
        self.gzip = gzip
        self.status = status
        self.trailers = trailers
        self.head = head
        self.tunnel = tunnel
        self.withheld: tuple[Withheld, ...] = ()

    def __repr__(self) -> str:
        return f"<Reply {self.status.code.name}>"


class Unchanged(Reply):
    """A whole reply that the client says it holds already (its condition is met): a front end whose protocol can say so
    sends its metadata alone, and any other sends it as it is. Without a message it is a service's, to VALIDATORS."""

    __slots__ = ()
