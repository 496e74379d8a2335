"""The translators, one upstream protocol a file; TRANSLATORS is the table of their kinds."""

from __future__ import annotations

from protogw.kinds import table
from protogw_translators.to_graphql import ToGraphql
from protogw_translators.to_grpc import ToGrpc
from protogw_translators.to_http import ToHttp
from protogw_translators.to_rest import ToRest
from protogw_translators.to_websocket import ToWebSocket

TRANSLATORS = table("translators", ToGrpc, ToRest, ToGraphql, ToWebSocket, ToHttp)
