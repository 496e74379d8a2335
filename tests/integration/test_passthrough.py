"""Real services and their own clients through raw listeners: Redis, DNS, TLS by name, and proxies before and behind."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.certificates import Authority, Pair
from tests.support.gateway import Serving, config_of, serving
from tests.support.processes import Program, free_port, require_tool, run, running, until

_NGINX_USER = "user root;" if os.geteuid() == 0 else ""


class Tls(NamedTuple):
    authority: Authority
    a: Pair
    b: Pair


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    authority = Authority(tmp_path_factory.mktemp("tls"), "passthrough")
    return Tls(
        authority,
        authority.issue("a", names=["a.example", "127.0.0.1", "localhost"]),
        authority.issue("b", names=["shop.b.example"]),
    )


# --- Redis ------------------------------------------------------------------------------------------------------------


class Redis(NamedTuple):
    plain: int
    secure: int


@pytest.fixture(scope="module")
def redis(tls: Tls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    ports = Redis(free_port(), free_port())
    folder = tmp_path_factory.mktemp("redis")
    options = {
        "--port": ports.plain,
        "--tls-port": ports.secure,
        "--tls-cert-file": tls.a.cert,
        "--tls-key-file": tls.a.key,
        "--tls-ca-cert-file": tls.authority.path,
        "--tls-auth-clients": "no",
        "--bind": "127.0.0.1",
        "--save": "",
        "--dir": folder,
    }
    argv = [require_tool("redis-server"), *(str(word) for option in options.items() for word in option)]
    with running(argv, port=ports.plain) as program:
        program.wait_for_port(ports.secure)
        yield ports


@pytest.fixture(scope="module")
def before_redis(redis: Redis, tls: Tls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, Redis]]:
    """A gateway with a plain listener before Redis's plain port, one that ends TLS, and one that begins it."""
    begun = free_port()
    config = config_of(
        {
            "redis": {"tcp": [f"127.0.0.1:{redis.plain}"], "balance": "least_connections"},
            "secure": {"tcp": [f"127.0.0.1:{redis.secure}"], "tls": {"ca": str(tls.authority.path)}},
        },
        listener={"tcp": "redis"},
    )
    ended = free_port()
    config["listeners"] |= {
        "ended": {
            "address": f"127.0.0.1:{ended}",
            "tcp": "redis",
            "tls": {"cert": str(tls.a.cert), "key": str(tls.a.key)},
        },
        "begun": {"address": f"127.0.0.1:{begun}", "tcp": "secure"},
    }
    with serving(config, tmp_path_factory.mktemp("before-redis")) as made:
        made.wait_for_port(ended)
        made.wait_for_port(begun)
        yield made, Redis(begun, ended)


def redis_cli(port: int, *words: str, ca: Path | None = None) -> str:
    secure = () if ca is None else ("--tls", "--cacert", str(ca))
    argv = [require_tool("redis-cli"), "-h", "127.0.0.1", "-p", str(port), *secure, *words]
    return run(argv).decode().strip()


def test_redis_answers_its_own_client(before_redis: tuple[Serving, Redis]) -> None:
    gateway, _ = before_redis
    assert redis_cli(gateway.port, "set", "plain", "x" * 100_000) == "OK"
    assert redis_cli(gateway.port, "get", "plain") == "x" * 100_000


def test_redis_speaks_tls_through_a_listener_that_ends_it(before_redis: tuple[Serving, Redis], tls: Tls) -> None:
    gateway, ports = before_redis
    assert redis_cli(ports.secure, "set", "ended", "y" * 100_000, ca=tls.authority.path) == "OK"
    assert redis_cli(gateway.port, "get", "ended") == "y" * 100_000


def test_tls_is_begun_towards_redis(before_redis: tuple[Serving, Redis]) -> None:
    _, ports = before_redis
    assert redis_cli(ports.plain, "set", "begun", "z" * 100_000) == "OK"
    assert redis_cli(ports.plain, "get", "begun") == "z" * 100_000


