"""One session of the package eclipse-zenoh that obeys commands: the other side of the interop suite.

    python driver.py MODE [CONFIG_KEY=JSON5]...

opens a session and says so. Each line of standard input is a command, a JSON object {"n": number, "do": name, ...};
each is answered by {"n": number, ...}, with "error" if it failed. What happens without being asked for is told as
{"on": name of the entity, ...}. Payloads are described by size, seed and CRC-32, and carried (in hex) up to 256 bytes: byte k
of a generated payload is (seed + k) % 251. The process ends when its standard input does.
"""

import json
import os
import signal
import sys
import threading
import time
import zlib

# The session's threads must not get these: a handler of Python's runs on whatever thread was hit.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})

import zenoh  # noqa: E402 (its threads inherit the mask)

HEAD = 256
PERIOD = bytes(range(251))
PRIORITIES = [
    zenoh.Priority.REAL_TIME,
    zenoh.Priority.INTERACTIVE_HIGH,
    zenoh.Priority.INTERACTIVE_LOW,
    zenoh.Priority.DATA_HIGH,
    zenoh.Priority.DATA,
    zenoh.Priority.DATA_LOW,
    zenoh.Priority.BACKGROUND,
]

say_lock = threading.Lock()


def say(**what):
    line = json.dumps(what).encode() + b"\n"
    with say_lock:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


