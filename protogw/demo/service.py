"""The sample library's gRPC server: every call shape, errors with details, reflection and health."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, TypeVar

import grpc
from google.api import httpbody_pb2
from google.protobuf import any_pb2, empty_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from protogw.demo import library_pb2 as pb
from protogw.demo import library_pb2_grpc
from protogw.demo.books import Absent, Books, NotEmpty, Taken, filled

SERVICE = "library.v1.Library"
DOMAIN = "library.example"
Context = grpc.ServicerContext
T = TypeVar("T")


class Library(library_pb2_grpc.LibraryServicer):
    """library.v1.Library over one Books."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def ListShelves(self, request: pb.ListShelvesRequest, context: Context) -> pb.ListShelvesResponse:
        page, token = _page(self._books.shelves(), request.page_size, request.page_token, context)
        return pb.ListShelvesResponse(shelves=page, next_page_token=token)

    def GetShelf(self, request: pb.GetShelfRequest, context: Context) -> pb.Shelf:
        try:
            return self._books.shelf(request.name)
        except Absent:
            _absent(context, "Shelf", request.name)

    def CreateShelf(self, request: pb.CreateShelfRequest, context: Context) -> pb.Shelf:
        if not request.shelf.theme:
            _invalid(context, "shelf.theme", "must not be empty")
        try:
            return self._books.add_shelf(request.shelf, request.shelf_id)
        except Taken as error:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"{error} exists")

    def DeleteShelf(self, request: pb.DeleteShelfRequest, context: Context) -> empty_pb2.Empty:
        try:
            self._books.remove_shelf(request.name)
        except Absent:
            _absent(context, "Shelf", request.name)
        except NotEmpty:
            violation = error_details_pb2.PreconditionFailure.Violation(
                type="NOT_EMPTY", subject=request.name, description="books stand on this shelf"
            )
            _fail(
                context,
                grpc.StatusCode.FAILED_PRECONDITION,
                f"{request.name} is not empty",
                error_details_pb2.PreconditionFailure(violations=[violation]),
            )
        return empty_pb2.Empty()

    def ListBooks(self, request: pb.ListBooksRequest, context: Context) -> pb.ListBooksResponse:
        wanted = [book for book in self._on(request.parent, context) if _fits(book, request.filter)]
        page, token = _page(wanted, request.page_size, request.page_token, context)
        return pb.ListBooksResponse(books=page, next_page_token=token)

    def GetBook(self, request: pb.GetBookRequest, context: Context) -> pb.Book:
        try:
            return self._books.by_isbn(request.isbn) if request.isbn else self._books.book(request.name)
        except Absent:
            _absent(context, "Book", request.name or f"isbn/{request.isbn}")

    def CreateBook(self, request: pb.CreateBookRequest, context: Context) -> pb.Book:
        return self._create(request, context)

    def UpdateBook(self, request: pb.UpdateBookRequest, context: Context) -> pb.Book:
        mask: Any = request.update_mask  # the well-known types' own methods are not in the stubs
        if not mask.IsValidForDescriptor(pb.Book.DESCRIPTOR):
            _invalid(context, "update_mask", "names a field that a book has not")

        def apply(book: pb.Book) -> None:
            if mask.paths:
                mask.MergeMessage(request.book, book, True, True)
            else:
                book.CopyFrom(request.book)

        try:
            return self._books.change(request.book.name, apply)
        except Absent:
            _absent(context, "Book", request.book.name)

    def DeleteBook(self, request: pb.DeleteBookRequest, context: Context) -> empty_pb2.Empty:
        try:
            self._books.remove(request.name)
        except Absent:
            _absent(context, "Book", request.name)
        return empty_pb2.Empty()

    def MoveBook(self, request: pb.MoveBookRequest, context: Context) -> pb.Book:
        try:
            return self._books.move(request.name, request.to)
        except Absent as error:
            _absent(context, "Book" if error.args[0] == request.name else "Shelf", error.args[0])

    def GetCover(self, request: pb.GetCoverRequest, context: Context) -> httpbody_pb2.HttpBody:
        try:
            return self._books.cover(request.name)
        except Absent:
            _absent(context, "Book", request.name)

    def PutCover(self, request: pb.PutCoverRequest, context: Context) -> pb.Book:
        try:
            return self._books.set_cover(request.name, request.cover)
        except Absent:
            _absent(context, "Book", request.name)

    def ListGenres(self, request: pb.ListGenresRequest, context: Context) -> pb.ListGenresResponse:
        return pb.ListGenresResponse(genres=sorted({book.genre for book in self._books.on("")}))

    def StreamBooks(self, request: pb.StreamBooksRequest, context: Context) -> Iterator[pb.Book]:
        books = self._on(request.parent, context)
        for _ in range(max(1, request.repeat)):
            for book in books:
                yield book
                if request.interval_ms:
                    time.sleep(request.interval_ms / 1000)
                    if not context.is_active():
                        return

    def WatchBooks(self, request: pb.WatchBooksRequest, context: Context) -> Iterator[pb.BookEvent]:
        try:
            with self._books.watching(request.parent) as watcher:
                context.add_callback(lambda: watcher.put(None))
                # The head goes out now: the caller knows that it watches before anything happens.
                context.send_initial_metadata(())
                while (event := watcher.get()) is not None:
                    yield event
        except Absent:
            _absent(context, "Shelf", request.parent)

    def ImportBooks(self, requests: Iterator[pb.CreateBookRequest], context: Context) -> pb.ImportBooksResponse:
        names = [self._create(request, context).name for request in requests]
        return pb.ImportBooksResponse(imported=len(names), names=names)

    def Recommend(self, wishes: Iterator[pb.Wish], context: Context) -> Iterator[pb.Recommendation]:
        for wish in wishes:
            found = [
                book
                for book in self._books.on("")
                if wish.genre in (pb.GENRE_UNSPECIFIED, book.genre) and wish.words.lower() in book.title.lower()
            ]
            yield pb.Recommendation(reason=f"{len(found)} of them fit", books=found)

    def _create(self, request: pb.CreateBookRequest, context: Context) -> pb.Book:
        if not request.book.title:
            _invalid(context, "book.title", "must not be empty")
        if request.book.pages < 0:
            _invalid(context, "book.pages", "must not be negative")
        try:
            return self._books.add(request.parent, request.book, request.book_id)
        except Absent:
            _absent(context, "Shelf", request.parent)
        except Taken as error:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"{error} exists")

    def _on(self, parent: str, context: Context) -> list[pb.Book]:
        try:
            return self._books.on(parent)
        except Absent:
            _absent(context, "Shelf", parent)


