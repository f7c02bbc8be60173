"""Messages of the ways to a device: by SSH and by ADB."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.errors import RESUME_HINT
from harness.refusals import MAKE_ROOM
from ofa.errors import (
    DeviceBarred,
    DeviceLost,
    FileInvalid,
    MeasurementRefused,
    PackageMissing,
    UsageInvalid,
    printable,
)


def address_invalid(text: str, why: str) -> UsageInvalid:
    """Say that a text is no address of a device over SSH."""
    return UsageInvalid(
        f"'{printable(text)[:100]}' is no address of a device",
        why=why,
        hint="give a name of ~/.ssh/config, 'user@host' or 'user@host:port'",
    )


def device_unreachable(device: str, why: str, *hints: str) -> DeviceLost:
    """Say that no connection to a device could be made."""
    return DeviceLost(f"device '{device}' cannot be reached", why=printable(why)[:400], hint=hints)


def login_refused(device: str, why: str, *hints: str, for_good: bool) -> DeviceLost:
    """Say that a device let nobody in; a connection that broke off meanwhile may do better the next time."""
    kind = DeviceBarred if for_good else DeviceLost
    return kind(f"device '{device}' cannot be reached", why=printable(why)[:400], hint=hints)


def host_unknown(device: str, host: str, kind: str, fingerprint: str) -> DeviceBarred:
    """Say that nobody has yet said which key a host has."""
    return DeviceBarred(
        f"device '{device}' is not trusted yet",
        why=f"no key of '{host}' is pinned; it shows {kind} {fingerprint}",
        hint=f"compare that with the host's own, then 'ofa devices trust {device}'",
    )


def host_changed(device: str, host: str, pinned: Sequence[str], shown: str) -> DeviceBarred:
    """Say that a host shows another key than was pinned: it was installed anew, or is somebody else."""
    return DeviceBarred(
        f"device '{device}' is not the one that was trusted",
        why=f"'{host}' shows {shown}; pinned is {', '.join(pinned)}",
        hint=(
            "find out why: a host that was installed anew has a new key, and so has somebody in between",
            f"if it is meant to be so: 'ofa devices trust {device} --replace'",
        ),
    )


def host_revoked(device: str, host: str, shown: str, path: Path) -> DeviceBarred:
    """Say that a host shows a key that somebody has marked as one that must not be trusted any more."""
    return DeviceBarred(
        f"device '{device}' shows a key that was revoked",
        why=f"'{host}' shows {shown}, which '{path}' marks '@revoked'",
        hint=f"give the host a new key, then 'ofa devices trust {device} --replace'",
    )


def device_lacks(device: str, why: str, *hints: str) -> MeasurementRefused:
    """Say that a device refuses or lacks what files or commands need there."""
    return MeasurementRefused(
        f"device '{device}' cannot be used as it is", why=printable(why)[:400], hint=hints or ("check its folder",)
    )


def key_pinned_already(device: str, host: str, pinned: Sequence[str], shown: str) -> UsageInvalid:
    """Say that a host is trusted by another key than the one to be pinned."""
    return UsageInvalid(
        f"device '{device}' is trusted by another key already",
        why=f"pinned for '{host}' is {', '.join(pinned)}; it shows {shown}",
        hint=("find out why it changed", f"if it is meant to be so: 'ofa devices trust {device} --replace'"),
    )


def words_refused(word: str) -> UsageInvalid:
    """Say that a word cannot be part of a command on a device."""
    return UsageInvalid(
        f"'{printable(word)[:100]}' cannot be sent to a device",
        why="it has a line break or another control character",
        hint="correct the folder, the Python or the environment of the device",
    )


def adb_missing(program: str, why: str) -> PackageMissing:
    """Say that the program adb cannot be started."""
    return PackageMissing(
        f"the program '{program}' is needed for phones",
        why=f"it cannot be started: {why}",
        hint="install it: 'apt install adb', or the Android platform tools",
    )


def adb_server_silent(why: str) -> DeviceLost:
    """Say that the adb server of this computer does not answer."""
    return DeviceLost(
        "the adb server of this computer does not answer",
        why=why,
        hint="look at what 'adb devices' says; 'adb kill-server' ends one that hangs, for every user of it",
    )


def serial_invalid(device: str) -> UsageInvalid:
    """Say that a serial cannot be given to adb; it is not repeated, since it may hold anything."""
    return UsageInvalid(
        f"the serial of device '{device}' cannot be one of a phone",
        why="it is empty, begins with '-', or holds characters that cannot be printed",
        hint="use one that 'adb devices' lists",
    )


def phone_path_invalid(device: str, what: str) -> UsageInvalid:
    """Say that a folder, file or variable cannot be named so on a phone."""
    return UsageInvalid(
        f"device '{device}' cannot be used with {printable(what)[:200]}",
        why="folders are absolute, file names plain, variables letters and digits; none holds control characters",
        hint="rename it",
    )


def phone_not_ready(device: str, serial: str, state: str | None, known: Sequence[str], said: str = "") -> DeviceLost:
    """Say which state a phone is in, and what to do about it; ``said`` is what came of connecting it.

    The serial stands in the hints only: what happened and why is kept in journals.
    """
    shown = printable(serial)
    again = (
        f"'adb disconnect {shown} && adb connect {shown}'" if ":" in shown else "pull the cable and plug it in again"
    )
    listed = ", ".join(printable(name) for name in known[:20])
    reasons = {
        "offline": ("adb lists it as offline", again),
        "connecting": ("adb is still connecting to it", again),
        "unauthorized": (
            "it has not accepted this computer's key",
            "confirm 'Allow USB debugging' on the phone's screen",
        ),
        "authorizing": (
            "it is still asking whether to accept this computer's key",
            "look at the phone's screen, then try again",
        ),
        "no permissions": (
            "this user may not open its USB port",
            "add a udev rule for it ('apt install android-sdk-platform-tools-common') and plug it in again",
        ),
    }
    why, hint = reasons.get(
        state or "", (f"it is in state '{state}', in which nothing runs", "start Android on it, then try again")
    )
    if state is None:
        why = "adb does not list it" + (f"; connecting it gave: {said}" if said else "")
        on = "see that it is on and in this network, with debugging on" if ":" in shown else "plug it in, switch on"
        on += f", then 'adb connect {shown}'" if ":" in shown else " USB debugging, and look what 'adb devices' lists"
        hint = f"its serial is '{shown}' in the lab's list, and adb lists {listed or 'nothing'}: {on}"
    # A person has to do something first; whatever else is wrong may pass.
    kind = DeviceBarred if state in ("unauthorized", "no permissions") else DeviceLost
    return kind(f"device '{device}' cannot be reached over adb", why=why, hint=(hint, RESUME_HINT))


def phone_too_old(device: str) -> MeasurementRefused:
    """Say that no agent can be spoken to over a phone's adb."""
    return MeasurementRefused(
        f"device '{device}' cannot run the agent over adb",
        why="its adb daemon has no 'shell_v2': all it offers is a terminal, which changes what is sent through it",
        hint="use a phone with Android 7 or newer",
    )


