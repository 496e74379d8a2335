"""The little languages in which settings write quantities (durations, sizes, rates), and shorter forms of values.

Each is a pydantic type for the settings of any part; what it raises reads as the end of a sentence that begins with the
value. Imports nothing of ours.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple, NoReturn

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

_DURATIONS = re.compile(r"(?:[0-9]{1,12}(?:\.[0-9]{1,9})?\s?(?:us|ms|s|m|h|d))+\Z")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s?(us|ms|s|m|h|d)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s?(B|kB|KB|MB|GB|KiB|MiB|GiB)\Z")
_BYTES = {"B": 1, "kB": 1000, "KB": 1000, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_RATE = re.compile(r"([0-9]{1,12})\s?/\s?([0-9]*(?:ms|second|minute|hour|day|[smhd]))\Z")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)\s?%\Z")
_PER = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}


def refuse(message: str) -> NoReturn:
    """Raise a fault whose message follows the written value: `"12 parsecs" is not a duration`."""
    raise PydanticCustomError("value_refused", "{reason}", {"reason": message})


def parse_duration(value: object) -> float:
    """Seconds of `250ms`, `2s`, `5m`, `1h30m`."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value == 0:
            return 0.0
        refuse(f"has no unit: write {value}s or {value}ms")
    if not isinstance(value, str) or not _DURATIONS.match(value):
        refuse("is not a duration: write 250ms, 2s, 5m or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(value))


def format_duration(seconds: float) -> str:
    """The shortest way to write it."""
    for unit in ("h", "m", "s", "ms"):
        if seconds >= _SECONDS[unit] and (seconds / _SECONDS[unit]).is_integer():
            return f"{int(seconds / _SECONDS[unit])}{unit}"
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def format_size(size: int) -> str:
    """The shortest way to write it."""
    for unit in ("GiB", "MiB", "KiB"):
        if size >= _BYTES[unit] and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return str(size)


def parse_size(value: object) -> int:
    """Bytes of `512B`, `64KiB`, `64MiB`, `1GB`; a bare whole number is bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.match(value) if isinstance(value, str) else None
    if match is None:
        refuse("is not a size: write 4096, 64KiB or 64MiB")
    return int(float(match[1]) * _BYTES[match[2]])


class Rate(NamedTuple):
    """So many in so many seconds."""

    amount: int
    per_s: float

    def __str__(self) -> str:
        return f"{self.amount}/{self.per_s:g}s"


def parse_rate(value: object) -> Rate:
    """`100/minute`, `5/s`, `1000/10m`."""
    match = _RATE.match(value) if isinstance(value, str) else None
    if match is None:
        refuse("is not a rate: write 100/minute, 5/s or 1000/10m")
    unit = match[2]
    if unit in _PER:
        return Rate(int(match[1]), _PER[unit])
    per = parse_duration(unit if unit[0].isdigit() else "1" + unit)
    if per <= 0:
        refuse("is not a rate: its period is zero")
    return Rate(int(match[1]), per)


def parse_percent(value: object) -> float:
    """Hundredths: `20%`, `12.5 %`."""
    match = _PERCENT.match(value) if isinstance(value, str) else None
    if match is None:
        refuse("is not a share: write 20%")
    return float(match[1])


def parse_network(value: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """The addresses of `10.0.0.0/8`, `fd00::/8`, or one address alone."""
    if not isinstance(value, str):
        refuse("is not a range of addresses: write 10.0.0.0/8 or 192.0.2.1")
    try:
        return ipaddress.ip_network(value)
    except ValueError:
        pass
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError:
        refuse("is not a range of addresses: write 10.0.0.0/8 or 192.0.2.1")
    refuse(f"has bits beyond its prefix: write {network} for the range or {value.partition('/')[0]} for one address")


DURATION_EXAMPLES = ["250ms", "2s", "5m"]
SIZE_EXAMPLES = ["4096", "64KiB", "64MiB"]

Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": r"^([0-9.]+ ?(us|ms|s|m|h|d))+$", "examples": DURATION_EXAMPLES}),
]
Positive = Annotated[Seconds, Field(gt=0)]
Bytes = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}], "examples": SIZE_EXAMPLES}),
]
Percent = Annotated[
    float,
    BeforeValidator(parse_percent),
    Field(ge=0, le=100),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9.]+ ?%$", "examples": ["20%"]}),
]
PerTime = Annotated[Rate, PlainValidator(parse_rate), WithJsonSchema({"type": "string", "examples": ["100/minute"]})]
Network = Annotated[
    ipaddress.IPv4Network | ipaddress.IPv6Network,
    PlainValidator(parse_network),
    WithJsonSchema({"type": "string", "examples": ["10.0.0.0/8"]}),
]
StoreUrl = Annotated[str, Field(pattern=r"^(|(redis|rediss|unix)://\S+)$", max_length=1000)]
"""A server that gateways share; empty for none."""


@dataclass(frozen=True)
class Short:
    """Marks a field whose value may be written in a shorter form, which `expand` turns into the full one."""

    expand: Callable[[Any], Any]
    form: JsonSchemaValue | None = None
    """The JSON Schema of the short form; None for one item of the full form, a list."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.expand, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        full = handler(core)
        forms = full["anyOf"] if set(full) == {"anyOf"} else [full]
        short = [self.form] if self.form is not None else [form["items"] for form in forms if "items" in form]
        return {"anyOf": [*short, *forms]}


def _listed(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) or value is None else [value]


def _truth_as_mapping(value: Any) -> Any:
    if value is True:
        return {}
    return None if value is False else value


LISTED = Short(_listed)
"""One value stands for a list of it."""
TRUTH = Short(_truth_as_mapping, {"type": "boolean"})
"""`true` stands for a mapping of all defaults, `false` for its absence."""


class OrText(BaseModel):
    """Base of settings of which the most important one, written by itself, stands for all."""

    text_for: ClassVar[str]
    """The key that it is written under otherwise."""
    text_examples: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {cls.text_for: value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        written = handler.resolve_ref_schema(handler(core))
        text: JsonSchemaValue = {"type": "string"}
        if cls.text_examples:
            text["examples"] = list(cls.text_examples)
        return {"anyOf": [text, written]}
