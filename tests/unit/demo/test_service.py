"""The sample library answers over real gRPC in every call shape, and its errors carry details."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from google.api import httpbody_pb2
from google.protobuf import field_mask_pb2, timestamp_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protogw.demo import library_pb2 as pb
from protogw.demo import library_pb2_grpc, service


@pytest.fixture
def channel() -> Iterator[grpc.Channel]:
    server, port = service.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.stop(None).wait()


@pytest.fixture
def library(channel: grpc.Channel) -> library_pb2_grpc.LibraryStub:
    return library_pb2_grpc.LibraryStub(channel)


def details(error: grpc.RpcError) -> status_pb2.Status:
    trailers = dict(error.trailing_metadata())
    return status_pb2.Status.FromString(trailers["grpc-status-details-bin"])


def test_books_are_listed_in_pages_and_filtered(library) -> None:
    first = library.ListBooks(pb.ListBooksRequest(parent="shelves/1", page_size=2))
    rest = library.ListBooks(pb.ListBooksRequest(parent="shelves/1", page_token=first.next_page_token))
    assert [book.title for book in (*first.books, *rest.books)] == ["Middlemarch", "Der Prozess", "Leaves of Grass"]
    assert rest.next_page_token == ""
    after = timestamp_pb2.Timestamp()
    after.FromJsonString("1860-01-01T00:00:00Z")
    wanted = pb.ListBooksRequest.Filter(genres=[pb.NOVEL], published_after=after, author="Kafka")
    assert [book.title for book in library.ListBooks(pb.ListBooksRequest(filter=wanted)).books] == ["Der Prozess"]


def test_an_absent_book_is_not_found_with_the_resource_in_the_details(library) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        library.GetBook(pb.GetBookRequest(name="shelves/1/books/99"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    info = error_details_pb2.ResourceInfo()
    assert details(caught.value).details[0].Unpack(info)
    assert info.resource_name == "shelves/1/books/99"


def test_a_book_without_a_title_is_refused_naming_the_field(library) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        library.CreateBook(pb.CreateBookRequest(parent="shelves/1"))
    violations = error_details_pb2.BadRequest()
    assert details(caught.value).details[0].Unpack(violations)
    assert violations.field_violations[0].field == "book.title"


def test_an_update_changes_only_what_the_mask_lists(library) -> None:
    changed = pb.Book(name="shelves/1/books/1", pages=900, title="not this")
    mask = field_mask_pb2.FieldMask(paths=["pages"])
    made = library.UpdateBook(pb.UpdateBookRequest(book=changed, update_mask=mask))
    assert (made.title, made.pages) == ("Middlemarch", 900)
    with pytest.raises(grpc.RpcError):
        library.UpdateBook(pb.UpdateBookRequest(book=changed, update_mask=field_mask_pb2.FieldMask(paths=["nothing"])))


def test_a_moved_book_keeps_its_cover(library) -> None:
    cover = httpbody_pb2.HttpBody(content_type="text/plain", data=b"a cover")
    library.PutCover(pb.PutCoverRequest(name="shelves/1/books/3", cover=cover))
    moved = library.MoveBook(pb.MoveBookRequest(name="shelves/1/books/3", to="shelves/2"))
    assert library.GetCover(pb.GetCoverRequest(name=moved.name)).data == b"a cover"


def test_a_full_shelf_is_not_deleted(library) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        library.DeleteShelf(pb.DeleteShelfRequest(name="shelves/1"))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    made = library.CreateShelf(pb.CreateShelfRequest(shelf=pb.Shelf(theme="Maps")))
    library.DeleteShelf(pb.DeleteShelfRequest(name=made.name))


def test_a_watcher_sees_what_happens_after_its_head_arrived(library) -> None:
    watch = library.WatchBooks(pb.WatchBooksRequest(parent="shelves/2"))
    watch.initial_metadata()
    made = library.CreateBook(pb.CreateBookRequest(parent="shelves/2", book=pb.Book(title="Opticks")))
    library.DeleteBook(pb.DeleteBookRequest(name=made.name))
    assert [next(watch).kind, next(watch).kind] == [pb.BookEvent.CREATED, pb.BookEvent.DELETED]
    watch.cancel()


def test_every_stream_shape_runs(library) -> None:
    streamed = list(library.StreamBooks(pb.StreamBooksRequest(parent="shelves/2", repeat=3)))
    assert len(streamed) == 6
    wanted = [pb.CreateBookRequest(parent="shelves/1", book=pb.Book(title=f"{n}")) for n in range(3)]
    assert library.ImportBooks(iter(wanted)).imported == 3
    heard = list(library.Recommend(iter([pb.Wish(genre=pb.POETRY), pb.Wish(words="prozess")])))
    assert [[book.title for book in one.books] for one in heard] == [["Leaves of Grass"], ["Der Prozess"]]


def test_the_service_is_healthy(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    reply = health.Check(health_pb2.HealthCheckRequest(service=service.SERVICE))
    assert reply.status == health_pb2.HealthCheckResponse.SERVING
