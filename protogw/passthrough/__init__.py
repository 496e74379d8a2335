"""Raw connections and datagrams, carried beside the call path: which of them to take, and where they go."""

from protogw.kinds import table
from protogw.passthrough.tcp import Tcp
from protogw.passthrough.udp import Udp

PASSTHROUGHS = table("passthroughs", Tcp, Udp)
