"""A host is trusted by the key that was pinned, and by no other."""

import io
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from transport.lab import Sshd, make_key

from harness import trusting
from harness.inventory import device_named
from harness.lab import FOLDER_VARIABLE, LAB
from harness.transport import sshlink, trust
from harness.transport.knownhosts import HostKey
from harness.transport.ssh import Ssh
from harness.transport.sshconfig import Address
from harness.transport.trust import fetch_key, pin, pinned
from ofa.errors import DeviceLost, FileInvalid, UsageInvalid

HERE = Address(host="board", port=2222, user="me")
ONE = HostKey(
    kind="ssh-ed25519",
    fingerprint="SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU",
    base64="AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
)


@pytest.fixture
def other(tmp_path: Path) -> HostKey:
    make_key(tmp_path / "other")
    kind, base64 = (tmp_path / "other.pub").read_text().split()[:2]
    said = subprocess.run(["ssh-keygen", "-lf", tmp_path / "other.pub"], capture_output=True, text=True, check=True)
    return HostKey(kind=kind, fingerprint=said.stdout.split()[1], base64=base64)


def test_a_pinned_key_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "lab" / "known_hosts"
    assert pinned(path, HERE) == ()
    pin(path, HERE, ONE)
    assert pinned(path, HERE) == (ONE,)
    assert path.stat().st_mode & 0o777 == 0o600 and [path] == list(path.parent.iterdir())
    assert path.read_text() == f"[board]:2222 {ONE.kind} {ONE.base64}\n"
    assert pinned(path, replace(HERE, port=22)) == ()


def test_another_key_is_never_pinned_silently(tmp_path: Path, other: HostKey) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"# ours\nelse,[board]:2222  {ONE.kind} {ONE.base64} a comment\n@revoked x {ONE.kind} y\nbad\n")
    with pytest.raises(UsageInvalid) as caught:
        pin(path, HERE, other, device="jetson-1")
    assert ONE.fingerprint in caught.value.why and other.fingerprint in caught.value.why
    assert "'ofa devices trust jetson-1 --replace'" in str(caught.value)
    pin(path, HERE, other, replace=True)
    assert pinned(path, HERE) == (other,)
    assert path.read_text().splitlines()[:-1] == [
        "# ours", f"else  {ONE.kind} {ONE.base64} a comment", f"@revoked x {ONE.kind} y", "bad"
    ]  # fmt: skip


def test_hashed_names_are_found_and_replaced(tmp_path: Path, other: HostKey) -> None:
    path = tmp_path / "known_hosts"
    pin(path, HERE, other)
    subprocess.run(["ssh-keygen", "-Hf", path], capture_output=True, check=True)
    assert path.read_text().startswith("|1|") and pinned(path, HERE) == (other,)
    pin(path, HERE, ONE, replace=True)
    assert pinned(path, HERE) == (ONE,) and len(path.read_text().splitlines()) == 1


