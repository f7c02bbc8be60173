"""What a phone says about itself becomes readings or "unreadable", whatever it says."""

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import run

import pytest

from harness.transport.android import (
    UNREADABLE,
    Cluster,
    battery,
    clusters,
    cores_for,
    listed,
    properties,
    taskset_mask,
    thermal,
    tiers,
)
from ofa.errors import MeasurementRefused

# Of a Samsung A52 5G with Android 12, shortened: android.stackexchange.com/questions/246774
THERMAL = """IsStatusOverride: false
ThermalEventListeners:
        callbacks: 1
        killed: false
        broadcasts count: -1
Thermal Status: 0
Cached temperatures:
        Temperature{mValue=0.0, mType=2, mName=SUBBAT, mStatus=0}
        Temperature{mValue=31.0, mType=0, mName=AP, mStatus=0}
        Temperature{mValue=25.7, mType=5, mName=PA, mStatus=0}
HAL Ready: true
HAL connection:
        ThermalHAL 2.0 connected: yes
Current temperatures from HAL:
        Temperature{mValue=25.6, mType=0, mName=AP, mStatus=0}
        Temperature{mValue=23.8, mType=2, mName=BAT, mStatus=0}
        Temperature{mValue=0.0, mType=4, mName=USB, mStatus=0}
Current cooling devices from HAL:
Temperature static thresholds from HAL:
"""
# Of a Samsung phone in 2018, shortened: gh0st.tistory.com/6
BATTERY = """Current Battery Service state:
mBootCompleted: true
AC powered: false
USB powered: true
Wireless powered: false
Max charging current: 0
status: 2
health: 2
present: true
level: 84
scale: 100
voltage: 4063
temperature: 326
technology: Li-ion
"""
# The form of getprop on Android; the values are made up, but for their kind.
GETPROP = """[dalvik.vm.heapsize]: [512m]
[persist.sys.note]: [two
lines]
[ro.boot.serialno]: [R5CT000SECRET]
[ro.build.fingerprint]: [google/shiba/shiba:14/UQ1A.231205.015/11084887:user/release-keys]
[ro.build.version.release]: [14]
[ro.build.version.sdk]: [34]
[ro.product.cpu.abilist]: [arm64-v8a]
[ro.product.model]: [Pixel 8]
[ro.serialno]: [R5CT000SECRET]
[ro.soc.model]: []
[ro.board.platform]: [zuma]
"""
NOTHING = {"battery_pct": UNREADABLE, "battery_c": UNREADABLE, "battery_status": UNREADABLE, "powered_by": UNREADABLE}


def saying(text: str | None) -> Callable[[Sequence[str]], str | None]:
    return lambda words: text


def test_properties_are_those_of_the_kind() -> None:
    facts = properties(saying(GETPROP))
    assert facts == {
        "model": "Pixel 8", "fingerprint": "google/shiba/shiba:14/UQ1A.231205.015/11084887:user/release-keys",
        "soc": "zuma", "abis": "arm64-v8a", "sdk": "34", "android": "14",
    }  # fmt: skip
    assert "SECRET" not in str(facts)


def test_properties_that_are_not_there_are_unreadable() -> None:
    assert set(properties(saying(None)).values()) == {UNREADABLE}
    hostile = properties(saying("[ro.product.model]: [\x1b[2J" + "x" * 5000 + "]\n"))["model"]
    assert isinstance(hostile, str) and len(hostile) == 200 and "\x1b" not in hostile


def test_what_the_hardware_says_now_is_preferred_and_zero_is_no_temperature() -> None:
    assert thermal(saying(THERMAL), "p") == {"thermal_status": 0, "temperature_c": {"AP": 25.6, "BAT": 23.8}}
    cached = THERMAL.replace("Current temperatures from HAL:", "Something else:").replace("Ready: true", "Ready: false")
    assert thermal(saying(cached), "p")["temperature_c"] == {"AP": 31.0, "PA": 25.7}


def test_what_is_listed_among_the_sensors_and_is_no_temperature_does_not_heat_a_phone() -> None:
    """Types 6 to 8 are what the battery gives: volts, amperes, and percent (as phones of Google and Qualcomm list)."""
    found = THERMAL.replace(
        "Temperature{mValue=25.6, mType=0, mName=AP, mStatus=0}",
        "Temperature{mValue=25.6, mType=0, mName=AP, mStatus=0}\n"
        "        Temperature{mValue=88.0, mType=8, mName=socd, mStatus=0}\n"
        "        Temperature{mValue=4.285, mType=6, mName=vbat, mStatus=0}\n"
        "        Temperature{mValue=120.0, mType=7, mName=ibat, mStatus=0}\n"
        "        Temperature{mValue=61.000004, mType=9, mName=TPU, mStatus=0}\n"
        "        Temperature{mValue=22.279001, mType=-1, mName=qi_therm, mStatus=0}\n"
        "        Temperature{mValue=5.0E-4, mType=3, mName=skin, mStatus=0}",
    )
    sensors = {"AP": 25.6, "BAT": 23.8, "TPU": 61.000004, "qi_therm": 22.279001}
    assert thermal(saying(found), "p")["temperature_c"] == sensors


@pytest.mark.parametrize("text", [None, "", "Can't find service: thermalservice\n", "Thermal Status: 9\n"])
def test_a_phone_without_a_thermal_service_is_unreadable(text: str | None) -> None:
    assert thermal(saying(text), "p") == {"thermal_status": UNREADABLE, "temperature_c": UNREADABLE}


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e9", "-274.0", "9999", "0.0", ""])
def test_a_sensor_that_reads_nothing_is_left_out(value: str) -> None:
    text = f"Cached temperatures:\nTemperature{{mValue={value}, mType=0, mName=AP, mStatus=0}}\n"
    assert thermal(saying(text), "p")["temperature_c"] == UNREADABLE


