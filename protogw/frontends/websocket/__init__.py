"""The WebSocket front end: one call a socket, or many in a session."""

from protogw.frontends.websocket.front_end import WebSockets

__all__ = ["WebSockets"]
