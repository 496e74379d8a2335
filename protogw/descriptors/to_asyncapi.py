"""An AsyncAPI 3.0 document of what is offered to sockets: a channel for each path, messages by the types.

A document is written from the gateway's side: it receives what clients send. Whoever offers the paths hands them in
(`Channel`), and says how sockets are spoken on (`Manner`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from protogw.descriptors.about import About, Document
from protogw.descriptors.catalog import Catalog
from protogw.descriptors.describing import (
    HTTP_BODY,
    Source,
    Sources,
    path_value,
    proto_path,
    summed_up,
    variable_name,
)
from protogw.descriptors.json_schema import Json
from protogw.descriptors.model import Method, Type
from protogw.descriptors.named_paths import NamedPath, named_path
from protogw.descriptors.query_parameters import query_parameters
from protogw.descriptors.schema_examples import NOTHING
from protogw.wire.path_template import Template

_SECURE = {"https": "wss", "wss": "wss", "http": "ws", "ws": "ws"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One method under one path. `starts`: its call begins with the socket, without a message of the client's.
    `streams`: the client may send any number of messages."""

    method: Method
    template: Template
    starts: bool = False
    streams: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A message that is no type's: `schema` is of its payload, `name` its component's."""

    name: str
    schema: Mapping[str, Any]
    doc: str
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """A channel that carries calls of any method, by rules of its own; `doc` says which."""

    path: str
    subprotocols: tuple[str, ...]
    doc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How sockets are spoken on: the subprotocols that a client may name, what a client says when it has no further
    request, and what tells a call's status at its end."""

    subprotocols: tuple[str, ...] = ()
    no_more: Said | None = None
    status: Said | None = None
    sessions: Sessions | None = None


def asyncapi(catalog: Catalog, channels: Iterable[Channel], manner: Manner, about: About) -> Document:
    """The document of these channels, in their order."""
    made = _Document(catalog, manner, about)
    for channel in channels:
        if channel.method.service in about.services:
            made.add(channel)
    return made.finished()


