"""A gateway of a config, without listeners and connections: calls go in as they leave a front end."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml

from protogw.assembly import KINDS, build
from protogw.call import Metadata
from protogw.config import load
from protogw.errors import Code, DeadlineExceeded, GatewayError
from protogw.gateway import Gateway
from protogw.identity import Identity
from protogw.pools.base import Connector
from protogw.testing.calls import ECHO, Answer, answered, call_of, refused
from protogw.testing.service import Carrier, Connecting, Message, PlayedService
from protogw.translator import Translator


class Playing:
    """Runs a gateway in the loop at hand: `async with Playing(config) as playing: await playing.call(…)`.

    `config` is a path, the text of a config, or a mapping; it may leave out `listeners`, and `upstreams` too, which is
    then one whose schema is `schema` (the text of a proto or a path; by default the service `testing.v1.Echo`). Every
    upstream needs its schema in a file. Raises ConfigError and AssemblyError as the program does.
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, Any],
        *,
        schema: str | Path = ECHO,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._written = config
        self._schema = schema
        self._environment = environment or {}
        self._services: dict[str, PlayedService] = {}
        self._gateway: Gateway | None = None

    @property
    def gateway(self) -> Gateway:
        if self._gateway is None:
            raise RuntimeError("the gateway does not run")
        return self._gateway

    def service(self, name: str | None = None) -> PlayedService:
        """What stands behind the upstream of this name; without one, behind the only upstream."""
        if name is None:
            (name,) = self._services
        return self._services[name]

    async def __aenter__(self) -> Self:
        with tempfile.TemporaryDirectory() as folder:
            path = self._path(Path(folder))
            config = load(path, KINDS, self._environment)
            gateway = build(config, played=self._play)
        gateway.listeners.clear()
        await gateway.start()
        self._gateway = gateway
        return self

    async def __aexit__(self, *_: object) -> None:
        gateway, self._gateway = self._gateway, None
        if gateway is not None:
            await gateway.drain(0.0)

    def _play(self, name: str) -> tuple[Translator, Connector]:
        service = self._services[name] = PlayedService(name)
        return Carrier(service), Connecting()

    def _path(self, folder: Path) -> Path:
        """The config as a file, with what it leaves out."""
        written = self._written
        if isinstance(written, Path):
            return written
        tree = dict(yaml.safe_load(written) if isinstance(written, str) else written)
        tree.setdefault("listeners", {"testing": {"address": "127.0.0.1:0"}})
        tree.setdefault("access_log", "off")
        tree.setdefault("admin", "off")
        if "upstreams" not in tree:
            schema = self._schema
            if isinstance(schema, str):
                schema = folder / "service.proto"
                schema.write_text(str(self._schema))
            tree["upstreams"] = {"service": {"grpc": "127.0.0.1:1", "schema": str(schema.resolve())}}
        path = folder / "gateway.yaml"
        path.write_text(json.dumps(tree, indent=1))
        return path

    async def call(
        self,
        method: str,
        message: Message | Sequence[Message] = (),
        *,
        headers: Mapping[str, str] | None = None,
        peer: str = "192.0.2.1",
        identity: Identity | None = None,
        front_end: str = "testing",
        timeout: float | None = None,  # noqa: ASYNC109 (the client's own wish, which the gateway keeps)
    ) -> Answer:
        """Send one call of `package.Service/Method`, and read its answer to the end. Raises nothing that a client would
        not see as an end of its call."""
        known = self.gateway.catalog.methods.get(f"/{method.removeprefix('/')}".encode())
        if known is None:
            offered = ", ".join(one.full_name for one in self.gateway.catalog.methods.values())
            raise ValueError(f"there is no method {method}; there are {offered}")
        call = call_of(
            known,
            message,
            headers=headers,
            peer=peer,
            identity=identity,
            front_end=front_end,
            timeout=timeout,
            started=asyncio.get_running_loop().time(),
        )
        try:
            return await answered(await self.gateway.handle(call), call.noted())
        except GatewayError as error:
            return refused(error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not call.expired or task is None:
                raise
            task.uncancel()
            return refused(DeadlineExceeded())
        except Exception as error:  # noqa: BLE001 (as the door does: the client is told no more than INTERNAL)
            return Answer(
                code=Code.INTERNAL, text="internal error", metadata=Metadata(), trailers=Metadata(), error=error
            )
        finally:
            call.disarm()


class RunningGateway:
    """The same for tests that are plain functions: it has a loop of its own, which runs while a call does."""

    def __init__(
        self,
        config: str | Path | Mapping[str, Any],
        *,
        schema: str | Path = ECHO,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._runner = asyncio.Runner()
        self._playing = Playing(config, schema=schema, environment=environment)
        try:
            self._runner.run(self._playing.__aenter__())
        except BaseException:
            self._runner.close()
            raise

    @property
    def gateway(self) -> Gateway:
        return self._playing.gateway

    def service(self, name: str | None = None) -> PlayedService:
        """What stands behind the upstream of this name; without one, behind the only upstream."""
        return self._playing.service(name)

    def call(
        self,
        method: str,
        message: Message | Sequence[Message] = (),
        *,
        headers: Mapping[str, str] | None = None,
        peer: str = "192.0.2.1",
        identity: Identity | None = None,
        front_end: str = "testing",
        timeout: float | None = None,
    ) -> Answer:
        """See Playing.call."""
        return self._runner.run(
            self._playing.call(
                method,
                message,
                headers=headers,
                peer=peer,
                identity=identity,
                front_end=front_end,
                timeout=timeout,
            )
        )

    def close(self) -> None:
        """End it; harmless when it has ended."""
        self._runner.run(self._playing.__aexit__())
        self._runner.close()
