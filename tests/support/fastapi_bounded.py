"""A FastAPI app whose values have bounds, with the OpenAPI document that it makes of them.

`python fastapi_bounded.py PORT` serves it; `python fastapi_bounded.py` prints its document.
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated, Literal

import uvicorn
from fastapi import FastAPI, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field


class Size(StrEnum):
    small = "small"
    large = "large"


class Card(BaseModel):
    kind: Literal["card"]
    number: Annotated[str, Field(pattern=r"^\d{4}$")]


class Cash(BaseModel):
    kind: Literal["cash"]
    coins: Annotated[int, Field(ge=1)]


class Item(BaseModel):
    sku: Annotated[str, Field(min_length=3, max_length=5)]
    count: Annotated[int, Field(gt=0, le=10, multiple_of=2)]


class Order(BaseModel):
    customerName: Annotated[str, Field(min_length=2, max_length=8, pattern="^[A-Za-zé]+$")]
    total: Annotated[float, Field(ge=0)]
    size: Size = Size.small
    items: Annotated[list[Item], Field(min_length=1, max_length=2)]
    note: Annotated[str | None, Field(max_length=4)] = None
    labels: dict[str, Annotated[str, Field(max_length=3)]] = {}
    paid: Annotated[Card | Cash, Field(discriminator="kind")] | None = None


app = FastAPI(title="Orders", version="1.0")


@app.post("/orders", operation_id="place", status_code=201)
def place(order: Order) -> Order:
    return order


@app.put("/orders/{order_id}", operation_id="change")
def change(order_id: int, order: Order, page_size: Annotated[int, Query(ge=1, le=100)] = 10) -> Order:
    return order


@app.post("/wrong", operation_id="wrong", response_model=Order)
def wrong(order: Order) -> JSONResponse:
    """Answers with what its own document does not allow."""
    return JSONResponse({**order.model_dump(), "customerName": "!"})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", lifespan="off")
    else:
        print(json.dumps(app.openapi(), indent=1))