def test_an_overridden_status_is_refused() -> None:
    with pytest.raises(MeasurementRefused, match="how hot") as refusal:
        thermal(saying(THERMAL.replace("Override: false", "Override: true")), "p")
    assert "thermalservice reset" in str(refusal.value)


def test_the_battery_is_read_in_tenths_of_a_degree() -> None:
    assert battery(saying(BATTERY)) == {
        "battery_pct": 84, "battery_c": 32.6, "battery_status": "charging", "powered_by": "usb",
    }  # fmt: skip
    unplugged = battery(saying(BATTERY.replace("USB powered: true", "USB powered: false")))
    assert unplugged["powered_by"] == "battery"


@pytest.mark.parametrize(
    "text",
    [
        None, "", BATTERY.replace("present: true", "present: false"),
        # What BatteryService of Android's sources prints once somebody has set a value.
        BATTERY.replace("state:\n", "state:\n  (UPDATES STOPPED -- use 'reset' to restart)\n"),
    ],
    ids=["failed", "empty", "absent", "faked"],
)  # fmt: skip
def test_a_battery_that_nobody_can_tell_about(text: str | None) -> None:
    assert battery(saying(text)) == NOTHING


def test_a_battery_at_zero_degrees_is_one_without_a_sensor() -> None:
    assert battery(saying(BATTERY.replace("temperature: 326", "temperature: 0")))["battery_c"] == UNREADABLE


def tree(root: Path, policies: Mapping[str, tuple[str, str | None]], capacities: Mapping[int, int]) -> str:
    """Lay out sysfs as the kernel does and return its folder."""
    for name, (cpus, khz) in policies.items():
        (root / "cpufreq" / name).mkdir(parents=True)
        (root / "cpufreq" / name / "related_cpus").write_text(cpus + "\n")
        if khz is not None:
            (root / "cpufreq" / name / "cpuinfo_max_freq").write_text(khz + "\n")
    for cpu, capacity in capacities.items():
        (root / f"cpu{cpu}").mkdir()
        (root / f"cpu{cpu}" / "cpu_capacity").write_text(f"{capacity}\n")
    root.mkdir(exist_ok=True)
    return str(root)


def here(words: Sequence[str]) -> str | None:
    done = run(list(words), capture_output=True, text=True, timeout=30)
    return done.stdout if done.returncode == 0 else None


# Four small, four middle and one big core, as in a Pixel 8 (Tensor G3); the numbers are of their size.
THREE = {"policy0": ("0 1 2 3", "1704000"), "policy4": ("4-7", "2367000"), "policy8": ("8", "2914000")}


def test_big_cores_are_those_of_the_fastest_clusters(tmp_path: Path) -> None:
    small_first = {cpu: 160 for cpu in range(4)} | {cpu: 670 for cpu in range(4, 8)} | {8: 1024}
    found = clusters(here, tree(tmp_path / "cpu", THREE, small_first))
    assert [cluster.cpus for cluster in found] == [(0, 1, 2, 3), (4, 5, 6, 7), (8,)]
    assert found[1] == Cluster(cpus=(4, 5, 6, 7), max_khz=2367000, capacity=670)
    kinds = tiers(found)
    assert kinds == [(8,), (4, 5, 6, 7), (0, 1, 2, 3)] and list(map(listed, kinds)) == ["8", "4-7", "0-3"]
    assert cores_for(kinds, 1) == (8,) and taskset_mask(cores_for(kinds, 1)) == "100"
    assert cores_for(kinds, 4) == (4, 5, 6, 7, 8) and taskset_mask(cores_for(kinds, 4)) == "1f0"
    assert cores_for(kinds, 1, "little") == (0, 1, 2, 3) and cores_for(kinds, 6, "little") == tuple(range(8))


def test_cores_of_nearly_one_speed_are_of_one_kind(tmp_path: Path) -> None:
    near = {"policy0": ("0-3", "2800000"), "policy4": ("4-7", "2900000")}
    assert tiers(clusters(here, tree(tmp_path / "cpu", near, {}))) == [tuple(range(8))]


def test_without_capacities_the_highest_clock_counts(tmp_path: Path) -> None:
    assert tiers(clusters(here, tree(tmp_path / "cpu", THREE, {})))[0] == (8,)
    # One cluster with a capacity says nothing about the others.
    assert tiers(clusters(here, tree(tmp_path / "some", THREE, {0: 1024})))[0] == (8,)


def test_where_nothing_can_be_read_no_core_is_big(tmp_path: Path) -> None:
    hidden = {"policy0": ("0-3", None), "policy4": ("4-7", "2000000")}
    assert tiers(clusters(here, tree(tmp_path / "cpu", hidden, {}))) == []
    assert clusters(here, str(tmp_path / "none")) == () and tiers(()) == [] and cores_for([], 1) == ()
    assert taskset_mask(()) == UNREADABLE
    assert clusters(saying("policy=0-99999999=1=\npolicy=9-3=5\npolicy=²=1\ncpu²=5\n")) == ()


def test_readers_take_anything() -> None:
    source = random.Random(7)
    texts = [GETPROP, BATTERY, THERMAL, "policy=0 1=5\ncpu0=7=\n"]
    for _ in range(500):
        text = list(source.choice(texts))
        for _ in range(source.randrange(1, 20)):
            text[source.randrange(len(text))] = source.choice("[]{}:=\n\x00\x1b9²é- ")
        ask = saying("".join(text))
        for read in (properties, battery, clusters):
            read(ask)
        try:
            thermal(ask, "p")
        except MeasurementRefused:
            continue
