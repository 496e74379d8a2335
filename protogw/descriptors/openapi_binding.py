"""How an operation of an OpenAPI document is asked for. Pure data: made by from_openapi, read by its translator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Place: TypeAlias = Literal["path", "query", "header", "cookie"]
Style: TypeAlias = Literal["matrix", "label", "simple", "form", "spaceDelimited", "pipeDelimited", "deepObject"]
Form: TypeAlias = Literal["json", "form", "multipart", "raw"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter: the member of the request's JSON that it is, and how it is written where."""

    member: str
    name: str
    place: Place
    style: Style
    explode: bool
    reserved: bool = False
    """Reserved characters stay as they are (`allowReserved`)."""
    json: bool = False
    """Written as JSON and not by a style."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """How one member of a form is written. `binary` ones are base64 in JSON and bytes here."""

    style: Style = "form"
    explode: bool = True
    reserved: bool = False
    media: str = ""
    """Its content type, where it says one."""
    json: bool = False
    binary: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The request's body: the message itself, or with `member` what that holds. `parts` are a form's by member."""

    form: Form
    media: str
    member: str = ""
    required: bool = False
    parts: Mapping[str, Part] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation. `path` is the document's own, its variables in braces; `base_path` comes before it, where the
    upstream's address does not say another."""

    verb: str
    path: str
    base_path: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    accept: str = ""
    raw_reply: bool = False
    """The reply is a google.api.HttpBody."""