class _Document:
    """Gathers channels and operations; references are settled at the end, when all names are known."""

    def __init__(self, catalog: Catalog, manner: Manner, about: About) -> None:
        self._manner = manner
        self._about = about
        self._sources = Sources(catalog, about)
        self._channels: dict[str, Json] = {}
        self._operations: dict[str, Json] = {}
        self._messages: dict[str, Json] = {}

    def add(self, channel: Channel) -> None:
        method = channel.method
        source = self._sources.of(method.service)
        taken = {source.schemas.name(field) for field in method.input.fields.values()}
        path = named_path(
            channel.template, lambda variable: variable_name(method.input, variable, source.schemas), taken
        )
        id = self._id(method)
        messages: dict[str, Json] = {}
        if not channel.starts:
            messages["request"] = self._message(method.input, source, request=True)
        messages["reply"] = self._message(method.output, source, request=False)
        if channel.streams and self._manner.no_more is not None:
            messages["noMore"] = self._said(self._manner.no_more)
        if self._manner.status is not None:
            messages["status"] = self._said(self._manner.status)
        made: Json = {"address": path.path, **summed_up(method.doc), "messages": messages}
        if path.parameters:
            made["parameters"] = _parameters(channel, path, source)
        made["bindings"] = {"ws": self._binding(channel, source)}
        made["x-grpc-method"] = method.full_name
        self._channels[id] = made
        source.written.append(made)
        self._operate(id, channel)

    def _id(self, method: Method) -> str:
        name = method.full_name.replace("/", ".")
        number, found = 2, name
        while found in self._channels:
            found = f"{name}-{number}"
            number += 1
        return found

    def _said(self, said: Said) -> Json:
        self._messages[said.name] = {
            "name": said.name,
            "summary": said.doc,
            "contentType": said.content_type,
            "payload": _draft7(said.schema),
        }
        return {"$ref": f"#/components/messages/{said.name}"}

    def _message(self, found: Type, source: Source, *, request: bool) -> Json:
        """A message of this type, with an example."""
        if found.name == HTTP_BODY:
            return {"name": found.name, "contentType": "application/octet-stream", "payload": {}}
        made: Json = {"name": found.name, "contentType": "application/json"}
        made["payload"] = source.schemas.message(found, request=request)
        example = source.examples.message(found, request=request)
        if example is not NOTHING and isinstance(example, dict):
            made["examples"] = [{"payload": example}]
        return made

    def _binding(self, channel: Channel, source: Source) -> Json:
        """What the request that opens a socket may say (the WebSockets binding of AsyncAPI, 0.1.0)."""
        method = channel.method
        binding: Json = {"method": "GET", "bindingVersion": "0.1.0"}
        bound = frozenset(proto_path(method.input, variable) for variable in channel.template.variables)
        parameters, _ = query_parameters(method.input, source.schemas, bound)
        if parameters:
            properties: Json = {}
            for one in parameters:
                said = {"description": one["description"]} if "description" in one else {}
                properties[one["name"]] = {**one["schema"], **said}
            binding["query"] = {"type": "object", "properties": properties}
        if self._manner.subprotocols:
            header = {"type": "string", "enum": list(self._manner.subprotocols)}
            binding["headers"] = {"type": "object", "properties": {"Sec-WebSocket-Protocol": header}}
        return binding

    def _operate(self, id: str, channel: Channel) -> None:
        """What is received and what is sent on a channel."""
        reference = {"$ref": f"#/channels/{_pointer(id)}"}
        messages = self._channels[id]["messages"]
        replies, requests = (
            [{"$ref": f"{reference['$ref']}/messages/{name}"} for name in names if name in messages]
            for names in (("reply", "status"), ("request", "noMore"))
        )
        deprecated = {"description": "Deprecated."} if channel.method.deprecated else {}
        if not channel.starts:
            received: Json = {
                "action": "receive",
                "channel": reference,
                **deprecated,
                "messages": requests,
            }
            if not channel.streams:
                received["reply"] = {"channel": reference, "messages": replies}
            self._operations[f"{id}.receive"] = received
        if channel.starts or channel.streams:
            self._operations[f"{id}.send"] = {
                "action": "send",
                "channel": reference,
                **deprecated,
                "messages": replies,
            }

    def _sessions(self, sessions: Sessions) -> None:
        """The channel of many calls. What its messages hold is not of one type."""
        message = {"name": "session", "summary": sessions.doc, "contentType": "text/plain", "payload": {}}
        header = {"type": "string", "enum": list(sessions.subprotocols)}
        headers = {"type": "object", "properties": {"Sec-WebSocket-Protocol": header}}
        self._channels["sessions"] = {
            "address": sessions.path,
            "summary": sessions.doc,
            "messages": {"session": message},
            "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0", "headers": headers}},
        }
        reference = {"$ref": "#/channels/sessions"}
        messages = [{"$ref": "#/channels/sessions/messages/session"}]
        for action in ("receive", "send"):
            operation = {"action": action, "channel": reference, "messages": messages}
            self._operations[f"sessions.{action}"] = operation

    def finished(self) -> Document:
        if self._manner.sessions is not None:
            self._sessions(self._manner.sessions)
        components = self._sources.components()
        about = self._about
        document: Json = {
            "asyncapi": "3.0.0",
            "info": {"title": about.title, "version": about.version},
            "defaultContentType": "application/json",
        }
        servers = {f"gateway{number or ''}": _server(url) for number, url in enumerate(about.servers)}
        if servers:
            document["servers"] = servers
        document["channels"] = _draft7(self._channels)
        document["operations"] = self._operations
        document["components"] = {
            "schemas": _draft7(dict(sorted(components.schemas.items()))),
            **({"messages": self._messages} if self._messages else {}),
        }
        return Document(document)


def _parameters(channel: Channel, path: NamedPath, source: Source) -> Json:
    made: Json = {}
    for parameter in path.parameters:
        _, lines = path_value(channel.method.input, channel.template, parameter, path, source.schemas)
        made[parameter.name] = {"description": "\n\n".join(lines)} if lines else {}
    return made


def _server(url: str) -> Json:
    parts = urlsplit(url)
    made: Json = {"host": parts.netloc, "protocol": _SECURE.get(parts.scheme, "ws")}
    if parts.path not in ("", "/"):
        made["pathname"] = parts.path
    return made


def _pointer(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _draft7(value: Any) -> Any:
    """Schemas as AsyncAPI has them, by JSON Schema draft 7: there, nothing counts beside a reference."""
    if isinstance(value, Mapping):
        made = {key: _draft7(one) for key, one in value.items()}
        target = made.get("$ref")
        if isinstance(target, str) and len(made) > 1:
            del made["$ref"]
            return {"allOf": [{"$ref": target}, *made.pop("allOf", ())], **made}
        discriminator = made.get("discriminator")
        if isinstance(discriminator, Mapping) and isinstance(discriminator.get("propertyName"), str):
            made["discriminator"] = discriminator["propertyName"]
        return made
    return [_draft7(one) for one in value] if isinstance(value, (list, tuple)) else value
