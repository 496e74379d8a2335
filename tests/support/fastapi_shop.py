"""A shop that nobody wrote for the gateway: a FastAPI app with the OpenAPI document it makes of itself.

`python fastapi_shop.py PORT` serves it; `python fastapi_shop.py` prints its document.
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated, Literal

import uvicorn
from fastapi import Cookie, FastAPI, File, Form, Header, HTTPException, Query, Request, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field


class Status(StrEnum):
    available = "available"
    sold_out = "sold-out"


class Tag(BaseModel):
    id: int
    name: str


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    bark: str


class Pet(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: int
    name: str
    status: Status | None = None
    tags: list[Tag] = []
    grid: list[list[int]] = []
    owner: str | None
    animal: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    size: int | str | None = None
    labels: dict[str, int] = {}


app = FastAPI(title="Pet shop", description="Sells pets.", version="1.0")
PETS: dict[int, Pet] = {
    1: Pet(id=1, name="Tom", owner=None, status=Status.sold_out, animal=Cat(kind="cat"), labels={"a": 2**53 + 1})
}


@app.get("/pets", tags=["pets"])
def list_pets(
    request: Request,
    limit: int = 10,
    status: Annotated[list[Status] | None, Query()] = None,
    x_trace: Annotated[str | None, Header()] = None,
    session: Annotated[str | None, Cookie()] = None,
) -> list[Pet]:
    """All pets."""
    note = {"query": str(request.query_params), "trace": x_trace, "session": session}
    found = [pet for pet in PETS.values() if not status or pet.status in status]
    return [pet.model_copy(update={"note": json.dumps(note)}) for pet in found][:limit]


@app.get("/pets/{pet_id}", tags=["pets"])
def get_pet(pet_id: int) -> Pet:
    if pet_id not in PETS:
        raise HTTPException(404, "no such pet")
    return PETS[pet_id]


@app.post("/pets", status_code=201, tags=["pets"])
def create_pet(pet: Pet) -> Pet:
    if pet.id in PETS:
        raise HTTPException(409, "there is one already")
    PETS[pet.id] = pet
    return pet


@app.put("/pets/{pet_id}", tags=["pets"])
def replace_pet(pet_id: int, pet: Pet, notify: bool = False) -> Pet:
    PETS[pet_id] = pet
    return pet.model_copy(update={"notified": notify})


@app.delete("/pets/{pet_id}", status_code=204, tags=["pets"])
def delete_pet(pet_id: int) -> None:
    PETS.pop(pet_id, None)


@app.post("/login", operation_id="logIn")
def log_in(user: Annotated[str, Form()], password: Annotated[str, Form()]) -> dict[str, str]:
    return {"token": f"{user}:{password}"}


@app.post("/pets/{pet_id}/photo", operation_id="upload_photo")
async def upload_photo(
    pet_id: int, photo: Annotated[UploadFile, File()], caption: Annotated[str, Form()] = ""
) -> dict[str, str | int]:
    data = await photo.read()
    return {"pet": pet_id, "size": len(data), "caption": caption, "first": data[:4].hex()}


@app.get(
    "/pets/{pet_id}/photo",
    operation_id="download_photo",
    response_class=Response,
    responses={200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}},
)
def download_photo(pet_id: int) -> Response:
    return Response(b"\x89PNG" + bytes([pet_id]), media_type="image/png")


@app.get("/motto", response_class=PlainTextResponse, operation_id="motto")
def motto() -> str:
    return "Pets for all."


@app.get(
    "/events",
    operation_id="watch",
    responses={200: {"content": {"text/event-stream": {"schema": Tag.model_json_schema()}}}},
    response_class=StreamingResponse,
)
def events() -> StreamingResponse:
    lines = (f'data: {{"id": {number}, "name": "tick"}}\n\n' for number in range(3))
    return StreamingResponse(lines, media_type="text/event-stream")


@app.get("/broken", operation_id="broken")
def broken() -> JSONResponse:
    return JSONResponse(
        {"type": "about:blank", "title": "Out of pets", "detail": "the last one is gone", "status": 503},
        503,
        {"retry-after": "7"},
        "application/problem+json",
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", lifespan="off")
    else:
        print(json.dumps(app.openapi(), indent=1))
