"""Small HTTP requests of the gateway's own (keys, tokens, decisions): bounded in size and time, and only to where the
config points.

A redirect is never followed: who answers at an address that the config names must not send the gateway elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ssl import SSLContext

    from aiohttp import ClientSession

TIMEOUT_S: Final = 5.0
LIMIT: Final = 1 << 20
MOST_CONNECTIONS: Final = 32


class FetchError(Exception):
    """No answer that could be used; the message says why and holds no secret."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer: its status, its fields by lower-case name (the last of equal ones), its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Fetcher:
    """Asks, on connections that are kept. `run` closes them at the gateway's end."""

    def __init__(self) -> None:
        self._session: ClientSession | None = None

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_s: float = TIMEOUT_S,
        limit: int = LIMIT,
        tls: SSLContext | None = None,
    ) -> Fetched:
        """The answer, whatever its status; raises FetchError when there is none in time, or it is larger than `limit`
        bytes. `tls` is for https addresses; the system's authorities by default."""
        from aiohttp import ClientError  # half a second of imports that only some configs need

        try:
            async with (
                asyncio.timeout(timeout_s),
                self._opened().request(
                    method, url, headers=headers, data=body, allow_redirects=False, ssl=tls if tls is not None else True
                ) as answer,
            ):
                data = bytearray()
                async for piece in answer.content.iter_any():
                    data += piece
                    if len(data) > limit:
                        raise FetchError(f"{_shown(url)}: the answer is larger than {limit} bytes")
                fields = {name.lower(): value for name, value in answer.headers.items()}
                return Fetched(answer.status, fields, bytes(data))
        except TimeoutError as error:
            raise FetchError(f"{_shown(url)}: no answer within {timeout_s:g} s") from error
        except (ClientError, OSError, ValueError) as error:
            raise FetchError(f"{_shown(url)}: {_reason(error)}") from error

    def _opened(self) -> ClientSession:
        if self._session is None:
            from aiohttp import ClientSession, DummyCookieJar, TCPConnector

            self._session = ClientSession(
                connector=TCPConnector(limit=MOST_CONNECTIONS), cookie_jar=DummyCookieJar(), trust_env=False
            )
        return self._session

    async def run(self) -> None:
        """Keep the connections until cancelled, then close them."""
        try:
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _shown(url: str) -> str:
    """The address without what may be secret in it: user and query."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _reason(error: BaseException) -> str:
    """What went wrong, never in the words of the library, which quote the whole address and what was answered."""
    return (error.strerror or "" if isinstance(error, OSError) else "") or f"no usable answer ({type(error).__name__})"
