"""Messages of the bench host that are used more than once; the classes are those of `ofa.errors`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.errors import DeviceLost, FileInvalid, MeasurementRefused, UsageInvalid, printable

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
    by_program = "give a build for this device with '--program', or choose another '--unit' or runtime"
    return MeasurementRefused(
        f"runtime '{runtime}' on device '{device}' cannot run a network",
        why=reason,
        hint=by_program
        if runtime in ("benchmark_model", "ort_perf_test")
        else f"install '{runtime}' for the Python that runs the agent, or choose another runtime",
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


def native_partial(unit: str, ops: Sequence[str]) -> str:
    """Say that a GPU or NPU takes a part of a network only; the first word makes its row `unsupported`."""
    return f"unsupported: the {unit} does not run all of it" + (f", not {', '.join(ops)}" if ops else "")


def native_cold(runtime: str) -> str:
    """Say why a network has no cold time with a program that runs one network in each process."""
    return f"{runtime} runs one network in each process, so that none finds the caches cold: it is measured hot only"


def native_coarse(runtime: str, least_us: float) -> str:
    """Say why the time of a network that takes next to nothing is not known."""
    return f"it takes less than {least_us:g} µs, and {runtime} tells whole µs only"


def no_program(runtime: str) -> UsageInvalid:
    """Say that a runtime is a program that nobody has named."""
    return UsageInvalid(
        f"runtime '{runtime}' is a program that is brought to the device",
        why="none is named, and none comes with us",
        hint=f"give its path with '--program': a build of '{runtime}' for the device",
    )


def program_unused(runtime: str) -> UsageInvalid:
    """Say that a program, or a unit other than the CPU, is named for a runtime that runs inside the agent."""
    return UsageInvalid(
        f"runtime '{runtime}' runs inside the agent, on the CPU",
        hint="leave '--program' and '--unit' out, or choose 'benchmark_model' or 'ort_perf_test'",
    )


def precision_of_unit(precision: str, unit: str) -> UsageInvalid:
    """Say that a unit does not compute in a precision."""
    return UsageInvalid(
        f"a {unit} is not measured in {precision}",
        why="fp16 is what a GPU or NPU may relax a float32 file to",
        hint="choose another precision, or '--unit gpu' or '--unit npu'",
    )


def no_preview(runtime: str) -> UsageInvalid:
    """Say that nothing is foretold of a runtime."""
    return UsageInvalid(
        f"'--dry-run' does not know how long '{runtime}' takes",
        why="it starts a process for each network, and the times of single calls do not say how long that lasts",
        hint="measure one network first: '--fit 1 --holdout 0 --rounds 1 --no-again'",
    )


def mask_invalid(device: str, mask: str) -> UsageInvalid:
    """Say that the cores of a device are named by something else than a mask."""
    return UsageInvalid(
        f"'{printable(mask)[:60]}' names no cores of device '{device}'",
        why="cores are named by a mask in hex digits, as 'taskset' takes it",
        hint="give such as 'f0' for cores 4 to 7",
    )
