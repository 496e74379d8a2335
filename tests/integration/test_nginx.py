"""nginx in front of the gateway: as the gRPC proxy and the HTTP proxy that many already run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.support import kit
from tests.support.backend import Backend
from tests.support.processes import free_port, require_tool, running
from tests.support.raw import Http1

CODEC = {"request_serializer": kit.Message.SerializeToString, "response_deserializer": kit.Message.FromString}


@pytest.fixture(scope="module")
def in_front(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """nginx's gRPC port and its HTTP port."""
    nginx = require_tool("nginx")
    folder = tmp_path_factory.mktemp("nginx")
    grpc_port, http_port = free_port(), free_port()
    temp = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"""
        {"user root;" if os.geteuid() == 0 else ""} daemon off; worker_processes 1; pid {folder}/pid;
        error_log {folder}/error.log; events {{ }}
        http {{
          access_log off; {temp}
          upstream gateway_grpc {{ server 127.0.0.1:{port}; keepalive 4; }}
          upstream gateway_http {{ server 127.0.0.1:{port}; keepalive 4; }}
          server {{ listen 127.0.0.1:{grpc_port} http2; location / {{ grpc_pass grpc://gateway_grpc; }} }}
          server {{
            listen 127.0.0.1:{http_port};
            location / {{
              proxy_pass http://gateway_http; proxy_http_version 1.1; proxy_set_header Connection "";
              proxy_buffering off;
            }}
          }}
        }}
        """
    )
    with running([nginx, "-e", str(folder / "start.log"), "-c", str(config)], port=grpc_port):
        yield grpc_port, http_port


def test_every_grpc_shape_through_grpc_pass(in_front: tuple[int, int], service: Backend) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{in_front[0]}") as channel:
        path = f"/{kit.SERVICE}/"
        assert channel.unary_unary(path + "Unary", **CODEC)(kit.message("a"), timeout=10).text == "a"
        down = channel.unary_stream(path + "Down", **CODEC)(kit.message(count=200, size=1000), timeout=10)
        assert sum(1 for _ in down) == 200
        up = channel.stream_unary(path + "Up", **CODEC)((kit.message(number=n) for n in range(50)), timeout=10)
        assert up.number == sum(range(50))
        chat = channel.stream_stream(path + "Chat", **CODEC)((kit.message(f"{n}") for n in range(50)), timeout=10)
        assert [one.text for one in chat] == [f"{n}" for n in range(50)]


def test_a_status_and_trailers_survive_grpc_pass(in_front: tuple[int, int], service: Backend) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{in_front[0]}") as channel:
        unary = channel.unary_unary(f"/{kit.SERVICE}/Unary", **CODEC)
        with pytest.raises(grpc.RpcError) as caught:
            unary(kit.message(fail_code=9, fail_message="no"), timeout=10)
        assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "no")
        _, call = unary.with_call(kit.message(), timeout=10)
        assert dict(call.trailing_metadata())["x-trail"] == "t"


def test_rest_through_proxy_pass_on_kept_connections(in_front: tuple[int, int], service: Backend) -> None:
    client = Http1(in_front[1])
    for number in range(50):
        client.request("POST", "/v1/echo", [("content-type", "application/json")], b'{"number": %d}' % number)
        assert client.head() == 200
        assert json.loads(client.body()).get("number", "0") == f"{number}"
    client.close()


def test_a_client_that_leaves_nginx_cancels_the_service(in_front: tuple[int, int], service: Backend) -> None:
    client = Http1(in_front[1]).request(
        "POST", "/v1/echo", [("content-type", "application/json")], b'{"plan": {"hang": true}}'
    )
    service.counts.wait(lambda counts: counts.open == 1)
    client.abandon()
    service.counts.wait(lambda counts: counts.cancelled == 1)


def test_a_server_stream_passes_nginx_as_it_comes(in_front: tuple[int, int], service: Backend, tmp_path: Path) -> None:
    client = Http1(in_front[1]).request(
        "POST",
        "/v1/down",
        [("content-type", "application/json"), ("accept", "application/x-ndjson")],
        b'{"plan": {"count": 2, "hang": true}}',
    )
    assert client.head() == 200
    assert json.loads(next(client.pieces())).get("index", 0) == 0
    client.abandon()
    service.counts.wait(lambda counts: counts.cancelled == 1)
