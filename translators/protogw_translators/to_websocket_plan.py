"""What every call of one method shares on its way to a WebSocket service. Decided once; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from protogw.call import Payload
from protogw.descriptors.channel_binding import ChannelBinding
from protogw.descriptors.model import Method
from protogw.errors import InvalidRequest, NotOffered
from protogw.wire.http import Header
from protogw_translators.to_rest_fields import FieldPath
from protogw_translators.to_websocket_messages import Replies, Requests
from protogw_translators.to_websocket_settings import MethodOptions, WebSocketOptions, settled

_PATH_SAFE = "!$&'()*+,;=:@-._~"
_ADDRESS_SAFE = _PATH_SAFE + "/?%"


class Plan:
    """How one method is spoken to. Raises NotOffered, naming what does not fit, where config and schema disagree.

    A `silent` method sends no message, since the socket's address says all; one that is not `answered` gets none.
    """

    __slots__ = (
        "_headers",
        "_path",
        "_query",
        "answered",
        "closes",
        "half_close",
        "lane_key",
        "method",
        "replies",
        "requests",
        "settings",
        "silent",
    )

    def __init__(self, method: Method, settings: WebSocketOptions, base_path: str) -> None:
        self.method = method
        binding = method.binding if isinstance(method.binding, ChannelBinding) else None
        try:
            self.settings = chosen = settled(settings, method.full_name, _described(binding))
            self.silent = binding is not None and binding.message == ""
            self._path, self._query, self._headers = _address(method, chosen, binding, base_path)
            shared = self._shares(settings, binding)
            self.requests = Requests(method, chosen, binding, keyed=shared)
            self.replies = Replies(method, chosen, binding, keyed=shared)
            self.lane_key = self._lane_key() if shared else None
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"]))
            raise NotOffered(f"{method.full_name}: x-protogw.{where}: {fault['msg']}") from error
        except ValueError as error:
            raise NotOffered(f"{method.full_name}: {error}") from error
        closes = chosen.half_close == "close"
        self.half_close = None if closes else chosen.half_close
        """What is sent when the client's messages have ended, if anything is."""
        self.closes = closes
        """The socket is closed then."""
        self.answered = binding is None or binding.answered

    @property
    def fixed(self) -> bool:
        """The handshake says nothing of the request."""
        return not (self._query or self._headers or any(isinstance(part, FieldPath) for part in self._path))

    def target(self, payload: Payload | None) -> tuple[bytes, list[Header]]:
        """Where the socket is opened, and fields of the handshake that the request gives. Raises InvalidRequest."""
        if self.fixed:
            return "".join(map(str, self._path)).encode(), []
        assert payload is not None
        data = payload.proto()
        pieces = []
        safe = _PATH_SAFE
        for part in self._path:
            if isinstance(part, str):
                pieces.append(part)
                if "?" in part:
                    safe = ""  # what parts a query must not come out of a value
                continue
            text = _text(part, data)
            if text in ("", ".", ".."):
                raise InvalidRequest(f"{part.name}: is needed for the channel's address")
            pieces.append(quote(text, safe=safe))
        path = "".join(pieces)
        query = [f"{quote(name)}={quote(text)}" for name, field in self._query if (text := _text(field, data))]
        if query:
            path += ("&" if "?" in path else "?") + "&".join(query)
        headers = [(name, _value(field, text)) for name, field in self._headers if (text := _text(field, data))]
        return path.encode(), headers

    def _shares(self, settings: WebSocketOptions, binding: ChannelBinding | None) -> bool:
        """Whether its sockets are others' too. What is written for the whole upstream holds for the methods that can.

        Raises ValueError for one that is to share and cannot.
        """
        chosen = self.settings
        if chosen.sockets != "shared":
            return False
        own = settings.methods.get(self.method.full_name)
        asked = own is not None and "sockets" in own.model_fields_set
        if self.method.client_streaming or self.silent:
            return False
        if not self.fixed:
            if asked:
                raise ValueError("its sockets are to be shared, but their address depends on the request")
            return False
        if chosen.correlation is None and chosen.topic is None:
            if asked or binding is None:
                raise ValueError("its sockets are to be shared, which needs a correlation or a topic")
            return False
        return True

    def _lane_key(self) -> tuple[Any, ...]:
        """What methods have in common that can share sockets."""
        assert self.replies.member is not None
        target, _ = self.target(None)
        chosen = self.settings
        member = self.replies.member.identity(binary=self.replies.binary)
        return target, chosen.encoding, chosen.topic is not None, member


def _described(binding: ChannelBinding | None) -> Mapping[str, Any]:
    """What the schema says of a method, as settings say it. Raises ValidationError."""
    if binding is None:
        return {}
    said = dict(binding.options)
    if binding.correlation is not None and "topic" not in said:
        request, reply = binding.correlation
        said.setdefault("correlation", {"request": request, "reply": reply})
    found = MethodOptions.model_validate(said)
    return {name: getattr(found, name) for name in found.model_fields_set}


def _address(
    method: Method, chosen: MethodOptions, binding: ChannelBinding | None, base_path: str
) -> tuple[list[str | FieldPath], list[tuple[str, FieldPath]], list[tuple[bytes, FieldPath]]]:
    """The path in parts, the query and the fields. Raises ValueError for a field that the request does not have."""
    base = base_path.rstrip("/")
    if chosen.path is not None:
        named = chosen.path.replace("{service}", method.service).replace("{method}", method.name)
        return [base + named], [], []
    if binding is None:
        return [base_path if base else f"/{method.service}/{method.name}"], [], []
    base = base or binding.base_path
    owner = method.input
    path: list[str | FieldPath] = [quote(base, safe=_ADDRESS_SAFE)]
    rest = "/" + binding.address.lstrip("/") if binding.address.strip("/") else ("" if base else "/")
    while rest:
        before, brace, rest = rest.partition("{")
        if before:
            path.append(quote(before, safe=_ADDRESS_SAFE))
        if brace:
            name, _, rest = rest.partition("}")
            path.append(FieldPath(owner, (binding.parameters[name],)))
    query = [(name, FieldPath(owner, (field,))) for name, field in binding.query.items()]
    headers = [(name.lower().encode(), FieldPath(owner, (field,))) for name, field in binding.headers.items()]
    return path, query, headers


def _text(field: FieldPath, data: bytes) -> str:
    try:
        return field.read(data)
    except ValueError as error:
        raise InvalidRequest(f"{field.name}: {error}") from error


def _value(field: FieldPath, text: str) -> bytes:
    if not text.isascii() or not text.isprintable():
        raise InvalidRequest(f"{field.name}: holds what no header may")
    return text.strip().encode()
