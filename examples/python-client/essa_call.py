#!/usr/bin/env python3
"""Call a function of an essad deployment with nothing but a Zenoh library.

    pip install eclipse-zenoh
    essad deploy hello bin/guests/hello.wasm
    python3 essa_call.py --connect unixsock-stream//run/essad/essad.sock hello sign --text Ada
    python3 essa_call.py --connect tcp/192.0.2.1:7447 hello guests

A call is a query on essa/call/DEPLOYMENT/FUNCTION/- whose payload are the arguments, as the function's own language encodes
them, and whose one reply is the result, raw. A failure is an error reply: its encoding is "text/plain;essa-error=CLASS" and
its payload says what happened. The session must be a client ("mode": "client").
"""

import argparse
import struct
import sys
import urllib.parse

import zenoh


class CallError(Exception):
    """A call failed. `kind` is the class that essad gives it: not_found, invalid, overloaded, guest_fault ..."""

    def __init__(self, kind: str, text: str):
        super().__init__(f"{kind}: {text}")
        self.kind = kind


def chunk(name: str) -> str:
    """Percent-encode a name so that it is one chunk of a key expression."""
    return urllib.parse.quote(name, safe="") or "%"


def call(session: zenoh.Session, deployment: str, function: str, args: bytes = b"", seconds: float = 30.0) -> bytes:
    """Call a function and return its result."""
    # The deadline goes with the call, so that it does not run longer than somebody waits for it.
    selector = f"essa/call/{chunk(deployment)}/{chunk(function)}/-?deadline_ms={int(seconds * 1000)}"
    replies = session.get(
        selector,
        payload=args,
        target=zenoh.QueryTarget.BEST_MATCHING,  # one scheduler takes it
        consolidation=zenoh.ConsolidationMode.NONE,  # the reply is passed on as it comes
        timeout=seconds + 1,
    )
    for reply in replies:
        if reply.ok is not None:
            return reply.ok.payload.to_bytes()
        text = reply.err.payload.to_bytes().decode("utf-8", "replace")
        _, _, kind = str(reply.err.encoding).partition("essa-error=")
        raise CallError(kind or "unavailable", text)
    raise CallError("unavailable", "nobody answers: is a daemon with a scheduler running?")


def open_session(endpoint: str, user: str = "", password: str = "") -> zenoh.Session:
    """Open a session that is a client of the daemon at a Zenoh endpoint."""
    config = zenoh.Config()
    config.insert_json5("mode", '"client"')
    config.insert_json5("connect/endpoints", f'["{endpoint}"]')
    config.insert_json5("scouting/multicast/enabled", "false")
    if user:
        config.insert_json5("transport/auth/usrpwd/user", f'"{user}"')
        config.insert_json5("transport/auth/usrpwd/password", f'"{password}"')
    return zenoh.open(config)


def text(value: str) -> bytes:
    """Encode a string as Rust's bincode does, which is what guests in Rust, Go and C of these examples take."""
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--connect", required=True, metavar="ENDPOINT", help="tcp/HOST:PORT or unixsock-stream/PATH")
    p.add_argument("--user", default="")
    p.add_argument("--password", default="")
    p.add_argument("--text", help="one string as argument; without it the arguments are standard input, if any")
    p.add_argument("--seconds", type=float, default=30.0)
    p.add_argument("deployment")
    p.add_argument("function")
    a = p.parse_args()
    args = text(a.text) if a.text is not None else b"" if sys.stdin.isatty() else sys.stdin.buffer.read()
    with open_session(a.connect, a.user, a.password) as session:
        try:
            sys.stdout.buffer.write(call(session, a.deployment, a.function, args, a.seconds))
        except CallError as e:
            print(f"essa_call: {e}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
