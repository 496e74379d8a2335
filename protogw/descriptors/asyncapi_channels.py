"""AsyncAPI 2.x and 3.x → channels, their operations and messages, in one form: who sends what where.

Directions are the service's own, as version 3 has them: it receives what clients send. Version 2 says the same from the
other side (`publish` is what clients do). Reads the documents' structure; makes no types.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from protogw.descriptors.documents import Documents, Node
from protogw.descriptors.model import SchemaError

Action: TypeAlias = Literal["receive", "send"]

SOCKETS = frozenset(("ws", "wss"))
MAX_OPERATIONS = 20_000

_JSON_SCHEMAS = re.compile(
    r"application/(vnd\.aai\.asyncapi|schema|vnd\.oai\.openapi)(\+json|\+yaml)?(;.*)?\Z", re.IGNORECASE
)
_IN_PAYLOAD = "$message.payload#/"
_VARIABLE = re.compile(r"\{([^{}]+)\}")


@dataclass(slots=True, kw_only=True)
class Message:
    """What is sent: `payload` is None when nothing is said of it. `correlation` is a member, dotted."""

    name: str
    node: Node
    payload: Node | None
    correlation: str
    doc: str


@dataclass(slots=True, kw_only=True)
class Operation:
    """What the service does on a channel; `reply` are the messages that answer one, None without any."""

    name: str
    node: Node
    action: Action
    messages: list[Message]
    reply: list[Message] | None
    extension: Mapping[str, Any]
    doc: str
    deprecated: bool


@dataclass(slots=True, kw_only=True)
class Channel:
    """One address. `query` and `headers` are schemas of objects; `parameters` by their names in the address."""

    name: str
    node: Node
    address: str
    base_path: str
    parameters: Mapping[str, Node | None]
    query: Node | None
    headers: Node | None
    messages: list[Message]
    """All of them, where the document does not say of each who sends it."""
    extension: Mapping[str, Any]
    doc: str
    operations: list[Operation] = field(default_factory=list)
    answers: bool = False
    """What is on it answers an operation on another channel of the same address."""


def channels_of(documents: Documents) -> list[Channel]:
    """The channels of a document that sockets can reach; raises SchemaError with every fault."""
    root = documents.first.root
    version = root.mapping.get("asyncapi")
    if isinstance(version, str) and version.startswith("3."):
        return _Third(documents, root).read()
    if isinstance(version, str) and version.startswith("2."):
        return _Second(documents, root).read()
    where = root.child("asyncapi").where if "asyncapi" in root.mapping else root.where
    raise SchemaError(f"{where}: {version!r} is not a version of AsyncAPI that is read: 2.0 to 2.6 and 3.0 are")


class _Reader:
    """What both versions have in common."""

    def __init__(self, documents: Documents, root: Node) -> None:
        self._documents = documents
        self._root = root
        self._faults: list[str] = []
        servers = [documents.follow(node) for node in root.children("servers")]
        self._sockets = [one for one in servers if one.text("protocol").lower() in SOCKETS]
        self._base_path = _path_of(self._sockets[0] if self._sockets else servers[0]) if servers else ""

    def read(self) -> list[Channel]:
        found: list[Channel] = []
        for node in self._root.children("channels"):
            try:
                channel = self._documents.follow(node)
                if self._is_reached(channel):
                    found.append(self._channel(node.name, channel))
            except SchemaError as error:
                self._faults.extend(error.faults)
        self._operate(found)
        if sum(len(channel.operations) for channel in found) > MAX_OPERATIONS:
            self._faults.append(f"{self._root.where}: has more than {MAX_OPERATIONS} operations")
        if self._faults:
            raise SchemaError(*self._faults)
        return found

    def _is_reached(self, channel: Node) -> bool:
        """Whether one of the servers that it says it is on speaks WebSocket, where any of all does."""
        listed = [self._server(node) for node in channel.children("servers")]
        return not listed or not self._sockets or any(one.text("protocol").lower() in SOCKETS for one in listed)

    def _server(self, node: Node) -> Node:
        if isinstance(node.value, str):  # a name, in version 2
            servers = self._root.get("servers")
            if servers is None or node.value not in servers.mapping:
                raise SchemaError(f"{node.where}: there is no server {node.value[:100]!r}")
            return self._documents.follow(servers.child(node.value))
        return self._documents.follow(node)

    def _channel(self, name: str, node: Node) -> Channel:
        raise NotImplementedError

    def _operate(self, channels: list[Channel]) -> None:
        raise NotImplementedError

    def _made(self, name: str, node: Node, address: str, messages: list[Message]) -> Channel:
        if "://" in address:
            raise SchemaError(f"{node.where}: {address[:200]!r} is a URL: the address of a socket is a path")
        declared = {one.name: self._documents.follow(one) for one in node.children("parameters")}
        parameters = {variable: declared.get(variable) for variable in _VARIABLE.findall(address)}
        bindings = node.get("bindings")
        binding = self._documents.follow(bindings).get("ws") if bindings is not None else None
        if binding is not None:
            binding = self._documents.follow(binding)
        return Channel(
            name=name,
            node=node,
            address=address,
            base_path=self._base_path,
            parameters=parameters,
            query=binding.get("query") if binding is not None else None,
            headers=binding.get("headers") if binding is not None else None,
            messages=messages,
            extension=_extension(node),
            doc=_doc(node),
        )

    def _message(self, node: Node, name: str) -> Iterator[Message]:
        """The message; nothing for plain text, which belongs to how sockets are spoken on and not to what is said."""
        found = self._documents.follow(node)
        # Version 2 lets a message in a channel name itself; elsewhere it is known by where it stands.
        steps = found.steps
        own = steps[-2] == "messages" if len(steps) > 1 else False
        name = found.name if own else found.text("name") or found.text("messageId") or name
        payload = found.get("payload")
        language = found.text("schemaFormat")
        if payload is not None and "schemaFormat" in payload.mapping and "schema" in payload.mapping:
            language = payload.text("schemaFormat")
            payload = payload.get("schema")
        if language and not _JSON_SCHEMAS.match(language):
            raise SchemaError(f"{found.where}: its payload is {language[:100]!r}: only JSON Schema is read")
        media = found.text("contentType") or self._root.text("defaultContentType")
        if media.partition(";")[0].strip().lower() == "text/plain":
            return
        if media and not _is_json(media):
            raise SchemaError(f"{found.where}: its content is {media[:100]!r}: only JSON is read")
        yield Message(name=name, node=found, payload=payload, correlation=self._correlation(found), doc=_doc(found))

    def _correlation(self, message: Node) -> str:
        """The member that a message is correlated by; nothing where that is no member."""
        node = message.get("correlationId")
        if node is None:
            return ""
        location = self._documents.follow(node).text("location")
        if not location.startswith(_IN_PAYLOAD):
            return ""
        names = location.removeprefix(_IN_PAYLOAD).split("/")
        return ".".join(names) if all(name and "." not in name and "~" not in name for name in names) else ""


class _Third(_Reader):
    """Version 3."""

    def __init__(self, documents: Documents, root: Node) -> None:
        super().__init__(documents, root)
        self._by_key: dict[str, Channel] = {}

    def _channel(self, name: str, node: Node) -> Channel:
        messages = [message for one in node.children("messages") for message in self._message(one, one.name)]
        made = self._by_key[node.key] = self._made(name, node, node.text("address"), messages)
        return made

    def _operate(self, channels: list[Channel]) -> None:
        for node in self._root.children("operations"):
            try:
                self._add(node.name, self._documents.follow(node))
            except SchemaError as error:
                self._faults.extend(error.faults)

    def _add(self, name: str, node: Node) -> None:
        action = node.mapping.get("action")
        if action not in ("receive", "send"):
            raise SchemaError(f"{node.where}: its action is {action!r}: receive and send are those there are")
        reference = node.get("channel")
        if reference is None:
            raise SchemaError(f"{node.where}: names no channel")
        target = self._documents.follow(reference)
        channel = self._by_key.get(target.key)
        if channel is None:
            return  # one that sockets do not reach, or with a fault that is told
        reply = node.get("reply")
        channel.operations.append(
            Operation(
                name=name,
                node=node,
                action=action,
                messages=self._listed(node, channel),
                reply=self._reply(self._documents.follow(reply), channel) if reply is not None else None,
                extension=_extension(node),
                doc=_doc(node),
                deprecated=False,
            )
        )

    def _reply(self, reply: Node, channel: Channel) -> list[Message] | None:
        """The messages that answer; None when they come under another address, which is another socket."""
        reference = reply.get("channel")
        if reference is not None:
            other = self._by_key.get(self._documents.follow(reference).key)
            if other is None or other.address != channel.address:
                return None
            other.answers = True
            channel = other
        return self._listed(reply, channel)

    def _listed(self, node: Node, channel: Channel) -> list[Message]:
        """The messages that an operation lists, or all of its channel's."""
        if "messages" not in node.mapping:
            return channel.messages
        # A reference leads to the channel's message, which may refer to another: known by the last.
        name = f"{node.name} message"
        return [message for one in node.children("messages") for message in self._message(one, name)]


