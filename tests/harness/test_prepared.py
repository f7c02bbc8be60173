"""A bench tunes a device only as asked, says so in the table, puts it back whatever happens, and finds what was
left."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from boards import board

import ofa.space as spaces
from harness import campaign
from harness import tuning as tunings
from harness.bench import Scope
from harness.inventory import Device, simulated
from harness.lab import FOLDER_VARIABLE
from harness.native.shell import LocalShell
from harness.native.transport import Native
from harness.tuning import Tuning, of_words, prepared, tuned
from ofa.errors import DeviceLost, MeasurementRefused, UsageInvalid
from ofa.lut.format import read

POLICY = "sys/devices/system/cpu/cpufreq/policy0"
LEAVES = ("scaling_governor", "scaling_min_freq", "scaling_max_freq")
FREE = dict(zip(LEAVES, ("schedutil", "115200", "1728000"), strict=True))
HELD = dict(zip(LEAVES, ("performance", "1728000", "1728000"), strict=True))
BOTH = Tuning(performance=True, lock=True)
SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
SCOPE = Scope(
    fit=0, holdout=0, rounds=1, rounds_most=1, seed=0, again=False, memory=False, ops=False,
    subnets=(SPACE.corner("min"),),
)  # fmt: skip


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep records out of the settings of whoever runs this."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "lab"))
    return tmp_path / "lab" / "tuned"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = board("jetson-orin-jp6", tmp_path / "orin")
    for leaf, value in FREE.items():
        (root / POLICY / leaf).write_text(value + "\n")
    return root


@pytest.fixture
def orin(root: Path, device: Device) -> Device:
    """Return this computer, its agent reading the tree of an Orin whose clocks are free."""
    variables = {**device.transport.environment, "OFA_AGENT_ROOT": str(root)}  # type: ignore[attr-defined]
    return replace(device, transport=replace(device.transport, environment=variables))  # type: ignore[type-var]


def settings(root: Path) -> dict[str, str]:
    return {leaf: (root / POLICY / leaf).read_text().strip() for leaf in LEAVES}


def measured(
    device: Device,
    out: Path,
    tuning: Tuning | None,
    *,
    resume: bool = False,
    on_text: Callable[[str], None] = lambda text: None,
    scope: Scope = SCOPE,
) -> dict[str, Any]:
    return campaign.measured(
        SPACE, device, "onnxruntime", scope, out, resume=resume, tuning=tuning,
        on_progress=lambda done, total, text: on_text(text),
    )  # fmt: skip


def left_behind(device: Device, record: Path) -> None:
    """Tune a device and vanish, as a host does that is killed."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit), tuned(device, BOTH, record):
        patch.setattr(tunings, "put_back", lambda *words: sys.exit())
        sys.exit()


