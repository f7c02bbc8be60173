"""Which runtime a device is measured with: as options say, else as the lab's list does, and never a mixture of both."""

from __future__ import annotations

import json
import textwrap
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness import doctor
from harness.doctor import of_device
from harness.errors import RESUME_HINT
from harness.inventory import Device, device_named
from harness.lab import FOLDER_VARIABLE, LAB
from harness.plan import Way
from harness.prepare import check_way
from harness.protocol import Hello, Runtime
from harness.ways import Use, use_of
from ofa.errors import DeviceLost, FileInvalid, UsageInvalid

LISTED = """
[devices.small]
kind = "this-computer"
runtime = "litert"
precision = "int8"
kernels = "builtin"
threads = 2
[devices.fast]
kind = "this-computer"
runtime = "onnxruntime"
unit = "gpu"
[devices.plain]
kind = "this-computer"
[devices.phone]
kind = "simulated-phone"
runtime = "simulated"
"""
SMALL = Use(runtime="litert", way=Way(precision="int8", kernels="builtin", threads=2))


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    (tmp_path / LAB).write_text(LISTED)


def test_the_list_speaks_where_no_runtime_is_asked_for() -> None:
    nothing = dict.fromkeys(("runtime", "unit", "precision", "kernels", "threads"))
    assert use_of("small", nothing) == SMALL
    # A unit's usual kernels have one name, whoever chose the unit.
    assert use_of("fast", nothing).way == Way(unit="gpu", kernels="cuda")
    assert use_of("small", {"threads": 4, "kernels": None}).way == Way(precision="int8", kernels="builtin", threads=4)


def test_what_the_list_says_is_of_no_runtime_that_is_asked_for() -> None:
    assert use_of("small", {"runtime": "onnxruntime"}) == Use(runtime="onnxruntime", way=Way())
    assert use_of("small", {"runtime": "litert", "precision": "int8"}).way == Way(precision="int8")


@pytest.mark.parametrize("device", ["plain", "this-computer", "nowhere"])
def test_where_nobody_says_it_is_an_error_that_names_them(device: str) -> None:
    with pytest.raises(UsageInvalid, match=f"which runtime device '{device}'") as refused:
        use_of(device, {"threads": 1})
    assert "onnxruntime, litert" in str(refused.value)


def test_the_list_is_shown_with_what_it_says(run: Any) -> None:
    code, out, err = run("devices", "--json")
    assert code == 0, err
    shown = {row["device"]: row["measured with"] for row in json.loads(out)}
    assert shown["small"] == "litert int8 builtin 2 threads" and shown["plain"] is None


def test_the_list_says_which_devices_cannot_be_reached(run: Any, tmp_path: Path) -> None:
    (tmp_path / LAB).write_text(
        LISTED + '[devices.odd]\nkind = "pixel-9"\nadb = "S"\n[devices.lost]\nkind = "pixel-7"\n'
        '[devices.there]\nkind = "pixel-7"\nadb = "S"\n'
    )
    code, out, err = run("devices", "--json")
    assert code == 0, err
    shown = {row["device"]: (row["reached by"], row["fault"]) for row in json.loads(out)}
    assert shown["odd"] == (None, "there is no such kind")
    assert shown["lost"] == (None, "its address is missing: adb")
    assert shown["there"] == ("adb", None) and shown["plain"] == shown["phone"] == ("here", None)
    for name in ("odd", "lost"):
        code, out, _ = run("devices", "check", name)
        assert code == 3 and "profile and address" in out