def test_many_redis_clients_at_once(before_redis: tuple[Serving, Redis]) -> None:
    gateway, _ = before_redis
    argv = [require_tool("redis-benchmark"), "-h", "127.0.0.1", "-p", str(gateway.port)]
    shown = run([*argv, "-c", "50", "-n", "5000", "-t", "set,get", "-d", "1024", "-q"]).decode()
    assert len(re.findall(r"[0-9.]+ requests per second", shown)) >= 2, shown


def test_a_handshake_that_fails_harms_nobody(before_redis: tuple[Serving, Redis], tls: Tls) -> None:
    _, ports = before_redis
    with socket.create_connection(("127.0.0.1", ports.secure), 5) as plain:
        plain.sendall(b"PING\r\n")
        plain.settimeout(5)
        assert plain.recv(7) == b""
    assert redis_cli(ports.secure, "ping", ca=tls.authority.path) == "PONG"


# --- DNS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A gateway's port before dnsmasq, for UDP and TCP alike."""
    behind, port = free_port(), free_port()
    argv = [require_tool("dnsmasq"), "--no-daemon", f"--port={behind}", "--no-resolv", "--no-hosts", "--conf-file="]
    argv += ["--listen-address=127.0.0.1", "--bind-interfaces", "--address=/a.example/192.0.2.7", "--user=", "--group="]
    argv += [f"--txt-record=long.example,{','.join([chr(97 + number) * 250 for number in range(8)])}"]
    config = config_of(
        {"over_udp": {"udp": [f"127.0.0.1:{behind}"]}, "over_tcp": {"tcp": [f"127.0.0.1:{behind}"]}},
        listener={"tcp": "over_tcp"},
    )
    config["listeners"] |= {
        "dns": {"address": f"0.0.0.0:{port}", "udp": "over_udp"},
        "dns_tcp": {"address": f"0.0.0.0:{port}", "tcp": "over_tcp"},
    }
    with running(argv, port=behind), serving(config, tmp_path_factory.mktemp("resolver")) as gateway:
        gateway.wait_for_port(port)
        yield port


def dig(port: int, *words: str, server: str = "127.0.0.1") -> str:
    return run([require_tool("dig"), f"@{server}", "-p", str(port), "+tries=1", "+timeout=5", *words]).decode()


def test_dig_gets_its_answer_over_udp(resolver: int) -> None:
    assert dig(resolver, "a.example", "+short").strip() == "192.0.2.7"


def test_dig_takes_an_answer_from_the_address_that_it_asked_only(resolver: int) -> None:
    """The listener has a wildcard address; dig warns of a reply from an unexpected source, and waits on."""
    shown = dig(resolver, "a.example", "+noall", "+answer", "+comments", server="127.0.0.5")
    assert "192.0.2.7" in shown
    assert "unexpected source" not in shown


def test_a_long_answer_comes_whole_over_udp_and_after_truncation_over_tcp(resolver: int) -> None:
    assert "hhhh" in dig(resolver, "long.example", "txt", "+short", "+bufsize=4096", "+notcp")
    truncated = dig(resolver, "long.example", "txt", "+bufsize=512")
    assert "hhhh" in truncated
    assert "Truncated, retrying in TCP mode" in truncated


def test_dig_over_tcp_on_the_same_port(resolver: int) -> None:
    assert dig(resolver, "a.example", "+short", "+tcp").strip() == "192.0.2.7"


# --- TLS by name ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_name(tls: Tls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A gateway's port before two nginx servers, each with a certificate of its own."""
    folder = tmp_path_factory.mktemp("nginx")
    ports = free_port(), free_port()
    with (
        nginx(folder, _secure(ports[0], tls.a, "this is a") + _secure(ports[1], tls.b, "this is b"), ports[0]),
        serving(
            config_of(
                {"web_a": {"tcp": f"127.0.0.1:{ports[0]}"}, "web_b": {"tcp": f"127.0.0.1:{ports[1]}"}},
                listener={"tcp": {"sni": {"a.example": "web_a", "*.b.example": "web_b"}}},
            ),
            tmp_path_factory.mktemp("by-name"),
        ) as gateway,
    ):
        yield gateway.port


