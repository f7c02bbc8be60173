"""Reads the clocks of the cores: governor and limits of each cluster, boost, and how long each ran at which
frequency."""

import os
from typing import Any, Dict, List, Optional

import sysfs

POLICIES = "sys/devices/system/cpu/cpufreq/policy*"
FILES = (
    ("governor", "scaling_governor"),
    ("least_khz", "scaling_min_freq"),
    ("most_khz", "scaling_max_freq"),
    ("hardware_least_khz", "cpuinfo_min_freq"),
    ("hardware_most_khz", "cpuinfo_max_freq"),
)

# A server has hundreds of policies; what all of them did would not fit one record.
MOST_SHARES = 24

Residency = Dict[str, Dict[int, int]]


def per_cpu(root: str, leaf: str) -> List[str]:
    """Return the distinct contents of one cpufreq file over all cores, in core order."""
    values: List[str] = []
    for path in sysfs.paths(root, os.path.join("sys/devices/system/cpu/cpu[0-9]*/cpufreq", leaf)):
        value = sysfs.text(root, path)
        if value and value not in values:
            values.append(value)
    return values


def policies(root: str) -> Dict[str, Dict[str, Any]]:
    """Return governor and kHz of each policy (a cluster on phones and boards, a core on servers) by its name.

    Policies of the same limits stand together, under the name of the first: ``cpus`` names their cores, and
    ``current_khz`` is the least and the most of their present clocks.
    """
    found: Dict[str, Dict[str, Any]] = {}
    for path in sysfs.paths(root, POLICIES):
        said: Dict[str, Any] = {}
        for name, leaf in FILES:
            file = os.path.join(path, leaf)
            said[name] = sysfs.known(sysfs.word(root, file) if name == "governor" else sysfs.number(root, file))
        now = sysfs.number(root, os.path.join(path, "scaling_cur_freq"))
        range_khz = sysfs.UNREADABLE if now is None else [now, now]
        cpus = sysfs.word(root, os.path.join(path, "related_cpus"))
        for known in found.values():
            if all(known[name] == said[name] for name in said):
                known["cpus"] = ("%s %s" % (known["cpus"], cpus))[: sysfs.MOST_CHARACTERS]
                if now is not None and isinstance(known["current_khz"], list):
                    known["current_khz"] = [min(known["current_khz"][0], now), max(known["current_khz"][1], now)]
                break
        else:
            found[os.path.basename(path)] = dict(said, cpus=sysfs.known(cpus), current_khz=range_khz)
    return found


def locked_khz(root: str) -> Optional[str]:
    """Return at which kHz every cluster is held, cluster by cluster, or None where one of them may move.

    Held is what has one and the same least and most frequency, and did not come so from the factory.
    """
    held: List[str] = []
    for path in sysfs.paths(root, POLICIES):
        least, most, factory_least, factory_most = (
            sysfs.number(root, os.path.join(path, leaf))
            for leaf in ("scaling_min_freq", "scaling_max_freq", "cpuinfo_min_freq", "cpuinfo_max_freq")
        )
        if least is None or least != most or factory_least == factory_most:
            return None
        if str(least) not in held:
            held.append(str(least))
    return ",".join(held) or None


def boost(root: str) -> Optional[str]:
    """Return "on" or "off": whether cores may go above their nominal clock; None where the system does not say."""
    for path, on in (("sys/devices/system/cpu/intel_pstate/no_turbo", 0), ("sys/devices/system/cpu/cpufreq/boost", 1)):
        value = sysfs.number(root, path)
        if value in (0, 1):
            return "on" if value == on else "off"
    return None


def siblings(root: str) -> Optional[str]:
    """Return whether cores are shared by two threads each (SMT), "on" or "off"; None where the system does not say."""
    value = sysfs.number(root, "sys/devices/system/cpu/smt/active")
    return {0: "off", 1: "on"}.get(-1 if value is None else value)


def residency(root: Optional[str] = None) -> Residency:
    """Return how long each policy has run at each kHz since boot, in the kernel's ticks; empty where unreadable."""
    chosen = sysfs.root_of(root)
    found: Residency = {}
    for path in sysfs.paths(chosen, POLICIES):
        ticks: Dict[int, int] = {}
        for line in (sysfs.text(chosen, os.path.join(path, "stats/time_in_state")) or "").splitlines():
            parts = line.split()
            if len(parts) == 2 and parts[0].isdigit() and parts[1].isdigit():
                ticks[int(parts[0])] = int(parts[1])
        if ticks:
            found[os.path.basename(path)] = ticks
    return found


def shares(before: Residency, after: Residency) -> Dict[str, Dict[str, float]]:
    """Return which share of the time between two readings each policy ran at which kHz; those of none are left out.

    A policy whose counters went backwards (they were reset) or stood still says nothing, and is left out.
    """
    found: Dict[str, Any] = {}
    for name, ticks in after.items():
        spent = {khz: ticks[khz] - before.get(name, {}).get(khz, 0) for khz in ticks}
        total = sum(spent.values())
        if name in before and total > 0 and min(spent.values()) >= 0:
            found[name] = {str(khz): round(spent[khz] / float(total), 4) for khz in sorted(spent) if spent[khz]}
    return sysfs.capped(found, MOST_SHARES)
