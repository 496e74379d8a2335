"""Many clients' calls over one upstream stream. Knows calls and messages; no protocol, no socket.

`hub` and `outbox` decide and never wait; `fan_in` and `shared` do what they say, as targets that a route sends to.
"""
