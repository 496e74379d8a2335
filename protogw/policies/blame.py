"""In which policy an exception came up: read off its traceback, so that calls without one pay nothing for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable


@runtime_checkable
class Wraps(Protocol):
    """A policy whose code is somebody else's: of the object that it wraps."""

    @property
    def wrapped(self) -> object: ...


def _module(policy: object) -> str:
    """The module that the policy's code is in."""
    return type(policy.wrapped if isinstance(policy, Wraps) else policy).__module__


def culprit(error: BaseException, policies: Mapping[str, object]) -> str:
    """The name of the policy in whose code the exception was raised; empty when it was in nobody's.

    A frame is a policy's if its `self` is one, or if it is of the module that one's class is in (streams that a policy
    wraps around messages). A policy is on the way of what it has passed on, too: what comes up in a target that a call
    was sent to is not its fault.
    """
    names = {id(policy): name for name, policy in policies.items()}
    modules: dict[str, str] = {}
    for name, policy in policies.items():
        modules.setdefault(_module(policy), name)
    found = ""
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        name = names.get(id(frame.f_locals.get("self")), "")
        if not name and frame.f_code.co_name == "send":
            found = ""
        elif not name:
            module = frame.f_globals.get("__name__", "")
            owner = modules.get(module, "")
            # Of several policies of one module, the one that is on the way already is the likelier.
            name = found if owner and found and _module(policies[found]) == module else owner
        if name:
            found = name
        trace = trace.tb_next
    return found
