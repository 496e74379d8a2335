"""A policy of the user's own: a class of a Python module that the config names (protogw.policy).

Importing it runs its code, as naming it in the config asks for. Whatever it does wrong in a call ends that call alone.
"""

from __future__ import annotations

import importlib
import logging
import re
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from protogw.call import Call, Reply
from protogw.errors import InternalError
from protogw.paths import Written
from protogw.policies.base import Equipped, Handler, OfHead, PolicySettings, ReadsQuery, Started, Tools
from protogw.values import OrText, refuse

log = logging.getLogger("protogw")

_PLACE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def loaded(value: object) -> type[Any]:
    """The class at `package.module:Class`; modules beside the config file are found too, after all installed ones."""
    if isinstance(value, type):
        return value
    if not isinstance(value, str) or _PLACE.fullmatch(value) is None:
        refuse("is not a class: write package.module:Class")
    module, _, name = value.partition(":")
    folder = str((value.folder if isinstance(value, Written) else Path()).resolve())
    if folder not in sys.path:
        # Last, so that no file beside a config stands in for a module of anyone else's.
        sys.path.append(folder)
    importlib.invalidate_caches()
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # whatever the module's own code raises: the config is refused with it
        log.debug("%s cannot be imported", module, exc_info=error)
        refuse(f"cannot be imported: {module}: {type(error).__name__}: {error}")
    if not isinstance(found, type):
        refuse(f"is not there: {module} has no class {name}")
    if not issubclass(getattr(found, "Settings", object), PolicySettings) or "__call__" not in dir(found):
        refuse("is no policy: subclass protogw.policy.Policy")
    return found


PolicyClass = Annotated[
    type[Any], PlainValidator(loaded), WithJsonSchema({"type": "string", "examples": ["tenants:Tenant"]})
]


class PythonSettings(OrText, PolicySettings):
    """Which class, and what it is told: written as text, or as a mapping where the class has settings."""

    text_for = "class"
    text_examples = ("tenants:Tenant",)

    policy: Annotated[PolicyClass, Field(alias="class")]
    """The class, `package.module:Class`, of a module that is installed or lies beside the config file."""
    settings: Annotated[Any, Field(validate_default=True, json_schema_extra={"type": "object"})] = None
    """The class's own settings."""

    @field_validator("settings", mode="plain")
    @classmethod
    def _its_own(cls, value: Any, info: ValidationInfo) -> Any:
        policy = info.data.get("policy")
        if policy is None or isinstance(value, BaseModel):
            return value
        # What this raises tells the place of each fault below `settings`.
        return policy.Settings.model_validate({} if value is None else value)


class Python:
    """A class of your own, from a module beside the config or an installed one."""

    kind: ClassVar[str] = "python"
    Settings: ClassVar[type[PolicySettings]] = PythonSettings

    def __init__(self, settings: PythonSettings) -> None:
        self._name = settings.policy.__name__
        self._policy = settings.policy(settings.settings)

    @property
    def wrapped(self) -> object:
        return self._policy

    @property
    def query_names(self) -> frozenset[bytes]:
        return self._policy.query_names if isinstance(self._policy, ReadsQuery) else frozenset()

    def equip(self, tools: Tools) -> None:
        self._name = tools.name
        if isinstance(self._policy, Equipped):
            self._policy.equip(tools)

    @property
    def of_head(self) -> bool:
        return isinstance(self._policy, OfHead) and self._policy.of_head

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        # What it raises is the gateway's to tell, which knows whose code it came up in.
        reply = await self._policy(call, forward)
        if not isinstance(reply, Reply):
            log.error("policies.%s: answered %r with %r, which is no Reply", self._name, call, type(reply).__name__)
            raise InternalError
        return reply

    async def run(self) -> None:
        if isinstance(self._policy, Started):
            await self._policy.run()
