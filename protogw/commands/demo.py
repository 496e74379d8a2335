"""`protogw demo`: a sample gRPC service, the gateway in front of it, and lines to paste for every protocol."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import sys

from protogw.commands.configured import from_data, run
from protogw.commands.serving import Serving
from protogw.commands.terminal import CommandFailed, colours, note, say, style
from protogw.demo.service import SERVICE, start
from protogw.gateway import Gateway
from protogw.observe import program_log

HOST = "127.0.0.1"
ADMIN_PORT = 9901
SCHEMA_WAIT_S = 10.0


def demo(port: int, grpc_port: int) -> None:
    program_log.set_up(json=False, colour=colours(sys.stderr), level=logging.WARNING)
    chosen = free_port(port)
    if chosen != port:
        note(f"port {port} is in use: the gateway takes {chosen}")
    admin = free_port(ADMIN_PORT, beside=chosen)
    try:
        server, service_port = start(grpc_port)
    except RuntimeError as error:
        raise CommandFailed(f"the sample service cannot listen on {HOST}:{grpc_port}: the port is in use") from error
    config = from_data(
        {
            "listeners": {"public": {"address": f"{HOST}:{chosen}"}},
            "upstreams": {"library": {"grpc": [f"{HOST}:{service_port}"]}},
            "policies": {"browsers": {"cors": {"origins": ["*"]}}},
            "use": ["browsers"],
            "access_log": {"format": "console"},
            "admin": f"{HOST}:{admin}",
            "drain": "2s",
        }
    )

    async def told(gateway: Gateway) -> None:
        await described(gateway)
        _tell(service_port, chosen, admin)

    try:
        run(Serving(config, started=told).run)
    finally:
        server.stop(0.5).wait(2)


async def described(gateway: Gateway) -> None:
    """Until the sample service has described itself."""
    known = asyncio.Event()

    def look(_: object = None) -> None:
        if SERVICE in gateway.catalog.services:
            known.set()

    gateway.watchers.append(look)
    look()
    try:
        async with asyncio.timeout(SCHEMA_WAIT_S):
            await known.wait()
    except TimeoutError as error:
        raise CommandFailed("the sample service does not describe itself") from error
    finally:
        gateway.watchers.remove(look)


def free_port(wanted: int, *, beside: int = -1) -> int:
    """The wanted port, or when it is in use another that is free."""
    for port in (wanted, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
                probe.listen(1)
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            if found != beside:
                return found
    raise CommandFailed(f"no port is free on {HOST}")


def _tell(service_port: int, port: int, admin: int) -> None:
    base = f"http://{HOST}:{port}"
    say(f"The sample gRPC service {SERVICE} runs on {HOST}:{service_port}, the gateway on {base}.")
    say()
    for title, lines in lines_to_try(base, port).items():
        say(style(title, "1"))
        for line in lines:
            say(f"  {line}")
        say()
    say(f"{style('In a browser', '1')}")
    say(f"  {base}/graphql")
    say()
    missing = [tool for tool in ("curl", "grpcurl", "wscat") if shutil.which(tool) is None]
    if missing:
        say(f"({', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed here.)")
    say(f"Health: {base.replace(str(port), str(admin))}/readyz   Stop: Ctrl-C")
    say()


def lines_to_try(base: str, port: int) -> dict[str, list[str]]:
    """Lines to paste into a shell, by protocol."""
    shelf = r"printf '\0\0\0\0\13\12\11shelves/1'"  # GetShelfRequest in an envelope
    method = f"{base}/{SERVICE}/GetShelf"
    as_json = "-H 'content-type: application/json'"
    named = """'{"name": "shelves/1"}'"""
    stream = f"'{base}/v1/shelves/1/books:stream?interval_ms=500'"
    grpc = "--http2-prior-knowledge -H 'content-type: application/grpc' -H 'te: trailers'"
    watch = 'subscription { streamBooks(parent: \\"shelves/1\\") { title } }'
    query = "connect=v1&encoding=json&message=%7B%22name%22%3A%22shelves%2F1%22%7D"
    return {
        "REST": [
            f"curl {base}/v1/shelves",
            f"curl {base}/v1/shelves/1/books",
            f"""curl -d '{{"theme": "Travel"}}' {as_json} {base}/v1/shelves""",
            f"curl -N -H 'accept: text/event-stream' {stream}",
            f"curl -N -H 'accept: application/x-ndjson' {stream}",
        ],
        "gRPC": [
            f"grpcurl -plaintext {HOST}:{port} list",
            f"grpcurl -plaintext -d {named} {HOST}:{port} {SERVICE}/GetShelf",
            f"{shelf} | curl -si --data-binary @- {grpc} {method} | cat -v",
        ],
        "Connect": [
            f"curl -d {named} {as_json} -H 'connect-protocol-version: 1' {method}",
            f"curl '{method}?{query}'",
        ],
        "gRPC-Web": [
            f"{shelf} | curl -s --data-binary @- -H 'content-type: application/grpc-web+proto' {method} | cat -v",
        ],
        "GraphQL": [
            f"""curl -d '{{"query": "{{ getShelf(name: \\"shelves/1\\") {{ theme }} }}"}}' {as_json} {base}/graphql""",
            f"""curl -N -H 'accept: text/event-stream' -d '{{"query": "{watch}"}}' {as_json} {base}/graphql""",
        ],
        "WebSocket": [
            f"""wscat -c ws://{HOST}:{port}/{SERVICE}/StreamBooks -x '{{"parent": "shelves/1"}}'""",
        ],
    }
