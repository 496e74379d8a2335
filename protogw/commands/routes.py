"""`protogw routes`: what is reachable, in every protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from protogw.commands.configured import assembled, loaded, run
from protogw.commands.raw_ways import raw_rows
from protogw.commands.terminal import note, print_json, print_table
from protogw.config import Config
from protogw.delivery.split import Split
from protogw.frontends.base import Naming
from protogw.gateway import Gateway
from protogw.routing.route import Route


def routes(path: Path, *, connect: bool, own: bool, as_json: bool) -> None:
    config, _ = loaded(path)
    rows, unknown = run(lambda: _rows(config, connect=connect, own=own))
    if as_json:
        print_json({"routes": rows, "schema_unknown": unknown})
        return
    print_table(
        ("method", "shape", "REST", "gRPC and Connect path", "by name", "upstream", "policies", "route"),
        [
            (
                row["method"] or ("(passed through)" if row["shape"] else "(plain HTTP)"),
                row["shape"],
                "\n".join(row["rest"]),
                row["path"],
                "\n".join(f"{kind}: {name}" for kind, name in row["names"].items()),
                row["upstream"],
                ", ".join(row["policies"]),
                row["route"],
            )
            for row in rows
        ],
    )
    for name, reason in unknown.items():
        note(f"upstreams.{name}: its schema is not known: {reason}")


async def _rows(config: Config, *, connect: bool, own: bool) -> tuple[list[dict[str, Any]], dict[str, str]]:
    async with assembled(config, connect=connect) as (gateway, unknown):
        return list(_methods(gateway, own)) + _plain(gateway) + raw_rows(config), unknown


def _methods(gateway: Gateway, own: bool) -> list[dict[str, Any]]:
    front_ends = [front_end for door in gateway.doors.values() for front_end in door.front_ends]
    offered = {front_end.kind for front_end in front_ends}
    naming = {front_end.kind: front_end for front_end in front_ends if isinstance(front_end, Naming)}
    rows = []
    for method in gateway.catalog.methods.values():
        for route in gateway.router.methods.get(method.full_name, ()):
            if not own and route.target.name not in gateway.pools:
                continue
            bindings = [f"{rule.verb} {rule.template}" for rule in method.http] or [f"POST {method.path.decode()}"]
            rows.append(
                {
                    "method": method.full_name,
                    "shape": method.shape,
                    "rest": bindings if "rest" in offered else [],
                    "path": method.path.decode() if offered - {"rest", "http"} else "",
                    "names": {kind: name for kind, one in naming.items() if (name := one.offered_as(method))},
                    "upstream": _upstream(route),
                    "policies": gateway.names_of(route.policies),
                    "route": route.title,
                }
            )
            if route.conditions is None or route.conditions.any:
                break  # what follows is never reached
    return rows


def _upstream(route: Route) -> str:
    """Where its calls go; of several upstreams each with its weight."""
    target = route.target
    return str(target.weights) if isinstance(target, Split) else target.name


def _plain(gateway: Gateway) -> list[dict[str, Any]]:
    return [
        {
            "method": None,
            "shape": "",
            "rest": [f"{b', '.join(one.verbs).decode() or '*'} {one.template.text}"],
            "path": "",
            "names": {},
            "upstream": _upstream(one.route),
            "policies": gateway.names_of(one.route.policies),
            "route": one.route.title,
        }
        for one in gateway.router.http
    ]
