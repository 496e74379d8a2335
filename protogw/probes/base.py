"""What a probe is: it asks one endpoint whether it is well. Owned by the pools, which say when."""

from __future__ import annotations

from typing import Annotated, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field

from protogw.translator import HttpConnection
from protogw.values import Positive


class ProbeSettings(BaseModel):
    """When an endpoint is asked, and how often it must answer alike to be believed; each probe subclasses this."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    interval: Positive = 10.0
    """From one question to the next, a tenth more or less so that gateways do not ask in step."""
    timeout: Positive = 2.0
    """An answer that takes longer is none."""
    healthy: Annotated[int, Field(ge=1, le=100)] = 2
    """Good answers in a row that bring an endpoint back."""
    unhealthy: Annotated[int, Field(ge=1, le=100)] = 3
    """Bad answers in a row that take it out; at the start, one does."""


class Probed(Protocol):
    """An endpoint, as a probe may use it."""

    async def connection(self) -> HttpConnection:
        """One of the connections that calls use, opened if there is none; raises GatewayError."""
        ...

    async def dial(self) -> None:
        """Open a connection of its own and close it again; raises Unreachable."""
        ...


class Probe(Protocol):
    """Asks an endpoint whether it is well. Constructed with its Settings, the pool's authority and scheme."""

    kind: ClassVar[str]
    """Its key under an upstream's `health`."""

    Settings: ClassVar[type[ProbeSettings]]

    transports: ClassVar[tuple[str, ...]]
    """The transports over which it can ask (see Translator.transport)."""

    async def ask(self, endpoint: Probed) -> str:
        """ "" when it is well, else what is wrong; raises GatewayError. Cancelled when it takes too long."""
        ...
