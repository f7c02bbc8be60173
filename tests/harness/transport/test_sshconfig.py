"""Addresses as people type them, and configurations that are followed whole or refused."""

from pathlib import Path

import pytest

from harness.transport.sshconfig import Address, resolve
from ofa.errors import FileInvalid, UsageInvalid

CONFIG = """
Host board
  HostName %h.lab.example
  User bench
  Port 2222
  IdentityFile ~/.ssh/lab_%h
  IdentityFile "~/keys/a key"
Host behind
  HostName 10.0.0.7
  ProxyJump gate
Host far
  ProxyJump gate,me@second:2200
Host plain
  ProxyJump none
Host gate
  HostName gate.example
  User porter
  HostKeyAlias the-gate
  UserKnownHostsFile ~/.ssh/lab_hosts /dev/null
Host round
  ProxyJump trip
Host trip
  ProxyJump round
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOGNAME", "somebody")
    path = tmp_path / "config"
    path.write_text(CONFIG)
    return path


def test_an_alias_is_completed(config: Path, tmp_path: Path) -> None:
    assert resolve("board", config) == Address(
        host="board.lab.example",
        port=2222,
        user="bench",
        identities=(tmp_path / ".ssh" / "lab_board.lab.example", tmp_path / "keys" / "a key"),
    )
    typed = resolve("me@board:22", config)
    assert (typed.user, typed.port, typed.host) == ("me", 22, "board.lab.example")


def test_the_usual_file_may_be_absent(config: Path, tmp_path: Path) -> None:
    assert resolve("elsewhere.example") == Address(host="elsewhere.example", user="somebody")
    (tmp_path / ".ssh").mkdir()
    config.rename(tmp_path / ".ssh" / "config")
    assert resolve("board").host == "board.lab.example"


def test_jumps_are_a_chain(config: Path, tmp_path: Path) -> None:
    gate = Address(host="gate.example", user="porter", alias="the-gate", known_hosts=(tmp_path / ".ssh" / "lab_hosts",))
    behind = resolve("behind", config)
    assert behind.jump == gate and gate.key_name == "the-gate"
    assert [hop.host for hop in resolve("far", config).hops()] == ["gate.example", "second", "far"]
    second = resolve("far", config).jump
    assert second is not None and (second.user, second.port, second.key_name) == ("me", 2200, "[second]:2200")
    assert resolve("plain", config).jump is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("ssh://me@host:2200", ("me", "host", 2200)),
        ("ssh://host", ("somebody", "host", 22)),
        ("me@[fe80::1%eth0]:2200", ("me", "fe80::1%eth0", 2200)),
        ("::1", ("somebody", "::1", 22)),
        ("a b@c", None),
    ],
)
def test_forms_of_an_address(config: Path, text: str, wanted: tuple[str, str, int] | None) -> None:
    if wanted is None:
        with pytest.raises(UsageInvalid):
            resolve(text, config)
    else:
        found = resolve(text, config)
        assert (found.user, found.host, found.port) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "", "-oProxyCommand=x", "me@-host", "host\nHost x", "me@ho st", "host:", "host:0", "host:70000", "host:22x",
        "ssh://me:secret@host", "ssh://host/path", "https://host", "$(touch x)", "a;b", "me\n@host", "-me@host",
        "@host", "me@", "host\x00", "[::1", "host:١",
    ],
)  # fmt: skip
def test_hostile_names_are_refused(config: Path, text: str) -> None:
    with pytest.raises(UsageInvalid) as caught:
        resolve(text, config)
    assert "\n" not in caught.value.what and "\x00" not in caught.value.what


@pytest.mark.parametrize(
    "line",
    [
        "Match exec {run}",
        "match host board EXEC {run}",
        "Match !exec {run}",
        "Match=exec {run}",
        'Match host board "exec" {run}',
        "\tMatch user x exec={run}",
        "Match originalhost=board exec {run}",
        "Match e\\xec {run}",
        "Match ex''ec {run}",
        "Match sessiontype shell",
        "Include other",
        "include = other",
    ],
)
def test_a_configuration_that_runs_programs_is_refused_and_runs_none(config: Path, tmp_path: Path, line: str) -> None:
    config.write_text(CONFIG + line.format(run=f'"touch {tmp_path}/ran"') + "\n  User x\n")
    with pytest.raises(FileInvalid) as caught:
        resolve("board", config)
    assert not (tmp_path / "ran").exists()
    assert "Include" in caught.value.why or "Match" in caught.value.why


@pytest.mark.parametrize(
    "content",
    [
        b"Host a\n  ProxyCommand nc %h %p\n", b"\xff\xfe", b"Host\n", b"Host a\n  Port many\n",
        b"Host a\n HostName -x\n",
        b"Host a\n  CanonicalizeHostname yes\n", b"Host 'a\n", b"Host a\n  User 'x y'\n", b"Host a\n  HostName a%z\n",
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_refused(config: Path, content: bytes) -> None:
    config.write_bytes(content)
    with pytest.raises((FileInvalid, UsageInvalid)):
        resolve("a", config)


def test_jumps_that_go_round_are_refused(config: Path) -> None:
    with pytest.raises(FileInvalid, match="configuration") as caught:
        resolve("round", config)
    assert "round -> trip -> round" in caught.value.why
    config.write_text("Host *\n  ProxyJump gate\n")
    with pytest.raises(FileInvalid):
        resolve("board", config)
