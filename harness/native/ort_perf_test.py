"""`onnxruntime_perf_test`: it calls an ONNX file a number of times and writes down the time of each call.

Formats: `onnxruntime/test/perftest/{README.md,performance_runner.cc}` of microsoft/onnxruntime.
"""

from __future__ import annotations

import math
import re

from harness.native.runs import CannotRun, Program, Summary, Timed, Use, Wanted, nanoseconds, of_calls, partial, told
from harness.ways import USES

TOOL = "perf_test"
# The kernels of a way are onnxruntime's execution providers.
DEFAULT_PROVIDER = "cpu"
NO_FALLBACK = "session.disable_cpu_ep_fallback|1"
BACKENDS = {"gpu": "libQnnGpu.so", "npu": "libQnnHtp.so"}
MOST_REPEATS = 20000
MOST_PEAK_KIB = 2**34

NUMBER = r"([0-9][0-9.eE+-]{0,30})"
SESSION_S = re.compile(r"Session creation time cost: ?" + NUMBER + r" ?s")
FIRST_MS = re.compile(r"First inference time cost: ?" + NUMBER + r" ?ms")
AVERAGE_MS = re.compile(r"Average (?:inference )?time cost(?: total)?: ?" + NUMBER + r" ?ms")
REQUESTS = re.compile(r"Total (?:inference requests|iterations): ?([0-9]{1,9})")
PEAK_BYTES = re.compile(r"Peak working set size: ?([0-9]{1,20})")
LATENCY_S = re.compile(r"(Min|Max|P50|P95) Latency(?: is|:) ?" + NUMBER + r" ?s")
FALLBACK = re.compile(r"fallback to CPU EP has been explicitly disabled")


def tool_of(text: str) -> str | None:
    """Return the one tool there is; None where a help text is of another program."""
    return TOOL if "perf_test" in text and "model_path" in text else None


def argv(tool: str, flags: frozenset[str], graph: str, result: str, wanted: Wanted, use: Use) -> list[str]:
    """Return the arguments that run a network on random input; raises CannotRun for a unit without a provider.

    On a GPU or NPU no op may fall to the CPU.
    """
    way = use.way
    if way.precision == "fp16" and "fp16" not in USES["ort_perf_test"].get(way.unit, {}).get(way.kernels, ()):
        raise CannotRun("only NNAPI and a Qualcomm NPU relax a network to fp16")
    if way.kernels not in USES["ort_perf_test"].get(way.unit, {}):
        raise CannotRun(f"provider '{way.kernels}' is none for a {way.unit}")
    provider = DEFAULT_PROVIDER if way.kernels == "default" else way.kernels
    repeats = wanted.repeats or wanted.warm_calls + wanted.calls
    words = [
        "-I",
        "-e",
        provider,
        "-m",
        "times",
        "-r",
        str(repeats),
        "-x",
        str(way.threads),
        "-y",
        "1",
        "-o",
        "99",
        "-s",
    ]
    if way.unit != "cpu":
        words += ["-C", NO_FALLBACK]
    if provider == "nnapi":
        # Else its own reference implementation on the CPU takes what no accelerator does.
        words += ["-i", "NNAPI_FLAG_CPU_DISABLED" + (" NNAPI_FLAG_USE_FP16" if way.precision == "fp16" else "")]
    if provider == "qnn":
        folder = "" if use.libraries is None else use.libraries.rstrip("/") + "/"
        half = " enable_htp_fp16_precision|1" if way.precision == "fp16" else ""
        words += ["-i", f"backend_path|{folder}{BACKENDS[way.unit]}{half}"]
    return [*words, graph, result]


def read(text: str, result: bytes, wanted: Wanted, use: Use) -> Timed:
    """Return what a run said, its warm-up left out; raises CannotRun, also where an op fell to the CPU.

    Without a result file, as where it could not be opened, the text's summary is all that is known.
    """
    if FALLBACK.search(text):
        raise partial(use.way.unit, (), text)
    try:
        load = SESSION_S.search(text)
        if load is None:
            raise CannotRun("it does not say how long loading took")
        load_ns, first = nanoseconds(1e6 * _number(load[1])), FIRST_MS.search(text)
        first_ns = None if first is None else nanoseconds(1e3 * _number(first[1]))
        if not result.strip():
            return _summary(text, load_ns, first_ns)
        samples_ns, peak_rss_kib = calls_of(result)
        kept = after_warming(samples_ns, wanted)
        first_ns = samples_ns[0] if first_ns is None else first_ns
        return of_calls(kept, load_ns=load_ns, first_ns=first_ns, peak_rss_kib=peak_rss_kib)
    except CannotRun as fault:
        raise told(f"what it said cannot be read: {fault}", text) from fault


