"""The product in one page: a request comes in at a door, becomes a call, takes its route, and its reply returns.

listener → front end → Call → router → policy chain → translator → pool → endpoint
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from protogw.call import Call, Reply
from protogw.counting import Counts
from protogw.descriptors.catalog import EMPTY, Catalog
from protogw.errors import DeadlineExceeded, GatewayError, InternalError, NotOffered
from protogw.frontends.base import Exchange, FrontEnd, Handler, Recorder, RecordsCalls
from protogw.policies.base import OriginPolicy, Purged
from protogw.policies.blame import culprit
from protogw.routing.router import Router

if TYPE_CHECKING:
    from protogw.discovery.following import Following
    from protogw.offering import Offering
    from protogw.passthrough.base import Passthrough
    from protogw.passthrough.endpoints import Endpoints
    from protogw.pools.pool import Pool
    from protogw.wire.forwarded import Proxies
    from protogw.wire.http import RequestHead

log = logging.getLogger("protogw")


class Listening(Protocol):
    """A listener as net/ makes them."""

    name: str

    @property
    def address(self) -> tuple[str, int]:
        """Where it is bound."""
        ...

    async def start(self) -> None: ...

    def stop_accepting(self) -> None: ...

    async def drain(self, timeout_s: float) -> None: ...

    def close(self) -> None: ...


class Door:
    """What one listener serves: its front ends in order, and the gateway behind them."""

    def __init__(
        self,
        gateway: Gateway,
        front_ends: Sequence[FrontEnd],
        origins: OriginPolicy | None = None,
        recorder: Recorder | None = None,
        proxies: Proxies | None = None,
        handle: Handler | None = None,
    ) -> None:
        """`handle` stands in place of the gateway's own, and is around it."""
        self._gateway = gateway
        self._handle = handle or gateway.handle
        self._front_ends = tuple(front_ends)
        self._last = self._front_ends[-1]
        self._origins = origins
        self._recorder = recorder
        self._proxies = proxies
        for front_end in self._front_ends:
            if isinstance(front_end, RecordsCalls):
                front_end.recorder = recorder

    @property
    def front_ends(self) -> tuple[FrontEnd, ...]:
        return self._front_ends

    async def serve(self, exchange: Exchange) -> None:
        """Answer one request; the task that runs this is cancelled when its client goes away."""
        recorder = self._recorder
        started = perf_counter() if recorder is not None else 0.0
        front_end = self._last
        failed: GatewayError | None = None
        try:
            if self._proxies is not None:
                exchange.peer = self._proxies.see(exchange.head, exchange.peer)
            if self._origins is None or self._admit(exchange, self._origins):
                front_end = self._front_end_for(exchange.head)
                await front_end.serve(exchange, self._handle)
        except GatewayError as error:
            failed = error
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # a fault of ours in one call must not harm the connection's other calls
            call = exchange.call
            if not _is_cancelled(error):
                log.exception("%s in %r", self._gateway.blame(error), exchange.head)
                failed = InternalError()
            elif call is None or call.cut is None:
                raise
            else:
                task = asyncio.current_task()
                assert task is not None
                task.uncancel()
                failed = call.cut
        finally:
            if failed is not None:
                front_end.fail(exchange, failed)
            if exchange.call is not None:
                exchange.call.ended()
            if recorder is not None:
                recorder.record(exchange, perf_counter() - started, failed, front_end.kind)

    def _front_end_for(self, head: RequestHead) -> FrontEnd:
        offered = self._gateway.offered
        taken = head.taken
        if taken is not None and taken[0] is offered:
            known: FrontEnd = taken[1]
            return known
        for front_end in self._front_ends:
            if front_end.accepts(head):
                # A head is shared by requests at one door only, and whose it is changes only with what is offered.
                head.taken = (offered, front_end)
                return front_end
        path = head.path.decode("latin-1")
        raise NotOffered(f"{path}: nothing is offered here", http_status=404)

    @staticmethod
    def _admit(exchange: Exchange, origins: OriginPolicy) -> bool:
        """Mark the answer for the web page that asks; False when it was a preflight, which is answered here."""
        origin = exchange.head.get(b"origin")
        if origin is None:
            return True
        answer = origins.preflight(exchange.head, origin)
        if answer is not None:
            exchange.respond(204, answer)
            return False
        exchange.extra = origins.grant(exchange.head, origin)
        return True