@pytest.mark.slow
def test_the_device_is_tuned_while_it_is_measured_and_the_table_says_so(
    orin: Device, root: Path, lab: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnx", reason="the package 'onnx' is not installed")
    seen: list[dict[str, str]] = []
    measured(orin, tmp_path / "run", BOTH, on_text=lambda text: seen.append(settings(root)))
    assert seen and all(one == HELD for one in seen) and settings(root) == FREE
    assert not list(lab.glob("*.json"))
    header = read(tmp_path / "run" / "lut").header
    assert header.environment["tuned"] == {
        "asked": {"governor": "performance", "lock": True},
        "observed": {f"{POLICY}/{leaf}": value for leaf, value in HELD.items()},
    }
    assert header.conditions == "cpu-1t-mode_30w-performance-locked"
    measured(orin, tmp_path / "free", None, on_text=lambda text: seen.append(settings(root)))
    free = read(tmp_path / "free" / "lut").header
    assert "tuned" not in free.environment and free.conditions == "cpu-1t-mode_30w" and seen[-1] == FREE
    assert free.environment_id != header.environment_id


@pytest.mark.slow
def test_ctrl_c_and_faults_put_it_back_and_nobody_goes_on_untuned(orin: Device, root: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the package 'onnx' is not installed")

    def stop(fault: BaseException) -> Callable[[str], None]:
        def told(text: str) -> None:
            if text.startswith("round"):
                assert settings(root) == HELD
                raise fault

        return told

    # A round may be over before it is first told of: three leave the last run something to do.
    long = replace(SCOPE, rounds=3, rounds_most=3)
    for fault in (KeyboardInterrupt(), DeviceLost("the link is down")):
        with pytest.raises(type(fault)):
            measured(orin, tmp_path / "run", BOTH, resume=True, on_text=stop(fault), scope=long)
        assert settings(root) == FREE
    with pytest.raises(MeasurementRefused, match="no longer as it was") as caught:
        measured(orin, tmp_path / "run", None, resume=True, scope=long)
    assert "tuned" in caught.value.why
    measured(orin, tmp_path / "run", BOTH, resume=True, scope=long)
    assert settings(root) == FREE and len(read(tmp_path / "run" / "lut").networks) == 1


@pytest.mark.slow
def test_what_was_left_is_put_back_without_the_option_and_told(
    orin: Device, root: Path, lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left_behind(orin, tmp_path / "of-another-host.json")
    assert settings(root) == HELD
    with prepared(orin, None, "onnxruntime") as ready:
        assert settings(root) == FREE and ready.tuned is None
    said = " ".join(capsys.readouterr().err.split())
    assert "put back what an earlier run had changed on device 'this-computer'" in said and "schedutil" in said
    with prepared(orin, None, "onnxruntime"):
        pass
    assert "put back" not in capsys.readouterr().err
    # A host that comes back with its own record finds that another has been there.
    left_behind(orin, lab / "this-computer.json")
    (orin.transport.files / "tuning-saved.json").unlink()
    with prepared(orin, BOTH, "onnxruntime"):
        assert settings(root) == HELD
    assert settings(root) == FREE and not list(lab.glob("*.json"))


@pytest.mark.slow
def test_another_process_that_has_tuned_it_is_left_alone(orin: Device, root: Path, lab: Path, tmp_path: Path) -> None:
    left_behind(orin, lab / "this-computer.json")
    code = "import sys, pathlib\nfrom ofa.lock import alone\n"
    code += f"with alone(pathlib.Path({str(lab)!r}), 'this-computer.json'):\n"
    other = subprocess.Popen(
        [sys.executable, "-c", code + "    print('held', flush=True)\n    sys.stdin.read()\n"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        for tuning in (None, BOTH):
            with (
                pytest.raises(MeasurementRefused, match="tuned by another process"),
                prepared(orin, tuning, "onnxruntime"),
            ):
                raise AssertionError("it was measured")
        assert settings(root) == HELD
    finally:
        other.communicate(timeout=30)
    with prepared(orin, None, "onnxruntime"):
        assert settings(root) == FREE


def test_a_simulated_device_changes_nothing_of_this_computer(tmp_path: Path) -> None:
    phone = simulated(tmp_path / "files", own_process=False)
    with pytest.raises(MeasurementRefused, match="cannot be tuned") as caught, prepared(phone, BOTH, "simulated"):
        raise AssertionError("it was tuned")
    assert "it is simulated" in caught.value.why


def test_a_program_beside_a_device_changes_nothing(orin: Device, root: Path) -> None:
    with (
        pytest.raises(MeasurementRefused, match="cannot be tuned"),
        prepared(orin, BOTH, "benchmark_model"),
    ):
        raise AssertionError("it was tuned")
    with prepared(orin, None, "benchmark_model") as ready:
        assert ready is orin and settings(root) == FREE


@pytest.mark.slow
def test_a_program_beside_a_board_finds_what_was_left_there(
    orin: Device, root: Path, lab: Path, tmp_path: Path
) -> None:
    left_behind(orin, lab / "this-computer.json")
    assert settings(root) == HELD
    shell = LocalShell(device=orin.name, folder=tmp_path / "there")
    way = Native(
        device=orin.name, shell=shell, runtime="trtexec", program=tmp_path / "trtexec", files=tmp_path,
        agent_there=orin.transport,
    )  # fmt: skip
    with prepared(replace(orin, transport=way), None, "trtexec") as ready:
        assert ready.transport is way and ready.tuned is None and settings(root) == FREE


def test_words_say_what_is_changed() -> None:
    assert of_words([]) is None
    assert of_words(["performance", "lock"]) == BOTH
    assert of_words(["jetson-clocks", "power-mode=MODE_15W", "fixed-performance"]) == Tuning(
        jetson_clocks=True, power_mode="MODE_15W", fixed_performance=True
    )
    for word in ("governor", "power-mode=", "power-mode=a b", "power-mode", "", "performnce"):
        with pytest.raises(UsageInvalid, match="names nothing that is changed") as caught:
            of_words(["lock", word])
        assert "power-mode=NAME" in caught.value.why
    assert caught.value.hints == ("did you mean 'performance'?",)


@pytest.mark.slow
def test_the_command_says_what_it_takes(run: Any, tmp_path: Path) -> None:
    line = ["bench", "--space", "mobilenet_v3_tiny", "--runtime", "simulated", "--device", "simulated-phone"]
    code, _, err = run(*line, "--out", str(tmp_path / "run"), "--allow-tuning", "turbo")
    assert code == 2 and "power-mode=NAME" in err and not (tmp_path / "run").exists()
    code, _, err = run(*line, "--out", str(tmp_path / "run"), "--allow-tuning", "lock")
    assert code == 5 and "it is simulated" in err
