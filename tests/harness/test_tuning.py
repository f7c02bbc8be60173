"""Settings are changed only as asked and always put back: at the end, after faults, and by the next who connects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from boards import board

from harness import tuning as tunings
from harness.inventory import Device
from harness.tuning import Tuning, put_back, restore_left, tuned
from ofa.errors import DeviceLost, MeasurementRefused

POLICY = "sys/devices/system/cpu/cpufreq/policy0"
LEAVES = ("scaling_governor", "scaling_min_freq", "scaling_max_freq")
pytestmark = pytest.mark.slow  # each step is an agent process of its own

BOTH = Tuning(performance=True, lock=True)
AGENT = Path(__file__).parents[2] / "devices" / "agent"

# Stand-ins for tools of a Jetson: they keep their state in files below the tree.
NVPMODEL = """#!/bin/sh
here=$(dirname "$0")/../..
if [ "$1" = "-q" ]; then echo "NV Power Mode: $(cat $here/mode)"; exit 0; fi
if [ "$2" = "1" ]; then
  echo "NVPM WARN: Reboot required for changing to this power mode: 1"
  echo "DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm:"
  read answer && [ "$answer" = "YES" ] && touch $here/rebooted
  exit 0
fi
[ "$2" = "2" ] && echo MODE_30W > $here/mode || echo MAXN > $here/mode
"""
CLOCKS = """#!/bin/sh
here=$(dirname "$0")/../..
policy=$here/sys/devices/system/cpu/cpufreq/policy0
case "$1" in
  --store) cat $policy/scaling_min_freq > "$2";;
  --restore) cat "$2" > $policy/scaling_min_freq;;
  *) [ -e $here/broken ] && exit 1; cat $policy/scaling_max_freq > $policy/scaling_min_freq;;
esac
"""


def tool(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    (root / path).chmod(0o755)


def settings(root: Path) -> dict[str, str]:
    return {leaf: (root / POLICY / leaf).read_text().strip() for leaf in LEAVES}


@pytest.fixture
def orin(tmp_path: Path) -> Path:
    """Return the tree of an Orin whose clocks are free."""
    root = board("jetson-orin-jp6", tmp_path / "orin")
    (root / POLICY / "scaling_governor").write_text("schedutil\n")
    (root / POLICY / "scaling_min_freq").write_text("115200\n")
    (root / "mode").write_text("MODE_30W\n")
    tool(root, "usr/sbin/nvpmodel", NVPMODEL)
    tool(root, "usr/bin/jetson_clocks", CLOCKS)
    return root


@pytest.fixture
def over(device: Device) -> Callable[[Path], Device]:
    """Return this computer, its agent reading a tree in place of the computer's own files."""

    def make(root: Path) -> Device:
        variables = {**device.transport.environment, "OFA_AGENT_ROOT": str(root)}  # type: ignore[attr-defined]
        return replace(device, transport=replace(device.transport, environment=variables))  # type: ignore[type-var]

    return make


def saved_on(device: Device) -> Path:
    return device.transport.files / "tuning-saved.json"


def test_settings_hold_while_they_are_wanted_and_are_put_back(orin: Path, over: Any, tmp_path: Path) -> None:
    device, record, before = over(orin), tmp_path / "tuning.json", settings(orin)
    with tuned(device, BOTH, record) as observed:
        assert settings(orin) == dict(zip(LEAVES, ("performance", "1728000", "1728000"), strict=True))
        assert observed == {f"{POLICY}/{leaf}": value for leaf, value in settings(orin).items()}
        assert json.loads(record.read_text())["files"] == {f"{POLICY}/{leaf}": before[leaf] for leaf in LEAVES}
        assert json.loads(saved_on(device).read_text()) == json.loads(record.read_text())
    assert settings(orin) == before and not record.exists() and not saved_on(device).exists()


def test_nothing_is_changed_that_nobody_asked_for(orin: Path, over: Any, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in orin.rglob("*") if path.is_file()}
    for tuning in (None, Tuning()):
        with tuned(over(orin), tuning, tmp_path / "tuning.json") as observed:
            assert observed == {}
    assert {path: path.read_bytes() for path in orin.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt])
