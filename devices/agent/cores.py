"""Tells a device's fast cores from its slow ones, and keeps this process to some of them where that is asked for."""

import os
from typing import Any, Dict, FrozenSet, List, Optional

import sysfs

CHOICES = ("big", "little")
CPUS = "sys/devices/system/cpu"
# Cores whose speeds are nearer than this are of one kind: a chip's best core is often a few percent faster than others.
ALIKE = 0.9
# The cores this process was given when it began, read once: it narrows them itself later.
GIVEN: List[FrozenSet[int]] = []


class CannotPin(Exception):  # noqa: N818
    """This process cannot be kept to the cores that are asked for."""


def given() -> FrozenSet[int]:
    """Return the cores this process was given; none where the system does not say."""
    if not GIVEN:
        GIVEN.append(frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset())
    return GIVEN[0]


def tiers(root: str) -> List[List[int]]:
    """Return the cores this process was given by how fast they are, the fastest first; [] where nobody can tell.

    Capacity says which are faster where every core has one, else the highest clock does.
    """
    cores = sorted(given())
    for leaf in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        read = {core: sysfs.number(root, os.path.join(CPUS, "cpu%d" % core, leaf)) for core in cores}
        speeds = {core: speed for core, speed in read.items() if speed is not None and speed > 0}
        if len(speeds) == len(cores):
            return _grouped(speeds)
    return []


def _grouped(speeds: Dict[int, int]) -> List[List[int]]:
    """Return cores in groups of about one speed, the fastest first."""
    found: List[List[int]] = []
    for core in sorted(speeds, key=lambda one: (-speeds[one], one)):
        if found and speeds[core] >= ALIKE * speeds[found[-1][0]]:
            found[-1].append(core)
        else:
            found.append([core])
    return [sorted(tier) for tier in found]


def chosen(found: List[List[int]], which: str, threads: int) -> List[int]:
    """Return the big or the little cores: of as many tiers as so many threads need, from that end."""
    kept: List[int] = []
    for tier in found if which == "big" else found[::-1]:
        if len(kept) < threads:
            kept += tier
    return sorted(kept)


def told(root: str) -> Optional[str]:
    """Return the tiers as "7 4-6 0-3", or None where all cores are of one kind or nobody can tell."""
    found = tiers(root)
    return " ".join(listed(tier) for tier in found) if len(found) > 1 else None


def listed(cores: List[int]) -> str:
    """Return cores as the kernel lists them: "0-3,7"."""
    parts: List[List[int]] = []
    for core in sorted(cores):
        if parts and core == parts[-1][1] + 1:
            parts[-1][1] = core
        else:
            parts.append([core, core])
    return ",".join(str(low) if low == high else "%d-%d" % (low, high) for low, high in parts)


def pin(request: Dict[str, Any]) -> Optional[str]:
    """Keep this process to the cores a request names, before a runtime starts its threads; return them as a list.

    Without a choice it has the cores it was given, and None is returned. Raises CannotPin where it may not run there,
    or the cores are all of one kind.
    """
    which, before = request.get("cores"), given()
    if which is None:
        if GIVEN and before and frozenset(os.sched_getaffinity(0)) != before:
            _keep(before)
        return None
    found = tiers(sysfs.root_of(None))
    if len(found) < 2:
        raise CannotPin("its cores are all of one kind, or do not say how fast they are")
    wanted = chosen(found, which, request["threads"])
    try:
        _keep(frozenset(wanted))
    except OSError as fault:
        raise CannotPin("it may not run on cores %s: %s" % (listed(wanted), fault))
    if os.sched_getaffinity(0) != set(wanted):
        raise CannotPin(
            "it was to run on cores %s, and has %s" % (listed(wanted), listed(list(os.sched_getaffinity(0))))
        )
    return listed(wanted)


def _keep(wanted: FrozenSet[int]) -> None:
    """Keep every thread there is to some cores: a runtime that was tried before has some already."""
    os.sched_setaffinity(0, wanted)
    for name in os.listdir("/proc/self/task"):
        try:
            os.sched_setaffinity(int(name), wanted)
        # A thread that has just ended needs no core.
        except ProcessLookupError:
            pass
