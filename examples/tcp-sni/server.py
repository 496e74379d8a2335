"""Two HTTPS servers, each with a certificate of its own for one name, and a UDP echo.

python server.py [PORT OF A] [PORT OF B] [PORT OF THE ECHO] [FOLDER FOR CERTIFICATES]
"""

from __future__ import annotations

import socketserver
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def certificate(folder: Path, name: str, host: str) -> tuple[Path, Path]:
    """A certificate that vouches for itself, made by openssl."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "7"]
    argv += ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(argv, check=True, capture_output=True)
    return cert, key


def secure(port: int, text: str, cert: Path, key: Path) -> ThreadingHTTPServer:
    class Say(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"this is {text}\n".encode())

        def log_message(self, *_: object) -> None:
            """Keep the terminal quiet."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server = ThreadingHTTPServer(("127.0.0.1", port), Say)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, sock = self.request
        sock.sendto(data, self.client_address)


def main() -> None:
    given = sys.argv[1:]
    a, b, echo = (int(given[n]) if len(given) > n else port for n, port in enumerate((9001, 9002, 9007)))
    folder = Path(given[3] if len(given) > 3 else "certs")
    folder.mkdir(exist_ok=True)
    # Bound first: who finds the others listening finds this one too.
    with socketserver.UDPServer(("127.0.0.1", echo), Echo) as datagrams:
        for port, name, host in ((a, "a", "a.example"), (b, "b", "shop.b.example")):
            server = secure(port, host, *certificate(folder, name, host))
            threading.Thread(target=server.serve_forever, daemon=True).start()
        datagrams.serve_forever()


if __name__ == "__main__":
    main()
