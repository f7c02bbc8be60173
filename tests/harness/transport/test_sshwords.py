"""What is said of a device over SSH that has no key, no room, no Python or no shell is what a person can do."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from harness.errors import RESUME_HINT
from harness.refusals import agent_refused, pack_without_room, runtime_not_ready
from harness.transport import sshfiles, sshlink
from harness.transport.errors import no_room
from harness.transport.sshconfig import Address, refuse_unsafe
from harness.transport.sshline import Finished, Line
from ofa.errors import DeviceBarred, DeviceFull, DeviceLost, FileInvalid, MeasurementRefused

HERE = Address(host="board", port=2222, user="me")
ROUTE = sshlink.Route(device="nano", address=HERE, known_hosts=(), connect_s=1.0, silence_s=1.0)


def test_without_any_key_one_is_to_be_made_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sshlink, "_keys", lambda address, notes: iter(()))
    with pytest.raises(DeviceLost) as caught:
        sshlink._log_in(ROUTE, MagicMock(), 1e12)
    first, second, third = caught.value.hints
    assert "ssh-keygen -t ed25519" in first and "ssh-copy-id -p 2222 me@board" in second
    assert "lab.toml" in third and "~/.ssh/config" in third

    def locked(address: Address, notes: list[str]) -> object:
        notes.append("'key' is locked")
        return iter(())

    monkeypatch.setattr(sshlink, "_keys", locked)
    with pytest.raises(DeviceLost) as caught:
        sshlink._log_in(ROUTE, MagicMock(), 1e12)
    assert "ssh-keygen" not in str(caught.value)


def test_a_host_that_is_not_known_may_be_misspelt_in_two_places(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*what: object, **how: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DeviceLost) as caught:
        sshlink._socket(ROUTE)
    assert "lab.toml" in caught.value.hints[0] and "~/.ssh/config" in caught.value.hints[0]


@pytest.mark.parametrize(
    ("ended", "why"),
    [
        (Finished(status=1, output=b"", last_words=""), "ran no command: exit code 1, and not a word"),
        (Finished(status=1, output=b"This account is not available.\n", last_words=""), "it says: This account"),
    ],
)
def test_a_login_shell_that_runs_no_command_is_told(ended: Finished, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sshfiles, "run", lambda *_, **__: ended)
    place = sshfiles.Place(line=Line(), route=ROUTE, python="python3", folder="./files")
    with pytest.raises(MeasurementRefused) as caught:
        sshfiles.look(place)
    assert why in caught.value.why and "login shell" in caught.value.hints[0]
    monkeypatch.setattr(sshfiles, "run", lambda *_, **__: replace(ended, last_words="ImportError: no json"))
    with pytest.raises(DeviceLost, match="cannot be used"):
        sshfiles.look(place)


def test_an_include_is_to_be_replaced_by_what_it_names(tmp_path: Path) -> None:
    with pytest.raises(FileInvalid) as caught:
        refuse_unsafe(tmp_path / "config", "Include other\n")
    assert caught.value.hints == ("put the lines of that other file in the place of 'Include'",)


def test_room_is_told_with_what_is_left_free_and_where_it_is_made() -> None:
    fault = no_room("nano", 161_273, 409_600, spare_bytes=1 << 20)
    assert "409,600 bytes are free, of which 1,048,576 are left free" in fault.why
    pack = pack_without_room("nano", 161, 12_000_000)
    assert "24,000,000 bytes are needed" in pack.why
    for one in (fault, pack, agent_refused("nano", "no_room", "OSError: [Errno 28] No space left on device")):
        assert "~/.cache/ofa-lab" in one.hints[0] and "'folder'" in one.hints[0]


@pytest.mark.parametrize(("kind", "of"), [("no_room", DeviceFull), ("not_held", DeviceBarred), (None, DeviceLost)])
def test_what_stands_in_an_agents_way_is_told_as_that(kind: str | None, of: type[DeviceLost]) -> None:
    fault = agent_refused("nano", kind, "because")
    assert type(fault) is of and "because" in fault.why and RESUME_HINT in fault.hints
    assert ("agent's output" in str(fault)) == (kind is None)
    assert ("ofa devices release" in str(fault)) == (kind == "not_held")


@pytest.mark.parametrize("listed", [True, False])
def test_a_runtime_that_is_missing_may_be_another_pythons(listed: bool) -> None:
    fault = runtime_not_ready("nano", "onnxruntime", "No module named 'onnxruntime'", listed=listed)
    assert ("'python' in the lab's list" in fault.hints[0]) == listed


def test_a_pack_whose_files_have_no_room_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.supply import supply
    from ofa.files import sha256_bytes

    name = sha256_bytes(b"model")
    (tmp_path / name).write_bytes(b"model")
    link = MagicMock()
    link.remote, link.device.name, link.device.transport.files = True, "nano", tmp_path
    link.lacking.return_value = [name]
    link.one.side_effect = agent_refused("nano", "no_room", "OSError: [Errno 28] No space left on device")

    def once(ask: Callable[[], object]) -> object:
        return ask()

    link.kept.side_effect = once
    with pytest.raises(MeasurementRefused) as caught:
        supply(link, [name])
    assert "no room for 1 files" in caught.value.what and link.one.call_count == 1
