"""What a listener serves of one catalog: its GraphQL schema, the documents it takes, and what runs them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from graphql import validate_schema

from protogw.descriptors.catalog import EMPTY, Catalog
from protogw.descriptors.to_graphql import to_graphql
from protogw.descriptors.to_graphql_model import Exposure, GraphqlOptions
from protogw.frontends.graphql.bound import Bound
from protogw.frontends.graphql.documents import Document, Documents, Hashes, Operation
from protogw.frontends.graphql.execute import Executor
from protogw.frontends.graphql.refusals import BAD_REQUEST, BAD_USER_INPUT, NOT_PERSISTED, refused
from protogw.frontends.graphql.request import Params
from protogw.frontends.graphql.settings import GraphqlRoute, GraphqlSettings

_threads = ThreadPoolExecutor(1, "graphql")


class Texts:
    """The documents that a listener knows by a name: those of its settings, and those that clients sent by hash."""

    def __init__(self, settings: GraphqlSettings, persisted: Mapping[str, str]) -> None:
        self._persisted = persisted
        self._only = settings.only_persisted
        self._hashes = Hashes(settings.cache) if settings.automatic_persisted and not self._only else None

    def text(self, params: Params) -> str:
        """The text of the document that a request means; raises Refused."""
        digest = params.digest
        text = params.query
        if text is not None:
            if self._only and text not in self._persisted.values():
                raise refused(NOT_PERSISTED, "only persisted documents are run here")
            return text
        name = params.document_id or digest
        if name is None:
            raise refused(BAD_REQUEST, "query: missing")
        found = self._persisted.get(name.removeprefix("sha256:"))
        if found is None and self._hashes is not None and digest is not None:
            found = self._hashes.get(digest)
        if found is None:
            # The word that Apollo's clients wait for before they send the document itself.
            raise refused(NOT_PERSISTED, "PersistedQueryNotFound")
        return found

    def keep(self, params: Params) -> None:
        """Take in a valid document that came with its hash; raises Refused when it is another's."""
        digest, text = params.digest, params.query
        if digest is None or text is None or self._hashes is None:
            return
        if not self._hashes.keep(digest, text):
            raise refused(BAD_USER_INPUT, "extensions.persistedQuery.sha256Hash: not the query's")


class Served:
    """The schema of one catalog, ready to run."""

    def __init__(self, catalog: Catalog, settings: GraphqlSettings, texts: Texts) -> None:
        bound = Bound()
        self.offer = to_graphql(
            catalog,
            GraphqlOptions(
                long_as_text=settings.int64 == "string",
                maps_as_json=settings.maps == "json",
                prefix=settings.prefix,
                chosen=_chosen(catalog),
            ),
        )
        # Once for all documents; graphql-core keeps what it finds with the schema.
        validate_schema(self.offer.schema)
        self.executor = Executor(bound, masked=settings.errors == "code")
        self._documents = Documents(self.offer, bound, settings)
        self._texts = texts

    def operation(self, params: Params) -> Operation:
        """The operation that a request means; raises Refused."""
        text = self._texts.text(params)
        document: Document = self._documents.of(text)
        if params.extensions is not None:
            self._texts.keep(params)
        return document.operation(params.operation)


def _chosen(catalog: Catalog) -> dict[str, Exposure]:
    """What the config's routes say of the catalog's methods."""
    found: dict[str, Exposure] = {}
    for method in catalog.methods.values():
        said: Any = method.offered.get("graphql")
        if isinstance(said, GraphqlRoute):
            found[method.full_name] = Exposure(field=said.field, root=said.type)
    return found


class Current:
    """What is served now; made when it is first asked for, since a schema may change several times before that."""

    def __init__(self, settings: GraphqlSettings, texts: Texts) -> None:
        self._settings = settings
        self._texts = texts
        self._catalog = EMPTY
        self._made: Served | None = None
        self._making: asyncio.Future[Served] | None = None

    def offer(self, catalog: Catalog) -> None:
        """Serve this catalog from now on."""
        self._catalog = catalog
        self._made = None
        self._making = None

    @property
    def ready(self) -> Served | None:
        """It, if it has been made."""
        return self._made

    def at_once(self) -> Served:
        """It, for a caller that has time."""
        if self._made is None:
            self._made = self.of(self._catalog)
        return self._made

    async def aside(self) -> Served:
        """It, made in a thread beside the event loop: a schema of a thousand types takes a second."""
        while self._made is None:
            catalog = self._catalog
            if self._making is None:
                self._making = asyncio.get_running_loop().run_in_executor(_threads, self.of, catalog)
            # Others wait for the same: one that is cancelled must not take it from them.
            made = await asyncio.shield(self._making)
            if catalog is self._catalog:
                self._made = made
        return self._made

    def of(self, catalog: Catalog) -> Served:
        """What would be served of another catalog."""
        return Served(catalog, self._settings, self._texts)
