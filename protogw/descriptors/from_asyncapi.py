"""AsyncAPI 2.x and 3.x documents in JSON or YAML → a Schema: one service, its methods made of operations and channels.

What a service answers is a unary method, what it only receives one that returns nothing, what it only sends a server
stream, and a channel with both directions a bidirectional one. docs/asyncapi.md says how things are named.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from protogw.descriptors.asyncapi_channels import Channel, Message, Operation, channels_of, spoken
from protogw.descriptors.channel_binding import ChannelBinding
from protogw.descriptors.described import describe, load_documents
from protogw.descriptors.documents import Documents, Node
from protogw.descriptors.from_json_schema import Held, JsonSchemas
from protogw.descriptors.model import HttpRule, Kind, Schema, SchemaError
from protogw.descriptors.names import Taken, camel
from protogw.descriptors.numbers import Numbers
from protogw.descriptors.shapes import MessageShape, Union
from protogw.descriptors.synthesize import (
    EMPTY,
    Drafts,
    FieldDraft,
    FieldNames,
    MessageDraft,
    MethodDraft,
    nameable,
)
from protogw.wire.path_template import TemplateError, parse
from protogw.wire.protojson import DEFAULT, JsonOptions

_SHAPES: Mapping[str, tuple[bool, bool]] = {
    "unary": (False, False),
    "server_stream": (False, True),
    "client_stream": (True, False),
    "bidi": (True, True),
}
"""Whether the client streams, and whether the server does."""
_HANDSHAKES = frozenset(
    ("host", "connection", "upgrade", "content-length", "content-type", "transfer-encoding", "te", "trailer")
)
"""Fields that are the handshake's own."""
_OWN = frozenset(("name", "shape", "reply"))
"""What `x-protogw` says to this module; the rest is the translator's."""


def load(paths: Sequence[Path], *, upstream: str, numbers: Numbers, options: JsonOptions = DEFAULT) -> Schema:
    """The schema of these documents' operations; raises SchemaError with every fault, each with its file and line."""
    return load_documents(paths, _read, upstream=upstream, numbers=numbers, options=options)


def _read(documents: Documents, drafts: Drafts, faults: list[str]) -> None:
    _Reader(documents, drafts, faults).read()