class _Second(_Reader):
    """Version 2: the channel's name is its address, and its operations stand in it."""

    def _channel(self, name: str, node: Node) -> Channel:
        channel = self._made(name, node, name, [])
        for word, action in (("publish", "receive"), ("subscribe", "send")):
            operation = node.get(word)
            if operation is not None:
                channel.operations.append(self._operation(name, word, action, operation))  # type: ignore[arg-type]
        return channel

    def _operation(self, channel: str, word: str, action: Action, node: Node) -> Operation:
        name = node.text("operationId") or f"{word} {spoken(channel)}"
        return Operation(
            name=name,
            node=node,
            action=action,
            messages=list(self._messages(node, name)),
            reply=None,
            extension=_extension(node),
            doc=_doc(node),
            deprecated=node.flag("deprecated"),
        )

    def _messages(self, node: Node, name: str) -> Iterator[Message]:
        message = node.get("message")
        if message is None:
            return
        if isinstance(message.mapping.get("oneOf"), list):
            for place, one in enumerate(message.children("oneOf"), start=1):
                yield from self._message(one, f"{name} message {place}")
        else:
            yield from self._message(message, f"{name} message")

    def _operate(self, channels: list[Channel]) -> None:
        """They have been read with their channels."""


def spoken(address: str) -> str:
    """An address as words: rooms/{id} as `rooms by id`."""
    return _VARIABLE.sub(r" by \1 ", address)


