"""What the sample library keeps: shelves and books in memory, behind one lock. Knows no gRPC."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from google.api import httpbody_pb2
from google.protobuf import timestamp_pb2

from protogw.demo import library_pb2 as pb

Watcher = queue.SimpleQueue[pb.BookEvent | None]

_PIXEL = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
    b"\x00\x00\x00\rIDATx\xdac\xfc\xcf\xc0P\x0f\x00\x04\x85\x01\x80\x84\xa9\x8c!\x00\x00\x00\x00IEND\xaeB`\x82"
)


class Absent(KeyError):
    """No shelf or book of this name."""


class Taken(ValueError):
    """The name is already in use."""


class NotEmpty(ValueError):
    """The shelf still holds books."""


def _stamp(year: int, month: int = 1, day: int = 1) -> timestamp_pb2.Timestamp:
    stamp = timestamp_pb2.Timestamp()
    stamp.FromJsonString(f"{year:04}-{month:02}-{day:02}T00:00:00Z")
    return stamp


def now() -> timestamp_pb2.Timestamp:
    stamp = timestamp_pb2.Timestamp()
    stamp.FromNanoseconds(time.time_ns())
    return stamp


class Books:
    """Shelves, books and covers by name; every change is told to the watchers of the book's shelf."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shelves: dict[str, pb.Shelf] = {}
        self._books: dict[str, pb.Book] = {}
        self._covers: dict[str, httpbody_pb2.HttpBody] = {}
        self._watchers: dict[str, list[Watcher]] = {}
        self._numbers = iter(range(1, 1 << 62))

    def shelves(self) -> list[pb.Shelf]:
        with self._lock:
            return list(self._shelves.values())

    def shelf(self, name: str) -> pb.Shelf:
        with self._lock:
            return self._shelf(name)

    def add_shelf(self, shelf: pb.Shelf, shelf_id: str = "") -> pb.Shelf:
        with self._lock:
            made = pb.Shelf(theme=shelf.theme, name=self._name("shelves", shelf_id, self._shelves))
            self._shelves[made.name] = made
            return made

    def remove_shelf(self, name: str) -> None:
        with self._lock:
            self._shelf(name)
            if any(book.startswith(name + "/") for book in self._books):
                raise NotEmpty(name)
            del self._shelves[name]

    def on(self, parent: str) -> list[pb.Book]:
        """The books of one shelf, or all of them when `parent` is empty or shelves/-."""
        with self._lock:
            if parent in ("", "shelves/-"):
                return list(self._books.values())
            self._shelf(parent)
            return [book for name, book in self._books.items() if name.startswith(parent + "/")]

    def book(self, name: str) -> pb.Book:
        with self._lock:
            return self._book(name)

    def by_isbn(self, isbn: int) -> pb.Book:
        with self._lock:
            for book in self._books.values():
                if book.isbn == isbn:
                    return book
        raise Absent(f"isbn {isbn}")

    def add(self, parent: str, book: pb.Book, book_id: str = "") -> pb.Book:
        with self._lock:
            self._shelf(parent)
            made = pb.Book()
            made.CopyFrom(book)
            made.name = self._name(f"{parent}/books", book_id, self._books)
            self._books[made.name] = made
            self._tell(pb.BookEvent.CREATED, made)
            return made

    def change(self, name: str, apply: Callable[[pb.Book], None]) -> pb.Book:
        with self._lock:
            made = pb.Book()
            made.CopyFrom(self._book(name))
            apply(made)
            made.name = name
            self._books[name] = made
            self._tell(pb.BookEvent.CHANGED, made)
            return made

    def remove(self, name: str) -> None:
        with self._lock:
            self._tell(pb.BookEvent.DELETED, self._book(name))
            del self._books[name]
            self._covers.pop(name, None)

    def move(self, name: str, to: str) -> pb.Book:
        """Keeps the last part of its name, unless another book on that shelf has it: then it is numbered anew."""
        book = self.book(name)
        try:
            made = self.add(to, book, name.rpartition("/")[2])
        except Taken:
            made = self.add(to, book)
        with self._lock:
            if name in self._covers:
                self._covers[made.name] = self._covers[name]
        self.remove(name)
        return made

    def cover(self, name: str) -> httpbody_pb2.HttpBody:
        with self._lock:
            self._book(name)
            return self._covers.get(name) or httpbody_pb2.HttpBody(content_type="image/png", data=_PIXEL)

    def set_cover(self, name: str, cover: httpbody_pb2.HttpBody) -> pb.Book:
        with self._lock:
            book = self._book(name)
            self._covers[name] = cover
            return book

    @contextmanager
    def watching(self, parent: str) -> Iterator[Watcher]:
        """A queue of what happens on a shelf; None in it means that the watch is over."""
        watcher: Watcher = queue.SimpleQueue()
        with self._lock:
            self._shelf(parent)
            self._watchers.setdefault(parent, []).append(watcher)
        try:
            yield watcher
        finally:
            with self._lock:
                self._watchers[parent].remove(watcher)

    def _shelf(self, name: str) -> pb.Shelf:
        if name not in self._shelves:
            raise Absent(name)
        return self._shelves[name]

    def _book(self, name: str) -> pb.Book:
        if name not in self._books:
            raise Absent(name)
        return self._books[name]

    def _name(self, parent: str, wanted: str, taken: Iterable[str]) -> str:
        if wanted:
            if f"{parent}/{wanted}" in taken:
                raise Taken(f"{parent}/{wanted}")
            return f"{parent}/{wanted}"
        return next(name for number in self._numbers if (name := f"{parent}/{number}") not in taken)

    def _tell(self, kind: pb.BookEvent.Kind, book: pb.Book) -> None:
        for watcher in self._watchers.get(book.name.partition("/books/")[0], ()):
            watcher.put(pb.BookEvent(kind=kind, book=book, at=now()))


