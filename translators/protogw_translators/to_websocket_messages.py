"""One method's messages, as a socket carries them: JSON or protobuf, told apart by their marks and members. Pure."""

from __future__ import annotations

import enum
from typing import NamedTuple

import orjson

from protogw.call import Encoding, Payload
from protogw.descriptors.channel_binding import ChannelBinding
from protogw.descriptors.model import Codec, Method
from protogw.errors import OK, BadUpstream, GatewayError, InvalidRequest, Status
from protogw.wire.native_unions import branch_of
from protogw.wire.protowire import fields
from protogw_translators.error_records import status_of_record
from protogw_translators.to_websocket_ends import End, end_of
from protogw_translators.to_websocket_members import Json, Mark, Member
from protogw_translators.to_websocket_settings import MethodOptions

_CLOSING = ord("}")


class Frame(NamedTuple):
    """A message as it is sent."""

    data: bytes
    text: bool


class Found(NamedTuple):
    """What a message says to its call: a reply, and how it ends the call if it does."""

    payload: Payload | None
    final: Status | None
    end: End | None = None
    """What else is told of the call at its end."""


class Requests:
    """Writes a method's requests."""

    def __init__(
        self, method: Method, settings: MethodOptions, binding: ChannelBinding | None, *, keyed: bool = True
    ) -> None:
        """Raises ValueError for a correlation that the request type has no place for, where calls are `keyed` by it."""
        self._codec: Codec = method.input.codec
        self._native = self._codec.canonical is not self._codec
        self.binary = settings.encoding == "proto"
        self._field = binding.message if binding is not None and binding.message not in ("", "*") else ""
        owner = method.input
        if self._field:
            field = owner.fields[self._field]
            self._number = field.number
            owner = owner.types[field.type_name]
        pair = (settings.correlation or settings.topic) if keyed else None
        self.member = Member(owner, pair.request, needed=self.binary or binding is None) if pair is not None else None
        self._top = self.member.top if self.member is not None else b""
        quote = b"" if self.member is not None and self.member.number else b'"'
        self._before = b"{" + self._top + b":" + quote
        self._after = quote + b","
        """What stands before and after an id that is put before a message's other members."""

    def encode(self, payload: Payload) -> Frame:
        """Raises InvalidRequest."""
        if self.binary:
            return Frame(self._proto(payload), False)
        data = self._json(payload)
        if not data.isascii():
            try:
                data.decode()
            except UnicodeDecodeError:
                raise InvalidRequest("invalid JSON: not UTF-8") from None
        return Frame(data, True)

    def keyed(self, payload: Payload, key: str) -> tuple[Frame, str]:
        """The request with this id, and the id that the client itself had given it, if any.

        It is checked first: it goes where a bad message could end other clients' calls. Raises InvalidRequest.
        """
        member = self.member
        assert member is not None
        if self.binary:
            data = self._proto(payload)
            own = _read(member, data)
            return Frame(data + member.proto(key), False), own
        if payload.encoding is Encoding.JSON:
            payload.proto()
        data = self._json(payload)
        top = self._top
        if top and top not in data and b"\\u" not in data and data[:1] == b"{" and data[-1:] == b"}":
            # The member is not there: it is put before the others without looking at them.
            rest = data[1:]
            after = self._after[:-1] if rest[0] == _CLOSING or rest[:-1].isspace() else self._after
            return Frame(b"%b%b%b%b" % (self._before, key.encode(), after, rest), True), ""
        tree = orjson.loads(data)
        own = member.of(tree)
        member.put(tree, key)
        return Frame(orjson.dumps(tree), True), own

    def key(self, frame: Frame) -> str:
        """What a request is about, "" when it does not say."""
        assert self.member is not None
        return self.member.of(orjson.loads(frame.data)) if frame.text else _read(self.member, frame.data)

    def _json(self, payload: Payload) -> bytes:
        codec = self._codec
        if self._field:
            return codec.field_to_json(self._field, payload.proto())
        if payload.encoding is Encoding.JSON and (not self._native or payload.codec is not codec.canonical):
            return payload.data
        return codec.to_json(payload.proto())

    def _proto(self, payload: Payload) -> bytes:
        data = payload.proto()
        if not self._field:
            return data
        try:
            pieces = [value for number, value in fields(data) if number == self._number]
        except ValueError as error:
            raise InvalidRequest(f"{self._field}: {error}") from error
        return b"".join([piece for piece in pieces if isinstance(piece, bytes)])


