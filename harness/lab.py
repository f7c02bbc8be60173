"""The lab's own list of its devices: what kind each is, how it is reached, which of them heat together.

It holds addresses and serials, so it lies with the user's own settings and never in a repository.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harness import toml
from harness.errors import placeholder_left
from harness.places import FOLDER_VARIABLE, KNOWN_HOSTS, LAB, known_hosts, lab_folder
from harness.plan import NATIVE, Cores, Kernels, Precision, RuntimeName
from harness.plan import Unit as Computes
from harness.simulation.machine import Machine
from harness.toml import Part

__all__ = [
    "FOLDER_VARIABLE", "KNOWN_HOSTS", "LAB", "Group", "Lab", "Unit", "known_hosts", "lab_folder", "read_lab",
    "refuse_placeholder",
]  # fmt: skip

Name = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Line = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]+$")]

# Where the keys of the list are told.
TOLD = "docs/add-a-device.md of ofa-lab"
# Parts of an address, which other programs' lists keep in keys of their own.
_BY_SSH = 'all of it in one: ssh = "user@host:port"'
INSTEAD = {
    **dict.fromkeys(("host", "hostname", "address", "user", "username", "port"), _BY_SSH),
    "serial": 'adb = "SERIAL"',
    "transport": 'ssh = "user@host:port" or adb = "SERIAL"',
}
# What stands for an address in our own examples of a list, by key.
PLACEHOLDERS = {"adb": ("SERIAL",), "ssh": ("NAME", "user@host", "user@host:port")}


class Unit(Part):
    """One device: its kind (a profile), and how it is reached: by SSH, by ADB, or simulated.

    ``ssh`` is a name of `~/.ssh/config` or user@host:port, ``adb`` a serial. ``python`` and ``folder`` are on the
    device. ``group`` names devices that stand so close that they heat each other. ``runtime`` and what stands with it
    say how it is measured where no option does; ``program`` is the file of a runtime that is one, here (from the lab's
    folder on) or as device:PATH there.
    """

    kind: Name
    ssh: Line | None = None
    adb: Line | None = None
    adb_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    python: Line = "python3"
    folder: Line | None = None
    environment: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], Line] = Field(default_factory=dict)
    group: Name | None = None
    simulation: Machine | None = None
    runtime: RuntimeName | None = None
    unit: Computes | None = None
    precision: Precision | None = None
    kernels: Kernels | None = None
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    cores: Cores | None = None
    program: Line | None = None

    @model_validator(mode="after")
    def one_way(self) -> Unit:
        """Refuse a device with two ways to it, or with parts of one it has not."""
        if self.ssh is not None and self.adb is not None:
            raise ValueError("it has 'ssh' and 'adb'; a device is reached in one way")
        if self.adb_port is not None and self.adb is None:
            raise ValueError("'adb_port' goes with 'adb'")
        return self

    @model_validator(mode="after")
    def way_of_one_runtime(self) -> Unit:
        """Refuse words on how a runtime is used where none is named: they would be taken for those of any."""
        if self.runtime is None and self.use:
            raise ValueError(f"'{next(iter(self.use))}' goes with 'runtime'")
        if self.program is not None and self.runtime not in NATIVE:
            raise ValueError(f"'program' goes with a runtime that is one: {', '.join(sorted(NATIVE))}")
        return self

    @property
    def use(self) -> dict[str, Any]:
        """Return what is said of how it is measured, by name."""
        return self.model_dump(
            include={"runtime", "unit", "precision", "kernels", "threads", "cores"}, exclude_none=True
        )


class Group(Part):
    """Devices that stand together: how many of them may be measured at once."""

    max_parallel: Annotated[int, Field(ge=1, le=1000)] = 1


class Lab(Part):
    """All devices of a lab by name, and their groups."""

    schema_name: Literal["lab/1"] = Field(default="lab/1", alias="schema")
    devices: dict[Name, Unit] = Field(default_factory=dict)
    groups: dict[Name, Group] = Field(default_factory=dict)

    @model_validator(mode="after")
    def groups_known(self) -> Lab:
        """Refuse a device in a group that is not there: it would be measured beside any."""
        for name, unit in self.devices.items():
            if unit.group is not None and unit.group not in self.groups:
                raise ValueError(f"device '{name}' is in group '{unit.group}', which [groups] does not have")
        return self


def read_lab() -> Lab:
    """Return the lab's list, an empty one where there is none; raises FileInvalid where it is damaged."""
    path = lab_folder() / LAB
    if not path.exists():
        return Lab()
    return toml.read(path, "list of devices", Lab, parts=(Lab, Unit, Group, Machine), instead=INSTEAD, told=TOLD)


def refuse_placeholder(name: str, unit: Unit) -> None:
    """Raise FileInvalid where a device's address is still the word that an example has in its place."""
    for key, words in PLACEHOLDERS.items():
        if (value := getattr(unit, key)) in words:
            raise placeholder_left(name, key, value)
