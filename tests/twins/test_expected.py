"""The latency to expect of a network: as it was measured, or by the table's twin with an interval, or the plain sum."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ofa.errors import UsageInvalid
from ofa.lut import write
from ofa.space import sample
from ofa.twins import expected

from .test_tables import TINY, table


def test_a_network_that_was_measured_is_as_it_was_measured() -> None:
    lut = table(20)
    row = lut.networks[7]
    assert row.ns is not None
    found = expected.latency(lut, TINY.subnet(bytes.fromhex(row.genome)))
    assert (found.source, found.coverage) == ("measured", 0.95)
    assert found.ms == found.lo_ms == found.hi_ms == row.ns / 1e6


@pytest.mark.slow
def test_another_one_is_as_the_twin_predicts_with_an_interval() -> None:
    """Made-up networks take 1.25 times their sum, give or take a tenth. Of 24 ratios the least and the largest bound a
    new one in 23 of 25 cases."""
    rng = np.random.default_rng(1)
    lut = table(30)
    noisy = [row._replace(ns=round((row.ns or 0) * rng.uniform(0.9, 1.1))) for row in lut.networks]
    lut = dataclasses.replace(lut, networks=tuple(noisy))
    subnet = TINY.subnet(sample.random(TINY, 1, np.random.default_rng(5))[0])
    found = expected.latency(lut, subnet)
    assert found.source == "twin" and found.coverage == pytest.approx(23 / 25)
    assert found.lo_ms is not None and found.hi_ms is not None and found.lo_ms < found.ms < found.hi_ms
    assert found.ms == pytest.approx(1.25 * expected._sum(lut, subnet).ms, rel=0.05)
    assert 0.1 < found.hi_ms / found.lo_ms - 1 < 0.35


def test_without_networks_it_is_the_sum_of_rows() -> None:
    lut = dataclasses.replace(table(3), networks=())
    subnet = TINY.corner("min")
    found = expected.latency(lut, subnet)
    assert (found.source, found.coverage) == ("sum", None) and found.ms == found.lo_ms == found.hi_ms


def test_a_stale_table_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write.write(table(3), tmp_path / "lut", allow_simulated=True)
    monkeypatch.setattr("ofa.lut.shelf.warnings", lambda path: [f"'{path.name}' is stale"])
    assert expected.expected(tmp_path, TINY.corner("min"), format="tflite", precision="fp32")["device"] == "board"
    assert "warning: 'lut' is stale" in capsys.readouterr().err


def test_tables_of_other_files_are_refused(tmp_path: Path) -> None:
    write.write(table(3), tmp_path / "lut", allow_simulated=True)
    subnet = TINY.corner("min")
    found = expected.expected(tmp_path, subnet, format="tflite", precision="fp32")
    assert found["device"] == "board" and found["runtime"] == "litert 2" and found["simulated"] is True
    assert found["environment"] == {"threads": 1} and found["precision_assumed"] is False
    with pytest.raises(UsageInvalid, match="says nothing of onnx files"):
        expected.expected(tmp_path / "lut", subnet, format="onnx", precision="fp32")
    with pytest.raises(UsageInvalid, match="precisions differ"):
        expected.expected(tmp_path / "lut", subnet, format="tflite", precision="int8")