def filled() -> Books:
    """A library with two shelves and five books in it."""
    books = Books()
    novels = books.add_shelf(pb.Shelf(theme="Novels"), "1").name
    science = books.add_shelf(pb.Shelf(theme="Science"), "2").name
    for parent, book in (
        (
            novels,
            pb.Book(
                title="Middlemarch",
                authors=[pb.Author(name="George Eliot", born=1819)],
                genre=pb.NOVEL,
                published=_stamp(1871, 12),
                isbn=9780141439549,
                pages=880,
                labels={"language": "en"},
                paper=pb.Paper(hardcover=True),
                rating=4.5,
            ),
        ),
        (
            novels,
            pb.Book(
                title="Der Prozess",
                authors=[pb.Author(name="Franz Kafka", born=1883)],
                genre=pb.NOVEL,
                published=_stamp(1925, 4, 26),
                isbn=9783596709656,
                pages=272,
                labels={"language": "de"},
                paper=pb.Paper(),
            ),
        ),
        (
            novels,
            pb.Book(
                title="Leaves of Grass",
                authors=[pb.Author(name="Walt Whitman", born=1819)],
                genre=pb.POETRY,
                published=_stamp(1855, 7, 4),
                isbn=9780140421996,
                pages=145,
                digital=pb.Digital(media_type="application/epub+zip", sha256=bytes(range(32))),
            ),
        ),
        (
            science,
            pb.Book(
                title="On the Origin of Species",
                authors=[pb.Author(name="Charles Darwin", born=1809)],
                genre=pb.SCIENCE,
                published=_stamp(1859, 11, 24),
                isbn=9780140439120,
                pages=502,
                paper=pb.Paper(hardcover=True),
            ),
        ),
        (
            science,
            pb.Book(
                title="Notes by the Translator",
                authors=[pb.Author(name="Ada Lovelace", born=1815)],
                genre=pb.SCIENCE,
                published=_stamp(1843, 9),
                isbn=9780000000017,
                pages=66,
                rating=5.0,
            ),
        ),
    ):
        books.add(parent, book, str(len(books.on(parent)) + 1))
    return books
