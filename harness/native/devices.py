"""Devices that a program is brought to, and no agent: a phone of the lab's list over ADB, or this computer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.errors import file_invalid
from harness.inventory import Device, device_named
from harness.native.errors import no_program, no_shell, program_unused
from harness.native.shell import LocalShell
from harness.native.transport import Native
from harness.plan import NATIVE, RuntimeName
from harness.transport.adb import Adb
from harness.transport.local import Local


def reached(name: str, files: Path, *, runtime: RuntimeName, program: Path | None) -> Device:
    """Return a device, reached as its runtime needs: by its agent, or by a program that is brought there.

    Raises UsageInvalid for a program that no one needs or that is lacking, and what `native` raises.
    """
    if runtime not in NATIVE:
        if program is not None:
            raise program_unused(runtime)
        return device_named(name, files)
    if program is None:
        raise no_program(runtime)
    return native(name, files, runtime=runtime, program=program)


def native(name: str, files: Path, *, runtime: RuntimeName, program: Path) -> Device:
    """Return a device of the lab's list, or this computer, that a program is brought to.

    ``files`` is the folder of model files on this computer. Raises FileInvalid where there is no such program,
    UsageInvalid for a device that is reached otherwise, and what `device_named` raises.
    """
    near = device_named(name, files)
    if not program.is_file():
        raise file_invalid("program", program, "there is no such file", "give the path of a build for the device")
    way = near.transport
    if isinstance(way, Adb):
        transport = Native(
            device=near.name,
            shell=way,
            runtime=runtime,
            program=program.resolve(),
            files=way.files,
            ask=way.ask,
            leased=True,
        )
    elif isinstance(way, Local):
        shell = LocalShell(device=near.name, folder=way.files / "there")
        transport = Native(device=near.name, shell=shell, runtime=runtime, program=program.resolve(), files=way.files)
    else:
        raise no_shell(near.name, runtime)
    return replace(near, transport=transport)
