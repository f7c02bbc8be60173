"""Messages about a device that cannot be measured on now, or as asked: too hot, too busy, held; a runtime or unit it is
not used with; settings that cannot be changed; energy that cannot be known; runs that cannot be compared."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.errors import RESUME_HINT, answer_refused, file_invalid
from ofa.errors import DeviceBarred, DeviceFull, DeviceLost, FileInvalid, MeasurementRefused, UsageInvalid, printable

MAKE_ROOM = (
    "make room on its disk: what we bring lies in its 'folder' of the lab's list, else in ~/.cache/ofa-lab over SSH,"
    " /data/local/tmp/ofa-lab over ADB"
)


def too_hot(device: str, hottest_c: float | None, limit_c: float | None, held_back: str) -> MeasurementRefused:
    """Say that a device is above its limit or holds itself back for its heat, or that nobody can tell."""
    why = "no temperature can be read" if hottest_c is None else f"its hottest sensor reads {hottest_c:g} °C"
    allowed = "" if limit_c is None else f", its profile allows {limit_c:g} °C"
    throttled = f"; it is held back: {held_back}" if held_back else ""
    return MeasurementRefused(
        f"device '{device}' is not cool enough to be measured",
        why=f"{why}{allowed}{throttled}",
        hint=(
            f"let it cool and {RESUME_HINT}",
            *(() if limit_c is None else ("or change 'max_temp_c' in its profile",)),
        ),
    )


def too_busy(device: str, cores: float, limit: float) -> MeasurementRefused:
    """Say how much other work a device does, and how to measure all the same."""
    return MeasurementRefused(
        f"device '{device}' is busy with other work",
        why=kept_busy(cores, limit),
        hint=(
            f"end what runs there and {RESUME_HINT}",
            "or measure all the same: add --allow-load (and --resume); the table then carries the flag 'loaded'",
            "or change 'max_foreign_cores' in its profile",
        ),
    )


def kept_busy(cores: float, limit: float) -> str:
    """Return in words how much other work a device does, and how much of it its profile allows."""
    return f"others keep {cores:.2f} of its cores busy, its profile allows {limit:g}"


def told_by_check(device: str) -> str:
    """Return what to try where the command to type holds an address: nothing that is kept names it."""
    return f"'ofa devices check {device}' prints what to type: it names the address, which stands in no log"


def agent_refused(device: str, kind: str | None, reason: str) -> DeviceLost:
    """Say why an agent did not do what it was asked; ``kind`` is what stands in its way, where it knows that."""
    if kind == "no_room":
        return DeviceFull(
            f"device '{device}' has no room left", why=f"the agent says: {reason}", hint=(MAKE_ROOM, RESUME_HINT)
        )
    if kind == "not_held":
        return DeviceBarred(
            f"device '{device}' was taken from this measurement",
            why=f"{reason}: somebody broke its lease ('ofa devices release'), or took it over when it had run out",
            hint=(f"ask who works there, or see it: ofa devices check {device}", RESUME_HINT),
        )
    return answer_refused(device, f"the agent says: {reason}")


def pack_without_room(device: str, files: int, size_bytes: int) -> MeasurementRefused:
    """Say that a device had room for the pack that brings files, and none for what came out of it."""
    needed = f"{2 * size_bytes:,} bytes are needed, and its disk was full before"
    return MeasurementRefused(
        f"device '{device}' has no room for {files:,} files of {size_bytes:,} bytes",
        why=f"they come in one pack, which lies there beside them until all are out: {needed}",
        hint=MAKE_ROOM,
    )


def device_held(device: str, owner: str, left_s: float) -> MeasurementRefused:
    """Say who holds a device at present."""
    return MeasurementRefused(
        f"device '{device}' is held by {owner}",
        why=f"the lease on it runs for another {left_s:.0f} s, and longer while they measure",
        hint=("wait, or ask them", f"or break the lease: ofa devices release {device}"),
    )


def no_lease(device: str) -> UsageInvalid:
    """Say that a device is this computer, or lives in it."""
    return UsageInvalid(
        f"device '{device}' has no lease",
        why="it is this computer, where a run folder is locked instead",
        hint="name a device that is reached by SSH or ADB",
    )


def tuning_refused(device: str, why: str) -> MeasurementRefused:
    """Say why a device's settings cannot be changed as asked; nothing was changed."""
    return MeasurementRefused(
        f"device '{device}' cannot be tuned",
        why=why,
        hint=("leave '--allow-tuning' out: it is then measured as it is", "or give the agent the rights it lacks"),
    )


def tuning_unknown(word: str, known: Sequence[str]) -> UsageInvalid:
    """Say that nothing of a name can be changed on a device."""
    near = difflib.get_close_matches(word, known, n=1)
    return UsageInvalid(
        f"'--allow-tuning {printable(word)[:60]}' names nothing that is changed",
        why="it takes " + ", ".join(known),
        hint=f"did you mean '{near[0]}'?" if near else "give the option again for each of several",
    )


