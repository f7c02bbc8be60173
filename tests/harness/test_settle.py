"""What counts of a network that was tried: limits by the names that the search gave them, readings of each device."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ofa.space as spaces
from harness import choosing
from harness.settle import _readings, limits_of
from ofa.search import Reading, errors
from ofa.search.finding import Candidate

SUBNET = spaces.load("mobilenet_v3_tiny", channels=1, classes=10).corner("max")


def asked(**at_most_ms: float) -> Any:
    """Return what was asked of a search for some devices, with limits of memory, energy and MACs beside."""
    further = {"resident memory": 5e7, "energy": 3.0, "MACs": 1e6}
    targets = [SimpleNamespace(name=name, at_most_ms=ms) for name, ms in at_most_ms.items()]
    return SimpleNamespace(targets=targets, further=further, limits=further)


def measured(ms: float | None, peak_rss_mib: float | None) -> Any:
    """Return what one device said of one network."""
    verdict = SimpleNamespace(measured_ms=ms, lo_ms=ms, hi_ms=ms, peak_rss_mib=peak_rss_mib)
    return SimpleNamespace(found=SimpleNamespace(verdicts=(verdict,)))


@pytest.mark.parametrize("names", [("phone",), ("phone", "board")])
def test_a_limit_of_what_each_device_has_its_own_of_is_held_on_each(names: tuple[str, ...]) -> None:
    several = len(names) > 1
    resident = {name: f"resident memory on {name}" if several else "resident memory" for name in names}
    # No table knew the energy of any network on the last device.
    energy = [f"energy on {name}" if several else "energy" for name in names[:1]]
    values = dict.fromkeys([*names, *resident.values(), *energy, "MACs"], 1.0)
    request = asked(**dict.fromkeys(names, 5.0))
    found = limits_of(request, [Candidate(subnet=SUBNET, accuracy=70.0, values=values)])
    assert found == dict.fromkeys(names, 5.0) | dict.fromkeys(resident.values(), 5e7) | {energy[0]: 3.0, "MACs": 1e6}
    verified = {name: measured(4.0 + place, 10.0 + place) for place, name in enumerate(names)}
    readings = _readings(verified, request)
    assert set(readings) == {*names, *resident.values()}
    for place, name in enumerate(names):
        peak = (10.0 + place) * 2**20
        assert readings[name] == [Reading(value=4.0 + place, lo=4.0 + place, hi=4.0 + place)]
        assert readings[resident[name]] == [Reading(value=peak, lo=peak, hi=peak)]


def test_limits_are_printed_as_one_reads_them(capsys: pytest.CaptureFixture[str]) -> None:
    network = {"id": "a" * 12, "predicted": {"top1": 70.0, "limits": {"resident memory": 8e7}}, "over": []}
    facts = {"networks": [network | {"measured": {"top1": 69.0, "limits": {}}}], "chosen": "a", "predicted_best": "a"}
    asked = {"at_most": {"latency": 5.0, "resident memory": 9e7}, "units": {"latency": "ms", "resident memory": "B"}}
    choosing._show(facts | asked | {"images": 120}, Path("labels.csv"), Path("runs"))
    out = capsys.readouterr().out
    assert "latency ≤ 5 ms" in out and "resident memory ≤ 90,000,000 B" in out and " 80,000,000 " in out


def test_a_device_that_says_nothing_of_memory_leaves_it_as_predicted() -> None:
    assert _readings({"phone": measured(None, None)}, asked(phone=5.0)) == {"phone": [None]}


def test_where_none_fits_the_verb_names_the_option_that_searches_for_more(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_fits(*_: object, **__: object) -> None:
        raise errors.none_within_measured(2, "s", "5.1 of latency, where 5 is the most")

    monkeypatch.setattr("harness.settle.choose", none_fits)
    monkeypatch.setattr("ofa.search.kept.read", lambda folder: SimpleNamespace(targets=()))
    code, _, err = run("choose", str(tmp_path / "search"), "--run", str(tmp_path), "--data", "images")
    assert code == 6 and "or for more networks: 'ofa search --top N'\n" in err
