"""The gateways that are measured, each in the configuration that costs it least for the job."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import shop
from benchmarks.backends import Backends
from benchmarks.processes import NGINX_USER, Program, Programs, free_port, tool

JOBS = ("rest", "grpc", "grpc-web", "connect", "http", "socket")
CHAINS = ("rest-chain", "http-chain")
"""The same jobs with an API key, a rate limit that nobody reaches, metrics, and an access log in a file."""
MANY = 1_000_000
"""Calls a second that the rate limit lets through."""

_FILTERS = "type.googleapis.com/envoy.extensions.filters.http."
_HTTP_OPTIONS = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class Peer:
    """One gateway: a port for each job it can do, and one process whose CPU time counts."""

    name = ""
    version = ""

    def __init__(self) -> None:
        self.ports: Mapping[str, int] = {}
        self.program: Program | Programs

    def stop(self) -> None:
        self.program.stop()


class Protogw(Peer):
    """This gateway: one port for every job, one process; and another process for what is measured with policies, for
    the access log is the whole gateway's."""

    name = "protogw"

    def __init__(self, folder: Path, backends: Backends) -> None:
        super().__init__()
        port, guarded = free_port(), free_port()
        jobs = dict.fromkeys((*JOBS, "graphql", "graphql-http"), port) | dict.fromkeys(CHAINS, guarded)
        self.ports = {**jobs, "tcp": free_port()}
        (folder / "shop.pb").write_bytes(shop.DESCRIPTOR_SET)
        bare = {
            "listeners": {
                "bench": {"address": f"127.0.0.1:{port}"},
                "raw": {"address": f"127.0.0.1:{self.ports['tcp']}", "tcp": "sink"},
            },
            "upstreams": {
                "shop": {"grpc": [f"127.0.0.1:{backends.grpc}"], "schema": "shop.pb"},
                "www": {"http": [f"http://127.0.0.1:{backends.http}"]},
                "echo": {"http": [f"http://127.0.0.1:{backends.socket}"]},
                "sink": {"tcp": [f"127.0.0.1:{backends.sink}"]},
                "shop_rest": {"rest": [f"127.0.0.1:{backends.http}"], "schema": "shop.pb"},
            },
            "routes": [
                {"match": {"path": "/raw/**"}, "to": "www"},
                {"match": {"path": "/socket"}, "to": "echo"},
                {"match": {"call": "shop.v1.Catalog/GetItem", "headers": {"x-over": "rest"}}, "to": "shop_rest"},
            ],
            "access_log": "off",
            "admin": "off",
        }
        chain = {
            "listeners": {"bench": {"address": f"127.0.0.1:{guarded}"}},
            "upstreams": {
                "shop": {"grpc": [f"127.0.0.1:{backends.grpc}"], "schema": "shop.pb"},
                "www": {"http": [f"http://127.0.0.1:{backends.http}"]},
            },
            "policies": {
                "keys": {"api_key": {"keys": [{"consumer": "bench", "key": shop.API_KEY}]}},
                "fair": {"rate_limit": {"rate": f"{MANY}/s", "by": "identity.consumer"}},
            },
            "use": ["keys", "fair"],
            "routes": [{"match": {"path": "/raw/**"}, "to": "www"}],
            "access_log": {"format": "json", "path": str(folder / "access.log")},
            "admin": f"127.0.0.1:{free_port()}",
        }
        programs = []
        for name, config in (("protogw", bare), ("protogw-chain", chain)):
            path = folder / f"{name}.yaml"
            path.write_text(json.dumps(config))
            programs.append(Program([sys.executable, "-m", "protogw", "serve", str(path)], folder, name))
        self.program = Programs(programs)
        for program, where in zip(programs, (port, guarded), strict=True):
            program.wait_for_port(where)


