"""What a config says of how the gateway is watched: its access log, its metrics and its traces."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from protogw.config.strict import LISTED, Strict
from protogw.config.units import LogPath
from protogw.observe.log_fields import known, names, parts
from protogw.values import Percent, Positive, refuse
from protogw.words import hint


def _collector(value: str) -> str:
    """The URL of a collector, whose path may be left out."""
    try:
        url = urlsplit(value)
        known = url.scheme in ("http", "https") and bool(url.hostname) and (url.port or 1) > 0
    except ValueError:
        known = False
    if not known:
        refuse("is not a collector's URL: write http://HOST:4318")
    if url.username is not None or url.query or url.fragment:
        refuse("carries a user name, a query or a fragment: secrets belong in headers")
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        refuse("needs the OpenTelemetry SDK: pip install 'protogw[otel]'")
    return value.rstrip("/")


Collector = Annotated[str, Field(max_length=2000), AfterValidator(_collector)]


def signal_url(collector: str, signal: str) -> str:
    """Where a collector takes `traces` or `metrics`: below /v1 unless its URL has a path already."""
    return f"{collector}/v1/{signal}" if urlsplit(collector).path in ("", "/") else collector


class Tracing(Strict):
    """Traces of calls, sent to an OpenTelemetry collector; W3C trace context in and out of every protocol."""

    otlp: Collector
    """The collector: `http://collector:4318`. Spans go to `/v1/traces` there, or to the URL's own path."""
    sample: Percent = 1.0
    """How many of the traces that begin here are recorded. Of those that callers began, they decide. Default: `1%`."""
    service: Annotated[str, Field(min_length=1, max_length=255)] = "protogw"
    """The name of the service that spans are of."""
    attributes: Mapping[str, str] = {}
    """Further attributes of that service, `deployment.environment.name` for one."""
    headers: Mapping[str, str] = {}
    """Fields of the requests to the collector: best as `${NAME}` or `file:PATH` where they hold a token."""
    b3: bool = False
    """Read B3 too, as `b3` or `X-B3-TraceId` and the like, where there is no `traceparent`."""
    mark_unsampled: bool = False
    """Tell services of the traces that begin here and are not recorded, so that they do not record them either."""
    every: Positive = 2.0
    """How often spans are sent, at the latest."""
    timeout: Positive = 10.0
    """How long the collector may take."""


_WORDS = ("auto", "json", "console", "off")


def _format(value: str) -> str:
    """One of the words, or a template of fields."""
    if "{" not in value and "}" not in value:
        if value not in _WORDS:
            refuse(f"is not allowed here{hint(value, _WORDS) or '; write auto, json, console, off or a template'}")
        return value
    if len(value) > 2000 or not value.isprintable():
        refuse("is no template: one line of at most 2000 characters")
    try:
        parts(value)
    except ValueError as error:
        refuse(str(error))
    return value


def _field(value: str) -> str:
    if not known(value):
        refuse(f"is no field of a line{hint(value, tuple(names())) or '; there are ' + ', '.join(names())}")
    return value


class AccessLog(Strict):
    """One line per call: written as text (`json`, `console`, `off`), or as a mapping when it has a path."""

    format: Annotated[str, AfterValidator(_format)] = "auto"
    """`json`, `console`, `off`, `auto` (`console` on a terminal and `json` elsewhere), or a template of fields:
    `{time} {client} "{request}" {status} {duration_ms}`."""
    path: LogPath = "stdout"
    """`stdout`, `stderr`, or a file, which is opened anew on SIGUSR1 (for log rotation)."""
    fields: Annotated[tuple[Annotated[str, AfterValidator(_field)], ...], LISTED, Field(max_length=64)] = ()
    """What JSON lines have, in this order; also `header.x-tenant` and `reply.x-cache`. Default: the usual ones."""
    sample: Percent = 100.0
    """How many of the requests that went well have a line; those that failed, or were slow, always have one.
    Default: `100%`."""
    slow: Positive | None = None
    """What takes as long as this is slow. Default: nothing is."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if value is False:
            return {"format": "off"}
        return {"format": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.fields and self.format not in ("auto", "json"):
            raise PydanticCustomError("fields", "{reason}", {"reason": "has fields, which are for json lines"})
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        written = handler.resolve_ref_schema(handler(core))
        return {"anyOf": [{"type": "string", "examples": list(_WORDS)}, {"const": False}, written]}


class Metrics(Strict):
    """What is counted, for Prometheus and all who read its text or OpenMetrics; `off` counts nothing."""

    enabled: bool = True
    """Count requests, and serve `/metrics` on the admin address."""
    buckets: Annotated[tuple[Positive, ...], LISTED, Field(min_length=1, max_length=60)] = (
        0.001,
        0.0025,
        0.005,
        0.01,
        0.025,
        0.05,
        0.1,
        0.25,
        0.5,
        1.0,
        2.5,
        5.0,
        10.0,
        30.0,
        60.0,
    )
    """The upper bounds of the duration histogram, growing. Default: from 1ms to 60s."""
    series: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
    """Sets of labels at the most; requests beyond share those named `overflow`."""
    otlp: Collector | None = None
    """An OpenTelemetry collector to send them to as well, `http://collector:4318`."""
    every: Positive = 30.0
    """How often they are sent there."""
    timeout: Positive = 10.0
    """How long that collector may take."""
    service: Annotated[str, Field(min_length=1, max_length=255)] = "protogw"
    """The name of the service that they are sent as."""
    attributes: Mapping[str, str] = {}
    """Further attributes of that service."""
    headers: Mapping[str, str] = {}
    """Fields of the requests to the collector: best as `${NAME}` or `file:PATH` where they hold a token."""

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        return {"enabled": False} if value is False or value == "off" else value

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if any(one >= next_ for one, next_ in zip(self.buckets, self.buckets[1:], strict=False)):
            raise PydanticCustomError("buckets", "{reason}", {"reason": "has buckets that do not grow"})
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        written = handler.resolve_ref_schema(handler(core))
        return {"anyOf": [{"enum": ["off", False]}, written]}


class Analytics(Strict):
    """Who called what, kept on the node minute by minute: read it by `protogw analytics`, or `/analytics` on the admin
    address."""

    path: LogPath
    """The SQLite file; it is made when there is none. It holds the names of consumers."""
    keep: Positive = 30 * 86400.0
    """How long it is kept."""
    every: Positive = 10.0
    """How often what was counted is written."""

    @model_validator(mode="after")
    def _is_file(self) -> Self:
        if self.path in ("stdout", "stderr"):
            raise PydanticCustomError("path", "{reason}", {"reason": "has a path that is no file"})
        return self
