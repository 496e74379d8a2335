"""Bytes through a raw connection: `sink PORT` takes them and says how many came, anything else sends as it is ordered.

python -m benchmarks.streams sink PORT
python -m benchmarks.streams ORDER.json RESULT.json
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from pathlib import Path


def sink(port: int) -> None:
    """Read every connection to its end without keeping a byte, then answer with how many there were."""
    with socket.create_server(("127.0.0.1", port), backlog=256) as server:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_swallow, args=(connection,), daemon=True).start()


def _swallow(connection: socket.socket) -> None:
    buffer = bytearray(1 << 20)
    count = 0
    with connection:
        while size := connection.recv_into(buffer, len(buffer), socket.MSG_TRUNC):
            count += size
        connection.sendall(str(count).encode())


def send(port: int, writes: int, size: int, connections: int) -> dict[str, object]:
    """That many writes in all, shared by the connections; a connection whose bytes did not all arrive has failed."""
    shares = [writes // connections + (number < writes % connections) for number in range(connections)]
    done: list[tuple[int, float]] = []

    def work(share: int) -> None:
        block = b"x" * size
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", port), 30) as connection:
            for _ in range(share):
                connection.sendall(block)
            connection.shutdown(socket.SHUT_WR)
            whole = connection.recv(64) == str(share * size).encode()
        done.append((share if whole else 0, time.perf_counter() - began))

    threads = [threading.Thread(target=work, args=(share,)) for share in shares]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arrived = sum(share for share, _ in done)
    # The time that a connection had for each of its writes stands for a latency, which a stream has none of.
    latencies = [taken / max(1, writes // connections) for _, taken in done]
    return {
        "requests": arrived,
        "failed": writes - arrived,
        "wall_s": time.perf_counter() - began,
        "latencies": latencies,
    }


def main() -> None:
    if sys.argv[1] == "sink":
        sink(int(sys.argv[2]))
        return
    order = json.loads(Path(sys.argv[1]).read_text())
    result = send(order["port"], order["requests"], order["write"], order["connections"])
    Path(sys.argv[2]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
