"""What only phones say of themselves, and their big cores: the program runs here, and the phone's words are made up."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import pytest

from harness.gate import hottest_c
from harness.inventory import Device
from harness.native import facts
from harness.native.phone import Phone
from harness.plan import Way
from harness.prepare import on_cores
from harness.protocol import Conversation, Done
from harness.session import environment_of, ready_runtime
from ofa.errors import MeasurementRefused

HERE = sorted(os.sched_getaffinity(0))
HEAT = """IsStatusOverride: false
Thermal Status: 1
Current temperatures from HAL:
        Temperature{mValue=41.5, mType=0, mName=AP, mStatus=0}
"""
BATTERY = "status: 3\nlevel: 80\nscale: 100\npresent: true\ntemperature: 301\nUSB powered: false\nAC powered: false\n"
GETPROP = "[ro.product.model]: [A made-up phone]\n[ro.build.version.sdk]: [34]\n"


def phone(heat: str = HEAT, cores: str | None = None) -> Callable[[Sequence[str]], str | None]:
    """Return a phone's answers; the last core that this process may use is its big one."""
    small, big = HERE[:-1], HERE[-1]
    usual = f"policy={big}=2400000\n" + (f"policy={' '.join(map(str, small))}=1800000\n" if small else "")
    said = {"getprop": GETPROP, "thermalservice": heat, "battery": BATTERY, "sh": usual if cores is None else cores}
    return lambda words: said[words[-1] if words[0] == "dumpsys" else words[0]]


@pytest.mark.slow
@pytest.mark.skipif(len(HERE) < 2, reason="one core alone is neither big nor little")
def test_a_program_runs_on_a_phones_big_cores_and_the_gate_sees_its_heat(beside: Callable[..., Device]) -> None:
    device = beside(ask=phone())
    hello, runtime = ready_runtime(device, "benchmark_model")
    environment, state = hello.environment, hello.state
    assert environment["tiers"].split()[0] == str(HERE[-1]) and f"{HERE[-1]}@2400000" in environment["clusters"]
    assert (environment["model"], environment["sdk"]) == ("A made-up phone", "34")
    assert hottest_c(state) == 41.5 and (state["thermal_status"], state["battery_pct"]) == (1, 80)
    way = on_cores(device, hello, Way())
    assert way.cores == "big" and on_cores(device, hello, Way(cores="all")).cores == "all"
    said = environment_of(hello, runtime, way, "burst")
    assert said["pinned"] == "big cores" and said["cores"] == environment["cores"]
    assert environment_of(hello, runtime, Way(cores="all"), "burst")["pinned"] == "no"
    request = {
        "do": "bench", "runtime": "benchmark_model", "threads": 1, "cores": "big", "reference": "io",
        "items": [[0, "hot", "io"]],
        "parameters": {
            "warm_calls": 1, "hot_bursts": 1, "burst_least": 4, "reference_every": 2, "soak_s": 0, "seed": 7,
        },
    }  # fmt: skip
    done = list(Conversation(device.transport.open(), "x").ask(request, patience_s=60))[-1]
    assert isinstance(done, Done) and done.state["cores"] == str(HERE[-1]) and done.state["battery_c"] == 30.1


@pytest.mark.slow
def test_where_nobody_can_tell_the_big_cores_no_program_is_pinned(beside: Callable[..., Device]) -> None:
    device = beside(ask=phone(cores=""))
    hello, _ = ready_runtime(device, "benchmark_model")
    assert (hello.environment["pinned"], hello.environment["clusters"]) == ("no", "unreadable")
    assert "tiers" not in hello.environment and on_cores(device, hello, Way(cores="big")).cores == "all"
    with pytest.raises(MeasurementRefused, match="on its little cores"):
        on_cores(device, hello, Way(cores="little"))


def test_a_phone_whose_heat_is_overridden_is_not_measured(beside: Callable[..., Device]) -> None:
    device = beside(ask=phone("IsStatusOverride: true\n"))
    with pytest.raises(MeasurementRefused, match="how hot"):
        Conversation(device.transport.open(), device.name).greet()


def test_sensors_that_files_tell_count_where_android_tells_none() -> None:
    files = {"temperature_c": {"soc": 50.0}, "load_1min": 1.0}
    one = Phone(device="x", ask=phone("Thermal Status: 0\n"))
    assert one.state(files)["temperature_c"] == {"soc": 50.0} and one.state(files)["load_1min"] == 1.0
    assert Phone(device="x", ask=phone()).state(files)["temperature_c"] == {"AP": 41.5}


def test_a_zone_that_is_no_sensor_is_not_the_hottest() -> None:
    zones = {"0": ("CPU-therm", "31500"), "1": ("PMIC-Die", "100000"), "2": ("GPU-therm", "-256000")}
    files = {
        f"/sys/class/thermal/thermal_zone{number}/{leaf}": value
        for number, pair in zones.items() for leaf, value in zip(("type", "temp"), pair, strict=True)
    }  # fmt: skip
    found = facts.state(files)["temperature_c"]
    assert found == {"CPU-therm": 31.5, "PMIC-Die": "unreadable", "GPU-therm": "unreadable"}


def test_more_threads_get_more_clusters() -> None:
    one = Phone(device="x", ask=phone(cores="policy=0-3=1800000\npolicy=4-6=2400000\npolicy=7=2900000\n"))
    assert [one.mask(threads, "big") for threads in (1, 2, 4, 8)] == ["80", "f0", "f0", "ff"]
    assert [one.mask(threads, "little") for threads in (1, 5, 8)] == ["f", "7f", "ff"]
    assert one.environment(may_pin=True)["tiers"] == "7 4-6 0-3" and "tiers" not in one.environment(may_pin=False)
