"""What supervisor and workers say to each other, the ports they share, and what is shown of all of them."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from protogw.control.workers import merged
from protogw.paths import Written
from protogw.stores.base import Window
from protogw.stores.node import Gone, NodeCounters
from protogw.workers import ports
from protogw.workers.channel import Channel
from protogw.workers.counting import Asking, Counting
from protogw.workers.orders import Orders, read_orders, send_orders
from protogw.workers.ports import with_ports, workers_for


def orders(folder: Path) -> Orders:
    return Orders(
        index=1,
        workers=2,
        data={"upstreams": {"a": {"grpc": Written("127.0.0.1:1", folder)}}},
        folder=folder,
        admin="a.sock",
        log_lock="log",
        log_json=True,
        log_colour=False,
        level=20,
    )


def test_a_worker_is_told_the_config_as_it_was_read(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send_orders(ours, orders(tmp_path))
        told = read_orders(theirs)
    assert told == orders(tmp_path)
    assert told.data["upstreams"]["a"]["grpc"].folder == tmp_path


def test_a_worker_whose_supervisor_is_gone_ends() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs, pytest.raises(SystemExit):
        read_orders(theirs)


async def test_a_worker_counts_by_way_of_the_supervisor() -> None:
    ours, theirs = socket.socketpair()
    supervisor, worker = await Channel.over(ours), await Channel.over(theirs)
    counting, asking = Counting(), Asking(worker)

    async def supervise() -> None:
        async for message in supervisor.messages():
            supervisor.send(counting.answer(message))

    async def listen() -> None:
        async for message in worker.messages():
            asking.answered(message)
        asking.gone()

    tasks = [asyncio.get_running_loop().create_task(work) for work in (supervise(), listen())]
    store = NodeCounters(asking, 2)
    window = [Window(amount=3, per_s=3600.0, burst=3)]
    found = [(await store.take("ключ\n", 1, window))[0].allowed for _ in range(5)]
    assert found == [True] * 3 + [False] * 2
    supervisor.close()
    await tasks[1]
    with pytest.raises(Gone):
        await asking("k", 1, 1, window)
    # Alone it has its share of the limit, and starts anew.
    assert [(await store.take("ключ\n", 1, window))[0].allowed for _ in range(2)] == [False, False]
    assert (await store.take("other", 1, window))[0].allowed
    worker.close()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(
    ("text", "count"), [("200000 100000", 2), ("150000 100000", 2), ("max 100000", None), ("", None)]
)
def test_a_containers_quota_is_so_many_processors(tmp_path: Path, text: str, count: int | None) -> None:
    path = tmp_path / "cpu.max"
    path.write_text(text)
    assert ports._quota(path) == count
    assert ports._quota(tmp_path / "none") is None


def test_auto_is_at_least_one() -> None:
    assert workers_for("auto") >= 1
    assert workers_for(3) == 3


def test_a_chosen_port_takes_the_place_of_none() -> None:
    data = {"listeners": {"a": {"address": "127.0.0.1:0"}, "b": {"address": "[::1]:0", "tcp": "pg"}}, "drain": "1s"}
    assert with_ports(data, {"a": 8080, "b": 5432}) == {
        "listeners": {"a": {"address": "127.0.0.1:8080"}, "b": {"address": "[::1]:5432", "tcp": "pg"}},
        "drain": "1s",
    }


ONE = """# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{code="OK"} 5.0
calls_total{code="a\\"b}"} 1.0
# HELP open_connections Open.
# TYPE open_connections gauge
open_connections 3.0
# HELP seconds Time.
# TYPE seconds histogram
seconds_bucket{le="1.0"} 2.0
seconds_bucket{le="+Inf"} 3.0
seconds_count 3.0
seconds_sum 1.5
"""


def test_metrics_of_all_workers_are_one_text_that_prometheus_reads() -> None:
    families = {family.name: family for family in text_string_to_metric_families(merged({0: ONE, 3: ONE}))}
    assert set(families) == {"calls", "open_connections", "seconds"}
    assert {sample.labels["worker"] for family in families.values() for sample in family.samples} == {"0", "3"}
    assert len(families["calls"].samples) == 4
    assert len(families["seconds"].samples) == 8
    assert families["calls"].samples[1].labels == {"code": 'a"b}', "worker": "0"}
