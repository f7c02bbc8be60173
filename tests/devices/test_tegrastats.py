"""Lines of tegrastats from JetPack 4 to 7, and what is no line of it at all.

The lines are parser fixtures, from public sources: comments and tests of programs that read tegrastats (exporters for
Prometheus, a ROS node for the Xavier, telemetry tests for Thor), rbonghi/jetson_stats pull request 894,
FindHao/tx-utils issue 3; none was recorded by us.
"""

import json
import random
from collections.abc import Callable
from typing import Any

Inside = Callable[[str], Any]

NANO = (
    "RAM 1923/3964MB (lfb 2x2MB) SWAP 191/1982MB (cached 6MB) IRAM 0/252kB(lfb 252kB) "
    "CPU [5%@1224,4%@1224,3%@1224,6%@1224] EMC_FREQ 0%@1600 GR3D_FREQ 0%@76 APE 25 PLL@37C CPU@40C PMIC@50C GPU@40C "
    "AO@45C thermal@40C POM_5V_IN 1750/1628 POM_5V_GPU 0/0 POM_5V_CPU 366/406"
)
XAVIER = (
    "RAM 2336/15827MB (lfb 2948x4MB) CPU [2%@1190,1%@1190,0%@1190,0%@1190,off,off,off,off] EMC_FREQ 0% GR3D_FREQ 0% "
    "AO@25.5C GPU@26C Tboard@27C Tdiode@28.75C AUX@25C CPU@27C thermal@25.75C PMIC@100C GPU 465/465 CPU 310/310 "
    "SOC 1242/1242 CV 0/0 VDDRQ 0/0 SYS5V 1776/1776"
)
TX2 = (
    "RAM 2020/7852MB (lfb 1164x4MB) CPU [9%@345,21%@345,25%@345,3%@345,1%@345,1%@345] EMC_FREQ 0% GR3D_FREQ 0% "
    "PLL@42.5C MCPU@42.5C PMIC@100C Tboard@40C GPU@41C BCPU@42.5C thermal@41.9C Tdiode@41.25C VDD_SYS_GPU 153/158 "
    "VDD_SYS_SOC 536/547 VDD_4V0_WIFI 633/527 VDD_IN 3140/3208 VDD_SYS_CPU 536/590 VDD_SYS_DDR 557/601"
)
ORIN_5 = (
    "04-24-2023 00:01:24 RAM 1282/62795MB (lfb 15152x4MB) SWAP 0/31398MB (cached 0MB) CPU [0%@729,off] "
    "EMC_FREQ 0%@2133 GR3D_FREQ 0%@[0,0] VIC_FREQ 729 APE 174 CPU@42.593C GPU@-256C tj@42.593C "
    "VDD_GPU_SOC 2399mW/2399mW"
)
ORIN_7 = (
    "07-25-2026 09:08:28 RAM 20642/62817MB (lfb 1x2MB) CPU [23%@2201,10%@2201,off] EMC_FREQ 3%@3199 "
    "GR3D_FREQ 12%@[1300,1300] NVENC0 off NVDEC0 off APE 174 cpu@52.968C/52.968C "
    "VDD_GPU_SOC 5139mW/5139mW/5139mW"
)
THOR = (
    "08-08-2026 20:58:23 RAM 3429/125749MB (lfb 120x4MB) CPU [0%,5%,off]@2601 EMC_FREQ @4266 "
    "GR3D_FREQ @[1574,1574,1574] NVENC0_FREQ @1691 VIC off cpu@49.75C/49.75C tj@51.218C/51.218C gpu@51.218C/51.218C "
    "VDD_GPU 6330mW/6330mW/6330mW VIN 28906mW/14453mW/28906mW FUTURE_TOKEN value"
)


def parsed(inside: Inside, *lines: str) -> list[dict[str, Any]]:
    return inside(f"import jetson; print(json.dumps([jetson.tegrastats(line) for line in {list(lines)!r}]))")


