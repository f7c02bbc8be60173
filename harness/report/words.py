"""How a subnet is said in a few words, and numbers as people read them."""

from __future__ import annotations

import datetime
import html
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

COUNTS = ("parameters", "MACs")
# What a round's value of a time is, by the word in a table's header.
STATISTICS = {
    "wall_p10_ns": "the 10th percentile of the wall time of its calls",
    "cpu_min_ns": "the least CPU time of its calls",
    "wall_p5_ns": "the 5th percentile of the wall time of its calls",
    "wall_min_ns": "the least wall time of its calls",
}
DASH = "\N{EN DASH}"
# A number and its unit, which a line's end must not part.
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:%|ms|µs|px|points?|MiB|KiB|bytes|min|s|°C)(?!\w))")
_UNITS = {"percent": "%", "pct": "%", "points": "points", "ms": "ms", "mj": "mJ", "mib": "MiB", "px": "px"}
_SPELT = {"mape": "MAPE", "rmse": "RMSE", "spearman": "Spearman", "kendall": "Kendall"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One active block of a subnet, for its small drawing."""

    kernel: int
    expand: float
    stage: int


def plain(text: str) -> str:
    """Return a text safe to hand to plotly, which reads tags in labels and hover texts."""
    return html.escape(text, quote=False)


def subnet_words(subnet: dict[str, Any]) -> str:
    """Return a subnet in a few words: resolution and depth of each stage."""
    parts = []
    if (resolution := subnet.get("resolution")) is not None:
        parts.append(f"{resolution} px")
    depths = subnet.get("depths")
    if isinstance(depths, list):
        parts.append("depths " + "·".join(str(depth) for depth in depths))
    return ", ".join(parts)


def hover(identity: str, subnet: dict[str, Any]) -> str:
    """Return the lines shown when a point is touched: id, then what the subnet is made of."""
    lines = [f"<b>{plain(identity)}</b>"] if identity else []
    if words := subnet_words(subnet):
        lines.append(plain(words))
    for key in ("kernels", "expands"):
        stages = subnet.get(key)
        if isinstance(stages, list):
            said = " | ".join(" ".join(str(item) for item in stage) for stage in stages if isinstance(stage, list))
            lines.append(plain(f"{key} {said}"))
    widths = subnet.get("widths")
    if isinstance(widths, list):
        lines.append(plain("widths " + " ".join(str(item) for item in widths)))
    return "<br>".join(lines)


def blocks(subnet: dict[str, Any]) -> tuple[Block, ...]:
    """Return the active blocks of a subnet in order, or nothing where its JSON is of another family."""
    kernels, expands = subnet.get("kernels"), subnet.get("expands")
    if not isinstance(kernels, list) or not isinstance(expands, list):
        return ()
    found = []
    for stage, (own_kernels, own_expands) in enumerate(zip(kernels, expands, strict=False)):
        if not isinstance(own_kernels, list) or not isinstance(own_expands, list):
            return ()
        for kernel, expand in zip(own_kernels, own_expands, strict=False):
            if not isinstance(kernel, (int, float)) or not isinstance(expand, (int, float)):
                return ()
            found.append(Block(kernel=int(kernel), expand=float(expand), stage=stage))
    return tuple(found)


def figures3(value: float | None) -> str:
    """Return a number with three significant digits and no exponent, or a dash."""
    if value is None:
        return DASH
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 6)}f}"


def held(text: Any) -> Any:
    """Return a text, or what of a page is made up already, with each number kept on one line with its unit."""
    return type(text)(_BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", text))


def headed(column: str) -> str:
    """Return what a column of numbers is called: its name with its unit behind a comma, where the name ends in one."""
    name, _, unit = column.rpartition("_")
    said = name.replace("_", " ") if unit in _UNITS else column.replace("_", " ")
    said = " ".join(_SPELT.get(word, word) for word in said.split())
    return f"{said}, {_UNITS[unit]}" if unit in _UNITS else said


def score(value: float) -> str:
    """Return a score with three significant digits, no more than three after the point, and a minus that is one."""
    shown = f"{value:.3f}" if abs(value) < 0.1 and math.isfinite(value) else figures3(value)
    return shown.replace("-", "\N{MINUS SIGN}")


def size(size_bytes: int) -> str:
    """Return a file size with its unit."""
    for unit, scale in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.1f} {unit}"
    return f"{size_bytes} bytes"


def amount(kind: str, value: float) -> str:
    """Return what a limit of a search that is none of latency allows, or a network has of it: a count, mJ, or bytes."""
    if kind in COUNTS:
        return f"{value:,.0f}"
    # Of several devices each has a limit of its own: "energy on board".
    return f"{figures3(value)} mJ" if kind.partition(" on ")[0] == "energy" else size(int(value))


def when(date: object) -> str:
    """Return an ISO date as people write it; any other text as it is."""
    try:
        found = datetime.datetime.fromisoformat(str(date))
    except ValueError:
        return str(date)
    zone = found.strftime("%Z").replace("UTC+00:00", "UTC")
    return f"{found:%Y-%m-%d %H:%M} {zone}".strip()


def changed(environment: Iterable[Mapping[str, Any]]) -> str:
    """Return where a device was not as a table says, of the entries of a recheck's record."""
    return ", ".join(str(entry.get("path", "?")) for entry in environment)


def duration(seconds: float | None) -> str:
    """Return a length of time in minutes and seconds."""
    if seconds is None:
        return DASH
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def flat(facts: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return nested JSON as (dotted key, text) lines, leaving out hashes of files and long lists."""
    found: list[tuple[str, str]] = []
    for key, value in facts.items() if isinstance(facts, dict) else ():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, dict):
            found += flat(value, name)
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            # A line each: phases of a training, say, and not the notation of a programming language.
            for number, item in enumerate(value[:12], 1):
                found.append((f"{name}.{number}", "; ".join(f"{part} {text}" for part, text in flat(item))))
        elif isinstance(value, list):
            found.append((name, ", ".join(str(item) for item in value[:12]) + (" …" if len(value) > 12 else "")))
        elif isinstance(value, bool):
            found.append((name, "yes" if value else "no"))
        elif isinstance(value, float):
            found.append((name, f"{value:.6g}"))
        elif value is not None:
            found.append((name, str(value)))
    return found
