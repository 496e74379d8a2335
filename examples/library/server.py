"""The service: an ordinary grpcio server that knows nothing of REST or of the gateway."""

import queue
import sys
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

# grpcio-tools compiles the proto on import; a build step with protoc does as well.
sys.path.insert(0, str(Path(__file__).parent))
pb, services = grpc.protos_and_services("library.proto")


class Library(services.LibraryServicer):
    def __init__(self):
        self._books = {}
        self._watchers = defaultdict(list)
        self._lock = threading.Lock()
        self._add("shelves/1", pb.Book(title="Middlemarch", author="George Eliot", isbn=9780141439549))
        self._add("shelves/1", pb.Book(title="Der Prozess", author="Franz Kafka", isbn=9783596709656))

    def _add(self, parent, book):
        with self._lock:
            book.name = f"{parent}/books/{len(self._books) + 1}"
            self._books[book.name] = book
            for watcher in self._watchers[parent]:
                watcher.put(book)
        return book

    def ListBooks(self, request, context):
        books = [book for name, book in self._books.items() if name.startswith(request.parent + "/")]
        return pb.ListBooksResponse(books=[book for book in books if request.author in book.author])

    def GetBook(self, request, context):
        if request.name not in self._books:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no book {request.name!r}")
        return self._books[request.name]

    def CreateBook(self, request, context):
        if not request.book.title:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "book.title: must not be empty")
        return self._add(request.parent, request.book)

    def WatchBooks(self, request, context):
        watcher = queue.SimpleQueue()
        self._watchers[request.parent].append(watcher)
        context.add_callback(lambda: watcher.put(None))
        context.send_initial_metadata(())
        yield from iter(watcher.get, None)
        self._watchers[request.parent].remove(watcher)


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 50051
    server = grpc.server(ThreadPoolExecutor(16))
    services.add_LibraryServicer_to_server(Library(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print(f"library on 127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
