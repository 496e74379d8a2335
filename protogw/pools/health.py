"""Active health checks: each endpoint is asked, again and again, whether it is well. Knows no protocol; probes do."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection

from protogw.errors import GatewayError
from protogw.pools.endpoint import Endpoint
from protogw.probes.base import Probe, ProbeSettings
from protogw.translator import HttpConnection

log = logging.getLogger("protogw")


class _Asked:
    """An endpoint as a probe sees it."""

    __slots__ = ("_endpoint",)

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def connection(self) -> HttpConnection:
        return self._endpoint.available() or await self._endpoint.acquire()

    async def dial(self) -> None:
        await self._endpoint.dial()


class Health:
    """What the checks of one pool have found. An endpoint that was not asked yet counts as well.

    `changed` is called with an endpoint that was found well or unwell when it was not before.
    """

    def __init__(
        self, pool: str, probe: Probe, settings: ProbeSettings, changed: Callable[[Endpoint, bool], None]
    ) -> None:
        self._pool = pool
        self._probe = probe
        self._settings = settings
        self._changed = changed
        self._unwell: dict[Endpoint, str] = {}
        self._tasks: dict[Endpoint, asyncio.Task[None]] = {}

    def is_well(self, endpoint: Endpoint) -> bool:
        return endpoint not in self._unwell

    def why(self, endpoint: Endpoint) -> str:
        """What is wrong with it; "" when nothing is known to be."""
        return self._unwell.get(endpoint, "")

    def keep(self, endpoints: Collection[Endpoint]) -> None:
        """Ask these from now on, and no others."""
        for endpoint in [known for known in self._tasks if known not in endpoints]:
            self._tasks.pop(endpoint).cancel()
            self._unwell.pop(endpoint, None)
        loop = asyncio.get_running_loop()
        for endpoint in endpoints:
            if endpoint not in self._tasks:
                name = f"health of {self._pool} at {endpoint.label}"
                self._tasks[endpoint] = loop.create_task(self._watch(endpoint), name=name)

    def close(self) -> None:
        self.keep(())

    async def _watch(self, endpoint: Endpoint) -> None:
        """Ask it until cancelled."""
        settings = self._settings
        good = bad = 0
        first = True
        while True:
            wrong = await self._ask(endpoint)
            good, bad = (0, bad + 1) if wrong else (good + 1, 0)
            if wrong and endpoint not in self._unwell and (first or bad >= settings.unhealthy):
                self._unwell[endpoint] = wrong
                log.warning("upstreams.%s: %s is unwell: %s", self._pool, endpoint.label, wrong)
                self._changed(endpoint, False)
            elif not wrong and endpoint in self._unwell and good >= settings.healthy:
                del self._unwell[endpoint]
                log.info("upstreams.%s: %s is well again", self._pool, endpoint.label)
                self._changed(endpoint, True)
            elif wrong and endpoint in self._unwell:
                self._unwell[endpoint] = wrong
            first = False
            await asyncio.sleep(settings.interval * random.uniform(0.9, 1.1))

    async def _ask(self, endpoint: Endpoint) -> str:
        try:
            async with asyncio.timeout(self._settings.timeout):
                return await self._probe.ask(_Asked(endpoint))
        except TimeoutError:
            return f"no answer within {self._settings.timeout:g} s"
        except GatewayError as error:
            return error.message
        except Exception:  # a fault of ours in one check must not end the checks
            log.exception("a fault of the gateway's own in the health check of %s", endpoint.label)
            return "the check itself failed"
