"""Nothing a device says is believed before it is checked, and no wait is unbounded."""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import journal as journals
from harness.inventory import Device
from harness.plan import Plan
from harness.protocol import MAX_ANSWER_BYTES, parse
from harness.session import greet, ready_runtime, run
from harness.transport.local import Local, LocalChannel
from ofa.errors import DeviceLost, MeasurementRefused

REFUSED = {
    "not JSON": "not JSON",
    "not an object": "dictionary",
    "deep": "JSON",
    "too long": "65,536",
    "endless": "65,536",
    "binary": "not JSON",
    "NaN": "NaN",
    "infinite": "Infinity",
    "negative": "wall_min_ns",
    "zero": "cpu_min_ns",
    "text for a number": "wall_min_ns",
    "fraction": "wall_min_ns",
    "huge": "wall_p95_ns",
    "out of order": "order",
    "unknown field": "extra",
    "unknown event": "party",
    "no event": "ev",
    "replayed": "request",
    "twice": "twice",
    "not asked for": "not asked for",
    "wrong state": "state",
    "early hello": "hello",
    "error": "out of memory",
    "dies": "arena",
    "early done": "not answered",
    "left out": "1 of 12",
    "no reference": "not answered",
}


@pytest.mark.parametrize("fault", list(REFUSED))
def test_an_answer_that_is_not_the_protocol_is_refused(
    fault: str, stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    with journals.create(tmp_path / "journal.sqlite", plan(rounds=1)) as journal:
        with pytest.raises(DeviceLost) as caught:
            run(journal.plan, device=stand_in(fault), journal=journal, patience_s=20.0)
        assert journal.complete_rounds() == set() and journal.samples() == []
        assert journal.attempts_of(0) == 3
    assert REFUSED[fault] in caught.value.why
    assert "this-computer" in caught.value.what and caught.value.hints


@pytest.mark.slow
def test_silence_ends_in_time(stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path) -> None:
    with (
        journals.create(tmp_path / "journal.sqlite", plan(rounds=1)) as journal,
        pytest.raises(DeviceLost, match="stopped") as caught,
    ):
        run(journal.plan, device=stand_in("silent"), journal=journal, patience_s=0.3)
    assert "nothing was heard for 0.3 s" in caught.value.why


def test_a_flooded_stderr_stops_nothing(
    stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    with journals.create(tmp_path / "journal.sqlite", plan(rounds=1)) as journal:
        run(journal.plan, device=stand_in("noisy stderr"), journal=journal, patience_s=20.0)
        assert len(journal.samples()) == 12


def test_another_protocol_version_is_named(stand_in: Callable[..., Device]) -> None:
    with pytest.raises(DeviceLost) as caught:
        greet(stand_in("old version"))
    assert (
        "another version" in str(caught.value) and "protocol 0" in caught.value.why and "protocol 2" in caught.value.why
    )


def test_a_runtime_that_cannot_run_says_why(stand_in: Callable[..., Device]) -> None:
    with pytest.raises(MeasurementRefused) as caught:
        ready_runtime(stand_in("not ready"), "litert")
    assert "numpy is too new" in caught.value.why and "litert" in str(caught.value)


def test_a_python_that_is_not_there_is_a_lost_device(device: Device) -> None:
    from dataclasses import replace

    assert isinstance(device.transport, Local)
    broken = replace(device, transport=replace(device.transport, python="/nowhere/python3"))
    with pytest.raises(DeviceLost) as caught:
        greet(broken)
    assert "/nowhere/python3" in caught.value.why


def test_a_line_without_end_is_refused_before_it_fills_memory() -> None:
    flood = "import sys\nwhile True: sys.stdout.write('x' * 100000)"
    process = subprocess.Popen(
        [sys.executable, "-c", flood],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    channel = LocalChannel("flooding", process)
    try:
        with pytest.raises(DeviceLost, match="cannot be used"):
            channel.receive(timeout_s=10.0, max_bytes=MAX_ANSWER_BYTES)
        assert len(channel.received) <= 3 * MAX_ANSWER_BYTES
    finally:
        channel.kill()
    assert process.returncode == -9


def test_mutated_lines_are_refused_in_one_way_only() -> None:
    """Whatever arrives, `parse` returns a record or raises ValueError: nothing else may pass its boundary."""
    rng = random.Random(0)
    good = (
        b'{"id":1,"ev":"sample","item":3,"calls":9,"wall_min_ns":1,"wall_p10_ns":2,"wall_p20_ns":3,"wall_median_ns":4,'
        b'"wall_p95_ns":5,"cpu_min_ns":1,"cpu_p10_ns":2,"load_ns":9,"first_ns":9}'
    )
    accepted = 0
    assert parse(good).item == 3
    for _ in range(5000):
        line = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(line))
            piece = rng.choice(
                [b"", b"-", b"1e999", b"NaN", b"[", b"{", b'"', b"\xff", b"\\u0000", b"99999999999999999999"]
            )
            line[place : place + rng.randint(0, 3)] = piece
        try:
            record = parse(bytes(line))
        except ValueError:
            continue
        accepted += 1
        assert record.ev in {"sample", "error", "progress"}
    assert accepted < 1000
