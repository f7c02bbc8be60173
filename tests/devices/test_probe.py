"""What the agent reads of a device: values from a recorded tree, and the word where there is nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Inside = Callable[[str], Any]


def plant(root: Path, files: dict[str, str]) -> None:
    for path, content in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)


def test_an_empty_tree_reads_as_unreadable_and_never_as_zero(inside: Inside, tmp_path: Path) -> None:
    root = repr(str(tmp_path))
    environment, state, cpu = inside(
        f"import probe; print(json.dumps([probe.environment({root}), probe.state({root}), probe.cpu_seconds({root})]))"
    )
    assert environment.pop("machine") and environment.pop("python") and "recorded" in environment.pop("simulated")
    assert state.pop("pid") and state.pop("pgid")
    assert set(environment.values()) | set(state.values()) == {"unreadable"} and cpu is None


def test_a_board_is_read(inside: Inside, tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "proc/cpuinfo": "processor\t: 0\nprocessor\t: 1\nHardware\t: BCM2835\nModel\t: A board\n",
            "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
            "proc/meminfo": "MemTotal:        3884352 kB\nMemAvailable:    2048000 kB\n",
            "proc/loadavg": "0.42 0.31 0.25 1/200 4242\n",
            "proc/sys/kernel/osrelease": "6.1.21-v8+\n",
            "proc/stat": "cpu  100 0 200 5000 0 0 100 50 0 0\ncpu0 1 1 1\n",
            "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
            "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "ondemand\n",
            "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1800000\n",
            "sys/devices/system/cpu/cpu2/cpufreq/cpuinfo_max_freq": "2000000\n",
            "sys/devices/system/cpu/cpu10/cpufreq/cpuinfo_max_freq": "2400000\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "600000\n",
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "48312\n",
            "sys/class/thermal/thermal_zone1/type": "GPU-therm\n",
            "sys/class/thermal/thermal_zone1/temp": "-256000\n",
            "sys/class/thermal/thermal_zone2/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone2/temp": "garbage\n",
            "sys/class/thermal/cooling_device0/type": "Processor\n",
            "sys/class/thermal/cooling_device0/cur_state": "0\n",
        },
    )
    root = repr(str(tmp_path))
    environment, state, cpu = inside(
        f"import probe; print(json.dumps([probe.environment({root}), probe.state({root}), probe.cpu_seconds({root})]))"
    )
    assert environment["board"] == "Raspberry Pi 4 Model B Rev 1.4" and environment["cpu"] == "BCM2835"
    assert (environment["cores"], environment["governor"], environment["max_khz"]) == (
        2,
        "ondemand",
        "1800000,2000000,2400000",
    )
    assert environment["memory_gib"] == 4 and environment["kernel"] == "6.1.21-v8+"
    assert environment["os"] == "Debian GNU/Linux 12 (bookworm)"
    assert state["load_1min"] == 0.42 and state["current_khz"] == [600000] and state["memory_available_mib"] == 2000
    temperatures = {"cpu-thermal": 48.312, "GPU-therm": "unreadable", "cpu-thermal+": "unreadable"}
    assert state["temperature_c"] == temperatures and state["cooling"] == {"0.Processor": 0}
    assert cpu["busy"] == 8 * cpu["stolen"] > 0


def test_the_peak_of_a_process_is_read(inside: Inside, tmp_path: Path) -> None:
    plant(tmp_path, {"proc/self/status": "Name:\tpython3\nVmPeak:\t  90000 kB\nVmHWM:\t   8748 kB\nVmRSS:\t 8000 kB\n"})
    root, nowhere = repr(str(tmp_path)), repr(str(tmp_path / "nowhere"))
    peaks = inside(f"import probe; print(json.dumps([probe.peak_rss_kib({root}), probe.peak_rss_kib({nowhere})]))")
    assert peaks == [8748, None]


def test_damaged_files_read_as_unreadable(inside: Inside, tmp_path: Path) -> None:
    plant(
        tmp_path,
        {"proc/meminfo": "MemTotal: many\nMemAvailable: lots\n", "proc/loadavg": "high", "proc/stat": "cpu x y"},
    )
    root = repr(str(tmp_path))
    environment, state, cpu = inside(
        f"import probe; print(json.dumps([probe.environment({root}), probe.state({root}), probe.cpu_seconds({root})]))"
    )
    assert environment["memory_gib"] == "unreadable" and state["load_1min"] == "unreadable" and cpu is None
    assert state["memory_available_mib"] == "unreadable"


def test_onnxruntime_versions_map_to_what_they_read(inside: Inside) -> None:
    snippet = (
        "from runtimes import onnxruntime as o; "
        "print(json.dumps([o.accepts(v) for v in ('1.16.3', '1.10.0', '1.99.0', '2.0.0', '0.5.0', 'dev')]))"
    )
    versions = [(found["opset"], found["ir_version"]) for found in inside(snippet)]
    assert versions == [(19, 9), (15, 7), (23, 11), (23, 11), (11, 6), (11, 6)]
