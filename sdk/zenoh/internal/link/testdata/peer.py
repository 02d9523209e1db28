"""A session of eclipse-zenoh: its config is the first argument, a JSON object of config paths.

It prints what arrives on to/** as "got KEY SIZE CRC", and for each line of its input "put KEY SIZE" it puts so many bytes.
At the end of its input it closes the session.
"""
import json
import sys
import zlib

import zenoh

config = zenoh.Config()
for path, value in json.loads(sys.argv[1]).items():
    config.insert_json5(path, json.dumps(value))


def pattern(n):
    return (bytes(range(251)) * (n // 251 + 1))[:n]


def got(sample):
    b = sample.payload.to_bytes()
    print("got", sample.key_expr, len(b), zlib.crc32(b), flush=True)


with zenoh.open(config) as session:
    subscriber = session.declare_subscriber("to/**", got)
    print("ready", session.info.zid(), flush=True)
    for line in sys.stdin:
        _, key, size = line.split()
        session.put(key, pattern(int(size)), congestion_control=zenoh.CongestionControl.BLOCK)
print("closed", flush=True)
