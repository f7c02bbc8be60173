"""Work that outlives its host: a worker journals, whoever attaches follows, one owner holds the device."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

JOB = "0123456789abcdef" * 2
MINE, THEIRS = "a" * 32, "b" * 32
# A footprint of a runtime that is not there ends at once by an error record, on every Python.
QUICK = {"do": "footprint", "runtime": "bogus", "file": "empty", "threads": 1, "kernels": "default"}


class Agent:
    """An agent spoken to line by line, as a host does."""

    def __init__(self, python: str, archive: Path, files: Path) -> None:
        self.process = subprocess.Popen(
            [python, str(archive), "--files", str(files)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.number = 0

    def ask(self, **request: Any) -> list[dict[str, Any]]:
        """Return all records up to the one that ends the answer."""
        self.number += 1
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"id": self.number, **request}).encode() + b"\n")
        self.process.stdin.flush()
        found = []
        while True:
            record = json.loads(self.process.stdout.readline())
            found.append(record)
            if record["ev"] not in ("row", "progress", "absent"):
                return found

    def last(self, **request: Any) -> dict[str, Any]:
        return self.ask(**request)[-1]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "device" / "files"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def agent(python: str, agent_archive: Path, files: Path) -> Iterator[Callable[[], Agent]]:
    """Return a function that starts another agent on the same device."""
    started: list[Agent] = []

    def start() -> Agent:
        started.append(Agent(python, agent_archive, files))
        return started[-1]

    yield start
    for one in started:
        one.close()


def begin(agent: Agent, work: dict[str, Any] | None = None, job: str = JOB, cap_s: int = 60) -> dict[str, Any]:
    return agent.last(do="start", job=job, work=work or QUICK, cap_s=cap_s)


@pytest.mark.slow
def test_a_job_is_done_once_and_followed_from_anywhere(agent: Callable[[], Agent], files: Path) -> None:
    first = agent()
    started = begin(first)
    assert (started["ev"], started["attempt"]) == ("started", 1) and started["pid"] not in (0, first.process.pid)
    records = first.ask(do="attach", job=JOB, offset=0)
    rows = [record for record in records if record["ev"] == "row"]
    assert [row["row"]["ev"] for row in rows] == ["error"] and "unknown runtime" in rows[0]["row"]["reason"]
    assert records[-1]["state"] == "complete" and records[-1]["offset"] == rows[-1]["offset"]
    first.close()
    second = agent()
    assert begin(second)["state"] == "complete"
    assert second.ask(do="attach", job=JOB, offset=rows[-1]["offset"])[-1]["state"] == "complete"
    assert [record["ev"] for record in second.ask(do="attach", job=JOB, offset=0)][:1] == ["row"]
    assert second.last(do="forget", jobs=[JOB])["jobs"] == 1
    assert begin(second)["attempt"] == 1, "nothing is left of it"


def gone(one: Agent) -> None:
    """Wait for the worker to end: its last line is written a moment before, and until then no other is begun."""
    one.last(do="end", job=JOB)


@pytest.mark.slow
def test_a_torn_last_line_is_dropped_and_a_dead_worker_has_a_successor(agent: Callable[[], Agent], files: Path) -> None:
    one = agent()
    begin(one)
    one.ask(do="attach", job=JOB, offset=0)
    gone(one)
    journal = files.parent / "jobs" / JOB / "journal.jsonl"
    begun, ended = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(begun + ended[:-9])
    records = one.ask(do="attach", job=JOB, offset=0)
    assert [record["ev"] for record in records] == ["attached"]
    assert records[0]["state"] == "dead" and records[0]["attempt"] == 1 and records[0]["offset"] == len(begun)
    assert begin(one)["attempt"] == 2
    assert one.ask(do="attach", job=JOB, offset=0)[-1]["state"] == "complete"


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [b"\0" * 80 + b"\n", b'{"ev":"begin","pid":1,"attempt":-4,"boot_id":7}\n', b"[]\n"],
    ids=["zeros", "a record that cannot be", "no record"],
)
def test_a_journal_that_a_loss_of_power_damaged_is_begun_anew(
    damage: bytes, agent: Callable[[], Agent], files: Path
) -> None:
    one = agent()
    begin(one)
    one.ask(do="attach", job=JOB, offset=0)
    gone(one)
    place = files.parent / "jobs" / JOB
    (place / "journal.jsonl").write_bytes(damage)
    ended = one.ask(do="attach", job=JOB, offset=0)[-1]
    assert (ended["ev"], ended["state"]) == ("attached", "dead") and one.last(do="end", job=JOB)["killed"] is False
    assert begin(one)["attempt"] == 2
    assert one.ask(do="attach", job=JOB, offset=0)[-1]["state"] == "complete"
    gone(one)
    (place / "journal.jsonl").write_bytes(damage)
    (place / "attempt").write_bytes(b"\xff\xfe")
    assert begin(one)["attempt"] == 1
    assert one.ask(do="attach", job=JOB, offset=0)[-1]["state"] == "complete"


@pytest.mark.slow
def test_a_worker_ends_by_the_clock_and_by_request(agent: Callable[[], Agent], files: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    one = agent()
    if not one.last(do="hello", runtimes=["onnxruntime"])["runtimes"][0]["ready"]:
        pytest.skip("this Python has no onnxruntime")
    parameters = {
        "warm_calls": 1, "cold_cycles": 10000, "hot_bursts": 1000, "burst_least": 10000, "burst_most": 10000,
        "burst_us": 10000000, "reference_every": 1, "canary_calls": 1, "canary_us": 0, "soak_s": 0, "seed": 1,
    }  # fmt: skip
    endless = {
        "do": "bench", "runtime": "onnxruntime", "kernels": "default", "threads": 1, "parameters": parameters,
        "reference": "empty", "canaries": {}, "items": [[0, "hot", "empty"], [1, "hot", "io"]],
    }  # fmt: skip
    began = begin(one, endless, cap_s=3)
    assert began["state"] == "running" and begin(one, endless)["state"] == "running", "one worker, not two"
    assert one.last(do="forget", jobs=[JOB])["jobs"] == 0, "it lives"
    ended = one.ask(do="attach", job=JOB, offset=0)[-1]
    assert ended["state"] == "dead"
    began = begin(one, endless, cap_s=600)
    assert one.last(do="end", job=JOB)["killed"] is True
    with pytest.raises(ProcessLookupError):
        os.kill(began["pid"], 0) if not zombie(began["pid"]) else os.kill(0x7FFFFFF0, 0)
    assert one.last(do="end", job=JOB)["killed"] is False and one.last(do="forget", jobs=[JOB])["jobs"] == 1


def zombie(pid: int) -> bool:
    """Say whether a process has ended and only its parent, the agent, has not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_who_follows_ends_with_its_host(agent: Callable[[], Agent], files: Path) -> None:
    one = agent()
    begin(one)
    one.process.send_signal(signal.SIGSTOP)
    one.process.send_signal(signal.SIGCONT)
    assert one.process.stdin is not None
    one.process.stdin.close()
    assert one.process.wait(timeout=10) == 0