def test_a_check_tells_what_the_list_says_wrongly(tmp_path: Path) -> None:
    (tmp_path / LAB).write_text(
        LISTED + '[devices.wrong]\nkind = "this-computer"\nruntime = "torch"\nkernels = "qnn"\n'
    )
    with (tmp_path / LAB).open("a") as lab:
        lab.write('[devices.bare]\nkind = "pixel-7"\nadb = "S1"\nruntime = "benchmark_model"\nprogram = "nowhere"\n')
    found = {}
    for name in ("small", "wrong", "bare"):
        checks = of_device(partial(device_named, name, tmp_path / "files"))
        assert next(checks).fine
        found[name] = next(checks)
    assert found["small"].fine and found["small"].seen == "litert int8 builtin 2"
    assert not found["wrong"].fine and "no kernels called 'qnn'" in found["wrong"].seen and found["wrong"].remedy
    assert not found["bare"].fine and "nowhere" in found["bare"].seen and "give the path" in found["bare"].remedy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "there", "faults"),
    [
        ("fast", ["onnxruntime"], []),
        ("fast", ["litert"], ["onnxruntime"]),
        ("plain", ["litert"], []),
        ("plain", [], ["onnxruntime", "litert"]),
    ],
)
def test_a_runtime_that_nobody_asks_for_is_no_fault_where_another_runs(
    name: str, there: list[str], faults: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greeted(_: Device, runtimes: tuple[str, ...] = ()) -> Hello:
        found = [
            Runtime.model_construct(None, name=one, ready=one in there, version="1", reason="it is not")
            for one in runtimes
        ]
        return Hello.model_construct(environment={}, state={}, runtimes=found)

    monkeypatch.setattr(doctor, "greet", greeted)
    found = {one.what: one for one in of_device(partial(device_named, name, tmp_path / "files"))}
    failed = [what.removeprefix("runtime ") for what, one in found.items() if not one.fine and what.startswith("runt")]
    assert set(failed) & {"onnxruntime", "litert"} == set(faults)
    # What is absent and not asked for is neither a fault nor fine.
    assert all(one.row()["fine"] is None for one in found.values() if one.seen.startswith("not there, and none"))
    for one in {"onnxruntime", "litert"} - set(there) - set(faults):
        assert found[f"runtime {one}"].row()["fine"] is None
    # Here the agent runs in our own Python; a list's 'python' is of devices over a link.
    assert all("for the Python that runs the agent" in found[f"runtime {one}"].remedy for one in failed)


def test_a_phone_that_is_away_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / LAB).write_text('[devices.phone]\nkind = "pixel-7"\nadb = "S1"\n')

    def away(*_: Any, **__: Any) -> Any:
        raise DeviceLost(
            "device 'phone' cannot be reached over adb", why="adb does not list it", hint=("look", RESUME_HINT)
        )

    for what in ("doctor.greet", "doctor.for_a_moment", "native.facts.read"):
        monkeypatch.setattr(f"harness.{what}", away)
    failed = [one for one in of_device(partial(device_named, "phone", tmp_path / "files")) if not one.fine]
    assert [one.what for one in failed] == ["agent"] and "adb does not list it" in failed[0].seen
    # A check measures nothing: there are no rounds to keep.
    assert failed[0].remedy == "look"


def test_a_name_that_nobody_knows_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(FileInvalid, match="no device is called 'plian'") as caught:
        device_named("plian", tmp_path)
    assert caught.value.hints[0] == "did you mean 'plain'?" and "small" in caught.value.why


def test_the_list_that_the_page_shows_is_one_that_the_profiles_take(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "add-a-device.md").read_text(encoding="utf-8")
    shown = [part.partition("   ```\n")[0] for part in page.split("   ```toml\n")[1:]]
    (tmp_path / LAB).write_text("".join(map(textwrap.dedent, shown)).replace('"SERIAL"', '"S1"'))
    for name in ("board", "my-pixel"):
        device = device_named(name, tmp_path / "files")
        use = use_of(name, {})
        check_way(device, use.runtime, use.way)


@pytest.mark.slow
def test_every_device_is_looked_at_before_any_is_measured(run: Any, tmp_path: Path) -> None:
    words = ["bench", "--space", "mobilenet_v3_tiny", "--dry-run", "--out", str(tmp_path / "run")]
    code, _, err = run(*words, "--device", "phone", "--device", "plain")
    assert code == 2 and "which runtime device 'plain'" in err and "Traceback" not in err
    code, _, err = run(*words, "--device", "phone", "--precision", "int8")
    assert code == 2 and "runtime 'simulated' cannot be measured in int8" in err
