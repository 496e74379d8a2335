"""Requests of the gateway's own: bounded, without redirects, and with faults that hold no secret."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from protogw.fetching import Fetcher, FetchError


@pytest.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    made = Fetcher()
    yield made
    await made.close()


async def answering(answer: bytes | None) -> tuple[asyncio.Server, str, list[bytes]]:
    """A server that answers everything with these bytes (None for never), its address, and what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    return server, f"http://{host}:{port}", asked


async def test_an_answer_comes_with_its_status_and_fields(fetcher: Fetcher) -> None:
    server, url, asked = await answering(b"HTTP/1.1 404 Not Found\r\nX-A: b\r\nContent-Length: 3\r\n\r\nabc")
    async with server:
        found = await fetcher.fetch(f"{url}/keys?secret=1", headers={"x-b": "c"})
    assert (found.status, found.headers["x-a"], found.body) == (404, "b", b"abc")
    assert asked[0].startswith(b"GET /keys?secret=1 HTTP/1.1\r\n")
    assert b"x-b: c\r\n" in asked[0]


async def test_a_redirect_is_not_followed(fetcher: Fetcher) -> None:
    server, url, asked = await answering(
        b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    )
    async with server:
        assert (await fetcher.fetch(url)).status == 302
    assert len(asked) == 1


async def test_an_answer_that_is_too_large_is_none(fetcher: Fetcher) -> None:
    server, url, _ = await answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"a" * 5000)
    async with server:
        with pytest.raises(FetchError, match="larger than 4096 bytes"):
            await fetcher.fetch(url, limit=4096)


async def test_who_never_answers_is_given_up(fetcher: Fetcher) -> None:
    server, url, _ = await answering(None)
    async with server:
        with pytest.raises(FetchError, match=r"no answer within 0\.05 s"):
            await fetcher.fetch(url, timeout_s=0.05)


async def test_a_fault_shows_neither_query_nor_user(fetcher: Fetcher) -> None:
    server, url, _ = await answering(b"nonsense\r\n\r\n")
    async with server:
        with pytest.raises(FetchError) as raised:
            await fetcher.fetch(url.replace("//", "//user:hush@") + "/x?token=hush")
    assert "hush" not in str(raised.value)
    assert "/x" in str(raised.value)
