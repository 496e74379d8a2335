"""A worker: one process of several that serve the same addresses. Started by the supervisor, with a socket to it.

`python -m protogw.workers.worker FD`
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys

from pydantic import ValidationError

from protogw.assembly import KINDS
from protogw.commands.configured import run
from protogw.commands.serving import Part, Serving
from protogw.commands.terminal import CommandFailed
from protogw.config.model import configured
from protogw.gateway import Gateway
from protogw.observe import program_log
from protogw.stores.node import NodeCounters
from protogw.workers.channel import Channel
from protogw.workers.counting import Asking
from protogw.workers.orders import Orders, read_orders
from protogw.workers.placing import Entering

log = logging.getLogger("protogw")


def main() -> None:
    sock = socket.socket(fileno=int(sys.argv[1]))
    orders = read_orders(sock)
    program_log.set_up(json=orders.log_json, colour=orders.log_colour, level=orders.level)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_Named(orders.index))
    run(lambda: _serve(sock, orders))


class _Named(logging.Filter):
    """Says in each line whose it is."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self._index = index

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = f"worker {self._index}: {record.msg}"
        return True


async def _serve(sock: socket.socket, orders: Orders) -> None:
    channel = await Channel.over(sock)
    asking, entering = Asking(channel), Entering(channel, orders.workers)
    try:
        config = configured(KINDS).model_validate(orders.data)
    except ValidationError as error:
        # The supervisor has found it in order, so it is a file that is read for it and has changed since.
        faults = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False)]
        channel.send({"failed": "\n".join(faults)})
        raise SystemExit(1) from None
    config.lies_in(orders.folder)
    part = Part(
        index=orders.index,
        admin=orders.admin,
        log_lock=orders.log_lock,
        counters=NodeCounters(asking, orders.workers, places=entering),
    )

    async def started(_: Gateway) -> None:
        channel.send({"ready": orders.index})

    serving = Serving(config, started=started, part=part)

    async def listen() -> None:
        async for message in channel.messages():
            if "took" in message:
                asking.answered(message)
            elif "entered" in message:
                entering.answered(message)
        # Without a supervisor nobody starts anybody anew, and the port must be free for the next.
        asking.gone()
        entering.gone()
        log.warning("the supervisor is gone: stopping")
        serving.stop()

    listening = asyncio.get_running_loop().create_task(listen(), name="supervisor")
    try:
        await serving.run()
    except CommandFailed as error:
        channel.send({"failed": str(error)})
        raise SystemExit(1) from None
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        channel.close()


if __name__ == "__main__":
    main()
