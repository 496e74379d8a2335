"""The callers that the config knows by name: which identities they are, their groups, and what else is known of them.

Either written in the config or in a file of their own, which is read again when it changes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from protogw.entry_files import FileFault, read_entries
from protogw.identity import Identity
from protogw.paths import parse_file
from protogw.values import LISTED
from protogw.watching import changes, stamp_of

log = logging.getLogger("protogw")

WATCH_S = 2.0
"""How often a file of consumers is looked at for changes."""
MAX_FILE: Final = 64 << 20
_KEPT: Final = 4096

Name = Annotated[str, Field(min_length=1, max_length=255)]
Text = Annotated[str, Field(max_length=4096)]


class Consumer(BaseModel):
    """One caller whom the gateway knows by name."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    groups: Annotated[tuple[Name, ...], LISTED] = ()
    """Groups that the consumer is in, beside those that a credential says."""
    metadata: Mapping[Name, Text] = {}
    """What else is to be known of it, for expressions (`identity.metadata.plan`) and services."""
    subjects: Mapping[Name, Annotated[tuple[Name, ...], LISTED]] = {}
    """Who the consumer is, by authentication policy: subjects as that policy finds them; of a policy with several
    issuers, `ISSUER SUBJECT`."""


Entries = Mapping[Name, Consumer]
_ENTRIES = TypeAdapter(dict[Name, Consumer])


class _OrFile:
    """Entries, or a file of them: by what is written, so that faults of entries are told as theirs."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(_entries_or_file, handler.generate_schema(Entries))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(core), {"format": "path", "type": "string"}]}


def _entries_or_file(value: Any, entries: ValidatorFunctionWrapHandler) -> Any:
    return parse_file(value) if isinstance(value, str) else entries(value)


ConsumersOrFile = Annotated[Entries | Path, _OrFile()]


class Consumers:
    """Whom the gateway knows; made of the config's entries, or of a file."""

    def __init__(self, written: Entries | Path) -> None:
        """Raises ValueError naming what does not fit, in one line for each."""
        self._file = written if isinstance(written, Path) else None
        self._stamp = stamp_of(self._file) if self._file is not None else None
        self._entries: Entries = {}
        self._names: dict[tuple[str, str], str] = {}
        # By identity, which is held here, so that its id stays its own.
        self._memo: dict[tuple[int, str], tuple[Identity, Identity]] = {}
        self._told: list[Callable[[], None]] = []
        if isinstance(written, Path):
            self._take(_read(written), f"{written}: ")
        else:
            self._take(written)

    @property
    def policies(self) -> frozenset[str]:
        """The policies whose subjects are said to be somebody."""
        return frozenset(policy for policy, _ in self._names)

    def _take(self, entries: Entries, place: str = "") -> None:
        names: dict[tuple[str, str], str] = {}
        for name, entry in entries.items():
            for policy, subjects in entry.subjects.items():
                for subject in subjects:
                    other = names.setdefault((policy, subject), name)
                    if other != name:
                        raise ValueError(f"{place}{name}.subjects.{policy}: {subject} is {other} already")
        self._entries, self._names = entries, names
        self._memo.clear()
        for tell in self._told:
            tell()

    def when_changed(self, tell: Callable[[], None]) -> None:
        """Have `tell` called whenever whom the config knows may have changed."""
        self._told.append(tell)

    def known(self, policy: str, identity: Identity, *, several_issuers: bool = False) -> Identity:
        """The identity with its consumer's name, groups and metadata, as far as the config knows it."""
        found = self._memo.get((id(identity), policy))
        if found is None:
            found = (identity, self._known(policy, identity, several_issuers))
            if len(self._memo) >= _KEPT:
                self._memo.clear()
            self._memo[id(identity), policy] = found
        return found[1]

    def _known(self, policy: str, identity: Identity, several_issuers: bool) -> Identity:
        # One issuer's subjects are nothing to another's: without its issuer a subject names nobody there.
        subject = f"{identity.issuer} {identity.subject}" if several_issuers else identity.subject
        name = self._names.get((policy, subject)) or identity.consumer
        entry = self._entries.get(name)
        if entry is None:
            return identity
        groups = identity.groups.union(entry.groups)
        return replace(identity, consumer=name, groups=groups, metadata=entry.metadata)

    async def run(self) -> None:
        """Read the file again whenever it changes, until cancelled."""
        file = self._file
        if file is None:
            return
        async for _ in changes(file, self._stamp, WATCH_S):
            try:
                self._take(await asyncio.to_thread(_read, file), f"{file}: ")
            except ValueError as error:
                log.warning("consumers: %s; they stay as they were", error)
                continue
            log.info("consumers: %s: %d", file, len(self._entries))

    def __repr__(self) -> str:
        return f"<Consumers {len(self._entries)}>"


def _read(path: Path) -> Entries:
    """The entries of a file; raises ValueError in one line, which begins with its name."""
    try:
        return read_entries(path, _ENTRIES, MAX_FILE, {})
    except FileFault as fault:
        raise ValueError(fault.within(path)) from None
