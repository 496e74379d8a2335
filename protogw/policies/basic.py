"""User names and passwords (HTTP Basic, RFC 7617), kept as argon2id hashes.

A hash takes tens of milliseconds to check, which is its purpose: that happens on threads of its own, of which there are
few, with few waiting. What was right is remembered for a while, by a digest that only this process can make.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Self

from cachebox import LRUCache
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from protogw.call import Call
from protogw.entry_files import FileFault, read_bytes
from protogw.errors import Overloaded, Unauthenticated
from protogw.identity import Identity
from protogw.paths import ReadableFile
from protogw.policies.authentication import AuthenticationSettings, PlacedAuthentication
from protogw.policies.base import PolicySettings
from protogw.policies.credentials import Places
from protogw.values import Positive
from protogw.watching import changes, stamp_of

if TYPE_CHECKING:
    from argon2 import PasswordHasher

log = logging.getLogger("protogw")

WATCH_S = 2.0
"""How often a file of users is looked at for changes."""
MAX_FILE: Final = 16 << 20
MAX_CREDENTIAL: Final = 4096
THREADS: Final = 2
MOST_WAITING: Final = 64
"""Passwords that wait for a thread; more are refused as UNAVAILABLE."""
_MOST_MEMORY_KIB: Final = 1 << 20
_MOST_TIME: Final = 64


def _argon2id(text: str) -> str:
    """The hash, if it is one that can be checked within reason; raises ValueError."""
    from argon2 import Type, extract_parameters
    from argon2.exceptions import InvalidHashError

    try:
        found = extract_parameters(text)
    except (InvalidHashError, ValueError) as error:
        raise ValueError("is no argon2id hash ($argon2id$…)") from error
    if found.type is not Type.ID:
        raise ValueError("is no argon2id hash ($argon2id$…)")
    if found.memory_cost > _MOST_MEMORY_KIB or found.time_cost > _MOST_TIME:
        raise ValueError(f"takes more than {_MOST_MEMORY_KIB} KiB of memory or {_MOST_TIME} rounds to check")
    return text


class UserEntry(BaseModel):
    """One user."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^:\x00-\x1f\x7f]+$")]
    """The user's name, which has no colon."""
    hash: Annotated[str, Field(max_length=512)]
    """The password's argon2id hash, `$argon2id$v=19$…` (`argon2 SALT -id -e` makes one)."""
    consumer: Annotated[str, Field(max_length=255)] = ""
    """The consumer that the user is."""
    groups: tuple[str, ...] = ()
    """Groups that the user is in."""

    @model_validator(mode="after")
    def _hashed(self) -> Self:
        try:
            _argon2id(self.hash)
        except ValueError as error:
            raise PydanticCustomError("hash", "{reason}", {"reason": f"hash {error}"}) from error
        return self


