"""One phone by its serial: its state, and queries that are believed only with their own end record."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from adb.adbd_double import Phone, within
from harness.transport import adb_client
from harness.transport.adb import Adb
from harness.transport.adb_client import STATES, Client, parse_states, states
from harness.transport.errors import phone_not_ready
from ofa.errors import DeviceLost, PackageMissing, UsageInvalid

Make = Callable[..., Phone]
Reach = Callable[..., Adb]


# The first form is printed by adb 29.0.6; the second and the sentence in it stand in Android's sources
# (packages/modules/adb: transport.cpp, adb.cpp).
LONG = """* daemon not running; starting now at tcp:40001
* daemon started successfully
List of devices attached
127.0.0.1:42203        device model:Double transport_id:1
127.0.0.1:41111        offline transport_id:4
R5CT0001               unauthorized usb:1-2 transport_id:5
R5CT0002               no permissions (user in plugdev group; are your udev rules wrong?); see [http://developer.android.com/tools/device.html] usb:1-3 transport_id:6
R5CT0003               sideload usb:1-4 transport_id:7
R5CT0004               strange usb:1-5 transport_id:8

"""  # noqa: E501
SHORT = "List of devices attached\nemulator-5554\tdevice\nadb-X (2)._adb-tls-connect._tcp\tauthorizing\n(no serial number)\tno permissions; see [x]\n\n"  # noqa: E501


def test_states_are_read_in_both_forms() -> None:
    assert parse_states(LONG) == {
        "127.0.0.1:42203": "device", "127.0.0.1:41111": "offline", "R5CT0001": "unauthorized",
        "R5CT0002": "no permissions", "R5CT0003": "sideload", "R5CT0004": "unknown",
    }  # fmt: skip
    assert parse_states(SHORT) == {
        "emulator-5554": "device",
        "adb-X (2)._adb-tls-connect._tcp": "authorizing",
        "(no serial number)": "no permissions",
    }
    assert parse_states("") == parse_states("List of devices attached\n\n") == {}


@pytest.mark.parametrize("state", [*(state for state in STATES if state != "device"), None])
@pytest.mark.parametrize("serial", ["R5CT0001", "127.0.0.1:5555"])
def test_every_state_has_a_reason_and_something_to_do(state: str | None, serial: str) -> None:
    fault = phone_not_ready("p", serial, state, (serial, "\x1b[2J"))
    assert fault.exit_code == 4 and fault.why and len(fault.hints) == 2
    assert serial not in fault.what + fault.why and "\x1b" not in str(fault)
    if state == "offline":
        assert ("adb connect" in fault.hints[0]) == (":" in serial)


@pytest.mark.parametrize(("serial", "do"), [("R5CT0001", "plug it in"), ("10.0.0.7:5555", "'adb connect")])
def test_a_phone_that_is_not_listed_is_named_with_what_is(serial: str, do: str) -> None:
    first = phone_not_ready("p", serial, None, ()).hints[0]
    assert f"'{serial}'" in first and "lists nothing" in first and do in first and "adb disconnect" not in first
    assert "lists R5CT0009" in phone_not_ready("p", serial, None, ("R5CT0009",)).hints[0]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (b"failed to connect to '10.0.0.7:5555': Connection refused\n", "Connection refused"),
        (b"already connected to 10.0.0.7:5555\n", "already connected to it"),
        (b"failed to connect to 10.0.0.7:5555", "failed to connect to it"),
        (b"", ""),
    ],
)
def test_what_adb_says_names_no_phone(said: bytes, kept: str) -> None:
    assert Client(device="p", serial="10.0.0.7:5555").cleaned(said) == kept


@pytest.mark.parametrize("serial", ["", "-s", "--help", "a\nb", "a\x1b[2J", "a\x00"])
def test_a_serial_that_adb_would_take_for_something_else_is_refused(serial: str) -> None:
    with pytest.raises(UsageInvalid) as refusal:
        Client(device="p", serial=serial)
    assert refusal.value.exit_code == 2 and "\x1b" not in str(refusal.value)


def test_every_command_names_its_phone() -> None:
    client = Client(device="p", serial="R5", server_port=4)
    assert client.argv("shell")[:3] == ["adb", "-s", "R5"] and client.environment == {"ANDROID_ADB_SERVER_PORT": "4"}
    assert Client(device="p", serial="R5").environment == {}


def test_without_the_program_the_message_says_what_to_install() -> None:
    with pytest.raises(PackageMissing, match="adb-that-is-not-there") as fault:
        states("adb-that-is-not-there")
    assert "apt install adb" in str(fault.value)


def test_an_output_without_end_is_ended() -> None:
    with within():
        ended = adb_client.bounded(["yes"], environment={}, timeout_s=20, max_bytes=1000)
        late = adb_client.bounded(["sleep", "30"], environment={}, timeout_s=0.2, max_bytes=1000)
    assert ended.too_long and len(ended.out) == 1000 and "1,000 bytes" in ended.why
    assert not late.too_long and "0.2 s" in late.why


@pytest.mark.slow
def test_a_phone_is_connected_and_answers(phone: Make, reach: Reach, adb_port: int) -> None:
    one = phone()
    way = reach(one)
    assert states("adb", adb_port) == {}
    way.client.ready()
    assert states("adb", adb_port) == {one.serial: "device"}
    hostile = ["a b", "$(id)", "`id`", "'; exit 3; '", '"\\', "new\nline", "*", "-n", "é", ""]
    said = way.shell(["printf", "%s|", *hostile])
    assert said.code == 0 and said.out.decode() == "".join(word + "|" for word in hostile)
    assert way.shell(["true"]).out == b"" and way.shell(["sh", "-c", "exit 7"]).code == 7
    said = way.shell(["sh", "-c", "echo complaint >&2; printf 'no end of line'; exit 3"])
    assert (said.code, said.out, said.err) == (3, b"no end of line", b"complaint\n")
    assert way.shell(["no-such-command"]).code == 127 and way.ask(["no-such-command"]) is None
    assert way.ask(["echo", "é\r"]) == "é\r\n"


@pytest.mark.slow
def test_an_old_phone_says_its_exit_code_in_the_end_record(phone: Make, reach: Reach) -> None:
    way = reach(phone(shell_v2=False))
    way.client.ready()
    said = way.shell(["sh", "-c", "echo complaint >&2; echo answer; exit 3"])
    assert (said.code, said.out, said.err) == (3, b"complaint\nanswer\n", b"")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "why", "hint"),
    [({"authorised": False}, "key", "confirm"), ({"greets": False}, "offline", "adb disconnect")],
    ids=["unauthorized", "offline"],
)
def test_a_phone_that_is_not_ready_says_what_to_do(
    phone: Make, reach: Reach, settings: dict[str, bool], why: str, hint: str
) -> None:
    one = phone(**settings)
    with within(), pytest.raises(DeviceLost) as fault:
        reach(one).open()
    assert why in fault.value.why and hint in fault.value.hints[0]
    kept = fault.value.what + fault.value.why
    assert one.serial not in kept and "127.0.0.1" not in kept


@pytest.mark.slow
def test_a_phone_that_is_not_there_is_told_with_those_that_are(phone: Make, reach: Reach, adb_port: int) -> None:
    one = phone()
    reach(one).client.ready()
    with pytest.raises(DeviceLost) as fault:
        reach(one, serial="R5CT0001").open()
    assert "does not list" in fault.value.why and one.serial in fault.value.hints[0]
    with within(), pytest.raises(DeviceLost, match="adb") as fault:
        reach(one, serial="127.0.0.1:1").open()
    assert "refused" in fault.value.why and "127.0.0.1:1" not in fault.value.why


@pytest.mark.parametrize("cut", ["", "answer\n", "answer\n__end_0123456789abcdef:0\n"], ids=["none", "half", "forged"])
def test_an_exit_code_of_zero_is_no_answer(cut: str, tmp_path: Path) -> None:
    """A stand-in for adb that ends well whatever happened, as version 29 does where a phone vanishes."""
    program = tmp_path / "adb"
    listed = "printf 'List of devices attached\\nR5\\tdevice\\n'"
    (tmp_path / "said").write_text(cut)
    program.write_text(f'#!/bin/sh\nif [ "$1" = devices ]; then {listed}; else cat "{tmp_path}/said"; fi\n')
    program.chmod(0o755)
    with pytest.raises(DeviceLost) as fault:
        Client(device="p", serial="R5", adb=str(program)).shell(["true"], timeout_s=20)
    assert "before the answer" in fault.value.why


@pytest.mark.slow
@pytest.mark.parametrize("shell_v2", [True, False], ids=["new", "old"])
@pytest.mark.parametrize("end", ["vanish", "die"])
def test_a_phone_that_vanishes_in_mid_command_is_lost(phone: Make, reach: Reach, shell_v2: bool, end: str) -> None:
    one = phone(shell_v2=shell_v2)
    way = reach(one)
    way.client.ready()

    def fail_once_begun() -> None:
        deadline_s = time.monotonic() + 20
        while not (one.folder / "begun").exists() and time.monotonic() < deadline_s:
            time.sleep(0.02)
        getattr(one, end)()

    watcher = threading.Thread(target=fail_once_begun)
    watcher.start()
    with within(), pytest.raises(DeviceLost):
        way.shell(["sh", "-c", "echo half an answer; touch begun; sleep 25"])
    watcher.join()


@pytest.mark.slow
def test_a_phone_that_went_offline_is_connected_again_once(phone: Make, reach: Reach, adb_port: int) -> None:
    one = phone()
    way = reach(one)
    way.client.ready()
    one.vanish()
    deadline_s = time.monotonic() + 5
    while states("adb", adb_port).get(one.serial) == "device" and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert states("adb", adb_port)[one.serial] == "offline"
    with within():
        way.client.ready()
    assert way.ask(["echo", "back"]) == "back\n"
    one.die()
    with within(), pytest.raises(DeviceLost):
        way.client.ready()


@pytest.mark.slow
def test_a_phone_that_answers_nothing_is_given_up(phone: Make, reach: Reach) -> None:
    one = phone()
    way = reach(one)
    way.client.ready()
    one.frozen.set()
    with within(), pytest.raises(DeviceLost, match="stopped answering") as fault:
        way.shell(["true"], timeout_s=1)
    assert "1 s" in fault.value.why


@pytest.mark.slow
def test_garbage_without_end_is_refused(phone: Make, reach: Reach) -> None:
    way: Adb = reach(phone())
    way.client.ready()
    with within(), pytest.raises(DeviceLost, match="cannot be used"):
        way.shell(["head", "-c", "100000000", "/dev/zero"])
    # A phone that prints what looks like an end record knows no token.
    said = way.shell(["echo", "__end_0123456789abcdef:0"])
    assert said.code == 0 and re.fullmatch(rb"__end_[0-9a-f]+:0\n", said.out)
    with within(), pytest.raises(DeviceLost):
        way.shell(["sh", "-c", "kill -9 $PPID"])
