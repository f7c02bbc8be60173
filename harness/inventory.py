"""Which devices there are: profiles of kinds (facts in TOML, strictly read), and a device as the bench uses it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from harness import toml
from harness.errors import file_invalid, no_address, no_such_device
from harness.lab import Unit, known_hosts, read_lab, refuse_placeholder
from harness.places import THIS_COMPUTER, devices_folder, profile_names
from harness.simulation.machine import Machine
from harness.toml import Part
from harness.transport.contract import Transport
from harness.transport.local import Local
from harness.transport.simulated import Simulated

AGENT_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
SSH_FOLDER, ADB_FOLDER = ".cache/ofa-lab", "/data/local/tmp/ofa-lab"
Slug = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[a-z0-9][a-z0-9._-]*$")]
RuntimeName = Literal[
    "onnxruntime", "litert", "tflite_runtime", "torch", "benchmark_model", "ort_perf_test", "trtexec", "simulated"
]


class Calm(Part):
    """When a device is quiet enough for wall time to be believed.

    ``max_foreign_cores``: how many cores other work may keep busy; beyond that rounds wait. ``max_temp_c``: the hottest
    sensor; absent is no limit.
    """

    max_foreign_cores: Annotated[float, Field(ge=0, le=1024, allow_inf_nan=False)] = 0.25
    max_temp_c: Annotated[float, Field(gt=0, le=150, allow_inf_nan=False)] | None = None


class Offer(Part):
    """What a runtime is used for on this kind of device: all of ``units``, with all of the rest.

    ``program`` is where such a device has a runtime's program, if its system brings one.
    """

    units: Annotated[tuple[Literal["cpu", "gpu", "npu"], ...], Field(strict=False, min_length=1)] = ("cpu",)
    precisions: Annotated[tuple[Literal["fp32", "fp16", "int8"], ...], Field(strict=False, min_length=1)] = ("fp32",)
    threads: Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(strict=False, min_length=1)] = (1,)
    program: Annotated[str, Field(max_length=300, pattern=r"^/[^\x00-\x1f\x7f]+$")] | None = None


class Fact(Part):
    """One published fact about a kind of device, with where it is from."""

    value: str | int | float
    source: Annotated[str, Field(min_length=1)]


class Profile(Part):
    """One kind of device: facts that may be shared; no serials, no addresses.

    ``cores`` are those that are measured on where nobody says, if the device has fast and slow ones.
    """

    schema_name: Literal["device/1"] = Field(alias="schema")
    name: Slug
    title: Annotated[str, Field(min_length=1, max_length=200)]
    transport: Literal["local", "simulated", "ssh", "adb"]
    measured_by_us: bool
    cores: Literal["big", "little", "all"] = "big"
    calm: Calm = Calm()
    runtimes: dict[RuntimeName, Offer] = Field(default_factory=dict)
    simulation: Machine | None = None
    facts: dict[str, Fact] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device as the bench uses it: its kind, and the way to it."""

    profile: Profile
    transport: Transport
    unit: str | None = None
    # The token by which a device over a link is held: its agent renews the lease while work goes on.
    lease: str | None = None
    # What it was tuned to, as asked and as read back: a tuned device is another environment.
    tuned: Mapping[str, object] | None = None

    @property
    def kind(self) -> str:
        """Return the name tables are kept under."""
        return self.profile.name

    @property
    def name(self) -> str:
        """Return what people call it: its name in the lab's list, or that of its kind."""
        return self.unit or self.kind


def read_profile(path: Path) -> Profile:
    """Read one profile; raises FileInvalid where it is damaged, too large, or has a key that means nothing."""
    profile = toml.read(path, "profile", Profile, parts=(Profile, Calm, Offer, Fact, Machine))
    if profile.name != path.stem:
        raise file_invalid("profile", path, f"it is named '{profile.name}' inside", "give file and profile one name")
    return profile


def load_profile(name: str) -> Profile:
    """Return a profile by name; raises FileInvalid listing those there are."""
    if name not in profile_names():
        raise file_invalid("profile", name, "there is no such profile", "use one of: " + ", ".join(profile_names()))
    return read_profile(devices_folder() / "profiles" / f"{name}.toml")


def device_named(name: str, files: Path) -> Device:
    """Return a device of the lab's list, or one that needs no address, by the name of its profile.

    ``files`` is the folder of model files on this computer. Raises FileInvalid listing those there are, UsageInvalid
    for an address that cannot be used, PackageMissing where a transport needs one.
    """
    devices = read_lab().devices
    if name in devices:
        return of_lab(name, devices[name], files)
    if name not in profile_names():
        raise no_such_device(name, devices, profile_names())
    profile = load_profile(name)
    if profile.transport in ("ssh", "adb"):
        raise no_address(name, profile.transport)
    return simulated(files, name) if profile.transport == "simulated" else this_computer(files, name=name)


def of_lab(name: str, unit: Unit, files: Path) -> Device:
    """Return a device of the lab's list; raises as `device_named`."""
    from harness.artefacts import agent_archive

    profile = load_profile(unit.kind)
    refuse_placeholder(name, unit)
    if unit.ssh is None and unit.adb is None:
        if profile.transport in ("ssh", "adb"):
            raise no_address(name, profile.transport)
        # Each has a folder of its own: a simulated device keeps there how warm it is.
        own = files / "units" / name if profile.transport == "simulated" else files
        near = (
            simulated(own, unit.kind, machine=unit.simulation) if own != files else this_computer(own, name=unit.kind)
        )
        return replace(near, unit=name)
    archive = agent_archive(files / "agent").resolve()
    transport: Transport
    if unit.ssh is not None:
        from harness.transport.ssh import Ssh
        from harness.transport.sshconfig import resolve

        transport = Ssh(
            device=name,
            address=resolve(unit.ssh),
            python=unit.python,
            folder=unit.folder or SSH_FOLDER,
            agent=archive,
            files=files.resolve(),
            environment=AGENT_ENVIRONMENT | unit.environment,
            known_hosts=known_hosts(),
        )
    else:
        from harness.transport.adb import Adb

        transport = Adb(
            device=name,
            serial=unit.adb or "",
            python=unit.python,
            folder=unit.folder or ADB_FOLDER,
            agent=archive,
            files=files.resolve(),
            environment=AGENT_ENVIRONMENT | unit.environment,
            server_port=unit.adb_port,
        )
    return Device(profile=profile, transport=transport, unit=name)


def this_computer(files: Path, *, python: str | None = None, name: str = THIS_COMPUTER) -> Device:
    """Return this computer as a device. ``files``: the artefact folder; ``python``: another interpreter for the
    agent."""
    from harness.artefacts import agent_archive

    profile = load_profile(name)
    transport = Local(
        device=profile.name,
        python=python or sys.executable,
        agent=agent_archive(files / "agent").resolve(),
        files=files.resolve(),
        environment=AGENT_ENVIRONMENT,
    )
    return Device(profile=profile, transport=transport)


def simulated(
    files: Path, name: str = "simulated-phone", *, machine: Machine | None = None, own_process: bool = True
) -> Device:
    """Return a simulated device by its profile; ``machine`` replaces what the profile says it is made of."""
    from harness.artefacts import agent_archive

    profile = load_profile(name)
    transport = Simulated(
        device=profile.name,
        agent=agent_archive(files / "agent").resolve(),
        files=files.resolve(),
        machine=machine or profile.simulation or Machine(),
        own_process=own_process,
    )
    return Device(profile=profile, transport=transport)
