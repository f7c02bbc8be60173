"""Reads what the device is and how it is doing; each reading is a value or the word "unreadable", never a made-up
zero."""

import glob
import os
import platform
import sys
from typing import Any, Dict, List, Optional, Union

UNREADABLE = "unreadable"
MOST_BYTES = 1 << 20

Reading = Union[str, int, float]


def text(root: str, path: str) -> Optional[str]:
    """Return a small file below ``root`` as stripped text, or None."""
    try:
        with open(os.path.join(root, path.lstrip("/")), "rb") as stream:
            return stream.read(MOST_BYTES).decode("utf-8", "replace").strip("\x00 \n\t")
    except OSError:
        return None


def number(root: str, path: str) -> Optional[int]:
    """Return a file below ``root`` that holds one integer, or None."""
    content = text(root, path)
    try:
        return None if content is None else int(content)
    except ValueError:
        return None


def field(root: str, path: str, names: List[str]) -> Optional[str]:
    """Return the first ``name : value`` (or ``name=value``) of a file whose name is one of ``names``, in their
    order."""
    found: Dict[str, str] = {}
    for line in (text(root, path) or "").splitlines():
        for mark in (":", "="):
            name, separator, value = line.partition(mark)
            if separator:
                found.setdefault(name.strip().lower(), value.strip().strip('"'))
                break
    for name in names:
        if found.get(name.lower()):
            return found[name.lower()]
    return None


def per_cpu(root: str, leaf: str) -> List[str]:
    """Return the distinct contents of one cpufreq file over all cores, in core order."""
    values: List[str] = []
    folder = os.path.join(root, "sys/devices/system/cpu")
    for path in sorted(glob.glob(os.path.join(folder, "cpu[0-9]*", "cpufreq", leaf))):
        value = text("/", path)
        if value and value not in values:
            values.append(value)
    return values


def known(value: Any) -> Any:
    """Return the value, or "unreadable" where there is none."""
    return UNREADABLE if value is None or value == "" or value == [] else value


def environment(root: str = "/") -> Dict[str, Any]:
    """Return what changes latency and does not move within a session: these are hashed into the environment id."""
    memory = field(root, "/proc/meminfo", ["MemTotal"])
    cores = sum(1 for line in (text(root, "/proc/cpuinfo") or "").splitlines() if line.startswith("processor"))
    return {
        "machine": known(platform.machine()),
        "board": known(text(root, "/proc/device-tree/model")),
        "cpu": known(field(root, "/proc/cpuinfo", ["model name", "Hardware", "Model", "CPU part"])),
        "cores": known(cores or None),
        "governor": known(",".join(per_cpu(root, "scaling_governor"))),
        "max_khz": known(",".join(per_cpu(root, "cpuinfo_max_freq"))),
        "memory_gib": known(_gib(_kib(memory))),
        "kernel": known(text(root, "/proc/sys/kernel/osrelease")),
        "os": known(field(root, "/etc/os-release", ["PRETTY_NAME"])),
        "python": "%d.%d.%d" % sys.version_info[:3],
    }


def _kib(memory: Optional[str]) -> Optional[int]:
    """Return "24689152 kB" as a number, or None."""
    try:
        return None if memory is None else int(memory.split()[0])
    except (ValueError, IndexError):
        return None


def _gib(kib: Optional[int]) -> Optional[int]:
    """Return whole GiB, rounded up: the kernel keeps a varying little for itself."""
    return None if kib is None else -(-kib // (1 << 20))


def state(root: str = "/") -> Dict[str, Any]:
    """Return what moves: load, clocks, temperatures, free memory. Session data, never part of the environment id."""
    load = (text(root, "/proc/loadavg") or "").split()
    available = _kib(field(root, "/proc/meminfo", ["MemAvailable"]))
    return {
        "load_1min": known(_float(load[0]) if load else None),
        "current_khz": known([int(value) for value in per_cpu(root, "scaling_cur_freq") if value.isdigit()]),
        "temperature_c": known(temperatures(root) or None),
        "cooling": known(cooling(root) or None),
        "memory_available_mib": known(None if available is None else available // 1024),
    }


def _float(value: str) -> Optional[float]:
    """Return a number, or None."""
    try:
        return float(value)
    except ValueError:
        return None


def temperatures(root: str = "/") -> Dict[str, Reading]:
    """Return °C by thermal zone; a sensor that is powered off says -256 °C and counts as unreadable."""
    readings: Dict[str, Reading] = {}
    for zone in sorted(glob.glob(os.path.join(root, "sys/class/thermal/thermal_zone*"))):
        name = text("/", os.path.join(zone, "type")) or os.path.basename(zone)
        milli = number("/", os.path.join(zone, "temp"))
        usable = milli is not None and -100000 < milli < 250000
        while name in readings:
            name += "+"
        readings[name] = milli / 1000.0 if usable and milli is not None else UNREADABLE
    return readings


def cooling(root: str = "/") -> Dict[str, Reading]:
    """Return the present step of each cooling device; 0 is not throttled."""
    readings: Dict[str, Reading] = {}
    for device in sorted(glob.glob(os.path.join(root, "sys/class/thermal/cooling_device*"))):
        name = "%s.%s" % (os.path.basename(device)[len("cooling_device") :], text("/", os.path.join(device, "type")))
        readings[name] = known(number("/", os.path.join(device, "cur_state")))
    return readings


def boot_id(root: str = "/") -> str:
    """Return what is another after each start of the device; "" where it does not say."""
    return text(root, "/proc/sys/kernel/random/boot_id") or ""


def peak_rss_kib(root: str = "/") -> Optional[int]:
    """Return the most memory this process has held in this program, KiB, or None.

    Not ru_maxrss: on Linux that is passed on through fork and exec, and a large host would be in it.
    """
    return _kib(field(root, "/proc/self/status", ["VmHWM"]))


def cpu_seconds(root: str = "/") -> Optional[Dict[str, float]]:
    """Return seconds all cores were busy and were stolen by a hypervisor since boot, or None."""
    first = (text(root, "/proc/stat") or "").split("\n", 1)[0].split()
    if len(first) < 8 or first[0] != "cpu" or not all(value.isdigit() for value in first[1:]):
        return None
    ticks = [int(value) for value in first[1:]]
    hertz = float(os.sysconf("SC_CLK_TCK"))
    busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]
    return {"busy": busy / hertz, "stolen": (ticks[7] if len(ticks) > 7 else 0) / hertz}
