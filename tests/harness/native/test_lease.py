"""The lease of a device without an agent: one owner at a time, by the same file as an agent keeps, whoever dies."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.artefacts import agent_archive
from harness.native import lease as leases
from harness.native.lease import Lease, NotHeld
from harness.native.shell import LocalShell
from ofa.errors import MeasurementRefused

MINE, THEIRS = "a" * 32, "b" * 32
HELD: dict[str, Any] = {"owner": "ann", "token": MINE, "ttl_s": 60, "boot_id": "", "until_s": 0.0}


@pytest.fixture
def lease(tmp_path: Path) -> Lease:
    shell = LocalShell(device="some-phone", folder=tmp_path / "device" / "files")
    shell.ready()
    return Lease(device="some-phone", shell=shell)


@pytest.fixture
def path(lease: Lease) -> Path:
    return Path(lease.folder) / "lease.json"


def test_one_owner_holds_the_device(lease: Lease, path: Path) -> None:
    assert lease.take("ann", MINE, 60).owner is None
    refused = lease.take("bob", THEIRS, 60)
    assert (refused.granted, refused.owner) == (False, "ann") and 50 < refused.left_s <= 60
    assert lease.take("ann", MINE, 60) == leases.Taken(granted=True, owner=None, left_s=60), "the same owner, once more"
    assert path.stat().st_mode & 0o777 == 0o600
    lease.renew(MINE)
    assert not lease.give_back(THEIRS) and lease.give_back(MINE) and not lease.give_back(MINE)
    assert lease.take("bob", THEIRS, 60).granted
    with pytest.raises(NotHeld):
        lease.renew(MINE)
    assert sorted(file.name for file in path.parent.iterdir()) == ["files", "lease.json"]


@pytest.mark.parametrize(
    "end",
    ["ran out", "device restarted", "restarted without an id", "damaged", "empty", "too long", "binary", "forced"],
)
def test_a_stale_lease_is_taken_over(lease: Lease, path: Path, end: str) -> None:
    lease.take("ann", MINE, 60)
    held = json.loads(path.read_text())
    contents = {
        "ran out": json.dumps(held | {"until_s": held["until_s"] - 61}).encode(),
        "device restarted": json.dumps(held | {"boot_id": "another"}).encode(),
        # It had run for days then, and says nothing that would tell the two starts apart.
        "restarted without an id": json.dumps(held | {"until_s": held["until_s"] + 86400}).encode(),
        "damaged": b'{"owner": "ann", "token": 7}\n\n',
        "empty": b"",
        "too long": b"[" * 10_000,
        "binary": bytes(range(256)),
        "forced": path.read_bytes(),
    }
    path.write_bytes(contents[end])
    taken = lease.take("bob", THEIRS, 60, force=end == "forced")
    known = ("ran out", "device restarted", "restarted without an id", "forced")
    assert taken.granted and taken.owner == ("ann" if end in known else None)
    assert json.loads(path.read_text())["owner"] == "bob"


@pytest.mark.parametrize("owner", ["a \"b\" \\ $(id) `id` 'c' %s %d", "-n", "ü – 机", "a\nb"])
def test_an_owner_may_be_called_anything(lease: Lease, owner: str) -> None:
    assert lease.take(owner, MINE, 60).granted
    assert lease.take("bob", THEIRS, 60).owner == owner


@pytest.mark.slow
def test_of_many_that_come_at_once_one_is_let_in(lease: Lease, path: Path) -> None:
    for stale in (False, True):
        if stale:
            path.write_text(json.dumps(HELD))
        tokens = [f"{number:032x}" for number in range(8)]
        with ThreadPoolExecutor(len(tokens)) as pool:
            found = list(pool.map(lambda token: lease.take(token, token, 60), tokens))
        winners = [token for token, taken in zip(tokens, found, strict=True) if taken.granted]
        assert len(winners) == 1 and {taken.owner for taken in found if not taken.granted} == set(winners)
        assert lease.give_back(winners[0])


@pytest.mark.slow
@pytest.mark.parametrize("left", ["0123456789abcdef", None])
def test_whoever_died_while_changing_it_is_waited_for_and_then_passed(
    lease: Lease, path: Path, left: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "PATIENCE_S", 0.6)
    inside = path.with_name("lease.change")
    inside.mkdir()
    if left is not None:
        (inside / left).touch()
    began_s = time.monotonic()
    assert lease.take("ann", MINE, 60).granted and time.monotonic() - began_s > 0.6
    assert not inside.exists()


def test_what_cannot_be_removed_or_written_is_told(lease: Lease, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "PATIENCE_S", 0.0)
    inside = path.with_name("lease.change")
    (inside / "somebody's own").mkdir(parents=True)
    with pytest.raises(MeasurementRefused, match="cannot be held for us alone") as refused:
        lease.take("ann", MINE, 60)
    assert str(inside) in refused.value.why
    (inside / "somebody's own").rmdir()
    inside.rmdir()
    inside.touch()
    with pytest.raises(MeasurementRefused, match="cannot be held for us alone") as refused:
        lease.take("ann", MINE, 60)
    assert "File exists" in refused.value.why


@dataclass(slots=True)
class Says:
    """A shell that says the same to everything."""

    out: bytes
    there: str = "/x/files"
    private: tuple[str, ...] = ()
    asked: list[Any] = field(default_factory=list)

    def ready(self) -> None:
        pass

    def push(self, path: Path, name: str) -> None:
        pass

    def shell(self, words: Any, *, timeout_s: float, max_bytes: int) -> Any:
        self.asked.append(words)
        return SimpleNamespace(code=0, out=self.out, err=b"")


@pytest.mark.parametrize("out", [b"", b"\n\n", b"garbage", b"1e999\nboot\n", b"-1.0\n", b"\xff\xfe\n\n{}"])
def test_a_device_that_does_not_tell_how_long_it_has_run_is_not_held(out: bytes) -> None:
    says = Says(out)
    with pytest.raises(MeasurementRefused, match="cannot be held for us alone"):
        Lease(device="some-phone", shell=says).take("ann", MINE, 60)
    assert len(says.asked) == 1


@pytest.fixture
def agent(tmp_path: Path, lease: Lease) -> Callable[..., dict[str, Any]]:
    """Return what asks an agent on the same device, which keeps the same folder."""
    archive = agent_archive(tmp_path / "agent")

    def ask(**request: Any) -> dict[str, Any]:
        command = [sys.executable, str(archive), "--files", lease.shell.there]
        said = subprocess.run(
            command, input=json.dumps({"id": 1, **request}), capture_output=True, text=True, timeout=60
        )
        found: dict[str, Any] = json.loads(said.stdout.splitlines()[0])
        return found

    return ask


@pytest.mark.slow
def test_an_agent_and_a_shell_see_the_same_lease(
    lease: Lease, path: Path, agent: Callable[..., dict[str, Any]]
) -> None:
    assert agent(do="lease", owner="ann", token=MINE, ttl_s=60)["granted"]
    refused = lease.take("bob", THEIRS, 60)
    assert (refused.granted, refused.owner) == (False, "ann") and 30 < refused.left_s <= 60
    lease.renew(MINE)
    assert agent(do="hello", lease=MINE)["ev"] == "hello"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"until_s": 1.0}))
    assert lease.take("bob", THEIRS, 60).owner == "ann"
    said = agent(do="lease", owner="ann", token=MINE, ttl_s=60)
    assert (said["granted"], said["owner"]) == (False, "bob") and 30 < said["left_s"] <= 60
    assert "not held" in agent(do="hello", lease=MINE)["reason"]
    assert agent(do="release", token=THEIRS)["held"] and lease.look().held is None
