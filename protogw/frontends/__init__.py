"""Front ends: decode one protocol's requests into calls and encode replies back.

A listener tries them in the table's order, so those that know a request by its content type go before the one that
knows it by its path, and plain HTTP, which takes anything, is last.
"""

from protogw.frontends.connect import Connect
from protogw.frontends.grpc import Grpc, GrpcWeb
from protogw.frontends.http import Http
from protogw.frontends.rest import Rest
from protogw.kinds import table

FRONT_ENDS = table("frontends", Grpc, GrpcWeb, Connect, Rest, Http)
