"""Signed tokens (RFC 7519): how they are read, the keys that verify them, and where those come from. Knows no call."""
