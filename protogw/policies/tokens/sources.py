"""Where the keys of an issuer come from: the config, a file that may change, an address, or the issuer's own word (OIDC
discovery).

Keys that were once fetched stay until better ones come. A token whose key is not known has them fetched anew, but not
more often than once in an interval, whatever tokens come.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from protogw.fetching import Fetcher, FetchError
from protogw.policies.tokens.keys import KeyFault, KeyRing, ring_of
from protogw.watching import changes, stamp_of

log = logging.getLogger("protogw")

FILE_S = 2.0
"""How often a file of keys is looked at for changes."""
FIRST_S, MOST_S = 0.5, 30.0
"""How soon, and how seldom at the most, keys that could not be fetched are asked for again."""
MAX_FILE = 1 << 20
_DISCOVERY = "/.well-known/openid-configuration"


class KeySource:
    """The keys of one issuer. `ring` is None until there are any."""

    def __init__(self, where: str) -> None:
        self.where = where
        """What it is called in logs."""
        self.ring: KeyRing | None = None
        self.arrived: Callable[[], None] | None = None
        """Told when there are keys for the first time."""
        self.changed: Callable[[], None] | None = None
        """Told when other keys have taken the place of those before."""

    async def ready(self) -> KeyRing | None:
        """The keys, as soon as it is settled whether there are any."""
        return self.ring

    async def renewed(self) -> KeyRing | None:
        """The keys, after a token's own was not among them."""
        return self.ring

    async def run(self) -> None:
        """Keep the keys fresh, until cancelled."""

    def _take(self, ring: KeyRing) -> None:
        before, self.ring = self.ring, ring
        if before is None:
            if self.arrived is not None:
                self.arrived()
        elif not before.same(ring):
            log.info("%s: %d keys", self.where, len(ring))
            if self.changed is not None:
                self.changed()


class FixedKeys(KeySource):
    """Keys of the config itself."""

    def __init__(self, where: str, ring: KeyRing) -> None:
        super().__init__(where)
        self.ring = ring


class FileKeys(KeySource):
    """A JSON Web Key Set in a file, read again when it changes."""

    def __init__(self, where: str, path: Path, algorithms: Collection[str]) -> None:
        """Raises KeyFault."""
        super().__init__(where)
        self._path = path
        self._algorithms = algorithms
        self._stamp = stamp_of(path)
        self.ring = self._read()

    def _read(self) -> KeyRing:
        try:
            with self._path.open("rb") as file:
                data = file.read(MAX_FILE + 1)
        except OSError as error:
            raise KeyFault(f"cannot be read: {(error.strerror or 'error').lower()}") from error
        if len(data) > MAX_FILE:
            raise KeyFault(f"larger than {MAX_FILE} bytes")
        return ring_of(data, algorithms=self._algorithms, secrets=True)

    async def run(self) -> None:
        async for _ in changes(self._path, self._stamp, FILE_S):
            try:
                self._take(await asyncio.to_thread(self._read))
            except KeyFault as fault:
                log.warning("%s: %s: %s; the keys stay as they were", self.where, self._path, fault)


