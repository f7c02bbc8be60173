"""trtexec is told what it takes and read in every form it has had; builds differ, and what a DLA leaves is an error."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.native import trtexec, trtexec_text
from harness.native.trtexec import Job
from ofa.errors import MeasurementRefused, UsageInvalid

STAND_IN = Path(__file__).parent / "stand_in_trtexec.py"
Execute = trtexec.Execute


def stand_in_text(name: str) -> str:
    """Return one of the stand-in's documented texts."""
    found: dict[str, object] = {}
    exec(compile(STAND_IN.read_text(), str(STAND_IN), "exec"), found | {"__name__": "texts"}, found)
    return str(found[name])


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    def make(**changes: object) -> Job:
        return Job(**{"model": "net.onnx", "folder": str(tmp_path), **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def execute(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Execute]:
    """Run commands on this computer, the stand-in where the program is "trtexec"."""

    def make(fault: str = "none", form: str = "10") -> Execute:
        environment = {**os.environ, "STAND_IN_FAULT": fault, "STAND_IN_FORM": form}

        def run(words: Sequence[str], timeout_s: float, max_bytes: int) -> tuple[int, str]:
            command = [sys.executable, str(STAND_IN), *words[1:]] if words[0] == "trtexec" else list(words)
            ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
            return ended.returncode, (ended.stdout + ended.stderr)[:max_bytes]

        return run

    return make


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


def test_what_it_is_told(job: Callable[..., Job]) -> None:
    told = trtexec.words("trtexec", job(precision="fp32"), 0)
    assert "--noDataTransfers" in told and "--useSpinWait" in told and not {"--fp32", "--fp16"} & set(told)
    told = trtexec.words(
        "trtexec", job(unit="npu", precision="int8", calibration="c.cache", dla_core=1, profile=True), 2
    )
    assert {"--int8", "--calib=c.cache", "--useDLACore=1", "--separateProfileRun"} <= set(told)
    assert any(word.startswith("--exportProfile=") and word.endswith("net.onnx.2.profile") for word in told)
    assert "--allowGPUFallback" not in told


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"unit": "cpu"}, "not on a CPU"),
        ({"unit": "npu", "precision": "fp32"}, "not in fp32"),
        ({"unit": "npu", "precision": "int8"}, "calibration cache"),
    ],
)
def test_what_it_cannot_do_is_refused(job: Callable[..., Job], changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageInvalid) as fault:
        trtexec.words("trtexec", job(**changes), 0)
    assert said in fault.value.why


@pytest.mark.parametrize("form", ["7", "8", "10"])
def test_the_interval_holds_what_builds_differ_by(
    job: Callable[..., Job], execute: Callable[..., Execute], form: str, tmp_path: Path
) -> None:
    found = trtexec.measure(job(), execute(form=form), device="board")
    assert [build.p10_ns for build in found.builds] == [2_000_000, 2_020_000, 2_040_000]
    assert found.ns == 2_020_000 and found.lo < 2_000_000 and found.hi > 2_040_000
    # 125 samples, the first 25 of them in the warm-up and nine times as long.
    assert {build.samples for build in found.builds} == {100} and found.p95_ns == 2_020_000
    said = trtexec.record(found)
    assert len(set(said["engines"])) == len(set(said["timing_caches"])) == 3
    assert said["engines"][0] == hashlib.sha256((tmp_path / "net.onnx.0.engine").read_bytes()).hexdigest()
    again = trtexec.measure(job(), execute(form=form), device="board")
    assert again == found, "what an earlier build left is used by the next one"


def test_a_calibration_cache_is_named_by_its_content(
    job: Callable[..., Job], execute: Callable[..., Execute], tmp_path: Path
) -> None:
    (tmp_path / "calibration").write_bytes(b"ranges")
    wanted = job(unit="npu", precision="int8", calibration=str(tmp_path / "calibration"))
    found = trtexec.measure(wanted, execute(), device="board", rebuilds=1)
    assert found.calibration_sha256 == hashlib.sha256(b"ranges").hexdigest() and found.lo == found.ns == found.hi
    with pytest.raises(MeasurementRefused, match="did not time") as fault:
        trtexec.measure(job(precision="int8", calibration=str(tmp_path / "absent")), execute(), device="board")
    assert "'absent' is not there" in fault.value.why


@pytest.mark.parametrize(
    ("fault", "unit", "said"),
    [
        ("left", "npu", "2 of its layers are left to the GPU: SHUFFLE: shuffle_between, CONVOLUTION: fc6"),
        ("silent", "npu", "which layers run on the DLA"),
        ("refused", "npu", "not supported on DLA"),
        ("no times", "gpu", "no list"),
        ("no engine", "gpu", "engine' is not there"),
    ],
)
def test_a_run_that_cannot_be_believed_is_refused(
    job: Callable[..., Job], execute: Callable[..., Execute], fault: str, unit: str, said: str
) -> None:
    with pytest.raises(MeasurementRefused) as refused:
        trtexec.measure(job(unit=unit), execute(fault), device="board")
    assert said in refused.value.why and refused.value.hints
