"""Work that outlives the link: a worker in a process of its own, its journal on the device, and whoever follows it."""

import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import IO, Any, Callable, Dict, List, Optional, Tuple

import bench
import lease
import probe
import scope
import store
import sysfs

JOB = re.compile(r"^[0-9a-f]{32}\Z")
ATTEMPT = re.compile(r"^[0-9]{1,6}\Z")
MOST_ATTEMPTS = 10**6
MOST_PID = 2**31 - 1
MOST_CAP_S = 86400
BEGIN_S = 15.0
POLL_S = 0.2
TELL_S = 1.0
ALIVE_S = 5.0
STALE_S = 7 * 86400
MOST_JOBS = 10000
LAST_WORDS_BYTES = 400
# What a worker can be asked for, and the records that end its journal.
WORK = ("bench", "footprint", "energy")
ENDS = ("done", "footprint", "energy", "error")
# What a loss of power must not take: samples of a state come in one go before its reference, and lie on the disk with
# it. A sync for each of them would keep the disk busy while nobody has any use for half a state.
SYNCED = ENDS + ("begin", "reference", "failed")

Send = Callable[[Dict[str, Any]], None]


def folder_of(files: str) -> str:
    """Return the folder of all jobs, beside that of the model files."""
    return os.path.join(os.path.dirname(os.path.abspath(files)), "jobs")


def place_of(files: str, request: Dict[str, Any]) -> str:
    """Return the folder of the job a request names; raises RequestInvalid."""
    job = request.get("job")
    if not isinstance(job, str) or not JOB.match(job):
        raise bench.RequestInvalid("'job' must be 32 hex digits")
    return os.path.join(folder_of(files), job)


def start(request: Dict[str, Any], files: str, send: Send) -> None:
    """Begin a job, unless it runs or is complete; a worker that died gets a successor, told apart by its attempt."""
    work, cap_s, place = request.get("work"), request.get("cap_s"), place_of(files, request)
    if not isinstance(work, dict) or work.get("do") not in WORK:
        raise bench.RequestInvalid("'work' must be a request to do one of: " + ", ".join(WORK))
    if not isinstance(cap_s, int) or isinstance(cap_s, bool) or not 1 <= cap_s <= MOST_CAP_S:
        raise bench.RequestInvalid("'cap_s' must be a whole number from 1 to %d" % MOST_CAP_S)
    os.makedirs(place, mode=0o700, exist_ok=True)
    # A device without a battery for its clock may find that weeks have passed: what is asked for is not stale.
    now_s = time.time()
    os.utime(place, (now_s, now_s))
    drop_stale(files)
    with open(os.path.join(place, "lock"), "a+") as lock:
        if not lease.taken(lock):
            send(dict(begun(place), ev="started", state="running"))
            return
        if complete(place):
            send(dict(begun(place), ev="started", state="complete"))
            return
        attempt = begun(place)["attempt"] + 1
        store.write(os.path.join(place, "request.json"), json.dumps(dict(work, id=0)).encode("ascii"))
        store.write(os.path.join(place, "attempt"), b"%d\n" % attempt)
        store.write(os.path.join(place, "journal.jsonl"), b"")
    spawn(place, files, cap_s)
    send(dict(begun(place), ev="started", state="running"))


def spawn(place: str, files: str, cap_s: int) -> None:
    """Start a worker in a session of its own, and wait until its journal says so.

    A new interpreter and no fork: the runtimes this process may have loaded have threads that a fork would lose. Where
    logging out would end it, the user's own service manager is given it first, if that can be.
    """
    command = [sys.executable, sys.argv[0], "--files", files, "--work", place, str(cap_s)]
    before = scope.before(sysfs.root_of(None))
    if not before or not _begins(before + command, place):
        if not _begins(command, place):
            raise bench.RequestInvalid("the worker ended before it began; its last words: " + last_words(place))


def _begins(command: List[str], place: str) -> bool:
    """Start a worker; say whether it has begun, or may still: False is one that ended before."""
    with open(os.devnull, "r+b") as nowhere, open(os.path.join(place, "log"), "wb") as log:
        process = subprocess.Popen(
            command, stdin=nowhere, stdout=nowhere, stderr=log, start_new_session=True, close_fds=True
        )
    deadline = time.monotonic() + BEGIN_S
    while time.monotonic() < deadline and not begun(place)["pid"]:
        if process.poll() is not None and not begun(place)["pid"]:
            return False
        time.sleep(0.02)
    return True


