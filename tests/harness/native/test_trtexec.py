"""trtexec is told what it takes and read in every form it has had; builds differ, and what a DLA leaves is an error."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import ofa.space as spaces
from harness import bench as benches
from harness.artefacts import build
from harness.bench import Scope, bench, plan_of
from harness.inventory import Device
from harness.native import trtexec, trtexec_text
from harness.native.devices import reached
from harness.native.programs import PROGRAMS
from harness.native.runs import CannotRun, Use, Wanted
from harness.plan import NATIVE, Rounds, Unit, Way
from harness.protocol import Conversation, Done, Runtime, Sample
from harness.session import ready_runtime
from harness.ways import USES, check_use
from ofa.errors import MeasurementRefused, UsageInvalid
from ofa.files import sha256_file
from ofa.graphs.forms import FORMATS
from ofa.space.ops import ops_of

STAND_IN = Path(__file__).parent / "stand_in_trtexec.py"


def stand_in_text(name: str) -> str:
    """Return one of the stand-in's documented texts."""
    found: dict[str, object] = {}
    exec(compile(STAND_IN.read_text(), str(STAND_IN), "exec"), found | {"__name__": "texts"}, found)
    return str(found[name])


@pytest.mark.parametrize(
    ("form", "version", "throughput", "median_ms", "percentile"),
    [
        ("SEVEN", "unreadable", 221.7, 4.40088, ("p99", 5.36792)),
        ("EIGHT", "8.4.1", 476.66, 2.06, ("p99", 2.55)),
        ("TEN", "10.3.0", 1574.34, 0.631836, ("p95", 0.633911)),
    ],
)
def test_every_form_of_the_summary_is_read(
    form: str, version: str, throughput: float, median_ms: float, percentile: tuple[str, float]
) -> None:
    found = trtexec_text.summary(stand_in_text(form))
    assert (found.version, found.throughput_qps) == (version, throughput)
    compute = found.times_ms["compute"]
    assert compute["median"] == median_ms and compute[percentile[0]] == percentile[1]
    assert compute["min"] < compute["mean"] < compute["max"] and found.times_ms["latency"]["median"] > median_ms
    assert found.on_dla == found.on_gpu == ()


def test_layers_are_read_in_both_forms() -> None:
    ten = stand_in_text("TEN")
    said = [stand_in_text(name) for name in ("ON_DLA", "ON_GPU", "LEFT", "AFTER")]
    found = trtexec_text.summary("".join(said) + ten)
    assert found.on_dla == ("{ForeignNode[conv1...pool5]}",)
    assert found.on_gpu == ("SHUFFLE: shuffle_between", "CONVOLUTION: fc6")
    assert trtexec_text.summary(said[0] + said[1] + said[3] + ten).on_gpu == ()
    dashes = "[I] [TRT] --------------- Layers running on "
    old = f"{dashes}DLA: \n[I] [TRT] {{conv1}}, {{conv2}}, \n{dashes}GPU: \n[I] [TRT] conv3 + relu, pool\n"
    found = trtexec_text.summary(old + ten)
    assert found.on_dla == ("{conv1}", "{conv2}") and found.on_gpu == ("conv3 + relu", "pool")
    assert trtexec_text.summary(f"{dashes}DLA: \n[I] [TRT] {{a}}\n{dashes}GPU: \n[I] [TRT] \n{ten}").on_gpu == ()
    warned = "[W] [TRT] Default DLA is enabled but layer act_3 is not supported on DLA, falling back to GPU.\n"
    assert trtexec_text.summary(warned + ten).on_gpu == ("act_3",)


def test_output_that_is_no_result_is_refused() -> None:
    ten = stand_in_text("TEN")
    for text in ("", ten.replace("PASSED", "FAILED"), ten.replace("GPU Compute Time", "GPU Time"), ten[:200]):
        with pytest.raises(ValueError):
            trtexec_text.summary(text)
    with pytest.raises(ValueError, match="no time"):
        trtexec_text.summary(ten.replace("0.631836", "1e99"))
    with pytest.raises(ValueError, match="not supported on DLA"):
        trtexec_text.summary(stand_in_text("REFUSED"))


