"""A phone that an agent measures on cools by what Android says of its heat, whatever files its agent can read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from adb.adbd_double import Phone
from harness import doctor
from harness.gate import cool
from harness.inventory import Calm, Device
from harness.protocol import Hello, Rested
from harness.transport.adb import Adb
from ofa.errors import MeasurementRefused

SAYS = """count=$(cat "$0.count" 2>/dev/null || echo 0); echo $((count + 1)) > "$0.count"
[ $1 = thermalservice ] || exit 0
echo "IsStatusOverride: {faked}"; echo "Current temperatures from HAL:"
heat=33.5; [ $count -ge 4 ] && heat=20.5
echo "Temperature{{mValue=$heat, mType=0, mName=AP, mStatus=0}}"
"""


@pytest.fixture
def warm(phone: Callable[..., Phone], reach: Callable[..., Adb], device: Device) -> Callable[..., Device]:
    """Return a maker of a phone that is too warm for its profile, and cools after it was asked twice."""

    def make(faked: str = "false") -> Device:
        one = phone()
        one.tool("dumpsys", SAYS.format(faked=faked))
        way = reach(one)
        way.ready()
        profile = device.profile.model_copy(update={"calm": Calm(max_temp_c=30.0)})
        return replace(device, profile=profile, transport=way)

    return make


def resting(rests: list[float]) -> Any:
    """Return a conversation with an agent that can read no sensor."""

    def rest(seconds: float, at: object) -> Rested:
        rests.append(seconds)
        return Rested(id=1, ev="rested", state={"temperature_c": "unreadable"})

    return SimpleNamespace(rest=rest)


@pytest.mark.slow
def test_a_phone_rests_until_android_says_that_it_is_cool(warm: Callable[..., Device]) -> None:
    rests: list[float] = []
    told: list[float | None] = []
    cool(warm(), resting(rests), {"temperature_c": "unreadable"}, (0, 0, 0), on_rest=told.append)
    assert (rests, told) == ([2.0, 4.0], [33.5, 33.5])


def test_a_phone_rests_while_android_holds_it_back(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = device.profile.model_copy(update={"calm": Calm(max_temp_c=30.0)})
    one, rests = replace(device, profile=profile), list[float]()
    states = [{"temperature_c": {"AP": 21.0}, "thermal_status": status} for status in (2, 1, 0)]
    monkeypatch.setattr("harness.gate.seen", lambda device, state: states.pop(0))
    cool(one, resting(rests), {}, (0, 0, 0))
    assert rests == [2.0, 4.0] and not states
    monkeypatch.setattr("harness.gate.seen", lambda device, state: {"temperature_c": {"AP": 21.0}, "thermal_status": 3})
    monkeypatch.setattr("harness.gate.PATIENCE_S", 1.0)
    with pytest.raises(MeasurementRefused, match="cool enough") as refused:
        cool(one, resting([]), {}, (0, 0, 0))
    assert "21 °C" in refused.value.why and "thermal status is 3, not 0" in refused.value.why
    (check, *_) = doctor._heat(one, {})
    assert not check.fine and "held back: Android's thermal status is 3" in check.seen


@pytest.mark.parametrize("limit_c", [None, 30.0])
def test_a_device_rests_while_a_cooling_device_keeps_its_clock_down(
    device: Device, limit_c: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = replace(device, profile=device.profile.model_copy(update={"calm": Calm(max_temp_c=limit_c)}))
    said: list[float | None] = []

    def reads(step: int) -> dict[str, Any]:
        # A fan that turns holds nothing back.
        coolers = {"0.thermal-cpufreq-0": step, "1.pwm-fan": 3, "2.cpu-balanced": 0, "3.Processor": "unreadable"}
        return {"cooling": coolers} | ({} if limit_c is None else {"temperature_c": {"soc": 25.0}})

    states, rests = [reads(1), reads(0)], list[float]()

    def rest(seconds: float, at: object) -> Rested:
        rests.append(seconds)
        return Rested(id=1, ev="rested", state=states.pop(0))

    cool(one, cast(Any, SimpleNamespace(rest=rest)), reads(2), (0, 0, 0), on_rest=said.append)
    assert rests == [2.0, 4.0] and not states and said == [None if limit_c is None else 25.0] * 2
    monkeypatch.setattr("harness.gate.PATIENCE_S", 1.0)
    states.append(reads(2))
    with pytest.raises(MeasurementRefused, match="cool enough") as refused:
        cool(one, cast(Any, SimpleNamespace(rest=rest)), reads(2), (0, 0, 0))
    assert "cooling device '0.thermal-cpufreq-0' is at step 2, not 0" in refused.value.why
    assert "fan" not in refused.value.why
    (check, *_) = doctor._heat(one, reads(1))
    assert not check.fine and "0.thermal-cpufreq-0" in check.seen


def test_a_phone_whose_heat_is_overridden_is_not_measured(warm: Callable[..., Device]) -> None:
    one = warm("true")
    with pytest.raises(MeasurementRefused, match="does not say how hot it is"):
        cool(one, resting([]), {}, (0, 0, 0))
    hello = cast(Hello, SimpleNamespace(state={}, environment={}))
    assert [check.fine for check in doctor._heat(one, hello.state)] == [False]
