"""Messages of the bench host; the classes are those of `ofa.errors`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.errors import (
    DeviceBarred,
    DeviceLost,
    FileInvalid,
    MeasurementRefused,
    NoSubnetFits,
    OfaError,
    UsageInvalid,
    VerificationFailed,
    printable,
)

if TYPE_CHECKING:
    from pydantic import ValidationError

RESUME_HINT = "run the same command again ('ofa bench' with --resume): complete rounds are kept"


def resumed_by(line: str) -> str:
    """Return what to try where a measurement was begun: the command that goes on with it."""
    return f"then go on, complete rounds are kept: {line}"


def misspelt(message: str, command: str, near: Sequence[str]) -> UsageInvalid:
    """Say what of a command line cannot be understood, in one look with every other error."""
    told = printable(message.rstrip("."))
    hints = [f"did you mean '{near[0]}'?"] if near else []
    return UsageInvalid(f"{told[:1].lower()}{told[1:]}", hint=(*hints, f"{command} --help"))


def file_invalid(what: str, path: Path | str, why: str, *hints: str) -> FileInvalid:
    """Say that a file of kind ``what`` cannot be used."""
    return FileInvalid(
        f"{what} '{path}' cannot be used", why=why, hint=hints or ("check that this is the file you meant",)
    )


def fields_invalid(
    what: str,
    path: Path | str,
    fault: ValidationError,
    known: Iterable[str],
    *,
    instead: Mapping[str, str] | None = None,
    told: str | None = None,
) -> FileInvalid:
    """Say which field of a file is wrong, and which known name an unknown one resembles.

    ``instead``: what is written in place of names that people look for and that no such file has; ``told``: where
    every name is told, for one that resembles none.
    """
    # A mistyped key is also a missing one: the typo is what can be mended.
    found = sorted(
        fault.errors(include_url=False, include_input=False), key=lambda one: one["type"] != "extra_forbidden"
    )
    first = found[0]
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    more = f" (and {fault.error_count() - 1} more)" if fault.error_count() > 1 else ""
    why = f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}{more}"
    if first["type"] == "extra_forbidden":
        why = f"unknown key '{where}'{more}"
        looked_for = instead or {}
        near = difflib.get_close_matches(str(first["loc"][-1]), [*looked_for, *known], n=1)
        if near and near[0] in looked_for:
            return file_invalid(what, path, why, f"there is no '{near[0]}'; write {looked_for[near[0]]}")
        if near:
            return file_invalid(what, path, why, f"did you mean '{near[0]}'?")
        if told is not None:
            return file_invalid(what, path, why, f"every key is told in {told}")
    return file_invalid(what, path, why)


def no_such_device(name: str, devices: Iterable[str], kinds: Iterable[str]) -> FileInvalid:
    """Say that a name is neither a device of the lab's list nor a kind, and which of them it resembles."""
    known = [*devices, *kinds]
    near = difflib.get_close_matches(name, known, n=1)
    return FileInvalid(
        f"no device is called '{printable(name)[:60]}'",
        why="it stands in neither the lab's list nor among the kinds: " + ", ".join(known),
        hint=(
            *((f"did you mean '{near[0]}'?",) if near else ()),
            "list them and see where the list is: ofa devices",
        ),
    )


def no_address(device: str, transport: str) -> FileInvalid:
    """Say that a kind of device was named, or one whose address nobody knows."""
    return FileInvalid(
        f"nobody knows where a device '{device}' is",
        why=f"such devices are reached by {transport.upper()}, and the lab's list has no address for it",
        hint=(
            f"add [devices.NAME] with kind and {transport} to the lab's list; 'ofa devices' says where that is",
            "then name it: --device NAME",
        ),
    )


def not_by_ssh(name: str) -> UsageInvalid:
    """Say that only what is reached by SSH has a host key."""
    return UsageInvalid(
        f"'{name}' has no host key to trust",
        why="it is no device of the lab's list that is reached by SSH",
        hint="list them: ofa devices",
    )


