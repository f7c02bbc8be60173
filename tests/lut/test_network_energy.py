"""The energy of whole networks in a table: columns where something measured it, and nowhere else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ofa.errors import FileInvalid
from ofa.lut import combine, format
from ofa.lut.check import show
from ofa.lut.format import Lut, NetworkRow
from ofa.lut.rows import NETWORK_COLUMNS, NETWORK_ENERGY_COLUMNS
from ofa.lut.write import write

KNOWN: dict[str, Any] = {
    "energy_uj": 500, "energy_lo": 480, "energy_hi": 530, "energy_source": "ina3221:VDD_GPU_SOC+VDD_CPU_CV",
    "energy_averaging_ms": 100,
}  # fmt: skip


def with_energy(table: Lut, **facts: Any) -> Lut:
    first, *others = table.networks
    return dataclasses.replace(table, networks=(first._replace(**{**KNOWN, **facts}), *others)).sorted()


def test_columns_are_there_where_something_measured(table: Lut, tmp_path: Path) -> None:
    write(table, tmp_path / "without")
    assert (tmp_path / "without" / "networks.csv").read_text().split("\n")[0] == ",".join(NETWORK_COLUMNS)
    assert show(tmp_path / "without")["energy"] is None and show(tmp_path / "without")["energies"] == []
    measured = with_energy(table)
    write(measured, tmp_path / "with")
    lines = (tmp_path / "with" / "networks.csv").read_text().splitlines()
    assert lines[0] == ",".join([*NETWORK_COLUMNS, *NETWORK_ENERGY_COLUMNS])
    assert sum(line.endswith(",500,480,530,ina3221:VDD_GPU_SOC+VDD_CPU_CV,100") for line in lines) == 1
    assert all(line.endswith(",,,,,") for line in lines[1:] if "ina3221" not in line)
    found = format.read(tmp_path / "with")
    assert found == measured and found.energy_sources == ("ina3221:VDD_GPU_SOC+VDD_CPU_CV",)
    facts = show(tmp_path / "with")
    assert facts["energy"] == {"networks": 1, "source": [KNOWN["energy_source"]], "averaging_ms": [100]}
    (row,) = facts["energies"]
    assert (row["mj"], row["lo_mj"], row["hi_mj"]) == (0.5, 0.48, 0.53)


def test_how_long_a_reading_reaches_back_may_be_unknown(table: Lut, tmp_path: Path) -> None:
    measured = with_energy(table, energy_averaging_ms=None)
    write(measured, tmp_path / "table")
    assert format.read(tmp_path / "table") == measured
    assert show(tmp_path / "table")["energy"]["averaging_ms"] == "unknown"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "outside its interval": ({"energy_uj": 5}, "must lie between"),
    "half an interval": ({"energy_hi": None}, "must lie between"),
    "no source": ({"energy_source": None, "energy_averaging_ms": None}, "must be there together"),
    "a source of nothing": (dict.fromkeys(("energy_uj", "energy_lo", "energy_hi")), "must be there together"),
    "averaging of nothing": ({**dict.fromkeys(KNOWN), "energy_averaging_ms": 5}, "nothing averages"),
    "a source of two fields": ({"energy_source": "a,b"}, "energy_averaging_ms is 'b'"),
    "a source with a space": ({"energy_source": "a b"}, "energy_source is 'a b'"),
}


@pytest.mark.parametrize(("facts", "says"), WRONG.values(), ids=WRONG)
def test_what_contradicts_itself_is_not_written(facts: dict[str, Any], says: str, table: Lut, tmp_path: Path) -> None:
    with pytest.raises(FileInvalid) as caught:
        write(with_energy(table, **facts), tmp_path / "table")
    assert says in caught.value.why and "networks.csv" in caught.value.what
    assert not (tmp_path / "table").exists()


SPOILT: dict[str, tuple[Callable[[str], str], str]] = {
    "some of the columns": (lambda text: text.replace(",energy_averaging_ms", "", 1), "optional ones come all or none"),
    "no energy in its columns": (
        lambda text: text.replace("500,480,530,ina3221:VDD_GPU_SOC+VDD_CPU_CV,100", ",,,,"), "no line has any"
    ),
    "a sign": (lambda text: text.replace(",500,480", ",-500,480"), "energy_uj is '-500'"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "says"), SPOILT.values(), ids=SPOILT)
def test_spoilt_columns_are_named(change: Callable[[str], str], says: str, table: Lut, tmp_path: Path) -> None:
    write(with_energy(table), tmp_path / "table")
    contents = {path.name: path.read_bytes() for path in (tmp_path / "table").iterdir()}
    contents["networks.csv"] = change(contents["networks.csv"].decode()).encode()
    with pytest.raises(FileInvalid) as caught:
        format.parse(contents, tmp_path / "table")
    assert says in caught.value.why


def test_of_two_energies_the_narrower_is_kept(table: Lut) -> None:
    first = table.networks[1]._replace(rounds=30, **KNOWN)
    second = first._replace(energy_uj=520, energy_lo=515, energy_hi=525, energy_source="meter", energy_averaging_ms=20)
    for one, other in ((first, second), (second, first)):
        found = combine.combine(one, other, "s3").row
        assert isinstance(found, NetworkRow)
        assert (found.energy_uj, found.energy_source, found.energy_averaging_ms) == (520, "meter", 20)
    nothing: dict[str, Any] = dict.fromkeys(KNOWN)
    without = first._replace(**nothing)
    for one, other in ((first, without), (without, first)):
        found = combine.combine(one, other, "s3").row
        assert isinstance(found, NetworkRow) and found[-5:] == tuple(KNOWN.values())
    found = combine.combine(without, without, "s3").row
    assert isinstance(found, NetworkRow) and found[-5:] == (None,) * 5
