"""The files that come with the program: protos/ and schema/, beside the packages in a checkout and inside the wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def resource(*parts: str) -> Path:
    """The path of a file or folder, such as `resource("protos", "protogw", "demo", "library.proto")`.

    Raises FileNotFoundError naming it when the installation lacks it.
    """
    for root in (_PACKAGE / "_data", _PACKAGE.parent):
        path = root.joinpath(*parts)
        if path.exists():
            return path
    raise FileNotFoundError(f"{'/'.join(parts)} is missing from this installation of protogw")


def protos() -> Path:
    """The folder of .proto files that the program comes with."""
    return resource("protos")


def schemas() -> Path:
    """The folder of schemas, config.schema.json among them."""
    return resource("schema")
