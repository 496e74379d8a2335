"""What stands behind every peer: nginx with canned gRPC replies, a stream of messages, and canned JSON; an echo of
WebSocket messages; a sink of bytes."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import shop
from benchmarks.processes import NGINX_USER, Program, free_port, tool

_NGINX = """
{user} daemon off; worker_processes 1; pid {folder}/backend.pid; error_log {folder}/backend-error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; client_max_body_size 0; sendfile off;
  open_file_cache max=100 inactive=1h; open_file_cache_valid 1h;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{grpc} http2; root {folder}/www; http2_max_concurrent_streams 1000;
    default_type application/grpc; add_trailer grpc-status 0 always; error_page 405 =200 $uri;
    # A gRPC server names no length, tag or date of a file: the filter that never matches takes the length away.
    sub_filter never-in-a-message x; sub_filter_types application/grpc;
    etag off; max_ranges 0; add_header last-modified "";
  }}
  server {{
    listen 127.0.0.1:{http};
    location / {{ default_type application/json; return 200 '{json}'; }}
  }}
}}
"""


class Backends:
    """The backends' ports and their processes."""

    def __init__(self, folder: Path) -> None:
        self.grpc, self.http, self.socket, self.sink = free_port(), free_port(), free_port(), free_port()
        www = folder / "www" / "shop.v1.Catalog"
        www.mkdir(parents=True)
        item = shop.framed(shop.ITEM)
        (www / "GetItem").write_bytes(item)
        (www / "PutItem").write_bytes(item)
        (www / "PutPage").write_bytes(shop.framed(shop.PAGE))
        (www / "StreamItems").write_bytes(item * shop.STREAMED)
        config = folder / "backend.conf"
        json = shop.text(shop.ITEM).decode().replace("'", "\\'")
        config.write_text(_NGINX.format(user=NGINX_USER, folder=folder, grpc=self.grpc, http=self.http, json=json))
        self.program = Program([tool("nginx"), "-e", str(folder / "start.log"), "-c", str(config)], folder, "backend")
        self.program.wait_for_port(self.grpc)
        self.program.wait_for_port(self.http)
        self.echo = Program([sys.executable, "-m", "benchmarks.sockets", "echo", str(self.socket)], folder, "echo")
        self.echo.wait_for_port(self.socket)
        self.swallow = Program([sys.executable, "-m", "benchmarks.streams", "sink", str(self.sink)], folder, "sink")
        self.swallow.wait_for_port(self.sink)

    def stop(self) -> None:
        self.program.stop()
        self.echo.stop()
        self.swallow.stop()