def test_every_known_form_is_read(inside: Inside) -> None:
    nano, xavier, tx2, orin_5, orin_7, thor = parsed(inside, NANO, XAVIER, TX2, ORIN_5, ORIN_7, THOR)
    assert nano["memory_mib"]["RAM"] == [1923, 3964] and "time" not in nano
    assert nano["cores"] == [{"percent": percent, "mhz": 1224} for percent in (5, 4, 3, 6)]
    assert nano["engines"] == {"EMC": {"percent": 0, "mhz": 1600}, "GR3D": {"percent": 0, "mhz": 76}}
    assert nano["temperature_c"]["PMIC"] == "unreadable" and nano["temperature_c"]["thermal"] == 40
    assert nano["rails_mw"] == {"POM_5V_IN": 1750, "POM_5V_GPU": 0, "POM_5V_CPU": 366}
    assert nano["unknown"] == ["APE", "25"]
    assert xavier["cores"][4:] == ["off"] * 4 and xavier["engines"]["GR3D"] == {"percent": 0, "mhz": "unreadable"}
    assert xavier["rails_mw"]["SYS5V"] == 1776 and xavier["temperature_c"]["Tdiode"] == 28.75
    assert tx2["rails_mw"]["VDD_IN"] == 3140 and tx2["unknown"] == []
    assert orin_5["time"] == "04-24-2023 00:01:24" and orin_5["temperature_c"]["GPU"] == "unreadable"
    assert orin_5["engines"]["GR3D"] == {"percent": 0, "mhz": [0, 0]}
    assert orin_5["unknown"] == ["VIC_FREQ", "729", "APE", "174"]
    assert orin_7["engines"]["GR3D"] == {"percent": 12, "mhz": [1300, 1300]}
    assert orin_7["temperature_c"] == {"cpu": 52.968} and orin_7["rails_mw"] == {"VDD_GPU_SOC": 5139}
    assert thor["cores"] == [{"percent": 0, "mhz": 2601}, {"percent": 5, "mhz": 2601}, "off"]
    assert thor["engines"] == {
        "EMC": {"percent": "unreadable", "mhz": 4266},
        "GR3D": {"percent": "unreadable", "mhz": [1574, 1574, 1574]},
        "NVENC0": {"percent": "unreadable", "mhz": 1691},
    }
    assert thor["rails_mw"]["VIN"] == 28906 and thor["unknown"] == ["VIC", "off", "FUTURE_TOKEN", "value"]


def test_no_line_raises_and_none_takes_long(inside: Inside, tmp_path: Any) -> None:
    chance = random.Random(3)
    good = [NANO, XAVIER, TX2, ORIN_5, ORIN_7, THOR]
    lines = ["", "x" * 100000, "CPU [" * 2000, "GR3D_FREQ " * 900, "1/" * 2000, "A@1C/" * 1500, "_FREQ" * 2000]
    for _ in range(2000):
        line = list(chance.choice(good))
        for _ in range(chance.randrange(1, 30)):
            line[chance.randrange(len(line))] = chance.choice("0123456789%@[],/ -mWC\x00\u20acoff")
        lines.append("".join(line)[chance.randrange(40) :])
    file = tmp_path / "lines.json"
    file.write_text(json.dumps(lines))
    snippet = (
        f"import jetson, time\nlines = json.load(open({str(file)!r}))\nslowest = 0\nfor line in lines:\n"
        "    start = time.time(); json.dumps(jetson.tegrastats(line)); slowest = max(slowest, time.time() - start)\n"
        "print(json.dumps([len(lines), slowest]))"
    )
    count, slowest_s = inside(snippet)
    assert count == 2007 and slowest_s < 1.0


def test_the_power_mode_is_read_by_name(inside: Inside) -> None:
    said = [
        "NVPM WARN: fan mode is not set!\nNV Power Mode: MAXN\n0\n",
        "NV Power Mode: MODE_15W_6CORE \r\n2",
        "",
        "sudo",
    ]
    verbose = "NVPM VERB: Current mode: NV Power Mode: MAXN_SUPER\n2\n"
    found = inside(f"import jetson; print(json.dumps([jetson.mode_in(text) for text in {[*said, verbose]!r}]))")
    assert found == ["MAXN", "MODE_15W_6CORE", None, None, "MAXN_SUPER"]