class Envoy(Peer):
    """Envoy with one worker; each job has a listener with only the filter that the job needs."""

    name = "Envoy"

    def __init__(self, folder: Path, backends: Backends) -> None:
        super().__init__()
        jobs = (*JOBS, *CHAINS)
        self.ports = {job: free_port() for job in jobs}
        (folder / "envoy.pb").write_bytes(shop.DESCRIPTOR_SET)
        filters: dict[str, list[dict[str, Any]]] = {
            "rest": [
                {
                    "@type": _FILTERS + "grpc_json_transcoder.v3.GrpcJsonTranscoder",
                    "proto_descriptor": str(folder / "envoy.pb"),
                    "services": ["shop.v1.Catalog"],
                    "convert_grpc_status": True,
                    "print_options": {"stream_newline_delimited": True},
                }
            ],
            "grpc": [],
            "grpc-web": [{"@type": _FILTERS + "grpc_web.v3.GrpcWeb"}],
            "connect": [{"@type": _FILTERS + "connect_grpc_bridge.v3.FilterConfig"}],
            "http": [],
            "socket": [],
        }
        for job in CHAINS:
            filters[job] = [*_chain(), *filters[job.removesuffix("-chain")]]
        clusters = {"http": "www", "http-chain": "www", "socket": "echo"}
        config = {
            "static_resources": {
                "listeners": [
                    _listener(
                        self.ports[job],
                        filters[job],
                        clusters.get(job, "shop"),
                        switches=job == "socket",
                        log=str(folder / "envoy-access.log") if job in CHAINS else None,
                    )
                    for job in jobs
                ],
                "clusters": [
                    _cluster("shop", backends.grpc, {_HTTP_OPTIONS: {"http2_protocol_options": {}}}),
                    _cluster("www", backends.http, {_HTTP_OPTIONS: {"http_protocol_options": {}}}),
                    _cluster("echo", backends.socket, {_HTTP_OPTIONS: {"http_protocol_options": {}}}),
                ],
            }
        }
        path = folder / "envoy.json"
        path.write_text(json.dumps(config))
        argv = [tool("envoy"), "-c", str(path), "--concurrency", "1", "-l", "error", "--disable-hot-restart"]
        self.program = Program(argv, folder, self.name)
        for port in self.ports.values():
            self.program.wait_for_port(port)


