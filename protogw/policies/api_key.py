"""API keys: a secret that a client sends with each call says which consumer it is.

Keys are kept as SHA-256 digests, which is enough for secrets that are random (a password needs more: use `basic`), and
looked up by digest, so that nothing is learnt from how long a look-up takes.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from collections.abc import Awaitable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError

from protogw.call import Call, Metadata, Reply
from protogw.entry_files import FileFault, read_entries
from protogw.errors import Unauthenticated
from protogw.identity import Identity
from protogw.paths import ReadableFile
from protogw.policies.authentication import AuthenticationSettings, PlacedAuthentication
from protogw.policies.base import Folding, Handler, PolicySettings, Tools
from protogw.policies.credentials import PlaceList, Places
from protogw.watching import Stamp, changes, stamp_of
from protogw.wire.recurring import Recurring

log = logging.getLogger("protogw")

WATCH_S = 2.0
"""How often a file of keys is looked at for changes."""
MAX_FILE = 64 << 20
_KEPT, _SHARED = 4096, 256

_DIGEST = re.compile(r"sha256:[0-9a-fA-F]{64}")


class KeyEntry(BaseModel):
    """One key and who has it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    consumer: Annotated[str, Field(min_length=1, max_length=255)]
    """The consumer that the key stands for; several keys may stand for one."""
    key: Annotated[str, Field(min_length=16, max_length=4096)] | None = Field(None, repr=False)
    """The key itself, at least 16 characters: best as `${NAME}` or `file:PATH`, so that it is not in the file."""
    hash: str | None = None
    """Its digest instead, `sha256:` and 64 hex digits (`printf %s KEY | sha256sum`)."""
    groups: tuple[str, ...] = ()
    """Groups that the consumer is in."""
    scopes: tuple[str, ...] = ()
    """What this key is good for."""
    expires: Annotated[float, Field(gt=0)] | None = None
    """Unix seconds from which on it is no longer taken."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.key is None) == (self.hash is None):
            raise PydanticCustomError("key", "{reason}", {"reason": "needs either key or hash"})
        if self.hash is not None and _DIGEST.fullmatch(self.hash) is None:
            raise PydanticCustomError("key", "{reason}", {"reason": "hash is not sha256: and 64 hex digits"})
        return self

    @property
    def digest(self) -> bytes:
        if self.hash is not None:
            return bytes.fromhex(self.hash[7:])
        assert self.key is not None
        return hashlib.sha256(self.key.encode()).digest()


class ApiKeySettings(AuthenticationSettings):
    """Where keys are found in a call, and which there are."""

    places: Annotated[PlaceList, Field(alias="in")] = ("header.x-api-key",)
    """Where a key may be: `header.NAME`, `query.NAME`, `cookie.NAME`."""
    keys: tuple[KeyEntry, ...] = ()
    """The keys, each with its consumer."""
    file: ReadableFile | None = None
    """A YAML file with a list of more of them, read again when it changes."""
    hide: bool = True
    """Take the key out of what the service gets."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.keys and self.file is None:
            raise PydanticCustomError("keys", "{reason}", {"reason": "has neither keys nor a file of them"})
        return self


class ApiKey(Folding, PlacedAuthentication):
    """Takes calls that carry a known key; the key says which consumer calls."""

    kind: ClassVar[str] = "api_key"
    Settings: ClassVar[type[PolicySettings]] = ApiKeySettings

    def __init__(self, settings: ApiKeySettings) -> None:
        super().__init__(settings)
        self._places = Places(settings.places, hide=settings.hide, challenge="ApiKey")
        self._written = settings.keys
        self._file = settings.file
        self._stamp: Stamp | None = None
        self._known: Mapping[bytes, Identity] = _table(settings.keys)
        # Keys that were found by their digest, by themselves: whoever guesses learns nothing from this either, since
        # it takes an equal (and secretly keyed) hash to have one compared.
        self._met: dict[bytes, Identity] = {}
        # Who was admitted by which metadata, and what goes on then. By identity: equal heads share one Metadata, which
        # is never changed, held here so that its id stays its own.
        self._admitted: Recurring[int, tuple[Metadata, Identity, Metadata]] = Recurring(_SHARED)
        if self._file is not None:
            self._known = _table((*settings.keys, *_read(self._file)))
            self._stamp = stamp_of(self._file)

    def equip(self, tools: Tools) -> None:
        super().equip(tools)
        if self._consumers is not None:
            self._consumers.when_changed(self._admitted.clear)

    def wanted(self) -> Unauthenticated:
        return Unauthenticated("an API key is needed", "ApiKey")

    def around(self, forward: Handler) -> Handler:
        admitted = self._admitted.get

        def run(call: Call) -> Awaitable[Reply]:
            known = admitted(id(call.metadata))
            if known is None:
                self._admit_new(call)
            else:
                call.metadata = known[2]
                call.identity = known[1]
            return forward(call)

        return run

    def _admit_new(self, call: Call) -> None:
        metadata = call.metadata
        try:
            identity = self._found(self._places.take_new(call))
        except Unauthenticated:
            self._not_taken.value += 1
            raise
        self.let_in(call, identity)
        # Where nothing but the metadata decides, and for ever.
        if identity is not None and identity.expires_at is None and not self._places.query_names:
            self._admitted.keep(id(metadata), (metadata, call.identity, call.metadata))

    async def authenticate(self, call: Call) -> Identity | None:
        return self._found(self._places.take(call))

    def _found(self, key: bytes | None) -> Identity | None:
        if key is None:
            return None
        identity = self._met.get(key)
        if identity is None:
            identity = self._known.get(hashlib.sha256(key).digest())
            if identity is None:
                raise Unauthenticated("the API key is not known", "ApiKey")
            if len(self._met) >= _KEPT:
                self._met.clear()
            self._met[key] = identity
        if identity.expires_at is not None and identity.expires_at <= time.time():
            raise Unauthenticated("the API key has expired", "ApiKey")
        return identity

    async def run(self) -> None:
        """Read the file again whenever it changes, until cancelled."""
        file = self._file
        if file is None:
            return
        async for _ in changes(file, self._stamp, WATCH_S):
            try:
                self._known = _table((*self._written, *await asyncio.to_thread(_read, file)))
            except ValueError as error:
                log.warning("policies.%s: %s; the keys stay as they were", self.name, error)
                continue
            self._met.clear()
            self._admitted.clear()
            log.info("policies.%s: %s: %d keys", self.name, file, len(self._known))


def _table(entries: Iterable[KeyEntry]) -> dict[bytes, Identity]:
    """The callers by their keys' digests; raises ValueError where a key is there twice."""
    found: dict[bytes, Identity] = {}
    for entry in entries:
        digest = entry.digest
        if digest in found:
            raise ValueError(f"{entry.consumer} has the same key as {found[digest].consumer}")
        found[digest] = Identity(
            subject=entry.consumer,
            consumer=entry.consumer,
            scheme="api_key",
            groups=frozenset(entry.groups),
            scopes=frozenset(entry.scopes),
            expires_at=entry.expires,
        )
    return found


_ENTRIES = TypeAdapter(tuple[KeyEntry, ...])


def _read(path: Path) -> tuple[KeyEntry, ...]:
    """The entries of a file; raises ValueError in one line, which holds nothing of any key."""
    try:
        return read_entries(path, _ENTRIES, MAX_FILE, ())
    except FileFault as fault:
        raise ValueError(fault.within(path)) from fault