def test_damaged_text_and_times_never_crash() -> None:
    """Whatever is cut out or put in, there is a result or a ValueError."""
    chooser = random.Random(5)
    texts = [stand_in_text(name) for name in ("SEVEN", "EIGHT", "TEN")] + [
        stand_in_text("ON_DLA") + stand_in_text("TEN")
    ]
    times = json.dumps([{"startComputeMs": 600.0, "computeMs": 2.0}] * 3)
    outcomes = set()
    for turn in range(3000):
        source = times if turn % 4 == 0 else chooser.choice(texts)
        begin = chooser.randrange(len(source))
        part = (
            source[:begin]
            + chooser.choice(["", "\0", "9e9", "[", "\n", "NaN", "-"])
            + source[begin + chooser.randrange(9) :]
        )
        try:
            trtexec_text.samples_ns(part, 500) if turn % 4 == 0 else trtexec_text.summary(part)
            outcomes.add("read")
        except ValueError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[]", "[1]", "[" * 10**5, '[{"computeMs": 1}]', '[{"startComputeMs": 1, "computeMs": NaN}]',
        '[{"startComputeMs": 900, "computeMs": 0}]', '[{"startComputeMs": 100, "computeMs": 1}]',
    ],
)  # fmt: skip
def test_files_of_times_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        trtexec_text.samples_ns(text, 500)


FLAGS = frozenset(
    (
        "onnx", "saveEngine", "loadEngine", "timingCacheFile", "warmUp", "duration", "exportTimes", "useDLACore",
        "fp16", "int8", "calib", "noDataTransfers", "useSpinWait",
    )
)  # fmt: skip
WANTED = Wanted(warm_calls=2, warm_s=0.2, calls=16, least_s=0.3)


def told(way: Way, flags: frozenset[str] = FLAGS, wanted: Wanted = WANTED) -> list[str]:
    return trtexec.argv("trtexec", flags, "/t/a.onnx", "/t/r", wanted, Use(way=way))


def test_what_it_is_told() -> None:
    assert " ".join(told(Way(unit="gpu"))) == (
        "--warmUp=500 --duration=3 --exportTimes=/t/r --onnx=/t/a.onnx --saveEngine=/t/r.engine "
        "--timingCacheFile=/t/r.timings --noDataTransfers --useSpinWait"
    )
    assert "--int8" in told(Way(unit="gpu", precision="int8")) and "--fp16" in told(Way(unit="gpu", precision="fp16"))
    dla = told(Way(unit="npu", precision="fp16"))
    assert {"--fp16", "--useDLACore=0"} <= set(dla) and "--allowGPUFallback" not in dla
    integers = told(Way(unit="npu", precision="int8"), wanted=replace(WANTED, ranges="/t/a.ranges"))
    assert {"--int8", "--fp16", "--useDLACore=0", "--calib=/t/a.ranges"} <= set(integers)
    # A release without a file of timings takes its own each time.
    assert not [word for word in told(Way(unit="gpu"), FLAGS - {"timingCacheFile"}) if "timing" in word]
    loaded = told(Way(unit="npu", precision="fp16"), wanted=replace(WANTED, built="/t/kept.engine"))
    assert "--loadEngine=/t/kept.engine" in loaded and "--useDLACore=0" in loaded
    assert not [word for word in loaded if word.startswith(("--onnx", "--save", "--timing", "--fp16"))]


@pytest.mark.parametrize(
    ("way", "flags", "said"),
    [
        (Way(), FLAGS, "not on a CPU"),
        (Way(unit="npu"), FLAGS, "a DLA does not compute in fp32"),
        # TensorRT 11 has no such option any more.
        (Way(unit="gpu", precision="fp16"), FLAGS - {"fp16"}, "has no --fp16"),
    ],
)
def test_what_it_cannot_do_is_refused(way: Way, flags: frozenset[str], said: str) -> None:
    with pytest.raises(CannotRun, match=said):
        told(way, flags)


def test_it_is_told_from_other_programs() -> None:
    help_text = "&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --help\n" + " ".join(
        f"--{one}" for one in FLAGS
    )
    assert trtexec.tool_of(help_text) == "trtexec" and trtexec.release(help_text) == "8.5.2"
    assert trtexec.tool_of("--graph --num_runs") is None and trtexec.release("TensorRT.trtexec # trtexec") is None
    # Each program's word, its uses and the format of its files are there, or a user meets a traceback.
    assert set(PROGRAMS) == set(NATIVE) and set(NATIVE) <= set(USES) & set(FORMATS)
    assert check_use("trtexec", Way(unit="gpu", precision="int8")) is None  # type: ignore[func-returns-value]
    with pytest.raises(UsageInvalid, match="trtexec"):
        check_use("trtexec", Way())