class Fetched(KeySource, ABC):
    """Keys that are fetched: at the start, now and then, and for a token whose key is not known."""

    def __init__(self, where: str, fetcher: Fetcher, tls: ssl.SSLContext | None, refresh_s: float, again_s: float):
        super().__init__(where)
        self.fetches = 0
        self.failures = 0
        self._fetcher = fetcher
        self._tls = tls
        self._refresh_s = refresh_s
        self._again_s = again_s
        self._settled = False
        self._fetching: asyncio.Task[None] | None = None
        self._asked_s: float | None = None
        self._failed = False

    async def ready(self) -> KeyRing | None:
        if not self._settled:
            await self._fetch()
        return self.ring

    async def renewed(self) -> KeyRing | None:
        now = asyncio.get_running_loop().time()
        if self._fetching is None:
            if self._asked_s is not None and now - self._asked_s < self._again_s:
                return self.ring
            self._asked_s = now
        await self._fetch()
        return self.ring

    async def run(self) -> None:
        wait = FIRST_S
        try:
            while True:
                await self._fetch()
                wait = min(wait * 2, MOST_S) if self._failed else FIRST_S
                await asyncio.sleep(min(wait, self._refresh_s) if self._failed else self._refresh_s)
        finally:
            if self._fetching is not None:
                self._fetching.cancel()

    async def _fetch(self) -> None:
        """Fetch them, or wait for whoever does so already. One caller that gives up takes it from no other."""
        task = self._fetching
        if task is None:
            task = self._fetching = asyncio.get_running_loop().create_task(self._work(), name=f"keys of {self.where}")
        await asyncio.shield(task)

    async def _work(self) -> None:
        """Owned by whoever runs the source."""
        try:
            self.fetches += 1
            ring = await self._get()
        except (FetchError, KeyFault) as fault:
            if not self._failed:
                state = "calls that need them are refused" if self.ring is None else "those from before stay"
                log.warning("%s: the keys cannot be fetched, %s: %s", self.where, state, fault)
            self._failed = True
            self.failures += 1
        else:
            if self._failed or self.ring is None:
                log.info("%s: %d keys", self.where, len(ring))
            self._failed = False
            self._take(ring)
        finally:
            self._settled = True
            self._fetching = None

    async def _ask(self, url: str) -> bytes:
        answer = await self._fetcher.fetch(url, headers={"accept": "application/json"}, tls=self._tls)
        if answer.status != 200:
            what = "a redirect, which is not followed" if 300 <= answer.status < 400 else f"HTTP {answer.status}"
            raise FetchError(f"{url}: {what}")
        return answer.body

    @abstractmethod
    async def _get(self) -> KeyRing:
        """The keys; raises FetchError, KeyFault."""


class UrlKeys(Fetched):
    """A JSON Web Key Set at an address."""

    def __init__(self, where: str, url: str, algorithms: Collection[str], **fetched: Any) -> None:
        super().__init__(where, **fetched)
        self._url = url
        self._algorithms = algorithms

    async def _get(self) -> KeyRing:
        return ring_of(await self._ask(self._url), algorithms=self._algorithms)


class DiscoveredKeys(Fetched):
    """The key set that the issuer names (OpenID Connect Discovery 1.0, section 4).

    The address that it names has the scheme of its own, and is on its own host or one of `hosts`: an issuer does not
    send the gateway wherever it likes.
    """

    def __init__(
        self, where: str, issuer: str, algorithms: Collection[str], hosts: Collection[str], **fetched: Any
    ) -> None:
        super().__init__(where, **fetched)
        self._issuer = issuer
        self._algorithms = algorithms
        own = urlsplit(issuer)
        self._scheme = own.scheme
        self._hosts = frozenset((own.hostname or "", *(host.lower() for host in hosts)))
        self._url: str | None = None

    async def _get(self) -> KeyRing:
        url = self._url
        if url is None:
            url = self._url = self._checked(await self._ask(self._issuer.rstrip("/") + _DISCOVERY))
        try:
            return ring_of(await self._ask(url), algorithms=self._algorithms)
        except (FetchError, KeyFault):
            self._url = None  # it may have moved
            raise

    def _checked(self, document: bytes) -> str:
        """Where the document says that the keys are; raises KeyFault."""
        try:
            found = json.loads(document)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise KeyFault("what the issuer says of itself is not JSON")
        if found.get("issuer") != self._issuer:
            raise KeyFault("what is found at the issuer's address is said by another issuer")
        url = found.get("jwks_uri")
        if not isinstance(url, str) or len(url) > 2048:
            raise KeyFault("the issuer names no jwks_uri")
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
        except ValueError:
            raise KeyFault("the issuer's jwks_uri is no address") from None
        if parts.scheme != self._scheme or parts.username is not None:
            raise KeyFault(f"the issuer's jwks_uri is no {self._scheme} address")
        if host not in self._hosts:
            raise KeyFault(f"the issuer's keys are at {host[:200]}: name it in jwks_hosts if that is meant")
        return url
