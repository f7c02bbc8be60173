"""Reads what a phone is and how it is doing from its own commands; each reading is a value or "unreadable", never a
made-up zero, and never a serial."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.transport.errors import temperatures_faked
from ofa.errors import printable

UNREADABLE = "unreadable"
MAX_CHARACTERS = 200
MAX_LINES = 5000
MAX_CORES = 1024
# Cores whose speeds are nearer than this are of one kind, as the agent has it.
ALIKE = 0.9

Reading = str | int | float
# Runs a command on the phone and returns its output, None where it failed.
Ask = Callable[[Sequence[str]], str | None]

PROPERTIES = {
    "model": ("ro.product.model",),
    "fingerprint": ("ro.build.fingerprint",),
    "soc": ("ro.soc.model", "ro.board.platform", "ro.hardware"),
    "abis": ("ro.product.cpu.abilist", "ro.product.cpu.abi"),
    "sdk": ("ro.build.version.sdk",),
    "android": ("ro.build.version.release",),
}
CORES = """cd "$1" || exit 1
for p in cpufreq/policy*; do
echo "policy=$(cat "$p/related_cpus" 2>/dev/null)=$(cat "$p/cpuinfo_max_freq" 2>/dev/null)"
done
for c in cpu[0-9]*; do
echo "$c=$(cat "$c/cpu_capacity" 2>/dev/null)="
done"""
# android.hardware.thermal.TemperatureType: BCL_VOLTAGE, BCL_CURRENT and BCL_PERCENTAGE. They stand among the sensors,
# and read volts, amperes and how empty the battery is.
NO_TEMPERATURES = ("6", "7", "8")
# android.os.BatteryManager
BATTERY_STATUS = {1: "unknown", 2: "charging", 3: "discharging", 4: "not charging", 5: "full"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Cores that share a clock: their numbers, their highest clock, and their capacity (1024 is the phone's best)."""

    cpus: tuple[int, ...]
    max_khz: int | None
    capacity: int | None


def properties(ask: Ask) -> dict[str, Reading]:
    """Return what identifies the kind of phone and its system, from one call of getprop."""
    known: dict[str, str] = {}
    for line in _lines(ask(["getprop"])):
        name, separator, value = line.strip().partition("]: [")
        if separator and name.startswith("[") and value.endswith("]"):
            known[name[1:]] = printable(value[:-1].strip())[:MAX_CHARACTERS]
    return {
        fact: next((known[name] for name in names if known.get(name)), UNREADABLE) for fact, names in PROPERTIES.items()
    }


def clusters(ask: Ask, root: str = "/sys/devices/system/cpu") -> tuple[Cluster, ...]:
    """Return the phone's clusters in the order of their first core; empty where they cannot be read."""
    capacities: dict[int, int] = {}
    policies: dict[tuple[int, ...], int | None] = {}
    for line in _lines(ask(["sh", "-c", CORES, "sh", root])):
        name, first, second = [*line.split("="), "", ""][:3]
        if name == "policy":
            cpus = cores_in(first)
            if cpus:
                policies[cpus] = _number(second)
        elif re.fullmatch(r"cpu[0-9]{1,4}", name) and (capacity := _number(first)) is not None:
            capacities[int(name[3:])] = capacity
    return tuple(
        Cluster(
            cpus=cpus, max_khz=khz, capacity=max((capacities[cpu] for cpu in cpus if cpu in capacities), default=None)
        )
        for cpus, khz in sorted(policies.items())
    )


def tiers(found: Sequence[Cluster]) -> list[tuple[int, ...]]:
    """Return the cores by how fast they are, the fastest first; empty where nobody can tell.

    Capacity says which are faster where every cluster has one, else the highest clock does.
    """
    by_capacity = all(cluster.capacity is not None for cluster in found)
    if not by_capacity and any(cluster.max_khz is None for cluster in found):
        return []
    speeds = [((one.capacity if by_capacity else one.max_khz) or 0, one.cpus) for one in found]
    grouped: list[tuple[int, tuple[int, ...]]] = []
    for speed, cpus in sorted(speeds, key=lambda one: -one[0]):
        if grouped and speed >= ALIKE * grouped[-1][0]:
            grouped[-1] = (grouped[-1][0], tuple(sorted({*grouped[-1][1], *cpus})))
        else:
            grouped.append((speed, cpus))
    return [cpus for _, cpus in grouped]


def cores_for(found: Sequence[tuple[int, ...]], threads: int, which: str = "big") -> tuple[int, ...]:
    """Return the big or the little cores of tiers: of as many tiers as so many threads need, from that end."""
    chosen: list[int] = []
    for tier in found if which == "big" else list(found)[::-1]:
        if len(chosen) < threads:
            chosen += tier
    return tuple(sorted(chosen))


