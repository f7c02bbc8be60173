"""Files come to a device whole and checked, or not at all, and say why not."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from transport.lab import MISSING, SSHD, Sshd, may_unshare

from harness.transport import sshfiles
from harness.transport.ssh import Ssh
from ofa.errors import DeviceLost, MeasurementRefused, UsageInvalid

NAME = "ab" * 32


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.write_bytes(os.urandom(3 << 20))
    return path


def folder(device: Sshd) -> Path:
    return device.home / ".cache" / "ofa-lab" / "files"


@pytest.mark.slow
def test_a_file_comes_whole_and_once(sshd: Sshd, way: Callable[..., Ssh], model: Path) -> None:
    ssh, steps = way(sshd), list[tuple[int, int]]()
    ssh.push(model, NAME, on_bytes=lambda done, total: steps.append((done, total)))
    assert (folder(sshd) / NAME).read_bytes() == model.read_bytes()
    assert len(steps) > 10 and steps == sorted(steps) and steps[-1] == (3 << 20, 3 << 20)
    before = (folder(sshd) / NAME).stat().st_mtime_ns
    steps.clear()
    ssh.push(model, NAME, on_bytes=lambda done, total: steps.append((done, total)))
    assert steps == [(3 << 20, 3 << 20)] and (folder(sshd) / NAME).stat().st_mtime_ns == before
    (folder(sshd) / NAME).write_bytes(b"damaged")
    ssh.push(model, NAME)
    assert (folder(sshd) / NAME).read_bytes() == model.read_bytes()
    assert [path.name for path in folder(sshd).iterdir()] == [NAME]


@pytest.mark.slow
def test_a_name_stays_in_the_folder(sshd: Sshd, way: Callable[..., Ssh], model: Path) -> None:
    for name in ("../x", "a/b", "", ".hidden", "-rf", "a\nb", "a b", "x" * 300):
        with pytest.raises(UsageInvalid):
            way(sshd).push(model, name)


@pytest.mark.slow
def test_what_is_cut_off_is_not_there(sshd: Sshd, way: Callable[..., Ssh], model: Path) -> None:
    ssh = way(sshd)

    def cut(done: int, total: int) -> None:
        if done > total // 2 and sshd.process and sshd.process.poll() is None:
            sshd.kill()

    began_s = time.monotonic()
    with pytest.raises(DeviceLost):
        ssh.push(model, NAME, on_bytes=cut)
    assert time.monotonic() - began_s < 60 and not (folder(sshd) / NAME).exists()
    sshd.start()
    back = replace(ssh, address=sshd.address, known_hosts=sshd.known_hosts)
    back.push(model, NAME)
    assert (folder(sshd) / NAME).read_bytes() == model.read_bytes()
    # What broke off may be another host's, still on its way, until a day has gone.
    for part in folder(sshd).glob("*.part"):
        os.utime(part, (time.time() - 90_000, time.time() - 90_000))
    back.push(model, NAME)
    assert [path.name for path in folder(sshd).iterdir()] == [NAME]


@pytest.mark.slow
def test_two_hosts_bring_one_file_at_once(sshd: Sshd, way: Callable[..., Ssh], model: Path) -> None:
    first, second, brought = way(sshd), way(sshd), list[int]()

    def meanwhile(done: int, total: int) -> None:
        if total // 2 < done < total and not brought:
            brought.append(done)
            second.push(model, NAME)
            assert (folder(sshd) / NAME).read_bytes() == model.read_bytes()

    first.push(model, NAME, on_bytes=meanwhile)
    assert brought and (folder(sshd) / NAME).read_bytes() == model.read_bytes()
    assert [path.name for path in folder(sshd).iterdir()] == [NAME]


@pytest.mark.slow
def test_an_interrupted_one_leaves_nothing(sshd: Sshd, way: Callable[..., Ssh], model: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        way(sshd).push(model, NAME, on_bytes=interrupt)
    assert list(folder(sshd).iterdir()) == []


@pytest.mark.slow
def test_what_arrives_damaged_is_not_there(
    sshd: Sshd, way: Callable[..., Ssh], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(place: sshfiles.Place, path: Path, part: str, *rest: object) -> None:
        (sshd.home / part).write_bytes(path.read_bytes()[:-1] + b"x")

    monkeypatch.setattr(sshfiles, "_put", damaged)
    with pytest.raises(DeviceLost) as caught:
        way(sshd).push(model, NAME)
    assert "damaged" in caught.value.why and list(folder(sshd).iterdir()) == []


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Sshd]:
    if not SSHD.exists():
        pytest.skip(MISSING)
    if not may_unshare():
        pytest.skip("a disk of its own needs root and mount namespaces")
    device = Sshd(tmp_path / "small", home_mib=8)
    try:
        yield device.start()
    finally:
        device.stop()


@pytest.mark.slow
def test_a_full_disk_is_told(
    small: Sshd, way: Callable[..., Ssh], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = way(small)
    assert small.process
    home = Path(f"/proc/{small.process.pid}/root{small.home}")
    model.write_bytes(os.urandom(9 << 20))
    with pytest.raises(MeasurementRefused) as caught:
        ssh.push(model, NAME)
    assert "8,388,608 bytes are free" in caught.value.why
    # Others may fill the disk after it was looked at: then SFTP itself fails.
    monkeypatch.setattr(sshfiles, "MARGIN_BYTES", -(20 << 20))
    with pytest.raises(MeasurementRefused, match="no room"):
        ssh.push(model, NAME)
    assert list((home / ".cache" / "ofa-lab" / "files").iterdir()) == []
    model.write_bytes(b"small")
    ssh.push(model, NAME)
    assert (home / ".cache" / "ofa-lab" / "files" / NAME).read_bytes() == b"small"


@pytest.mark.slow
def test_a_device_that_freezes_is_given_up(sshd: Sshd, way: Callable[..., Ssh], model: Path) -> None:
    ssh = way(sshd, connect_s=5.0, silence_s=3.0)
    ssh.open().kill()
    model.write_bytes(os.urandom(24 << 20))
    frozen = threading.Event()

    def freeze(done: int, total: int) -> None:
        if done > total // 4 and not frozen.is_set():
            frozen.set()
            sshd.freeze()

    began_s = time.monotonic()
    with pytest.raises(DeviceLost):
        ssh.push(model, NAME, on_bytes=freeze)
    assert frozen.is_set() and time.monotonic() - began_s < 60
    sshd.thaw()


@pytest.mark.slow
def test_a_device_without_sftp_is_told(tmp_path: Path, way: Callable[..., Ssh], model: Path) -> None:
    if not SSHD.exists():
        pytest.skip(MISSING)
    device = Sshd(tmp_path / "without")
    device.shell.write_text(device.shell.read_text().replace("exec /usr", "exec /nowhere"))
    try:
        with pytest.raises(MeasurementRefused) as caught:
            way(device.start()).push(model, NAME)
        assert "Subsystem sftp" in str(caught.value)
    finally:
        device.stop()
