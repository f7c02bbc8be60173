"""What the agent reads of whole boards, from trees recorded as text: each reading a value or the word."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boards import BOARDS, board

Inside = Callable[[str], Any]
READ = "import probe; print(json.dumps([probe.environment({0!r}), probe.state({0!r})]))"


@pytest.fixture
def read(inside: Inside, tmp_path: Path) -> Callable[[str], tuple[dict[str, Any], dict[str, Any]]]:
    def one(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        environment, state = inside(READ.format(str(board(name, tmp_path))))
        assert environment["simulated"] == "a recorded tree, no device"
        return environment, state

    return one


def test_a_bare_container_keeps_the_environment_it_had(read: Callable[[str], Any]) -> None:
    environment, state = read("bare-container")
    assert set(environment) - {"simulated"} == {
        "machine", "board", "cpu", "cores", "governor", "max_khz", "memory_gib", "kernel", "os", "python",
    }  # fmt: skip
    assert environment["governor"] == environment["max_khz"] == environment["board"] == "unreadable"
    assert state["load_1min"] == 0.1 and state["memory_available_mib"] == 11718
    words = ("clusters", "smt", "temperature_c", "cooling", "throttling", "battery", "rails_mw", "energy_source")
    assert {state[name] for name in (*words, "boot_id", "thermal_override")} == {"unreadable"}


def test_a_laptop(read: Callable[[str], Any]) -> None:
    environment, state = read("x86-laptop")
    assert (environment["boost"], environment["governor"], environment["max_khz"]) == ("on", "powersave", "4200000")
    assert not {"locked_khz", "l4t", "power_mode", "locked_gpu_hz"} & set(environment)
    assert state["smt"] == "on" and state["boot_id"].startswith("0f0e0d0c")
    assert state["clusters"] == {
        "policy0": {
            "governor": "powersave", "least_khz": 400000, "most_khz": 4200000, "current_khz": [1900000, 1900000],
            "hardware_least_khz": 400000, "hardware_most_khz": 4200000, "cpus": "0 1",
        }
    }  # fmt: skip
    assert state["temperature_c"] == {"acpitz": 45.0, "x86_pkg_temp": 51.0}
    assert (state["cooling"], state["cooling_most"]) == ({"0.Processor": 0}, {"0.Processor": 10})
    assert state["throttling"] == {"core_throttle_count": 7, "package_throttle_count": 12}
    assert state["battery"] == {
        "BAT0": {
            "status": "Discharging", "capacity_percent": 83, "temperature_c": "unreadable",
            "current_ua": "unreadable", "voltage_uv": 8210000,
        }
    }  # fmt: skip
    assert state["energy_source"] == "rapl:package-0"


def test_a_jetson_nano(read: Callable[[str], Any]) -> None:
    environment, state = read("jetson-nano-jp4")
    assert (environment["board"], environment["l4t"]) == ("NVIDIA Jetson Nano Developer Kit", "32.7.4")
    assert environment["power_mode"] == "MAXN" and "locked_khz" not in environment
    assert state["temperature_c"] == {"AO-therm": 36.0, "CPU-therm": 31.5, "PMIC-Die": "unreadable"}
    assert state["rails_mw"] == {"POM_5V_IN": 1388.0, "POM_5V_GPU": 122.0, "POM_5V_CPU": 163.0}
    assert state["energy_source"] == "ina3221:POM_5V_IN" and "tegrastats" not in state
    assert state["gpu"]["57000000.gpu"]["current_hz"] == 921600000
    assert state["gpu"]["57000000.gpu"]["load_permille"] == "unreadable"


def test_an_orin_with_held_clocks(read: Callable[[str], Any]) -> None:
    environment, state = read("jetson-orin-jp6")
    assert (environment["l4t"], environment["power_mode"]) == ("36.4.3", "MODE_30W")
    assert (environment["locked_khz"], environment["locked_gpu_hz"]) == ("1728000", "1300500000")
    assert state["temperature_c"] == {"cpu-thermal": 52.968, "gpu-thermal": "unreadable"}
    assert state["throttling"] == {"ina3221/curr1_crit_alarm": 1, "ina3221/curr1_max_alarm": 0}
    assert state["rails_mw"] == {"VDD_GPU_SOC": 2395.0, "VDD_CPU_CV": 785.6}
    assert state["energy_source"] == "ina3221:VDD_GPU_SOC+VDD_CPU_CV"
    assert list(state["gpu"]) == ["17000000.gpu"] and state["gpu"]["17000000.gpu"]["load_permille"] == 120


def test_a_jetson_whose_gpu_sysfs_does_not_show_is_asked_by_tegrastats(inside: Inside, tmp_path: Path) -> None:
    root = board("jetson-nano-jp4", tmp_path)
    for path in (root / "sys/class/devfreq/57000000.gpu").iterdir():
        path.unlink()
    (root / "sys/class/devfreq/57000000.gpu").rmdir()
    _, state = inside(READ.format(str(root)))
    assert state["gpu"] == "unreadable" and state["tegrastats"]["engines"]["GR3D"]["percent"] == 0
    assert state["tegrastats"]["cores"][3] == "off"


def test_a_phone(read: Callable[[str], Any]) -> None:
    environment, state = read("android-pixel")
    assert environment["cpu"] == "Tensor" and environment["memory_gib"] == 8
    assert [state["clusters"][name]["hardware_most_khz"] for name in ("policy0", "policy4", "policy6")] == [
        1803000, 2253000, 2802000,
    ]  # fmt: skip
    assert state["clusters"]["policy4"]["least_khz"] == "unreadable" and state["thermal_override"] is False
    assert state["battery"]["battery"]["temperature_c"] == 29.1 and state["energy_source"] == "unreadable"


def test_how_long_a_cluster_ran_at_which_frequency(inside: Inside, tmp_path: Path) -> None:
    root = board("jetson-nano-jp4", tmp_path)
    file = root / "sys/devices/system/cpu/cpufreq/policy0/stats/time_in_state"
    snippet = (
        f"import frequencies as f\nbefore = f.residency({str(root)!r})\n"
        f"open({str(file)!r}, 'w').write('102000 900\\n921600 75\\n1479000 125\\n')\n"
        f"after = f.residency({str(root)!r})\n"
        "pairs = [(before, after), (after, before), (after, after), ({}, after)]\n"
        "print(json.dumps([f.shares(*pair) for pair in pairs]))"
    )
    assert inside(snippet) == [{"policy0": {"921600": 0.25, "1479000": 0.75}}, {}, {}, {}]


def test_a_server_of_many_cores_still_fits_one_line(inside: Inside, tmp_path: Path) -> None:
    for number in range(200):
        policy = tmp_path / f"sys/devices/system/cpu/cpufreq/policy{number}"
        (policy / "stats").mkdir(parents=True)
        (policy / "scaling_max_freq").write_text(f"{2000000 + number}\n")
        (policy / "stats/time_in_state").write_text("".join(f"{khz} {number}\n" for khz in range(100, 120)))
        zone = tmp_path / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text("a" * 5000)
        (zone / "temp").write_text(f"{30000 + number}\n")
    _, state = inside(READ.format(str(tmp_path)))
    assert len(json.dumps(state)) < 60000
    assert state["clusters"]["left_out"] == state["temperature_c"]["left_out"] == "104 of 200"
    assert max(value for value in state["temperature_c"].values() if isinstance(value, float)) == 30.199


def test_nothing_reads_as_zero_that_is_not(inside: Inside, tmp_path: Path) -> None:
    """Whatever stands in any file of any tree, a reading is what it says or the word; and nothing raises."""
    names = [path.stem for path in BOARDS.glob("*.txt")]
    for name in names:
        for path in board(name, tmp_path / name).rglob("*"):
            if path.is_file() and not path.stat().st_mode & 0o100:
                path.write_bytes(b"\xff\xfe what is this \x00")
    roots = [str(tmp_path / name) for name in names]
    read = inside(f"import probe; print(json.dumps([[probe.environment(r), probe.state(r)] for r in {roots!r}]))")
    assert len(read) == 5
    for environment, state in read:
        assert 0 not in [value for value in state.values() if not isinstance(value, bool)]
        assert environment["cores"] == state["energy_source"] == state["rails_mw"] == "unreadable"
