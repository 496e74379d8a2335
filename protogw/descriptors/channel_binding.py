"""How a channel of a WebSocket service carries a method, where an importer of channels says so. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelBinding:
    """One method's way over a channel. Fields of the request go by their proto names.

    `address` is the channel's path below the service's own, in which `{name}` stands for the field that `parameters`
    names; `query` and `headers` are fields that the handshake carries. `message` is the field whose value is sent as
    the message: "*" for the whole request, "" when nothing is sent.
    """

    address: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "*"
    answered: bool = True
    """Something comes back; else the call has succeeded once its messages are sent."""
    correlation: tuple[str, str] | None = None
    """The members of request and reply (dotted JSON names) by which a reply finds its request."""
