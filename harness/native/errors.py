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
