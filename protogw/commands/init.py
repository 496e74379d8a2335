"""`protogw init`: a commented gateway.yaml from what is found."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from protogw.commands.configured import assembled, from_data, run
from protogw.commands.terminal import CommandFailed, note, say
from protogw.config.units import parse_listen_address, parse_target
from protogw.descriptors.model import Method
from protogw.gateway import Gateway
from protogw.resources import schemas

_SHOWN = 40
"""Methods that are listed; the rest is counted."""


def init(path: Path, *, grpc: str | None, listen: str, force: bool) -> None:
    if path.exists() and not force:
        raise CommandFailed(f"{path} exists: name another file, or overwrite it with --force")
    try:
        parse_listen_address(listen)
    except PydanticCustomError as error:
        raise CommandFailed(f'--listen "{listen}" {error.message()}', code=2) from error
    found: list[Method] = []
    if grpc is not None:
        try:
            parse_target(grpc)
        except PydanticCustomError as error:
            raise CommandFailed(f'--grpc "{grpc}" {error.message()}', code=2) from error
        found, reason = run(lambda: _methods(grpc))
        if reason:
            note(f"{grpc} did not describe itself: {reason}")
            note("The file is written nevertheless: start the service, or name its .proto files under `schema`.")
    text = written(grpc, listen, found)
    try:
        path.write_text(text)
    except OSError as error:
        raise CommandFailed(f"{path}: cannot be written: {error.strerror}") from error
    say(f"wrote {path}")
    say(f"  protogw check {path}")
    say(f"  protogw serve {path}")


async def _methods(grpc: str) -> tuple[list[Method], str]:
    """What a service says that it offers, or why it does not say."""
    try:
        config = from_data(
            {"listeners": {"none": {"address": "127.0.0.1:0"}}, "upstreams": {"service": {"grpc": [grpc]}}}
        )
    except ValidationError as error:
        raise CommandFailed(f"{grpc}: {error.errors()[0]['msg']}", code=2) from error
    async with assembled(config) as (gateway, unknown):
        return _offered(gateway), unknown.get("service", "")


def _offered(gateway: Gateway) -> list[Method]:
    offering = gateway.offering
    assert offering is not None
    return [
        method
        for schema in offering.schemas.values()
        for service in schema.services.values()
        for method in service.methods.values()
    ]


def written(grpc: str | None, listen: str, methods: list[Method]) -> str:
    """The file's text."""
    name = _upstream_name(methods)
    port = listen.rpartition(":")[2]
    lines = [
        f"# yaml-language-server: $schema={schema_location()}",
        "# `protogw check` finds what is wrong with this file, `protogw kinds` lists what it may name.",
        "",
        "listeners:",
        f"  public: {{ address: {quoted(listen)} }}   # every protocol on this one port",
        "",
        "upstreams:",
    ]
    if grpc is None:
        lines += [
            f"  {name}:                              # a name of your choice",
            "    grpc: [127.0.0.1:50051]             # where your gRPC service listens",
            "    # schema: protos/library.proto      # its .proto files; without, it is asked by reflection",
        ]
    else:
        lines += [
            f"  {name}:",
            f"    grpc: [{quoted(grpc)}]",
            "    # schema: protos/library.proto      # instead of reflection, which is the default",
        ]
        lines += _listed(methods, port)
    example = methods[0].full_name if methods else "library.v1.Library/GetShelf"
    service = methods[0].service if methods else "library.v1.Library"
    lines += [
        "    # tls: { ca: ca.pem }               # speak TLS; `tls: true` trusts the system's authorities",
        "",
        "# policies:                               # steps around calls, by name",
        "#   browsers: { cors: { origins: [https://app.example] } }",
        "# use: [browsers]                         # for every route, outermost first",
        "",
        "# routes:                                 # exceptions to what the schema says",
        f'#   - match: {{ call: "{service}/*" }}',
        "#     timeout: 2s",
        f"#   - match: {{ call: {example} }}",
        '#     rest: { post: "/v1/example", body: "*", success: 201 }',
        "",
        "# access_log: { format: json, path: stdout }   # json, console, off",
        "# admin: 127.0.0.1:9901                   # /healthz, /readyz, /config, /catalog, /upstreams; or off",
        "# drain: 30s                              # how long calls in flight may take to finish on SIGTERM",
        "",
    ]
    return "\n".join(lines)


def _listed(methods: list[Method], port: str) -> list[str]:
    if not methods:
        return []
    lines = ["    # It offers:"]
    for method in methods[:_SHOWN]:
        rest = ", ".join(f"{rule.verb} {rule.template}" for rule in method.http) or f"POST {method.path.decode()}"
        shape = "" if method.unary else f" ({method.shape})"
        lines.append(f"    #   {method.full_name}{shape}: {rest}")
    if len(methods) > _SHOWN:
        lines.append(f"    #   … and {len(methods) - _SHOWN} more (protogw routes)")
    return lines


def _upstream_name(methods: list[Method]) -> str:
    """The first service's own name in lower case."""
    return methods[0].service.rpartition(".")[2].lower() if methods else "library"


def schema_location() -> str:
    """Where editors find the schema: the file that this installation came with."""
    try:
        return os.fspath(schemas() / "config.schema.json")
    except FileNotFoundError:
        return "config.schema.json"


def quoted(text: str) -> str:
    """The text as a YAML value inside a flow mapping."""
    return f'"{text}"' if text.startswith("[") else text