def test_faulty_requests_name_what_is_wrong(agent: Callable[[], Agent]) -> None:
    one = agent()
    for request, word in (
        ({"do": "start", "job": "../x", "work": QUICK, "cap_s": 5}, "'job'"),
        ({"do": "start", "job": JOB, "work": {"do": "start"}, "cap_s": 5}, "'work'"),
        ({"do": "start", "job": JOB, "work": QUICK, "cap_s": True}, "'cap_s'"),
        ({"do": "attach", "job": JOB, "offset": 0}, "no such job"),
        ({"do": "attach", "job": JOB, "offset": -1}, "'offset'"),
        ({"do": "forget", "jobs": "all"}, "'jobs'"),
        ({"do": "forget", "jobs": ["/etc"]}, "'job'"),
        ({"do": "lease", "owner": "", "token": MINE, "ttl_s": 60}, "'owner'"),
        ({"do": "lease", "owner": "me", "token": "x", "ttl_s": 60}, "'token'"),
        ({"do": "lease", "owner": "me", "token": MINE, "ttl_s": 1}, "'ttl_s'"),
        ({"do": "lacking", "names": ["../../etc/passwd"]}, "'names'"),
        ({"do": "unpack", "pack": "../x"}, "'pack'"),
        ({"do": "unpack", "pack": "0" * 64}, "not there"),
        ({"do": "hello", "lease": MINE}, "not held"),
    ):
        record = one.last(**request)
        assert record["ev"] == "error" and word in record["reason"], record


