"""protogw: a multi-protocol translation gateway.

    config = protogw.load("gateway.yaml")
    gateway = protogw.build(config)        # inside the running loop
    await gateway.start()

The names are imported when they are first used, so that the command line answers at once.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from protogw.assembly import build
    from protogw.config import Config, ConfigError
    from protogw.gateway import Gateway

__version__ = "0.1.0"

__all__ = ["Config", "ConfigError", "Gateway", "__version__", "build", "load"]


def load(path: str | os.PathLike[str]) -> Config:
    """The config of a file; raises ConfigError with every fault that is in it."""
    from protogw.assembly import KINDS
    from protogw.config import load as load_with

    return load_with(path, KINDS)


def __getattr__(name: str) -> Any:
    if name == "build":
        from protogw.assembly import build

        return build
    if name in ("Config", "ConfigError"):
        from protogw import config

        return config.Config if name == "Config" else config.ConfigError
    if name == "Gateway":
        from protogw.gateway import Gateway

        return Gateway
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
