"""OpenAPI 3.0, 3.1 and 3.2 documents in JSON or YAML → a Schema: one service, a method for each operation.

Reads nothing but the files given and those below their folders that they refer to. docs/openapi.md says how things are
named and what is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from protogw.descriptors.described import describe, load_documents
from protogw.descriptors.documents import MAX_FAULTS, Documents, Node
from protogw.descriptors.from_json_schema import JsonSchemas
from protogw.descriptors.model import Schema, SchemaError
from protogw.descriptors.numbers import Numbers
from protogw.descriptors.openapi_operations import Context, draft_of
from protogw.descriptors.openapi_servers import base_path
from protogw.descriptors.synthesize import Drafts
from protogw.wire.protojson import DEFAULT, JsonOptions

VERBS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
MAX_OPERATIONS = 20_000


def load(paths: Sequence[Path], *, upstream: str, numbers: Numbers, options: JsonOptions = DEFAULT) -> Schema:
    """The schema of these documents' operations; raises SchemaError with every fault, each with its file and line."""
    return load_documents(paths, _read, upstream=upstream, numbers=numbers, options=options)


def _read(documents: Documents, drafts: Drafts, faults: list[str]) -> None:
    _Reader(documents, drafts, faults).read()


class _Reader:
    """Reads one document."""

    def __init__(self, documents: Documents, drafts: Drafts, faults: list[str]) -> None:
        self._documents = documents
        self._drafts = drafts
        self._faults = faults

    def read(self) -> None:
        root = self._documents.first.root
        self._check_version(root)
        describe(self._drafts, root)
        context = Context(
            self._documents,
            JsonSchemas(self._documents, self._drafts),
            keys_in_query(self._documents, root),
            root.mapping.get("security"),
        )
        paths = root.get("paths")
        context.plain = frozenset(paths.mapping if paths is not None else ())
        count = 0
        for template, item, verb, operation in self._operations(root):
            count += 1
            if count > MAX_OPERATIONS:
                raise SchemaError(f"{operation.where}: is one operation more than {MAX_OPERATIONS}")
            try:
                servers = next((one for one in (operation, item, root) if one.mapping.get("servers")), root)
                context.base_path = base_path(servers)
                draft = draft_of(context, template, item, verb, operation)
                if draft is not None:
                    self._drafts.methods.append(draft)
            except SchemaError as error:
                self._faults.extend(error.faults)
                if len(self._faults) > MAX_FAULTS:
                    return
        if not count:
            self._faults.append(f"{root.where}: describes no operation under `paths`")
        context.schemas.finish()

    def _check_version(self, root: Node) -> None:
        version = root.mapping.get("openapi")
        if not isinstance(version, str) or not version.startswith("3."):
            where = root.child("openapi").where if "openapi" in root.mapping else root.where
            raise SchemaError(f"{where}: {version!r} is not a version of OpenAPI that is read: 3.0, 3.1 and 3.2 are")

    def _operations(self, root: Node) -> Iterator[tuple[str, Node, str, Node]]:
        """Path template, path item, verb and operation, in the document's order."""
        paths = root.get("paths")
        if paths is None:
            return
        if not isinstance(paths.value, dict):
            raise SchemaError(f"{paths.where}: is no mapping of paths")
        for template in paths.value:
            if template.startswith("x-"):
                continue
            if not template.startswith("/"):
                self._faults.append(f"{paths.child(template).where}: a path begins with /")
                continue
            try:
                item = self._documents.follow(paths.child(template))
            except SchemaError as error:
                self._faults.extend(error.faults)
                continue
            for verb in VERBS:
                operation = item.get(verb)
                if operation is None:
                    continue
                if isinstance(operation.value, dict):
                    yield template, item, verb, operation
                else:
                    self._faults.append(f"{operation.where}: is no operation")


def keys_in_query(documents: Documents, root: Node) -> dict[str, str]:
    """The query parameters that carry an API key, by the name of their security scheme."""
    found: dict[str, str] = {}
    components = root.get("components")
    for node in components.children("securitySchemes") if components is not None else ():
        scheme = documents.follow(node)
        if scheme.text("type") == "apiKey" and scheme.text("in") == "query" and scheme.text("name"):
            found[node.name] = scheme.text("name")
    return found