class _Reader:
    """Makes the methods of one document."""

    def __init__(self, documents: Documents, drafts: Drafts, faults: list[str]) -> None:
        self._documents = documents
        self._drafts = drafts
        self._faults = faults
        self._schemas = JsonSchemas(documents, drafts)
        self._names = Taken(str.lower)

    def read(self) -> None:
        root = self._documents.first.root
        describe(self._drafts, root)
        channels = channels_of(self._documents)
        before = len(self._drafts.methods)
        directed = any(channel.operations for channel in channels)
        by_address: dict[str, list[Channel]] = {}
        for channel in channels:
            by_address.setdefault(channel.address, []).append(channel)
        for channel in channels:
            try:
                if channel.operations or not directed:
                    self._channel(channel, by_address[channel.address])
            except SchemaError as error:
                self._faults.extend(error.faults)
        if len(self._drafts.methods) == before and not self._faults:
            self._faults.append(f"{root.where}: describes no channel with a message on it")
        self._schemas.finish()

    def _channel(self, channel: Channel, beside: Sequence[Channel]) -> None:
        """The methods of a channel; `beside` are all that have its address, and so its sockets."""
        receives = [one for one in channel.operations if one.action == "receive"]
        sends = [one for one in channel.operations if one.action == "send"]
        received, sent = _messages(receives), _messages(sends)
        if not channel.operations:
            received = sent = channel.messages  # who sends what is not said
        came = _Came(self, beside)
        told = [one for other in beside for one in other.operations if one.action == "send"]
        alone = len(told) == 1 and bool(channel.address.strip("/"))
        for operation in receives:
            self._received(channel, operation, came)
        for operation in sends:
            self._sent(channel, operation, came, alone=alone)
        if received and sent:
            answers = [message for one in receives for message in one.reply or ()]
            self._both(channel, received, _distinct([*sent, *answers]), came)

    def _received(self, channel: Channel, operation: Operation, came: _Came) -> None:
        """What clients send: answered by what the document says answers it."""
        if not operation.messages:
            return
        said = operation.extension
        answers = operation.reply
        if "reply" in said:
            answers = came.named(operation, said["reply"])
        shape = self._shape(operation.node, said, "unary")
        output = came.among(answers, operation.name) if answers else EMPTY
        binding = came.binding(answers)
        binding["answered"] = bool(answers)
        if answers:
            request = next((one.correlation for one in operation.messages if one.correlation), "")
            reply = next((one.correlation for one in answers if one.correlation), request)
            if request:
                binding["correlation"] = (request, reply)
        self._method(
            channel,
            operation.name,
            operation.messages,
            output,
            shape,
            binding,
            said,
            doc=operation.doc,
            deprecated=operation.deprecated,
        )

    def _sent(self, channel: Channel, operation: Operation, came: _Came, *, alone: bool) -> None:
        """What the service sends, unasked."""
        if not operation.messages:
            return
        said = operation.extension
        shape = self._shape(operation.node, said, "server_stream")
        output = came.among(operation.messages, operation.name)
        self._method(
            channel,
            operation.name,
            [],
            output,
            shape,
            came.binding(operation.messages),
            said,
            doc=operation.doc,
            deprecated=operation.deprecated,
            offered=alone and shape == (False, True),
        )

    def _both(self, channel: Channel, received: list[Message], sent: list[Message], came: _Came) -> None:
        """A channel as it is: clients send, the service sends."""
        name = spoken(channel.name)
        said = channel.extension
        shape = self._shape(channel.node, said, "bidi")
        output = came.among(sent, name)
        self._method(channel, name, received, output, shape, came.binding(sent), said, doc=channel.doc)

    @staticmethod
    def _shape(node: Node, said: Mapping[str, Any], default: str) -> tuple[bool, bool]:
        word = said.get("shape", default)
        if word not in _SHAPES:
            raise SchemaError(f"{node.where}: x-protogw.shape is {word!r}: there are {', '.join(_SHAPES)}")
        return _SHAPES[word]

    # ---- methods

    def _method(
        self,
        channel: Channel,
        name: str,
        messages: Sequence[Message],
        output: str,
        shape: tuple[bool, bool],
        binding: dict[str, Any],
        said: Mapping[str, Any],
        *,
        doc: str,
        deprecated: bool = False,
        offered: bool = False,
    ) -> None:
        written = said.get("name", name)
        name = self._names.take(camel(written if isinstance(written, str) else name, "Method"))
        request = _Request(self, channel, name, messages)
        binding |= {
            "address": channel.address,
            "base_path": channel.base_path,
            "options": {key: value for key, value in said.items() if key not in _OWN},
        }

        def bound(names: FieldNames) -> ChannelBinding:
            return ChannelBinding(**binding, **request.binding(names))

        self._drafts.methods.append(
            MethodDraft(
                name=name,
                input=request.key,
                output=output,
                client_streaming=shape[0],
                server_streaming=shape[1],
                binding=bound,
                http=(lambda names: request.rules(names)) if offered else None,
                deprecated=deprecated,
                doc=doc or channel.doc,
            )
        )

    def message(self, messages: Sequence[Message], owner: Node, word: str, name: str) -> str:
        """The key of a message that is written as one of these is."""
        if len(messages) == 1 and messages[0].payload is not None:
            return self._schemas.message(messages[0].payload, messages[0].name)
        alternatives = [_pointing(owner, one.payload) for one in messages]
        union = owner.standing(word, {"oneOf": alternatives} if alternatives else {})
        return self._schemas.message(union, camel(name))

    def held(self, node: Node, name: str) -> Held:
        return self._schemas.held(node, name)

    def members(self, node: Node) -> Mapping[str, Node]:
        """The members of a schema of an object."""
        return self._schemas.flat(node).properties

    def required(self, node: Node) -> set[str]:
        """Those of them that must be there."""
        return self._schemas.flat(node).required

    def union(self, key: str) -> tuple[MessageDraft, Union] | None:
        draft = self._drafts.messages.get(key)
        if draft is None or draft.shape is None or draft.shape.union is None:
            return None
        return draft, draft.shape.union

    def put(self, key: str, draft: MessageDraft) -> None:
        self._drafts.messages[key] = draft


class _Came:
    """All messages that come under one address, and how those of a method are told from the others."""

    def __init__(self, reader: _Reader, channels: Sequence[Channel]) -> None:
        self._reader = reader
        self._channel = channels[0]
        self._sent = _distinct(
            [
                message
                for channel in channels
                for operation in channel.operations
                for message in ((operation.reply or ()) if operation.action == "receive" else operation.messages)
            ]
        ) or _distinct([message for channel in channels for message in channel.messages])
        self._all = reader.union(self._whole()) if len(self._sent) > 1 else None

    def _whole(self) -> str:
        return self._reader.message(self._sent, self._channel.node, "x-sent", f"{self._channel.name} message")

    def named(self, operation: Operation, names: object) -> list[Message]:
        """The messages that x-protogw says answer an operation."""
        known = {one.name: one for one in self._sent}
        found = [known.get(name) for name in names] if isinstance(names, list) else [None]
        if None in found or not found:
            there = ", ".join(known) or "none"
            raise SchemaError(f"{operation.node.where}: x-protogw.reply lists messages of the channel: {there}")
        return [one for one in found if one is not None]

    def among(self, messages: Sequence[Message], name: str) -> str:
        if len(messages) == len(self._sent) > 1:
            return self._whole()
        return self._reader.message(messages, messages[0].node, f"x-{name}", f"{name} message")

    def binding(self, messages: Sequence[Message] | None) -> dict[str, Any]:
        """What tells these from the channel's others, where there are others and they can be told apart."""
        if not messages or self._all is None or len(messages) == len(self._sent):
            return {}
        draft, union = self._all
        by_type = {(one.kind, one.holds): one.member for one in draft.fields}
        expected = set()
        for one in messages:
            if one.payload is None:
                return {}
            held = self._reader.held(one.payload, one.name)
            key = by_type.get((held.kind, held.holds))
            if key is None:
                return {}
            expected.add(key)
        return {"channel": union, "expected": frozenset(expected)}


