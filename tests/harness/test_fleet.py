"""Many devices at once: one that fails stops no other, those that heat each other take turns, Ctrl-C ends all."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from harness.errors import device_lost
from harness.fleet import together
from harness.session import OnProgress


def test_what_came_of_each_is_told_in_their_order() -> None:
    def work(name: str, tell: OnProgress) -> dict[str, Any]:
        tell(1, 2, "half way")
        if name == "b":
            raise device_lost(name, "its cable was pulled")
        return {"name": name}

    found = together(["c", "b", "a"], work)
    assert [(one.device, one.facts) for one in found] == [("c", {"name": "c"}), ("b", None), ("a", {"name": "a"})]
    assert "'b' stopped answering" in str(found[1].fault)


def test_devices_are_at_work_at_once_but_those_of_a_group_take_turns() -> None:
    at_work: dict[str, int] = {"rack": 0, "free": 0}
    most = dict(at_work)
    lock = threading.Lock()
    both = threading.Barrier(2, timeout=10)

    def work(name: str, tell: OnProgress) -> dict[str, Any]:
        kind = "rack" if name.startswith("rack") else "free"
        with lock:
            at_work[kind] += 1
            most[kind] = max(most[kind], at_work[kind])
        if kind == "free":
            both.wait()
        time.sleep(0.02)
        with lock:
            at_work[kind] -= 1
        return {}

    groups = {f"rack{number}": ("r", 2) for number in range(5)}
    together([*groups, "free0", "free1"], work, groups=groups)
    assert most == {"rack": 2, "free": 2}


def test_progress_is_told_now_and_then_and_once_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.fleet.LOOK_S", 0.001)

    def work(name: str, tell: OnProgress) -> dict[str, Any]:
        # The first of several phases is through at once: that is not the end.
        tell(1, 1, "files are ready")
        time.sleep(0.1)
        tell(1, 2, "round 1")
        return {}

    together(["a", "b"], work)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("devices: 2 of 2") and line.endswith("a 100 % done · b 100 % done")


@pytest.mark.parametrize("in_turn", [False, True])
def test_ctrl_c_ends_every_device(in_turn: bool) -> None:
    ended: list[str] = []
    begun = threading.Event()

    def work(name: str, tell: OnProgress) -> dict[str, Any]:
        try:
            for step in range(1000):
                tell(step, 1000, "at work")
                begun.set()
                time.sleep(0.01)
        except KeyboardInterrupt:
            ended.append(name)
            raise
        return {}

    def interrupt(*_: object, **__: object) -> Any:
        begun.wait(10)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("harness.fleet.wait", interrupt)
        together(["a", "b", "c"], work, groups=dict.fromkeys("abc", ("rack", 1)) if in_turn else None)
    assert len(ended) == (1 if in_turn else 3), "what waited for its turn began no more"


def test_a_fault_of_ours_is_no_outcome() -> None:
    def work(name: str, tell: OnProgress) -> dict[str, Any]:
        raise ZeroDivisionError(name)

    with pytest.raises(ZeroDivisionError):
        together(["a", "b"], work)
