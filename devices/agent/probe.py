"""Reads what the device is and how it is doing; each reading is a value or the word "unreadable", never a made-up
zero."""

import os
import platform
import sys
from typing import Any, Dict, List, Optional

import battery
import cores
import frequencies
import heat
import jetson
import power
import sysfs
from frequencies import residency
from sysfs import UNREADABLE, Reading, field, known, root_of, text, word

__all__ = ["UNREADABLE", "Reading", "known", "residency"]


def environment(root: Optional[str] = None) -> Dict[str, Any]:
    """Return what changes latency and does not move within a session: these are hashed into the environment id.

    What only some kinds of device have (a power mode, boost, held clocks) has a key only there: a table of a device
    without it keeps its id. Least and most frequency are no part of it: thermal daemons move them.
    """
    root = root_of(root)
    memory = field(root, "/proc/meminfo", ["MemTotal"])
    count = sum(1 for line in (text(root, "/proc/cpuinfo") or "").splitlines() if line.startswith("processor"))
    found = {
        "machine": known(platform.machine()),
        "board": known(text(root, "/proc/device-tree/model")),
        "cpu": known(field(root, "/proc/cpuinfo", ["model name", "Hardware", "Model", "CPU part"])),
        "cores": known(count or None),
        "governor": known(",".join(frequencies.per_cpu(root, "scaling_governor"))),
        "max_khz": known(",".join(frequencies.per_cpu(root, "cpuinfo_max_freq"))),
        "memory_gib": known(_gib(_kib(memory))),
        "kernel": known(text(root, "/proc/sys/kernel/osrelease")),
        "os": known(field(root, "/etc/os-release", ["PRETTY_NAME"])),
        "python": "%d.%d.%d" % sys.version_info[:3],
    }
    special = {"boost": frequencies.boost(root), "locked_khz": frequencies.locked_khz(root)}
    special["tiers"], special["context"] = cores.told(root), android_context(root)
    if jetson.is_jetson(root):
        special["l4t"] = known(jetson.l4t(root))
        special["power_mode"] = known(jetson.power_mode(root))
        special["locked_gpu_hz"] = jetson.locked_gpu_hz(root)
    if root != "/":
        special["simulated"] = "a recorded tree, no device"
    found.update((name, value) for name, value in special.items() if value is not None)
    return found


def android_context(root: str) -> Optional[str]:
    """Return what Android takes this process for, and so how it schedules it: "shell" or "app"; None elsewhere."""
    if not os.path.isdir(sysfs.below(root, "system/app")):
        return None
    # android_filesystem_config.h: applications have numbers from 10000 on, adb's shell has 2000.
    return "app" if os.getuid() % 100000 >= 10000 else "shell"


def _kib(memory: Optional[str]) -> Optional[int]:
    """Return "24689152 kB" as a number, or None."""
    try:
        return None if memory is None else int(memory.split()[0])
    except (ValueError, IndexError):
        return None


def _gib(kib: Optional[int]) -> Optional[int]:
    """Return whole GiB, rounded up: the kernel keeps a varying little for itself."""
    return None if kib is None else -(-kib // (1 << 20))


def state(root: Optional[str] = None) -> Dict[str, Any]:
    """Return what moves: load, clocks, heat, battery, power. Session data, never part of the environment id.

    ``pgid`` is what to end, and ``boot_id`` says whether a process of that number can still be this one.
    """
    root = root_of(root)
    load = (text(root, "/proc/loadavg") or "").split()
    available = _kib(field(root, "/proc/meminfo", ["MemAvailable"]))
    found = {
        "pid": os.getpid(),
        "pgid": os.getpgid(0),
        "boot_id": known(word(root, "/proc/sys/kernel/random/boot_id")),
        "load_1min": known(_float(load[0]) if load else None),
        "current_khz": known([int(value) for value in _current(root) if value.isdigit()]),
        "clusters": known(sysfs.capped(frequencies.policies(root))),
        "smt": known(frequencies.siblings(root)),
        "temperature_c": known(heat.temperatures(root)),
        "cooling": known(heat.cooling(root)),
        "cooling_most": known(heat.cooling_most(root)),
        "throttling": known(heat.evidence(root)),
        "thermal_override": known(heat.overridden(root)),
        "battery": known(battery.batteries(root)),
        "rails_mw": known(power.readings_mw(root)),
        "energy_source": known(power.source(root)[0]),
        "memory_available_mib": known(None if available is None else available // 1024),
    }
    if jetson.is_jetson(root):
        found.update(jetson.state(root))
    return found


def _current(root: str) -> List[str]:
    """Return the present clocks of all cores, kHz, as many as a record may hold."""
    return frequencies.per_cpu(root, "scaling_cur_freq")[: sysfs.MOST_ENTRIES]


def _float(value: str) -> Optional[float]:
    """Return a number, or None."""
    try:
        return float(value)
    except ValueError:
        return None


def boot_id(root: str = "/") -> str:
    """Return what is another after each start of the device; "" where it does not say."""
    return text(root, "/proc/sys/kernel/random/boot_id") or ""


def peak_rss_kib(root: str = "/") -> Optional[int]:
    """Return the most memory this process has held in this program, KiB, or None.

    Not ru_maxrss: on Linux that is passed on through fork and exec, and a large host would be in it.
    """
    return _kib(field(root, "/proc/self/status", ["VmHWM"]))


def own_seconds() -> float:
    """Return for how many seconds this process has kept a core busy."""
    return sum(os.times()[:2])


def seconds_of(pid: int, root: str = "/") -> float:
    """Return for how many seconds another process has kept cores busy, 0 where it does not say or is no more."""
    # Its name stands in brackets and may hold anything; what follows them are numbers.
    ticks = (text(root, "/proc/%d/stat" % pid) or "").rpartition(")")[2].split()[11:13]
    return sum(int(value) for value in ticks if value.isdigit()) / float(os.sysconf("SC_CLK_TCK"))


def cpu_seconds(root: str = "/") -> Optional[Dict[str, float]]:
    """Return seconds all cores were busy and were stolen by a hypervisor since boot, or None."""
    first = (text(root, "/proc/stat") or "").split("\n", 1)[0].split()
    if len(first) < 8 or first[0] != "cpu" or not all(value.isdigit() for value in first[1:]):
        return None
    ticks = [int(value) for value in first[1:]]
    hertz = float(os.sysconf("SC_CLK_TCK"))
    busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]
    return {"busy": busy / hertz, "stolen": (ticks[7] if len(ticks) > 7 else 0) / hertz}