def test_they_are_put_back_on_any_fault(fault: type[BaseException], orin: Path, over: Any, tmp_path: Path) -> None:
    before = settings(orin)
    with pytest.raises(fault), tuned(over(orin), BOTH, tmp_path / "tuning.json"):
        raise fault
    assert settings(orin) == before


def left_behind(device: Device, record: Path, tuning: Tuning = BOTH) -> None:
    """Tune a device and vanish, as a host does that is killed: what would put things back never runs."""
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(SystemExit),
        tuned(device, tuning, record),
    ):
        patch.setattr(tunings, "put_back", lambda *words: sys.exit())
        sys.exit()


def test_who_connects_after_a_crash_puts_back_what_was_left(orin: Path, over: Any, tmp_path: Path) -> None:
    device, before = over(orin), settings(orin)
    left_behind(device, tmp_path / "of-the-host-that-died.json")
    assert settings(orin)["scaling_governor"] == "performance"
    with tuned(device, None, tmp_path / "mine.json"):
        assert settings(orin) == before
    assert not saved_on(device).exists() and not restore_left(device, tmp_path / "mine.json")


def test_the_hosts_copy_serves_where_the_device_has_lost_its_own_and_only_once(
    orin: Path, over: Any, tmp_path: Path
) -> None:
    device, record, before = over(orin), tmp_path / "tuning.json", settings(orin)
    left_behind(device, record)
    saved_on(device).write_text("torn")
    copy = record.read_bytes()
    assert restore_left(device, record) and settings(orin) == before
    (orin / POLICY / "scaling_governor").write_text("ondemand\n")
    record.write_bytes(copy)
    put_back(device, record)
    assert settings(orin)["scaling_governor"] == "ondemand"


def test_a_record_cannot_lead_anywhere_else(orin: Path, over: Any, tmp_path: Path) -> None:
    device, record = over(orin), tmp_path / "tuning.json"
    left_behind(device, record)
    good = json.loads(record.read_text())
    victim = orin / "etc/os-release"
    before = victim.read_bytes()
    for files in ({"etc/os-release": "x"}, {f"{POLICY}/../../../../../../etc/os-release": "1"}, {f"{POLICY}/x": "1"}):
        for place in (record, saved_on(device)):
            place.write_text(json.dumps({**good, "files": files}))
        with pytest.raises(MeasurementRefused, match="damaged"):
            restore_left(device, record)
    assert victim.read_bytes() == before


def test_after_a_reboot_only_the_power_mode_is_put_back(orin: Path, over: Any, tmp_path: Path) -> None:
    device, record = over(orin), tmp_path / "tuning.json"
    left_behind(device, record, replace(BOTH, power_mode="MAXN"))
    assert (orin / "mode").read_text() == "MAXN\n"
    (orin / "proc/sys/kernel/random/boot_id").write_text("another\n")
    (orin / POLICY / "scaling_governor").write_text("ondemand\n")
    assert restore_left(device, record)
    assert (orin / "mode").read_text() == "MODE_30W\n" and settings(orin)["scaling_governor"] == "ondemand"


def test_jetsons_clocks_are_stored_and_restored_by_their_own_tool(orin: Path, over: Any, tmp_path: Path) -> None:
    device, before = over(orin), settings(orin)
    with tuned(device, Tuning(jetson_clocks=True), tmp_path / "tuning.json") as observed:
        assert observed == {"locked_khz": "1728000", "locked_gpu_hz": "1300500000"}
    assert settings(orin) == before