class Journal(object):
    """The records of a worker, each on the disk before the next piece of work begins; takes the place of a channel."""

    def __init__(self, place: str) -> None:
        """Open the journal of a job, and what tells how far its work is."""
        self.records = open(os.path.join(place, "journal.jsonl"), "ab", buffering=0)
        self.share = os.open(os.path.join(place, "share"), os.O_WRONLY | os.O_CREAT, 0o600)

    def send(self, record: Dict[str, Any]) -> None:
        """Append a record; of progress only the last is kept, in memory."""
        if record["ev"] == "progress":
            os.pwrite(self.share, b"%6.4f" % record["share"], 0)
            return
        line = json.dumps(record, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"
        end = os.fstat(self.records.fileno()).st_size
        # A disk that fills up takes a part, and says nothing: what came behind it would be one line with it.
        if self.records.write(line) != len(line):
            os.ftruncate(self.records.fileno(), end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if record["ev"] in SYNCED:
            os.fsync(self.records.fileno())


def work(place: str, files: str, cap_s: int, answer: Callable[[bytes, str, Any], bool]) -> int:
    """Do a job as its worker: hold its lock, journal what comes of it, and end by the clock where nothing else does."""
    with open(os.path.join(place, "lock"), "a+") as lock:
        # The lock's first holder may be the agent that started this worker, for a moment.
        for _ in range(50):
            if lease.taken(lock):
                break
            time.sleep(0.02)
        else:
            return 3
        # The default deed of this signal ends a process in the middle of a runtime's own code.
        signal.alarm(cap_s)
        with open(os.path.join(place, "request.json"), "rb") as stream:
            request = stream.read()
        journal = Journal(place)
        attempt = int(text(place, "attempt") or "1")
        who = {"pid": os.getpid(), "boot_id": probe.boot_id(), "started_s": round(time.time(), 3)}
        journal.send(dict(who, ev="begin", attempt=attempt))
        answer(request, files, journal)
    return 0


def attach(request: Dict[str, Any], files: str, send: Send) -> None:
    """Send the journal of a job from a byte offset on, and follow it to its end, or to that of its worker."""
    place, offset, token = place_of(files, request), request.get("offset"), request.get("lease")
    if not isinstance(offset, int) or isinstance(offset, bool) or offset < 0:
        raise bench.RequestInvalid("'offset' must be a whole number of bytes")
    path = os.path.join(place, "journal.jsonl")
    if not os.path.exists(path):
        raise bench.RequestInvalid("there is no such job")
    told, alive = "", time.monotonic()
    with open(path, "rb") as stream, open(os.path.join(place, "lock"), "a+") as lock:
        while True:
            dead = lease.taken(lock)
            if dead:
                fcntl.flock(lock, fcntl.LOCK_UN)
            # Read after the look at the lock: what a worker wrote before it died is not missed.
            offset, ended = forward(stream, offset, send)
            # Whoever has read all of it already sees no end among what is left.
            if ended or (dead and complete(place)):
                send({"ev": "attached", "state": "complete", "offset": offset})
                return
            if dead:
                send(dict(fate(place), ev="attached", state="dead", offset=offset))
                return
            share = text(place, "share")
            if (share != told and time.monotonic() - alive >= TELL_S) or time.monotonic() - alive >= ALIVE_S:
                told, alive = share, time.monotonic()
                lease.renew(files, token)
                send({"ev": "progress", "share": share_of(share)})
            time.sleep(POLL_S)


def forward(stream: IO[bytes], offset: int, send: Send) -> Tuple[int, bool]:
    """Send the whole lines from an offset on; return the offset after them and whether the last one ends the journal.

    A line that is torn or damaged is not sent, nor what follows it: nobody knows what it was to say.
    """
    stream.seek(offset)
    for line in stream:
        record = record_of(line)
        if record is None:
            break
        offset += len(line)
        if record["ev"] != "begin":
            send({"ev": "row", "offset": offset, "row": record})
        if record["ev"] in ENDS:
            return offset, True
    return offset, False


def share_of(content: str) -> float:
    """Return what a file of progress says, 0 to 1."""
    try:
        return min(1.0, max(0.0, float(content)))
    except ValueError:
        return 0.0


def fate(place: str) -> Dict[str, Any]:
    """Say why a job has no end: the device was started anew, or its worker ended without a last record."""
    before = begun(place)
    if before["boot_id"] != probe.boot_id():
        return {"reason": "the device was started anew in the middle of it", "attempt": before["attempt"]}
    said = last_words(place)
    return {
        "reason": "its worker ended in the middle of it" + ("; its last words: " + said if said else ""),
        "attempt": before["attempt"],
    }


def begun(place: str) -> Dict[str, Any]:
    """Return attempt, process and boot of a job's last worker; 0 and "" for one that never began."""
    attempt = text(place, "attempt")
    empty = {"attempt": int(attempt) if ATTEMPT.match(attempt) else 0, "pid": 0, "boot_id": ""}
    try:
        with open(os.path.join(place, "journal.jsonl"), "rb") as stream:
            record = record_of(stream.readline())
    except OSError:
        return empty
    found = {name: (record or {}).get(name) for name in ("attempt", "pid", "boot_id")}
    # Of a damaged one no process is killed, and no number is believed.
    sound = isinstance(found["boot_id"], str) and len(found["boot_id"]) <= 100
    if not sound or not bench.whole(found["attempt"], 0, MOST_ATTEMPTS) or not bench.whole(found["pid"], 2, MOST_PID):
        return empty
    return found


def record_of(line: bytes) -> Optional[Dict[str, Any]]:
    """Return the record that a line of a journal holds; None where it is torn, or damaged as by a loss of power."""

    def finite(digits: str) -> float:
        value = float(digits)
        if value - value != 0:
            raise ValueError("no record holds '%s'" % digits)
        return value

    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line.decode("ascii"), parse_float=finite, parse_constant=finite)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("ev"), str) else None


