"""Reads the batteries of a phone or a laptop: how full, how warm, whether they charge."""

import os
from typing import Any, Dict

import sysfs

SUPPLIES = "sys/class/power_supply/*"
FILES = (
    ("capacity_percent", "capacity", 1.0),
    ("temperature_c", "temp", 10.0),
    ("current_ua", "current_now", 1.0),
    ("voltage_uv", "voltage_now", 1.0),
)


def batteries(root: str = "/") -> Dict[str, Dict[str, Any]]:
    """Return what each battery says, by its name; a device without one says nothing."""
    found: Dict[str, Dict[str, Any]] = {}
    for supply in sysfs.paths(root, SUPPLIES):
        kind = sysfs.word(root, os.path.join(supply, "type"))
        if kind != "Battery" or sysfs.word(root, os.path.join(supply, "scope")) == "Device":
            continue
        said: Dict[str, Any] = {"status": sysfs.known(sysfs.word(root, os.path.join(supply, "status")))}
        for name, leaf, divisor in FILES:
            value = sysfs.number(root, os.path.join(supply, leaf))
            said[name] = sysfs.UNREADABLE if value is None else value / divisor if divisor != 1.0 else value
        found[os.path.basename(supply)] = said
    return sysfs.capped(found)
