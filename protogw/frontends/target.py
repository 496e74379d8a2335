"""What an RPC request's head says, read once for all requests with an equal head: for gRPC, gRPC-Web and Connect.

Only the timeout is left out of it, since clients write what remains of theirs and so send another one each time.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from protogw.call import GZIP_REPLY, GZIP_REQUEST, NO_METADATA, Encoding, Metadata, Reply
from protogw.descriptors.catalog import Catalog
from protogw.descriptors.model import Method
from protogw.errors import InvalidRequest
from protogw.wire.http import Header, RequestHead, field_bytes
from protogw.wire.recurring import Recurring

_KEPT = 256
_KEPT_BYTES = 4096
"""Bounds of the targets that a front end keeps: their number, and the size of the heads they are found by."""


class Target:
    """A method, how its messages are written, and the fields of its replies' heads."""

    __slots__ = (
        "catalog",
        "coding",
        "encoding",
        "fields",
        "front",
        "gzip",
        "metadata",
        "method",
        "reply_coding",
        "reply_head",
        "reply_metadata",
    )

    def __init__(
        self, front: object, catalog: Catalog, method: Method, encoding: Encoding, fields: tuple[Header, ...]
    ) -> None:
        self.front = front
        self.catalog = catalog
        self.method = method
        self.encoding = encoding
        self.metadata = NO_METADATA
        self.coding = b""
        """The coding of request messages that are flagged as compressed; b"" for none."""
        self.reply_coding = b""
        """The coding in which replies are compressed here; b"" for none."""
        self.gzip = 0
        """What may pass gzipped as it is (Call.gzip)."""
        self.fields = fields
        # Replies to equal requests mostly share one Metadata, so the last head made is likely the next one too.
        self.reply_metadata = NO_METADATA
        self.reply_head = fields

    def add_fields(self, *fields: Header) -> None:
        """Further fields of every reply's head."""
        self.fields += fields
        self.reply_head = self.fields

    def let_pass(self, accepted: bytes, reply: bool) -> None:
        """Work out what may pass gzipped: only messages that need no conversion, since that would unpack them."""
        if self.encoding is Encoding.PROTO:
            self.gzip = (GZIP_REQUEST if self.coding == b"gzip" else 0) | (
                GZIP_REPLY if reply and accepted == b"gzip" else 0
            )

    def passes(self, reply: Reply) -> bool:
        """Whether the reply's messages may go to the client gzipped, as they came."""
        return reply.gzip and self.gzip & GZIP_REPLY != 0

    def head_of(self, metadata: Metadata) -> tuple[Header, ...]:
        """The fields of a reply's head."""
        if metadata is not self.reply_metadata:
            self.reply_head = (*self.fields, *metadata.pairs)
            self.reply_metadata = metadata
        return self.reply_head


class Opened:
    """The state of an exchange whose answer has begun and not ended."""

    __slots__ = ("target",)

    def __init__(self, target: Target) -> None:
        self.target = target


T = TypeVar("T", bound=Target)


class Aim(Generic[T]):
    """A target and the seconds that a request gives it: what a head's memo holds."""

    __slots__ = ("target", "timeout")

    def __init__(self, target: T, timeout: float | None) -> None:
        self.target = target
        self.timeout = timeout


class Targets(Generic[T]):
    """Targets, without a timeout, by the heads they were read from: those that come again."""

    __slots__ = ("_kept", "_timeout_name")

    def __init__(self, timeout_name: bytes) -> None:
        self._timeout_name = timeout_name
        self._kept: Recurring[tuple[object, ...], Aim[T]] = Recurring(_KEPT)

    def clear(self) -> None:
        self._kept.clear()

    def key(self, head: RequestHead) -> tuple[tuple[object, ...], bytes | None]:
        """What a head's target is kept under, and its timeout as written."""
        fields = head.headers
        name = self._timeout_name
        timeout = head.first.get(name)
        if timeout is None:
            return (head.path, head.version, fields), None
        at = fields.index((name, timeout))
        return (head.path, head.version, fields[:at] + fields[at + 1 :]), timeout

    def get(self, key: tuple[object, ...]) -> Aim[T] | None:
        return self._kept.get(key)

    def keep(self, key: tuple[object, ...], head: RequestHead, aim: Aim[T]) -> None:
        """Take in a new target; raises InvalidRequest when its head has a second timeout."""
        fields = head.headers
        if len(fields) > len(head.first) and sum([name == self._timeout_name for name, _ in fields]) > 1:
            raise InvalidRequest(f"{self._timeout_name.decode()}: given more than once")
        kept = self._kept
        if kept.again(key) and len(head.path) + field_bytes(fields) <= _KEPT_BYTES:
            kept.take(key, aim)