def test_layers_that_a_dla_cannot_run_are_named() -> None:
    npu = Use(way=Way(unit="npu", precision="fp16"))
    ten = stand_in_text("TEN")
    left = "".join(stand_in_text(name) for name in ("ON_DLA", "ON_GPU", "LEFT")) + ten
    for text, said in (
        (left, "^unsupported: the npu does not run all of it, not SHUFFLE: shuffle_between, CONVOLUTION: fc6; it said"),
        (stand_in_text("REFUSED"), "^unsupported: the npu does not run all of it, not hswish"),
        (ten, "which layers run on the DLA"),
    ):
        with pytest.raises(CannotRun, match=said):
            trtexec.read(text, TIMES, WANTED, npu)
    assert trtexec.read(ten, TIMES, replace(WANTED, built="e"), npu).p10_ns == 2_000_000
    with pytest.raises(CannotRun, match="cannot be used"):
        trtexec.read(ten.replace("PASSED", "FAILED"), TIMES, WANTED, Use(way=Way(unit="gpu")))


TIMES = json.dumps([{"startComputeMs": 600.0 + place, "computeMs": 2.0} for place in range(9)]).encode()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["7", "8", "10"])
def test_each_run_builds_anew_and_what_others_are_compared_with_is_built_once(
    beside: Callable[..., Device], form: str
) -> None:
    device = beside("trtexec", form)
    hello, about = ready_runtime(device, "trtexec")
    assert (
        about.version
        == {"7": f"trtexec-{str(hello.environment['program_sha256'])[:12]}", "8": "8.4.1", "10": "10.3.0"}[form]
    )
    assert about.opset == 13 and about.units["gpu"].ready and about.units["npu"].ready
    request = {
        "do": "bench", "runtime": "trtexec", "unit": "gpu", "precision": "fp16", "threads": 1, "reference": "io",
        "items": [[0, "hot", "io"], [1, "cold", "io"]], "canaries": {"dispatch": "empty"},
        "parameters": {
            "warm_calls": 1, "hot_bursts": 1, "burst_least": 4, "reference_every": 1, "soak_s": 0, "seed": 7,
        },
    }  # fmt: skip
    rounds = []
    for _ in range(3):
        channel = device.transport.open()
        rounds.append(list(Conversation(channel, "x").ask(request, patience_s=60)))
    samples = [next(one for one in answers if isinstance(one, Sample)) for answers in rounds]
    ends = [answers[-1] for answers in rounds]
    # Builds differ, so do the times of three rounds, and the engines; the canary was the same engine both times.
    assert len({one.wall_p10_ns for one in samples}) > 1 and all(
        (one.calls, one.cpu_min_ns) == (100, None) for one in samples
    )
    assert all(one.load_ns == 12_500_000_000 for one in samples) == (form != "7")
    built = [done.state["built"]["io"] for done in ends if isinstance(done, Done)]
    assert len({tuple(one) for one in built}) == 3
    assert [len(one) for one in built] == [1 if form == "7" else 2] * 3 and all(len(sha) == 64 for sha in built[0])
    turns = [done.canaries["dispatch"] for done in ends if isinstance(done, Done)]
    assert all(turn[0].wall_min_ns == turn[1].wall_min_ns for turn in turns)
    there = Path(device.transport.shell.there)  # type: ignore[attr-defined]
    assert not list(there.glob("result-*")) and len(list(there.glob("kept-*.engine"))) == 2