def tuned_by_another(device: str) -> MeasurementRefused:
    """Say that a device's settings are in another process's hands at present."""
    return MeasurementRefused(
        f"device '{device}' is tuned by another process of this computer",
        why="it puts everything back when it ends, in the middle of what would be measured now",
        hint="wait until it has ended",
    )


def still_tuned(device: str, why: str, record: Path) -> MeasurementRefused:
    """Say that a device's settings were changed and could not be put back."""
    return MeasurementRefused(
        f"device '{device}' is not as it was before it was tuned",
        why=why,
        hint=(
            "run the command again: the next one that reaches the device puts back what is on record there",
            f"the record of this computer is '{record}'",
            "or restart the device: of what is changed, only a power mode outlives that",
        ),
    )


def energy_unknown(device: str, why: str, *, pulses: bool = True) -> MeasurementRefused:
    """Say why nobody can tell what a device draws, and whether it could make ``pulses`` for a meter."""
    beside = ("or put a meter beside it: '--pulses', then 'ofa lut build RUN --meter FILE'",) if pulses else ()
    return MeasurementRefused(
        f"device '{device}' does not say what it draws",
        why=why,
        hint=("leave '--energy' out: latency is then measured alone", *beside),
    )


def energy_not_asked() -> UsageInvalid:
    """Say that networks to measure the energy of were counted, and no energy was asked for."""
    return UsageInvalid("'--energy-networks' measures nothing alone", hint="add '--energy', or '--pulses' for a meter")


def energy_too_small(device: str, source: str, busy_w: float, idle_w: float) -> MeasurementRefused:
    """Say that work drew no more than idling, as far as a source can tell."""
    return MeasurementRefused(
        f"the energy of a network on device '{device}' cannot be told from idling",
        why=f"source '{source}' reads {busy_w:.3f} W at work and {idle_w:.3f} W idle",
        hint=("stop other work on the device", "or measure with longer windows or another source"),
    )


def fit_of_named() -> UsageInvalid:
    """Say that networks to fit to were counted although they are named."""
    return UsageInvalid(
        "'--fit' does not go with '--subnets'",
        why="the subnets named there are the networks that are measured",
        hint="leave '--fit' out; '--holdout N' holds N of them out of the fit",
    )


def too_many_held_out(holdout: int, subnets: int) -> UsageInvalid:
    """Say that more of the named networks were to be held out than lie between the smallest and the largest."""
    return UsageInvalid(
        f"{holdout} of {subnets} subnets cannot be held out",
        why="the one with the fewest MACs and the one with the most are fitted to, so that the others lie between",
        hint="hold fewer out with '--holdout', or name more with '--subnets'",
    )


def pulses_not_found(path: Path, why: str) -> FileInvalid:
    """Say that a meter's file does not show when the device worked."""
    return file_invalid(
        "meter's file",
        path,
        why,
        "let the meter record from before the measurement to after it, at least 5 readings a second",
        "check that it meters this device, and nothing else that works",
    )


def no_pulses(folder: Path) -> UsageInvalid:
    """Say that a run did not work in a pattern that a meter's file could show."""
    return UsageInvalid(
        f"run '{folder}' made no pulses for a meter",
        why="without them nothing says when in the meter's file it worked",
        hint="measure with '--pulses' into another folder, the meter recording from before to after it",
    )


def no_runtime(device: str, known: Iterable[str]) -> UsageInvalid:
    """Say that nobody said what runs the networks on a device."""
    what = f"nobody says which runtime device '{device}' is measured with"
    why = "neither '--runtime' nor its part of the lab's list does, nor a table"
    return UsageInvalid(
        what,
        why=why,
        hint=(
            "add --runtime with one of: " + ", ".join(known),
            f"see which of them it has: ofa devices check {device}",
        ),
    )


def runtime_of_others(table: str, runtime: str, known: Iterable[str]) -> FileInvalid:
    """Say that a table is of a runtime that nothing can be measured with, so that no measurement stands beside it."""
    return FileInvalid(
        f"nothing can be measured beside table '{table}'",
        why=f"its runtime is '{runtime}', and devices are measured with " + ", ".join(known),
        hint="measure a table of the device with 'ofa bench', and name that one",
    )


def runtime_not_ready(device: str, runtime: str, reason: str, *, listed: bool) -> MeasurementRefused:
    """Say why a runtime of a device cannot run a network; of a ``listed`` one the lab's list names the Python."""
    return MeasurementRefused(
        f"runtime '{runtime}' on device '{device}' cannot run a network",
        why=reason,
        hint=(mended(runtime, listed=listed), "or choose another runtime"),
    )