def _secure(port: int, pair: Pair, text: str) -> str:
    return f"""server {{
        listen 127.0.0.1:{port} ssl http2; ssl_certificate {pair.cert}; ssl_certificate_key {pair.key};
        location / {{ return 200 "{text} over $server_protocol\\n"; }}
    }}"""


def nginx(folder: Path, servers: str, port: int, modules: str = "") -> Program:
    temp = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"{_NGINX_USER} daemon off; worker_processes 1; pid {folder}/pid; error_log stderr warn; events {{}} "
        f"http {{ access_log off; {temp} {servers} }}"
    )
    return running([require_tool("nginx"), "-e", "stderr", "-c", str(config)], port=port)  # type: ignore[return-value]


def curl(port: int, name: str, tls: Tls) -> str:
    argv = [require_tool("curl"), "-sS", "--max-time", "10", "--cacert", str(tls.authority.path)]
    return run([*argv, "--resolve", f"{name}:{port}:127.0.0.1", f"https://{name}:{port}/"]).decode()


def test_each_name_reaches_the_server_whose_certificate_it_wants(by_name: int, tls: Tls) -> None:
    """curl verifies both certificates: TLS is the servers', and so is the choice of HTTP/2."""
    assert curl(by_name, "a.example", tls) == "this is a over HTTP/2.0\n"
    assert curl(by_name, "shop.b.example", tls) == "this is b over HTTP/2.0\n"


@pytest.mark.parametrize("name", [("-servername", "c.example"), ("-noservername",)])
def test_openssl_is_told_that_nobody_has_the_name(by_name: int, name: tuple[str, ...]) -> None:
    argv = [require_tool("openssl"), "s_client", "-connect", f"127.0.0.1:{by_name}", *name]
    done = subprocess.run(argv, input=b"", capture_output=True, timeout=20, check=False)
    assert done.returncode != 0
    assert b"unrecognized name" in done.stderr


# --- proxies before and behind ----------------------------------------------------------------------------------------


def test_an_address_travels_from_haproxy_through_the_gateway_to_nginx(tmp_path: Path) -> None:
    """HAProxy tells us by version 2 who its client is, and we tell nginx, by version 2 and by version 1."""
    front, other, behind = free_port(), free_port(), free_port()
    server = (
        f"server {{ listen 127.0.0.1:{behind} proxy_protocol; location / {{ "
        'return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_port"; } }'
    )
    config = config_of(
        {
            "v2": {"tcp": f"127.0.0.1:{behind}", "proxy_protocol": "v2"},
            "v1": {"tcp": f"127.0.0.1:{behind}", "proxy_protocol": "v1"},
        },
        listener={"tcp": "v2", "proxy_protocol": True, "trusted_proxies": "127.0.0.0/8"},
    )
    second = free_port()
    config["listeners"]["second"] = {**config["listeners"]["public"], "address": f"127.0.0.1:{second}", "tcp": "v1"}
    (tmp_path / "gateway").mkdir()
    gateway = Serving(config, tmp_path / "gateway")
    try:
        until(lambda: "admin" in gateway.output or "listening" in gateway.output, 20, "the gateway's start")
        haproxy = tmp_path / "haproxy.cfg"
        haproxy.write_text(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 10s\n timeout server 10s\n"
            f"listen v2\n bind 127.0.0.1:{front}\n server gw 127.0.0.1:{gateway.port} send-proxy-v2\n"
            f"listen v1\n bind 127.0.0.1:{other}\n server gw 127.0.0.1:{second} send-proxy\n"
        )
        with (
            nginx(tmp_path, server, behind),
            running([require_tool("haproxy"), "-db", "-f", str(haproxy)], port=front) as program,
        ):
            program.wait_for_port(other)
            for port in (front, other):
                with socket.create_connection(("127.0.0.1", port), 5) as client:
                    client.settimeout(10)
                    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    answer = b"".join(iter(lambda client=client: client.recv(65536), b""))  # type: ignore[misc]
                    own = client.getsockname()
                assert answer.endswith(f"\r\n\r\n{own[0]} {own[1]} {port}".encode())
    finally:
        gateway.stop()


