"""What Python's struct takes for a frame of 64 KiB that has come: a line of JSON for each size of payload given."""
import json
import struct
import sys
import time

BUFFER = 64 << 10
WORD = struct.Struct(">I")


def frames(buffer, end):
    """Views of the whole frames, as it is usually written."""
    at = 0
    while end - at >= WORD.size:
        (length,) = WORD.unpack_from(buffer, at)
        if length > end - at - WORD.size:
            break
        at += WORD.size
        yield buffer[at : at + length]
        at += length


for payload in map(int, sys.argv[1:]):
    count = BUFFER // (WORD.size + payload)
    data = memoryview((WORD.pack(payload) + b"f" * payload) * count)
    taken, passes = 0, 0
    while taken < 50_000_000:
        start = time.perf_counter_ns()
        seen = sum(1 for _ in frames(data, len(data)))
        taken += time.perf_counter_ns() - start
        passes += 1
        assert seen == count
    print(json.dumps({"payload": payload, "ns": taken / (count * passes)}))
