import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import httpbody_pb2 as _httpbody_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Genre(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GENRE_UNSPECIFIED: _ClassVar[Genre]
    NOVEL: _ClassVar[Genre]
    POETRY: _ClassVar[Genre]
    SCIENCE: _ClassVar[Genre]
    HISTORY: _ClassVar[Genre]
GENRE_UNSPECIFIED: Genre
NOVEL: Genre
POETRY: Genre
SCIENCE: Genre
HISTORY: Genre

class Shelf(_message.Message):
    __slots__ = ("name", "theme")
    NAME_FIELD_NUMBER: _ClassVar[int]
    THEME_FIELD_NUMBER: _ClassVar[int]
    name: str
    theme: str
    def __init__(self, name: _Optional[str] = ..., theme: _Optional[str] = ...) -> None: ...

class Author(_message.Message):
    __slots__ = ("name", "born")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BORN_FIELD_NUMBER: _ClassVar[int]
    name: str
    born: int
    def __init__(self, name: _Optional[str] = ..., born: _Optional[int] = ...) -> None: ...

class Book(_message.Message):
    __slots__ = ("name", "title", "authors", "genre", "published", "isbn", "pages", "labels", "paper", "digital", "rating")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    AUTHORS_FIELD_NUMBER: _ClassVar[int]
    GENRE_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    ISBN_FIELD_NUMBER: _ClassVar[int]
    PAGES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PAPER_FIELD_NUMBER: _ClassVar[int]
    DIGITAL_FIELD_NUMBER: _ClassVar[int]
    RATING_FIELD_NUMBER: _ClassVar[int]
    name: str
    title: str
    authors: _containers.RepeatedCompositeFieldContainer[Author]
    genre: Genre
    published: _timestamp_pb2.Timestamp
    isbn: int
    pages: int
    labels: _containers.ScalarMap[str, str]
    paper: Paper
    digital: Digital
    rating: float
    def __init__(self, name: _Optional[str] = ..., title: _Optional[str] = ..., authors: _Optional[_Iterable[_Union[Author, _Mapping]]] = ..., genre: _Optional[_Union[Genre, str]] = ..., published: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., isbn: _Optional[int] = ..., pages: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., paper: _Optional[_Union[Paper, _Mapping]] = ..., digital: _Optional[_Union[Digital, _Mapping]] = ..., rating: _Optional[float] = ...) -> None: ...

class Paper(_message.Message):
    __slots__ = ("hardcover",)
    HARDCOVER_FIELD_NUMBER: _ClassVar[int]
    hardcover: bool
    def __init__(self, hardcover: _Optional[bool] = ...) -> None: ...

class Digital(_message.Message):
    __slots__ = ("media_type", "sha256")
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    media_type: str
    sha256: bytes
    def __init__(self, media_type: _Optional[str] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class ListShelvesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListShelvesResponse(_message.Message):
    __slots__ = ("shelves", "next_page_token")
    SHELVES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    shelves: _containers.RepeatedCompositeFieldContainer[Shelf]
    next_page_token: str
    def __init__(self, shelves: _Optional[_Iterable[_Union[Shelf, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetShelfRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CreateShelfRequest(_message.Message):
    __slots__ = ("shelf", "shelf_id")
    SHELF_FIELD_NUMBER: _ClassVar[int]
    SHELF_ID_FIELD_NUMBER: _ClassVar[int]
    shelf: Shelf
    shelf_id: str
    def __init__(self, shelf: _Optional[_Union[Shelf, _Mapping]] = ..., shelf_id: _Optional[str] = ...) -> None: ...

class DeleteShelfRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListBooksRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "filter")
    class Filter(_message.Message):
        __slots__ = ("genres", "published_after", "min_isbn", "author")
        GENRES_FIELD_NUMBER: _ClassVar[int]
        PUBLISHED_AFTER_FIELD_NUMBER: _ClassVar[int]
        MIN_ISBN_FIELD_NUMBER: _ClassVar[int]
        AUTHOR_FIELD_NUMBER: _ClassVar[int]
        genres: _containers.RepeatedScalarFieldContainer[Genre]
        published_after: _timestamp_pb2.Timestamp
        min_isbn: int
        author: str
        def __init__(self, genres: _Optional[_Iterable[_Union[Genre, str]]] = ..., published_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., min_isbn: _Optional[int] = ..., author: _Optional[str] = ...) -> None: ...
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    filter: ListBooksRequest.Filter
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[_Union[ListBooksRequest.Filter, _Mapping]] = ...) -> None: ...

class ListBooksResponse(_message.Message):
    __slots__ = ("books", "next_page_token")
    BOOKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    books: _containers.RepeatedCompositeFieldContainer[Book]
    next_page_token: str
    def __init__(self, books: _Optional[_Iterable[_Union[Book, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetBookRequest(_message.Message):
    __slots__ = ("name", "isbn")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ISBN_FIELD_NUMBER: _ClassVar[int]
    name: str
    isbn: int
    def __init__(self, name: _Optional[str] = ..., isbn: _Optional[int] = ...) -> None: ...

class CreateBookRequest(_message.Message):
    __slots__ = ("parent", "book", "book_id")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    BOOK_FIELD_NUMBER: _ClassVar[int]
    BOOK_ID_FIELD_NUMBER: _ClassVar[int]
    parent: str
    book: Book
    book_id: str
    def __init__(self, parent: _Optional[str] = ..., book: _Optional[_Union[Book, _Mapping]] = ..., book_id: _Optional[str] = ...) -> None: ...

class UpdateBookRequest(_message.Message):
    __slots__ = ("book", "update_mask")
    BOOK_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    book: Book
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, book: _Optional[_Union[Book, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class DeleteBookRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class MoveBookRequest(_message.Message):
    __slots__ = ("name", "to")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    name: str
    to: str
    def __init__(self, name: _Optional[str] = ..., to: _Optional[str] = ...) -> None: ...

class GetCoverRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class PutCoverRequest(_message.Message):
    __slots__ = ("name", "cover")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COVER_FIELD_NUMBER: _ClassVar[int]
    name: str
    cover: _httpbody_pb2.HttpBody
    def __init__(self, name: _Optional[str] = ..., cover: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...

class ListGenresRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListGenresResponse(_message.Message):
    __slots__ = ("genres",)
    GENRES_FIELD_NUMBER: _ClassVar[int]
    genres: _containers.RepeatedScalarFieldContainer[Genre]
    def __init__(self, genres: _Optional[_Iterable[_Union[Genre, str]]] = ...) -> None: ...

class StreamBooksRequest(_message.Message):
    __slots__ = ("parent", "repeat", "interval_ms")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    REPEAT_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    parent: str
    repeat: int
    interval_ms: int
    def __init__(self, parent: _Optional[str] = ..., repeat: _Optional[int] = ..., interval_ms: _Optional[int] = ...) -> None: ...

class WatchBooksRequest(_message.Message):
    __slots__ = ("parent",)
    PARENT_FIELD_NUMBER: _ClassVar[int]
    parent: str
    def __init__(self, parent: _Optional[str] = ...) -> None: ...

class BookEvent(_message.Message):
    __slots__ = ("kind", "book", "at")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[BookEvent.Kind]
        CREATED: _ClassVar[BookEvent.Kind]
        CHANGED: _ClassVar[BookEvent.Kind]
        DELETED: _ClassVar[BookEvent.Kind]
    KIND_UNSPECIFIED: BookEvent.Kind
    CREATED: BookEvent.Kind
    CHANGED: BookEvent.Kind
    DELETED: BookEvent.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    BOOK_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    kind: BookEvent.Kind
    book: Book
    at: _timestamp_pb2.Timestamp
    def __init__(self, kind: _Optional[_Union[BookEvent.Kind, str]] = ..., book: _Optional[_Union[Book, _Mapping]] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ImportBooksResponse(_message.Message):
    __slots__ = ("imported", "names")
    IMPORTED_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    imported: int
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, imported: _Optional[int] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class Wish(_message.Message):
    __slots__ = ("genre", "words")
    GENRE_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    genre: Genre
    words: str
    def __init__(self, genre: _Optional[_Union[Genre, str]] = ..., words: _Optional[str] = ...) -> None: ...

class Recommendation(_message.Message):
    __slots__ = ("reason", "books")
    REASON_FIELD_NUMBER: _ClassVar[int]
    BOOKS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    books: _containers.RepeatedCompositeFieldContainer[Book]
    def __init__(self, reason: _Optional[str] = ..., books: _Optional[_Iterable[_Union[Book, _Mapping]]] = ...) -> None: ...
