"""Messages of the programs that measure networks where no Python runs."""

from __future__ import annotations

from collections.abc import Sequence

from ofa.errors import MeasurementRefused, UsageInvalid, printable


def trtexec_unfit(why: str) -> UsageInvalid:
    """Say that TensorRT's program cannot be asked for something."""
    return UsageInvalid(
        "'trtexec' cannot time the network like that",
        why=why,
        hint="choose another unit or precision, or give what is missing",
    )


def trtexec_refused(device: str, network: str, why: str) -> MeasurementRefused:
    """Say why a run of TensorRT's program on a device gave no time."""
    return MeasurementRefused(
        f"'trtexec' on device '{device}' did not time '{network}'",
        why=printable(why)[:400],
        hint="run the same command on the device and read what it says",
    )


def layers_elsewhere(device: str, network: str, layers: Sequence[str]) -> MeasurementRefused:
    """Say which layers of a network a DLA left to the GPU."""
    more = f" and {len(layers) - 6} more" if len(layers) > 6 else ""
    return MeasurementRefused(
        f"the DLA of device '{device}' does not run all of '{network}'",
        why=printable(f"{len(layers)} of its layers are left to the GPU: {', '.join(layers[:6])}{more}")[:600],
        hint="measure it with '--unit gpu', or choose networks without these layers",
    )


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
    """Say that a program is named for a runtime that runs inside the agent."""
    return UsageInvalid(
        f"runtime '{runtime}' runs inside the agent",
        why="it needs no program",
        hint="leave '--program' out, or choose 'benchmark_model' or 'ort_perf_test'",
    )


def no_shell(device: str, runtime: str) -> UsageInvalid:
    """Say that a program cannot be brought to a device in the way it is reached."""
    return UsageInvalid(
        f"runtime '{runtime}' is not measured on device '{device}'",
        why="the program is brought to phones over ADB, or run on this computer; the device is reached otherwise",
        hint="choose a runtime that its agent runs",
    )


def no_preview(runtime: str) -> UsageInvalid:
    """Say that nothing is foretold of a runtime."""
    return UsageInvalid(
        f"'--dry-run' does not know how long '{runtime}' takes",
        why="it starts a process for each network, and the times of single calls do not say how long that lasts",
        hint="measure one network first: '--fit 1 --holdout 0 --rounds 1 --no-again'",
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
