"""What a config says that is allowed and seldom meant: `protogw check` warns of it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from protogw.config import Config
from protogw.expression_fields import expressions
from protogw.expressions import Expression
from protogw.words import quoted

Namespace: TypeAlias = tuple[str, str]
"""The scheme and the issuer of identities whose subjects are one another's."""

_SUBJECT = re.compile(r"(?<![\w.])identity\s*\.\s*subject\b")
_TOLD = {part: re.compile(rf"(?<![\w.])identity\s*\.\s*{part}\b") for part in ("scheme", "issuer")}
_WHO = re.compile(r"identity\.[\w.-]+")
_BY = ("rate_limit", "concurrency", "quota")
"""Policies that count for each value of `by`."""
_ADMITTING = ("authorize", "opa", "ip_filter")
"""Policies that let calls in, beside those that find out who calls."""
_SHOWN = 3
_OF_CONSUMERS = ("api_key", "http_signature")
"""Policies each of whose keys is a consumer's."""


@runtime_checkable
class Cautious(Protocol):
    """A policy that has settings of this sort."""

    kind: str

    def cautions(self) -> list[str]:
        """What of them is seldom meant, each beginning with its key."""
        ...


@runtime_checkable
class Vouches(Protocol):
    """A policy that finds out who calls."""

    @property
    def namespaces(self) -> frozenset[Namespace]:
        """Whose subjects it finds; empty when it leaves who calls as it is, or names nobody in particular."""
        ...


def cautions(config: Config, policies: Mapping[str, object]) -> list[str]:
    """The warnings, each beginning with its path; the policies are the config's, equipped."""
    found = [
        f"policies.{name}.{policy.kind}.{caution}"
        for name, policy in policies.items()
        if isinstance(policy, Cautious)
        for caution in policy.cautions()
    ]
    return [
        *_reachable(config),
        *found,
        *_unknown(config, policies),
        *_passed_by(config, policies),
        *_subjects(config, policies),
        *_clients(config, policies),
        *_consumers(config, policies),
    ]


def _reachable(config: Config) -> Iterator[str]:
    """Where others than this machine may reach the admin address, which asks nobody who they are."""
    admin = config.admin
    if admin is None or admin.host == "localhost":
        return
    try:
        near = ipaddress.ip_address(admin.host).is_loopback
    except ValueError:
        near = False
    if not near:
        yield f"admin: whoever reaches {admin.host}:{admin.port} may read what it shows, purge caches and shift routes"


def _unknown(config: Config, policies: Mapping[str, object]) -> Iterator[str]:
    """Where a policy goes by who calls before anything in its list may have found that out: all callers are one there.

    Only of keys that are nothing else: a longer expression may say what becomes of callers whom nobody knows.
    """
    told: set[str] = set()
    for where, use in _lists(config).items():
        for name in use:
            written, policy = config.policies[name], policies[name]
            if isinstance(policy, Vouches) or written.kind == "python" or not _is_ours(policy):
                break  # it finds out, or, being the user's own, may do so
            if written.kind not in _BY or name in told:
                continue
            by = getattr(written.settings, "by", None)
            text = by.text if isinstance(by, Expression) else "identity.consumer" if written.kind == "quota" else ""
            if _WHO.fullmatch(text):
                told.add(name)
                yield (
                    f"policies.{name}.{written.kind}.by: {text} is empty in {where}, where no policy before it finds "
                    "out who calls: all callers are one"
                )


def _passed_by(config: Config, policies: Mapping[str, object]) -> Iterator[str]:
    """Where a policy that lets calls in stands behind a cache, whose kept answers pass it by."""
    for where, use in _lists(config).items():
        kinds = [config.policies[name].kind for name in use]
        if "cache" not in kinds:
            continue
        at = kinds.index("cache")
        for name in use[at + 1 :]:
            if config.policies[name].kind in _ADMITTING or isinstance(policies[name], Vouches):
                yield f"{where}: {name} stands behind {use[at]}, whose kept answers are given without asking it"


