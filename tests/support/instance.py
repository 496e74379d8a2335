"""An instance of the kit service as a process: says which it is. `python -m tests.support.instance HOST PORT`."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from tests.support import kit
from tests.support.processes import ROOT, Program, free_port


def main(host: str, port: str) -> None:
    def unary(request: Any, _: grpc.ServicerContext) -> Any:
        time.sleep(request.plan.delay_ms / 1000)
        return kit.message(host)

    codec = {"request_deserializer": kit.Message.FromString, "response_serializer": kit.Message.SerializeToString}
    server = grpc.server(ThreadPoolExecutor(16), options=(("grpc.so_reuseport", 0),))
    handlers = {"Unary": grpc.unary_unary_rpc_method_handler(unary, **codec)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(kit.SERVICE, handlers),))
    server.add_insecure_port(f"{host}:{port}")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    server.start()
    print("serving", flush=True)
    stop.wait()
    server.stop(5).wait()


@contextlib.contextmanager
def instances(*hosts: str) -> Iterator[tuple[int, dict[str, Program]]]:
    """An instance on each of these loopback addresses, all on one port."""
    port = free_port()
    made = {
        host: Program([sys.executable, "-m", "tests.support.instance", host, str(port)], cwd=Path(ROOT))
        for host in hosts
    }
    try:
        for program in made.values():
            end = time.monotonic() + 30
            while "serving" not in program.output:
                assert program.running, program.output
                assert time.monotonic() < end, "an instance does not start"
                time.sleep(0.02)
        yield port, made
    finally:
        for program in made.values():
            program.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
