"""Connections that outlive one answer, as an operator sees them: each has an id, can be looked at, told and ended.

Owned by those who look, the admin address; implemented by the front ends that hold such connections.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


class Connection(Protocol):
    """One of them."""

    def describe(self) -> Mapping[str, Any]:
        """What is known of it, without secrets."""
        ...

    async def push(self, message: str | bytes) -> None:
        """Send the client a message that no call of its made; raises GatewayError when it is gone or takes none."""
        ...

    def dismiss(self) -> None:
        """End it, as a policy would."""
        ...


@runtime_checkable
class HoldsConnections(Protocol):
    """A front end that holds them."""

    @property
    def shows_connections(self) -> bool:
        """Operators may see, push to and end them."""
        ...

    @property
    def connections(self) -> Mapping[str, Connection]:
        """Those open now, by id."""
        ...
