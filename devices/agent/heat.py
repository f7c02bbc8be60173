"""Reads how hot the device is and whether it holds itself back: sensors, cooling devices, alarms."""

import os
from typing import Any, Dict, Optional

import commands
import sysfs

ZONES = "sys/class/thermal/thermal_zone*"
COOLERS = "sys/class/thermal/cooling_device*"
# A sensor that is powered off says -256 °C; what is far outside any silicon's range is no temperature either.
LEAST_MILLI_C = -100000
MOST_MILLI_C = 250000
# On Jetson boards this zone is a constant of 50 or 100 °C and no sensor.
CONSTANTS = ("PMIC-Die",)
# What each counts or says once the device was throttled: over-current and power alarms of the INA3221, over-current
# events of a Jetson, throttling of x86 cores and packages.
EVIDENCE = (
    "sys/bus/i2c/drivers/ina3221*/*/hwmon/hwmon*/curr*_crit_alarm",
    "sys/bus/i2c/drivers/ina3221*/*/hwmon/hwmon*/curr*_max_alarm",
    "sys/class/hwmon/hwmon*/oc*_event_cnt",
    "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count",
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count",
)


def temperatures(root: str = "/") -> Dict[str, sysfs.Reading]:
    """Return °C by thermal zone, the hottest where there are very many; a sensor that is off is unreadable."""
    readings: Dict[str, sysfs.Reading] = {}
    for zone in sysfs.paths(root, ZONES):
        name = sysfs.name(root, os.path.join(zone, "type")) or os.path.basename(zone)
        milli = sysfs.number(root, os.path.join(zone, "temp"))
        usable = milli is not None and LEAST_MILLI_C < milli < MOST_MILLI_C and name not in CONSTANTS
        while name in readings:
            name += "+"
        readings[name] = milli / 1000.0 if usable and milli is not None else sysfs.UNREADABLE
    if len(readings) > sysfs.MOST_ENTRIES:
        readings = dict(sorted(readings.items(), key=_coldness))
    return sysfs.capped(readings)


def _coldness(entry: Any) -> float:
    """Return what to sort a sensor by, the hottest first and the unreadable last."""
    return 1e9 if isinstance(entry[1], str) else -float(entry[1])


def cooling(root: str = "/") -> Dict[str, sysfs.Reading]:
    """Return the present step of each cooling device by its number and type; 0 is not throttled."""
    readings: Dict[str, sysfs.Reading] = {}
    for device in sysfs.paths(root, COOLERS):
        readings[_cooler(root, device)] = sysfs.known(sysfs.number(root, os.path.join(device, "cur_state")))
    return sysfs.capped(readings)


def cooling_most(root: str = "/") -> Dict[str, sysfs.Reading]:
    """Return the last step of each cooling device: what the present one is out of."""
    readings: Dict[str, sysfs.Reading] = {}
    for device in sysfs.paths(root, COOLERS):
        readings[_cooler(root, device)] = sysfs.known(sysfs.number(root, os.path.join(device, "max_state")))
    return sysfs.capped(readings)


def _cooler(root: str, device: str) -> str:
    """Return a cooling device's name: its number and its type."""
    return "%s.%s" % (
        os.path.basename(device)[len("cooling_device") :],
        sysfs.name(root, os.path.join(device, "type")),
    )


def evidence(root: str = "/") -> Dict[str, sysfs.Reading]:
    """Return the alarms and throttling counters that are readable, by the end of their path.

    A counter counts since boot: only that it grew says something. Those of many cores are one sum.
    """
    readings: Dict[str, sysfs.Reading] = {}
    for pattern in EVIDENCE:
        for path in sysfs.paths(root, pattern):
            value = sysfs.number(root, path)
            if value is None:
                continue
            folder, leaf = os.path.split(path)
            # Hundreds of cores would be hundreds of entries that all say one thing.
            name = leaf if "thermal_throttle" in folder else "%s/%s" % (_sensor(root, folder), leaf)
            before = readings.get(name, 0)
            readings[name] = value + (before if isinstance(before, int) else 0)
    return sysfs.capped(readings)


def _sensor(root: str, folder: str) -> str:
    """Return the name of a hwmon device, or that of its folder."""
    return sysfs.name(root, os.path.join(folder, "name")) or os.path.basename(folder)


def overridden(root: str = "/") -> Optional[bool]:
    """Return whether somebody has set Android's thermal status by hand, so that heat is hidden; None where unknown."""
    said = commands.ask(root, ["dumpsys", "thermalservice"])
    for line in said.text.splitlines() if said is not None else []:
        name, _, value = line.strip().partition(":")
        if name == "IsStatusOverride":
            return {"true": True, "false": False}.get(value.strip())
    return None