def listed(cores: Sequence[int]) -> str:
    """Return cores as the kernel lists them: "0-3,7"."""
    parts: list[list[int]] = []
    for core in sorted(set(cores)):
        if parts and core == parts[-1][1] + 1:
            parts[-1][1] = core
        else:
            parts.append([core, core])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


def taskset_mask(cpus: Sequence[int]) -> Reading:
    """Return cores as the bare hexadecimal mask that a phone's taskset takes, or "unreadable" for none."""
    return format(sum(1 << cpu for cpu in set(cpus)), "x") if cpus else UNREADABLE


def thermal(ask: Ask, device: str) -> dict[str, Reading | dict[str, Reading]]:
    """Return the thermal status (0 none to 6 shutdown) and °C by sensor.

    What the hardware says now is preferred to what is cached. A sensor at exactly 0.0 °C is one that is not there.
    Raises MeasurementRefused where the status is overridden: then nobody can tell whether the phone throttles.
    """
    status: Reading = UNREADABLE
    sections: dict[str, dict[str, Reading]] = {"cached": {}, "now": {}}
    section: str | None = None
    for line in map(str.strip, _lines(ask(["dumpsys", "thermalservice"]))):
        if re.fullmatch(r"IsStatusOverride:\s*true", line):
            raise temperatures_faked(device)
        if found := re.fullmatch(r"Thermal Status:\s*([0-6])", line):
            status = int(found[1])
        elif line.startswith("Temperature{"):
            sensor = _sensor(line)
            if section is not None and sensor is not None:
                sections[section][sensor[0]] = sensor[1]
        elif line.endswith(":"):
            section = {"Cached temperatures:": "cached", "Current temperatures from HAL:": "now"}.get(line)
    return {"thermal_status": status, "temperature_c": sections["now"] or sections["cached"] or UNREADABLE}


def battery(ask: Ask) -> dict[str, Reading]:
    """Return charge in percent, °C, status and what powers the phone; all "unreadable" where the state is faked."""
    facts: dict[str, Reading] = dict.fromkeys(("battery_pct", "battery_c", "battery_status", "powered_by"), UNREADABLE)
    text = ask(["dumpsys", "battery"])
    values: dict[str, str] = {}
    for line in _lines(text):
        name, separator, value = line.strip().partition(":")
        if separator:
            values.setdefault(name.strip().lower(), value.strip().lower())
    if "updates stopped" in (text or "").lower() or values.get("present") == "false":
        return facts
    level, scale, tenths = (_number(values.get(name, "")) for name in ("level", "scale", "temperature"))
    if level is not None and scale and level <= scale:
        facts["battery_pct"] = round(100 * level / scale)
    if tenths is not None and 0 < tenths < 1500:
        facts["battery_c"] = tenths / 10
    status = _number(values.get("status", ""))
    facts["battery_status"] = BATTERY_STATUS.get(status or 0, UNREADABLE)
    powers = {name: values.get(f"{name} powered") for name in ("ac", "usb", "wireless", "dock")}
    if "true" in powers.values():
        facts["powered_by"] = next(name for name, value in powers.items() if value == "true")
    elif "false" in powers.values():
        facts["powered_by"] = "battery"
    return facts


def _lines(text: str | None) -> list[str]:
    """Return the lines of an output, not more than any phone has."""
    return (text or "").splitlines()[:MAX_LINES]


def _number(text: str) -> int | None:
    """Return a whole number of at most nine digits, or None."""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text.strip(), re.ASCII) else None


def cores_in(text: str) -> tuple[int, ...]:
    """Return core numbers as the kernel lists them, with spaces ("4 5 6 7") or as ranges ("4-7"); empty for neither."""
    cores: set[int] = set()
    for part in text.replace(",", " ").split():
        found = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part, re.ASCII)
        if found is None:
            return ()
        first, last = int(found[1]), int(found[2] or found[1])
        if not first <= last < MAX_CORES:
            return ()
        cores |= set(range(first, last + 1))
    return tuple(sorted(cores))


def _sensor(line: str) -> tuple[str, float] | None:
    """Return name and °C of one sensor's line, None for one that reads nothing, or no temperature."""
    name = re.search(r"\bmName=([^,}]{1,60})", line)
    value = re.search(r"\bmValue=(-?[0-9]{1,4}(?:\.[0-9]{1,9})?)(?=[,}])", line)
    kind = re.search(r"\bmType=(-?[0-9]{1,4})\b", line)
    if kind is not None and kind[1] in NO_TEMPERATURES:
        return None
    if name is None or value is None or not -100 < float(value[1]) < 250 or float(value[1]) == 0.0:
        return None
    return printable(name[1].strip()), float(value[1])
