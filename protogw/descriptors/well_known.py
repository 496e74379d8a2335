"""Messages of google.protobuf that any schema may use, and that JSON writes as a single value."""

from __future__ import annotations

from collections.abc import Mapping

from protogw.descriptors.model import Kind

WRAPPERS: Mapping[str, Kind] = {
    "google.protobuf.DoubleValue": Kind.DOUBLE,
    "google.protobuf.FloatValue": Kind.FLOAT,
    "google.protobuf.Int64Value": Kind.INT64,
    "google.protobuf.UInt64Value": Kind.UINT64,
    "google.protobuf.Int32Value": Kind.INT32,
    "google.protobuf.UInt32Value": Kind.UINT32,
    "google.protobuf.BoolValue": Kind.BOOL,
    "google.protobuf.StringValue": Kind.STRING,
    "google.protobuf.BytesValue": Kind.BYTES,
}
"""Those that stand for a scalar that may be absent, and the kind of that scalar."""

FIELD_MASK = "google.protobuf.FieldMask"
TEXTUAL = frozenset(WRAPPERS) | {FIELD_MASK, "google.protobuf.Timestamp", "google.protobuf.Duration"}
"""Those whose JSON is a single text or number."""
