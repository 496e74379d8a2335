"""In which policy an exception came up: read off its traceback, so that calls without one pay nothing for it."""

from __future__ import annotations

from collections.abc import Mapping


def culprit(error: BaseException, policies: Mapping[str, object]) -> str:
    """The name of the policy in whose code the exception was raised; empty when it was in nobody's.

    A frame is a policy's if its `self` is one, or if it is of the module that one's class is in (streams that a policy
    wraps around messages). A policy is on the way of what it has passed on, too: what comes up in a target that a call
    was sent to is not its fault.
    """
    names = {id(policy): name for name, policy in policies.items()}
    modules: dict[str, str] = {}
    for name, policy in policies.items():
        modules.setdefault(type(policy).__module__, name)
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
            name = found if owner and found and type(policies[found]).__module__ == module else owner
        if name:
            found = name
        trace = trace.tb_next
    return found
