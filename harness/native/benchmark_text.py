"""What `benchmark_model` says of a run, in the texts of its old and new versions and of both tools of that name, and in
the result file of newer ones.

Formats: `tflite/tools/benchmark/benchmark_model.cc`, `benchmark_tflite_model.cc`, `proto/benchmark_result.proto` and
`litert/tools/benchmark_litert_model.h` of google-ai-edge/LiteRT.
"""

from __future__ import annotations

import re

from harness.native import wire
from harness.native.runs import CannotRun, Summary, Timed, partial, told
from harness.plan import Unit

NUMBER = r"([0-9][0-9.eE+]{0,30})"
PAIR = re.compile(r"\b([a-z][a-z0-9]{0,15})=" + NUMBER)
# Lines that end in counts of something else: the profiler's own.
OTHER_COUNTS = ("Timings (microseconds)", "Memory (bytes)")
INIT = re.compile(r"timings in us: (?:Init: |Warmup: [^,]{1,40}, Init: )" + NUMBER)
FIRST = re.compile(r"First inference: " + NUMBER)
AVERAGE = re.compile(r"timings in us: .{0,200}?Inference(?: \(avg\))?: " + NUMBER)
SESSION_MS = re.compile(r"Initialized session in " + NUMBER + r"ms")
MODEL_MS = re.compile(r"Model initialization: {1,20}" + NUMBER + " ms")
PEAK_MB = re.compile(r"(?:Overall peak memory footprint \(MB\) via periodic monitoring: |Peak memory: {1,20})" + NUMBER)
BLOCK = re.compile(r"Inference \((min|max|avg)\): {1,20}" + NUMBER + r" ms(?: \(([0-9]{1,9}) runs\))?")
WARM_MS = re.compile(r"Warmup \(first\): {1,20}" + NUMBER + " ms")

FALLBACK = re.compile(
    r"Disallowed CPU fallback detected"
    r"|model graph will be partially executed by the delegate"
    r"|model graph will not be executed by the delegate"
    r"|the graph is not fully delegated"
)
SHARES = re.compile(r"([0-9]{1,9}) operations will run on the (?:GPU|NPU), and the remaining ([0-9]{1,9})")
NO_DELEGATE = re.compile(r"Failed to apply \S{1,40} delegate|acceleration is unsupported on this platform")
REFUSED_OPS = re.compile(r"operations are not supported by \S{1,40} delegate:")
OP = re.compile(r"([A-Z][A-Z0-9_]{1,60}|CUSTOM [\w.:-]{1,60}): ?(?:\S.{0,300})?$")
MOST_OPS = 40

# The text without counts has hundredths of a ms: below this many µs that is more than one in a hundred.
LEAST_BLOCK_US = 1000.0
# How far the two places may differ that say the mean.
SAME_MEAN = 0.02

PARTS = {2: "latency", 3: "memory", 4: "misc"}
LATENCY_MS = {1: "avg", 2: "min", 3: "max", 5: "median", 6: "p5", 7: "p95", 8: "init", 9: "first"}
MEMORY = {3: "peak_mb"}
MISC = {2: "count"}


def read(text: str, result: bytes, unit: Unit = "cpu") -> Timed:
    """Return what a run said; the result file is believed before the text.

    Raises CannotRun where the unit took a part of the network only, where nothing was timed, or where what is said
    contradicts itself.
    """
    refuse_partial(text, unit)
    try:
        return of_result(result) if result else of_text(text)
    except (CannotRun, ValueError) as fault:
        raise told(f"what it said cannot be read: {fault}", text) from fault


def refuse_partial(text: str, unit: Unit) -> None:
    """Raise CannotRun where a GPU or NPU did not take all of a network, naming the ops where the text does.

    On a CPU nothing is refused: XNNPACK is a delegate too, and leaves to TFLite's own kernels what it has none for.
    """
    if unit == "cpu":
        return
    if NO_DELEGATE.search(text):
        raise told(f"its {unit} cannot be used", text)
    shares = [int(rest) for _, rest in SHARES.findall(text)]
    if any(shares) or FALLBACK.search(text):
        raise partial(unit, refused_ops(text), text)


def refused_ops(text: str) -> list[str]:
    """Return the kinds of op that the text says a delegate did not take, each once."""
    ops: list[str] = []
    listing = False
    for line in text.splitlines():
        if REFUSED_OPS.search(line):
            listing = True
        elif listing:
            found = OP.search(line.strip())
            if found is None:
                listing = False
            elif found[1] not in ops:
                ops.append(found[1])
    return ops[:MOST_OPS]