def _is_cancelled(error: BaseException) -> bool:
    """Whether this is the end of a call that was itself cancelled."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling() > 0)


class Gateway:
    """Everything that runs: doors, the router, the pools. Built by assembly; started, drained and stopped here."""

    def __init__(self, pools: Mapping[str, Pool]) -> None:
        self.pools = dict(pools)
        self.counts = Counts()
        """What its parts count, beside the requests."""
        self.policies: Mapping[str, object] = {}
        """By name; for the log."""
        self.private: list[Pool] = []
        """Those of policies alone."""
        self.listeners: dict[str, Listening] = {}
        self.doors: dict[str, Door] = {}
        self.passthroughs: dict[str, Passthrough] = {}
        """The listeners that have no door: what comes in is carried on as it is."""
        self.endpoints: Mapping[str, Endpoints] = {}
        """What is behind them, by upstream."""
        self.shown: dict[str, Callable[[], Mapping[str, object]]] = {}
        """What policies have to show on the admin address, by their names."""
        self.followings: dict[str, Following] = {}
        """What finds addresses that the config does not list, by upstream."""
        self.catalog: Catalog = EMPTY
        self.offered = object()
        """Another one whenever what is offered changes."""
        self.router = Router({})
        self.draining = False
        self.caches: dict[str, Purged] = {}
        """The policies that keep answers, by name."""
        self.streams: Callable[[Call, Handler], Awaitable[Reply]] | None = None
        """Watches the messages of described calls that are streams: carries such a call with what it is handed."""
        self.offering: Offering | None = None
        """What makes catalog and router; None until assembled."""
        self.watchers: list[Callable[[Catalog], None]] = []
        """Told of every new catalog, beside the front ends."""
        self._starting: list[tuple[Callable[[], Coroutine[Any, Any, None]], str]] = []
        self._background: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    async def handle(self, call: Call) -> Reply:
        """Carry one call from its front end to its pool and back."""
        route = self.router.match(call)
        call.route = route
        timeout = call.timeout
        method = call.method
        if timeout is None:
            # A method that takes one message may be carried for a client that sends many (a fan-in).
            lone = method is not None and method.unary and call.payloads is None
            timeout = route.unary_timeout if lone else route.stream_timeout
        elif route.max_timeout is not None and timeout > route.max_timeout:
            timeout = route.max_timeout
        if timeout is not None:
            if timeout <= 0:
                raise DeadlineExceeded
            call.arm(self._loop, timeout)
        try:
            carry = route.handler if call.late is None else route.late
            streams = self.streams
            if streams is not None and method is not None and (call.payloads is not None or method.server_streaming):
                reply = await streams(call, carry)
            else:
                reply = await carry(call)
            if not isinstance(reply, Reply):
                raise TypeError(f"a policy answered a call with {type(reply).__name__}")
            call.reply = reply
        except (GatewayError, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # a fault of ours, or of a policy's author, in one call must not harm others
            # Nor may sys.exit in its code, a panic of a library in Rust, or what it waits for and another cancels.
            if _is_cancelled(error):
                raise
            log.exception("%s in %r", self.blame(error), call)
            raise InternalError() from error
        return reply

    def blame(self, error: BaseException) -> str:
        """Whose fault it is, for the log: that of the policy in whose code it came up, if it was in one's."""
        name = culprit(error, self.policies)
        return f"policies.{name}: a fault" if name else "a fault of the gateway's own"

    def names_of(self, policies: Iterable[object]) -> list[str]:
        """What the config calls these policies."""
        names = {id(policy): name for name, policy in self.policies.items()}
        return [names.get(id(policy), str(getattr(policy, "kind", "policy"))) for policy in policies]

    def install(self, catalog: Catalog, router: Router) -> None:
        """Offer this catalog by these routes from now on; calls under way keep their route."""
        self.catalog = catalog
        self.offered = object()
        self.router = router
        for door in self.doors.values():
            for front_end in door.front_ends:
                front_end.offer(catalog)
        for watcher in self.watchers:
            watcher(catalog)

    def when_started(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Run this in the background from the start on, until the gateway stops."""
        self._starting.append((work, name))

    def own(self, task: asyncio.Task[None]) -> None:
        """Keep a background task until it ends or the gateway stops."""
        self._background.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a background task ended: %s", task.get_name(), exc_info=error)

    async def find(self) -> None:
        """Begin to find the addresses that are not listed; takes no longer than their look-ups may."""

        def start(work: Coroutine[Any, Any, None], name: str) -> None:
            self.own(self._loop.create_task(work, name=name))

        await asyncio.gather(*(following.begin(start) for following in self.followings.values()))

    async def start(self) -> None:
        """Open every listener; raises OSError with a clear text, after closing those already open."""
        try:
            await self.find()
            for listener in self.listeners.values():
                await listener.start()
            for work, name in self._starting:
                self.own(self._loop.create_task(work(), name=name))
            self._starting.clear()
        except BaseException:  # what is open already is closed again
            self.stop()
            raise

    async def drain(self, timeout_s: float) -> None:
        """Stop accepting, let calls in flight finish for `timeout_s`, then close everything."""
        self.draining = True
        for listener in self.listeners.values():
            listener.stop_accepting()
        await asyncio.gather(*(listener.drain(timeout_s) for listener in self.listeners.values()))
        self.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._background, return_exceptions=True)

    def stop(self) -> None:
        """Close everything now."""
        self.draining = True
        for listener in self.listeners.values():
            listener.close()
        for task in tuple(self._background):
            task.cancel()
        for pool in (*self.pools.values(), *self.private):
            pool.close()

    def __repr__(self) -> str:
        return (
            f"<Gateway {len(self.listeners)} listeners, {len(self.pools)} pools, {len(self.catalog.methods)} methods>"
        )
