"""Profiles of kinds of devices: each loads, says where its facts are from, and tells nothing of any single device."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.inventory import device_named, load_profile
from harness.places import FOLDER_VARIABLE, LAB, devices_folder, profile_names
from harness.ways import USES
from ofa.errors import FileInvalid

NAMES = profile_names()
FAR = [name for name in NAMES if load_profile(name).transport in ("ssh", "adb")]
# A title, then where it is to be read.
SOURCE = re.compile(r"[A-Za-z0-9].{5,}, .*?https?://[^\s/]+\.[a-z]+/\S+")
WEB = re.compile(r"https?://\S+")
# What would lead to one device: an IPv4 or MAC address, user@host, host:port, the word serial, or what looks like one.
TELLTALE = re.compile(
    r"\b\d{1,3}(?:\.\d{1,3}){3}\b|\b(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}\b|\S@\S|[A-Za-z][\w.-]*:\d{2,5}\b"
    r"|\b[Ss]erial(?:no)?\b|\b(?=[A-Z]*\d)[0-9A-Z]{10,}\b|\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}\b"
)


def telltales(text: str) -> list[str]:
    """Return what in a profile could lead to one device; addresses of its sources are those of pages."""
    return TELLTALE.findall(WEB.sub("", text))


def test_the_common_kinds_are_there() -> None:
    assert {"pixel-7", "galaxy-s23", "jetson-nano", "jetson-xavier-nx", "jetson-orin-nano", "jetson-agx-orin"} <= set(
        FAR
    )
    assert {"raspberry-pi-4", "raspberry-pi-5", "linux-host"} <= set(FAR)
    assert {path.stem for path in (devices_folder() / "profiles").iterdir()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_fact_says_where_it_is_from(name: str) -> None:
    for fact, told in load_profile(name).facts.items():
        assert SOURCE.fullmatch(told.source), f"{fact}: '{told.source}'"


@pytest.mark.parametrize(
    "source", ["NVIDIA", "https://nvidia.com/nano", "A data sheet, page 3", "A data sheet, http://x"]
)
def test_half_a_source_is_none(source: str) -> None:
    assert not SOURCE.fullmatch(source)


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_names_no_device(name: str) -> None:
    assert telltales((devices_folder() / "profiles" / f"{name}.toml").read_text()) == []


@pytest.mark.parametrize(
    "text",
    ["10.0.0.7", "02:42:ac:11:00:02", "lab@board", "board.local:2222", "its serial is", "28161FDH2000QB", "ce0117d4"],
)
def test_what_leads_to_a_device_is_found(text: str) -> None:
    assert telltales(f'title = "{text}"')


@pytest.mark.parametrize("name", FAR)
def test_a_kind_alone_asks_for_an_address(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(FileInvalid) as refused:
        device_named(name, tmp_path / "files")
    assert name in refused.value.what and "the lab's list" in refused.value.hints[0]
    (tmp_path / LAB).write_text(f'[devices.mine]\nkind = "{name}"\n')
    with pytest.raises(FileInvalid, match="mine"):
        device_named("mine", tmp_path / "files")


@pytest.mark.parametrize("name", FAR)
def test_nobody_measured_the_far_ones_and_each_can_run_something(name: str) -> None:
    profile = load_profile(name)
    assert not profile.measured_by_us and profile.runtimes and profile.simulation is None
    # A limit at which boards throttle already would hold nothing back.
    assert profile.calm.max_temp_c is None or 40 <= profile.calm.max_temp_c <= 70


@pytest.mark.parametrize("name", NAMES)
def test_what_a_profile_offers_can_be_used_so_on_each_of_its_units(name: str) -> None:
    for runtime, offer in load_profile(name).runtimes.items():
        for unit in offer.units:
            known = {precision for precisions in USES[runtime][unit].values() for precision in precisions}
            assert known & set(offer.precisions), f"{runtime} on the {unit} in none of its precisions"
        known = {one for unit in offer.units for precisions in USES[runtime][unit].values() for one in precisions}
        assert set(offer.precisions) <= known, f"{runtime} cannot be used in all of its precisions on any of its units"
        # A program that a kind comes with has a page that says so.
        assert offer.program is None or load_profile(name).facts[runtime].value == offer.program


def test_phones_and_jetsons_are_measured_beyond_their_cpu() -> None:
    for name in ("pixel-7", "galaxy-s23"):
        assert {"cpu", "gpu", "npu"} == set(load_profile(name).runtimes["benchmark_model"].units)
        assert load_profile(name).cores == "big"
    for name in ("jetson-nano", "jetson-xavier-nx", "jetson-orin-nano", "jetson-agx-orin"):
        assert "gpu" in load_profile(name).runtimes["trtexec"].units and load_profile(name).runtimes["trtexec"].program
    assert "int8" not in load_profile("jetson-nano").runtimes["trtexec"].precisions
