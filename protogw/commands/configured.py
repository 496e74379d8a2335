"""From a config file to a gateway that can be asked, without one address being listened on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from protogw.assembly import KINDS, AssemblyError, asking, build
from protogw.commands.terminal import CommandFailed, print_json
from protogw.config import Config, ConfigError, Fault, inspect
from protogw.config.document import Document
from protogw.config.model import configured
from protogw.descriptors.model import Schema, SchemaError
from protogw.descriptors.numbers import Numbers
from protogw.errors import GatewayError
from protogw.gateway import Gateway

T = TypeVar("T")

REFLECTION_TIMEOUT_S = 5.0


def loaded(path: Path) -> tuple[Config, Document]:
    """The config of a file; a bad one ends the command with every fault that is in it."""
    config, faults, document = inspect(path, KINDS)
    if config is None:
        raise CommandFailed(str(ConfigError(faults)))
    return config, document


def from_data(data: Mapping[str, Any]) -> Config:
    """A config that is made here and not by a user."""
    return configured(KINDS).model_validate(data)


def print_faults(faults: list[Fault]) -> None:
    print_json([fault.as_dict() for fault in faults])


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run in an event loop as fast as the platform has it, and give back what comes out."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None
    try:
        from uvloop import new_event_loop as factory
    except ImportError:  # there is none for Windows
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work())


@asynccontextmanager
async def assembled(
    config: Config,
    *,
    connect: bool = True,
    timeout_s: float = REFLECTION_TIMEOUT_S,
    only: str | None = None,
    schemas: Mapping[str, Schema] | None = None,
    numbers: Numbers | None = None,
) -> AsyncIterator[tuple[Gateway, dict[str, str]]]:
    """The gateway, listening nowhere, with the schemas that its services could be asked for, and why others could not.

    `only` asks a single upstream; `schemas` are those already read, with these `numbers`.
    """
    quiet = logging.getLogger("protogw")
    level = quiet.level
    quiet.setLevel(logging.CRITICAL)  # the commands tell the faults in their own way
    gateway: Gateway | None = None
    try:
        try:
            gateway = build(config, schemas=schemas, numbers=numbers)
        except (AssemblyError, SchemaError) as error:
            raise CommandFailed("\n".join(error.faults)) from error
        unknown: dict[str, str] = {}
        offering = gateway.offering
        assert offering is not None
        if connect:
            await gateway.find()
            awaited = [name for name in offering.awaited if only is None or name == only]
            asked = {name: _ask(gateway, config, name, timeout_s) for name in awaited}
            for name, failed in zip(asked, await asyncio.gather(*asked.values()), strict=True):
                if failed:
                    unknown[name] = failed
        else:
            unknown = dict.fromkeys(offering.awaited, "was not asked")
        yield gateway, unknown
    finally:
        if gateway is not None:
            gateway.stop()
            for _ in range(3):  # in which its connections close; the loop must not end before
                await asyncio.sleep(0)
        quiet.setLevel(level)


async def _ask(gateway: Gateway, config: Config, name: str, timeout_s: float) -> str:
    """Have an upstream describe itself; returns why it did not, or nothing."""
    offering = gateway.offering
    assert offering is not None
    fetch = asking(name, config.upstreams[name], offering.numbers)
    assert fetch is not None
    try:
        async with asyncio.timeout(timeout_s):
            schema = await fetch(gateway.pools[name].send, known=None)
    except TimeoutError:
        return f"did not describe itself within {timeout_s:g} s"
    except (GatewayError, SchemaError) as error:
        return str(error)
    offering.learn(name, schema)
    return ""
