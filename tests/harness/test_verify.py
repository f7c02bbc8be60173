"""Any model file is measured as a table is, beside what was predicted, and beside what the same network gave before."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.artefacts import Artefacts, File
from harness.inventory import Device
from harness.stats import over_rounds
from harness.verify import Anchor, measure
from ofa.errors import FileInvalid, UsageInvalid


@pytest.mark.slow
def test_files_are_measured_and_compared(device: Device, onnx_files: list[File], tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(Artefacts(device.transport.files).path(onnx_files[1].name).read_bytes())
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    seen: list[tuple[int, int]] = []
    found = measure(
        {"good": model, "broken": broken}, device=device, runtime="onnxruntime", folder=tmp_path / "verify",
        reference=onnx_files[0], predicted_ms={"good": 1.0}, rounds=2,
        on_progress=lambda done, total, text: seen.append((done, total)),
    )  # fmt: skip
    good, bad = found.verdicts
    assert good.measured_ms is not None and good.lo_ms is not None and good.hi_ms is not None
    assert 0 < good.lo_ms <= good.measured_ms <= good.hi_ms < 1.0
    assert good.error_pct == pytest.approx(100 * (1.0 - good.measured_ms) / good.measured_ms)
    assert good.as_timed_ms == good.measured_ms and found.speed == 1.0 and found.floor_pct is None
    assert bad.status == "failed" and bad.measured_ms is None and bad.error_pct is None and bad.reason
    assert seen[-1] == (1, 1) and (4, 4) in seen
    assert good.peak_rss_mib is not None and 10 < good.peak_rss_mib < 300 and bad.peak_rss_mib is None
    again = measure(
        {"good": model, "broken": broken}, device=device, runtime="onnxruntime", folder=tmp_path / "verify",
        reference=onnx_files[0], predicted_ms={"good": 2.0}, rounds=2,
    )  # fmt: skip
    assert again.verdicts[0].measured_ms == good.measured_ms and again.verdicts[0].predicted_ms == 2.0


def test_a_slower_hour_is_taken_out_by_the_anchors(stand_in: Callable[..., Device], tmp_path: Path) -> None:
    """The stand-in gives item n (n + 1) µs; the table says the anchors were a tenth faster."""
    slow = stand_in(STAND_IN_SCALE="1.1")
    store = Artefacts(slow.transport.files).store
    model = tmp_path / "model.onnx"
    model.write_bytes(b"a")
    anchors = {f"net{number}": Anchor(file=store(b"%d" % number), ns=1000 * (number + 2)) for number in range(3)}
    anchors["net1"] = dataclasses.replace(anchors["net1"], ns=3030)
    found = measure(
        {"model": model}, device=slow, runtime="onnxruntime", folder=tmp_path / "verify", reference=store(b"r"),
        anchors=anchors, predicted_ms={"model": 0.001}, rounds=3,
    )  # fmt: skip
    assert found.speed == pytest.approx(1.1, rel=1e-3)
    verdict = found.verdicts[0]
    assert verdict.measured_ms == pytest.approx(0.001, rel=2e-3) and verdict.as_timed_ms == pytest.approx(
        0.0011, rel=2e-3
    )
    assert found.floor_pct == pytest.approx(0.0, abs=0.1)
    # One of three anchors is told to be 1 % off: what that leaves open about the speed is in the interval.
    speed = over_rounds([1.1, 1.1 * 3000 / 3030, 1.1])
    assert verdict.hi_ms is not None and verdict.lo_ms is not None
    assert verdict.hi_ms / verdict.lo_ms == pytest.approx(speed.hi / speed.lo, rel=5e-3) and speed.half_width > 0.01


def test_nothing_to_verify_and_a_file_that_is_not_there(device: Device, tmp_path: Path) -> None:
    reference = Artefacts(device.transport.files).store(b"r")
    common = {"device": device, "runtime": "onnxruntime", "folder": tmp_path, "reference": reference}
    with pytest.raises(UsageInvalid):
        measure({}, **common)  # type: ignore[arg-type]
    with pytest.raises(FileInvalid):
        measure({"x": tmp_path / "absent.onnx"}, **common)  # type: ignore[arg-type]
