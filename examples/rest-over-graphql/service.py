"""A bookshop that speaks GraphQL, written with Strawberry: `python service.py [port]`. It knows nothing of REST."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from enum import Enum
from typing import Annotated, Any

import strawberry
from aiohttp import web
from graphql import GraphQLError
from strawberry.aiohttp.views import GraphQLView


@strawberry.enum
class Genre(Enum):
    NOVEL = "novel"
    SCIENCE = "science"


@strawberry.type
class Author:
    id: strawberry.ID
    name: str


@strawberry.type(description="What can be bought here.")
class Book:
    id: strawberry.ID
    title: str
    genre: Genre
    author: Author
    price: float
    stock: int


@strawberry.input
class NewBook:
    title: str
    author: str
    genre: Genre = Genre.NOVEL
    price: float = 10.0


SearchHit = Annotated[Book | Author, strawberry.union("SearchHit")]

ELIOT, KAFKA = Author(id=strawberry.ID("1"), name="George Eliot"), Author(id=strawberry.ID("2"), name="Franz Kafka")
BOOKS = {
    "1": Book(id=strawberry.ID("1"), title="Middlemarch", genre=Genre.NOVEL, author=ELIOT, price=12.5, stock=3),
    "2": Book(id=strawberry.ID("2"), title="Der Prozess", genre=Genre.NOVEL, author=KAFKA, price=9.9, stock=0),
}


@strawberry.type
class Query:
    @strawberry.field
    def book(self, id: strawberry.ID) -> Book | None:
        return BOOKS.get(id)

    @strawberry.field
    def books(self, genre: Genre | None = None, first: int = 20) -> list[Book]:
        return [book for book in BOOKS.values() if genre in (None, book.genre)][:first]

    @strawberry.field
    def search(self, text: str) -> list[SearchHit]:
        authors = {book.author.id: book.author for book in BOOKS.values()}.values()
        return [
            *(book for book in BOOKS.values() if text.lower() in book.title.lower()),
            *(author for author in authors if text.lower() in author.name.lower()),
        ]


@strawberry.type
class Mutation:
    @strawberry.mutation
    def add_book(self, book: NewBook) -> Book:
        id = strawberry.ID(str(len(BOOKS) + 1))
        author = next((one.author for one in BOOKS.values() if one.author.name == book.author), None)
        made = Book(
            id=id,
            title=book.title,
            genre=book.genre,
            author=author or Author(id=strawberry.ID(f"n{id}"), name=book.author),
            price=book.price,
            stock=0,
        )
        BOOKS[id] = made
        return made

    @strawberry.mutation
    def buy(self, id: strawberry.ID) -> Book:
        book = BOOKS.get(id)
        if book is None:
            raise GraphQLError(f"there is no book {id}", extensions={"code": "NOT_FOUND"})
        if not book.stock:
            raise GraphQLError(f"{book.title} is sold out", extensions={"code": "FAILED_PRECONDITION"})
        book.stock -= 1
        return book


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def stock(self, id: strawberry.ID) -> AsyncIterator[int]:
        """The book's stock now and whenever it changes."""
        told = None
        while True:
            book = BOOKS[id]
            if book.stock != told:
                told = book.stock
                yield told
            await asyncio.sleep(0.02)


def main() -> None:
    schema = strawberry.Schema(query=Query, mutation=Mutation, subscription=Subscription)
    app = web.Application()
    view: Any = GraphQLView(schema=schema)
    app.router.add_route("*", "/graphql", view)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 4000, print=None)


if __name__ == "__main__":
    main()