def not_trusted(name: str, fingerprint: str, *, asked: bool, replace: bool) -> UsageInvalid:
    """Say that nobody said that a key is to be trusted: who was ``asked`` did not, or there is no terminal."""
    nobody = "is asked for at a terminal only, and this is none: what is piped in is not read"
    return UsageInvalid(
        f"the key of device '{name}' is not trusted",
        why=f"its fingerprint {fingerprint} " + ("was not confirmed" if asked else nobody),
        hint=f"compare it on the device, then: ofa devices trust {name} {'--replace ' if replace else ''}--yes",
    )


def placeholder_left(device: str, key: str, value: str) -> FileInvalid:
    """Say that a device's address is still the word that stands for one where a list is begun."""
    instead = {"adb": "its serial, as 'adb devices' lists it", "ssh": "a name of ~/.ssh/config, or its own user@host"}
    return FileInvalid(
        f"device '{device}' has no address yet",
        why=f"its '{key}' in the lab's list is still '{value}', which stands for one",
        hint=f"write in its place {instead[key]}; 'ofa devices' says where the list is",
    )


def device_lost(device: str, why: str, *hints: str, kind: type[DeviceLost] = DeviceLost) -> DeviceLost:
    """Say that a device stopped answering."""
    return kind(f"device '{device}' stopped answering", why=why, hint=hints or (RESUME_HINT,))


def answer_refused(device: str, why: str) -> DeviceLost:
    """Say that a device answered something that is not the protocol."""
    return DeviceLost(
        f"device '{device}' gave an answer that cannot be used",
        why=why,
        hint=("check that nothing else writes to the agent's output", RESUME_HINT),
    )


def worker_lost(device: str, why: str, attempt: int) -> DeviceLost:
    """Say that what measured on a device for us is no more."""
    return DeviceLost(
        f"device '{device}' lost its worker (attempt {attempt})", why=why, hint=("look at the device", RESUME_HINT)
    )


def devices_failed(faults: Sequence[tuple[str, BaseException]], measured: Sequence[str]) -> DeviceLost:
    """Say of several devices which failed and why, and where the tables of the others are."""
    names = ", ".join(f"'{name}'" for name, _ in faults)
    told = [f"{name}: {fault}".replace("error: ", "").replace("\n", " ") for name, fault in faults]
    return DeviceLost(
        f"{len(faults)} of {len(faults) + len(measured)} devices were not measured: {names}",
        why="; ".join(told),
        hint=("the same command with --resume goes on with them", *(f"measured: {path}" for path in measured)),
    )