def generated(c):
    """The payload that a command describes, or None."""
    if "hex" in c:
        return bytes.fromhex(c["hex"])
    if "size" not in c:
        return None
    seed = c.get("seed", 0) % 251
    return (PERIOD * (c["size"] // 251 + 2))[seed : seed + c["size"]]


def described(z):
    if z is None:
        return {}
    b = bytes(z)
    d = {"size": len(b), "crc": zlib.crc32(b)}
    if len(b) <= HEAD:
        d["hex"] = b.hex()
    return d


def name_of(x):
    """The name of an enumeration's member in the form of Zenoh's configuration."""
    return str(x).rsplit(".", 1)[-1].lower()


def options(c, *names):
    """The keyword arguments among a command's fields."""
    kw = {}
    for n in names:
        if n not in c:
            continue
        v = c[n]
        if n == "attachment":
            v = bytes.fromhex(v)
        elif n == "priority":
            v = PRIORITIES[v - 1]
        elif n == "congestion_control":
            v = getattr(zenoh.CongestionControl, v.upper())
        elif n == "reliability":
            v = getattr(zenoh.Reliability, v.upper())
        elif n == "target":
            v = getattr(zenoh.QueryTarget, v.upper())
        elif n == "consolidation":
            v = getattr(zenoh.ConsolidationMode, v.upper())
        elif n == "accept_replies":
            v = getattr(zenoh.ReplyKeyExpr, v.upper())
        kw[n] = v
    return kw


def sample_fields(s):
    d = described(s.payload)
    d.update(
        key=str(s.key_expr),
        kind=name_of(s.kind),
        encoding=str(s.encoding),
        priority=int(s.priority),
        congestion_control=name_of(s.congestion_control),
        express=bool(s.express),
    )
    if s.attachment is not None:
        d["attachment"] = bytes(s.attachment).hex()
    if s.timestamp is not None:
        d["timestamp"] = str(s.timestamp)
    return d


class Driver:
    def __init__(self, session):
        self.session = session
        self.things = {}  # by name
        self.counts = {}  # name: [samples, bytes]
        self.held = {}  # queries that were not answered yet

    # Declarations.

    def keep(self, c, thing):
        self.things[c["name"]] = thing

    def sink(self, c):
        name, counts, quiet = c["name"], self.counts.setdefault(c["name"], [0, 0]), c.get("quiet")

        def on_sample(s):
            counts[0] += 1
            counts[1] += len(s.payload)
            if not quiet:
                say(on=name, **sample_fields(s))

        return zenoh.handlers.Callback(on_sample, indirect=False)

    def do_subscriber(self, c):
        self.keep(c, self.session.declare_subscriber(c["key"], self.sink(c)))

    def do_liveliness_subscriber(self, c):
        self.keep(c, self.session.liveliness().declare_subscriber(c["key"], self.sink(c), history=c.get("history", False)))

    def do_publisher(self, c):
        self.keep(
            c,
            self.session.declare_publisher(
                c["key"], **options(c, "encoding", "congestion_control", "priority", "express", "reliability")
            ),
        )

    def do_querier(self, c):
        self.keep(c, self.session.declare_querier(c["key"], **options(c, "target", "consolidation", "timeout")))

    def do_token(self, c):
        self.keep(c, self.session.liveliness().declare_token(c["key"]))

    def do_queryable(self, c):
        counts = self.counts.setdefault(c["name"], [0, 0])

        def on_query(q):
            counts[0] += 1
            counts[1] += len(q.payload) if q.payload is not None else 0
            if not c.get("quiet"):
                self.tell_query(c["name"], q)
            if c.get("hold"):
                self.held.setdefault(c["name"], []).append(q)
                return
            self.answer(c, q)

        self.keep(
            c,
            self.session.declare_queryable(
                c["key"], zenoh.handlers.Callback(on_query, indirect=False), complete=c.get("complete", False)
            ),
        )

    def tell_query(self, name, q):
        d = described(q.payload)
        d.update(key=str(q.key_expr), parameters=str(q.parameters))
        if q.encoding is not None:
            d["encoding"] = str(q.encoding)
        if q.attachment is not None:
            d["attachment"] = bytes(q.attachment).hex()
        say(on=name, **d)

    def answer(self, c, q):
        """Sends the replies that c lists. One without a key gets the query's."""
        with q:
            for r in c.get("replies", []):
                key = r.get("key") or q.key_expr
                try:
                    if r.get("kind") == "err":
                        q.reply_err(generated(r) or b"", **options(r, "encoding"))
                    elif r.get("kind") == "delete":
                        q.reply_del(key, **options(r, "attachment"))
                    else:
                        payload = bytes(q.payload or b"") if r.get("echo") else generated(r) or b""
                        q.reply(key, payload, **options(r, "encoding", "attachment"))
                except zenoh.ZError as e:
                    say(on=c["name"], reply_error=str(e))

    def do_release(self, c):
        """Answers the queries that a queryable holds, or only ends them."""
        for q in self.held.pop(c["name"], []):
            self.answer(c, q)

    def do_many(self, c):
        """Declares count entities of one kind on prefix/0, prefix/1 and so on."""
        kind, name = c["kind"], c["name"]
        things = []
        for i in range(c["count"]):
            one = dict(c, key="%s/%d" % (c["key"], i), quiet=True)
            getattr(self, "do_" + kind)(one)
            things.append(self.things.pop(name))
        self.things[name] = things

    def do_undeclare(self, c):
        thing = self.things.pop(c["name"])
        for t in thing if isinstance(thing, list) else [thing]:
            t.undeclare()

    def do_matching(self, c):
        return {"matching": bool(self.things[c["name"]].matching_status.matching)}

    def do_stats(self, c):
        n, size = self.counts.get(c["name"], [0, 0])
        return {"count": n, "bytes": size}

    # Data. The commands in SLOW run on a thread of their own.

    def do_put(self, c):
        """Puts count times: on key/0, key/1 and so on where spread is set, and the number instead of a payload where number is."""
        kw = options(c, "encoding", "congestion_control", "priority", "express", "attachment")
        payload = generated(c) or b""
        for i in range(c.get("count", 1)):
            key = "%s/%d" % (c["key"], i) if c.get("spread") else c.get("key")
            body = b"%d" % i if c.get("number") else payload
            if c.get("stamp"):
                kw["timestamp"] = self.session.new_timestamp()
            if "publisher" in c:
                self.things[c["publisher"]].put(body, **options(c, "encoding", "attachment"))
            else:
                self.session.put(key, body, **kw)

    def do_delete(self, c):
        if "publisher" in c:
            self.things[c["publisher"]].delete(**options(c, "attachment"))
        else:
            self.session.delete(c["key"], **options(c, "congestion_control", "priority", "express", "attachment"))

    def do_get(self, c):
        kw = options(c, "encoding", "attachment")
        if (payload := generated(c)) is not None:
            kw["payload"] = payload
        if "querier" in c:
            handler = self.things[c["querier"]].get(parameters=c.get("parameters"), **kw)
        else:
            kw.update(options(c, "target", "consolidation", "accept_replies", "timeout", "priority"))
            handler = self.session.get(c["selector"], zenoh.handlers.FifoChannel(4096), **kw)
        return self.replies(handler)

    def do_liveliness_get(self, c):
        return self.replies(self.session.liveliness().get(c["key"], zenoh.handlers.FifoChannel(4096), timeout=c.get("timeout")))

    def replies(self, handler):
        out, start = [], time.monotonic()
        for r in handler:
            if r.ok is not None:
                d = sample_fields(r.ok)
            else:
                d = described(r.err.payload)
                d.update(kind="err", encoding=str(r.err.encoding))
            if r.replier_id is not None:
                d["replier"] = str(r.replier_id.zid)
            d["after_ms"] = (time.monotonic() - start) * 1000
            out.append(d)
        return {"replies": out, "took_ms": (time.monotonic() - start) * 1000}

    def do_bulk_get(self, c):
        """Gets count times, one after the other, and tells how many replies came."""
        good = bad = 0
        for _ in range(c["count"]):
            for r in self.session.get(c["selector"], **options(c, "timeout")):
                good, bad = good + (r.ok is not None), bad + (r.err is not None)
        return {"good": good, "bad": bad}

    # The session.

    def do_info(self, c):
        i = self.session.info
        return {
            "zid": str(i.zid()),
            "routers": [str(z) for z in i.routers_zid()],
            "peers": [str(z) for z in i.peers_zid()],
            "links": [[str(link.src), str(link.dst)] for link in i.links()],
            "shm": [bool(t.is_shm) for t in i.transports()],
            "qos": [bool(t.is_qos) for t in i.transports()],
        }

    def do_close(self, c):
        self.session.close()

    SLOW = {"put", "get", "liveliness_get", "bulk_get", "many", "close"}

    def obey(self, c):
        try:
            say(n=c["n"], **(getattr(self, "do_" + c["do"])(c) or {}))
        except Exception as e:
            say(n=c["n"], error="%s: %s" % (type(e).__name__, e))


def main():
    config = zenoh.Config()
    config.insert_json5("mode", json.dumps(sys.argv[1]))
    for a in sys.argv[2:]:
        key, value = a.split("=", 1)
        config.insert_json5(key, value)
    if log := os.environ.get("INTEROP_LOG"):
        zenoh.init_log_from_env_or(log)
    try:
        session = zenoh.open(config)
    except zenoh.ZError as e:
        say(on="open", error=str(e))
        return 1
    d = Driver(session)
    say(on="open", zid=str(session.zid()))
    for line in sys.stdin:
        c = json.loads(line)
        if c["do"] in d.SLOW:
            threading.Thread(target=d.obey, args=(c,), daemon=True).start()
        else:
            d.obey(c)
    sys.stdout.flush()
    os._exit(0)  # not session.close: whoever wants that says so


sys.exit(main())
