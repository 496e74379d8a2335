"""Where the addresses of a service come from when the config does not list them. Knows no pool and no protocol.

What finds them is told by the beginning of the address: `dns:orders.internal:50051`. Each kind is one file here and one
row in DISCOVERIES.
"""

from collections.abc import Mapping

from protogw.discovery.base import Reference
from protogw.discovery.consul import Consul
from protogw.discovery.dns import Dns, Srv
from protogw.discovery.files import File
from protogw.discovery.kubernetes import Kubernetes
from protogw.kinds import table

DISCOVERIES: Mapping[str, type[Reference]] = table("discoveries", Dns, Srv, File, Consul, Kubernetes)


def reference(written: str) -> Reference | None:
    """What an address refers to, None when it is a plain address; raises PydanticCustomError when it is neither."""
    kind, colon, rest = written.partition(":")
    if not colon or kind not in DISCOVERIES or rest.isdigit():
        return None
    return DISCOVERIES[kind].parse(written)
