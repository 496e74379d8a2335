"""Front ends: decode one protocol's requests into calls and encode replies back.

A listener tries them in the table's order, so those that know a request by its content type go before those that know
it by its path, one path before many, and plain HTTP, which takes anything, is last.
"""

from protogw.frontends.connect import Connect
from protogw.frontends.graphql import Graphql
from protogw.frontends.grpc import Grpc, GrpcWeb
from protogw.frontends.http import Http
from protogw.frontends.rest import Rest
from protogw.frontends.websocket import WebSockets
from protogw.kinds import table

FRONT_ENDS = table("frontends", Grpc, GrpcWeb, Connect, Graphql, WebSockets, Rest, Http)