def of_text(text: str) -> Timed:
    """Return what the text says; raises CannotRun."""
    counts = [line for line in text.splitlines() if "count=" in line and not any(o in line for o in OTHER_COUNTS)]
    found = _counted(counts[-1]) if counts else _block(text)
    if found is None:
        raise CannotRun("it names no times")
    mean = AVERAGE.search(text)
    if mean is not None and abs(_number(mean[1]) - found.avg_us) > max(1.0, SAME_MEAN * found.avg_us):
        raise CannotRun("it says two different means")
    peak = PEAK_MB.search(text)
    return found.timed(
        load_us=_load_us(text),
        first_us=_first_us(text, counts),
        peak_rss_kib=None if peak is None else _kib(_number(peak[1])),
    )


def of_result(result: bytes) -> Timed:
    """Return what a result file says (`BenchmarkResult`, times in ms); raises CannotRun, ValueError."""
    parts = wire.submessages(result, PARTS)
    ms = wire.numbers(parts.get("latency", b""), LATENCY_MS)
    count = wire.numbers(parts.get("misc", b""), MISC).get("count")
    lacking = [name for name in ("avg", "min", "max", "init", "first") if name not in ms]
    if lacking or count is None:
        raise CannotRun("its result lacks " + ", ".join(lacking or ["the number of calls"]))
    us = {name: _rounded(1000 * value) for name, value in ms.items()}
    peak_mb = wire.numbers(parts.get("memory", b""), MEMORY).get("peak_mb")
    summary = Summary(
        count=int(count),
        min_us=us["min"],
        max_us=us["max"],
        avg_us=us["avg"],
        p5_us=us.get("p5"),
        median_us=us.get("median"),
        p95_us=us.get("p95"),
    )
    return summary.timed(load_us=us["init"], first_us=us["first"], peak_rss_kib=None if not peak_mb else _kib(peak_mb))


def _counted(line: str) -> Summary | None:
    """Return the summary in a line of counts; one call, or calls that were all the same, are said by ``curr`` alone."""
    pairs = {name: _number(value) for name, value in PAIR.findall(line[line.index("count=") :])}
    if not 1 <= pairs.get("count", 0) < 1e9:
        return None
    if "curr" in pairs:
        pairs = {name: pairs["curr"] for name in ("min", "max", "avg")} | pairs if "min" not in pairs else pairs
    if not {"min", "max", "avg"} <= set(pairs):
        return None
    return Summary(
        count=int(pairs["count"]),
        min_us=pairs["min"],
        max_us=pairs["max"],
        avg_us=pairs["avg"],
        p5_us=pairs.get("p5"),
        median_us=pairs.get("median"),
        p95_us=pairs.get("p95"),
    )


def _block(text: str) -> Summary | None:
    """Return the summary in the block of results, whose times are hundredths of a ms; raises CannotRun for a short
    one."""
    found = {name: (_number(value) * 1000, runs) for name, value, runs in BLOCK.findall(text)}
    if not {"min", "max", "avg"} <= set(found):
        return None
    if found["min"][0] < LEAST_BLOCK_US:
        raise CannotRun("it says hundredths of a ms only, which is too coarse for a network of less than 1 ms")
    (low, _), (high, _), (mean, runs) = (found[name] for name in ("min", "max", "avg"))
    return Summary(count=int(runs or 1), min_us=low, max_us=high, avg_us=mean)


def _load_us(text: str) -> float:
    """Return how long loading took, µs; raises CannotRun where nothing says it."""
    if (found := INIT.search(text)) is not None:
        return _number(found[1])
    for pattern in (SESSION_MS, MODEL_MS):
        if (found := pattern.search(text)) is not None:
            return _number(found[1]) * 1000
    raise CannotRun("it does not say how long loading took")


def _first_us(text: str, counts: list[str]) -> float:
    """Return how long the first call took, µs: as said, or as the warm-up's counts have it."""
    if (found := FIRST.search(text)) is not None:
        return _number(found[1])
    if (found := WARM_MS.search(text)) is not None:
        return _number(found[1]) * 1000
    pairs = {name: _number(value) for name, value in PAIR.findall(counts[0])} if counts else {}
    if "first" in pairs or "curr" in pairs:
        return pairs.get("first", pairs.get("curr", 0.0))
    raise CannotRun("it does not say how long the first call took")


def _number(text: str) -> float:
    """Return a number; raises CannotRun where it only looks like one."""
    try:
        return float(text.rstrip("."))
    except ValueError:
        raise CannotRun(f"'{text}' is no number") from None


def _rounded(value_us: float) -> float:
    """Return µs with three places: a float of ms has seven digits, and more would tell two equal times apart."""
    return round(value_us, 3)


def _kib(value_mib: float) -> int | None:
    """Return MiB as KiB, None for what no process holds."""
    return round(1024 * value_mib) if 0 < value_mib < 2**24 else None
