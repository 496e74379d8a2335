"""Asking a registry over HTTP: one session, bounded answers, and errors in one line without any secret."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from protogw.discovery.base import DiscoveryError

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

MOST_BYTES = 32 << 20
"""Of an answer, and of a line of one that goes on."""


class Answer:
    """A whole answer: its status, its fields in lower case, and the JSON of its body."""

    def __init__(self, status: int, fields: Mapping[str, str], value: Any) -> None:
        self.status = status
        self.fields = fields
        self.value = value


class Api:
    """Asks one server. Redirects are not followed: only the server that the config names is believed."""

    def __init__(self, base: str, *, ca: Path | None = None) -> None:
        self._base = base
        self._ca = ca
        self._session: ClientSession | None = None

    async def get(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], *, timeout_s: float) -> Answer:
        """The answer; raises DiscoveryError when there is none in time, or none that is JSON."""
        from aiohttp import ClientError

        try:
            async with asyncio.timeout(timeout_s):
                async with await self._open(path, query, headers) as answer:
                    data = bytearray()
                    async for piece in answer.content.iter_any():
                        data += piece
                        if len(data) > MOST_BYTES:
                            raise DiscoveryError(f"{self._base}: the answer is larger than {MOST_BYTES >> 20} MiB")
                    fields = {name.lower(): value for name, value in answer.headers.items()}
                    return Answer(answer.status, fields, _json(data) if answer.status < 300 else None)
        except TimeoutError as error:
            raise DiscoveryError(f"{self._base}: no answer within {timeout_s:g} s") from error
        except (ClientError, OSError, ValueError) as error:
            raise DiscoveryError(f"{self._base}: {_reason(error)}") from error

    async def lines(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str], *, silence_s: float
    ) -> AsyncIterator[Answer]:
        """An answer that goes on: first one without a body, for its status, then the JSON of each line, until it ends.
        Raises DiscoveryError when nothing comes for so long, or what comes is of no use."""
        from aiohttp import ClientError

        try:
            async with asyncio.timeout(silence_s) as patience:
                async with await self._open(path, query, headers) as answer:
                    yield Answer(answer.status, {}, None)
                    buffer = bytearray()
                    async for piece in answer.content.iter_any():
                        patience.reschedule(asyncio.get_running_loop().time() + silence_s)
                        buffer += piece
                        *lines, rest = bytes(buffer).split(b"\n") if b"\n" in piece else [buffer]
                        buffer = bytearray(rest)
                        if len(buffer) > MOST_BYTES:
                            raise DiscoveryError(f"{self._base}: a line is larger than {MOST_BYTES >> 20} MiB")
                        for line in lines:
                            if line.strip():
                                yield Answer(answer.status, {}, _json(line))
        except TimeoutError as error:
            raise DiscoveryError(f"{self._base}: says nothing for {silence_s:g} s") from error
        except (ClientError, OSError, ValueError) as error:
            raise DiscoveryError(f"{self._base}: {_reason(error)}") from error

    async def _open(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> ClientResponse:
        if self._session is None:
            from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

            # The time is bounded by whoever asks; some questions wait for minutes.
            tls = await asyncio.to_thread(self._context)
            self._session = ClientSession(
                connector=TCPConnector(limit=4, ssl=tls),
                cookie_jar=DummyCookieJar(),
                timeout=ClientTimeout(total=None, sock_connect=5.0),
                trust_env=False,
            )
        return await self._session.get(self._base + path, params=query, headers=headers, allow_redirects=False)

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._ca)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _json(data: bytes | bytearray) -> Any:
    try:
        return orjson.loads(data)
    except ValueError as error:
        raise DiscoveryError("the answer is not JSON") from error


def _reason(error: BaseException) -> str:
    """Never in the words of the library, which quote the whole address."""
    return (error.strerror or "" if isinstance(error, OSError) else "") or f"no usable answer ({type(error).__name__})"