class _Request:
    """What a method is asked with: the message itself, or one with the handshake's parameters beside it."""

    def __init__(self, reader: _Reader, channel: Channel, name: str, messages: Sequence[Message]) -> None:
        self._channel = channel
        self._taken = Taken()
        self._places: dict[str, dict[str, str]] = {"parameters": {}, "query": {}, "headers": {}}
        """The fields' members, by what they are called in the handshake."""
        self._draft = MessageDraft(name=f"{name}Request", doc=f"What {name} is asked with.")
        self._always: set[str] = set()
        self._numbers: set[str] = set()
        for variable, node in channel.parameters.items():
            self._parameter(reader, variable, node)
        for place, owner in (("query", channel.query), ("headers", channel.headers)):
            if owner is not None:
                self._members(reader, place, owner)
        self._message = "*" if messages else ""
        if messages and not self._draft.fields:
            self.key = reader.message(messages, messages[0].node, f"x-{name}", f"{name} message")
            return
        if messages:
            self._message = self._taken.take("message", separator="_")
            holds = reader.message(messages, messages[0].node, f"x-{name}", f"{name} message")
            self._draft.fields.append(FieldDraft(member=self._message, kind=Kind.MESSAGE, holds=holds))
        elif not self._draft.fields:
            self.key = EMPTY
            return
        self._draft.shape = MessageShape(numbers=frozenset(self._numbers), always=frozenset(self._always))
        self.key = f"{channel.node.key}?{name}"
        reader.put(self.key, self._draft)

    def _parameter(self, reader: _Reader, variable: str, node: Node | None) -> None:
        schema = node.get("schema") if node is not None else None
        held = reader.held(schema, variable) if schema is not None else Held(kind=Kind.STRING)
        if held.many or held.kind is Kind.MESSAGE:
            held = Held(kind=Kind.STRING)
        member = self._add("parameters", variable, held, node)
        self._always.add(member)

    def _members(self, reader: _Reader, place: str, owner: Node) -> None:
        required = reader.required(owner)
        for name, node in reader.members(owner).items():
            held = reader.held(node, name)
            if held.many or held.kind is Kind.MESSAGE or not nameable(name):
                continue  # no single text stands for it
            if place == "headers" and (name.lower() in _HANDSHAKES or name.lower().startswith("sec-websocket-")):
                continue
            self._add(place, name, held, node, presence=True, required=name in required)

    def _add(
        self, place: str, name: str, held: Held, node: Node | None, *, presence: bool = False, required: bool = False
    ) -> str:
        member = self._taken.take(name, separator="_")
        doc = node.text("description") if node is not None else ""
        self._draft.fields.append(held.field(member, required=required, presence=presence, doc=doc))
        if held.kind in (Kind.INT64, Kind.UINT64):
            self._numbers.add(member)
        self._places[place][name] = member
        return member

    def binding(self, names: FieldNames) -> dict[str, Any]:
        """The binding's part, in the names that the fields got."""
        told: dict[str, Any] = {
            place: {name: names[member] for name, member in members.items()} for place, members in self._places.items()
        }
        told["message"] = self._message if self._message in ("", "*") else names[self._message]
        return told

    def rules(self, names: FieldNames) -> list[HttpRule]:
        """How the REST front end offers a server stream: under the channel's own address."""
        address = "/" + self._channel.address.partition("?")[0].lstrip("/")
        template = self._channel.base_path + address
        for name, member in self._places["parameters"].items():
            template = template.replace(f"{{{name}}}", f"{{{names[member]}}}")
        try:
            parse(template)
        except TemplateError:
            return []
        return [HttpRule(verb="GET", template=template)]


def _messages(operations: Sequence[Operation]) -> list[Message]:
    return _distinct([message for one in operations for message in one.messages])


def _distinct(messages: Sequence[Message]) -> list[Message]:
    return list({one.node.key: one for one in messages}.values())


def _pointing(owner: Node, payload: Node | None) -> dict[str, str]:
    """A reference to a payload from where `owner` stands."""
    if payload is None:
        return {}
    pointer = "".join("/" + quote(str(step).replace("~", "~0").replace("/", "~1")) for step in payload.steps)
    if payload.document is owner.document:
        return {"$ref": f"#{pointer}"}
    folder = owner.document.path.resolve().parent
    return {"$ref": f"{quote(os.path.relpath(payload.document.path.resolve(), folder))}#{pointer}"}
