"""Messages of the bench host that are used more than once; the classes are those of `ofa.errors`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.errors import DeviceLost, FileInvalid, MeasurementRefused, PackageMissing, UsageInvalid, printable

if TYPE_CHECKING:
    from pydantic import ValidationError

RESUME_HINT = "run the same command again ('ofa bench' with --resume): complete rounds are kept"


def file_invalid(what: str, path: Path | str, why: str, *hints: str) -> FileInvalid:
    """Say that a file of kind ``what`` cannot be used."""
    return FileInvalid(
        f"{what} '{path}' cannot be used", why=why, hint=hints or ("check that this is the file you meant",)
    )


def fields_invalid(what: str, path: Path | str, fault: ValidationError, known: Iterable[str]) -> FileInvalid:
    """Say which field of a file is wrong, and which known name an unknown one resembles."""
    first = fault.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    more = f" (and {fault.error_count() - 1} more)" if fault.error_count() > 1 else ""
    why = f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}{more}"
    if first["type"] == "extra_forbidden":
        why = f"unknown key '{where}'{more}"
        near = difflib.get_close_matches(str(first["loc"][-1]), list(known), n=1)
        if near:
            return file_invalid(what, path, why, f"did you mean '{near[0]}'?")
    return file_invalid(what, path, why)


def nothing_to_report(folder: Path, broken: Iterable[str]) -> FileInvalid:
    """Say that a folder holds no stage of a run that a page could show."""
    return FileInvalid(
        f"run folder '{folder}' holds nothing to report",
        why="; ".join(broken) or "it has no run.json, table, twin, front, labels, training log or summary",
        hint="name the folder that 'ofa demo' or 'ofa bench' wrote",
    )


def device_lost(device: str, why: str, *hints: str) -> DeviceLost:
    """Say that a device stopped answering."""
    return DeviceLost(f"device '{device}' stopped answering", why=why, hint=hints or (RESUME_HINT,))


def answer_refused(device: str, why: str) -> DeviceLost:
    """Say that a device answered something that is not the protocol."""
    return DeviceLost(
        f"device '{device}' gave an answer that cannot be used",
        why=why,
        hint=("check that nothing else writes to the agent's output", RESUME_HINT),
    )


def versions_differ(device: str, theirs: object, ours: int) -> DeviceLost:
    """Say that agent and host speak different versions of the protocol."""
    return DeviceLost(
        f"device '{device}' runs an agent of another version",
        why=f"it speaks protocol {theirs}, this host speaks protocol {ours}",
        hint="let this host send its own agent: remove the old one from the device's folder",
    )


def runtime_not_ready(device: str, runtime: str, reason: str) -> MeasurementRefused:
    """Say why a runtime of a device cannot run a network."""
    return MeasurementRefused(
        f"runtime '{runtime}' on device '{device}' cannot run a network",
        why=reason,
        hint=f"install '{runtime}' for the Python that runs the agent, or choose another runtime",
    )


def runtime_not_offered(device: str, runtime: str, offered: Iterable[str]) -> UsageInvalid:
    """Say which runtimes a device's profile lists."""
    return UsageInvalid(
        f"device '{device}' is not used with runtime '{runtime}'",
        why="its profile lists " + ", ".join(offered),
        hint="choose one of these, or add the runtime to the profile",
    )


def way_not_offered(device: str, runtime: str, asked: str, offered: Iterable[object]) -> UsageInvalid:
    """Say that a profile does not list a precision or a number of threads for a runtime."""
    return UsageInvalid(
        f"device '{device}' is not used with runtime '{runtime}' at {asked}",
        why="its profile lists " + ", ".join(map(str, offered)),
        hint="choose one of these, or add it to the profile",
    )


def kernels_unknown(runtime: str, kernels: str, having: Iterable[str]) -> UsageInvalid:
    """Say that a runtime has no kernels of a name."""
    return UsageInvalid(
        f"runtime '{runtime}' has no kernels called '{kernels}'",
        why="only these have them: " + ", ".join(having),
        hint=("leave '--kernels' out", "or choose one of these runtimes"),
    )


def precision_unwritten(runtime: str, precision: str, written: Iterable[str]) -> UsageInvalid:
    """Say that no file of a precision can be built for a runtime."""
    return UsageInvalid(
        f"runtime '{runtime}' cannot be measured in {precision}",
        why="files can be built for " + ", ".join(written),
        hint="choose one of these",
    )


def environment_changed(device: str, differing: Iterable[str], measured: Path) -> MeasurementRefused:
    """Say that what was ``measured`` (a journal, or a folder with a table) was so under other conditions than now."""
    return MeasurementRefused(
        f"device '{device}' is no longer as it was when '{measured}' was measured",
        why="these differ: " + ", ".join(differing),
        hint=("restore the conditions and resume", f"or move '{measured}' away and measure again"),
    )


def too_hot(device: str, hottest_c: float | None, limit_c: float) -> MeasurementRefused:
    """Say that a device is above its limit, or that nobody can tell."""
    why = "no temperature can be read" if hottest_c is None else f"its hottest sensor reads {hottest_c:g} °C"
    return MeasurementRefused(
        f"device '{device}' is not cool enough to be measured",
        why=f"{why}, its profile allows {limit_c:g} °C",
        hint=(
            f"let it cool and {RESUME_HINT}",
            "or change 'max_temp_c' in its profile",
        ),
    )


def networks_lacking(space: str, count: int, found: int, resolution: int | None) -> UsageInvalid:
    """Say that a space has fewer networks than are to be measured."""
    where = "" if resolution is None else f" at {resolution} px"
    return UsageInvalid(
        f"space '{space}' has not {count} networks{where} to measure",
        why=f"{found} different ones were found",
        hint="ask for fewer with '--fit' and '--holdout'",
    )