@pytest.mark.parametrize("hosts", ["[board]:2222", "else,*", "*"])
def test_a_revoked_key_is_refused_though_it_is_pinned(
    hosts: str, tmp_path: Path, other: HostKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, own = tmp_path / "lab", tmp_path / "known_hosts"
    pin(lab, HERE, ONE)
    monkeypatch.setattr(sshlink, "host_key", lambda key: ONE)
    address = replace(HERE, known_hosts=(own,))
    route = sshlink.Route(device="nano", address=address, known_hosts=(lab,), connect_s=1.0, silence_s=1.0)
    for line in (
        f"@revoked elsewhere {ONE.kind} {ONE.base64}",
        f"@revoked {hosts} {other.kind} {other.base64}",
        "@revoked",
    ):
        own.write_text(line + "\n")
        sshlink._check_key(route, MagicMock(), (ONE,))
    own.write_text(f"@revoked {hosts} {ONE.kind} {ONE.base64} since it leaked\n")
    with pytest.raises(DeviceLost, match="was revoked") as caught:
        sshlink._check_key(route, MagicMock(), (ONE,))
    assert str(own) in caught.value.why and ONE.fingerprint in caught.value.why


def test_a_key_that_is_trusted_already_is_said_to_be(
    tmp_path: Path, other: HostKey, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / LAB).write_text('schema = "lab/1"\n[devices.nano-1]\nkind = "jetson-nano"\nssh = "me@board:2222"\n')
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(trust, "fetch_key", lambda *_, **__: ONE)
    assert trusting.trusted("nano-1", yes=True, replace=False)["changed"]
    assert "compare it with" in capsys.readouterr().err
    # Nobody is asked, whatever was agreed to.
    assert not trusting.trusted("nano-1", yes=False, replace=False)["changed"]
    said = capsys.readouterr().err
    assert "trusted already: nothing was changed" in said and "compare it with" not in said
    pin(tmp_path / "known_hosts", HERE, other, replace=True)
    with pytest.raises(UsageInvalid):
        trusting.trusted("nano-1", yes=True, replace=False)
    assert trusting.trusted("nano-1", yes=True, replace=True)["changed"]


@pytest.mark.parametrize("line", ["{} ssh-ed25519 AAAA!", "{} ssh-ed25519", "{}", "{} ssh-new AAAA", "{} ssh-rsa AAAA"])
def test_a_damaged_line_is_no_unknown_host(tmp_path: Path, line: str) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(line.format("[board]:2222") + "\n")
    with pytest.raises(FileInvalid, match="host keys"):
        pinned(path, HERE)
    path.write_bytes(b"\xff\n")
    with pytest.raises(FileInvalid):
        pinned(path, HERE)


@pytest.mark.slow
def test_a_key_is_shown_without_logging_in(sshd: Sshd) -> None:
    stranger = replace(sshd.address, user="nobody-here", identities=())
    assert fetch_key(stranger, 5) == sshd.key
    assert "Accepted" not in (sshd.folder / "sshd.log").read_text()


@pytest.mark.slow
def test_an_unknown_host_is_refused(sshd: Sshd, way: Callable[..., Ssh], tmp_path: Path) -> None:
    with pytest.raises(DeviceLost) as caught:
        way(sshd, known_hosts=tmp_path / "nothing").open()
    assert "'ofa devices trust board'" in str(caught.value) and sshd.key.fingerprint in caught.value.why
    assert "Accepted" not in (sshd.folder / "sshd.log").read_text()
    for thread in threading.enumerate():
        if type(thread).__name__ == "Transport":
            thread.join(timeout=5)
            assert not thread.is_alive()


@pytest.mark.slow
def test_a_changed_key_is_refused(sshd: Sshd, way: Callable[..., Ssh]) -> None:
    ssh, before = way(sshd), sshd.key
    sshd.stop()
    make_key(sshd.folder / "host")
    sshd.start()
    with pytest.raises(DeviceLost) as caught:
        replace(ssh, address=sshd.address).open()
    assert before.fingerprint in caught.value.why and sshd.key.fingerprint in caught.value.why
    assert "'ofa devices trust board --replace'" in str(caught.value)
    with pytest.raises(UsageInvalid):
        pin(ssh.known_hosts, sshd.address, fetch_key(sshd.address, 5))
    pin(ssh.known_hosts, sshd.address, fetch_key(sshd.address, 5), replace=True)
    again = replace(ssh, address=sshd.address)
    again.open().kill()
    again.end()


def listed(folder: Path, monkeypatch: pytest.MonkeyPatch, address: str = "me@board:2222") -> None:
    """Write a lab's list with one board, whose key is shown."""
    (folder / LAB).write_text(f'[devices.nano-1]\nkind = "jetson-nano"\nssh = "{address}"\n')
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    monkeypatch.setattr(trust, "fetch_key", lambda *_, **__: ONE)


def test_another_key_is_told_before_anybody_is_asked(
    tmp_path: Path, other: HostKey, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listed(tmp_path, monkeypatch)
    pin(tmp_path / "known_hosts", HERE, other)
    asked: list[str] = []

    def declined() -> bool:
        asked.append(capsys.readouterr().err)
        return False

    monkeypatch.setattr(trusting, "_agreed", declined)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    with pytest.raises(UsageInvalid, match="another key already"):
        trusting.trusted("nano-1", yes=False, replace=False)
    assert not asked
    with pytest.raises(UsageInvalid) as refused:
        trusting.trusted("nano-1", yes=False, replace=True)
    assert other.fingerprint in asked[0] and ONE.fingerprint in asked[0]
    assert "trust nano-1 --replace --yes" in refused.value.hints[0] and "not confirmed" in refused.value.why


def test_a_pipe_is_told_to_be_no_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(tmp_path, monkeypatch)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(UsageInvalid) as refused:
        trusting.trusted("nano-1", yes=False, replace=False)
    assert "at a terminal only" in refused.value.why and refused.value.hints[0].endswith("trust nano-1 --yes")
    assert pinned(tmp_path / "known_hosts", HERE) == ()


def test_an_address_that_is_still_a_placeholder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(tmp_path, monkeypatch, "user@host")
    with pytest.raises(FileInvalid, match="no address yet") as left:
        trusting.trusted("nano-1", yes=True, replace=False)
    assert "'user@host'" in left.value.why
    (tmp_path / LAB).write_text('[devices.my-pixel]\nkind = "pixel-7"\nadb = "SERIAL"\n')
    with pytest.raises(FileInvalid, match="no address yet") as left:
        device_named("my-pixel", tmp_path)
    assert "'adb devices'" in left.value.hints[0]
