"""Reads what trtexec prints and writes: its summary in the forms it has had, its samples, and where layers run."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

MOST_SAMPLES = 10**6
NANOSECONDS_PER_MS = 10**6
MOST_MS = 10**7

# "[11/04/2025-00:14:04] [I] [TRT] text", any part of which may be missing.
PREFIX = re.compile(r"^(?:\[[0-9/:.-]{8,30}\]\s*)?((?:\[[A-Z]{1,4}\]\s*){0,3})")
# "&&&& PASSED TensorRT.trtexec [TensorRT v8401] # trtexec …"; the bracket is there since 8.
ENDING = re.compile(r"^&&&& (PASSED|FAILED) TensorRT\.trtexec(?: \[TensorRT v(\d{3,7})\])?")
NUMBER = r"([0-9][0-9.e+]{0,20})"
# Since 8: "GPU Compute Time: min = 1.13281 ms, …, median = 1.14453 ms, percentile(95%) = 1.14844 ms".
FIELD = re.compile(r"(min|max|mean|median|percentile\((\d{1,2}(?:\.\d{1,3})?)%\)) = " + NUMBER + r" ms")
# Until 7, below a heading: "min: 4.2439 ms", "percentile: 5.36792 ms at 99%".
OLD_FIELD = re.compile(r"^(min|max|mean|median|percentile): " + NUMBER + r" ms(?: at (\d{1,2}(?:\.\d{1,3})?)%)?")
THROUGHPUT = re.compile(r"^throughput: " + NUMBER + r" qps", re.IGNORECASE)
HEADINGS = {"Host Latency": "latency", "GPU Compute": "compute", "Enqueue Time": "enqueue"}
TITLES = {"Latency": "latency", "GPU Compute Time": "compute", "Enqueue Time": "enqueue"}
# Until 8.0 "--------------- Layers running on GPU: ", and all of them in the next line, or nothing in it.
LISTS = re.compile(r"^-{5,}\s*Layers running on (DLA|GPU):")
# Since, below another heading, each in a line of its own: "[GpuLayer] CONVOLUTION: fc6".
LAYER = re.compile(r"^\[(Dla|Gpu)Layer\]\s*(.{1,400}?),?$")
FELL_BACK = re.compile(r"layer (.{1,200}?) is not supported on DLA.{0,40}falling back to GPU", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What trtexec says of one run: milliseconds by what was timed ("latency", "compute") and statistic ("median",
    "p99"); throughput 0 where it says none. ``on_dla`` and ``on_gpu`` are the layers it lists for each."""

    version: str
    throughput_qps: float
    times_ms: dict[str, dict[str, float]]
    on_dla: tuple[str, ...]
    on_gpu: tuple[str, ...]


def summary(text: str) -> Summary:
    """Return what the output of a run says; raises ValueError where it does not say that the run passed, or no time."""
    times_ms: dict[str, dict[str, float]] = {}
    layers: dict[str, list[str]] = {"dla": [], "gpu": []}
    throughput, passed, release, heading, listing = 0.0, "", "unreadable", "", ""
    complaint = ""
    for raw in text.splitlines():
        tags, line = _parts(raw)
        if "[E]" in tags:
            complaint = line[:300]
        if found := ENDING.match(line):
            passed, release = found[1], version(found[2]) if found[2] else "unreadable"
        elif found := THROUGHPUT.match(line):
            throughput = float(found[1])
        elif (title := line.partition(":")[0]) in TITLES and (fields := FIELD.findall(line)):
            times_ms[TITLES[title]] = {_statistic(name, rank): _ms(value) for name, rank, value in fields}
        elif line in HEADINGS:
            heading = HEADINGS[line]
        elif heading and (old := OLD_FIELD.match(line)):
            times_ms.setdefault(heading, {})[_statistic(old[1], old[3])] = _ms(old[2])
        listing = _place(line, listing, layers)
    if passed != "PASSED":
        raise ValueError(complaint or "it did not say that it passed")
    if "median" not in times_ms.get("compute", {}):
        raise ValueError("it passed and said no GPU compute time")
    return Summary(
        version=release,
        throughput_qps=throughput,
        times_ms=times_ms,
        on_dla=tuple(layers["dla"]),
        on_gpu=tuple(layers["gpu"]),
    )


def _parts(raw: str) -> tuple[str, str]:
    """Return a line's marks ("[I] [TRT]") and what it says."""
    found = PREFIX.match(raw)
    assert found is not None
    return found[1], raw[found.end() :].strip()


def _place(line: str, listing: str, layers: dict[str, list[str]]) -> str:
    """Keep a layer where a line names one, and return which list the next line is, if any."""
    if found := LISTS.match(line):
        return found[1].lower()
    if layer := LAYER.match(line):
        layers[layer[1].lower()].append(layer[2])
    elif fell := FELL_BACK.search(line):
        layers["gpu"].append(fell[1])
    elif listing:
        layers[listing] += [name.strip()[:400] for name in line.split(",") if name.strip()]
    return ""


def _statistic(name: str, rank: str) -> str:
    """Return the word for a statistic: "median", or "p99" for "percentile(99%)"."""
    return f"p{rank}" if rank else name


def _ms(text: str) -> float:
    """Return milliseconds; raises ValueError for what is no time."""
    value = float(text)
    if not 0 <= value < MOST_MS:
        raise ValueError(f"'{text}' is no time in ms")
    return value


def version(digits: str) -> str:
    """Return "8.4.1" for 8401 and "10.3.0" for 100300, as NvInferVersion.h numbers releases."""
    number = int(digits)
    if number >= 100_000:
        return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    return f"{number // 1000}.{number // 100 % 10}.{number % 100}"


def digits(release: str) -> str:
    """Return "8401" for 8.4.1 and "100300" for 10.3.0: what ``version`` reads."""
    major, minor, patch = (int(part) for part in release.split("."))
    return str(major * 10000 + minor * 100 + patch if major >= 10 else major * 1000 + minor * 100 + patch)


def samples_ns(text: str, warm_up_ms: float) -> list[int]:
    """Return what each query took on the GPU, ns, from the file of `--exportTimes`, those of the warm-up left out.

    Releases before 8.5 write the warm-up into the file, later ones do not. Raises ValueError for what is not such a
    file.
    """
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as fault:
        raise ValueError("the file of times is not JSON") from fault
    if not isinstance(entries, list) or len(entries) > MOST_SAMPLES:
        raise ValueError("the file of times is no list, or too long")
    found = []
    for entry in entries:
        start_ms, took_ms = (_number(entry, name) for name in ("startComputeMs", "computeMs"))
        if not 0 < took_ms < MOST_MS:
            raise ValueError("an entry of the file of times has no compute time")
        if start_ms >= warm_up_ms:
            found.append(max(1, round(took_ms * NANOSECONDS_PER_MS)))
    if not found:
        raise ValueError("the file of times holds nothing after the warm-up")
    return found


def _number(entry: Any, name: str) -> float:
    """Return a number of an entry; raises ValueError where it has none of that name."""
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"an entry of the file of times has no '{name}'")
    return float(value)