def _lists(config: Config) -> dict[str, tuple[str, ...]]:
    """The lists of policies, by where they are."""
    found: dict[str, tuple[str, ...]] = {"use": config.use}
    found |= {f"routes[{at}].use": route.use for at, route in enumerate(config.routes) if route.use is not None}
    return found


def _is_ours(policy: object) -> bool:
    return type(policy).__module__.startswith("protogw.policies.")


def _subjects(config: Config, policies: Mapping[str, object]) -> Iterator[str]:
    """Where a policy takes the subject for the caller, though subjects of several issuers come to it.

    Not told of where calls go (`sticky_by`, `affinity`): callers who go the same way harm no one.
    """
    coming: dict[str, set[Namespace]] = {}
    for use in dict.fromkeys(_lists(config).values()):
        namespaces: frozenset[Namespace] = frozenset()
        for name in use:
            policy = policies[name]
            if isinstance(policy, Vouches):
                namespaces = policy.namespaces or namespaces
            else:
                coming.setdefault(name, set()).update(namespaces)
    for name, whose in coming.items():
        if len(whose) < 2:
            continue
        kind = config.policies[name].kind
        for path, expression in expressions(config.policies[name].settings):
            told = [part for part, written in _TOLD.items() if written.search(expression.text)]
            if _SUBJECT.search(expression.text) and not _distinct(whose, told):
                yield f"policies.{name}.{kind}{path}: {_said(expression, whose)}"


def _clients(config: Config, policies: Mapping[str, object]) -> Iterator[str]:
    """Where clients who share a stream are known by names that clients of another policy may have too."""
    for index, route in enumerate(config.routes):
        if route.fan_in is None or route.fan_in.identify != "identity":
            continue
        use = (policies[name] for name in (config.use if route.use is None else route.use))
        last = [policy for policy in use if isinstance(policy, Vouches) and policy.namespaces][-1:]
        for policy in last:
            # One policy with several issuers names them in what it calls its callers.
            if len(policy.namespaces) > 1 and not getattr(policy, "several_issuers", False):
                yield f"routes[{index}].fan_in.identify: {_callers(policy.namespaces)}, and get each other's replies"


def _consumers(config: Config, policies: Mapping[str, object]) -> Iterator[str]:
    """Where an issuer that is asked names consumers, unasked for, beside others who name them too."""
    naming = [name for name, policy in policies.items() if isinstance(policy, Vouches) and _names(config, name)]
    for name in naming:
        policy = config.policies[name]
        if policy.kind != "introspection" or "consumer" in policy.settings.model_fields_set:
            continue
        others = ["consumers"] if config.consumers else [f"policies.{other}" for other in naming if other != name]
        for other in others[:1]:
            yield (
                f"policies.{name}.introspection.consumer: its answers' client_id names consumers, as {other} does too, "
                "so this issuer may name one of theirs: write consumer: off, or consumer: client_id if that is meant"
            )


def _names(config: Config, name: str) -> bool:
    """Whether the policy names consumers; users of a `basic` file are none."""
    policy = config.policies[name]
    settings = policy.settings
    if policy.kind in _OF_CONSUMERS or getattr(settings, "consumers", None):
        return True
    parts = (settings, *getattr(settings, "issuers", ()), *getattr(settings, "users", ()))
    return any(getattr(part, "consumer", None) for part in parts)


def _callers(whose: Collection[Namespace]) -> str:
    names = sorted(quoted(issuer) if issuer else scheme for scheme, issuer in whose)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"callers of {' and '.join(names[:_SHOWN])}{more} may have the same subject"


def _distinct(whose: set[Namespace], told: Sequence[str]) -> bool:
    """Whether these parts of an identity tell the namespaces apart."""
    return len({("scheme" in told and scheme, "issuer" in told and issuer) for scheme, issuer in whose}) == len(whose)


def _said(expression: Expression, whose: set[Namespace]) -> str:
    callers = _callers(whose)
    if expression.text == "identity.subject":
        return f"{callers}: write identity.key"
    parts = (("issuer",), ("scheme",), ("scheme", "issuer"))
    needed = [f"identity.{part}" for part in next(one for one in parts if _distinct(whose, one))]
    return f"{callers}: look at {' and '.join(needed)} too"
