"""The service: one grpcio stream for everybody, which knows nothing of sockets; and the page that talks to it."""

import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc

# grpcio-tools compiles the proto on import; a build step with protoc does as well.
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
pb, services = grpc.protos_and_services("chat.proto")


class Chat(services.ChatServicer):
    def Talk(self, request_iterator, context):
        rooms = {}  # room → client → name
        for said in request_iterator:
            present = rooms.setdefault(said.room, {})
            if said.event == pb.JOINED:
                present[said.client] = ""
                yield pb.Heard(room=said.room, text="somebody came", present=len(present))
            elif said.event == pb.LEFT:
                name = present.pop(said.client, "")
                yield pb.Heard(room=said.room, text=f"{name or 'somebody'} left", present=len(present))
            else:
                present[said.client] = said.name
                heard = pb.Heard(room=said.room, name=said.name, text=said.text, present=len(present))
                if said.whisper_to:
                    heard.clients.extend(client for client, name in present.items() if name == said.whisper_to)
                    heard.clients.append(said.client)
                yield heard


class Page(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def main():
    port, page = map(int, (sys.argv[1:] + ["50051", "8000"][len(sys.argv) - 1 :])[:2])
    server = grpc.server(ThreadPoolExecutor(4))
    services.add_ChatServicer_to_server(Chat(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    pages = ThreadingHTTPServer(("127.0.0.1", page), partial(Page, directory=str(HERE / "page")))
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    print(f"chat on 127.0.0.1:{port}, its page on 127.0.0.1:{page}", flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    server.stop(None)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
