"""Reads what only Jetson boards say: L4T, the power mode by name, the GPU's clock, and lines of tegrastats."""

import os
import re
from typing import Any, Dict, Optional

import commands
import sysfs

RELEASE = "etc/nv_tegra_release"
# The name of a GPU's clock among a board's devfreq devices, by board: 57000000.gpu (Nano), 17000000.ga10b (Orin),
# gpu-gpc-0 (Thor).
GPU = re.compile(r"gpu|gv11b|gp10b|ga10b|gm20b|gb10b", re.IGNORECASE)
GPU_FILES = (
    ("current_hz", "cur_freq"),
    ("least_hz", "min_freq"),
    ("most_hz", "max_freq"),
    ("governor", "governor"),
    ("load_permille", "device/load"),
)
MOST_LINE_CHARACTERS = 4000
MOST_UNKNOWN = 40
PATIENCE_S = 3.0

STAMP = re.compile(r"^(\d{1,4}-\d{1,2}-\d{1,4} \d{1,2}:\d{2}:\d{2}) ")
MEMORY = re.compile(r"\b(RAM|SWAP|IRAM) (\d+)/(\d+)([kMG])B ?(?:\((?:lfb|cached) [^)]*\))?")
CPU = re.compile(r"\bCPU \[([^\]]*)\](?:@(\d+))?")
ENGINE = re.compile(r"\b(\w+_FREQ) (?:(\d+)%)?(?:@(?:\[([^\]]*)\]|(\d+)))?(?=\s|$)")
SENSOR = re.compile(r"(?<![\w@])(\w+)@(-?\d+(?:\.\d+)?)C(?:/-?\d+(?:\.\d+)?C)?(?=\s|$)")
RAIL = re.compile(r"(?<![\w@])([A-Za-z]\w*) (\d+)(?:mW)?/(\d+)(?:mW)?(?:/(\d+)(?:mW)?)?(?=\s|$)")
RAIL_ALONE = re.compile(r"(?<![\w@])([A-Za-z]\w*) (\d+)mW(?=\s|$)")
MEBIBYTES = {"k": 1.0 / 1024, "M": 1.0, "G": 1024.0}
OFF_C = -100.0
# A constant of 50 or 100 °C, and no sensor.
CONSTANTS = ("PMIC",)


def is_jetson(root: str) -> bool:
    """Say whether this is a board with NVIDIA's Linux for Tegra."""
    return sysfs.text(root, RELEASE) is not None


def l4t(root: str) -> Optional[str]:
    """Return the release of Linux for Tegra, such as "32.7.4", or None."""
    said = sysfs.text(root, RELEASE) or ""
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", said)
    return "%s.%s" % found.groups() if found else None


def power_mode(root: str) -> Optional[str]:
    """Return the power mode by its name, such as "MAXN" or "15W", or None; numbers mean another mode on each board."""
    said = commands.ask(root, ["nvpmodel", "-q"], PATIENCE_S)
    return mode_in(said.text) if said is not None else None


def mode_in(said: str) -> Optional[str]:
    """Return the name in what "nvpmodel -q" says, warnings before it or not, or None."""
    found = re.search(r"NV Power Mode:[ \t]*(\S[^\r\n]*)", said)
    return found.group(1).strip()[: sysfs.MOST_CHARACTERS] if found else None


def gpus(root: str) -> Dict[str, Dict[str, Any]]:
    """Return the clocks in Hz, the governor and the load in thousandths of each GPU clock."""
    found: Dict[str, Dict[str, Any]] = {}
    for path in sysfs.paths(root, "sys/class/devfreq/*"):
        name = sysfs.word(root, os.path.join(path, "device/of_node/name")) or os.path.basename(path)
        if GPU.search(name) is None and GPU.search(os.path.basename(path)) is None:
            continue
        said: Dict[str, Any] = {}
        for what, leaf in GPU_FILES:
            file = os.path.join(path, leaf)
            said[what] = sysfs.known(sysfs.word(root, file) if what == "governor" else sysfs.number(root, file))
        found[os.path.basename(path)] = said
    return sysfs.capped(found)


def locked_gpu_hz(root: str) -> Optional[str]:
    """Return at which Hz the GPU is held, or None where it may move or there is none."""
    held = [
        str(said["most_hz"])
        for said in gpus(root).values()
        if said["most_hz"] != sysfs.UNREADABLE and said["most_hz"] == said["least_hz"]
    ]
    return ",".join(held) or None


