"""The base of every config model."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from protogw.values import LISTED, TRUTH

__all__ = ["LISTED", "TRUTH", "Strict"]


class Strict(BaseModel):
    """Frozen, with no keys but its own; a field's docstring is its line in the reference."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)