class Nginx(Peer):
    """nginx with one worker: gRPC → gRPC, HTTP → HTTP and WebSocket, which is all of it that it can do."""

    name = "nginx"

    def __init__(self, folder: Path, backends: Backends) -> None:
        super().__init__()
        self.ports = {"grpc": free_port(), "http": free_port(), "socket": free_port()}
        temp = " ".join(f"{kind}_temp_path {folder}/n-{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
        config = folder / "nginx.conf"
        config.write_text(
            f"""
            {NGINX_USER} daemon off; worker_processes 1; pid {folder}/nginx.pid;
            error_log {folder}/nginx-error.log warn; events {{ worker_connections 4096; }}
            http {{
              access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
              client_body_temp_path {folder}/n-body; {temp}
              upstream shop {{ server 127.0.0.1:{backends.grpc}; keepalive 64; keepalive_requests 1000000000; }}
              upstream www {{ server 127.0.0.1:{backends.http}; keepalive 64; keepalive_requests 1000000000; }}
              server {{
                listen 127.0.0.1:{self.ports["grpc"]} http2; http2_max_concurrent_streams 1000;
                location / {{ grpc_pass grpc://shop; }}
              }}
              server {{
                listen 127.0.0.1:{self.ports["http"]};
                location / {{ proxy_pass http://www; proxy_http_version 1.1; proxy_set_header Connection ""; }}
              }}
              server {{
                listen 127.0.0.1:{self.ports["socket"]};
                location / {{
                  proxy_pass http://127.0.0.1:{backends.socket}; proxy_http_version 1.1; proxy_read_timeout 1h;
                  proxy_set_header Connection upgrade; proxy_set_header Upgrade $http_upgrade;
                }}
              }}
            }}
            """
        )
        argv = [tool("nginx"), "-e", str(folder / "nginx-start.log"), "-c", str(config)]
        self.program = Program(argv, folder, self.name)
        for port in self.ports.values():
            self.program.wait_for_port(port)


class HAProxy(Peer):
    """HAProxy with one thread, splicing where that helps it: raw connections."""

    name = "HAProxy"

    def __init__(self, folder: Path, backends: Backends) -> None:
        super().__init__()
        self.ports = {"tcp": free_port()}
        config = folder / "haproxy.cfg"
        config.write_text(
            f"""
            global
              nbthread 1
              tune.pipesize 1048576
              maxpipes 64
              maxconn 1000
            defaults
              mode tcp
              option splice-request
              option splice-response
              timeout connect 5s
              timeout client 1h
              timeout server 1h
            listen raw
              bind 127.0.0.1:{self.ports["tcp"]}
              server sink 127.0.0.1:{backends.sink}
            """.rstrip(" ")
        )
        self.program = Program([tool("haproxy"), "-db", "-f", str(config)], folder, self.name)
        self.program.wait_for_port(self.ports["tcp"])


class NginxStream(Peer):
    """nginx with one worker and its stream module: raw connections."""

    name = "nginx stream"

    def __init__(self, folder: Path, backends: Backends) -> None:
        super().__init__()
        self.ports = {"tcp": free_port()}
        module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
        load = f"load_module {module};" if module.exists() else ""
        config = folder / "nginx-stream.conf"
        config.write_text(
            f"""
            {load} {NGINX_USER} daemon off; worker_processes 1; pid {folder}/nginx-stream.pid;
            error_log {folder}/nginx-stream-error.log warn; events {{ worker_connections 4096; }}
            stream {{
              server {{
                listen 127.0.0.1:{self.ports["tcp"]};
                proxy_pass 127.0.0.1:{backends.sink}; proxy_buffer_size 64k; proxy_half_close on;
              }}
            }}
            """
        )
        argv = [tool("nginx"), "-e", str(folder / "nginx-stream-start.log"), "-c", str(config)]
        self.program = Program(argv, folder, "nginx-stream")
        self.program.wait_for_port(self.ports["tcp"])


_TAILCALL_ITEM = """
enum Condition { CONDITION_UNSPECIFIED NEW USED }
type Item {
  name: String title: String stock: Int64 price: Float tags: [String!] condition: Condition digest: String updated: JSON
}
"""


class Tailcall(Peer):
    """Tailcall with one worker for each job, GraphQL in front of gRPC and of HTTP; `TAILCALL` names its program where
    that is not on the path."""

    name = "Tailcall"

    def __init__(self, folder: Path, backends: Backends) -> None:
        super().__init__()
        argv = shlex.split(os.environ.get("TAILCALL", "")) or [tool("tailcall")]
        self.ports = {"graphql": free_port(), "graphql-http": free_port()}
        # It knows no google.api annotations, which this job has no use for.
        (folder / "shop.proto").write_text(_without_annotations(shop.PROTO.read_text()))
        url = f"http://127.0.0.1:{backends.grpc}"
        configs = {
            "graphql": (
                '@upstream(http2Only: true) @link(id: "shop", src: "shop.proto", type: Protobuf)',
                f'@grpc(url: "{url}", method: "shop.v1.Catalog.GetItem", body: {{name: "{{{{.args.name}}}}"}})',
            ),
            "graphql-http": (
                "@upstream(httpCache: 0)",
                f'@http(url: "http://127.0.0.1:{backends.http}/v1/{{{{.args.name}}}}")',
            ),
        }
        programs = []
        for job, (upstream, resolver) in configs.items():
            config = folder / f"{job}.graphql"
            server = f'@server(port: {self.ports[job]}, hostname: "127.0.0.1", workers: 1)'
            config.write_text(
                f"schema {server} {upstream} {{ query: Query }}\n"
                f"type Query {{ getItem(name: String!): Item {resolver} }}\n{_TAILCALL_ITEM}"
            )
            programs.append(Program([*argv, "start", str(config)], folder, f"tailcall-{job}"))
        self.program = Programs(programs)
        for port, program in zip(self.ports.values(), programs, strict=True):
            program.wait_for_port(port)


def _without_annotations(proto: str) -> str:
    """The proto without its methods' options, and without the import that they need."""
    kept = proto.replace('import "google/api/annotations.proto";\n', "")
    return re.sub(r"\) \{\n.*?\n  \}\n", ");\n", kept, flags=re.DOTALL)


PEERS = (Protogw, Envoy, Nginx, HAProxy, NginxStream, Tailcall)


def _chain() -> list[dict[str, Any]]:
    """Envoy's filters for API keys and for a limit of calls; it counts without being asked."""
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return [
        {
            "@type": _FILTERS + "api_key_auth.v3.ApiKeyAuth",
            "credentials": [{"key": shop.API_KEY, "client": "bench"}],
            "key_sources": [{"header": "x-api-key"}],
        },
        {
            "@type": _FILTERS + "local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "limit",
            "token_bucket": {"max_tokens": MANY, "tokens_per_fill": MANY, "fill_interval": "1s"},
            "filter_enabled": always,
            "filter_enforced": always,
        },
    ]


def _listener(
    port: int, filters: list[dict[str, Any]], cluster: str, *, switches: bool = False, log: str | None = None
) -> dict[str, Any]:
    logger = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
    router = {"@type": _FILTERS + "router.v3.Router"}
    return {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "http",
                        "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.filters.network."
                            "http_connection_manager.v3.HttpConnectionManager",
                            "stat_prefix": "in",
                            "codec_type": "AUTO",
                            **(
                                {"access_log": [{"name": "file", "typed_config": {"@type": logger, "path": log}}]}
                                if log is not None
                                else {}
                            ),
                            **({"upgrade_configs": [{"upgrade_type": "websocket"}]} if switches else {}),
                            "route_config": {
                                "virtual_hosts": [
                                    {
                                        "name": "all",
                                        "domains": ["*"],
                                        "routes": [
                                            {"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "15s"}}
                                        ],
                                    }
                                ]
                            },
                            "http_filters": [
                                {"name": f"f{number}", "typed_config": one}
                                for number, one in enumerate([*filters, router])
                            ],
                        },
                    }
                ]
            }
        ],
    }


def _cluster(name: str, port: int, options: dict[str, dict[str, Any]]) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {
            kind.rpartition("/")[2].removeprefix("type."): {"@type": kind, "explicit_http_config": explicit}
            for kind, explicit in options.items()
        },
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