def mended(runtime: str, python: str = "", *, listed: bool = False) -> str:
    """Return how a runtime that cannot do something on a device is replaced by one that can; ``python`` is what runs
    the agent there, where that is known, as the lab's list says it where the device is ``listed``."""
    if runtime in ("benchmark_model", "ort_perf_test", "trtexec"):
        return "give another build for this device with '--program'"
    runs = f"'{python}' there" if python else "the Python that runs the agent"
    other = ", or name a Python that has one by 'python' in the lab's list" if listed else ""
    return f"install a build of '{runtime}' that can, for {runs}{other}"


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


def unit_unknown(runtime: str, unit: str, having: Iterable[str]) -> UsageInvalid:
    """Say that a runtime is not used on a unit."""
    return UsageInvalid(
        f"runtime '{runtime}' is not measured on the {unit}",
        why="it is measured on " + ", ".join(having),
        hint="choose one of these with '--unit', or another runtime",
    )


def unit_not_ready(device: str, runtime: str, unit: str, reason: str) -> MeasurementRefused:
    """Say why a runtime of a device cannot use a unit."""
    return MeasurementRefused(
        f"runtime '{runtime}' cannot use the {unit} of device '{device}'",
        why=reason,
        hint=(mended(runtime), "or leave '--unit' out"),
    )


def kernels_unknown(runtime: str, kernels: str, unit: str, having: Iterable[str]) -> UsageInvalid:
    """Say that a runtime has no kernels of a name on a unit."""
    return UsageInvalid(
        f"runtime '{runtime}' has no kernels called '{kernels}' on the {unit}",
        why="there it has " + ", ".join(having),
        hint="leave '--kernels' out, or choose one of these",
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


def draw_untold(device: str, why: str) -> MeasurementRefused:
    """Say that a device that was to say what it draws did not, and why."""
    return MeasurementRefused(f"device '{device}' does not say what it draws", why=why)


def settings_untold(device: str) -> MeasurementRefused:
    """Say that a device did not answer what it was asked of its settings."""
    return MeasurementRefused(f"device '{device}' said nothing of its settings")


def front_has_no_limit(folder: Path) -> UsageInvalid:
    """Say that a whole front was searched for, not networks under one limit."""
    return UsageInvalid(
        f"nothing can be chosen from '{folder}'",
        why="it holds a front: a network for each of many limits",
        hint="search under one limit, for several networks: 'ofa search … --top 8 --out FOLDER'",
    )


def answer_of_others(path: Path, why: str) -> FileInvalid:
    """Say that a file is not the answer of a search that verbs here can go on from."""
    return FileInvalid(
        f"'{path}' is not the answer of a search for one network",
        why=why,
        hint="search again into a new folder: 'ofa search … --top 8 --out FOLDER'",
    )


def choice_needs_table(target: str, parts: int) -> UsageInvalid:
    """Say that a target of a search was priced by several tables, of which none is the device's own."""
    return UsageInvalid(
        f"nothing says which table the measurements on '{target}' stand beside",
        why=f"the search was priced by {parts} files for it",
        hint="name the device's table with --lut",
    )


def choice_in_fp32(table: str, precision: str) -> UsageInvalid:
    """Say that networks are labelled and exported in another precision than the table's."""
    return UsageInvalid(
        f"networks cannot be chosen by table '{table}'",
        why=f"it is of {precision}; subnets are labelled and exported in fp32",
        hint="export the subnet with 'ofa export --precision', and measure the file: 'ofa verify --model FILE --data'",
    )


def one_device_for(targets: Sequence[str]) -> UsageInvalid:
    """Say that one device was named where a search was for several."""
    return UsageInvalid(
        "--device names one device, and the search was for several",
        why=f"its targets are {', '.join(targets)}: each is measured on the device of that name",
        hint="leave --device out, and give the targets of a search the names of devices",
    )


def choice_needs_files(device: str, runtime: str) -> UsageInvalid:
    """Say that the table of a search is of a runtime that runs no model file."""
    return UsageInvalid(
        f"networks cannot be tried on '{device}'",
        why=f"each is exported with its trained weights, and runtime '{runtime}' of its table runs no such file",
        hint="search by the table of a device that runs model files: 'ofa bench' makes one, of this computer too",
    )


def nothing_to_compare(
    a: Path, b: Path, of_a: Sequence[str], of_b: Sequence[str], broken: Sequence[str] = ()
) -> FileInvalid:
    """Say that two runs have neither a table nor a front in common: first what of them could not be read, which is
    likely why, then what each of them holds."""
    held = [printable("; ".join(found))[:300] or "no table and no front" for found in (of_a, of_b)]
    return FileInvalid(
        f"'{a}' and '{b}' have nothing that could be compared",
        why="; ".join([*map(printable, broken), f"the first holds {held[0]}, the second {held[1]}"]),
        hint=(
            *(("see what is wrong with a table: ofa lut check FOLDER",) if broken else ()),
            "name two tables that have ops in common, two runs of 'ofa bench', or two searches with a front.json",
            "of runs with several runtimes name the folders of the two to compare",
        ),
    )
