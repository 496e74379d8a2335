"""Protobuf ⇄ JSON: the codec beside json_format, µs a message. Run: python benchmarks/micro_protojson.py"""

from __future__ import annotations

import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from google.protobuf import descriptor_pb2, json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from protogw.descriptors.from_proto import load
from protogw.descriptors.model import Schema

LEAST = 4.0
"""How many times as fast as json_format a codec should be; samples below are listed."""

PROTO = """
syntax = "proto3";
package bench;
import "google/protobuf/any.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
message Item {
  string name = 1;
  int64 id = 2;
  double price = 3;
  repeated string tags = 4;
  State state = 5;
  google.protobuf.Timestamp created_at = 6;
  map<string, int32> stock = 7;
  oneof owner { string person = 8; string company = 9; }
  float weight = 10;
}
enum State { UNKNOWN = 0; NEW = 1; USED = 2; }
message List { repeated Item items = 1; string next_page_token = 2; }
message Get { string name = 1; }
message Loose { google.protobuf.Struct data = 1; google.protobuf.Any any = 2; }
"""

ITEM = (
    '{"name":"items/1","id":"9780441478125","price":12.5,"tags":["a","b"],"state":"NEW",'
    '"createdAt":"2026-01-31T12:00:00Z","stock":{"north":3,"south":0},"person":"x"}'
)
SAMPLES = {
    "one string": ("bench.Get", '{"name":"items/1"}'),
    "item": ("bench.Item", ITEM),
    "item, proto names": ("bench.Item", ITEM.replace("createdAt", "created_at")),
    "item, indented": ("bench.Item", ITEM.replace(",", ",\n  ").replace('":', '": ')),
    "item, escapes": ("bench.Item", ITEM.replace("items/1", "items\\/1 \\u00e9")),
    "item, short float": ("bench.Item", ITEM[:-1] + ',"weight":1.5}'),
    "item, long float": ("bench.Item", ITEM[:-1] + ',"weight":0.1}'),
    "100 items": ("bench.List", '{"items":[' + ",".join([ITEM] * 100) + '],"nextPageToken":"x"}'),
    "Struct": ("bench.Loose", '{"data":{"a":[1,2,{"b":null}],"c":"d","e":{"f":true}}}'),
    "Any": ("bench.Loose", f'{{"any":{{"@type":"type.googleapis.com/bench.Item",{ITEM[1:]}}}'),
}


def schema() -> Schema:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bench.proto")
        path.write_text(PROTO)
        return load([path])


def cost(call: Callable[[], Any]) -> float:
    """µs of processor time a call: the best of several rounds of about 10 ms, since the machine may be shared."""
    once = max(timeit.timeit(call, number=3) / 3, 1e-7)
    number = max(3, int(0.01 / once))
    return min(timeit.repeat(call, number=number, repeat=25, timer=time.process_time)) / number * 1e6


def main() -> None:
    known = schema()
    pool = DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(known.descriptor_set).file:
        pool.AddSerializedFile(file.SerializeToString())
    print(f"{'sample':20}{'bytes':>7}{'→ pb':>9}{'json_format':>13}{'×':>6}{'→ JSON':>10}{'json_format':>13}{'×':>6}")
    slow = []
    for name, (type_name, text) in SAMPLES.items():
        codec = known.types[type_name].codec
        oracle = GetMessageClass(pool.FindMessageTypeByName(type_name))
        data = text.encode()
        binary = codec.from_json(data)

        def parse(data: bytes = data, oracle: Any = oracle) -> bytes:
            message = json_format.Parse(data, oracle(), descriptor_pool=pool)
            return bytes(message.SerializeToString())

        def show(binary: bytes = binary, oracle: Any = oracle) -> str:
            return json_format.MessageToJson(oracle.FromString(binary), indent=None, descriptor_pool=pool)

        read, read_by_google = cost(lambda: codec.from_json(data)), cost(parse)  # noqa: B023
        printed, printed_by_google = cost(lambda: codec.to_json(binary)), cost(show)  # noqa: B023
        ratios = (read_by_google / read, printed_by_google / printed)
        print(
            f"{name:20}{len(data):7}{read:9.1f}{read_by_google:13.1f}{ratios[0]:6.1f}"
            f"{printed:10.1f}{printed_by_google:13.1f}{ratios[1]:6.1f}"
        )
        slow.extend(name for ratio in ratios if ratio < LEAST)
    if slow:
        print(f"less than {LEAST:g} times json_format: {', '.join(dict.fromkeys(slow))}")


if __name__ == "__main__":
    main()