def no_room(device: str, needed_bytes: int, free_bytes: int | None, *, spare_bytes: int = 0) -> MeasurementRefused:
    """Say that a file does not fit on a device, of whose disk so many bytes are left free whatever comes."""
    left = "it says that it has no space left" if free_bytes is None else f"{free_bytes:,} bytes are free"
    if free_bytes is not None and spare_bytes > 0:
        left += f", of which {spare_bytes:,} are left free: a disk that is full to the last block breaks more than this"
    return MeasurementRefused(
        f"device '{device}' has no room for a file of {needed_bytes:,} bytes", why=left, hint=MAKE_ROOM
    )


def folder_refused(device: str, why: str) -> MeasurementRefused:
    """Say that a device does not let files be brought to its folder."""
    return MeasurementRefused(
        f"device '{device}' does not take files",
        why=printable(why)[:300],
        hint="choose a folder in which its user may write and run programs, such as /data/local/tmp/ofa-lab",
    )


def host_keys_not_written(path: Path, fault: OSError) -> FileInvalid:
    """Say that the system refused to write a file of host keys."""
    return FileInvalid(
        f"file of host keys '{path}' cannot be written",
        why=fault.strerror or str(fault),
        hint="check the path, its permissions and the space left",
    )


def temperatures_faked(device: str) -> MeasurementRefused:
    """Say that a phone's thermal status is overridden, so that nobody can tell whether it throttles."""
    return MeasurementRefused(
        f"device '{device}' does not say how hot it is",
        why="its thermal status is overridden",
        hint="end that with 'adb shell cmd thermalservice reset'",
    )
