"""What a kind of discovery is: a reference that stands in the config, and the source that it opens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

from protogw.discovery.settings import DiscoverySettings


class DiscoveryError(Exception):
    """The addresses cannot be had now; the message says why, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where an endpoint is, and how it stands beside the others."""

    host: str
    port: int
    weight: int = 1
    priority: int = 0
    zone: str = ""


class Source(Protocol):
    """Finds the addresses of one service, again and again."""

    async def next(self) -> Sequence[Address]:
        """The addresses: at once when first asked, afterwards when they may have changed.

        Raises DiscoveryError; asked again after that, it tries anew without waiting.
        """
        ...

    async def close(self) -> None:
        """Let go of what it holds."""
        ...


class Reference(Protocol):
    """What an address of the config refers to; equal ones find the same."""

    kind: ClassVar[str]
    """The word that it begins with."""
    trusted: ClassVar[bool]
    """Who changes what is found could as well change the config: no address is refused by default."""

    @classmethod
    def parse(cls, written: str) -> Self:
        """Read the whole text; raises PydanticCustomError whose message follows the text."""
        ...

    @property
    def authority(self) -> str:
        """What the service is called: the host that it is told, when the config names no other."""
        ...

    @property
    def server_name(self) -> str:
        """The name that its certificate must have, when the config names no other."""
        ...

    def open(self, settings: DiscoverySettings) -> Source:
        """What finds the addresses, inside the running loop."""
        ...
