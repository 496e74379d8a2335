"""What a config may say of a pool's health: outlier ejection, panic, slow start. Typed; knows no protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from protogw.call import PATIENCE_S
from protogw.values import Percent, Positive, Seconds


class PoolSettings(BaseModel):
    """The base of a pool's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class StickySettings(PoolSettings):
    """How a client comes to the same endpoint again: by a cookie that stands for it, opaque to everyone else."""

    cookie: Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$")]
    """The cookie's name."""
    ttl: Seconds = 0.0
    """How long clients keep it; 0 for as long as their session."""
    path: Annotated[str, Field(pattern=r"^/[!#-:<-~]{0,500}$")] = "/"
    """Below which path they send it."""
    secure: bool = True
    """Send it over TLS only."""
    http_only: bool = True
    """Hide it from the page's scripts."""
    same_site: Literal["lax", "strict", "none"] = "lax"
    """Whether other sites' pages send it."""
    secret: str | None = None
    """What makes it opaque, 16 to 64 bytes, the same for all gateways that share clients: best as `${NAME}`. Default:
    another one with each start, which has clients balanced anew."""

    @model_validator(mode="after")
    def _none_is_secure(self) -> Self:
        if self.same_site == "none" and not self.secure:
            raise ValueError("same_site: none needs secure: browsers drop the cookie otherwise")
        if self.cookie.startswith(("__Host-", "__Secure-")) and not self.secure:
            raise ValueError("a cookie of this name needs secure: browsers drop it otherwise")
        if self.secret is not None and not 16 <= len(self.secret.encode()) <= 64:
            raise ValueError("the secret has not 16 to 64 bytes")
        return self


class SuccessRate(PoolSettings):
    """Ejects an endpoint whose share of calls that succeed lies far below the others' mean."""

    endpoints: Annotated[int, Field(ge=2, le=10_000)] = 5
    """So many endpoints must have had enough calls for it to be judged at all."""
    calls: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Calls within one interval that an endpoint must have had."""
    deviations: Annotated[float, Field(gt=0, le=10)] = 1.9
    """So many standard deviations below the mean."""


class FailurePercentage(PoolSettings):
    """Ejects an endpoint too many of whose calls fail, whatever the others do."""

    percent: Percent = 85.0
    """From this share of failed calls on."""
    calls: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    """Calls within one interval that an endpoint must have had."""


class OutlierSettings(PoolSettings):
    """Takes endpoints out for a while that answer worse than they should, as the calls themselves show."""

    consecutive_errors: Annotated[int, Field(ge=0, le=10_000)] = 5
    """Failed calls in a row that eject an endpoint; 0 for never."""
    interval: Positive = 10.0
    """How often shares of failed calls are looked at."""
    ejection: Positive = 30.0
    """How long an endpoint is out, for each time that it has been ejected of late."""
    max_ejection: Positive = 300.0
    """The longest time out."""
    max_percent: Percent = 10.0
    """The share of endpoints that may be out at once; one always may."""
    success_rate: SuccessRate | None = None
    """Judge endpoints by the others' mean."""
    failure_percentage: FailurePercentage | None = None
    """Judge each endpoint by itself."""

    @model_validator(mode="after")
    def _longest(self) -> Self:
        if self.max_ejection < self.ejection:
            raise ValueError("max_ejection is shorter than ejection")
        return self


class BreakerSettings(PoolSettings):
    """Sends an endpoint no calls of a method for a while once too many of them have failed there."""

    consecutive: Annotated[int, Field(ge=0, le=10_000)] = 5
    """Failed calls in a row that open it; 0 for never."""
    failures: Percent = 50.0
    """The share of failed calls within `window` that opens it."""
    calls: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    """Calls within `window` that there must have been for their share to count."""
    window: Positive = 10.0
    """What is older is forgotten."""
    open: Positive = 2.0
    """How long it stays open; twice as long each time that probes fail."""
    max_open: Positive = 300.0
    """The longest that it stays open."""
    probes: Annotated[int, Field(ge=1, le=1000)] = 3
    """So many calls are let through once that time is over. All must succeed to close it, one that fails opens it."""

    @model_validator(mode="after")
    def _longest(self) -> Self:
        if self.max_open < self.open:
            raise ValueError("max_open is shorter than open")
        return self


class PoolLimits(PoolSettings):
    """The bounds of what a service is given at once. What does not fit is refused at once, as UNAVAILABLE."""

    connections: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Connections to one address. Default: 16 where one carries many calls, else 1024."""
    pending: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    """Calls that wait for a connection to one address."""
    requests: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Calls in flight on all addresses together. Default: as many as the connections carry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancingSettings:
    """What decides which endpoints calls may go to, and with what weight: percent, seconds."""

    panic: float = 50.0
    slow_start: float = 0.0
    zone: str = ""
    connection_max_age: float = 0.0
    patience: float = PATIENCE_S
