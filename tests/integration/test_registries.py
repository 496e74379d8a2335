"""Addresses out of Kubernetes and Consul, before real gRPC servers: followed as they change, under load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.integration.test_discovery import SCHEMAS, A, B, C, loaded, pool
from tests.support import kit
from tests.support.gateway import config_of, gateway
from tests.support.instance import instances
from tests.support.processes import until
from tests.support.registries import FakeConsul, FakeKubernetes, apart, instance, pod


def test_pods_come_and_go_without_a_failed_call(tmp_path: Path) -> None:
    kubernetes = FakeKubernetes()
    with instances(A, B, C) as (port, programs), apart(kubernetes.app) as (server, run):
        at = [{"name": "grpc", "protocol": "TCP", "port": port}]
        run(kubernetes.put("orders-a", pod(A), ports=at))
        upstream: dict[str, Any] = {"grpc": "kubernetes://shop/orders:grpc", "schema": str(kit.PROTO)}
        upstream["discovery"] = {"server": f"http://{server}", "refuse": []}
        with gateway(config_of({"kit": upstream}), tmp_path, SCHEMAS) as running, loaded(running.port) as load:
            until(lambda: load.only(A), 20, "calls to A")
            run(kubernetes.put("orders-b", pod(B), ports=at))
            until(lambda: load.only(A, B), 20, "calls to A and B")
            run(kubernetes.put("orders-a", pod(A, ready=False), pod(C), ports=at))
            until(lambda: load.only(B, C), 20, "calls to B and C")
            programs[A].stop()
            run(kubernetes.cut(forget=True))
            run(kubernetes.delete("orders-b"))
            until(lambda: load.only(C), 20, "calls to C")
            programs[B].stop()
            until(lambda: load.only(C), 20)
            load.stop()
            assert load.failures == []


def test_instances_come_and_go_without_a_failed_call(tmp_path: Path) -> None:
    consul = FakeConsul()
    with instances(A, B) as (port, programs), apart(consul.app) as (server, run):
        run(consul.put("orders", instance(A, port)))
        upstream = {"grpc": f"consul://{server}/orders", "schema": str(kit.PROTO), "discovery": {"refuse": []}}
        with gateway(config_of({"kit": upstream}), tmp_path, SCHEMAS) as running, loaded(running.port) as load:
            until(lambda: load.only(A), 20, "calls to A")
            run(consul.put("orders", instance(A, port), instance(B, port)))
            until(lambda: load.only(A, B), 20, "calls to A and B")
            run(consul.put("orders", instance(B, port)))  # A's check is critical
            until(lambda: load.only(B), 20, "calls to B")
            programs[A].stop()
            run(consul.put("orders"))
            part = running.gateway.followings["kit"].parts[0]
            until(lambda: part.error != "", 20, "an empty answer")
            assert (part.error, pool(running)) == ("there are no addresses", [f"{B}:{port}"])
            until(lambda: load.only(B), 20, "calls to B as before")
            load.stop()
            assert load.failures == []