def complete(place: str) -> bool:
    """Say whether the last whole line of a job's journal ends it."""
    try:
        with open(os.path.join(place, "journal.jsonl"), "rb") as stream:
            lines = [line for line in stream if line.endswith(b"\n")]
    except OSError:
        return False
    last = record_of(lines[-1]) if lines else None
    return last is not None and last["ev"] in ENDS


def end(request: Dict[str, Any], files: str, send: Send) -> None:
    """End a job's worker and everything it started, now; its journal stays."""
    place = place_of(files, request)
    killed = False
    if os.path.isdir(place):
        with open(os.path.join(place, "lock"), "a+") as lock:
            worker = begun(place)
            if not lease.taken(lock) and worker["pid"] and worker["boot_id"] == probe.boot_id():
                killed = kill_group(worker["pid"])
                # It is gone when its lock is.
                deadline = time.monotonic() + BEGIN_S
                while not lease.taken(lock) and time.monotonic() < deadline:
                    time.sleep(0.02)
    send({"ev": "ended", "killed": killed})


def kill_group(pid: int) -> bool:
    """Kill a worker, which leads a process group of its own; say whether there was one."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError as fault:
        if fault.errno == errno.ESRCH:
            return False
        raise
    return True


def forget(request: Dict[str, Any], files: str, send: Send) -> None:
    """Remove jobs that the host has taken over whole; one whose worker is alive stays."""
    send({"ev": "forgotten", "jobs": sum(removed(place) for place in places_of(files, request.get("jobs")))})


def places_of(files: str, names: Any) -> List[str]:
    """Return the folders of several jobs; raises RequestInvalid."""
    if not isinstance(names, list) or len(names) > MOST_JOBS:
        raise bench.RequestInvalid("'jobs' must be a list of at most %d" % MOST_JOBS)
    return [place_of(files, {"job": name}) for name in names]


def busy_seconds(names: Any, files: str) -> float:
    """Return for how many seconds the living workers of some jobs have kept cores busy; raises RequestInvalid."""
    found = 0.0
    for place in places_of(files, names):
        if not os.path.isdir(place):
            continue
        with open(os.path.join(place, "lock"), "a+") as lock:
            worker = begun(place)
            if not lease.taken(lock) and worker["boot_id"] == probe.boot_id():
                found += probe.seconds_of(worker["pid"])
    return found


def drop_stale(files: str) -> None:
    """Remove the jobs that nobody has asked for in a week: their host has forgotten them."""
    folder = folder_of(files)
    for name in os.listdir(folder):
        place = os.path.join(folder, name)
        try:
            old = JOB.match(name) and time.time() - os.stat(place).st_mtime > STALE_S
        except OSError:
            continue
        if old:
            removed(place)


def removed(place: str) -> bool:
    """Remove a job unless its worker is alive; say whether it is gone now and was there before."""
    if not os.path.isdir(place):
        return False
    with open(os.path.join(place, "lock"), "a+") as lock:
        if not lease.taken(lock):
            return False
        shutil.rmtree(place, ignore_errors=True)
    return not os.path.isdir(place)


def text(place: str, name: str) -> str:
    """Return a small file of a job, or ""."""
    try:
        with open(os.path.join(place, name), "rb") as stream:
            return stream.read(100).decode("ascii", "replace").strip()
    except OSError:
        return ""


def last_words(place: str) -> str:
    """Return the end of what a worker complained about."""
    try:
        with open(os.path.join(place, "log"), "rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - LAST_WORDS_BYTES))
            lines = stream.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    spoken = [line.strip() for line in lines if line.strip()]
    return spoken[-1] if spoken else ""
