"""A Zenoh client that tries what only members of the cluster may do. Prints one line for each try."""

import sys
import time

sys.path.insert(0, sys.argv[2])
import zenoh  # noqa: E402
from essa_call import open_session  # noqa: E402


def errors(session, selector, **options):
    for r in session.get(selector, timeout=5, consolidation=zenoh.ConsolidationMode.NONE, **options):
        if r.ok is not None:
            return f"ok {r.ok.key_expr}"
        return f"refused {r.err.encoding}"
    return "nothing"


with open_session(sys.argv[1]) as s:
    print("internal query:", errors(s, "anna/key_request", payload=b"\x08\x01"))
    print("executor:", errors(s, "essa/executor/one/run-function/m/f/-", payload=b""))
    print("everything:", errors(s, "essa/**", payload=b""))
    print("administration:", errors(s, "essa/admin/node/status", payload=b""))
    print("ping:", errors(s, "essa/ping/one", payload=b"x"))
    s.put("essa/executor/one/report", b"\x0a\x03one")  # before it listens: a session hears itself
    asked, heard = [], []
    for key in ("essa/call/**", "essa/ping/one", "anna/key_request"):
        s.declare_queryable(key, lambda q: asked.append(str(q.key_expr)))
    for key in ("essa/run/*/out", "essa/executor/*/report", "**"):
        s.declare_subscriber(key, lambda x: heard.append(str(x.key_expr)))
    s.liveliness().declare_token("essa/alive/kvs/other")
    print("ready", flush=True)
    sys.stdin.readline()  # meanwhile others call and run
    time.sleep(0.2)
    print("asked:", asked)
    print("heard:", heard)
    alive = sorted(str(r.ok.key_expr) for r in s.liveliness().get("essa/alive/**", timeout=5))
    print("alive:", " ".join(alive))
    mine = []
    s.declare_subscriber("mine/**", lambda x: mine.append(x.payload.to_bytes()))
    s.put("mine/x", b"hello")
    time.sleep(0.2)
    print("mine:", mine)