def ask_tegrastats(root: str) -> Optional[Dict[str, Any]]:
    """Return one line of tegrastats, parsed, or None; it takes half a second and never ends by itself."""
    said = commands.ask(root, ["tegrastats", "--interval", "500"], PATIENCE_S, lines=1)
    lines = said.text.splitlines() if said is not None else []
    return tegrastats(lines[0]) if lines else None


def tegrastats(line: str) -> Dict[str, Any]:
    """Return what a line of tegrastats says, from JetPack 4 to 7; never raises, whatever the line is.

    Every part is optional: ``time``, ``memory_mib`` ([used, total]), ``cores`` ({"percent", "mhz"}, "off"),
    ``engines`` ({"percent", "mhz"}), ``temperature_c`` (a sensor that is off is unreadable), ``rails_mw`` (the present
    reading). What is not known stands in ``unknown``, verbatim.
    """
    rest = " ".join(line[:MOST_LINE_CHARACTERS].split())
    found: Dict[str, Any] = {"memory_mib": {}, "cores": [], "engines": {}, "temperature_c": {}, "rails_mw": {}}
    stamp = STAMP.match(rest + " ")
    if stamp:
        found["time"] = stamp.group(1)
        rest = rest[stamp.end() :]
    rest = CPU.sub(lambda hit: _cores(found, hit), rest)
    rest = MEMORY.sub(lambda hit: _memory(found, hit), rest)
    rest = ENGINE.sub(lambda hit: _engine(found, hit), rest)
    rest = SENSOR.sub(lambda hit: _sensor(found, hit), rest)
    rest = RAIL.sub(lambda hit: _rail(found, hit), rest)
    rest = RAIL_ALONE.sub(lambda hit: _rail(found, hit), rest)
    found["unknown"] = rest.split()[:MOST_UNKNOWN]
    return found


def _cores(found: Dict[str, Any], hit: Any) -> str:
    """Take the cores: each "5%@1479" or "off", or on Thor "5%" with one clock behind the list."""
    for core in hit.group(1).split(","):
        said = re.match(r"^\s*(\d+)%(?:@(\d+))?\s*$", core)
        mhz = said.group(2) or hit.group(2) if said else None
        found["cores"].append({"percent": int(said.group(1)), "mhz": _whole(mhz)} if said else _off(core))
    return " "


def _off(core: str) -> str:
    """Return what stands for a core that says no number."""
    return "off" if core.strip() == "off" else sysfs.UNREADABLE


def _memory(found: Dict[str, Any], hit: Any) -> str:
    """Take a kind of memory, in MiB."""
    scale = MEBIBYTES[hit.group(4)]
    found["memory_mib"][hit.group(1)] = [float(hit.group(2)) * scale, float(hit.group(3)) * scale]
    return " "


def _engine(found: Dict[str, Any], hit: Any) -> str:
    """Take an engine: load and clock, where there are several clocks all of them, each as far as it says one."""
    name, percent, several, one = hit.groups()
    if percent is None and several is None and one is None:
        return str(hit.group(0))
    clocks: Any = _whole(one)
    if several is not None:
        clocks = [_whole(part.strip()) for part in several.split(",")]
    found["engines"][name[: -len("_FREQ")]] = {"percent": _whole(percent), "mhz": clocks}
    return " "


def _sensor(found: Dict[str, Any], hit: Any) -> str:
    """Take a sensor."""
    reading = float(hit.group(2))
    usable = reading > OFF_C and hit.group(1) not in CONSTANTS
    found["temperature_c"][hit.group(1)] = reading if usable else sysfs.UNREADABLE
    return " "


def _rail(found: Dict[str, Any], hit: Any) -> str:
    """Take a rail: the present reading; the mean since the start and the most that may follow say nothing of now."""
    found["rails_mw"][hit.group(1)] = int(hit.group(2))
    return " "


def _whole(digits: Optional[str]) -> sysfs.Reading:
    """Return a number, or "unreadable"."""
    return int(digits) if digits is not None and digits.isdigit() else sysfs.UNREADABLE


def state(root: str) -> Dict[str, Any]:
    """Return how a board is doing: its GPU, and tegrastats where sysfs does not say what the GPU does."""
    found: Dict[str, Any] = {"gpu": sysfs.known(gpus(root))}
    if found["gpu"] == sysfs.UNREADABLE:
        found["tegrastats"] = sysfs.known(ask_tegrastats(root))
    return found
