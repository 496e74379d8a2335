"""`protogw call`: one call by the gateway's own path, without a port."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from pydantic_core import PydanticCustomError

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.commands.configured import assembled, loaded, run
from protogw.commands.metadata import parse_headers
from protogw.commands.methods import find_method
from protogw.commands.rehearsal import PEER, request_head
from protogw.commands.terminal import CommandFailed, note
from protogw.config import Config
from protogw.descriptors.model import Method
from protogw.errors import Code, GatewayError, Status
from protogw.values import parse_duration
from protogw.wire.http import Header
from protogw.wire.protojson_details import detail_to_json

MAX_MESSAGE = 64 << 20
"""Bytes of one line of stdin."""


def call(
    path: Path, method: str, data: str | None, *, headers: tuple[str, ...], timeout: str | None, verbose: bool
) -> None:
    config, _ = loaded(path)
    fields = parse_headers(headers)
    seconds: float | None = None
    if timeout is not None:
        try:
            seconds = parse_duration(timeout)
        except PydanticCustomError as error:
            raise CommandFailed(f'--timeout "{timeout}" {error.message()}', code=2) from error
    status = run(lambda: _call(config, method, data, fields, seconds, verbose=verbose))
    if status.code is not Code.OK:
        raise CommandFailed(_told(status))


def _told(status: Status) -> str:
    return f"{status.code.name} ({int(status.code)}): {status.message}" if status.message else status.code.name


async def _call(
    config: Config, name: str, data: str | None, fields: tuple[Header, ...], seconds: float | None, *, verbose: bool
) -> Status:
    async with assembled(config) as (gateway, unknown):
        method = find_method(gateway.catalog, name, unknown)
        made = Call(
            method,
            Metadata(fields),
            front_end="call",
            peer=PEER,
            started=asyncio.get_running_loop().time(),
            head=request_head("POST", method.path.decode(), fields),
            timeout=seconds,
        )
        if method.client_streaming:
            made.payloads = _several(method, data)
        else:
            made.payload = await _one(method, data)
        schema = gateway.catalog.schemas[method.service]
        try:
            reply = await gateway.handle(made)
            if verbose:
                _metadata("<", reply.metadata.adding(*made.noted()))
            await _print(reply)
            if verbose:
                _metadata("< trailer", reply.trailers)
            status = reply.status
        except GatewayError as error:
            status = error.status
        except asyncio.CancelledError:
            if made.cut is None:
                raise
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
            status = made.cut.status
        finally:
            made.ended()
        for detail in status.details:
            note(f"detail: {detail_to_json(detail, schema.types.get).decode()}")
        return status


async def _print(reply: Reply) -> None:
    if reply.payload is not None and reply.status.code is Code.OK:
        _line(reply.payload)
    if reply.payloads is not None:
        async for payload in reply.payloads:
            _line(payload)


def _line(payload: Payload) -> None:
    sys.stdout.write(payload.json().decode() + "\n")
    sys.stdout.flush()


def _metadata(mark: str, metadata: Metadata) -> None:
    for name, value in metadata.pairs:
        note(f"{mark} {name.decode('latin-1')}: {value.decode('latin-1')}")


async def _one(method: Method, data: str | None) -> Payload:
    """The one request message: what was given, or all of stdin, or an empty message when stdin is a terminal."""
    if data is None and sys.stdin.isatty():
        data = "{}"
    text = data.encode() if data is not None and data != "-" else await asyncio.to_thread(sys.stdin.buffer.read)
    return Payload(text.strip() or b"{}", Encoding.JSON, method.input.codec)


async def _several(method: Method, data: str | None) -> AsyncIterator[Payload]:
    """The request messages, one a line; stdin is read as the service takes them."""
    if data is not None and data != "-":
        for line in data.splitlines():
            if line.strip():
                yield Payload(line.strip().encode(), Encoding.JSON, method.input.codec)
        return
    lines = _Lines()
    while line_read := await lines.next():
        if line_read.strip():
            yield Payload(line_read.strip(), Encoding.JSON, method.input.codec)


class _Lines:
    """Lines of stdin, each read when it is asked for. The thread is a daemon: a terminal may never send another."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wanted = threading.Semaphore(0)
        self._future: asyncio.Future[bytes] | None = None
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    async def next(self) -> bytes:
        self._future = self._loop.create_future()
        self._wanted.release()
        return await self._future

    def _read(self) -> None:
        while True:
            self._wanted.acquire()
            line = sys.stdin.buffer.readline(MAX_MESSAGE)
            try:
                self._loop.call_soon_threadsafe(self._give, line)
            except RuntimeError:  # the loop is closed: nobody wants it any more
                return
            if not line:
                return

    def _give(self, line: bytes) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(line)
