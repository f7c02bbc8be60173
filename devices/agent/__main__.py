"""The agent: JSON lines in, JSON lines out, on the device; it listens on nothing and ends when its input does."""

import errno
import json
import os
import re
import select
import sys
import time
from typing import Any, BinaryIO, Callable, Dict, List, Optional

import bench
import discreet
import energy
import footprint
import jobs
import lease
import probe
import runtimes
import store
import timing
import tuning

PROTOCOL = 2
MOST_REQUEST_BYTES = 4 << 20
MOST_ANSWER_BYTES = 1 << 16
MOST_REST_S = 60
MOST_NUMBER = 2**53
# What a disk says that takes nothing any more.
FULL = (errno.ENOSPC, errno.EDQUOT)
NAME = re.compile(r"^[A-Za-z0-9_.-]{1,60}\Z")


class Channel(object):
    """The two ends of the conversation; nothing but records is ever written to the host."""

    def __init__(self, source: BinaryIO, sink: int) -> None:
        """Take the stream requests come from and the descriptor records go to."""
        self.source = source
        self.sink = sink
        self.hung_up = select.poll() if hasattr(select, "poll") else None
        if self.hung_up is not None:
            self.hung_up.register(source.fileno(), 0)

    def send(self, record: Dict[str, Any]) -> None:
        """Write one record as one line; leave the process when the host is gone."""
        line = json.dumps(record, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"
        if len(line) > MOST_ANSWER_BYTES:
            record = {"id": record.get("id"), "ev": "error", "reason": "the answer is too long to send"}
            line = json.dumps(record).encode("ascii") + b"\n"
        # Mid-measurement nobody reads stdin: without this a device would go on measuring for a host that has left.
        if record["ev"] == "progress" and self.hung_up is not None:
            if any(event & select.POLLHUP for _, event in self.hung_up.poll(0)):
                os._exit(0)
        try:
            while line:
                line = line[os.write(self.sink, line) :]
        except OSError:
            os._exit(0)

    def receive(self) -> Optional[bytes]:
        """Return the next line, b"" for one that was too long (it is skipped whole), None at the end."""
        line = self.source.readline(MOST_REQUEST_BYTES + 1)
        if not line:
            return None
        if len(line) <= MOST_REQUEST_BYTES:
            return line
        while line and not line.endswith(b"\n"):
            line = self.source.readline(MOST_REQUEST_BYTES)
        return b""


def private_channel() -> Channel:
    """Keep the real output for records and point descriptor 1 at stderr: runtimes print there as they like."""
    sink = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return Channel(os.fdopen(os.dup(0), "rb"), sink)


def hello(request: Dict[str, Any], folder: str, send: bench.Send) -> None:
    """Say what this device is; a runtime is imported and tried only where the host names it."""
    names = request.get("runtimes", [])
    if not isinstance(names, list) or len(names) > 16 or not all(isinstance(n, str) and NAME.match(n) for n in names):
        raise bench.RequestInvalid("'runtimes' must be a list of at most 16 names")
    send(
        {
            "ev": "hello",
            "protocol": PROTOCOL,
            "boot_id": probe.boot_id(),
            "environment": probe.environment(),
            # What somebody changed and, cut off, never put back must be found by whoever comes next.
            "state": dict(probe.state(), tuned_by=probe.known(tuning.left(folder))),
            "clocks": timing.clocks(1).record(),
            "runtimes": [runtimes.about(name) for name in names],
        }
    )


def rest(request: Dict[str, Any], folder: str, send: bench.Send) -> None:
    """Do nothing for a while, so that the device may cool, and say how it is doing then, and how busy others kept it.

    The workers of the ``jobs`` named are no others: whoever comes back to a device finds its own still at work.
    """
    seconds, names = request.get("seconds"), request.get("jobs") or []
    if not isinstance(seconds, (int, float)) or not 0 < seconds <= MOST_REST_S:
        raise bench.RequestInvalid("'seconds' must be a number above 0, at most %d" % MOST_REST_S)
    before, own_before, began = probe.cpu_seconds(), _own_seconds(folder, names), time.monotonic()
    time.sleep(seconds)
    took_s = max(1e-3, time.monotonic() - began)
    # A worker that ended meanwhile is not in the second sum any more.
    own_s = max(0.0, _own_seconds(folder, names) - own_before)
    send(dict(bench.foreign(before, probe.cpu_seconds(), own_s, took_s), ev="rested", state=probe.state()))


def _own_seconds(folder: str, names: Any) -> float:
    """Return for how many seconds this process and the workers of some jobs have kept cores busy."""
    return probe.own_seconds() + (jobs.busy_seconds(names, folder) if names else 0.0)


# What is asked of a device that is reached over a link: work that outlives it, who holds the device, its files.
HOUSEKEEPING: Dict[str, Callable[[Dict[str, Any], str, bench.Send], None]] = {
    "start": jobs.start,
    "attach": jobs.attach,
    "end": jobs.end,
    "forget": jobs.forget,
    "lease": lease.lease,
    "release": lease.release,
    "lacking": store.lacking,
    "unpack": store.unpack,
}


def answer(line: bytes, folder: str, channel: Channel) -> bool:
    """Answer one request line; return whether to go on. Every fault becomes an error record."""
    number: Optional[int] = None

    def send(record: Dict[str, Any]) -> None:
        if isinstance(record.get("reason"), str):
            record = dict(record, reason=discreet.discreet(record["reason"]))
        channel.send(dict(record, id=number))

    try:
        if not line:
            raise bench.RequestInvalid("the line is longer than %d bytes" % MOST_REQUEST_BYTES)
        request = json.loads(line.decode("utf-8"))
        if not isinstance(request, dict) or not bench.whole(request.get("id"), 0, MOST_NUMBER):
            raise bench.RequestInvalid("a request is an object with a whole-number 'id'")
        number = request["id"]
        verb = request.get("do")
        lease.renew(folder, request.get("lease"))
        if verb == "stop":
            send({"ev": "stopped"})
            return False
        if verb == "hello":
            hello(request, folder, send)
        elif verb == "rest":
            rest(request, folder, send)
        elif verb == "bench":
            bench.bench(request, folder, send)
        elif verb == "footprint":
            footprint.footprint(request, folder, send)
        elif verb == "energy":
            energy.energy(request, folder, send)
        elif verb == "tune":
            tuning.tune(request, folder, send)
        elif isinstance(verb, str) and verb in HOUSEKEEPING:
            HOUSEKEEPING[verb](request, folder, send)
        else:
            raise bench.RequestInvalid("unknown verb %r" % (verb,))
    except lease.NotHeld as fault:
        send({"ev": "error", "kind": "not_held", "reason": str(fault)})
    except bench.RequestInvalid as fault:
        send({"ev": "error", "reason": str(fault)[:400]})
    # The host reads records, not tracebacks: the boundary of the process is where every fault must end.
    except Exception as fault:
        full = isinstance(fault, OSError) and fault.errno in FULL
        send(dict({"kind": "no_room"} if full else {}, ev="error", reason=runtimes.describe(fault)))
    return True


def main(arguments: List[str]) -> int:
    """Serve until stdin ends. ``--files DIR`` is the folder that holds files named by their SHA-256.

    With ``--work JOB SECONDS`` after it, do that one job instead, for so long at most.
    """
    folder = arguments[1] if len(arguments) >= 2 and arguments[0] == "--files" else "."
    # Runtimes import a great deal; a module of ours must never be taken for one of theirs.
    del sys.path[0]
    if arguments[2:3] == ["--work"]:
        return jobs.work(arguments[3], folder, int(arguments[4]), answer)
    channel = private_channel()
    line = channel.receive()
    while line is not None and answer(line, folder, channel):
        line = channel.receive()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
