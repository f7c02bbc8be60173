"""A file is on a phone whole, or not at all, whatever happens on the way."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from adb.adbd_double import Phone, within
from harness.protocol import VERSION, Conversation
from harness.transport import adb as transport
from harness.transport.adb import Adb, free_of
from ofa.errors import DeviceLost, MeasurementRefused, OfaError, UsageInvalid

Make = Callable[..., Phone]
Reach = Callable[..., Adb]

# Of toybox (Android), busybox with a long name, and GNU; the numbers are made up.
TOYBOX = """Filesystem     1K-blocks     Used Available Use% Mounted on
/dev/block/dm-5 111774604 42718392  69056212  39% /data
"""
LONG = """Filesystem           1K-blocks      Used Available Use% Mounted on
/dev/block/platform/soc/by-name/userdata
                      25165824   5242880  19922944  21% /data
"""
# Of Android's toolbox before 6.0, which knows no -k and no share.
TOOLBOX = """Filesystem               Size     Used     Free   Blksize
/data                   12.0G     8.1G     3.9G   4096
"""


def test_free_space_is_read_or_unknown() -> None:
    assert free_of(TOYBOX) == 69056212 * 1024
    assert free_of("0123abcd  -\n" + LONG) == 19922944 * 1024
    assert free_of(TOOLBOX) is None and free_of("") is None and free_of("df: no such file\n") is None


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model file.onnx"
    path.write_bytes(os.urandom(3 << 20))
    return path


def left(one: Phone) -> list[str]:
    return sorted(path.name for path in (one.folder / "ofa-lab" / "files").glob("*"))


@pytest.mark.slow
def test_a_file_arrives_and_is_not_sent_twice(phone: Make, reach: Reach, model: Path) -> None:
    one = phone()
    way = reach(one)
    told: list[tuple[int, int]] = []
    hostile = "a b'$(touch sprung)`\";*é,644"
    for name in ("0123abcd", hostile):
        way.push(model, name, on_bytes=lambda done, total: told.append((done, total)))
        assert (one.folder / "ofa-lab" / "files" / name).read_bytes() == model.read_bytes()
    size_bytes = model.stat().st_size
    assert told == [(0, size_bytes), (size_bytes, size_bytes)] * 2
    assert left(one) == sorted(["0123abcd", hostile]) and not list(one.folder.rglob("sprung"))
    one.room_bytes = 0  # whoever sends now fails
    way.push(model, "0123abcd")
    # One that was damaged there is sent again.
    one.room_bytes = None
    (one.folder / "ofa-lab" / "files" / "0123abcd").write_bytes(b"other")
    way.push(model, "0123abcd")
    assert (one.folder / "ofa-lab" / "files" / "0123abcd").read_bytes() == model.read_bytes()


@pytest.mark.parametrize("name", ["", "../x", "a/b", "-rf", ".hidden", "a\nb", "a\x00", "x" * 300])
def test_a_name_that_is_not_plain_is_refused(name: str, tmp_path: Path) -> None:
    way = Adb(device="p", serial="R5", python="python3", agent=tmp_path, files=tmp_path)
    with pytest.raises(UsageInvalid):
        way.push(tmp_path / "any", name)


@pytest.mark.slow
def test_a_phone_without_room_is_not_filled(phone: Make, reach: Reach, model: Path) -> None:
    one = phone()
    one.says("df", TOYBOX.replace(" 69056212", " 2048"))
    with pytest.raises(MeasurementRefused, match="no room") as refusal:
        reach(one).push(model, "0123abcd")
    assert "2,097,152 bytes are free" in refusal.value.why and left(one) == []


@pytest.mark.slow
def test_a_phone_that_is_filled_meanwhile_keeps_no_half(phone: Make, reach: Reach, model: Path) -> None:
    one = phone()
    one.room_bytes = 1 << 20
    with pytest.raises(MeasurementRefused, match="no room"):
        reach(one).push(model, "0123abcd")
    assert left(one) == []


@pytest.mark.slow
def test_a_folder_that_takes_no_files_is_named(phone: Make, reach: Reach, model: Path) -> None:
    one = phone()
    one.refuses = "couldn't create file: Permission denied"
    with within(), pytest.raises(MeasurementRefused, match="does not take files") as refusal:
        reach(one).push(model, "0123abcd")
    assert "Permission denied" in refusal.value.why and left(one) == []


@pytest.mark.slow
def test_what_was_changed_on_the_way_gets_no_name(phone: Make, reach: Reach, model: Path) -> None:
    one = phone()
    one.spoils = True
    with pytest.raises(DeviceLost) as fault:
        reach(one).push(model, "0123abcd")
    assert "not what was sent" in fault.value.why and left(one) == []


@pytest.mark.slow
def test_a_phone_that_cannot_verify_or_write_is_refused(phone: Make, reach: Reach, model: Path) -> None:
    one = phone()
    one.tool("mkdir", "echo 'mkdir: /data: Read-only file system' >&2; exit 1")
    with pytest.raises(MeasurementRefused) as refusal:
        reach(one).push(model, "0123abcd")
    assert "Read-only" in refusal.value.why
    one.tool("mkdir", 'exec /bin/mkdir "$@"')
    one.tool("sh", 'PATH=$(dirname $0) exec /bin/sh "$@"')
    with pytest.raises(MeasurementRefused) as refusal:
        reach(one).push(model, "0123abcd")
    assert "sha256sum" in refusal.value.why


@pytest.mark.slow
def test_a_daemon_that_dies_in_mid_push_leaves_nothing_with_a_name(phone: Make, reach: Reach, model: Path) -> None:
    one = phone()
    way = reach(one)
    way.client.ready()
    one.bytes_until_gone = 1 << 20
    with within(), pytest.raises(DeviceLost):
        way.push(model, "0123abcd")
    [half] = left(one)
    assert half.startswith("0123abcd.") and half.endswith(".part")
    # The half that could not be removed any more goes a day later; another host's that is on its way stays.
    back = phone()
    files = back.folder / "ofa-lab" / "files"
    files.mkdir(parents=True)
    for name, days in (("0123abcd.11111111.part", 2), ("0123abcd.22222222.part", 0), ("0123abcd", 2)):
        (files / name).write_bytes(b"half")
        then_s = time.time() - days * 86_400
        os.utime(files / name, (then_s, then_s))
    channel = reach(back).open()
    assert Conversation(channel, "p").greet().protocol == VERSION
    channel.close()
    assert left(back) == ["0123abcd", "0123abcd.22222222.part"]


@pytest.mark.slow
def test_a_push_that_stalls_is_given_up(
    phone: Make, reach: Reach, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "STALL_S", 1.0)
    monkeypatch.setattr(transport, "KILL_S", 1.0)
    one = phone()
    way = reach(one)
    way.client.ready()
    one.bytes_until_gone, one.freezes = 1 << 20, True
    with within(), pytest.raises(DeviceLost) as fault:
        way.push(model, "0123abcd")
    assert "no byte more" in fault.value.why
    one.frozen.clear()


@pytest.mark.slow
def test_messages_name_no_serial(phone: Make, reach: Reach, model: Path) -> None:
    one = phone()
    way = reach(one)
    way.client.ready()
    one.die()
    for act in (lambda: way.push(model, "x"), way.open, lambda: way.shell(["true"])):
        with pytest.raises(OfaError) as fault:
            act()
        assert one.serial not in fault.value.what + fault.value.why