def calls_of(result: bytes) -> tuple[list[int], int | None]:
    """Return the ns of each call and the peak memory, KiB, by a result file; raises CannotRun.

    A line is "model,seconds,peak bytes,CPU %,number"; newer versions have the time of submission before the seconds.
    What follows an empty line is a summary. The model's name is its folder's, and may hold anything.
    """
    body = result.decode("utf-8", "replace").replace("\r\n", "\n").lstrip("\n").partition("\n\n")[0]
    samples_ns: list[int] = []
    peak_bytes = 0
    for place, line in enumerate(body.splitlines()):
        parts = line.rsplit(",", 4)
        if len(parts) != 5 or parts[4].strip() != str(place):
            raise CannotRun(f"line {place + 1} of its result is no call")
        samples_ns.append(nanoseconds(1e6 * _number(parts[1])))
        peak_bytes = max(peak_bytes, int(_number(parts[2])))
        if place >= 2 * MOST_REPEATS:
            raise CannotRun("its result has too many lines")
    if not samples_ns:
        raise CannotRun("its result holds no call")
    kib = peak_bytes // 1024
    return samples_ns, kib if 0 < kib < MOST_PEAK_KIB else None


def after_warming(samples_ns: list[int], wanted: Wanted) -> list[int]:
    """Return the calls after the warm-up: the first ones are slow, but as many are kept as were wanted."""
    spent_ns, place = 0, 0
    while place < len(samples_ns) - wanted.calls:
        if place >= wanted.warm_calls and spent_ns >= 1e9 * wanted.warm_s:
            break
        spent_ns += samples_ns[place]
        place += 1
    return samples_ns[place:]


def again(timed: Timed, wanted: Wanted) -> int | None:
    """Return how many calls are needed where one run was too short to warm up and to be timed; None where it was not.

    The program takes a number of calls and not of seconds, and how long one takes is only known once it was run.
    """
    needed_s = wanted.warm_s + wanted.least_s
    if timed.known != "each" or timed.calls * timed.median_ns >= 1e9 * needed_s:
        return None
    needed = math.ceil(1e9 * needed_s / timed.median_ns)
    return min(MOST_REPEATS, max(wanted.warm_calls + wanted.calls, needed))


def _summary(text: str, load_ns: int, first_ns: int | None) -> Timed:
    """Return what the text says of all calls; raises CannotRun."""
    found = {name: 1e6 * _number(value) for name, value in LATENCY_S.findall(text)}
    mean, count, peak = AVERAGE_MS.search(text), REQUESTS.search(text), PEAK_BYTES.search(text)
    if not {"Min", "Max"} <= set(found) or mean is None or count is None:
        raise CannotRun("it names no times")
    summary = Summary(
        count=int(count[1]), min_us=found["Min"], max_us=found["Max"], avg_us=max(found["Min"], 1e3 * _number(mean[1]))
    )
    kib = None if peak is None else int(peak[1]) // 1024
    first_us = found["Max"] if first_ns is None else first_ns / 1e3
    known = kib if kib is not None and 0 < kib < MOST_PEAK_KIB else None
    return summary.timed(load_us=load_ns / 1e3, first_us=first_us, peak_rss_kib=known)


def _number(text: str) -> float:
    """Return a number; raises CannotRun where it only looks like one."""
    try:
        value = float(text)
    except ValueError:
        raise CannotRun(f"'{text[:40]}' is no number") from None
    if not math.isfinite(value):
        raise CannotRun(f"'{text[:40]}' is no number")
    return value


PROGRAM = Program(suffix=".onnx", help=("--help",), tool_of=tool_of, argv=argv, read=read, again=again)
