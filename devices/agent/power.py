"""Reads what the device draws: INA3221 rails of a Jetson in mW, and RAPL counters of an x86 package in uJ."""

import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import sysfs

# The rail everything on the board hangs on; where a board has none, its rails are summed.
TOTALS = ("VDD_IN", "POM_5V_IN", "VIN")
CHANNELS = (1, 2, 3)
HWMON = ("sys/bus/i2c/drivers/ina3221*/*/hwmon/hwmon*", "sys/class/hwmon/hwmon*")
IIO = "sys/bus/i2c/drivers/ina3221*/*/iio*device*"
RAPL = "sys/class/powercap/intel-rapl:*"
MOST_MICROWATTS = 10**9


class Rail(NamedTuple):
    """One channel: its name, and the files whose product (or whose one value, times ``scale``) is its power in uW."""

    name: str
    files: Tuple[str, ...]
    scale: int
    interval_ms: Optional[int]


class Counter(NamedTuple):
    """One RAPL domain: its name, the file that counts uJ, and where the count begins anew."""

    name: str
    file: str
    most_uj: int


def rails(root: str) -> List[Rail]:
    """Return the rails of the INA3221 under either layout of sysfs: hwmon (JetPack 5 on) or IIO (JetPack 4)."""
    found: Dict[str, Rail] = {}
    for pattern in HWMON:
        for folder in sysfs.paths(root, pattern):
            if "drivers" not in folder and sysfs.text(root, os.path.join(folder, "name")) != "ina3221":
                continue
            interval_ms = sysfs.number(root, os.path.join(folder, "update_interval"))
            for channel in CHANNELS:
                name = sysfs.name(root, os.path.join(folder, "in%d_label" % channel))
                # mV x mA is uW.
                files = tuple(os.path.join(folder, leaf % channel) for leaf in ("in%d_input", "curr%d_input"))
                if name and name != "NC":
                    found.setdefault(name, Rail(name, files, 1, interval_ms))
    for folder in sysfs.paths(root, IIO):
        for channel in range(3):
            name = sysfs.name(root, os.path.join(folder, "rail_name_%d" % channel))
            if name and name != "NC":
                file = os.path.join(folder, "in_power%d_input" % channel)
                found.setdefault(name, Rail(name, (file,), 1000, None))
    return [rail for rail in found.values() if microwatts(root, rail) is not None]


def microwatts(root: str, rail: Rail) -> Optional[int]:
    """Return what a rail carries now, uW, or None where it does not say, or says what cannot be."""
    power = rail.scale
    for file in rail.files:
        value = sysfs.number(root, file)
        if value is None or value < 0:
            return None
        power *= value
    return power if power <= MOST_MICROWATTS else None


def total(found: List[Rail]) -> List[Rail]:
    """Return the rail that carries everything, alone, or else all of them: their sum is what is known."""
    for name in TOTALS:
        for rail in found:
            if rail.name == name:
                return [rail]
    return found


def counters(root: str) -> List[Counter]:
    """Return the RAPL counters of whole packages that can be read; their parts (core, dram) are not counted twice."""
    found: List[Counter] = []
    for folder in sysfs.paths(root, RAPL):
        name = sysfs.name(root, os.path.join(folder, "name")) or ""
        file = os.path.join(folder, "energy_uj")
        most_uj = sysfs.number(root, os.path.join(folder, "max_energy_range_uj"))
        if name.startswith("package-") and most_uj and sysfs.number(root, file) is not None:
            found.append(Counter(name, file, most_uj))
    return found


def gained_uj(counter: Counter, before: int, after: int) -> Optional[int]:
    """Return what a counter gained between two readings, uJ, across one wrap; None where a reading cannot be."""
    if not (0 <= before <= counter.most_uj and 0 <= after <= counter.most_uj):
        return None
    return after - before if after >= before else after - before + counter.most_uj


def source(root: str) -> Tuple[str, sysfs.Reading, str]:
    """Return by what energy is measured here: its name, over which time in s a reading averages, and why there is none.

    The name is such as "ina3221:VDD_IN" or "rapl:package-0", and empty where there is no source.
    """
    found = total(rails(root))
    if found:
        intervals = [rail.interval_ms for rail in found]
        known = [interval for interval in intervals if interval is not None]
        averaging: sysfs.Reading = max(known) / 1000.0 if len(known) == len(intervals) else sysfs.UNREADABLE
        return "ina3221:" + "+".join(rail.name for rail in found), averaging, ""
    packages = counters(root)
    if packages:
        return "rapl:" + "+".join(counter.name for counter in packages), 0.0, ""
    return "", sysfs.UNREADABLE, _why_none(root)


def _why_none(root: str) -> str:
    """Say why nothing here tells what the device draws."""
    if sysfs.paths(root, RAPL):
        return "RAPL is there, but only root may read it"
    if sysfs.paths(root, IIO) or sysfs.paths(root, HWMON[0]):
        return "an INA3221 is there, but none of its rails can be read"
    return "it has neither an INA3221 nor RAPL"


def readings_mw(root: str) -> Dict[str, Any]:
    """Return what each rail carries now, mW."""
    found: Dict[str, Any] = {}
    for rail in rails(root):
        power = microwatts(root, rail)
        found[rail.name] = sysfs.UNREADABLE if power is None else round(power / 1000.0, 1)
    return sysfs.capped(found)