def _read(member: Member, data: bytes) -> str:
    try:
        return member.of_proto(data)
    except ValueError as error:
        raise InvalidRequest(f"{member.name}: {error}") from error


class Replies:
    """Reads a method's replies."""

    def __init__(
        self, method: Method, settings: MethodOptions, binding: ChannelBinding | None, *, keyed: bool = True
    ) -> None:
        """Raises ValueError for a correlation that the reply type has no place for, where calls are `keyed` by it."""
        self._types = method.output.types
        self._codec: Codec = method.output.codec.lenient
        self.binary = settings.encoding == "proto"
        pair = (settings.correlation or settings.topic) if keyed else None
        self.member = (
            Member(method.output, pair.reply, needed=self.binary or binding is None) if pair is not None else None
        )
        self._ignore, self._end, self._last, self._error = (
            Mark(marker) if marker is not None else None
            for marker in (settings.ignore, settings.end, settings.last, settings.error)
        )
        self._marked = any((self._ignore, self._end, self._last, self._error))
        self._plain_errors = self._error is None and not self.binary and method.output.field("error") is None
        self._channel = binding.channel if binding is not None else None
        self._expected = binding.expected if binding is not None else frozenset()

    def parse(self, data: bytes, text: bool) -> Json:
        """The message's JSON; None of protobuf, whose bytes are looked at where need be. Raises BadUpstream."""
        if self.binary:
            if text:
                raise BadUpstream("the upstream's message is text, where protobuf is expected")
            return None
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise BadUpstream(f"the upstream's message is not JSON: {error}") from error

    def key(self, data: bytes, tree: Json) -> str:
        """By what a message says which call it is for, "" when it does not. Raises BadUpstream."""
        member = self.member
        assert member is not None
        if not self.binary:
            return member.of(tree)
        try:
            return member.of_proto(data)
        except ValueError as error:
            raise BadUpstream(f"the upstream's message: {error}") from error

    def found(self, data: bytes, tree: Json) -> Found | None:
        """What a message says to a call that it is for, or None when it says nothing. Raises BadUpstream."""
        mark = _Mark.NONE
        said = data
        if self._marked:
            if self.binary:
                said = self._printed(data)
                tree = orjson.loads(said)
            mark = self._mark(tree)
        if mark is _Mark.FAILED or (self._plain_errors and _is_error(tree)):
            return Found(None, status_of_record(said, self._types))
        if mark is _Mark.ENDED:
            return Found(None, OK)
        if mark is _Mark.NOBODY or not self._is_reply(tree):
            return None
        encoding = Encoding.PROTO if self.binary else Encoding.JSON
        return Found(Payload(data, encoding, self._codec), OK if mark is _Mark.LAST else None)

    def ended(self, record: bytes) -> Found:
        """What the record says that follows an empty message; raises BadUpstream."""
        end = end_of(record, self._types)
        return Found(None, end.status, end)

    def restored(self, payload: Payload, own: str) -> Payload:
        """The reply with the id that the client had given its request."""
        member = self.member
        assert member is not None
        if self.binary:
            return Payload(payload.data + member.proto(own), Encoding.PROTO, self._codec)
        tree = orjson.loads(payload.data)
        member.put(tree, own)
        return Payload(orjson.dumps(tree), Encoding.JSON, self._codec)

    def _printed(self, data: bytes) -> bytes:
        try:
            return self._codec.to_json(data)
        except GatewayError as error:
            raise BadUpstream(f"the upstream's message: {error.message}") from error

    def _mark(self, tree: Json) -> _Mark:
        if self._ignore is not None and self._ignore.on(tree):
            return _Mark.NOBODY
        if self._error is not None and self._error.on(tree):
            return _Mark.FAILED
        if self._end is not None and self._end.on(tree):
            return _Mark.ENDED
        return _Mark.LAST if self._last is not None and self._last.on(tree) else _Mark.NONE

    def _is_reply(self, tree: Json) -> bool:
        if self._channel is None or self.binary:
            return True
        branch = branch_of(self._channel, tree)
        return branch is not None and branch.key in self._expected


class _Mark(enum.Enum):
    """What a message is known to be."""

    NONE = 0
    NOBODY = 1
    FAILED = 2
    ENDED = 3
    LAST = 4


def _is_error(tree: Json) -> bool:
    """An object that holds an error and nothing else."""
    return tree.__class__ is dict and len(tree) == 1 and tree.get("error").__class__ is dict
