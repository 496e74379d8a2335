"""Which reader a schema is for: protos and descriptor sets, or a document of another schema language, by what it says.

Documents are looked at, not by their names alone: `.yaml` and `.json` hold more than one language.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

import orjson

from protogw.call import Call, Reply
from protogw.descriptors import from_proto, from_reflection
from protogw.descriptors.model import Schema, SchemaError
from protogw.descriptors.numbers import Numbers
from protogw.wire.protojson import JsonOptions

DOCUMENT_SUFFIXES = (".yaml", ".yml", ".json", ".graphql", ".graphqls", ".gql")
"""How the names of schema documents that are no protos end."""

MAX_BYTES = 64 << 20

Send: TypeAlias = Callable[[Call], Awaitable[Reply]]


class Load(Protocol):
    """Reads the documents of one schema language."""

    def __call__(self, paths: Sequence[Path], *, upstream: str, numbers: Numbers, options: JsonOptions) -> Schema:
        """Raises SchemaError with every fault, each with its file and line."""
        ...


class Fetch(Protocol):
    """Asks a service for its schema; `known` is what it said last, which is returned when nothing has changed."""

    async def __call__(self, send: Send, *, known: Schema | None) -> Schema:
        """Raises GatewayError or SchemaError."""
        ...


LANGUAGES: Mapping[str, str] = {"AsyncAPI": "from_asyncapi", "GraphQL": "from_graphql", "OpenAPI": "from_openapi"}
"""The modules of this package that have a `load` of documents, by language."""

_SETTLED = frozenset(("GraphQL",))
"""The languages whose `load` takes the upstream's own settings too."""

_OF_KEY: Mapping[str, str] = {
    "openapi": "OpenAPI",
    "swagger": "Swagger 2.0",
    "asyncapi": "AsyncAPI",
    "__schema": "GraphQL",
}
"""The top-level member by which a document is told."""

_YAML_KEY = re.compile(r'^["\']?(openapi|swagger|asyncapi)["\']?\s*:', re.MULTILINE)
_ADVICE: Mapping[str, str] = {"Swagger 2.0": ": convert it to OpenAPI 3, for example with swagger2openapi"}


def read(
    paths: Sequence[Path],
    *,
    includes: Sequence[Path] = (),
    upstream: str,
    numbers: Numbers,
    options: JsonOptions,
    settings: object = None,
) -> Schema:
    """The schema that these files describe, which are all protos or all of one other language.

    `settings` are those of the upstream's kind, if it has any. Raises SchemaError with every fault.
    """
    documents = [path for path in paths if path.suffix.lower() in DOCUMENT_SUFFIXES]
    if not documents:
        return from_proto.load(paths, includes=includes, options=options)
    if len(documents) < len(paths):
        raise SchemaError(f"{documents[0]}: cannot be mixed with protos: a service is described in one language")
    languages = {path: language_of(path) for path in documents}
    first = languages[documents[0]]
    for path, language in languages.items():
        if language != first:
            raise SchemaError(f"{path}: is {language}, and {documents[0]} is {first}: write one language")
    module = LANGUAGES.get(first)
    if module is None:
        raise SchemaError(f"{documents[0]}: is {first}, which this version does not read{_ADVICE.get(first, '')}")
    found = importlib.import_module(f"protogw.descriptors.{module}").load
    load: Load = partial(found, settings=settings) if first in _SETTLED else found
    return load(documents, upstream=upstream, numbers=numbers, options=options)


def language_of(path: Path) -> str:
    """The schema language of a document; raises SchemaError when it is none that is known."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SchemaError(f"{path}: larger than {MAX_BYTES} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise SchemaError(f"{path}: cannot be read: {error.strerror}") from error
    if path.suffix.lower() in (".graphql", ".graphqls", ".gql"):
        return "GraphQL"
    found = _of_json(path, data) if data.lstrip()[:1] == b"{" else _of_yaml(data)
    if not found:
        raise SchemaError(f"{path}: is no schema: it says neither openapi, asyncapi nor __schema at its top level")
    return found


def _of_json(path: Path, data: bytes) -> str:
    try:
        tree = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        line = data[: error.pos].count(b"\n") + 1
        raise SchemaError(f"{path}:{line}: is not JSON: {error.msg}") from error
    if not isinstance(tree, dict):
        return ""
    inner = tree.get("data")
    if isinstance(inner, dict) and "__schema" in inner:
        return "GraphQL"
    return next((language for key, language in _OF_KEY.items() if key in tree), "")


def _of_yaml(data: bytes) -> str:
    found = _YAML_KEY.search(data.decode("utf-8", "replace"))
    return _OF_KEY[found[1]] if found else ""


def _reflection(upstream: str, numbers: Numbers, options: JsonOptions, settings: object) -> Fetch:
    return _Asked(from_reflection.fetch, options)


def _introspection(upstream: str, numbers: Numbers, options: JsonOptions, settings: object) -> Fetch:
    # Imported where it is needed: GraphQL's own library takes a tenth of a second.
    from protogw.descriptors import from_graphql

    return partial(from_graphql.fetch, upstream=upstream, numbers=numbers, options=options, settings=settings)


LIVE: Mapping[str, Callable[[str, Numbers, JsonOptions, object], Fetch]] = {
    "reflection": _reflection,
    "introspection": _introspection,
}
"""What asks a service to describe itself, by how the config names that; the last argument are its kind's settings."""


class _Asked:
    """A `fetch` with what it needs to know of the upstream."""

    def __init__(self, fetch: Callable[..., Awaitable[Schema]], options: JsonOptions) -> None:
        self._fetch = fetch
        self._options = options

    async def __call__(self, send: Send, *, known: Schema | None) -> Schema:
        return await self._fetch(send, self._options, known=known)