def versions_differ(device: str, theirs: object, ours: int) -> DeviceBarred:
    """Say that agent and host speak different versions of the protocol."""
    return DeviceBarred(
        f"device '{device}' runs an agent of another version",
        why=f"it speaks protocol {theirs}, this host speaks protocol {ours}",
        hint="let this host send its own agent: remove the old one from the device's folder",
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
        hint=("compare the two: ofa lut diff", "or move it out of 'luts', as to 'before', or give another '--into'"),
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


def recheck_impossible(table: str, why: str) -> FileInvalid:
    """Say that a table cannot be held against a device as it is now."""
    return FileInvalid(
        f"table '{table}' cannot be rechecked",
        why=printable(why),
        hint="measure it with 'ofa bench' into a table of this version",
    )


def recheck_elsewhere(table: str, why: str) -> UsageInvalid:
    """Say that a table is of another device, or of other conditions than it is in now."""
    return UsageInvalid(
        f"table '{table}' is not rechecked there",
        why=printable(why),
        hint="name the table of this device, under its conditions, or measure one with 'ofa bench'",
    )


def recheck_refused(table: str, unsure: Sequence[str], *, wider: bool) -> MeasurementRefused:
    """Say that a recheck was too noisy to call a table true, and whether a ``wider`` tolerance could."""
    else_wider = ("or with a larger '--tolerance', which the record then names",) if wider else ()
    return MeasurementRefused(
        f"nobody can say whether table '{table}' still holds",
        why=printable("; ".join(unsure[:3])),
        hint=("recheck it when the device does nothing else", *else_wider),
    )


def table_is_stale(folder: str, found: Sequence[str]) -> VerificationFailed:
    """Say that a table holds no more, and what changed."""
    return VerificationFailed(
        f"table '{folder}' is stale: the device is not as it says any more",
        why=printable("; ".join(found)),
        hint=("measure it again with 'ofa bench', then 'ofa lut build ... --replace'", "or recheck it to be sure"),
    )


def names_alike() -> UsageInvalid:
    """Say that two model files to verify could not be told apart."""
    return UsageInvalid("two model files have one name", hint="give them names of their own: verdicts are by name")


def none_ran(verdicts: Sequence[Mapping[str, Any]], runtime: str) -> FileInvalid:
    """Say that a runtime could run none of the files that were to be measured."""
    ran = "did not run the file" if len(verdicts) == 1 else f"ran none of {len(verdicts)} files"
    return FileInvalid(
        f"{runtime} {ran}",
        why="; ".join(f"{verdict['name']}: {verdict['reason']}" for verdict in verdicts[:3]),
        hint="give files in the form that the runtime takes, or the runtime they are for (--runtime)",
    )


def nothing_to_verify() -> UsageInvalid:
    """Say that no model file was named."""
    return UsageInvalid("there is nothing to verify", hint="name at least one model file")


def table_of_another(table: str, *, of: tuple[str, str], wanted: tuple[str, str]) -> UsageInvalid:
    """Say that a table is of another device or runtime; ``of`` and ``wanted`` are a device and a runtime each."""
    return UsageInvalid(
        f"table '{table}' predicts nothing for '{wanted[1]}' on '{wanted[0]}'",
        why=f"it is of '{of[1]}' on '{of[0]}'",
        hint="give the table of this device and runtime, or none",
    )


def sidecar_without_subnet(path: Path) -> FileInvalid:
    """Say that what stands beside a model file does not say which network it is."""
    return FileInvalid(f"sidecar '{path}' names no subnet", hint="export the model again, or remove the sidecar")


def none_unseen(budget_ms: float) -> NoSubnetFits:
    """Say that every network under a budget is one that the twins were made from."""
    return NoSubnetFits(
        f"no subnet under {budget_ms:.4g} ms is new to the twins",
        why="every one that the search met was labelled or calibrated with",
        hint="allow a larger budget, or label fewer subnets",
    )


def no_place_for_run(folder: Path) -> UsageInvalid:
    """Say that a run is not kept among tables."""
    return UsageInvalid(
        f"'{folder}' is no place for a run",
        why="under 'luts' every folder is one table; a run holds more",
        hint=("choose a folder elsewhere, such as one under 'runs'", "then copy its table to where 'luts' has it"),
    )


def path_refused(fault: OSError) -> FileInvalid:
    """Say which path the system refuses, or that it takes no file at all."""
    return FileInvalid(
        f"'{fault.filename}' cannot be used" if fault.filename else "a file cannot be written",
        why=fault.strerror or str(fault),
        hint="check the path, its permissions and the space left, then run the same command again",
    )


def our_bug(fault: Exception, log: Path | FileInvalid) -> OfaError:
    """Say that the fault is ours, and where its traceback is or why it was not written."""
    where = f"the full traceback is in '{log}'"
    if isinstance(log, FileInvalid):
        where = f"no log could be written: {log.why}"
    return OfaError(
        f"ofa failed in a way it never should: {type(fault).__name__}: {fault}",
        why=f"this is a bug of ours; {where}",
        hint="report it with that log; 'ofa --debug ...' prints the traceback here",
    )