def test_one_owner_holds_the_device(agent: Callable[[], Agent], files: Path) -> None:
    here, there = agent(), agent()
    granted = here.last(do="lease", owner="ann", token=MINE, ttl_s=60)
    assert granted["granted"] and granted["owner"] is None
    refused = there.last(do="lease", owner="bob", token=THEIRS, ttl_s=60)
    assert not refused["granted"] and refused["owner"] == "ann" and 50 < refused["left_s"] <= 60
    assert here.last(do="lease", owner="ann", token=MINE, ttl_s=60)["granted"], "the same owner, once more"
    assert here.last(do="hello", lease=MINE)["ev"] == "hello"
    assert there.last(do="release", token=THEIRS)["held"] is False
    assert here.last(do="release", token=MINE)["held"] is True
    assert there.last(do="lease", owner="bob", token=THEIRS, ttl_s=60)["granted"]
    lost = here.last(do="hello", lease=MINE)
    assert (lost["ev"], lost["kind"]) == ("error", "not_held"), "it lost the device"


@pytest.mark.parametrize(
    "end", ["ran out", "device restarted", "restarted without an id", "endless", "clock set back", "damaged", "forced"]
)
def test_a_stale_lease_is_taken_over(agent: Callable[[], Agent], files: Path, end: str) -> None:
    one = agent()
    one.last(do="lease", owner="ann", token=MINE, ttl_s=60)
    path = files.parent / "lease.json"
    held = json.loads(path.read_text())
    changes = {
        "ran out": {"until_s": held["until_s"] - 61},
        "device restarted": {"boot_id": "another"},
        # It had run for days then, and says nothing that would tell the two starts apart.
        "restarted without an id": {"until_s": held["until_s"] + 86400},
        "endless": {"until_s": float("inf")},
        # No wall clock is in it: the date of the device may be anything.
        "clock set back": {},
        "forced": {},
    }
    path.write_text("{" if end == "damaged" else json.dumps(held | changes[end]))
    answer = one.last(do="lease", owner="bob", token=THEIRS, ttl_s=60, force=end == "forced")
    if end == "clock set back":
        assert not answer["granted"]
        return
    assert answer["granted"] and answer["owner"] == (None if end == "damaged" else "ann")


def test_what_the_workers_of_ours_do_is_known_by_their_jobs(inside: Callable[[str], Any], files: Path) -> None:
    """Only while they live, and since this start of the device: their numbers may be another's by then."""
    found = inside(f"""
import fcntl, os, jobs, probe
names, found = ["%032d" % number for number in range(4)], []
for name, boot_id, held in zip(names, [probe.boot_id()] * 2 + ["another"], [True, False, True]):
    place = os.path.join(jobs.folder_of({str(files)!r}), name)
    os.makedirs(place)
    with open(os.path.join(place, "journal.jsonl"), "w") as stream:
        json.dump(dict(ev="begin", attempt=1, pid=os.getpid(), boot_id=boot_id, started_s=1.0), stream)
        stream.write(chr(10))
    found.append(open(os.path.join(place, "lock"), "a+"))
    if held:
        fcntl.flock(found[-1], fcntl.LOCK_EX)
while probe.own_seconds() < 0.3:
    pass
print(json.dumps([[jobs.busy_seconds([name], {str(files)!r}) for name in names], probe.own_seconds()]))
""")
    (living, *others), own_s = found
    assert living == pytest.approx(own_s, abs=0.1) and living > 0.2 and others == [0, 0, 0]