def test_an_http_listener_believes_haproxy_too(tmp_path: Path) -> None:
    front, behind = free_port(), free_port()
    server = f'server {{ listen 127.0.0.1:{behind}; location / {{ return 200 "$http_x_forwarded_for"; }} }}'
    config = config_of(
        {"web": {"http": f"http://127.0.0.1:{behind}"}},
        listener={"proxy_protocol": True, "trusted_proxies": "127.0.0.1"},
        routes=[{"match": {"path": "/**"}, "to": "web"}],
    )
    gateway = Serving(config, tmp_path)
    try:
        until(lambda: "listening" in gateway.output, 20, "the gateway's start")
        haproxy = tmp_path / "haproxy.cfg"
        haproxy.write_text(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 10s\n timeout server 10s\n"
            f"listen v2\n bind 127.0.0.1:{front}\n server gw 127.0.0.1:{gateway.port} send-proxy-v2\n"
        )
        argv = [require_tool("haproxy"), "-db", "-f", str(haproxy)]
        with nginx(tmp_path, server, behind), running(argv, port=front):
            shown = run([require_tool("curl"), "-sS", "--interface", "127.0.0.77", f"http://127.0.0.1:{front}/"])
            assert shown == b"127.0.0.77"
        with socket.create_connection(("127.0.0.1", gateway.port), 5) as direct:
            direct.settimeout(5)
            direct.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                direct.recv(100)
    finally:
        gateway.stop()


# --- the process ------------------------------------------------------------------------------------------------------


class Sink:
    """A service on a thread: reads each connection to its end, slowly if asked, and answers with what it got."""

    def __init__(self, pause: threading.Event | None = None) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._pause = pause
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        connection, _ = self._server.accept()
        with connection:
            if self._pause is not None:
                self._pause.wait(30)
            digest, size = hashlib.sha256(), 0
            while data := connection.recv(1 << 18):
                digest.update(data)
                size += len(data)
            connection.sendall(f"{size} {digest.hexdigest()}".encode())

    def close(self) -> None:
        self._thread.join(30)
        self._server.close()


def test_a_slow_reader_costs_no_memory_and_loses_nothing(tmp_path: Path) -> None:
    reads = threading.Event()
    sink = Sink(reads)
    piece = os.urandom(1 << 20)
    count = 128
    config = config_of({"sink": {"tcp": f"127.0.0.1:{sink.port}"}}, listener={"tcp": "sink"})
    gateway = Serving(config, tmp_path)
    try:
        until(lambda: "listening" in gateway.output, 20, "the gateway's start")
        with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
            client.settimeout(1)
            before = gateway.rss()
            sent = 0
            while (more := _sent(client, piece[sent % len(piece) :])) > 0:
                sent += more
                assert sent < count << 20, "nothing holds the writer up"
            client.settimeout(30)
            reads.set()
            while sent < count << 20:
                sent += client.send(piece[sent % len(piece) :])
            client.shutdown(socket.SHUT_WR)
            digest = hashlib.sha256()
            for _ in range(count):
                digest.update(piece)
            assert client.recv(200).decode() == f"{count << 20} {digest.hexdigest()}"
            assert gateway.rss() - before < 8 << 20
    finally:
        gateway.stop()
        sink.close()


def _sent(client: socket.socket, data: bytes) -> int:
    """How much of it the gateway takes; 0 when it takes nothing for a while."""
    try:
        return client.send(data)
    except TimeoutError:
        return 0


def test_sigterm_lets_a_connection_finish(tmp_path: Path) -> None:
    sink = Sink()
    config = config_of(
        {"sink": {"tcp": f"127.0.0.1:{sink.port}"}},
        listener={"tcp": "sink"},
        access_log={"format": "json", "path": str(tmp_path / "access.log")},
    )
    gateway = Serving(config, tmp_path)
    try:
        until(lambda: "listening" in gateway.output, 20, "the gateway's start")
        with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
            client.settimeout(10)
            client.sendall(b"first")
            gateway.signal(signal.SIGTERM)
            until(lambda: "stopping" in gateway.output, 10, "the drain")
            client.sendall(b" and last")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(200).startswith(b"14 ")
        assert gateway.wait() == 0
        assert '"ended":"closed"' in (tmp_path / "access.log").read_text()
    finally:
        gateway.stop()
        sink.close()
