"""The documents of a running gateway: made in a thread when first asked for, and kept until the offer changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from protogw.commands.documents import describe, selected
from protogw.commands.print_schema import descriptor_set, joined, protos, written
from protogw.commands.terminal import CommandFailed
from protogw.config import Config
from protogw.descriptors.about import Documented
from protogw.descriptors.catalog import Catalog
from protogw.gateway import Gateway

log = logging.getLogger("protogw")

_MEDIA_TYPES = {"json": "application/json", "yaml": "application/yaml"}


class ServedDocuments:
    """What the admin address shows below `/schema`. Documents that are values come as JSON and as YAML."""

    def __init__(self, gateway: Gateway, config: Config) -> None:
        self._gateway = gateway
        self._config = config
        self._made: dict[tuple[str, str | None], tuple[Catalog, str, bytes]] = {}
        self._making = asyncio.Lock()

    def names(self) -> list[str]:
        """The documents that there are now."""
        return [*self._kinds(), "proto", "descriptor-set"]

    def _kinds(self) -> list[str]:
        front_ends = [front_end for door in self._gateway.doors.values() for front_end in door.front_ends]
        return list(dict.fromkeys(one.documents for one in front_ends if isinstance(one, Documented)))

    async def read(self, name: str, listener: str | None) -> tuple[str, bytes]:
        """The media type and the text of a document; raises KeyError saying why there is none."""
        if listener is not None and listener not in self._gateway.doors:
            raise KeyError("there is no such listener")
        make = self._maker(name, listener)
        # One at a time: it is work, and whoever asks next may want the same.
        async with self._making:
            catalog = self._gateway.catalog
            known = self._made.get((name, listener))
            if known is not None and known[0] is catalog:
                return known[1:]
            try:
                media_type, text = await asyncio.to_thread(make)
            except CommandFailed as error:
                raise KeyError(error.message) from None
            self._made[name, listener] = catalog, media_type, text
            return media_type, text

    def _maker(self, name: str, listener: str | None) -> Callable[[], tuple[str, bytes]]:
        gateway = self._gateway
        if name == "proto":
            return lambda: ("text/plain", joined(protos(gateway, selected(gateway, ()), log.info)).encode())
        if name == "descriptor-set":
            return lambda: ("application/x-protobuf", descriptor_set(gateway, selected(gateway, ()), log.info))
        kind, _, form = name.partition(".")
        if kind not in self._kinds() or form not in ("", *_MEDIA_TYPES):
            raise KeyError(f"there is no such document; there are {', '.join(self.names())}")
        return lambda: self._described(kind, form, listener)

    def _described(self, kind: str, form: str, listener: str | None) -> tuple[str, bytes]:
        content = describe(self._gateway, self._config, kind, listener=listener).content
        if isinstance(content, str):
            if form:
                raise CommandFailed(f"{kind} is a text of its own, neither JSON nor YAML")
            return "text/plain", content.encode()
        return _MEDIA_TYPES[form or "json"], written(content, form or "json").encode()
