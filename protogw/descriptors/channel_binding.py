"""How a channel of a WebSocket service carries a method, where an importer of channels says so. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from protogw.descriptors.shapes import Union


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelBinding:
    """One method's way over a channel. Fields of the request go by their proto names.

    `address` is the channel's path, in which `{name}` stands for the field that `parameters` names; `base_path` goes
    before it where the config gives the service none. `query` and `headers` are fields that the handshake carries.
    `message` is the field whose value is sent as the message: "*" for the whole request, "" when nothing is sent.
    """

    address: str = ""
    base_path: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "*"
    answered: bool = True
    """Something comes back; else the call has succeeded once its messages are sent."""
    channel: Union | None = None
    """All messages that come on the channel, and how each is told from the others, where there are several."""
    expected: frozenset[str] = frozenset()
    """Those of them (by their branches' keys) that are this method's replies; others are not for it."""
    correlation: tuple[str, str] | None = None
    """The members of request and reply (dotted JSON names) by which a reply finds its request."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What else the document says of how messages travel, as the translator's own settings are written."""
