"""Probes: how an endpoint is asked whether it is well, one protocol a file."""

from protogw.kinds import table
from protogw.probes.grpc import GrpcProbe
from protogw.probes.http import HttpProbe
from protogw.probes.tcp import TcpProbe

PROBES = table("probes", GrpcProbe, HttpProbe, TcpProbe)