def nothing_missing(table: str, space: str) -> UsageInvalid:
    """Say that a table has every row of a space already."""
    return UsageInvalid(
        f"table '{table}' lacks nothing of space '{space}'",
        why="every op and overhead has a measured row in both states",
        hint=("ask for whole networks with '--fit' and '--holdout'", "or measure a table of its own to merge with it"),
    )


def table_of_others(table: str, found: Sequence[Mapping[str, Any]]) -> UsageInvalid:
    """Say that a table was not measured as it would be completed now, naming the first differences."""
    first = [f"{entry['path']} is {entry.get('a', 'absent')!r}, now {entry.get('b', 'absent')!r}" for entry in found]
    more = f" (and {len(found) - 3:,} more)" if len(found) > 3 else ""
    return UsageInvalid(
        f"table '{table}' cannot be completed by this measurement",
        why=printable("; ".join(first[:3]))[:400] + more,
        hint=("give the options it was measured with, under its conditions", "or measure a table of its own"),
    )


def nothing_to_add(table: str) -> UsageInvalid:
    """Say that verified networks cannot become rows: nobody knows at which speed the device was."""
    return UsageInvalid(
        f"what was verified cannot be added to table '{table}'",
        why="fewer than 3 of its own networks were measured beside it, so its speed is not known",
        hint="use a table with networks of its own",
    )


def verified_elsewhere(table: str, environment_id: str, found: Sequence[str]) -> UsageInvalid:
    """Say that networks were verified under other conditions than a table is of."""
    return UsageInvalid(
        f"what was verified cannot be added to table '{table}'",
        why=f"it was measured in environment {', '.join(found)}, the table is of {environment_id}",
        hint=("compare the environments: 'ofa lut show' prints the table's", "or measure a table of this environment"),
    )


def no_data_to_test(name: str) -> UsageInvalid:
    """Say that a sampled subnet has no accuracy: its weights are random."""
    return UsageInvalid(
        f"sampled subnet {name} has no accuracy to measure",
        why="its file holds random weights, which latency does not depend on",
        hint="leave '--data' out, or give exported files with '--model'",
    )


def run_missing(folder: Path, lacking: Iterable[str]) -> FileInvalid:
    """Say that a folder holds no measurement."""
    return FileInvalid(
        f"folder '{folder}' holds no run of 'ofa bench'",
        why="it lacks " + ", ".join(f"'{name}'" for name in lacking),
        hint="name the folder given to '--out', or that of one runtime in a demo's folder",
    )


def run_begun(folder: Path) -> UsageInvalid:
    """Say that a folder holds a measurement already."""
    return UsageInvalid(
        f"'{folder}' holds a measurement already",
        why="a new one there would mix with it",
        hint=("add --resume to go on with it", "or give another folder with --out"),
    )


def no_round(folder: Path) -> FileInvalid:
    """Say that a run has not come far enough for a table."""
    return FileInvalid(
        f"run '{folder}' amounts to no table yet",
        why="no round of it is complete",
        hint="run the same 'ofa bench' with --resume: it goes on where it stopped",
    )


def place_of_another(place: Path, differing: Sequence[str]) -> UsageInvalid:
    """Say that a table of another environment stands where one was about to be written."""
    more = f" (and {len(differing) - 5:,} more)" if len(differing) > 5 else ""
    return UsageInvalid(
        f"'{place}' holds a table of another environment",
        why="these differ: " + ", ".join(differing[:5]) + more,
        hint=("compare the two with 'ofa lut diff'", "or move it away, or choose another folder with '--into'"),
    )


def subnet_of_others(subnet: str, found: str, space: str) -> UsageInvalid:
    """Say that a subnet to measure is of another space than was named."""
    return UsageInvalid(
        f"subnet {subnet} is of space '{found}', not of '{space}'",
        hint="name the space it was sampled from, with the same --width, --channels and --classes",
    )


def no_table_named() -> UsageInvalid:
    """Say that verified networks are to be added to no table."""
    return UsageInvalid("'--add' names no table", hint="give the table with '--lut'")


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
        hint = f"adb lists {listed}" if listed else f"adb lists nothing: {again}, and look whether USB debugging is on"
    return DeviceLost(f"device '{device}' cannot be reached over adb", why=why, hint=(hint, RESUME_HINT))


def phone_too_old(device: str) -> MeasurementRefused:
    """Say that no agent can be spoken to over a phone's adb."""
    return MeasurementRefused(
        f"device '{device}' cannot run the agent over adb",
        why="its adb daemon has no 'shell_v2': all it offers is a terminal, which changes what is sent through it",
        hint="use a phone with Android 7 or newer",
    )


def no_room(device: str, needed_bytes: int, free_bytes: int | None) -> MeasurementRefused:
    """Say that a file does not fit on a device."""
    left = "it says that it has no space left" if free_bytes is None else f"{free_bytes:,} bytes are free"
    return MeasurementRefused(
        f"device '{device}' has no room for a file of {needed_bytes:,} bytes",
        why=left,
        hint="remove files of earlier measurements from its folder, or others it does not need",
    )


def folder_refused(device: str, why: str) -> MeasurementRefused:
    """Say that a device does not let files be brought to its folder."""
    return MeasurementRefused(
        f"device '{device}' does not take files",
        why=printable(why)[:300],
        hint="choose a folder in which its user may write and run programs, such as /data/local/tmp/ofa-lab",
    )


def temperatures_faked(device: str) -> MeasurementRefused:
    """Say that a phone's thermal status is overridden, so that nobody can tell whether it throttles."""
    return MeasurementRefused(
        f"device '{device}' does not say how hot it is",
        why="its thermal status is overridden",
        hint="end that with 'adb shell cmd thermalservice reset'",
    )
