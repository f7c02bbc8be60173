"""What was chosen is measured under the table's own conditions, and what is measured stays so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness import plan as plans
from harness.inventory import Device
from harness.plan import Plan
from harness.session import environment, ready_runtime
from harness.ship import verify_on
from harness.tables import PLAN
from harness.verify import Verification
from ofa.errors import MeasurementRefused
from ofa.lut.format import Header, Lut

Verify = Callable[..., Verification]


@pytest.fixture
def verify(stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path) -> Verify:
    """Return a function that verifies one model beside a table which the stand-in as it usually is was measured for."""
    written = plan()
    plans.write(written, tmp_path / PLAN)
    header = Header(
        device="this-computer", runtime="onnxruntime", runtime_version="1.0", precision="fp32", conditions="cpu-1t",
        environment=environment(written, *ready_runtime(stand_in(), "onnxruntime")), protocol={}, simulated=False,
        created="2026-02-28",
    )  # fmt: skip
    lut = Lut(header=header, rows=(), networks=(), sessions=())
    (tmp_path / "model.onnx").write_bytes(b"a")

    def on(device: Device, rounds: int) -> Verification:
        models, predicted_ms = {"model": tmp_path / "model.onnx"}, {"model": 0.001}
        return verify_on(
            device, "onnxruntime", tmp_path, lut, models=models, predicted_ms=predicted_ms, rounds=rounds, seed=0
        )

    return on


@pytest.mark.slow
def test_an_updated_device_is_measured_no_more_but_keeps_what_is_done(
    verify: Verify, stand_in: Callable[..., Device]
) -> None:
    found = verify(stand_in(), rounds=2)
    assert found.verdicts[0].rounds == 2 and found.verdicts[0].measured_ms
    updated = stand_in(STAND_IN_CPU="another")
    assert verify(updated, rounds=2) == found
    for _ in range(2):
        with pytest.raises(MeasurementRefused, match="no longer as it was") as caught:
            verify(updated, rounds=3)
        assert "cpu" in caught.value.why
    assert verify(stand_in(), rounds=3).verdicts[0].rounds == 3
