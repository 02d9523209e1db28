"""A Zenoh router of the official implementation, until standard input ends."""

import signal
import sys

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
import zenoh  # noqa: E402

config = zenoh.Config()
config.insert_json5("mode", '"router"')
config.insert_json5("listen/endpoints", f'["{sys.argv[1]}"]')
config.insert_json5("scouting/multicast/enabled", "false")
with zenoh.open(config):
    print("ready", flush=True)
    sys.stdin.read()
