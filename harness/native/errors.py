"""Messages of the programs that measure networks where no Python runs."""

from __future__ import annotations

from collections.abc import Sequence

from ofa.errors import MeasurementRefused, UsageInvalid, printable


def native_partial(unit: str, ops: Sequence[str]) -> str:
    """Say that a GPU or NPU takes a part of a network only; the first word makes its row `unsupported`."""
    return f"unsupported: the {unit} does not run all of it" + (f", not {', '.join(ops)}" if ops else "")


def native_cold(runtime: str) -> str:
    """Say why a network has no cold time with a program that runs one network in each process."""
    return f"{runtime} runs one network in each process, so that none finds the caches cold: it is measured hot only"


def native_coarse(runtime: str, least_us: float) -> str:
    """Say why the time of a network that takes next to nothing is not known."""
    return f"it takes less than {least_us:g} µs, and {runtime} tells whole µs only"


def no_program(device: str, runtime: str) -> UsageInvalid:
    """Say that a runtime is a program that nobody has named."""
    return UsageInvalid(
        f"runtime '{runtime}' is a program that is brought to device '{device}'",
        why="none is named, and none comes with us",
        hint=(
            f"give its path with '--program': a build of '{runtime}' for the device, or device:PATH of one there",
            "or write it beside 'runtime' in the lab's list (program = \"PATH\"), so that devices that differ are "
            "measured by one command",
        ),
    )


def program_unused(runtime: str) -> UsageInvalid:
    """Say that a program is named for a runtime that runs inside the agent."""
    return UsageInvalid(
        f"runtime '{runtime}' runs inside the agent",
        why="it needs no program",
        hint="leave '--program' out, or choose 'benchmark_model', 'ort_perf_test' or 'trtexec'",
    )


def program_path_invalid(device: str, path: str) -> UsageInvalid:
    """Say that a program is named on a device by something else than a whole path."""
    return UsageInvalid(
        f"'{printable(path)[:200]}' is no path on device '{device}'",
        why="a program that is there already is named by its whole path",
        hint="give such as 'device:/usr/src/tensorrt/bin/trtexec'",
    )


def no_shell(device: str, runtime: str) -> UsageInvalid:
    """Say that a program cannot be brought to a device in the way it is reached."""
    return UsageInvalid(
        f"runtime '{runtime}' is not measured on device '{device}'",
        why="the program is brought to a device over ADB or SSH, or run here; this one is reached otherwise",
        hint="choose a runtime that its agent runs",
    )


def no_little_cores(device: str) -> MeasurementRefused:
    """Say that a device has no slow cores that a process could be kept to."""
    return MeasurementRefused(
        f"device '{device}' cannot be measured on its little cores",
        why="its cores are all of one kind, it does not say how fast they are, or it has no 'taskset'",
        hint="leave '--cores' out, or say '--cores all'",
    )


def mask_invalid(device: str, mask: str) -> UsageInvalid:
    """Say that the cores of a device are named by something else than a mask."""
    return UsageInvalid(
        f"'{printable(mask)[:60]}' names no cores of device '{device}'",
        why="cores are named by a mask in hex digits, as 'taskset' takes it",
        hint="give such as 'f0' for cores 4 to 7",
    )


def no_uptime(device: str) -> MeasurementRefused:
    """Say that nobody can tell when a lease on a device would end."""
    return MeasurementRefused(
        f"device '{device}' cannot be held for us alone",
        why="it does not say how long it has run, so that a lease on it would have no end",
        hint="look on the device whether '/proc/uptime' can be read",
    )


def lease_unwritten(device: str, said: str) -> MeasurementRefused:
    """Say that a device does not let its lease be written."""
    return MeasurementRefused(
        f"device '{device}' cannot be held for us alone",
        why=printable(f"its lease cannot be written: {said or 'it does not say why'}")[:400],
        hint="choose a folder in which its user may write, and look whether it has room",
    )


def lease_locked(device: str, folder: str) -> MeasurementRefused:
    """Say that somebody died while changing a device's lease, and left what cannot be removed."""
    return MeasurementRefused(
        f"device '{device}' cannot be held for us alone",
        why=printable(f"somebody began to change its lease and did not end, and '{folder}' cannot be removed")[:400],
        hint="remove that folder on the device",
    )