@pytest.mark.slow
def test_networks_on_a_dla_make_a_table_and_one_that_is_left_to_the_gpu_a_row_without_a_time(
    beside: Callable[..., Device], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benches, "Rounds", partial(Rounds, drift_most=10.0))
    space = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
    way = Way(unit="npu", precision="fp16")
    scope = Scope(fit=3, holdout=0, rounds=3, rounds_most=3, seed=0, ops=False, again=False, memory=True, way=way)
    plan = plan_of(space, device=beside("trtexec"), runtime="trtexec", scope=scope)
    sizes = sorted(item.size_bytes for item in plan.items if item.kind == "network")
    assert plan.canaries and sizes[-1] > plan.reference.size_bytes
    files = beside("trtexec").transport.files
    others = [(files / name).stat().st_size for name in plan.canaries.values() if (files / name).exists()]
    left = max(sizes[-2], *others)
    device = beside("trtexec", fault=f"left {left}")
    lut = bench(space, device=device, runtime="trtexec", folder=tmp_path / "run", scope=scope)
    first, *_, last = sorted(lut.networks, key=lambda row: row.file_bytes or 0)
    assert first.status in ("ok", "noisy") and (last.status == "unsupported") == (sizes[-1] > left)
    assert first.lo and first.hi and first.lo < (first.ns or 0) < first.hi and first.peak_rss_kib is None
    assert lut.header.conditions == "npu-1t" and (lut.header.runtime, lut.header.precision) == ("trtexec", "fp16")
    assert lut.header.environment["calls"] == "each" and lut.header.runtime_version == "10.3.0"


def test_an_int8_network_is_taken_apart(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the package 'onnxruntime' is not installed")
    ops = ops_of(spaces.load("mobilenet_v3_tiny", channels=1, classes=10).corner("min"))
    about = Runtime(name="trtexec", version="8.5.2", ready=True, opset=13)
    data = build(ops, about, "int8")
    parts = trtexec.apart(data, "8.5.2")
    assert parts is not None and b"QuantizeLinear" not in parts[0]
    first, *lines = parts[1].decode().splitlines()
    steps = {name: bytes.fromhex(value) for name, _, value in (line.partition(": ") for line in lines)}
    assert first == "TRT-8502-EntropyCalibration2" and {"x", "y"} <= set(steps)
    # Random numbers from -2 to 2.
    assert 127 * struct.unpack(">f", steps["x"])[0] == pytest.approx(2, rel=0.02)
    with pytest.raises(CannotRun, match="does not say its release"):
        trtexec.apart(data, None)
    assert trtexec.apart(build(ops, about), None) is None


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["gpu", "npu"])
def test_integers_go_there_with_a_calibration_cache(beside: Callable[..., Device], unit: Unit, tmp_path: Path) -> None:
    way = Way(unit=unit, precision="int8")
    scope = Scope(fit=1, holdout=0, rounds=3, rounds_most=3, seed=0, ops=False, again=False, memory=False, way=way)
    space, device = spaces.load("mobilenet_v3_tiny", channels=1, classes=10), beside("trtexec")
    lut = bench(space, device=device, runtime="trtexec", folder=tmp_path / "run", scope=scope)
    assert lut.networks and all(row.ns for row in lut.networks) and lut.header.precision == "int8"
    there = Path(device.transport.shell.there)  # type: ignore[attr-defined]
    ranges = list(there.glob("*.apart.onnx.ranges"))
    assert len(ranges) >= 2 and all(path.with_name(path.name.removesuffix(".ranges")).exists() for path in ranges)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "said"), [("refused", "exit code 1"), ("no times", "no list"), ("silent", "which layers run on the DLA")]
)
def test_a_program_that_times_nothing_is_not_ready(beside: Callable[..., Device], fault: str, said: str) -> None:
    device = beside("trtexec", fault=fault)
    if fault == "silent":
        _, about = ready_runtime(device, "trtexec")
        assert not about.units["npu"].ready and said in about.units["npu"].says
        return
    with pytest.raises(MeasurementRefused) as refused:
        ready_runtime(device, "trtexec")
    assert said in refused.value.why


@pytest.mark.slow
def test_a_program_that_is_there_already_is_named_by_its_path(
    program: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program("trtexec")
    path.chmod(0o700)
    device = reached("this-computer", tmp_path / "files", runtime="trtexec", program=Path(f"device:{path}"))
    assert ready_runtime(device, "trtexec")[0].environment["program_sha256"] == sha256_file(path)
    assert not list((tmp_path / "files" / "there").glob("trtexec-*"))
    path.unlink()
    with pytest.raises(MeasurementRefused, match="cannot run a network") as refused:
        ready_runtime(device, "trtexec")
    assert "there is no program" in refused.value.why
    with pytest.raises(UsageInvalid, match="no path on device"):
        reached("this-computer", tmp_path / "files", runtime="trtexec", program=Path("device:trtexec"))