class BasicSettings(AuthenticationSettings):
    """Which users there are."""

    users: tuple[UserEntry, ...] = ()
    """The users."""
    file: ReadableFile | None = None
    """A file with more of them, `NAME:HASH` or `NAME:HASH:GROUP,GROUP` a line, read again when it changes."""
    remember: Annotated[Positive, Field(ge=1, le=86400)] = 300.0
    """How long a password that was right need not be checked again."""
    hide: bool = True
    """Take the credential out of what the service gets."""
    realm: Annotated[str, Field(pattern=r"^[ -!#-\[\]-~]+$", max_length=100)] = "protogw"
    """What browsers tell their users that the password is for."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.users and self.file is None:
            raise PydanticCustomError("users", "{reason}", {"reason": "has neither users nor a file of them"})
        return self


class _User:
    __slots__ = ("hash", "identity")

    def __init__(self, hash: str, identity: Identity) -> None:
        self.hash = hash
        self.identity = identity


class Basic(PlacedAuthentication):
    """Takes calls that carry a known user's name and password; the name says who calls."""

    kind: ClassVar[str] = "basic"
    Settings: ClassVar[type[PolicySettings]] = BasicSettings

    def __init__(self, settings: BasicSettings) -> None:
        super().__init__(settings)
        self._challenge = f'Basic realm="{settings.realm}", charset="UTF-8"'
        self._places = Places(("header.authorization",), "Basic", hide=settings.hide, challenge=self._challenge)
        self._written = settings.users
        self._file = settings.file
        self._stamp = stamp_of(settings.file) if settings.file is not None else None
        self._users = _table((*settings.users, *(_read(settings.file) if settings.file is not None else ())))
        self._remember_s = settings.remember
        self._right: LRUCache[bytes, tuple[Identity, float]] = LRUCache(4096)
        """By the credential's digest, with the loop time until which it need not be checked again."""
        self._secret = os.urandom(32)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="passwords")
        self._waiting = 0
        self._hasher: PasswordHasher | None = None

    def wanted(self) -> Unauthenticated:
        return Unauthenticated("a user name and password are needed", self._challenge)

    async def authenticate(self, call: Call) -> Identity | None:
        written = self._places.take(call)
        if written is None:
            return None
        users = self._users
        digest = hashlib.blake2b(written, key=self._secret).digest()
        now = asyncio.get_running_loop().time()
        known = self._right.get(digest)
        if known is not None and known[1] > now:
            return known[0]
        name, password = self._parted(written)
        user = users.get(name)
        # Whoever names no user learns as late of it as whoever has a wrong password.
        checked = user or next(iter(users.values()), None)
        right = await self._check(checked.hash, password) if checked is not None else False
        if user is None or not right:
            raise Unauthenticated("the user name or password is wrong", self._challenge)
        if users is self._users:
            self._right[digest] = (user.identity, now + self._remember_s)
        return user.identity

    def _parted(self, written: bytes) -> tuple[str, str]:
        try:
            if len(written) > MAX_CREDENTIAL:
                raise ValueError
            name, colon, password = base64.b64decode(written, validate=True).decode().partition(":")
            if not colon:
                raise ValueError
        except (binascii.Error, ValueError):
            raise Unauthenticated("the credential is malformed", self._challenge) from None
        return name, password

    async def _check(self, hash: str, password: str) -> bool:
        """Whether the password is right; raises Overloaded when too many wait to know."""
        if self._waiting >= MOST_WAITING:
            raise Overloaded("too many passwords wait to be checked")
        if self._hasher is None:
            from argon2 import PasswordHasher  # some configs need none

            self._hasher = PasswordHasher()
        self._waiting += 1
        work = asyncio.get_running_loop().run_in_executor(self._threads, _holds, self._hasher, hash, password)
        work.add_done_callback(self._checked)
        # A caller that gives up leaves the thread busy, and is counted until that is free.
        return await asyncio.shield(work)

    def _checked(self, work: asyncio.Future[bool]) -> None:
        self._waiting -= 1

    async def run(self) -> None:
        """Read the file again whenever it changes, until cancelled."""
        try:
            file = self._file
            if file is None:
                await asyncio.Event().wait()
                return
            async for _ in changes(file, self._stamp, WATCH_S):
                try:
                    entries = await asyncio.to_thread(_read, file)
                except ValueError as error:
                    log.warning("policies.%s: %s; the users stay as they were", self.name, error)
                    continue
                self._users = _table((*self._written, *entries))
                self._right.clear()
                log.info("policies.%s: %s: %d users", self.name, file, len(self._users))
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)


def _holds(hasher: PasswordHasher, hash: str, password: str) -> bool:
    from argon2.exceptions import Argon2Error, InvalidHashError

    try:
        return hasher.verify(hash, password)
    except (Argon2Error, InvalidHashError):
        return False


def _table(entries: Iterable[UserEntry]) -> Mapping[str, _User]:
    """The users by name; of equal names the last."""
    return {
        entry.name: _User(
            entry.hash,
            Identity(subject=entry.name, scheme="basic", consumer=entry.consumer, groups=frozenset(entry.groups)),
        )
        for entry in entries
    }


def _read(path: Path) -> tuple[UserEntry, ...]:
    """The users of a file; raises ValueError in one line, which holds nothing of any hash."""
    try:
        lines = read_bytes(path, MAX_FILE).decode().splitlines()
    except FileFault as fault:
        raise ValueError(fault.within(path)) from fault
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8") from None
    found: list[UserEntry] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        hashed, _, groups = rest.partition(":")
        names = tuple(group.strip() for group in groups.split(",") if group.strip())
        try:
            found.append(UserEntry(name=name, hash=hashed, groups=names))
        except ValueError:
            raise ValueError(f"{path}:{number}: not NAME:HASH with an argon2id hash") from None
    return tuple(found)