REFUSALS: list[tuple[str, Tuning, Callable[[Path], Any], str]] = [
    ("a mode that needs a reboot", Tuning(power_mode="MODE_15W"), lambda root: None, "reboot"),
    ("a mode it has not", Tuning(power_mode="MAXN_SUPER"), lambda root: None, "no power mode"),
    ("no cpufreq", BOTH, lambda root: (root / POLICY).rename(root / "gone"), "no cpufreq"),
    (
        "a governor it has not",
        BOTH,
        lambda root: (root / POLICY / "scaling_available_governors").write_text("schedutil\n"),
        "offers the governors schedutil",
    ),
    ("what cannot be put back", BOTH, lambda root: (root / POLICY / LEAVES[1]).write_text("?"), "put back"),
    ("a tool that fails", replace(BOTH, jetson_clocks=True), lambda root: (root / "broken").touch(), "jetson_clocks"),
    ("a phone's mode", Tuning(fixed_performance=True), lambda root: None, "has no 'cmd'"),
    (
        "hidden heat",
        BOTH,
        lambda root: tool(root, "system/bin/dumpsys", "#!/bin/sh\necho 'IsStatusOverride: true'\n"),
        "IsStatusOverride",
    ),
]


@pytest.mark.parametrize(("tuning", "spoil", "why"), [case[1:] for case in REFUSALS], ids=[c[0] for c in REFUSALS])
def test_a_refusal_leaves_everything_as_it_was(
    tuning: Tuning, spoil: Callable[[Path], Any], why: str, orin: Path, over: Any, tmp_path: Path
) -> None:
    spoil(orin)
    state = {path: path.read_bytes() for path in orin.rglob("*") if path.is_file()}
    with pytest.raises(MeasurementRefused, match=why), tuned(over(orin), tuning, tmp_path / "tuning.json"):
        raise AssertionError("it was tuned")
    assert {path: path.read_bytes().strip() for path in orin.rglob("*") if path.is_file()} == {
        path: content.strip() for path, content in state.items()
    }
    assert not (tmp_path / "tuning.json").exists()


def test_a_phone_is_switched_and_switched_back(over: Any, tmp_path: Path) -> None:
    root = board("android-pixel", tmp_path / "phone")
    tool(root, "system/bin/cmd", f'#!/bin/sh\necho "$@" >> {root}/said\n')
    with tuned(over(root), Tuning(fixed_performance=True), tmp_path / "tuning.json") as observed:
        assert observed == {"fixed_performance": "unreadable"}
    said = (root / "said").read_text().splitlines()
    assert said == [f"power set-fixed-performance-mode-enabled {word}" for word in ("true", "false")]


def test_a_host_that_cannot_put_back_says_so_and_keeps_its_record(orin: Path, over: Any, tmp_path: Path) -> None:
    device, record = over(orin), tmp_path / "tuning.json"
    with pytest.raises(MeasurementRefused, match="not as it was") as caught, tuned(device, BOTH, record):
        (orin / POLICY / "scaling_governor").unlink()
        (orin / POLICY / "scaling_governor").mkdir()
        raise DeviceLost("the link is down")
    assert "the link is down" in caught.value.why and record.exists() and saved_on(device).exists()


SUDO = """
import json, os, tuning
real = open
def no(path, mode="r", *rest, **more):
    if "w" in mode and "cpufreq" in str(path):
        raise PermissionError(13, "Permission denied")
    return real(path, mode, *rest, **more)
tuning.open = no
os.geteuid = lambda: 1000
try:
    tuning._write_all({root!r}, {{"sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "performance"}})
    print(json.dumps("written"))
except tuning.Refused as fault:
    print(json.dumps(str(fault)))
"""


@pytest.mark.parametrize(
    ("sudo", "said"),
    [
        (None, "'sudo -n' does not help"),
        ("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n", "'sudo -n' does not help"),
        ('#!/bin/sh\n[ "$1" = "-n" ] && shift && exec "$@"\n', "written"),
    ],
)
def test_sudo_is_used_without_a_prompt_or_not_at_all(sudo: str | None, said: str, orin: Path) -> None:
    tool(orin, "usr/bin/tee", '#!/bin/sh\ncat > "$1"\n')
    if sudo is not None:
        tool(orin, "usr/bin/sudo", sudo)
    code = f"import sys; sys.path.insert(0, {str(AGENT)!r})\n" + SUDO.format(root=str(orin))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, env=dict(os.environ))
    assert said in json.loads(ended.stdout), ended.stderr
    assert (settings(orin)["scaling_governor"] == "performance") == (said == "written")