def _fits(book: pb.Book, wanted: pb.ListBooksRequest.Filter) -> bool:
    if wanted.genres and book.genre not in wanted.genres:
        return False
    if wanted.HasField("published_after") and book.published.ToNanoseconds() <= wanted.published_after.ToNanoseconds():
        return False
    return book.isbn >= wanted.min_isbn and (
        not wanted.author or any(wanted.author in author.name for author in book.authors)
    )


def _page(items: list[T], size: int, token: str, context: Context) -> tuple[list[T], str]:
    if size < 0:
        _invalid(context, "page_size", "must not be negative")
    if token and not token.isdecimal():
        _invalid(context, "page_token", "is not one of ours")
    start, size = int(token or 0), size or 50
    return items[start : start + size], str(start + size) if start + size < len(items) else ""


def _absent(context: Context, kind: str, name: str) -> NoReturn:
    _fail(
        context,
        grpc.StatusCode.NOT_FOUND,
        f"no {kind.lower()} {name!r}",
        error_details_pb2.ResourceInfo(resource_type=f"library.v1.{kind}", resource_name=name),
        error_details_pb2.ErrorInfo(reason="ABSENT", domain=DOMAIN, metadata={"name": name}),
    )


def _invalid(context: Context, field: str, description: str) -> NoReturn:
    violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
    _fail(
        context,
        grpc.StatusCode.INVALID_ARGUMENT,
        f"{field}: {description}",
        error_details_pb2.BadRequest(field_violations=[violation]),
    )


def _fail(context: Context, code: grpc.StatusCode, message: str, *details: Any) -> NoReturn:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, message)


def start(port: int = 0, *, books: Books | None = None, threads: int = 32) -> tuple[grpc.Server, int]:
    """A running server on 127.0.0.1 and its port; the kernel picks it when `port` is 0.

    Every open stream holds one of the `threads`. Stop it with `server.stop(grace)`.
    """
    kept = filled() if books is None else books
    server = grpc.server(ThreadPoolExecutor(threads, "library"), options=(("grpc.so_reuseport", 0),))
    library_pb2_grpc.add_LibraryServicer_to_server(Library(kept), server)  # type: ignore[no-untyped-call]
    healthy = health.HealthServicer()
    healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    healthy.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, bound
