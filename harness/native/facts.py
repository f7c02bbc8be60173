"""What a device without Python says it is, and how it is doing: files of /proc and /sys read through its shell."""

from __future__ import annotations

import re
from typing import Any

from harness.native.shell import Shell

Facts = dict[str, Any]

UNREADABLE = "unreadable"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
MOST_BYTES = 1 << 20
MOST_CHARACTERS = 300
QUERY_S = 30.0
MARK = "@@"
# POSIX words only, and one line: what is sent over SSH holds no line break. A pattern that matches nothing stays as it
# is, and is then no file.
READ = (
    'for path in "$@"; do for file in $path; do if [ -r "$file" ]; then '
    f'echo "{MARK}$file"; cat "$file" 2>/dev/null; echo; fi; done; done; '
    f'for tool in timeout taskset; do command -v $tool >/dev/null && echo "{MARK}tool/$tool"; done; '
    f'echo "{MARK}machine"; uname -m'
)
# The first line of /proc/stat sums the cores up: user, nice, system, idle, iowait, irq, softirq, steal, in ticks.
LOAD = (
    "for turn in 1 2; do read -r now rest < /proc/uptime; read -r ticks < /proc/stat; "
    'echo "$now $ticks"; [ $turn = 2 ] || sleep "$1" 2>/dev/null || sleep 1; done'
)
TICKS_A_SECOND = 100
# As the agent has it: on Jetson boards this zone is a constant of 50 or 100 °C and no sensor.
CONSTANTS = ("PMIC-Die",)
LEAST_LOOK_S = 0.1
CPU = "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/"
ENVIRONMENT = (
    "/proc/cpuinfo", "/proc/meminfo", "/proc/sys/kernel/osrelease", "/etc/os-release", "/proc/device-tree/model",
    BOOT_ID, CPU + "scaling_governor", CPU + "cpuinfo_max_freq",
)  # fmt: skip
STATE = (
    "/proc/loadavg", "/proc/meminfo", CPU + "scaling_cur_freq",
    "/sys/class/thermal/thermal_zone*/type", "/sys/class/thermal/thermal_zone*/temp",
)  # fmt: skip


def read(shell: Shell, patterns: tuple[str, ...]) -> dict[str, str]:
    """Return the readable files among some paths, in the device's order; raises DeviceLost."""
    said = shell.shell(["sh", "-c", READ, "sh", *patterns], timeout_s=QUERY_S, max_bytes=MOST_BYTES)
    found: dict[str, str] = {}
    for part in said.out.decode("utf-8", "replace").split(MARK)[1:]:
        name, _, content = part.partition("\n")
        found[name] = content.strip("\x00 \n\t")
    return found


def environment(files: dict[str, str]) -> Facts:
    """Return what changes latency and does not move within a session, by the names the agent uses."""
    memory = _field(files, "/proc/meminfo", "MemTotal").partition(" ")[0]
    cores = len(re.findall(r"^processor", files.get("/proc/cpuinfo", ""), re.MULTILINE))
    cpu = next(
        filter(None, (_field(files, "/proc/cpuinfo", name) for name in ("model name", "Hardware", "CPU part"))), ""
    )
    return {
        "machine": _known(files.get("machine")),
        "board": _known(files.get("/proc/device-tree/model")),
        "cpu": _known(cpu),
        "cores": cores or UNREADABLE,
        "governor": _known(",".join(_distinct(files, "scaling_governor"))),
        "max_khz": _known(",".join(_distinct(files, "cpuinfo_max_freq"))),
        "memory_gib": -(-int(memory) // (1 << 20)) if memory.isdigit() else UNREADABLE,
        "kernel": _known(files.get("/proc/sys/kernel/osrelease")),
        "os": _known(_field(files, "/etc/os-release", "PRETTY_NAME", "=")),
    }


def state(files: dict[str, str]) -> Facts:
    """Return what moves: load, clocks, temperatures, free memory."""
    available = _field(files, "/proc/meminfo", "MemAvailable").partition(" ")[0]
    load = re.match(r"[0-9]{1,6}\.[0-9]{1,6}", files.get("/proc/loadavg", ""))
    return {
        "load_1min": float(load[0]) if load else UNREADABLE,
        "current_khz": [int(value) for value in _distinct(files, "scaling_cur_freq") if value.isdigit()] or UNREADABLE,
        "temperature_c": _temperatures(files) or UNREADABLE,
        "memory_available_mib": int(available) // 1024 if available.isdigit() else UNREADABLE,
    }


def load(shell: Shell, seconds: float) -> Facts:
    """Let the device do nothing of ours for a while, and return how many of its cores others kept busy meanwhile, and
    how many were stolen; raises DeviceLost."""
    words = ["sh", "-c", LOAD, "sh", f"{seconds:g}"]
    said = shell.shell(words, timeout_s=seconds + QUERY_S, max_bytes=MOST_BYTES).out.decode("ascii", "replace")
    found = re.findall(r"^([0-9]+\.[0-9]+) cpu +((?:[0-9]+ ?){7,10})$", said, re.MULTILINE)
    nobody = {"foreign_cores": UNREADABLE, "stolen_cores": UNREADABLE}
    if len(found) != 2:
        return nobody
    took_s = float(found[1][0]) - float(found[0][0])
    before, after = ([int(word) for word in ticks.split()] for _, ticks in found)
    if took_s < LEAST_LOOK_S or len(before) != len(after):
        return nobody
    spent = [(now - then) / TICKS_A_SECOND / took_s for then, now in zip(before, after, strict=True)]
    busy, stolen = spent[0] + spent[1] + spent[2] + spent[5] + spent[6], [*spent, 0.0][7]
    return {"foreign_cores": round(max(0.0, busy), 3), "stolen_cores": round(max(0.0, stolen), 3)}


def tools(files: dict[str, str]) -> frozenset[str]:
    """Return which of the small programs we use the device has."""
    return frozenset(name.removeprefix("tool/") for name in files if name.startswith("tool/"))


def _temperatures(files: dict[str, str]) -> Facts:
    """Return °C by thermal zone; one that is powered off says -256 °C and counts as unreadable."""
    found: Facts = {}
    for path, text in files.items():
        if not path.endswith("/temp"):
            continue
        name = files.get(path.removesuffix("temp") + "type") or path.split("/")[-2]
        milli = int(text) if re.fullmatch(r"-?[0-9]{1,7}", text) else None
        usable = milli is not None and -100_000 < milli < 250_000 and name not in CONSTANTS
        while name in found:
            name += "+"
        found[name[:60]] = milli / 1000 if milli is not None and usable else UNREADABLE
    return found


def _field(files: dict[str, str], path: str, name: str, mark: str = ":") -> str:
    """Return the first value of a name in a file of "name : value" lines, "" where there is none."""
    for line in files.get(path, "").splitlines():
        found, separator, value = line.partition(mark)
        if separator and found.strip() == name:
            return value.strip().strip('"')
    return ""


def _distinct(files: dict[str, str], leaf: str) -> list[str]:
    """Return the distinct contents of files of one name, in order."""
    return list(dict.fromkeys(text for path, text in files.items() if path.endswith("/" + leaf) and text))


def _known(value: str | None) -> str:
    """Return a value on one line, or "unreadable"."""
    return " ".join((value or "").split())[:MOST_CHARACTERS] or UNREADABLE
