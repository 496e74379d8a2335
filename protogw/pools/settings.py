"""What a config may say of a pool's health: outlier ejection, panic, slow start. Typed; knows no protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from protogw.values import Positive, parse_percent

Percent = Annotated[
    float,
    BeforeValidator(parse_percent),
    Field(ge=0, le=100),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9.]+ ?%$", "examples": ["20%"]}),
]


class PoolSettings(BaseModel):
    """The base of a pool's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancingSettings:
    """What decides which endpoints calls may go to, and with what weight: percent, seconds."""

    panic: float = 50.0
    slow_start: float = 0.0
    zone: str = ""
    connection_max_age: float = 0.0