def test_a_rest_says_how_busy_others_kept_the_device(agent: Callable[[], Agent]) -> None:
    one = agent()
    rested = one.last(do="rest", seconds=0.1, jobs=[JOB])
    assert rested["ev"] == "rested" and 0 <= rested["foreign_cores"] <= (os.cpu_count() or 1) + 1
    for jobs in (["x"], "x", {"a": 1}):
        assert one.last(do="rest", seconds=0.1, jobs=jobs)["ev"] == "error"


def tar_of(members: list[tuple[str, bytes]], kind: bytes = tarfile.REGTYPE) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as pack:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(content), kind, "/etc/passwd"
            pack.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def put(files: Path, content: bytes) -> str:
    name = hashlib.sha256(content).hexdigest()
    (files / name).write_bytes(content)
    return name


def test_a_pack_becomes_files_that_are_what_they_are_called(agent: Callable[[], Agent], files: Path) -> None:
    one = agent()
    contents = {hashlib.sha256(data).hexdigest(): data for data in (b"first", b"second" * 1000)}
    wanted = [*contents, "0" * 64]
    assert one.last(do="lacking", names=wanted)["names"] == wanted
    pack = put(files, tar_of(list(contents.items())))
    assert one.last(do="unpack", pack=pack)["files"] == 2
    assert {path.name: path.read_bytes() for path in files.iterdir()} == contents
    assert one.last(do="lacking", names=wanted)["names"] == ["0" * 64]
    many = [f"{number:064x}" for number in range(1700)]
    records = one.ask(do="lacking", names=many)
    assert [record["ev"] for record in records] == ["absent"] * 3 + ["lacking"]
    assert [name for record in records for name in record["names"]] == many


def test_what_was_left_half_written_goes_after_a_day(agent: Callable[[], Agent], files: Path) -> None:
    old, young = files / f"{'1' * 64}.4711.part", files / f"{'2' * 64}.abcd1234.part"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time(), time.time() - 2 * 86400))
    content = b"whole"
    name = hashlib.sha256(content).hexdigest()
    assert agent().last(do="unpack", pack=put(files, tar_of([(name, content)])))["files"] == 1
    assert {path.name for path in files.iterdir()} == {name, young.name}


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ([("../../evil", b"x")], tarfile.REGTYPE),
        ([("/tmp/evil", b"x")], tarfile.REGTYPE),
        ([("f" * 64, b"not what it is called")], tarfile.REGTYPE),
        ([(hashlib.sha256(b"").hexdigest(), b"")], tarfile.SYMTYPE),
        ([(hashlib.sha256(b"").hexdigest(), b"")], tarfile.DIRTYPE),
        ([("empty", b"x")], tarfile.REGTYPE),
    ],
)
def test_a_pack_that_lies_leaves_nothing(
    agent: Callable[[], Agent], files: Path, members: list[tuple[str, bytes]], kind: bytes
) -> None:
    one = agent()
    record = one.last(do="unpack", pack=put(files, tar_of(members, kind)))
    assert record["ev"] == "error" and not list(files.iterdir()), record
    assert not Path("/tmp/evil").exists() and not (files.parent.parent / "evil").exists()


def test_a_damaged_pack_is_refused(agent: Callable[[], Agent], files: Path) -> None:
    content = tar_of([(hashlib.sha256(b"a" * 2000).hexdigest(), b"a" * 2000)])
    for damaged in (content[:700], b"\0" * 5000 + b"x", b"not a tar"):
        record = agent().last(do="unpack", pack=put(files, damaged))
        assert record["ev"] in ("error", "unpacked") and not list(files.iterdir())
        assert record["ev"] == "error" or record["files"] == 0


def test_old_jobs_of_hosts_that_never_came_back_go(agent: Callable[[], Agent], files: Path) -> None:
    old = files.parent / "jobs" / ("f" * 32)
    old.mkdir(parents=True)
    long_ago_s = time.time() - 8 * 86400
    os.utime(old, (long_ago_s, long_ago_s))
    begin(agent())
    assert not old.exists()