def _path_of(server: Node) -> str:
    """The path that a server puts before all addresses."""
    path = server.text("pathname")
    if not path and "url" in server.mapping:
        url = server.text("url")
        try:
            path = urlsplit(url if "://" in url else f"ws://{url}").path
        except ValueError as error:
            raise SchemaError(f"{server.where}: {url[:200]!r} is no URL") from error
    variables = server.get("variables")

    def default(found: re.Match[str]) -> str:
        one = variables.get(found[1]) if variables is not None else None
        value = one.mapping.get("default") if one is not None else None
        return str(value) if isinstance(value, (str, int)) else ""

    path = _VARIABLE.sub(default, path).rstrip("/")
    return path if path.startswith("/") or not path else f"/{path}"


def _is_json(media: str) -> bool:
    name = media.partition(";")[0].strip().lower()
    return name in ("application/json", "text/json") or name.endswith("+json")


def _extension(node: Node) -> Mapping[str, Any]:
    held = node.get("x-protogw")
    if held is None:
        return {}
    if not isinstance(held.value, dict):
        raise SchemaError(f"{held.where}: is no mapping")
    return held.mapping


def _doc(node: Node) -> str:
    texts = (node.text("title"), node.text("summary"), node.text("description"))
    return "\n\n".join(dict.fromkeys(text for text in texts if text))
